"""Promises of purchase orders and receipts, on a real database."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from services.inventory import lane
from services.inventory.domain import commands, levels, lots, purchase_receipts, stock_errors, transitions
from services.kit import database, errors, ids
from tests.integration.inventory.replenishment import buying
from tests.integration.inventory.replenishment.buying import (
    APPLIED,
    CANCELLED,
    CLOSED,
    DRAFT,
    ORDERED,
    PARTLY,
    PENDING,
    RECEIVED,
    SOON,
    eur,
)
from tillmesh.inventory.v1 import lots_pb2
from tillmesh.inventory.v1 import replenishment_pb2 as messages
from tillmesh.inventory.v1 import replenishment_service_pb2 as pb


async def outcomes(*calls: object) -> list[object]:
    return await asyncio.gather(*calls, return_exceptions=True)  # type: ignore[call-overload]


async def test_what_is_ordered_is_incoming_under_the_orders_number(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["Red", "blue"])

    order = await world.placed(location_id, {"red": 6, "BLUE": 4}, expected_at=SOON)

    level = await world.level(location_id, "Red")
    assert (order.state, order.stock_effect, order.number) == (ORDERED, APPLIED, "PO-000001")
    assert [tuple(entry) for entry in level.incoming] == [(6, SOON, "PO-000001")]
    assert (await world.incoming(location_id, "blue"), level.on_hand) == ([(4, "PO-000001")], 0)
    assert [line.sku for line in order.lines] == ["Red", "blue"]


async def test_a_line_is_expected_at_its_own_date_then_the_orders_then_by_lead_time(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a", "b", "c"])
    supplier = await world.supplier(default_lead_time_days=30)
    await world.listed(supplier.id, messages.SupplierSku(sku="c", lead_time_days=2))
    draft = await world.draft(location_id, {"a": 1, "b": 1, "c": 1}, supplier_id=supplier.id)
    draft.lines[0].expected_at.FromDatetime(SOON)
    edit = pb.UpdatePurchaseOrderRequest(purchase_order=draft, update_mask={"paths": ["lines"]})
    await world.call(edit)

    order = await world.call(pb.PlacePurchaseOrderRequest(purchase_order_id=draft.id))

    placed = order.ordered_at.ToDatetime(dt.UTC)
    expected = [line.expected_at.ToDatetime(dt.UTC) for line in order.lines]
    assert expected == [SOON, placed + dt.timedelta(days=30), placed + dt.timedelta(days=2)]


async def test_a_delivery_enters_several_states_in_one_step_and_is_incoming_no_longer(
    world: buying.BuyingWorld,
) -> None:
    location_id = await world.location(["a", "b"])
    order = await world.placed(location_id, {"a": 10, "b": 5})

    came = {"a": {"accepted": 4, "damaged": 1, "quality_control": 2}, "b": {"accepted": 1, "rejected": 3}}
    first = await world.receive(order.id, came, delivery_note="LS 7")

    reference = (5, "purchase_order", "PO-000001/1")
    assert await world.ledger(location_id) == [
        ("a", 1, 2, 4, 1, *reference[1:]),
        ("a", 1, 5, 1, 1, *reference[1:]),
        ("a", 1, 6, 2, 1, *reference[1:]),
        ("b", 1, 2, 1, 1, *reference[1:]),
    ]
    assert (first.stock_effect, first.movement_reference, first.seq > 0) == (APPLIED, "PO-000001/1", True)
    level = await world.level(location_id, "a")
    assert (level.on_hand, level.available, level.damaged, level.quality_control) == (7, 4, 1, 2)
    assert await world.incoming(location_id, "a") == [(3, "PO-000001")]
    after = await world.order(order.id)
    seen = [(x.received, x.damaged, x.quality_control, x.rejected, x.outstanding) for x in after.lines]
    assert (after.state, seen) == (PARTLY, [(7, 1, 2, 0, 3), (1, 0, 0, 3, 4)])

    await world.receive(order.id, {"a": 3, "b": 4})

    assert (await world.order(order.id)).state == RECEIVED
    assert await world.incoming(location_id, "a") == await world.incoming(location_id, "b") == []
    seqs = await world.rows("SELECT DISTINCT seq FROM ledger WHERE ref_id = 'PO-000001/1'")
    assert len(seqs) == 1


async def test_entries_of_other_references_stay(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a"])
    first = await world.placed(location_id, {"a": 3})
    second = await world.placed(location_id, {"a": 5})

    await world.receive(first.id, {"a": 3})
    assert await world.incoming(location_id, "a") == [(5, second.number)]
    await world.call(pb.CancelPurchaseOrderRequest(purchase_order_id=second.id, reason="too late"))

    assert await world.incoming(location_id, "a") == []
    assert (await world.level(location_id, "a")).on_hand == 3


async def test_more_than_the_tolerance_is_refused_and_its_lines_are_named(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a", "b"])
    order = await world.placed(location_id, {"a": 100, "b": 10}, over_receipt_basis_points=550)

    with pytest.raises(purchase_receipts.OverReceipt) as refused:
        await world.receive(order.id, {"a": 106, "b": 10})
    assert list(refused.value.lines) == [purchase_receipts.Excess("a", 100, 106, 105)]
    assert await world.ledger(location_id) == []

    await world.receive(order.id, {"a": 105})
    with pytest.raises(purchase_receipts.OverReceipt):
        await world.receive(order.id, {"a": 1})
    assert (await world.level(location_id, "a")).on_hand == 105


async def test_closing_gives_up_what_has_not_come(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a", "b"])
    order = await world.placed(location_id, {"a": 5, "b": 5})
    await world.receive(order.id, {"a": 2})

    closed = await world.call(pb.ClosePurchaseOrderRequest(purchase_order_id=order.id, reason="sold out"))

    assert (closed.state, closed.end_reason, closed.stock_effect) == (CLOSED, "sold out", APPLIED)
    assert await world.incoming(location_id, "a") == await world.incoming(location_id, "b") == []
    assert (await world.level(location_id, "a")).on_hand == 2


async def test_only_legal_moves_are_made(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a"])
    order = await world.draft(location_id, {"a": 2})
    with pytest.raises(transitions.IllegalTransition) as refused:
        await world.receive(order.id, {"a": 1})
    told = {"from": "DRAFT", "to": "PARTIALLY_RECEIVED", "allowed": "ORDERED,CANCELLED"}
    assert refused.value.metadata == told

    cancelled = await world.call(pb.CancelPurchaseOrderRequest(purchase_order_id=order.id, reason="x"))

    assert (cancelled.state, cancelled.stock_effect) == (CANCELLED, APPLIED)
    for request in (
        pb.PlacePurchaseOrderRequest(purchase_order_id=order.id),
        pb.ClosePurchaseOrderRequest(purchase_order_id=order.id, reason="x"),
        pb.CancelPurchaseOrderRequest(purchase_order_id=order.id, reason="x"),
    ):
        with pytest.raises(transitions.IllegalTransition):
            await world.call(request)


async def test_a_draft_is_edited_against_its_version_and_by_its_mask(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a", "b"])
    draft = await world.draft(location_id, {"a": 2}, note="old")
    changed = messages.PurchaseOrder(id=draft.id, note="new", over_receipt_basis_points=100)
    changed.lines.add(sku="b", ordered=7, cost=eur(250))

    edited = await world.call(
        pb.UpdatePurchaseOrderRequest(
            purchase_order=changed, update_mask={"paths": ["lines", "note"]}, expected_version=draft.version
        )
    )

    assert (edited.state, edited.note, edited.over_receipt_basis_points, edited.version) == (DRAFT, "new", 0, 2)
    assert ([line.sku for line in edited.lines], edited.total_cost) == (["b"], eur(1750))
    with pytest.raises(errors.VersionMismatch):
        await world.call(
            pb.UpdatePurchaseOrderRequest(
                purchase_order=changed, update_mask={"paths": ["note"]}, expected_version=draft.version
            )
        )


async def test_a_new_date_moves_what_is_still_incoming(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a", "b"])
    order = await world.placed(location_id, {"a": 2, "b": 2})
    await world.receive(order.id, {"b": 2})
    later = messages.PurchaseOrder(id=order.id, expected_at=SOON)

    edited = await world.call(
        pb.UpdatePurchaseOrderRequest(purchase_order=later, update_mask={"paths": ["expected_at"]})
    )

    assert (edited.state, edited.stock_effect) == (PARTLY, APPLIED)
    assert [entry.eta for entry in (await world.level(location_id, "a")).incoming] == [SOON]
    assert edited.lines[1].expected_at.ToDatetime(dt.UTC) != SOON
    with pytest.raises(transitions.IllegalTransition):
        await world.call(pb.UpdatePurchaseOrderRequest(purchase_order=later, update_mask={"paths": ["lines"]}))


async def test_the_suppliers_list_gives_costs_and_its_packs_are_kept(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a", "b", "c"])
    supplier = await world.supplier()
    await world.listed(
        supplier.id,
        messages.SupplierSku(sku="a", supplier_sku="AC-1", cost=eur(120), pack_size=6, minimum_order_quantity=12),
        messages.SupplierSku(sku="b", discontinued=True),
    )
    draft = await world.draft(location_id, {"a": 8, "b": 1, "c": 1}, supplier_id=supplier.id)
    assert (draft.lines[0].cost, draft.lines[0].supplier_sku) == (eur(120), "AC-1")
    assert not draft.HasField("total_cost")  # nobody knows what c costs

    with pytest.raises(errors.InvalidRequest) as refused:
        await world.call(pb.PlacePurchaseOrderRequest(purchase_order_id=draft.id))

    wrong = [violation.field for violation in refused.value.violations]
    assert wrong == [f"purchase_order.lines[{n}].{f}" for n, f in ((0, "ordered"), (0, "ordered"), (1, "sku"))]
    assert await world.incoming(location_id, "a") == []


async def test_what_can_not_be_ordered_is_told(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a"])
    for lines, refusal in (
        ({"a": 1, "A": 2}, errors.InvalidRequest),
        ({"nothing": 1}, stock_errors.SkuNotFound),
    ):
        with pytest.raises(refusal):
            await world.draft(location_id, lines)
    empty = await world.draft(location_id, {})
    with pytest.raises(errors.InvalidRequest):
        await world.call(pb.PlacePurchaseOrderRequest(purchase_order_id=empty.id))
    await world.execute("UPDATE location SET closed = true")
    with pytest.raises(stock_errors.LocationNotCapable):
        await world.draft(location_id, {"a": 1})


async def test_a_location_waits_for_a_sku_in_few_orders_at_a_time(
    world: buying.BuyingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "INCOMING_MAX", 2)
    location_id, other = await world.location(["a", "b"]), await world.location()
    first, _ = await world.placed(location_id, {"a": 2}), await world.placed(location_id, {"a": 1, "b": 1})
    third = await world.draft(location_id, {"a": 1})

    with pytest.raises(errors.InvalidRequest):
        await world.call(pb.PlacePurchaseOrderRequest(purchase_order_id=third.id))
    await world.placed(other, {"a": 1})
    await world.placed(location_id, {"b": 1})

    await world.receive(first.id, {"a": 2})
    assert (await world.call(pb.PlacePurchaseOrderRequest(purchase_order_id=third.id))).state == ORDERED


async def test_a_receipt_is_returned_again_for_the_same_key(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a"])
    order = await world.placed(location_id, {"a": 100})

    at_once = await asyncio.gather(*(world.receive(order.id, {"a": 5}, request_id="truck") for _ in range(20)))
    later = await world.receive(order.id, {"a": 5}, request_id="truck")

    assert {(receipt.id, receipt.number) for receipt in (*at_once, later)} == {(later.id, 1)}
    assert (later.stock_effect, (await world.level(location_id, "a")).on_hand) == (APPLIED, 5)
    with pytest.raises(errors.IdempotencyKeyReused):
        await world.receive(order.id, {"a": 6}, request_id="truck")


async def test_20_deliveries_at_once_never_exceed_the_order(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a"])
    order = await world.placed(location_id, {"a": 50}, over_receipt_basis_points=1000)

    results = await outcomes(*(world.receive(order.id, {"a": 9}) for _ in range(20)))

    kept = [result for result in results if isinstance(result, messages.PurchaseReceipt)]
    refused = [result for result in results if not isinstance(result, messages.PurchaseReceipt)]
    assert all(isinstance(r, purchase_receipts.OverReceipt | transitions.IllegalTransition) for r in refused)
    assert sorted(receipt.number for receipt in kept) == [1, 2, 3, 4, 5, 6]
    assert ((await world.level(location_id, "a")).on_hand, await world.incoming(location_id, "a")) == (54, [])
    assert (await world.order(order.id)).stock_effect == APPLIED


async def test_numbers_have_no_gaps(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a"])
    supplier = await world.supplier()
    wanted = [{"a": 1}, {"nothing": 1}, {"a": 1}, {"a": 1, "A": 1}, {"a": 1}] * 4

    results = await outcomes(*(world.draft(location_id, lines, supplier_id=supplier.id) for lines in wanted))

    made = sorted(result.number for result in results if isinstance(result, messages.PurchaseOrder))
    assert made == [f"PO-{number:06d}" for number in range(1, 13)]


async def test_orders_of_other_locations_are_refused_or_not_listed(world: buying.BuyingWorld) -> None:
    here, there = await world.location(["a"]), await world.location()
    mine, theirs = await world.draft(here, {"a": 1}), await world.draft(there, {"a": 1})
    manager = world.staff("meg", "store_manager", [here])

    for request in (
        pb.GetPurchaseOrderRequest(purchase_order_id=theirs.id),
        pb.PlacePurchaseOrderRequest(purchase_order_id=theirs.id),
        pb.ListPurchaseReceiptsRequest(purchase_order_id=theirs.id),
    ):
        with pytest.raises(errors.LocationScope):
            await world.call(request, manager)
    listed = await world.call(pb.ListPurchaseOrdersRequest(), manager)
    assert [order.id for order in listed.purchase_orders] == [mine.id]


async def test_orders_are_filtered_and_paged(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a", "b"])
    supplier = await world.supplier()
    of_a = [await world.draft(location_id, {"a": 1}, supplier_id=supplier.id) for _ in range(3)]
    of_b = await world.placed(location_id, {"b": 1})

    pages, token = [], ""
    while True:
        page = await world.call(pb.ListPurchaseOrdersRequest(page_size=2, page_token=token, sku="A"))
        pages.append([order.id for order in page.purchase_orders])
        if not (token := page.next_page_token):
            break

    newest_first = [order.id for order in reversed(of_a)]
    assert pages == [newest_first[:2], newest_first[2:]]
    ordered = await world.call(pb.ListPurchaseOrdersRequest(states=[ORDERED, PARTLY], location_id=location_id))
    assert [order.id for order in ordered.purchase_orders] == [of_b.id]
    theirs = await world.call(pb.ListPurchaseOrdersRequest(supplier_id=supplier.id))
    assert len(theirs.purchase_orders) == 3


async def test_a_delivery_says_of_which_lots_its_units_are(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["milk"])
    async with world.db.transaction(world.tenant) as session:
        policy = 'UPDATE variant SET lot_policy = \'{"sell_past_best_before": false, "minimum_life_days": {}}\''
        await session.execute(sa.text(policy))
    order = await world.placed(location_id, {"milk": 20})

    def line(code: str, **fields: Any) -> messages.PurchaseReceiptLine:
        lot = lots_pb2.LotInput(code=code, expires_on=fields.pop("expires_on", ""))
        return messages.PurchaseReceiptLine(sku="milk", lot=lot if code else None, **fields)

    lines = [line("A", accepted=5, damaged=1, expires_on="311200"), line("B", accepted=4), line("", accepted=2)]
    request = pb.CreatePurchaseReceiptRequest(purchase_order_id=order.id, lines=lines)
    receipt = await world.call(request)

    assert [(x.lot.code, x.accepted, x.damaged) for x in receipt.lines] == [("A", 5, 1), ("B", 4, 0), ("", 2, 0)]
    shelf = await world.rows("SELECT lot, on_hand, damaged FROM stock_lot ORDER BY lot")
    assert [tuple(row) for row in shelf] == [("A", 6, 1), ("B", 4, 0)]
    known = await world.rows("SELECT code, expires_on FROM lot ORDER BY code")
    assert [tuple(row) for row in known] == [("A", dt.date(2031, 12, 31)), ("B", None)]
    level = await world.level(location_id, "milk")
    assert (level.on_hand, await world.incoming(location_id, "milk")) == (12, [(8, order.number)])

    request.lines[0].lot.expires_on = "2031-12-30"  # nothing of such a delivery is kept
    with pytest.raises(lots.LotMismatch):
        await world.call(request)
    assert (await world.order(order.id)).lines[0].received == 12
    request.lines[0].lot.expires_on = ""
    request.lines[1].lot.code = "A"
    with pytest.raises(errors.InvalidRequest):
        await world.call(request)


async def test_while_the_lane_is_away_a_receipt_says_so_and_is_applied_later(db: database.Database) -> None:
    away: set[type] = set()

    class Away(lane.StockRunner):
        async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
            if any(type(s.command) in away for _, s in work):
                return [errors.Unavailable()] * len(work)
            return await super().run(work)

    async with buying.BuyingWorld(db, runner=Away) as world:
        location_id = await world.location(["a"])
        order = await world.placed(location_id, {"a": 5})
        away |= {commands.ReceiveStock, commands.ExpectStock}
        receipt = await world.receive(order.id, {"a": 2}, request_id="k")
        closed = await world.call(pb.ClosePurchaseOrderRequest(purchase_order_id=order.id, reason="x"))
        assert receipt.stock_effect == closed.stock_effect == PENDING
        assert await world.incoming(location_id, "a") == [(5, order.number)]  # the later step waits for the earlier

        away.remove(commands.ReceiveStock)
        await world.effects.attempt(world.tenant_id, ids.decode("pur", order.id))
        [received] = (await world.call(pb.ListPurchaseReceiptsRequest(purchase_order_id=order.id))).receipts
        assert (received.stock_effect, (await world.order(order.id)).stock_effect) == (APPLIED, PENDING)

        away.clear()
        again = await world.receive(order.id, {"a": 2}, request_id="k")

        assert (again.id, again.stock_effect) == (receipt.id, APPLIED)
        assert ((await world.level(location_id, "a")).on_hand, await world.incoming(location_id, "a")) == (2, [])
        settled = await world.order(order.id)
        assert (settled.stock_effect, settled.version > closed.version) == (APPLIED, True)
