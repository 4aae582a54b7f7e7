"""Stock out: what Inventory has is what the marketplace has in the end, less the buffer, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator

import pytest

from services.orders.domain.marketplaces import listings
from services.orders.marketplaces import port, stock
from services.orders.store.marketplaces import listings as store
from tests.integration.orders.placing.marketplaces.ebay_simulator import EbayServer
from tests.integration.orders.placing.marketplaces.market import DUE, Market
from tests.integration.orders.placing.shop import Shop

BULK = "/sell/inventory/v1/bulk"


@pytest.fixture
async def location(shop: Shop, market: Market, server: EbayServer) -> uuid.UUID:
    """Ten lipsticks and no liner here, listed there with one each."""
    made = await shop.location()
    await shop.product("Lip", "liner")
    await shop.stock(made, "Lip", 10)
    for sku in ("LIP", "liner"):
        server.account.list_item(sku, 1)
    return made


async def due(market: Market) -> None:
    for statement in DUE:
        await market.shop.execute(statement)


async def told(market: Market) -> None:
    """A frame of the stream says that lipsticks changed, and what is due is told."""
    await market.desk.stock.note(market.tenant, market.id, stock.Change(("lip",), "token"))
    await due(market)
    await market.push()


@contextlib.asynccontextmanager
async def watching(market: Market) -> AsyncIterator[None]:
    """The stream of the stock is followed, as by the process that has the lease."""

    async def follow() -> None:
        while True:
            await market.desk.stock.watch(market.tenant, await market.connection())

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_there(market: Market, server: EbayServer, sku: str, units: int) -> None:
    async with asyncio.timeout(10):
        while server.account.listed(sku) != units:
            await asyncio.sleep(0.05)
            await due(market)
            await market.push()


async def test_what_is_listed_gets_what_there_is_less_the_buffer(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    other = await shop.location()
    await shop.stock(other, "lip", 5)
    server.account.list_item("not ours", 4)
    await market.connect(location, location, other, buffer=2)

    await market.turn()

    assert (server.account.listed("LIP"), server.account.listed("liner")) == (13, 0)
    rows = await market.listings()
    assert (rows["not ours"].failure, server.account.listed("not ours")) == ("SKU_UNKNOWN", 4), "it is left alone"
    assert (rows["LIP"].due_at, rows["LIP"].failure) == (listings.NEVER, "")


async def test_every_change_of_the_stock_reaches_the_marketplace(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    await market.connect(location)
    await market.turn()
    async with watching(market):
        await until_there(market, server, "LIP", 10)
        await shop.stock(location, "lip", -3)
        await until_there(market, server, "LIP", 7)
        await shop.stock(location, "liner", 4)
        await until_there(market, server, "liner", 4)
        token = (await market.connection()).watch_token
    await shop.stock(location, "lip", -2)  # while nobody follows
    async with watching(market):
        await until_there(market, server, "LIP", 5)

    assert token, "the stream goes on where it was"


async def test_a_stream_that_cannot_go_on_begins_anew_and_misses_nothing(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    await market.connect(location)
    await market.turn()
    await shop.execute("UPDATE marketplace_connection SET watch_token = 'bm90IGEgdG9rZW4'")
    await shop.stock(location, "lip", -4)
    with contextlib.suppress(Exception):
        await market.desk.stock.watch(market.tenant, await market.connection())
    await shop.execute("UPDATE marketplace_connection SET watch_token = ''")
    async with watching(market):
        await until_there(market, server, "LIP", 6)


async def test_changes_are_told_as_one_and_a_quantity_that_is_there_is_not_told(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    await market.connect(location)
    await market.turn()
    told = len(server.account.quantities)
    for units in (-1, -1, -1, 3):
        await shop.stock(location, "lip", units)
        await market.desk.stock.note(market.tenant, market.id, stock.Change(("lip",), "token"))
    waits = (await market.listings())["LIP"].due_at - dt.datetime.now(dt.UTC)
    await market.push()
    await market.turn()

    assert dt.timedelta(0) < waits <= listings.COALESCE
    assert len(server.account.quantities) == told, "the last quantity is the one that is there"


async def test_what_the_marketplace_sold_itself_is_told_again_when_listings_are_read(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    await market.connect(location)
    await market.turn()
    server.account.buy(("LIP", 2), orderPaymentStatus="PENDING")  # it holds units for somebody who never pays
    held = server.account.listed("LIP")
    await market.turn()
    await market.turn()

    assert (held, server.account.listed("LIP")) == (8, 10)


async def test_a_quantity_is_told_again_when_an_order_and_a_delivery_leave_it_as_it_was(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    await market.connect(location)
    await market.turn()
    server.account.buy(("LIP", 2))
    sold = server.account.listed("LIP")
    await shop.stock(location, "lip", 2)
    await shop.execute("UPDATE marketplace_connection SET polled_at = NULL")  # listings are not read again
    await market.turn(again=False)
    await due(market)
    await market.push()

    assert (sold, server.account.listed("LIP")) == (8, 10)
    assert await shop.units(location, "lip") == (10, 0, 2)


@pytest.mark.parametrize("fault", ["no_answer", 500])
async def test_a_quantity_of_unknown_end_is_told_again_and_read_back(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID, fault: str | int
) -> None:
    await market.connect(location)
    await market.turn()
    await shop.stock(location, "lip", -3)
    await market.desk.stock.note(market.tenant, market.id, stock.Change(("lip",), "token"))
    server.account.faults = [(BULK, fault)]
    await due(market)
    await market.push()
    doubted = (await market.listings())["LIP"]
    await due(market)
    await market.push()
    told = (await market.listings())["LIP"]
    await due(market)
    await market.push()
    checked = (await market.listings())["LIP"]

    assert (doubted.unsure, doubted.quantity, doubted.failure[:9]) == (True, None, "NO_ANSWER")
    assert (told.unsure, told.quantity) == (True, 7)
    assert (checked.unsure, checked.quantity, checked.due_at) == (False, 7, listings.NEVER)
    assert server.account.listed("LIP") == 7


async def test_a_quantity_that_arrives_late_does_not_stay(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    await market.connect(location)
    await market.turn()
    await shop.stock(location, "lip", -1)
    server.account.faults = [(BULK, "late")]
    await told(market)  # nine are on their way
    await shop.stock(location, "lip", -5)
    await told(market)
    newest = server.account.listed("LIP")
    server.account.arrive()
    overwritten = server.account.listed("LIP")
    for _ in range(3):
        await due(market)
        await market.push()

    assert (newest, overwritten, server.account.listed("LIP")) == (4, 9, 4)


async def test_two_processes_that_tell_at_the_same_time_end_with_the_last_quantity(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    """Each claims, and whoever is overtaken is noticed; the stock goes on changing meanwhile."""
    other = Market(shop, server.url)
    await market.connect(location)
    await market.turn()
    other.id = market.id

    async def sell() -> None:
        for _ in range(6):
            await shop.stock(location, "lip", -1)
            await market.desk.stock.note(market.tenant, market.id, stock.Change(("lip",), "token"))

    async def tell(by: Market) -> None:
        for _ in range(6):
            await due(by)
            await by.push()

    await asyncio.gather(sell(), tell(market), tell(other))
    for _ in range(6):
        await due(market)
        await market.push()
    await other.close()

    assert server.account.listed("LIP") == 4
    assert (await market.listings())["LIP"].due_at == listings.NEVER


async def test_a_marketplace_that_throttles_is_told_later_and_surely_was_not_told(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    await market.connect(location)
    await market.turn()
    await shop.stock(location, "lip", -3)
    await market.desk.stock.note(market.tenant, market.id, stock.Change(("lip",), "token"))
    await due(market)
    server.account.throttled = 1
    with pytest.raises(port.Throttled):
        await market.push()
    waiting = (await market.listings())["LIP"]
    await due(market)
    await market.push()

    assert (waiting.failure, waiting.unsure, waiting.quantity) == ("THROTTLED", False, 10)
    assert server.account.listed("LIP") == 7


async def test_when_a_sku_was_changed_too_often_today_only_sold_out_is_told(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    await market.connect(location)
    await market.turn()
    await shop.execute("UPDATE marketplace_listing SET revisions = 200")
    await shop.stock(location, "lip", -3)
    await told(market)
    waiting = (await market.listings())["LIP"]
    await shop.stock(location, "lip", -7)
    await told(market)

    assert (waiting.failure, waiting.due_at.date()) == (
        "REVISIONS",
        dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1),
    )
    assert server.account.listed("LIP") == 0


async def test_a_listing_that_is_gone_is_forgotten(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    await market.connect(location)
    await market.turn()
    server.account.items.pop("liner")
    server.account.offers.clear()
    await market.turn()

    assert set(await market.listings()) == {"LIP"}


async def test_many_listings_are_told_in_batches(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    skus = [f"many-{number:03d}" for number in range(60)]
    await shop.product(*skus[:1])
    for sku in skus:
        server.account.list_item(sku, 1, offer=False)
    await market.connect(location)
    await market.turn()

    assert await market.listings()
    assert server.account.listed(skus[0]) == 0
    assert {row.failure for sku, row in (await market.listings()).items() if sku in skus[1:]} == {"SKU_UNKNOWN"}
    async with shop.db.transaction(shop.tenant.uuid) as session:
        assert await store.claim_due(session, market.id, 25, listings.claim) == []
