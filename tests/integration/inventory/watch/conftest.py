"""A shop on a real database, and watches on it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.kit import database
from services.mesh import postgres
from tests import worlds
from tests.integration.inventory.watch.tills import Shop


@pytest.fixture(scope="session")
def urls(cluster: postgres.Cluster) -> tuple[str, str]:
    return worlds.migrated(cluster)


@pytest.fixture
async def shop(urls: tuple[str, str], cluster: postgres.Cluster) -> AsyncIterator[Shop]:
    db = database.Database(*urls, lane_connections=4)
    await db.open()
    async with Shop(db, cluster) as made:
        yield made
        for watch in made.watches:
            await watch.hub.stop(0.2)
    await db.close()
