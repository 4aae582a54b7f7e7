"""Promises of orders, receipts and counts that need no database, and of what documents do to a working set of stock."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Any

import pytest

from services.inventory.domain import (
    commands,
    cycle_counts,
    purchase_orders,
    purchase_receipts,
    stock,
    stock_documents,
    stock_errors,
    suppliers,
    transitions,
)
from services.inventory.domain import levels as values
from services.kit import errors

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
ME = commands.Origin("me", "trm-1")
SUPPLIER = suppliers.Supplier(
    id=uuid.uuid4(), code="acme", name="Acme", currency_code="EUR", default_lead_time_days=7, version=1,
    created_at=NOW, updated_at=NOW,
)  # fmt: skip


def an_order(**ordered: int) -> purchase_orders.PurchaseOrder:
    """A draft of these SKUs, which the catalogue knows."""
    known = purchase_orders.Known({sku: sku for sku in ordered})
    lines = tuple(purchase_orders.LineDraft(sku=sku, ordered=units) for sku, units in ordered.items())
    draft = purchase_orders.Draft(supplier_id=SUPPLIER.id, location_id=uuid.uuid4(), lines=lines)
    return purchase_orders.new_order(
        draft, order_id=uuid.uuid4(), number=7, supplier=SUPPLIER, known=known, by="me", now=NOW
    )


def placed(order: purchase_orders.PurchaseOrder, **options: Any) -> purchase_orders.Step:
    known = purchase_orders.Known({}, options.pop("rows", {}))
    given = {"supplier": SUPPLIER, "crowded": (), "expected_version": 0, "now": NOW, **options}
    return purchase_orders.place(order, known=known, **given)


def received(
    order: purchase_orders.PurchaseOrder, at: dt.datetime | None = None, **came: int
) -> purchase_receipts.Received:
    lines = tuple(purchase_receipts.ReceiptLine(sku=sku, accepted=units) for sku, units in came.items())
    draft = purchase_receipts.ReceiptDraft(lines=lines, received_at=at)
    return purchase_receipts.receive(
        order, draft, receipt_id=uuid.uuid4(), origin=ME, expected_version=0, now=NOW + DAY
    )


def working_set(*levels: values.Level) -> stock.Stock:
    known = {values.fold(level.sku): level for level in levels}
    spellings = {key: level.sku for key, level in known.items()} | {"new": "New"}
    return stock.Stock(location_id="loc", seq=4, now=NOW, levels=known, variants=spellings, holds={}, due={})


# --- orders and receipts ---


def test_an_order_is_told_to_the_stock_once_it_is_placed():
    draft = an_order(a=3)
    step = placed(draft)
    assert step.command == commands.ExpectStock("PO-000007", (("a", 3, NOW + 7 * DAY),))
    assert (draft.settled, step.order.settled, step.order.effects, step.order.version) == (True, False, 1, 2)


def test_giving_a_draft_up_tells_the_stock_nothing():
    step = purchase_orders.cancel(an_order(a=3), "x", expected_version=0, now=NOW)
    assert (step.command, step.order.settled) == (None, True)


def test_every_line_that_can_not_be_placed_is_named():
    rows = {
        "a": suppliers.SupplierSku(sku="a", pack_size=5),
        "b": suppliers.SupplierSku(sku="b", minimum_order_quantity=9),
    }
    idle = dataclasses.replace(SUPPLIER, inactive=True)
    with pytest.raises(errors.InvalidRequest) as refused:
        placed(an_order(a=6, b=1, c=1), supplier=idle, rows=rows, crowded={"c"})
    wrong = [violation.field.removeprefix("purchase_order.") for violation in refused.value.violations]
    assert wrong == ["supplier_id", "lines[0].ordered", "lines[1].ordered", "lines[2].sku"]


def test_the_tolerance_is_rounded_down_to_whole_units():
    order = dataclasses.replace(placed(an_order(a=19)).order, over_receipt_basis_points=1000)
    assert received(order, a=20).order.state == purchase_orders.State.RECEIVED
    with pytest.raises(purchase_receipts.OverReceipt) as refused:
        received(order, a=21)
    assert list(refused.value.lines) == [purchase_receipts.Excess("a", 19, 21, 20)]


def test_a_delivery_is_as_old_as_the_device_says_but_never_to_come():
    order = placed(an_order(a=2)).order
    assert received(order, NOW + 3 * DAY, a=1).receipt.received_at == NOW + DAY
    earlier = received(order, NOW, a=2)
    assert (earlier.order.lines[0].completed_at, earlier.order.ended_at) == (NOW, NOW + DAY)
    assert earlier.command is not None
    assert earlier.command.origin == commands.Origin("me", "trm-1", NOW)


def test_units_that_are_sent_back_enter_no_stock_and_stay_outstanding():
    order = placed(an_order(a=2)).order
    draft = purchase_receipts.ReceiptDraft(lines=(purchase_receipts.ReceiptLine(sku="A", rejected=2),))
    result = purchase_receipts.receive(order, draft, receipt_id=uuid.uuid4(), origin=ME, expected_version=0, now=NOW)
    assert (result.command, result.receipt.settled, result.receipt.effect) == (None, True, 0)
    assert (result.order.state, result.order.lines[0].outstanding) == (purchase_orders.State.ORDERED, 2)


def test_a_line_that_is_not_of_the_order_refuses_the_whole_receipt():
    order = placed(an_order(a=2)).order
    with pytest.raises(errors.InvalidRequest) as refused:
        received(order, a=1, b=1)
    assert [violation.field for violation in refused.value.violations] == ["lines[1].sku"]


def test_a_total_is_not_said_while_a_cost_is_missing():
    order = an_order(a=2, b=3)
    lines = [dataclasses.replace(line, cost=cost) for line, cost in zip(order.lines, (150, None), strict=True)]
    assert dataclasses.replace(order, lines=tuple(lines)).total_cost is None
    assert dataclasses.replace(order, lines=tuple(lines[:1])).total_cost == 300


def test_a_refused_move_names_those_that_are_left():
    with pytest.raises(transitions.IllegalTransition) as refused:
        transitions.check(purchase_orders.MOVES, purchase_orders.State.ORDERED, purchase_orders.State.CLOSED)
    assert refused.value.metadata["allowed"] == "PARTIALLY_RECEIVED,RECEIVED,CANCELLED"


# --- counts ---


def a_count() -> cycle_counts.Count:
    draft = cycle_counts.Draft(location_id=uuid.uuid4(), scope=cycle_counts.Scope(skus=("a",)))
    return cycle_counts.new_count(
        draft, ["a"], count_id=uuid.uuid4(), number=3, currency_code="EUR", by="meg", seq=4, now=NOW
    )


@pytest.mark.parametrize(
    ("told", "kept"), [(None, NOW + DAY), (NOW + 9 * DAY, NOW + DAY), (NOW - DAY, NOW), (NOW + DAY / 2, NOW + DAY / 2)]
)
def test_a_pass_lies_between_the_opening_and_now(told: dt.datetime | None, kept: dt.datetime):
    lines, observed = {"a": cycle_counts.Line(sku="a")}, {"a": cycle_counts.Observed(9, 5)}
    entries = [cycle_counts.Entry("A", 8, told)]
    _, [one] = cycle_counts.record(a_count(), lines, entries, observed, origin=ME, now=NOW + DAY)
    assert (one.counted_at, one.recorded_at, one.on_hand, one.seq) == (kept, NOW + DAY, 9, 5)


@pytest.mark.parametrize("skus", [[], [f"s{n}" for n in range(cycle_counts.LINES_MAX + 1)]])
def test_a_scope_holds_some_skus_and_not_too_many(skus: list[str]):
    draft = cycle_counts.Draft(location_id=uuid.uuid4(), scope=cycle_counts.Scope(sku_prefix="s"))
    with pytest.raises(errors.InvalidRequest):
        cycle_counts.new_count(
            draft, skus, count_id=uuid.uuid4(), number=1, currency_code="EUR", by="meg", seq=0, now=NOW
        )


# --- the stock ---


def test_a_delivery_is_one_step_and_uses_up_the_earliest_entries_first():
    entries = (values.Incoming(2, NOW, "PO-1"), values.Incoming(9, NOW, "other"), values.Incoming(4, NOW + DAY, "PO-1"))
    working = working_set(values.Level("A", incoming=entries))
    came = (("a", values.State.SELLABLE, 2), ("a", values.State.DAMAGED, 1), ("new", values.State.SELLABLE, 5))
    lines = tuple(commands.Receipt(*line) for line in came)

    stock_documents.apply(working, commands.ReceiveStock(ME, lines, 1, "purchase_order", "PO-1/1", "PO-1"))
    step = working.finish()

    assert step is not None
    assert [(m.sku, m.to_state, m.quantity) for m in step.movements] == [("A", 2, 2), ("A", 5, 1), ("New", 2, 5)]
    assert working.levels["a"].incoming == (values.Incoming(9, NOW, "other"), values.Incoming(3, NOW + DAY, "PO-1"))
    assert {level.version for level in step.touched.values()} == {1}


def test_an_unknown_sku_leaves_no_trace_of_a_delivery():
    working = working_set(values.Level("A"))
    lines = tuple(commands.Receipt(sku, values.State.SELLABLE, 1) for sku in ("a", "nothing"))
    with pytest.raises(stock_errors.SkuNotFound):
        stock_documents.apply(working, commands.ReceiveStock(ME, lines, 1, "purchase_order", "PO-1/1", "PO-1"))
    assert working.finish() is None


def test_what_is_expected_under_a_reference_is_replaced_and_what_is_the_same_is_no_change():
    working = working_set(values.Level("A", incoming=(values.Incoming(9, NOW, "other"),)))
    expect = commands.ExpectStock("PO-1", (("a", 4, NOW - DAY),))
    stock_documents.apply(working, expect)
    assert working.finish() is not None
    assert [entry.quantity for entry in working.levels["a"].incoming] == [4, 9]
    stock_documents.apply(working, expect)
    assert working.finish() is None
    stock_documents.apply(working, commands.ExpectStock("PO-1", (("a", 0, None),)))
    assert working.levels["a"].incoming == (values.Incoming(9, NOW, "other"),)


def test_a_variance_is_as_old_as_its_count_and_gives_way_to_a_later_one():
    counted_at = NOW - DAY
    working = working_set(values.Level("A", on_hand=2), values.Level("B", on_hand=5, observed_at=NOW))
    lines = (("a", -3, counted_at), ("b", 2, counted_at))

    superseded = stock_documents.apply(working, commands.ApplyVariances(ME, lines, "CC-1")).superseded
    step = working.finish()

    assert step is not None
    assert superseded == ["B"]
    assert [(m.sku, m.from_state, m.quantity, m.reason, m.occurred_at) for m in step.movements] == [
        ("A", values.State.SELLABLE, 3, values.Reason.CYCLE_COUNT, counted_at)
    ]
    assert [(x.sku, x.quantity) for x in step.exceptions] == [("A", 1)]
    assert (working.levels["a"].observed_at, working.levels["b"].on_hand) == (counted_at, 5)
