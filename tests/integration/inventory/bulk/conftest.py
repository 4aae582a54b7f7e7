"""A tenant's stock and catalogue on a real database, files in a folder, and the worker of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kit import database
from services.mesh import postgres
from tests import worlds
from tests.integration.inventory.bulk.jobs import BulkWorld


@pytest.fixture(scope="session")
def urls(cluster: postgres.Cluster) -> tuple[str, str]:
    return worlds.migrated(cluster)


@pytest.fixture
async def db(urls: tuple[str, str]) -> AsyncIterator[database.Database]:
    opened = database.Database(*urls)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def world(db: database.Database, tmp_path: Path) -> AsyncIterator[BulkWorld]:
    async with BulkWorld(db, tmp_path / "files") as made:
        yield made
