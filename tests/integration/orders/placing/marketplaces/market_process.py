"""A process that tends a connection and may be killed at a failpoint. Forked from a server that has loaded everything."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid

from services.kit import failpoints
from tests.integration.orders.placing.marketplaces.market import Market
from tests.integration.orders.placing.shop import Place, Shop


def tend(place: Place, tenant: uuid.UUID, url: str, connection: uuid.UUID, at: str, turns: int) -> None:
    """Does turns; ends by SIGKILL at the failpoint `at`, by itself when it was never reached."""

    def reached(name: str) -> None:
        if name == at:
            os.kill(os.getpid(), signal.SIGKILL)

    failpoints.hook = reached
    asyncio.run(_tend(place, tenant, url, connection, turns))


async def _tend(place: Place, tenant: uuid.UUID, url: str, connection: uuid.UUID, turns: int) -> None:
    shop = Shop(place, tenant)
    await shop.db.open()
    market = Market(shop, url)
    market.id = connection
    for _ in range(turns):
        await market.turn()
    await market.close()
    await shop.close()
