"""A tenant that takes payments, on the database of Orders."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kit import database
from tests.integration.orders.payments.paying import PayingWorld


@pytest.fixture
async def paying(db: database.Database, tenant: uuid.UUID, tmp_path: Path) -> AsyncIterator[PayingWorld]:
    made = PayingWorld(db, tenant, tmp_path / "bank.sqlite3")
    yield made
    await made.close()
