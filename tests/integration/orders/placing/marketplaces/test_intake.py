"""Orders in: none is missed, whatever happens while they are read, and the cursor tells no more than is known."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from services.orders.domain.marketplaces import reading
from tests.integration.orders.placing.marketplaces.ebay_simulator import Account, EbayServer, moment
from tests.integration.orders.placing.marketplaces.market import Market
from tests.integration.orders.placing.shop import Shop

ORDERS = "GET /sell/fulfillment/v1/order"


@pytest.fixture(autouse=True)
async def connected(shop: Shop, market: Market) -> uuid.UUID:
    """A shop without products: what comes in is held, which is all that is asked here."""
    made = await shop.location()
    await market.connect(made)
    return made


async def read(market: Market) -> int:
    return await market.desk.intake.read(market.tenant, market.id, market.ebay)


async def numbers(market: Market) -> set[str]:
    return set(await market.taken())


@pytest.mark.parametrize("newest_first", [True, False])
async def test_orders_that_change_while_they_are_paged_hide_no_others(
    market: Market, server: EbayServer, newest_first: bool
) -> None:
    account = server.account
    account.page_size, account.newest_first = 2, newest_first
    theirs = [account.buy(("lip", 1))["orderId"] for _ in range(7)]
    left = iter(theirs if not newest_first else theirs[::-1])

    def leave(account: Account, _offset: int) -> None:
        """The order that was told first is modified, and all behind it move up by one."""
        number = next(left, None)
        if number is not None:
            account.orders[number]["lastModifiedDate"] = moment(account.now() + dt.timedelta(seconds=3))

    account.after_page = leave
    await read(market)
    kept_while_moving = await numbers(market)
    account.after_page = None
    before = (await market.connection()).cursor_at
    await read(market)

    assert set(theirs[3:] if not newest_first else theirs[:-3]) <= kept_while_moving
    assert (await market.connection()).cursor_at >= before
    for number in theirs:
        account.orders[number]["lastModifiedDate"] = moment(account.now() - dt.timedelta(seconds=2))
    await read(market)
    assert await numbers(market) == set(theirs)


async def test_equal_times_at_the_edge_of_a_page_and_of_a_stretch_are_all_seen(
    market: Market, server: EbayServer
) -> None:
    server.account.page_size = 2
    at = moment(server.account.now() - dt.timedelta(seconds=10))
    first = {server.account.buy(("lip", 1), lastModifiedDate=at)["orderId"] for _ in range(5)}
    await read(market)
    seen = await numbers(market)
    late = server.account.buy(("lip", 1), lastModifiedDate=at)["orderId"]  # shown late, with an older time
    await read(market)

    assert seen == first
    assert await numbers(market) == {*first, late}


async def test_a_pass_that_cannot_be_completed_does_not_move_the_cursor_and_is_tried_on_less(
    market: Market, server: EbayServer
) -> None:
    account = server.account
    account.page_size = 1
    theirs = [account.buy(("lip", 1)) for _ in range(3)]
    hidden = account.orders.pop(theirs[0]["orderId"])

    def stir(account: Account, _offset: int) -> None:
        """Each page is of another number of orders."""
        if account.orders.pop(hidden["orderId"], None) is None:
            account.orders[hidden["orderId"]] = hidden

    account.after_page = stir
    before = await market.connection()
    for _ in range(2):
        await read(market)
    stirred = await market.connection()
    failures = (await market.shop.rows("SELECT pass_failures FROM marketplace_connection"))[0].pass_failures
    account.after_page = None
    account.orders[hidden["orderId"]] = hidden
    await read(market)

    assert stirred.cursor_at == before.cursor_at
    assert failures == 2
    assert (await market.connection()).cursor_at > before.cursor_at
    assert await numbers(market) == set(account.orders)


async def test_a_failure_in_the_middle_leaves_the_cursor_and_loses_nothing(market: Market, server: EbayServer) -> None:
    account = server.account
    account.page_size = 2
    theirs = {account.buy(("lip", 1))["orderId"] for _ in range(5)}
    await market.ebay.clock()
    before = (await market.connection()).cursor_at
    account.faults = [("/identity", ""), ("/sell/fulfillment/v1/order", "")]

    def fail(account: Account, offset: int) -> None:
        if offset == 0:
            account.faults = [("/sell/fulfillment/v1/order", 500)]

    account.after_page = fail
    assert not await market.turn()
    failed = await market.connection()
    account.after_page = None
    await market.turn()

    assert failed.cursor_at == before
    assert failed.health is not None
    assert (failed.health.failure, failed.health.failures) == ("NOANSWER 30500", 1)
    assert await numbers(market) == theirs
    health = (await market.connection()).health
    assert health is not None
    assert (health.failure, health.failures) == ("", 0)


@pytest.mark.parametrize("minutes", [-25, 25])
async def test_a_clock_that_differs_from_ours_loses_nothing(market: Market, server: EbayServer, minutes: int) -> None:
    account = server.account
    account.skew = dt.timedelta(minutes=minutes)
    await market.shop.execute(f"UPDATE marketplace_connection SET cursor_at = now() + interval '{minutes - 1} minutes'")
    theirs = set()
    for _ in range(2):
        theirs.add(account.buy(("lip", 1))["orderId"])
        await read(market)

    assert await numbers(market) == theirs
    assert (await market.connection()).cursor_at <= account.now()


async def test_what_happened_while_nobody_looked_is_read_in_stretches(market: Market, server: EbayServer) -> None:
    account = server.account
    theirs = set()
    for days in range(3):
        at = moment(account.now() - dt.timedelta(days=days, seconds=5))
        theirs.add(account.buy(("lip", 1), lastModifiedDate=at, creationDate=at)["orderId"])
    await market.shop.execute("UPDATE marketplace_connection SET cursor_at = now() - interval '80 hours'")

    stretches = await read(market)

    assert stretches == 4
    assert await numbers(market) == theirs
    assert dt.timedelta(hours=24) == reading.SPAN_MAX


async def test_a_throttled_connection_is_left_alone_for_as_long_as_it_says(market: Market, server: EbayServer) -> None:
    account = server.account
    theirs = account.buy(("lip", 1))["orderId"]
    account.throttled, account.retry_after = 1, "3600"
    await market.turn()
    calls = len(account.calls)
    await market.turn(again=False)
    waits = await market.connection()
    quiet = len(account.calls) - calls
    await market.turn()

    assert quiet == 0
    assert waits.health is not None
    assert waits.health.failure == "THROTTLED"
    assert waits.health.throttled_until is not None
    left = waits.health.throttled_until - dt.datetime.now(dt.UTC)
    assert dt.timedelta(minutes=58) < left <= dt.timedelta(hours=1)
    assert await numbers(market) == {theirs}


async def test_an_account_that_is_locked_out_says_so_and_goes_on_when_it_is_good_again(
    market: Market, server: EbayServer
) -> None:
    account = server.account
    theirs = account.buy(("lip", 1))["orderId"]
    good, account.refresh = account.refresh, "withdrawn"
    await market.turn()
    locked = (await market.connection()).health
    account.refresh = good
    await market.turn()

    assert locked is not None
    assert locked.failure == "LOCKED_OUT invalid_grant"
    assert await numbers(market) == {theirs}


async def test_a_paused_connection_does_nothing_and_makes_up_for_it(market: Market, server: EbayServer) -> None:
    await market.shop.execute("UPDATE marketplace_connection SET state = 2")
    theirs = server.account.buy(("lip", 1))["orderId"]
    await market.turn()
    asked = list(server.account.calls)
    await market.shop.execute("UPDATE marketplace_connection SET state = 1")
    await market.turn()

    assert asked == []
    assert await numbers(market) == {theirs}
