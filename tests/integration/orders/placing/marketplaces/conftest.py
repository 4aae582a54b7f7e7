"""eBay's simulator, and a shop that sells there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.orders.placing.marketplaces.ebay_simulator import EbayServer
from tests.integration.orders.placing.marketplaces.market import Market
from tests.integration.orders.placing.shop import Shop


@pytest.fixture
def server() -> Iterator[EbayServer]:
    made = EbayServer()
    yield made
    made.close()


@pytest.fixture
async def market(shop: Shop, server: EbayServer) -> AsyncIterator[Market]:
    made = Market(shop, server.url)
    yield made
    await made.close()
