"""A tenant that moves its stock between locations, on a real database, with one process's lanes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.kit import database
from services.mesh import postgres
from tests import worlds
from tests.integration.inventory.transfers import moving


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
async def world(db: database.Database) -> AsyncIterator[moving.MovingWorld]:
    async with moving.MovingWorld(db) as made:
        yield made
