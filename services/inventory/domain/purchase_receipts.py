"""Receiving on a purchase order: what may come, what becomes of the order, and what enters the stock."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from services.inventory.domain import catalog, commands, lots, transitions
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import purchase_orders as orders
from services.inventory.domain.levels import Reason
from services.inventory.domain.levels import State as StockState
from services.kit import errors

BASIS_POINTS = 10_000


class Excess(NamedTuple):
    """A line of which more came than may."""

    sku: str
    ordered: int
    received: int
    at_most: int


class OverReceipt(errors.Error):
    """More came than the order's tolerance allows."""

    reason = "OVER_RECEIPT"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptLine:
    """Units that came of a SKU, of one lot or of none, by what became of them."""

    sku: str
    accepted: int = 0
    damaged: int = 0
    quality_control: int = 0
    rejected: int = 0
    lot: str = ""

    @property
    def received(self) -> int:
        """Units that enter the stock."""
        return self.accepted + self.damaged + self.quality_control


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptDraft:
    """What a caller says of a delivery. received_at None: now."""

    lines: tuple[ReceiptLine, ...]
    delivery_note: str = ""
    received_at: dt.datetime | None = None
    lots: tuple[tuple[str, lots.LotDraft], ...] = ()
    """SKU, and what is said of a lot of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A delivery. effect: the order's step that brings it into the stock, 0: none; seq: its place in the ledger."""

    id: uuid.UUID
    order_id: uuid.UUID
    order_number: int
    location_id: uuid.UUID
    number: int
    lines: tuple[ReceiptLine, ...]
    delivery_note: str
    received_at: dt.datetime
    recorded_at: dt.datetime
    received_by: str
    terminal: str
    effect: int
    seq: int = 0
    settled: bool = False

    @property
    def reference(self) -> str:
        """What its movements refer to."""
        return f"{orders.reference(self.order_number)}/{self.number}"


class Received(NamedTuple):
    """The order after a delivery, the delivery, and what enters the stock; None: nothing."""

    order: orders.PurchaseOrder
    receipt: Receipt
    command: commands.ReceiveStock | None


def receive(
    order: orders.PurchaseOrder,
    draft: ReceiptDraft,
    *,
    receipt_id: uuid.UUID,
    origin: commands.Origin,
    expected_version: int,
    now: dt.datetime,
) -> Received:
    """Takes a delivery in. VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST, OVER_RECEIPT."""
    catalog.check_version(order.version, expected_version)
    transitions.check(orders.MOVES, order.state, orders.State.PARTIALLY_RECEIVED)
    came = _spelled(order, draft)
    of_sku = _by_key(came)
    _check_tolerance(order, of_sku)
    received_at = min(draft.received_at or now, now)
    lines = tuple(_add(line, of_sku.get(codes.sku_key(line.sku)), received_at) for line in order.lines)
    enters = any(line.received for line in came)
    effects = order.effects + enters
    receipt = Receipt(
        id=receipt_id,
        order_id=order.id,
        order_number=order.number,
        location_id=order.location_id,
        number=order.receipts + 1,
        lines=came,
        delivery_note=draft.delivery_note,
        received_at=received_at,
        recorded_at=now,
        received_by=origin.actor,
        terminal=origin.terminal,
        effect=effects if enters else 0,
        settled=not enters,
    )
    after = dataclasses.replace(
        order,
        lines=lines,
        receipts=receipt.number,
        effects=effects,
        settled=order.settled and not enters,
        version=order.version + 1,
        updated_at=now,
        **_state(order.state, lines, now),
    )
    return Received(after, receipt, _command(order, receipt, origin) if enters else None)


def _spelled(order: orders.PurchaseOrder, draft: ReceiptDraft) -> tuple[ReceiptLine, ...]:
    """What came, spelled as the order does."""
    spellings = {codes.sku_key(line.sku): line.sku for line in order.lines}
    keys = [codes.sku_key(line.sku) for line in draft.lines]
    wrong = catalog.Violations("")
    wrong.check_texts(delivery_note=draft.delivery_note)
    for index in catalog.duplicates([(k, line.lot) for k, line in zip(keys, draft.lines, strict=True)]):
        wrong.add(f"lines[{index}].sku", "has a line already")
    for index, key in enumerate(keys):
        if key not in spellings:
            wrong.add(f"lines[{index}].sku", "is not in the order")
    wrong.refuse()
    return tuple(dataclasses.replace(x, sku=spellings[k]) for k, x in zip(keys, draft.lines, strict=True))


def _by_key(lines: Sequence[ReceiptLine]) -> dict[str, ReceiptLine]:
    """What came by folded SKU, over its lots."""
    found: dict[str, ReceiptLine] = {}
    for line in lines:
        key = codes.sku_key(line.sku)
        so_far = found.get(key, ReceiptLine(sku=line.sku))
        found[key] = ReceiptLine(
            sku=line.sku,
            accepted=so_far.accepted + line.accepted,
            damaged=so_far.damaged + line.damaged,
            quality_control=so_far.quality_control + line.quality_control,
            rejected=so_far.rejected + line.rejected,
        )
    return found


def _check_tolerance(order: orders.PurchaseOrder, of_sku: Mapping[str, ReceiptLine]) -> None:
    known = {codes.sku_key(line.sku): line for line in order.lines}
    excess = []
    for key, came in of_sku.items():
        line = known[key]
        at_most = line.ordered + line.ordered * order.over_receipt_basis_points // BASIS_POINTS
        received = line.received + came.received
        if received > at_most:
            excess.append(Excess(line.sku, line.ordered, received, at_most))
    if excess:
        raise OverReceipt(lines=excess)


def _add(line: orders.Line, came: ReceiptLine | None, received_at: dt.datetime) -> orders.Line:
    if came is None:
        return line
    received = line.received + came.received
    complete = received >= line.ordered
    return dataclasses.replace(
        line,
        received=received,
        damaged=line.damaged + came.damaged,
        quality_control=line.quality_control + came.quality_control,
        rejected=line.rejected + came.rejected,
        completed_at=line.completed_at or (received_at if complete else None),
    )


def _state(state: orders.State, lines: Sequence[orders.Line], now: dt.datetime) -> Mapping[str, Any]:
    """What the order's state becomes. Units that were all sent back leave it where it was."""
    if not any(line.outstanding for line in lines):
        return {"state": transitions.check(orders.MOVES, state, orders.State.RECEIVED), "ended_at": now}
    if any(line.received for line in lines):
        return {"state": transitions.check(orders.MOVES, state, orders.State.PARTIALLY_RECEIVED)}
    return {}


def _command(order: orders.PurchaseOrder, receipt: Receipt, origin: commands.Origin) -> commands.ReceiveStock:
    moves = [
        commands.Receipt(line.sku, state, quantity, line.lot)
        for line in receipt.lines
        for state, quantity in (
            (StockState.SELLABLE, line.accepted),
            (StockState.DAMAGED, line.damaged),
            (StockState.QUALITY_CONTROL, line.quality_control),
        )
        if quantity
    ]
    at = dataclasses.replace(origin, occurred_at=receipt.received_at)
    return commands.ReceiveStock(at, tuple(moves), Reason.RECEIVED, orders.REF_TYPE, receipt.reference, order.reference)
