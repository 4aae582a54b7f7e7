"""Placed orders are changed as a whole or not at all: real Inventory, real PostgreSQL, a bank that misbehaves."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import random
import uuid
from typing import Any

import pytest

from services.kit import audit, errors, ids, principal
from services.orders import moving
from services.orders.domain import money, placed_order, placement, sale
from services.orders.domain import payments as paying
from services.orders.mapping import messages, placed_requests
from services.orders.payments.handlers import paying as handlers
from tests.integration.orders.placing.shop import LATE, PRICE, Shop, command, edit
from tests.integration.orders.placing.test_placing import stocked
from tests.integration.orders.placing.test_recipients import customer
from tillmesh.orders.v1 import orders_events_pb2, orders_pb2, placement_pb2

FULFILMENT = placed_order.Capture.FULFILLMENT


def units_of(order: sale.Order) -> list[tuple[int, str, int]]:
    assert order.placed is not None
    found: dict[tuple[int, str], int] = {}
    for group in order.placed.groups:
        for line in group.lines:
            found[line.number, line.sku] = found.get((line.number, line.sku), 0) + line.quantity
    return sorted((number, sku, quantity) for (number, sku), quantity in found.items())


def group_states(order: sale.Order) -> list[str]:
    assert order.placed is not None
    return sorted(group.state.name for group in order.placed.groups)


def payment_state(order: sale.Order) -> str:
    assert order.placed is not None
    return placed_order.payment_state(order.total, order.placed.payment).name


def shown(order: sale.Order) -> orders_pb2.Order:
    return messages.order_to_proto(sale.Shown(order, stock_applied=False))


async def loaded(shop: Shop, order: sale.Order) -> sale.Order:
    return await shop.desk.drafting._asking.load(shop.tenant, order.id)


async def last_event(shop: Shop) -> Any:
    row = (
        await shop.rows("SELECT type, seq_to, data FROM outbox WHERE type LIKE '%.Order%' ORDER BY id DESC LIMIT 1")
    )[0]
    kind = getattr(orders_events_pb2, row.type.rpartition(".")[2])
    return row, kind.FromString(row.data)


async def capture(shop: Shop, authorised: int, amount: int | None) -> None:
    """Takes some of the payment of which so much was set aside, as staff do; the rest is released."""
    [row] = await shop.rows("SELECT id FROM payment WHERE authorised = :authorised", authorised=authorised)
    caller = handlers.Caller(shop.caller(), shop.tenant.uuid, "web", audit.Source(actor="web", method=""))
    asked = None if amount is None else handlers.Amount("EUR", amount)
    takes = handlers.Paying(shop.db, shop.moves, None)  # type: ignore[arg-type]  # no catalogue: nothing is created
    await takes.capture(caller, row.id, asked, uuid.uuid4().hex, final=True)


# --- cancelled in part ---


async def test_units_that_are_cancelled_are_on_sale_again_and_their_money_goes_back(shop: Shop) -> None:
    here = await stocked(shop, 10, "lip", "blush")
    order = await shop.order(command(here, ("lip", 3), ("blush", 2)))

    left = await shop.cancel_units(order, {1: 1, 2: 2}, note="too many", expected_version=1)

    assert (left.state, left.version, left.total) == (sale.OrderState.PLACED, 2, 2 * PRICE)
    assert [(line.quantity, line.canceled_quantity, line.net_amount) for line in left.lines] == [
        (2, 1, 2 * PRICE), (0, 2, 0),
    ]  # fmt: skip
    assert units_of(left) == [(1, "lip", 2)]
    assert (await shop.units(here, "lip"), await shop.units(here, "blush")) == ((8, 0, 2), (10, 0, 0))
    assert shop.books() == [(0, 2 * PRICE, 3 * PRICE)]
    assert [tender.amount for tender in left.tenders] == [2 * PRICE]
    assert shown(left) == shown(await loaded(shop, order))
    row, event = await last_event(shop)
    assert (row.type, row.seq_to) == ("tillmesh.orders.v1.OrderUpdated", 2)
    assert (event.order.total.minor_units, event.order.payment.refunded.minor_units) == (2 * PRICE, 3 * PRICE)
    assert [line.quantity for line in event.order.lines] == [2, 0]
    history = await shop.rows("SELECT machine, reason, actor, version FROM order_history ORDER BY number DESC LIMIT 1")
    assert tuple(history[0]) == (0, "CUSTOMER: too many", "web", 2)
    [noted] = await shop.rows("SELECT action, actor, changes FROM audit_entry")
    assert (noted.action, noted.actor) == ("edited", "web")
    assert json.loads(noted.changes) == {
        "total": {"before": 5 * PRICE, "after": 2 * PRICE},
        "line:1": {"before": 3, "after": 2}, "line:2": {"before": 2, "after": 0},
    }  # fmt: skip


async def test_what_is_cancelled_in_any_steps_comes_to_the_same_money(shop: Shop) -> None:
    here = await stocked(shop)
    rates = (("", money.TaxRate("VAT", "0.19")),)
    await shop.tax(placement.TaxPolicy("AT", tax_inclusive=False, rates=rates))
    off = {"discounts": (sale.Discount("spring", 100, ""),), "tokens": {"sim_ok": 3451}}
    at_once, by_one = [await shop.order(command(here, ("lip", 3), **off)) for _ in range(2)]

    at_once = await shop.cancel_units(at_once, {1: 2})
    by_one = await shop.cancel_units(await shop.cancel_units(by_one, {1: 1}), {1: 1})

    assert [(line.net_amount, line.tax_amount, line.discount_amount) for line in by_one.lines] == [(967, 184, 33)]
    assert by_one.total == at_once.total == 967 + 184
    assert shop.books() == [(0, 1151, 2300), (0, 1151, 2300)]


async def test_all_units_are_the_whole_order(shop: Shop) -> None:
    here = await stocked(shop)
    charge = placement.Charge(sale.LineKind.SHIPPING, "post", 500)
    order = await shop.order(command(here, ("lip", 2), charges=(charge,), tokens={"sim_ok": 2500}))

    gone = await shop.cancel_units(order, {1: 2}, note="n")

    assert gone.placed is not None
    assert (gone.state, gone.placed.cancel_note) == (sale.OrderState.CANCELLED, "n")
    assert (await shop.units(here, "lip"), shop.books()) == ((10, 0, 0), [(0, 0, 2500)])


async def test_more_than_there_is_or_what_is_no_item_is_not_cancelled(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 2)))

    for units in ({1: 3}, {2: 1}):
        with pytest.raises(errors.InvalidRequest):
            await shop.cancel_units(order, units)
    with pytest.raises(errors.VersionMismatch):
        await shop.cancel_units(order, {1: 1}, expected_version=2)
    assert shown(await loaded(shop, order)) == shown(order)


async def test_the_last_open_group_that_is_cancelled_completes_the_order(shop: Shop) -> None:
    here, there = await stocked(shop, 2), await shop.location()
    await shop.product("blush")
    await shop.stock(there, "blush", 1)
    order = await shop.order(command(here, ("lip", 2), ("blush", 1)))
    await shop.execute(
        "UPDATE order_group g SET state = 8 FROM order_group_line l WHERE l.group_id = g.id AND l.sku = 'lip'"
    )

    with pytest.raises(placed_order.NotEditable):
        await shop.cancel_units(order, {1: 1})
    left = await shop.cancel_units(order, {2: 1})

    assert (left.state, group_states(left)) == (sale.OrderState.COMPLETED, ["CANCELLED", "DELIVERED"])
    row, _ = await last_event(shop)
    assert row.type == "tillmesh.orders.v1.OrderCompleted"


async def test_money_that_is_only_set_aside_is_released_as_far_as_it_can_be(shop: Shop) -> None:
    here = await stocked(shop)
    tokens = {"sim_ok": 2 * PRICE, "sim_twice": PRICE}
    order = await shop.order(command(here, ("lip", 3), capture=FULFILMENT, tokens=tokens, key="k"))

    left = await shop.cancel_units(order, {1: 1})

    assert sorted(shop.books()) == [(0, 0, 0), (2 * PRICE, 0, 0)]
    assert payment_state(left) == "AUTHORIZED"
    left = await shop.cancel_units(left, {1: 1})  # of one authorisation nothing can be released: less is captured
    assert sorted(shop.books()) == [(0, 0, 0), (2 * PRICE, 0, 0)]
    assert (payment_state(left), left.total) == ("AUTHORIZED", PRICE)
    for amount in (None, PRICE + 1):
        with pytest.raises(paying.AmountExceeded) as left_to_take:
            await capture(shop, 2 * PRICE, amount)
        assert left_to_take.value.metadata == {"available": str(PRICE)}
    with pytest.raises(placement.PaymentMismatch) as due:  # it covers one more unit again
        await shop.edit(edit(left, {1: 2}, tokens={"sim_ok": PRICE}))
    assert due.value.metadata == {"due": "0", "tendered": str(PRICE)}
    await capture(shop, 2 * PRICE, PRICE)
    assert sorted(shop.books()) == [(0, 0, 0), (0, PRICE, 0)]


async def test_of_20_who_cancel_a_unit_each_pays_back_once(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 5)))

    answers = await asyncio.gather(
        *(shop.cancel_units(order, {1: 1}, expected_version=1) for _ in range(20)), return_exceptions=True
    )

    won = [each for each in answers if isinstance(each, sale.Order)]
    assert len(won) == 1
    assert {type(each) for each in answers} <= {sale.Order, placed_order.OrderBusy, errors.VersionMismatch}
    assert (await shop.units(here, "lip"), shop.books()) == ((6, 0, 4), [(0, 4 * PRICE, PRICE)])


# --- edited ---


async def test_an_edit_adds_raises_and_removes_in_one_step(shop: Shop) -> None:
    here = await stocked(shop, 10, "lip", "blush", "kohl")
    order = await shop.order(command(here, ("lip", 2), ("blush", 2)))
    await shop.price("lip", 5 * PRICE)  # those that were ordered keep their price
    await shop.price("kohl", 3 * PRICE)

    changed = await shop.edit(
        edit(
            order, {1: 4, 2: 0}, add=[("KOHL", 1)], tokens={"sim_ok": 3 * PRICE}, reason="by phone", expected_version=1
        )
    )

    assert (changed.version, changed.total) == (2, 7 * PRICE)
    assert [(line.number, line.sku, line.quantity, line.net_amount) for line in changed.lines] == [
        (1, "lip", 4, 4 * PRICE), (2, "blush", 0, 0), (3, "kohl", 1, 3 * PRICE),
    ]  # fmt: skip
    assert units_of(changed) == [(1, "lip", 4), (3, "kohl", 1)]
    assert changed.placed is not None
    assert len(changed.placed.groups) == 1
    levels = [await shop.units(here, sku) for sku in ("lip", "blush", "kohl")]
    assert levels == [(6, 0, 4), (10, 0, 0), (9, 0, 1)]
    assert sorted(shop.books()) == [(0, 3 * PRICE, 0), (0, 4 * PRICE, 0)]
    assert payment_state(changed) == "PAID"
    assert [tender.amount for tender in changed.tenders] == [7 * PRICE]
    assert shown(changed) == shown(await loaded(shop, order))
    summary = await shop.rows("SELECT sku, quantity FROM order_line WHERE counted ORDER BY number")
    assert [tuple(row) for row in summary] == [("lip", 4), ("kohl", 1)]
    row, event = await last_event(shop)
    assert (row.type, row.seq_to, len(event.order.groups[0].lines)) == ("tillmesh.orders.v1.OrderUpdated", 2, 2)
    assert (await shop.cancel(changed)).state is sale.OrderState.CANCELLED
    assert [await shop.units(here, sku) for sku in ("lip", "kohl")] == [(10, 0, 0), (10, 0, 0)]
    assert {kept for _, kept, _ in shop.books()} == {0}


async def test_units_that_are_lowered_in_the_same_edit_pay_for_others(shop: Shop) -> None:
    here = await stocked(shop, 10, "lip", "blush")
    order = await shop.order(command(here, ("lip", 3)))

    changed = await shop.edit(edit(order, {1: 1}, add=[("blush", 1)]))

    assert (changed.total, units_of(changed)) == (2 * PRICE, [(1, "lip", 1), (2, "blush", 1)])
    assert shop.books() == [(0, 2 * PRICE, PRICE)]


async def test_more_money_has_to_be_there_and_may_be_due_later_if_staff_say_so(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 1)))

    with pytest.raises(placement.PaymentMismatch) as due:
        await shop.edit(edit(order, {1: 3}))
    assert due.value.metadata == {"due": str(2 * PRICE), "tendered": "0"}
    assert await shop.units(here, "lip") == (9, 0, 1)
    assert shown(await loaded(shop, order)) == shown(order)
    with pytest.raises(placement.StaffOnly):
        await shop.edit(edit(order, {1: 3}, due_now=0), roles=frozenset({"customer"}), customer_id="")

    changed = await shop.edit(edit(order, {1: 3}, due_now=0))

    assert changed.placed is not None
    assert (payment_state(changed), changed.placed.payment.due(changed.total)) == ("PARTIALLY_PAID", 2 * PRICE)


async def test_a_shortage_names_line_and_sku_and_leaves_the_order_as_it_was(shop: Shop) -> None:
    here = await stocked(shop, 3, "lip", "blush")
    order = await shop.order(command(here, ("lip", 2)))

    with pytest.raises(placement.InsufficientStock) as short:
        await shop.edit(edit(order, {1: 4}, add=[("blush", 4)], tokens={"sim_ok": 6 * PRICE}))

    assert [(line.numbers, line.detail.sku, line.detail.available) for line in short.value.lines] == [
        ((1,), "lip", 1), ((2,), "blush", 3),
    ]  # fmt: skip
    assert (await shop.units(here, "lip"), shop.books()) == ((1, 0, 2), [(0, 2 * PRICE, 0)])
    assert shown(await loaded(shop, order)) == shown(order)


@pytest.mark.parametrize(
    ("tokens", "left"),
    [
        ({"sim_declined_stolen": PRICE}, []),
        ({"sim_capture_declined_late": PRICE}, [(0, 0, 0)]),
        ({"sim_ok": PRICE - 400, "sim_capture_declined_late": 400}, [(0, 0, 0), (0, 0, PRICE - 400)]),
    ],
)
async def test_money_that_is_declined_leaves_the_order_as_it_was(
    shop: Shop, tokens: dict[str, int], left: list[tuple[int, int, int]]
) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 3)))

    with pytest.raises(paying.Declined):
        await shop.edit(edit(order, {1: 4}, tokens=tokens))

    assert await shop.units(here, "lip") == (7, 0, 3)
    assert sorted(shop.books()) == sorted([(0, 3 * PRICE, 0), *left])
    again = await shop.edit(edit(await loaded(shop, order), {1: 2}))
    assert (again.version, again.total) == (2, 2 * PRICE)


@pytest.mark.parametrize("how", ["total", "unit"])
async def test_a_price_that_changed_is_told_before_anything_is_held(shop: Shop, how: str) -> None:
    here = await stocked(shop, 10, "lip", "blush")
    order = await shop.order(command(here, ("lip", 1)))
    lines = (placement.ContentLine("blush", 1, expected_unit_price=999 if how == "unit" else None),)

    with pytest.raises(placement.PriceChanged) as changed:
        await shop.edit(edit(order, lines=lines, expected_total=1999 if how == "total" else None))

    assert changed.value.total == 2 * PRICE
    assert await shop.units(here, "blush") == (10, 0, 0)


async def test_how_it_is_sent_a_note_and_charges_change_without_units(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 1)))
    charge = placement.Charge(sale.LineKind.GIFT_WRAP, "ribbon", 300)

    changed = await shop.edit(
        edit(order, delivery_method="express", note="ring twice", charges=(charge,), tokens={"sim_ok": 300})
    )

    assert changed.placed is not None
    assert isinstance(changed.placed.method, placed_order.Delivery)
    assert (changed.placed.method.method, changed.placed.note, changed.total) == ("express", "ring twice", PRICE + 300)
    assert sorted(shop.books()) == [(0, 300, 0), (0, PRICE, 0)]
    with pytest.raises(errors.InvalidRequest):
        await shop.edit(edit(changed, pickup_at=dt.datetime.now(dt.UTC)))
    await shop.execute("UPDATE order_group SET state = 7")
    with pytest.raises(placed_order.NotEditable):
        await shop.edit(edit(changed, delivery_method="standard"))


async def test_what_would_change_nothing_or_leave_nothing_is_refused(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 1)))

    for asked in ({1: 1}, {1: 0}, {7: 1}, {}):
        with pytest.raises(errors.InvalidRequest):
            await shop.edit(edit(order, asked))
    with pytest.raises(errors.NotFound):
        await shop.edit(edit(order, {1: 2}), roles=frozenset({"customer"}), customer_id=ids.encode("cus", uuid.uuid4()))


async def test_a_line_that_is_picked_can_t_be_lowered_but_others_can(shop: Shop) -> None:
    here, there = await stocked(shop, 2), await shop.location()
    await shop.product("blush")
    await shop.stock(there, "blush", 3)
    order = await shop.order(command(here, ("lip", 2), ("blush", 2)))
    await shop.execute(
        "UPDATE order_group g SET state = 5 FROM order_group_line l WHERE l.group_id = g.id AND l.sku = 'lip'"
    )

    with pytest.raises(placed_order.NotEditable) as refused:
        await shop.edit(edit(order, {1: 1}))
    changed = await shop.edit(edit(order, {2: 3}, tokens={"sim_ok": PRICE}))

    assert refused.value.metadata == {"state": "PICKING"}
    assert units_of(changed) == [(1, "lip", 2), (2, "blush", 3)]


async def test_bundles_are_raised_and_lowered_by_what_they_consisted_of(shop: Shop) -> None:
    here, there = await shop.location(), await shop.location()
    await shop.product("lip", "blush", "kohl", "duo")
    await shop.bundle("duo", lip=1, blush=2)
    for sku, units in (("lip", 2), ("blush", 4), ("kohl", 9)):
        await shop.stock(here, sku, units)
        await shop.stock(there, sku, units)
    order = await shop.order(command(here, ("duo", 1), ("lip", 1)))
    await shop.bundle("duo", kohl=1)

    raised = await shop.edit(edit(order, {1: 2}, tokens={"sim_ok": PRICE}))

    assert units_of(raised) == [(1, "blush", 4), (1, "lip", 2), (2, "lip", 1)]
    lowered = await shop.cancel_units(raised, {1: 1})
    assert units_of(lowered) == [(1, "blush", 2), (1, "lip", 1), (2, "lip", 1)]
    levels = [[await shop.units(place, sku) for sku in ("lip", "blush", "kohl")] for place in (here, there)]
    assert [sum(place[n][2] for place in levels) for n in range(3)] == [2, 2, 0]


async def test_of_20_who_edit_one_order_one_wins_and_the_others_hear_of_it(shop: Shop) -> None:
    here = await stocked(shop, 30)
    order = await shop.order(command(here, ("lip", 2)))

    edits = [edit(order, {1: 3 + n % 5}, tokens={"sim_ok": (1 + n % 5) * PRICE}, expected_version=1) for n in range(20)]
    answers = await asyncio.gather(*map(shop.edit, edits), return_exceptions=True)

    [won] = [each for each in answers if isinstance(each, sale.Order)]
    assert {type(each) for each in answers} <= {sale.Order, placed_order.OrderBusy, errors.VersionMismatch}
    units = won.lines[0].quantity
    assert (await shop.units(here, "lip"))[1:] == (0, units)
    assert sum(kept for _, kept, _ in shop.books()) == won.total == units * PRICE
    with pytest.raises(errors.VersionMismatch) as stale:
        await shop.edit(edits[0])
    assert stale.value.metadata == {"current_version": "2"}


async def test_a_customer_gets_no_more_of_what_has_become_dearer(shop: Shop) -> None:
    here = await stocked(shop)
    who, _ = await customer(shop)
    order = await shop.order(command(here, ("lip", 1), customer_id=who))
    own = {"roles": frozenset({"customer"}), "customer_id": ids.encode("cus", who)}
    await shop.edit(edit(order, {1: 2}, tokens={"sim_ok": PRICE}), **own)
    await shop.price("lip", PRICE + 1)

    with pytest.raises(placement.PriceChanged) as dearer:
        await shop.edit(edit(order, {1: 3}, tokens={"sim_ok": PRICE}), **own)
    added = await shop.edit(edit(order, add=[("lip", 1)], tokens={"sim_ok": PRICE + 1}), **own)
    lowered = await shop.edit(edit(order, {1: 1}), **own)
    raised = await shop.edit(edit(order, {1: 3}, tokens={"sim_ok": 2 * PRICE}))  # by staff

    assert [(of.number, of.expected, of.unit_price) for of in dearer.value.lines] == [(1, PRICE, PRICE + 1)]
    assert [of.total for of in (added, lowered, raised)] == [3 * PRICE + 1, 2 * PRICE + 1, 4 * PRICE + 1]


async def test_of_all_who_change_one_order_at_once_each_is_told_and_everything_adds_up(shop: Shop) -> None:
    """Edits, cancellations in part and as a whole, and work that begins: in any order, each wholly or not at all."""
    here = await stocked(shop, 40)
    order = await shop.order(command(here, ("lip", 6)))
    moves = moving.Moves(shop.db, lambda *_: None)

    def pick() -> Any:
        caller = shop.caller()
        request = placement_pb2.UpdateOrderStatusRequest(
            order_id=ids.encode("ord", order.id), machine=3, to_state="PICKING"
        )
        principal.enter(caller)
        return moves.move(caller, placed_requests.move(request, caller))

    calls = [
        *(shop.edit(edit(order, {1: 7 + n}, tokens={"sim_ok": (1 + n) * PRICE})) for n in range(6)),
        *(shop.edit(edit(order, {1: 1 + n})) for n in range(4)),
        *(shop.cancel_units(order, {1: 1}) for _ in range(6)),
        *(pick() for _ in range(2)),
        *(shop.cancel(order) for _ in range(2)),
    ]
    random.Random(1).shuffle(calls)
    answers = await asyncio.gather(*calls, return_exceptions=True)

    refused = {each.reason for each in answers if isinstance(each, errors.Error)}
    assert not [each for each in answers if isinstance(each, BaseException) and not isinstance(each, errors.Error)]
    assert refused <= {
        "ORDER_BUSY", "VERSION_MISMATCH", "ORDER_NOT_EDITABLE", "PAYMENT_MISMATCH", "INVALID_REQUEST", "ILLEGAL_TRANSITION",
    }  # fmt: skip
    left = await loaded(shop, order)
    units = 0 if left.state is sale.OrderState.CANCELLED else left.lines[0].quantity
    assert await shop.units(here, "lip") == (40 - units, 0, units)
    assert sum(kept for _, kept, _ in shop.books()) == units * PRICE
    assert await shop.rows("SELECT 1 FROM order_saga WHERE finished_at IS NULL") == []
    told = await shop.rows("SELECT seq_to FROM outbox WHERE type LIKE '%.Order%' ORDER BY seq_to")
    assert [row.seq_to for row in told] == list(range(1, left.version + 1))


async def test_the_same_key_is_one_edit(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 1)))
    asked = edit(order, {1: 2}, key="k", tokens={"sim_ok": PRICE})

    answers = await asyncio.gather(*(shop.edit(asked) for _ in range(5)), return_exceptions=True)
    again = await shop.edit(asked)

    assert {type(each) for each in answers} <= {sale.Order, placement.InFlight}
    assert (again.version, again.total, shop.books()) == (2, 2 * PRICE, [(0, PRICE, 0), (0, PRICE, 0)])


async def test_a_bank_that_never_answers_leaves_the_order_as_it_was_after_the_deadline(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 1)))

    with pytest.raises(errors.OutcomeUnknown):
        await shop.edit(edit(order, {1: 2}, tokens={"sim_never": PRICE}, key="k"))
    with pytest.raises(placed_order.OrderBusy):
        await shop.edit(edit(order, {1: 3}, tokens={"sim_ok": 2 * PRICE}))
    with pytest.raises(placed_order.OrderBusy):
        await shop.cancel(order)
    await shop.resume(LATE)

    assert shown(await loaded(shop, order)) == shown(order)
    assert await shop.units(here, "lip") == (9, 0, 1)
    assert sorted(shop.books()) == [(0, 0, 0), (0, PRICE, 0)]
    assert (await shop.cancel(order)).state is sale.OrderState.CANCELLED


async def test_a_preview_says_what_it_would_come_to_and_keeps_nothing(shop: Shop) -> None:
    here = await stocked(shop)
    order = await shop.order(command(here, ("lip", 2)))
    caller = shop.caller()

    more = await shop.desk.editing.preview(caller, shop.tenant, edit(order, {1: 5}))
    less = await shop.desk.editing.preview(caller, shop.tenant, edit(order, {1: 1}))

    assert [(worked.order.total, worked.due, worked.back) for worked in (more, less)] == [
        (5 * PRICE, 3 * PRICE, 0), (PRICE, 0, PRICE),
    ]  # fmt: skip
    assert shown(await loaded(shop, order)) == shown(order)
