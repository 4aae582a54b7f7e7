"""Status out: what becomes of their orders here is told there once, and a refusal is a person's."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from services.orders.domain import placed_order
from services.orders.domain.marketplaces import values
from services.orders.marketplaces import statuses
from services.orders.store.marketplaces import orders
from tests.integration.orders.placing.marketplaces.ebay_simulator import EbayServer
from tests.integration.orders.placing.marketplaces.market import Market
from tests.integration.orders.placing.shop import Shop

POST_ORDER = "/post-order/"


@pytest.fixture
async def location(shop: Shop, market: Market) -> uuid.UUID:
    """A connected shop with ten lipsticks."""
    made = await shop.location()
    await shop.product("lip", "liner")
    await shop.stock(made, "lip", 10)
    await market.connect(made)
    return made


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (placed_order.CancelReason.OUT_OF_STOCK, "OUT_OF_STOCK_OR_CANNOT_FULFILL"),
        (placed_order.CancelReason.CUSTOMER, "BUYER_ASKED_CANCEL"),
    ],
)
async def test_an_order_that_is_cancelled_here_is_cancelled_there_with_its_reason(
    shop: Shop,
    market: Market,
    server: EbayServer,
    location: uuid.UUID,
    reason: placed_order.CancelReason,
    told: str,
) -> None:
    theirs = server.account.buy(("lip", 2))
    await market.turn()
    taken = (await market.taken())[theirs["orderId"]]
    assert taken.order_id is not None
    await shop.cancel(await shop.desk.asking.load(shop.tenant, taken.order_id), reason=reason)
    await market.turn()
    await market.turn()

    assert [each["cancelReason"] for each in server.account.cancellations] == [told]
    assert (
        server.account.cancellations[0]["buyerPaidDate"]["value"]
        == theirs["paymentSummary"]["payments"][0]["paymentDate"]
    )
    assert await market.states() == {theirs["orderId"]: ("CANCELLED", "NONE")}
    owed = await shop.rows("SELECT owed FROM marketplace_account")
    assert [row.owed for row in owed] == [0]


async def test_a_group_that_was_handed_over_is_told_as_a_package_once(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2))
    await market.turn()
    await shop.execute("UPDATE order_group SET state = 7, updated_at = now() - interval '1 s'")  # HANDED_OVER
    await shop.execute("UPDATE sales_order SET version = version + 1")
    for _ in range(2):
        await market.turn()
    await shop.execute("UPDATE sales_order SET version = version + 1, state = 4")  # COMPLETED
    await market.turn()

    (package,) = server.account.fulfillments[theirs["orderId"]]
    line = theirs["lineItems"][0]["lineItemId"]
    assert package["lineItems"] == [{"lineItemId": line, "quantity": 2}]
    assert await market.states() == {theirs["orderId"]: ("COMPLETED", "NONE")}


async def test_an_order_from_two_locations_is_told_as_two_packages(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    other = await shop.location()
    await shop.stock(other, "liner", 5)
    await shop.execute(f"UPDATE marketplace_connection SET stock_locations = ARRAY['{location}', '{other}']::uuid[]")
    theirs = server.account.buy(("lip", 1), ("liner", 2))
    await market.turn()
    await shop.execute("UPDATE order_group SET state = 7, updated_at = now() - interval '1 s'")
    await shop.execute("UPDATE sales_order SET version = version + 1")
    await market.turn()

    refs = [line["lineItemId"] for line in theirs["lineItems"]]
    told = [package["lineItems"] for package in server.account.fulfillments[theirs["orderId"]]]
    wanted = [[{"lineItemId": refs[0], "quantity": 1}], [{"lineItemId": refs[1], "quantity": 2}]]
    assert sorted(told, key=str) == sorted(wanted, key=str)


@pytest.mark.parametrize("fault", ["no_request", "no_answer"])
async def test_a_status_that_got_no_answer_is_told_until_it_is_heard_and_once(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID, fault: str | int
) -> None:
    theirs = server.account.buy(("nothing", 1))
    await market.turn()
    await reject(market, theirs["orderId"])
    server.account.faults = [(POST_ORDER, fault)]
    await market.turn()
    silent = await market.states()
    await market.turn()

    assert silent == {theirs["orderId"]: ("REJECTED", "SKU_UNKNOWN")}
    assert len(server.account.cancellations) == 1
    assert await market.states() == {theirs["orderId"]: ("CANCELLED", "NONE")}


async def reject(market: Market, number: str) -> None:
    """As RejectMarketplaceOrder."""
    async with market.shop.db.transaction(market.tenant.uuid) as session:
        taken = await orders.lock(session, market.id, number)
        assert taken is not None
        await statuses.reject(session, taken, values.CancelWhy.OUT_OF_STOCK)


async def test_what_the_marketplace_refuses_to_hear_is_a_person_s_and_may_be_told_again(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("nothing", 1), orderFulfillmentStatus="IN_PROGRESS")
    await market.turn()
    await reject(market, theirs["orderId"])
    await market.turn()
    await market.turn()
    refused = (await market.taken())[theirs["orderId"]]
    theirs["orderFulfillmentStatus"] = "NOT_STARTED"
    await reject(market, theirs["orderId"])
    await market.turn()

    assert (refused.state, refused.problem) == (values.State.REJECTED, values.Problem.STATUS_REFUSED)
    assert refused.detail == "CANCELLED ALREADY_SHIPPED"
    assert await market.states() == {theirs["orderId"]: ("CANCELLED", "NONE")}


async def test_what_nobody_decides_about_is_rejected_in_the_connection_s_time(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    unknown = server.account.buy(("nothing", 1))["orderId"]
    unreadable = server.account.buy(("lip", 1))
    unreadable["lineItems"][0].pop("lineItemCost")
    await market.turn()
    early = await market.states()
    await shop.execute("UPDATE marketplace_connection SET cancel_after = interval '1 hour'")
    await market.turn()
    waits = await market.states()
    await shop.execute("UPDATE marketplace_order SET received_at = received_at - interval '2 hours'")
    await market.turn()
    await market.turn()

    assert (
        early
        == waits
        == {
            unknown: ("HELD", "SKU_UNKNOWN"),
            unreadable["orderId"]: ("HELD", "UNREADABLE"),
        }
    )
    assert await market.states() == {
        unknown: ("CANCELLED", "NONE"),
        unreadable["orderId"]: ("HELD", "UNREADABLE"),
    }
    assert dt.timedelta(hours=1) == (await market.connection()).cancel_after


async def test_a_buyer_s_wish_to_cancel_ends_when_the_order_is_cancelled_here(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2))
    await market.turn()
    server.account.touch(theirs["orderId"], cancelStatus={"cancelState": "IN_PROGRESS", "cancelRequests": []})
    await market.turn()
    taken = (await market.taken())[theirs["orderId"]]
    assert taken.order_id is not None
    await shop.cancel(await shop.desk.asking.load(shop.tenant, taken.order_id))
    await market.turn()
    await market.turn()

    assert taken.problem is values.Problem.CANCEL_REQUESTED
    assert await market.states() == {theirs["orderId"]: ("CANCELLED", "NONE")}
