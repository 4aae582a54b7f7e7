"""A tenant with customers, on the database of Orders."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kit import database
from tests.integration.orders.customers.world import World


@pytest.fixture
def people(db: database.Database, keys_file: Path, erasure_log: Path) -> World:
    return World(db, keys_file, erasure_log)


@pytest.fixture
def other(db: database.Database, keys_file: Path, erasure_log: Path) -> World:
    """Another tenant."""
    return World(db, keys_file, erasure_log)
