"""A real PostgreSQL for the catalogue's tests, migrated once; a tenant of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from services.kit import database, migrating
from services.mesh import databases, postgres, throwaway
from tests.integration.inventory.catalog.brands import Brand, a_brand

DATABASE = databases.database("inventory")


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Cluster]:
    with throwaway.cluster() as cluster:
        assert migrating.migrate("inventory", cluster.url(DATABASE, databases.MIGRATOR)) == 0
        yield cluster


@pytest.fixture
async def db(server: postgres.Cluster) -> AsyncIterator[database.Database]:
    opened = database.Database(
        server.url(DATABASE, "inventory_app"), server.url(DATABASE, "inventory_worker"), lane_connections=1
    )
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def as_owner(server: postgres.Cluster) -> Iterator[psycopg.Connection[Any]]:
    """A connection that sees everything: for looking at what is kept, and for filling tables."""
    with psycopg.connect(server.url(DATABASE), autocommit=True) as connection:
        yield connection


@pytest.fixture
def brand(db: database.Database) -> Brand:
    return a_brand(db)


@pytest.fixture
def other_brand(db: database.Database) -> Brand:
    return a_brand(db)
