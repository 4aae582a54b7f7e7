"""Orders are placed with units and money, or leave neither behind: real Inventory, real PostgreSQL, a bank that misbehaves."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any

import pytest

from services.kit import errors, idempotency, ids
from services.orders.customers import domain as people
from services.orders.customers.handlers import desk
from services.orders.domain import money, placed_order, placement, sale
from services.orders.domain import payments as paying
from services.orders.placing import addressing
from tests.integration.orders.placing.shop import DUE, LATE, PRICE, Shop, command
from tillmesh.inventory.v1 import catalog_pb2, lots_pb2
from tillmesh.orders.v1 import orders_events_pb2

PLACED, CANCELLED = sale.OrderState.PLACED, sale.OrderState.CANCELLED


async def stocked(shop: Shop, units: int = 10, *skus: str) -> uuid.UUID:
    location = await shop.location()
    names = skus or ("lip",)
    await shop.product(*names)
    for sku in names:
        await shop.stock(location, sku, units)
    return location


async def state(shop: Shop) -> list[tuple[int, int]]:
    """(state, reason) of all orders."""
    return [tuple(row) for row in await shop.rows("SELECT state, cancel_reason FROM sales_order ORDER BY id")]


async def test_a_placed_order_has_its_units_its_money_and_its_event(shop: Shop) -> None:
    here = await stocked(shop)

    order = await shop.order(command(here, ("LIP", 3)))

    assert (order.state, order.version, order.total) == (PLACED, 1, 3 * PRICE)
    assert await shop.units(here, "lip") == (7, 0, 3)
    assert shop.books() == [(0, 3 * PRICE, 0)]
    placed = order.placed
    assert placed is not None
    assert placed.number > 100_000
    [group] = placed.groups
    assert [(line.number, line.sku, line.quantity) for line in group.lines] == [(1, "lip", 3)]
    assert placed_order.payment_state(order.total, placed.payment).name == "PAID"
    [event] = await shop.rows("SELECT type, seq_to, data FROM outbox WHERE type LIKE '%.Order%'")
    told = orders_events_pb2.OrderPlaced.FromString(event.data)
    assert (event.type, event.seq_to) == ("tillmesh.orders.v1.OrderPlaced", 1)
    assert (told.order.id, told.order.payment.captured.minor_units) == (ids.encode("ord", order.id), 3 * PRICE)
    history = await shop.rows("SELECT machine, from_state, to_state FROM order_history ORDER BY number")
    assert [tuple(each) for each in history] == [(1, "", "PENDING"), (1, "PENDING", "PLACED"), (3, "", "OPEN")]
    assert shop.heard == [told.order.id]


async def test_taxes_prices_and_discounts_are_those_of_the_day(shop: Shop) -> None:
    here = await stocked(shop)
    rates = (("", money.TaxRate("VAT", "0.20")),)
    await shop.tax(placement.TaxPolicy("AT", tax_inclusive=False, rates=rates))
    discounted = command(here, ("lip", 2), discounts=(sale.Discount("spring", 500, "cmp-1"),), tokens={"sim_ok": 1800})

    order = await shop.order(discounted)
    await shop.price("lip", 5 * PRICE)

    assert (order.net_total, order.tax_total, order.discount_total, order.total) == (1500, 300, 500, 1800)
    [line] = order.lines
    assert [(tax.name, tax.rate, tax.amount) for tax in line.taxes] == [("VAT", "0.20", 300)]


async def test_an_order_of_lots_is_one_line_and_gets_those_that_live_long_enough_for_its_channel(shop: Shop) -> None:
    here = await shop.location()
    await shop.product("milk", lot_policy=catalog_pb2.LotPolicy(minimum_life_days={"web": 30}))
    today = dt.datetime.now(dt.UTC).date()
    for code, days in (("SOON", 9), ("LATE", 60), ("LATER", 90)):
        ends = (today + dt.timedelta(days=days)).isoformat()
        await shop.stock(here, "milk", 2, lots_pb2.LotInput(code=code, expires_on=ends))

    order = await shop.order(command(here, ("milk", 3)))

    assert order.placed is not None
    [group] = order.placed.groups
    assert [(line.number, line.sku, line.quantity) for line in group.lines] == [(1, "milk", 3)]
    assert await shop.units(here, "milk") == (3, 0, 3)
    with pytest.raises(placement.InsufficientStock):  # three are left, and two of them end too soon
        await shop.order(command(here, ("milk", 2)))


async def test_an_order_comes_from_several_locations_when_none_has_all(shop: Shop) -> None:
    here, there = await stocked(shop, 2), await shop.location()
    await shop.product("blush")
    await shop.stock(there, "blush", 1)

    order = await shop.order(command(here, ("lip", 2), ("blush", 1)))

    assert order.placed is not None
    assert {group.location_id for group in order.placed.groups} == {here, there}
    assert await shop.units(there, "blush") == (0, 0, 1)


async def test_what_is_collected_comes_from_where_it_is_collected(shop: Shop) -> None:
    online = await stocked(shop)
    store = await shop.location()
    await shop.stock(store, "lip", 1)

    order = await shop.order(command(online, ("lip", 1), method=placed_order.Pickup(store)))

    assert order.placed is not None
    assert [group.location_id for group in order.placed.groups] == [store]
    with pytest.raises(placement.InsufficientStock) as short:
        await shop.order(command(online, ("lip", 1), method=placed_order.Pickup(store)))
    assert [line.numbers for line in short.value.lines] == [(1,)]


async def test_a_shortage_names_the_lines_and_where_there_are_units(shop: Shop) -> None:
    here = await stocked(shop, 2)

    with pytest.raises(placement.InsufficientStock) as short:
        await shop.order(command(here, ("lip", 1), ("lip", 2)))

    [line] = short.value.lines
    assert (line.numbers, line.detail.available) == ((1, 2), 2)
    assert [each.available for each in line.detail.alternatives] == [2]
    assert await state(shop) == [(CANCELLED, placed_order.CancelReason.OUT_OF_STOCK)]
    assert (await shop.units(here, "lip"), shop.books()) == ((2, 0, 0), [])


@pytest.mark.parametrize("method", ["total", "unit"])
async def test_a_price_that_changed_is_told_before_anything_is_held(shop: Shop, method: str) -> None:
    here = await stocked(shop)
    lines = (placement.ContentLine("lip", 1, expected_unit_price=999 if method == "unit" else None),)
    expected = 999 if method == "total" else None

    with pytest.raises(placement.PriceChanged) as changed:
        await shop.order(command(here, ("lip", 1), lines=lines, expected_total=expected))

    assert changed.value.total == PRICE
    assert await state(shop) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tokens": {"sim_ok": 1}}, "PAYMENT_MISMATCH"),
        ({"lines": (placement.ContentLine("nothing", 1),)}, "SKU_NOT_FOUND"),
        ({"location_id": uuid.UUID(int=0)}, "NOT_FOUND"),
        ({"customer_id": uuid.UUID(int=0)}, "NOT_FOUND"),
    ],
)
async def test_what_can_t_be_is_refused_before_anything_is_kept(shop: Shop, changes: Any, reason: str) -> None:
    here = await stocked(shop)

    with pytest.raises(errors.Error) as refusal:
        await shop.order(command(changes.pop("location_id", here), ("lip", 1), **changes))

    assert refusal.value.reason == reason
    assert await state(shop) == []


async def test_staff_s_fields_are_not_for_customers(shop: Shop) -> None:
    here = await stocked(shop)
    cheap = (placement.ContentLine("lip", 1, unit_price=1),)

    with pytest.raises(placement.StaffOnly):
        await shop.order(command(here, ("lip", 1), lines=cheap), roles=frozenset({"customer"}))


async def test_a_decline_leaves_nothing_behind(shop: Shop) -> None:
    here = await stocked(shop)

    with pytest.raises(paying.Declined) as refusal:
        await shop.order(command(here, ("lip", 1), tokens={"sim_declined_stolen": PRICE}))

    assert refusal.value.metadata == {"code": "stolen"}
    assert await state(shop) == [(CANCELLED, placed_order.CancelReason.PAYMENT)]
    assert (await shop.units(here, "lip"), shop.books()) == ((10, 0, 0), [])


async def test_of_two_tenders_the_first_is_given_back_when_the_second_is_not_taken(shop: Shop) -> None:
    here = await stocked(shop)

    with pytest.raises(paying.Declined):
        await shop.order(command(here, ("lip", 2), tokens={"sim_ok": PRICE, "sim_capture_declined_late": PRICE}))

    assert sorted(shop.books()) == [(0, 0, 0), (0, 0, PRICE)]
    assert await shop.units(here, "lip") == (10, 0, 0)


@pytest.mark.parametrize("token", ["sim_timeout", "sim_lost", "sim_late", "sim_twice", "sim_capture_timeout"])
async def test_a_bank_that_does_not_answer_at_first_is_asked_and_pays_once(shop: Shop, token: str) -> None:
    here = await stocked(shop)

    try:
        await shop.order(command(here, ("lip", 1), tokens={token: PRICE}, key="k"))
    except errors.OutcomeUnknown:
        await asyncio.sleep(2.1)  # `late` answers after 2 s
        await shop.resume()

    order = await shop.order(command(here, ("lip", 1), tokens={token: PRICE}, key="k"))
    assert order.state == PLACED
    assert (await shop.units(here, "lip"), shop.books()) == ((9, 0, 1), [(0, PRICE, 0)])


async def test_a_bank_that_never_answers_keeps_nothing_after_the_deadline(shop: Shop) -> None:
    here = await stocked(shop)

    with pytest.raises(errors.OutcomeUnknown):
        await shop.order(command(here, ("lip", 1), tokens={"sim_never": PRICE}, key="k"))
    with pytest.raises(placement.InFlight):
        await shop.order(command(here, ("lip", 1), tokens={"sim_never": PRICE}, key="k"))
    await shop.resume(LATE)

    assert await state(shop) == [(sale.OrderState.EXPIRED, placed_order.CancelReason.EXPIRED)]
    assert (await shop.units(here, "lip"), shop.books()) == ((10, 0, 0), [(0, 0, 0)])


async def test_a_hold_that_ran_out_is_made_anew(shop: Shop) -> None:
    here = await stocked(shop)
    confirm = shop.desk.runner._effects._stock.confirm
    ended: list[str] = []

    async def late(reservation_id: uuid.UUID, key: str) -> None:
        if not ended:
            ended.append(key)
            await shop.desk.runner._effects._stock.release(reservation_id, "gone")
        await confirm(reservation_id, key)

    shop.desk.runner._effects._stock.confirm = late  # type: ignore[method-assign]
    order = await shop.order(command(here, ("lip", 1)))

    assert order.state == PLACED
    assert (await shop.units(here, "lip"), shop.books()) == ((9, 0, 1), [(0, PRICE, 0)])


async def test_of_20_with_one_key_one_is_placed(shop: Shop) -> None:
    here = await stocked(shop)

    answers = await asyncio.gather(
        *(shop.order(command(here, ("lip", 1), key="k")) for _ in range(20)), return_exceptions=True
    )
    again = await shop.order(command(here, ("lip", 1), key="k"))

    orders = {answer.id for answer in answers if isinstance(answer, sale.Order)} | {again.id}
    refused = {type(answer) for answer in answers if isinstance(answer, BaseException)}
    assert (len(orders), refused <= {placement.InFlight}) == (1, True)
    assert (await shop.units(here, "lip"), shop.books()) == ((9, 0, 1), [(0, PRICE, 0)])
    with pytest.raises(errors.IdempotencyKeyReused):
        await shop.order(command(here, ("lip", 1), key="k", fingerprint=b"another"))


async def test_30_buyers_for_7_units_buy_7(shop: Shop) -> None:
    here = await stocked(shop, 7)

    answers = await asyncio.gather(*(shop.order(command(here, ("lip", 1))) for _ in range(30)), return_exceptions=True)

    assert sum(isinstance(answer, sale.Order) for answer in answers) == 7
    assert {type(each) for each in answers if isinstance(each, BaseException)} == {placement.InsufficientStock}
    assert (await shop.units(here, "lip"), shop.books()) == ((0, 0, 7), [(0, PRICE, 0)] * 7)
    numbers = [row.number for row in await shop.rows("SELECT number FROM sales_order")]
    assert len(numbers) == len(set(numbers)) == 30


async def test_buyers_of_a_sku_and_of_a_bundle_with_it_never_get_more_than_there_is(shop: Shop) -> None:
    """Two lines that share a plain SKU, 7 units of it over 3 locations: three orders of two."""
    places = [await shop.location() for _ in range(3)]
    await shop.product("lip", "blush", "duo")
    await shop.bundle("duo", lip=1, blush=1)
    for place, units in zip(places, (3, 2, 2), strict=True):
        await shop.stock(place, "lip", units)
        await shop.stock(place, "blush", 9)

    orders = [shop.order(command(places[0], ("lip", 1), ("duo", 1))) for _ in range(12)]
    answers = await asyncio.gather(*orders, return_exceptions=True)

    placed = [answer for answer in answers if isinstance(answer, sale.Order)]
    assert {type(each) for each in answers} == {sale.Order, placement.InsufficientStock}
    assert len(placed) == 3
    levels = [await shop.units(place, "lip") for place in places]
    assert [sum(column) for column in zip(*levels, strict=True)] == [1, 0, 6]
    assert shop.books() == [(0, 2 * PRICE, 0)] * 3
    for order in placed:
        assert order.placed is not None
        lines = sorted((line.number, line.sku) for group in order.placed.groups for line in group.lines)
        assert lines == [(1, "lip"), (2, "blush"), (2, "lip")]


async def test_a_caller_who_goes_away_stops_nothing(shop: Shop) -> None:
    here = await stocked(shop)
    task = asyncio.create_task(shop.order(command(here, ("lip", 1), tokens={"sim_late": PRICE}, key="k")))
    async with asyncio.timeout(10):
        while not await shop.rows("SELECT 1 FROM payment_operation"):
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(10):
        while shop.desk.runner._tasks:
            await asyncio.sleep(0.05)
    await asyncio.sleep(1)
    await shop.resume(DUE)

    assert await state(shop) == [(PLACED, 0)]
    assert shop.books() == [(0, PRICE, 0)]


async def test_money_that_is_taken_at_fulfilment_is_only_set_aside(shop: Shop) -> None:
    here = await stocked(shop)

    order = await shop.order(command(here, ("lip", 1), capture=placed_order.Capture.FULFILLMENT))

    assert order.placed is not None
    assert placed_order.payment_state(order.total, order.placed.payment).name == "AUTHORIZED"
    assert shop.books() == [(PRICE, 0, 0)]


async def test_a_guest_is_a_customer_and_the_same_one_again(shop: Shop) -> None:
    here = await stocked(shop)
    key = idempotency.Key(shop.tenant.uuid, "web", "guest", "", b"")
    drafts = [people.Draft(profile=people.Profile(email=email), locale="") for email in ("a@b.at", "A@b.at")]
    guests = [addressing.Guest(desk.Write(shop.tenant.id, key, "web"), draft) for draft in drafts]
    collected = placed_order.Pickup(here)

    first, second = [await shop.order(command(here, ("lip", 1), guest=guest, method=collected)) for guest in guests]

    assert first.customer_id == second.customer_id is not None
    assert first.id != second.id


async def test_a_marketplace_s_order_is_placed_once(shop: Shop) -> None:
    here = await stocked(shop)
    given = {"channel": sale.Channel.MARKETPLACE, "marketplace": "agora", "external_reference": "A-1"}
    await shop.order(command(here, ("lip", 1), **given))

    with pytest.raises(errors.AlreadyExists):
        await shop.order(command(here, ("lip", 1), **given))

    assert shop.books() == [(0, PRICE, 0)]


# --- cancelling ---


async def test_a_cancelled_order_gives_back_units_and_money(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 2)))

    gone = await shop.cancel(order, note="changed their mind", expected_version=1)

    assert gone.placed is not None
    assert (gone.state, gone.version, gone.placed.cancel_note) == (CANCELLED, 2, "changed their mind")
    assert {group.state.name for group in gone.placed.groups} == {"CANCELLED"}
    assert (await shop.units(here, "lip"), shop.books()) == ((10, 0, 0), [(0, 0, 2 * PRICE)])
    types = [row.type for row in await shop.rows("SELECT type FROM outbox WHERE type LIKE '%.Order%' ORDER BY seq_to")]
    assert types == ["tillmesh.orders.v1.OrderPlaced", "tillmesh.orders.v1.OrderCancelled"]
    assert (await shop.cancel(order)).version == 2
    noted = await shop.rows("SELECT action, resource_id FROM audit_entry ORDER BY recorded_at")
    order_id = ids.encode("ord", order.id)
    assert [tuple(each) for each in noted] == [
        ("cancel_begun", order_id),
        ("cancelled", order_id),
    ]  # nothing of placing


async def test_of_20_who_cancel_money_goes_back_once(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 1), capture=placed_order.Capture.FULFILLMENT))

    answers = await asyncio.gather(*(shop.cancel(order) for _ in range(20)), return_exceptions=True)

    assert {type(each) for each in answers} <= {sale.Order, placed_order.OrderBusy}
    assert (await shop.units(here, "lip"), shop.books()) == ((10, 0, 0), [(0, 0, 0)])


async def test_an_order_that_is_being_picked_is_not_cancelled(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 1)))
    await shop.execute("UPDATE order_group SET state = 5")

    with pytest.raises(placed_order.NotEditable):
        await shop.cancel(order)
    with pytest.raises(errors.VersionMismatch):
        await shop.cancel(order, expected_version=7)
