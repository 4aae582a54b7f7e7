"""kill -9 around everything that a marketplace is told or that is kept of it: one order, the last quantity, told once."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.orders.placing.marketplaces import market_process
from tests.integration.orders.placing.marketplaces.ebay_simulator import EbayServer
from tests.integration.orders.placing.marketplaces.market import Market
from tests.integration.orders.placing.shop import Shop

#: Between what the saga's own tests kill (tests/…/placing/test_crashes.py).
PLACING = ("marketplace_kept:after", "begin:after", "marketplace_placed:before", "marketplace_placed:after")
TELLING = ("marketplace_told:before", "marketplace_told:after")
QUANTITIES = ("marketplace_quantities:before", "marketplace_quantities:after")


@pytest.fixture(scope="module")
def forks() -> Iterator[Any]:
    """Processes that begin with everything loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([market_process.__name__])
    yield context


def process(forks: Any, market: Market, server: EbayServer, at: str = "", turns: int = 1) -> Any:
    given = (market.shop.place, uuid.UUID(market.tenant.uuid), server.url, market.id, at, turns)
    made = forks.Process(target=market_process.tend, args=given)
    made.start()
    return made


async def dies(forks: Any, market: Market, server: EbayServer, at: str) -> None:
    made = process(forks, market, server, at)
    await asyncio.to_thread(made.join, 120)
    assert made.exitcode == -signal.SIGKILL, f"{at} was never reached"


@pytest.fixture
async def location(shop: Shop, market: Market, server: EbayServer) -> uuid.UUID:
    made = await shop.location()
    await shop.product("lip")
    await shop.stock(made, "lip", 10)
    server.account.list_item("lip", 1)
    await market.connect(made)
    return made


async def calm_down(shop: Shop, market: Market) -> None:
    """Another process goes on: sagas, orders, quantities and what is to be told, until nothing is left."""
    for _ in range(3):
        await shop.resume()
        await market.turn()


@pytest.mark.parametrize("at", PLACING)
async def test_an_order_whose_process_dies_is_placed_once(
    forks: Any, shop: Shop, market: Market, server: EbayServer, location: uuid.UUID, at: str
) -> None:
    theirs = server.account.buy(("lip", 2))
    await dies(forks, market, server, at)

    await calm_down(shop, market)

    assert await market.states() == {theirs["orderId"]: ("PLACED", "NONE")}
    assert await shop.units(location, "lip") == (8, 0, 2)
    assert len(await shop.rows("SELECT 1 FROM sales_order WHERE state = 3")) == 1
    owed = await shop.rows("SELECT seq, owed FROM marketplace_account")
    assert [tuple(row) for row in owed] == [(1, 2000)]
    assert len(await shop.rows("SELECT 1 FROM customer")) == 1
    assert server.account.listed("lip") == 8


@pytest.mark.parametrize("at", TELLING)
async def test_what_a_process_told_as_it_died_is_told_once(
    forks: Any, shop: Shop, market: Market, server: EbayServer, location: uuid.UUID, at: str
) -> None:
    theirs = server.account.buy(("lip", 2))
    await market.turn()
    taken = (await market.taken())[theirs["orderId"]]
    assert taken.order_id is not None
    await shop.cancel(await shop.desk.asking.load(shop.tenant, taken.order_id))
    await dies(forks, market, server, at)

    await calm_down(shop, market)

    assert len(server.account.cancellations) == 1
    assert await market.states() == {theirs["orderId"]: ("CANCELLED", "NONE")}


@pytest.mark.parametrize("at", QUANTITIES)
async def test_a_quantity_whose_sender_died_is_told_and_sure_in_the_end(
    forks: Any, shop: Shop, market: Market, server: EbayServer, location: uuid.UUID, at: str
) -> None:
    await dies(forks, market, server, at)
    left = (await market.listings())["lip"]

    await calm_down(shop, market)

    row = (await market.listings())["lip"]
    assert (left.sending, row.sending, row.unsure, row.quantity) == (True, False, False, 10)
    assert server.account.listed("lip") == 10


async def test_two_processes_that_take_the_same_orders_in_place_each_once(
    forks: Any, shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = {server.account.buy(("lip", 1))["orderId"] for _ in range(6)}
    both = [process(forks, market, server, turns=3) for _ in range(2)]
    for each in both:
        await asyncio.to_thread(each.join, 120)
    await calm_down(shop, market)

    assert [each.exitcode for each in both] == [0, 0]
    assert await market.states() == dict.fromkeys(theirs, ("PLACED", "NONE"))
    assert len(await shop.rows("SELECT 1 FROM sales_order WHERE state = 3")) == 6
    assert await shop.units(location, "lip") == (4, 0, 6)
    owed = await shop.rows("SELECT seq, owed FROM marketplace_account")
    assert [tuple(row) for row in owed] == [(6, 6000)]
