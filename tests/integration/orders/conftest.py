"""A real PostgreSQL with the database of Orders. Tests stay apart by tenant: each gets one of its own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.kit import database, ids, migrating
from services.mesh import throwaway
from tests.integration.orders.customers import world as people
from tests.integration.orders.world import World


@pytest.fixture(scope="session")
def urls() -> Iterator[tuple[str, str, str]]:
    """URLs of the app, worker and migrator roles, on a migrated database."""
    with throwaway.cluster() as cluster:
        app, worker, owner = (
            cluster.url("tillmesh_orders", user) for user in ("orders_app", "orders_worker", "tillmesh_migrator")
        )
        assert migrating.migrate("orders", owner) == 0
        yield app, worker, owner


@pytest.fixture(scope="session")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root keys of what is in that database."""
    return people.keys_file(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def erasure_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log that the database's position is in."""
    return tmp_path_factory.mktemp("erasures") / "orders.jsonl"


@pytest.fixture
async def db(urls: tuple[str, str, str]) -> AsyncIterator[database.Database]:
    opened = database.Database(urls[0], urls[1])
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def tenant() -> uuid.UUID:
    return ids.new_uuid()


@pytest.fixture
async def world(db: database.Database, tenant: uuid.UUID) -> AsyncIterator[World]:
    """Running lanes of one process, and builders for one tenant."""
    made = World(db, tenant)
    made.start()
    yield made
    await made.stop()
