"""Orders of a marketplace become orders here: once, with its prices and taxes, or wait for a person."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from services.kit import ids
from services.orders.domain import placed_order, sale
from services.orders.domain.marketplaces import values
from tests.integration.orders.placing.marketplaces.ebay_simulator import EbayServer, money
from tests.integration.orders.placing.marketplaces.market import Market
from tests.integration.orders.placing.shop import Shop

PLACED, HELD = ("PLACED", "NONE"), "HELD"


@pytest.fixture
async def location(shop: Shop, market: Market) -> uuid.UUID:
    """A connected shop with ten lipsticks."""
    made = await shop.location()
    await shop.product("lip")
    await shop.stock(made, "lip", 10)
    await market.connect(made)
    return made


async def order_of(shop: Shop, taken: values.Taken) -> sale.Order:
    assert taken.order_id is not None
    found = await shop.desk.asking.load(shop.tenant, taken.order_id)
    assert found.placed is not None
    return found


async def test_an_order_is_placed_with_the_marketplace_s_prices_and_its_units_are_allocated(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2), price=1250)  # ours is 1000

    assert await market.turn()

    taken = (await market.taken())[theirs["orderId"]]
    order = await order_of(shop, taken)
    assert (taken.state, order.state, order.channel) == (
        values.State.PLACED,
        sale.OrderState.PLACED,
        sale.Channel.MARKETPLACE,
    )
    assert (order.total, order.lines[0].unit_price, order.lines[0].name) == (2500, 1250, "A thing")
    assert order.placed is not None
    assert (order.placed.marketplace, order.placed.external_reference) == ("ebay", theirs["orderId"])
    assert order.placed.payment.captured == 2500
    assert [tender.type for tender in order.tenders] == [sale.TenderType.MARKETPLACE]
    assert await shop.units(location, "lip") == (8, 0, 2)
    assert shop.books() == [], "no bank was asked"


async def test_who_ordered_is_a_customer_and_stands_nowhere_else(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 1))
    await market.turn()

    taken = (await market.taken())[theirs["orderId"]]
    order = await order_of(shop, taken)
    assert taken.customer_id is not None
    assert taken.address_id is not None
    assert order.customer_id == taken.customer_id
    customer = await market.profiles.get(shop.tenant.uuid, taken.customer_id)
    (address,) = await market.profiles.addresses(shop.tenant.uuid, taken.customer_id)
    assert (customer.profile.family_name, customer.profile.email) == ("Buyer", "0a1b2c3d4e@members.ebay.com")
    assert (address.id, address.city, address.lines) == (taken.address_id, "Graz", ("Hauptplatz 1",))
    assert order.placed is not None
    assert order.placed.method == placed_order.Delivery(
        ids.encode("adr", taken.address_id), "AT", "AT_StandardDispatch"
    )
    async with shop.db.read(shop.tenant.uuid, snapshot=True) as session:
        recipients = await shop.people.recipients.of(session, shop.tenant.uuid, [order.id])
    place = recipients[order.id][1].place
    assert place is not None
    assert place.city == "Graz"
    kept = await shop.rows("SELECT content::text AS text FROM marketplace_order")
    assert all(word not in kept[0].text for word in ("Berta", "Graz", "members.ebay.com", "316123456"))


async def test_a_second_order_of_the_same_buyer_is_the_same_customer_s(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    for _ in range(2):
        server.account.buy(("lip", 1))
    await market.turn()

    taken = list((await market.taken()).values())
    assert len({each.customer_id for each in taken}) == 1
    assert len({each.address_id for each in taken}) == 2


async def test_taxes_that_the_marketplace_collects_are_kept_apart_from_ours(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2))  # 20.00
    line = theirs["lineItems"][0]
    line["taxes"] = [
        {"taxType": "STATE_SALES_TAX", "amount": money(165)},
        {"taxType": "ECO_PARTICIPATION", "amount": money(40)},
    ]
    line["ebayCollectAndRemitTaxes"] = [{"taxType": "STATE_SALES_TAX", "amount": money(165), "collectionMethod": "NET"}]
    theirs["pricingSummary"].update(tax=money(205), deliveryCost=money(500), total=money(2000 + 205 + 500))
    theirs["pricingSummary"]["deliveryDiscount"] = money(-100)
    theirs["pricingSummary"]["total"] = money(2000 + 205 + 400)

    await market.turn()

    taken = (await market.taken())[theirs["orderId"]]
    order = await order_of(shop, taken)
    assert (order.net_total, order.tax_total, order.total) == (2400, 40, 2440)
    assert [(tax.name, tax.amount) for tax in order.lines[0].taxes] == [("ECO_PARTICIPATION", 40)]
    assert [(each.kind, each.net_amount) for each in order.lines[1:]] == [(sale.LineKind.SHIPPING, 400)]
    assert taken.content is not None
    assert taken.content.lines[0].collected == (values.Part("STATE_SALES_TAX", 165),)
    owed = await shop.rows("SELECT owed FROM marketplace_account")
    assert [row.owed for row in owed] == [2440], "the collected tax is not owed to us"


async def test_discounts_are_taken_as_the_marketplace_says(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 3))
    theirs["lineItems"][0]["discountedLineItemCost"] = money(2501)
    theirs["pricingSummary"].update(priceDiscount=money(-499), total=money(2501))

    await market.turn()

    order = await order_of(shop, (await market.taken())[theirs["orderId"]])
    assert (order.total, order.discount_total, order.lines[0].net_amount) == (2501, 499, 2501)


async def test_the_same_order_again_is_the_same_order(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2))
    await market.turn()
    for _ in range(2):
        server.account.touch(theirs["orderId"])
        await market.turn()
    await shop.execute("UPDATE marketplace_order SET state = 1, order_id = NULL, due_at = now()")  # as after a crash
    await market.turn()
    async with shop.db.worker() as session:  # its key is forgotten after four days, the order isn't
        await session.execute(sa.text("DELETE FROM order_saga WHERE tenant_id = :of"), {"of": shop.tenant.uuid})
    await shop.execute("UPDATE marketplace_order SET state = 1, order_id = NULL, due_at = now()")
    await market.turn()

    assert len(await shop.rows("SELECT 1 FROM sales_order")) == 1
    assert await market.states() == {theirs["orderId"]: PLACED}
    assert await shop.units(location, "lip") == (8, 0, 2)


async def test_twenty_who_place_it_at_once_place_it_once(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2))
    of = await market.connection()
    await market.desk.intake.read(shop.tenant, market.id, market.ebay)
    received = (await market.taken())[theirs["orderId"]]

    await asyncio.gather(*(market.desk.placing.place(shop.tenant, of, received) for _ in range(20)))
    await market.turn()

    assert await market.states() == {theirs["orderId"]: PLACED}
    assert len(await shop.rows("SELECT 1 FROM sales_order")) == 1
    assert await shop.units(location, "lip") == (8, 0, 2)
    assert len(await shop.rows("SELECT 1 FROM marketplace_entry")) == 1


# --- what can't be placed ---


async def change(theirs: dict[str, Any], how: str) -> None:
    if how == "unknown":
        theirs["lineItems"][0]["sku"] = "nobody-knows"
    elif how == "nameless":
        theirs["lineItems"][0].pop("sku")
    elif how == "currency":
        theirs["pricingSummary"]["total"] = money(2000, "USD")
        theirs["lineItems"][0]["lineItemCost"] = money(2000, "USD")
        theirs["pricingSummary"]["deliveryCost"] = money(0, "USD")
    elif how == "differs":
        theirs["pricingSummary"]["total"] = money(1999)
    elif how == "unreadable":
        theirs["lineItems"][0].pop("lineItemCost")


@pytest.mark.parametrize(
    ("how", "problem", "detail"),
    [
        ("unknown", "SKU_UNKNOWN", "sku=nobody-knows"),
        ("nameless", "SKU_UNKNOWN", "sku=A listing of lip"),
        ("currency", "CURRENCY_DIFFERS", "expected=EUR"),
        ("differs", "AMOUNTS_DIFFER", "2000 and 1999"),
    ],
)
async def test_what_cannot_be_placed_waits_for_a_person(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID, how: str, problem: str, detail: str
) -> None:
    theirs = server.account.buy(("lip", 2))
    await change(theirs, how)

    await market.turn()
    await market.turn()

    taken = (await market.taken())[theirs["orderId"]]
    assert (taken.state.name, taken.problem.name, taken.detail) == (HELD, problem, detail)
    assert await shop.units(location, "lip") == (10, 0, 0)
    health = (await market.connection()).health
    assert health is not None
    assert (health.problems, health.failures) == (1, 0)


async def test_an_order_without_stock_is_placed_once_there_is_some_and_a_person_says_so(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 12))
    await market.turn()
    short = (await market.taken())[theirs["orderId"]]

    await shop.stock(location, "lip", 5)
    await shop.execute(
        "UPDATE marketplace_order SET state = 1, problem = 0, due_at = now()"
    )  # as RetryMarketplaceOrder
    await market.turn()

    assert (short.problem, short.detail) == (values.Problem.OUT_OF_STOCK, "lip")
    assert await market.states() == {theirs["orderId"]: PLACED}
    assert await shop.units(location, "lip") == (3, 0, 12)


async def test_what_was_held_is_tried_again_when_the_marketplace_changes_it(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2))
    await change(theirs, "unreadable")
    await market.turn()
    before = await market.states()

    theirs["lineItems"][0]["lineItemCost"] = money(2000)
    server.account.touch(theirs["orderId"])
    await market.turn()

    assert before == {theirs["orderId"]: (HELD, "UNREADABLE")}
    assert await market.states() == {theirs["orderId"]: PLACED}


async def test_an_order_that_is_not_paid_yet_comes_in_when_it_is(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 1), orderPaymentStatus="FAILED")
    await market.turn()
    before = await market.states()
    server.account.touch(theirs["orderId"], orderPaymentStatus="PAID")
    await market.turn()

    assert before == {}
    assert await market.states() == {theirs["orderId"]: PLACED}


# --- cancelled there ---


async def test_an_order_that_is_cancelled_there_is_cancelled_here_and_nothing_is_owed(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2))
    await market.turn()

    server.account.cancel(theirs["orderId"])
    await market.turn()
    await market.turn()

    taken = (await market.taken())[theirs["orderId"]]
    assert (taken.state, (await order_of(shop, taken)).state) == (values.State.CANCELLED, sale.OrderState.CANCELLED)
    assert await shop.units(location, "lip") == (10, 0, 0)
    entries = await shop.rows("SELECT kind, amount, owed_after FROM marketplace_entry ORDER BY seq")
    assert [tuple(row) for row in entries] == [(1, 2000, 2000), (2, 2000, 0)]
    assert server.account.cancellations == [], "it knows already"


async def test_an_order_that_was_cancelled_before_it_came_is_not_placed(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2))
    server.account.cancel(theirs["orderId"])
    await market.turn()

    assert await market.states() == {theirs["orderId"]: ("CANCELLED", "NONE")}
    assert await shop.rows("SELECT 1 FROM sales_order") == []


async def test_an_order_on_which_work_has_begun_is_a_person_s_when_it_is_cancelled_there(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID
) -> None:
    theirs = server.account.buy(("lip", 2))
    await market.turn()
    await shop.execute("UPDATE order_group SET state = 5")  # PICKING
    server.account.cancel(theirs["orderId"])
    await market.turn()

    taken = (await market.taken())[theirs["orderId"]]
    assert (taken.state, taken.problem, taken.detail) == (
        values.State.PLACED,
        values.Problem.CANCELLED_THERE,
        "PICKING",
    )


@pytest.mark.parametrize("how", ["asked", "changed"])
async def test_what_the_marketplace_changes_after_it_was_placed_is_shown(
    shop: Shop, market: Market, server: EbayServer, location: uuid.UUID, how: str
) -> None:
    theirs = server.account.buy(("lip", 2))
    await market.turn()
    if how == "asked":
        server.account.touch(theirs["orderId"], cancelStatus={"cancelState": "IN_PROGRESS", "cancelRequests": []})
    else:
        theirs["lineItems"][0]["quantity"] = 1
        server.account.touch(theirs["orderId"])
    await market.turn()

    problem = {"asked": "CANCEL_REQUESTED", "changed": "CHANGED_THERE"}[how]
    assert await market.states() == {theirs["orderId"]: ("PLACED", problem)}
    assert await shop.units(location, "lip") == (8, 0, 2)
