"""Drafts hold no units; offers hold their prices; what can't be placed stays a draft; and time runs out."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from typing import Any

import pytest

from services.kit import errors, ids, principal
from services.orders.domain import payments as paying
from services.orders.domain import placed_order, placement, sale
from services.orders.mapping import placing_requests
from tests.integration.orders.placing.shop import PRICE, Shop
from tillmesh.orders.v1 import orders_pb2, placement_pb2

TYPES = "SELECT type FROM outbox WHERE type LIKE '%.Order%' ORDER BY seq_to"


class Clerk:
    """Somebody who writes drafts, as the rpcs do."""

    def __init__(self, shop: Shop, location: uuid.UUID) -> None:
        self.shop = shop
        self.location = location
        self.caller = shop.caller()
        self.customer = ""

    def content(self, units: int = 1, sku: str = "lip") -> placement_pb2.OrderContent:
        location = ids.encode("loc", self.location)
        made = placement_pb2.OrderContent(location_id=location, customer_id=self.customer)
        made.lines.add(code=sku, quantity=units)
        made.delivery.country_code = "AT"
        return made

    async def create(self, units: int = 1, sku: str = "lip", **more: Any) -> orders_pb2.Order:
        principal.enter(self.caller)
        request = placement_pb2.CreateDraftOrderRequest(content=self.content(units, sku), **more)
        command = placing_requests.create_draft(request, self.caller)
        return await self.shop.desk.drafting.create(self.shop.tenant, command)

    async def update(self, order: orders_pb2.Order, units: int, **more: Any) -> orders_pb2.Order:
        principal.enter(self.caller)
        request = placement_pb2.UpdateDraftOrderRequest(order_id=order.id, content=self.content(units), **more)
        command = placing_requests.update_draft(request, self.caller)
        return await self.shop.desk.drafting.update(self.caller, self.shop.tenant, command)

    async def quote(self, order: orders_pb2.Order, **more: Any) -> orders_pb2.Order:
        principal.enter(self.caller)
        command = placing_requests.quote(placement_pb2.QuoteOrderRequest(order_id=order.id, **more), self.caller)
        return await self.shop.desk.drafting.quote(self.caller, self.shop.tenant, command)

    async def place(self, order: orders_pb2.Order, total: int, token: str = "sim_ok", **more: Any) -> sale.Order:
        principal.enter(self.caller)
        request = placement_pb2.PlaceDraftOrderRequest(order_id=order.id, **more)
        request.payment.tenders.add(type="TENDER_TYPE_CARD", token=token, minor_units=total)
        command = placing_requests.place_draft(request, self.caller)
        return await self.shop.desk.placing.place_draft(self.caller, self.shop.tenant, command)


@pytest.fixture
async def clerk(shop: Shop) -> Clerk:
    location = await shop.location()
    await shop.product("lip")
    await shop.stock(location, "lip", 5)
    return Clerk(shop, location)


async def types(shop: Shop) -> list[str]:
    return [row.type.rpartition(".")[2] for row in await shop.rows(TYPES)]


async def test_a_draft_holds_nothing_until_it_is_placed(clerk: Clerk) -> None:
    shop = clerk.shop
    draft = await clerk.create(2)
    changed = await clerk.update(draft, 3, expected_version=1)
    assert await shop.units(clerk.location, "lip") == (5, 0, 0)

    order = await clerk.place(changed, 3 * PRICE, expected_version=2)

    assert (draft.state, draft.version, changed.version) == (orders_pb2.ORDER_STATE_DRAFT, 1, 2)
    assert draft.number == changed.number == str(order.placed and order.placed.number)
    assert (order.state, order.version, order.total) == (sale.OrderState.PLACED, 3, 3 * PRICE)
    assert order.placed is not None
    assert order.placed.valid_until is None
    assert (await shop.units(clerk.location, "lip"), shop.books()) == ((2, 0, 3), [(0, 3 * PRICE, 0)])
    assert await types(shop) == ["OrderDrafted", "OrderDrafted", "OrderPlaced"]
    assert await shop.rows("SELECT 1 FROM order_draft_due") == []


async def test_prices_that_are_held_hold(clerk: Clerk) -> None:
    draft, offer = await clerk.create(), await clerk.create()
    held = await clerk.quote(offer, expected_version=1)
    await clerk.shop.price("lip", 2 * PRICE)

    with pytest.raises(placement.PriceChanged):
        await clerk.place(draft, PRICE, expected_total=PRICE)
    order = await clerk.place(held, PRICE, expected_total=PRICE)

    assert (held.prices_held, order.total) == (True, PRICE)
    assert held.valid_until.seconds > offer.recorded_at.seconds
    assert (await clerk.update(draft, 1)).total.minor_units == 2 * PRICE


async def test_an_offer_of_what_is_sold_no_more_holds_while_there_are_units(clerk: Clerk) -> None:
    offers = [await clerk.quote(await clerk.create(3)) for _ in range(2)]
    draft = await clerk.create()
    await clerk.shop.discontinue("lip")

    with pytest.raises(placement.ItemNotSold):
        await clerk.place(draft, PRICE)
    order = await clerk.place(offers[0], 3 * PRICE)
    with pytest.raises(placement.InsufficientStock):
        await clerk.place(offers[1], 3 * PRICE)

    assert (order.total, await clerk.shop.units(clerk.location, "lip")) == (3 * PRICE, (2, 0, 3))


async def test_an_offer_of_a_bundle_gets_what_the_bundle_is_by_then(clerk: Clerk) -> None:
    shop = clerk.shop
    await shop.product("set", "blush")
    await shop.stock(clerk.location, "blush", 5)
    await shop.bundle("set", lip=1)
    offer = await clerk.quote(await clerk.create(2, "set"))
    await shop.bundle("set", lip=1, blush=2)

    order = await clerk.place(offer, 2 * PRICE)

    assert order.placed is not None
    [group] = order.placed.groups
    assert sorted((line.number, line.sku, line.quantity) for line in group.lines) == [(1, "blush", 4), (1, "lip", 2)]
    assert await shop.units(clerk.location, "blush") == (1, 0, 4)


@pytest.mark.parametrize("quoted", [True, False])
async def test_what_ran_out_is_neither_placed_nor_quoted_again(clerk: Clerk, *, quoted: bool) -> None:
    draft = await clerk.create()
    offer = await clerk.quote(draft) if quoted else draft
    await clerk.shop.execute("UPDATE sales_order SET valid_until = now() - interval '1 s'")

    for act in (clerk.place(offer, PRICE), clerk.quote(offer), clerk.update(offer, 2)):
        with pytest.raises(placed_order.NotEditable) as refusal:
            await act
        assert refusal.value.metadata == {"state": "EXPIRED"}


async def test_what_can_t_be_placed_stays_a_draft(clerk: Clerk) -> None:
    draft = await clerk.create()

    with pytest.raises(paying.Declined):
        await clerk.place(draft, PRICE, "sim_declined_stolen")
    order = await clerk.place(draft, PRICE, expected_version=1)

    assert (order.state, order.version) == (sale.OrderState.PLACED, 2)
    moves = await clerk.shop.rows("SELECT to_state FROM order_history WHERE machine = 1 ORDER BY number")
    assert [row.to_state for row in moves] == ["DRAFT", "PENDING", "DRAFT", "PENDING", "PLACED"]
    assert clerk.shop.books() == [(0, PRICE, 0)]


@pytest.mark.parametrize("quoted", [True, False])
async def test_of_20_who_place_a_draft_or_an_offer_one_does(clerk: Clerk, *, quoted: bool) -> None:
    draft = await clerk.create()
    if quoted:
        draft = await clerk.quote(draft)

    places = [clerk.place(draft, PRICE) for _ in range(20)]
    answers = await asyncio.gather(*places, return_exceptions=True)

    assert sum(isinstance(answer, sale.Order) for answer in answers) == 1
    allowed = {sale.Order, placed_order.OrderBusy, placed_order.NotEditable}
    assert {type(answer) for answer in answers} <= allowed
    assert (await clerk.shop.units(clerk.location, "lip"), clerk.shop.books()) == ((4, 0, 1), [(0, PRICE, 0)])


async def test_a_draft_runs_out(clerk: Clerk) -> None:
    shop, draft = clerk.shop, await clerk.create()
    await shop.execute("UPDATE sales_order SET valid_until = now() - interval '1 s'")
    with pytest.raises(placed_order.NotEditable):
        await clerk.place(draft, PRICE)
    await shop.execute("UPDATE order_draft_due SET due_at = now() - interval '1 s'")

    while await shop.rows("SELECT 1 FROM order_draft_due"):
        assert await shop.desk.drafting.expire()

    [row] = await shop.rows("SELECT state, version, cancel_reason FROM sales_order")
    assert tuple(row) == (sale.OrderState.EXPIRED, 2, placed_order.CancelReason.EXPIRED)
    assert await types(shop) == ["OrderDrafted", "OrderCancelled"]


async def test_a_draft_is_cancelled(clerk: Clerk) -> None:
    draft = await clerk.create()
    order = await clerk.shop.desk.placing._asking.load(clerk.shop.tenant, ids.decode("ord", draft.id))

    gone = await clerk.shop.cancel(order)

    assert (gone.state, gone.version) == (sale.OrderState.CANCELLED, 2)
    with pytest.raises(placed_order.NotEditable):
        await clerk.quote(draft)


async def test_the_same_key_makes_one_draft(clerk: Clerk) -> None:
    drafts = await asyncio.gather(*(clerk.create(request_id="k") for _ in range(20)))

    assert len({draft.id for draft in drafts}) == 1
    with pytest.raises(errors.IdempotencyKeyReused):
        await clerk.create(2, request_id="k")


async def test_who_doesn_t_cover_its_location_changes_nothing(clerk: Clerk) -> None:
    draft = await clerk.create()
    clerk.caller = dataclasses.replace(clerk.caller, locations=frozenset({ids.new("loc")}))

    for act in (clerk.quote(draft), clerk.update(draft, 2), clerk.place(draft, PRICE)):
        with pytest.raises(errors.LocationScope):
            await act
