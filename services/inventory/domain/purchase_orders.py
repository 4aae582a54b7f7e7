"""A purchase order: its states, its lines, and what each step means for the stock. Values in, values out.

A step answers the order as it is from then on and, where stock is concerned, a command for the lane of the location,
which is never refused: whatever could refuse a step is checked here.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from services.inventory.domain import catalog, commands, levels, stock_errors, suppliers, transitions
from services.inventory.domain import catalog_codes as codes

REF_TYPE: Final = "purchase_order"


class State(enum.IntEnum):
    """State of a purchase order; numbers of the contract."""

    DRAFT = 1
    ORDERED = 2
    PARTIALLY_RECEIVED = 3
    RECEIVED = 4
    CLOSED = 5
    CANCELLED = 6


MOVES: transitions.Moves[State] = {
    State.DRAFT: (State.ORDERED, State.CANCELLED),
    State.ORDERED: (State.PARTIALLY_RECEIVED, State.RECEIVED, State.CANCELLED),
    State.PARTIALLY_RECEIVED: (State.PARTIALLY_RECEIVED, State.RECEIVED, State.CLOSED),
    State.RECEIVED: (),
    State.CLOSED: (),
    State.CANCELLED: (),
}
UNDER_WAY: Final = frozenset({State.ORDERED, State.PARTIALLY_RECEIVED})
EDITABLE_UNDER_WAY: Final = frozenset({"note", "expected_at"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LineDraft:
    """What a caller says of a line. cost: currency code and its smallest units; None: the supplier's."""

    sku: str
    ordered: int
    cost: tuple[str, int] | None = None
    expected_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a caller says of an order."""

    supplier_id: uuid.UUID
    location_id: uuid.UUID
    lines: tuple[LineDraft, ...] = ()
    expected_at: dt.datetime | None = None
    over_receipt_basis_points: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Units of a SKU. promised_at: what was expected when the order was placed; completed_at: when all had come."""

    sku: str
    ordered: int
    cost: int | None = None
    expected_at: dt.datetime | None = None
    supplier_sku: str = ""
    received: int = 0
    damaged: int = 0
    quality_control: int = 0
    rejected: int = 0
    promised_at: dt.datetime | None = None
    completed_at: dt.datetime | None = None

    @property
    def outstanding(self) -> int:
        """Units that have not come."""
        return max(self.ordered - self.received, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseOrder:
    """An order of a location. effects: how many steps of it concern the stock; settled: all of them are in it."""

    id: uuid.UUID
    number: int
    supplier_id: uuid.UUID
    location_id: uuid.UUID
    state: State
    currency_code: str
    lines: tuple[Line, ...]
    expected_at: dt.datetime | None
    over_receipt_basis_points: int
    note: str
    created_by: str
    created_at: dt.datetime
    updated_at: dt.datetime
    ordered_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    end_reason: str = ""
    version: int = 1
    effects: int = 0
    receipts: int = 0
    settled: bool = True

    @property
    def reference(self) -> str:
        """What people and incoming stock call it."""
        return reference(self.number)

    @property
    def total_cost(self) -> int | None:
        """None when a line has no cost."""
        costs = [None if line.cost is None else line.cost * line.ordered for line in self.lines]
        return None if not costs or None in costs else sum(cost for cost in costs if cost is not None)


@dataclass(frozen=True, slots=True)
class Known:
    """What the catalogue and the supplier's list say of SKUs, by their folded form."""

    spellings: Mapping[str, str]
    rows: Mapping[str, suppliers.SupplierSku] = field(default_factory=dict)


class Step(NamedTuple):
    """The order after a step, and what the stock is told; None: nothing."""

    order: PurchaseOrder
    command: commands.Document | None


def reference(number: int) -> str:
    """What people call the order of this number."""
    return f"PO-{number:06d}"


def new_order(
    draft: Draft,
    *,
    order_id: uuid.UUID,
    number: int,
    supplier: suppliers.Supplier,
    known: Known,
    by: str,
    now: dt.datetime,
) -> PurchaseOrder:
    """A draft. INVALID_REQUEST, SKU_NOT_FOUND."""
    wrong = catalog.Violations("purchase_order")
    wrong.check_texts(note=draft.note)
    wrong.refuse()
    return PurchaseOrder(
        id=order_id,
        number=number,
        supplier_id=supplier.id,
        location_id=draft.location_id,
        state=State.DRAFT,
        currency_code=supplier.currency_code,
        lines=_lines(draft.lines, supplier.currency_code, known),
        expected_at=draft.expected_at,
        over_receipt_basis_points=draft.over_receipt_basis_points,
        note=draft.note,
        created_by=by,
        created_at=now,
        updated_at=now,
    )


def _lines(drafts: Sequence[LineDraft], currency_code: str, known: Known) -> tuple[Line, ...]:
    wrong = catalog.Violations("purchase_order")
    for index in catalog.duplicates([codes.sku_key(draft.sku) for draft in drafts]):
        wrong.add(f"lines[{index}].sku", "has a line already")
    for index, draft in enumerate(drafts):
        if draft.cost is not None and draft.cost[0] != currency_code:
            wrong.add(f"lines[{index}].cost", f"is not in {currency_code}, the supplier's currency")
    wrong.refuse()
    return tuple(_line(draft, known) for draft in drafts)


def _line(draft: LineDraft, known: Known) -> Line:
    key = codes.sku_key(draft.sku)
    if key not in known.spellings:
        raise stock_errors.SkuNotFound(draft.sku)
    row = known.rows.get(key)
    listed = row.cost if row else None
    return Line(
        sku=known.spellings[key],
        ordered=draft.ordered,
        cost=draft.cost[1] if draft.cost is not None else listed,
        expected_at=draft.expected_at,
        supplier_sku=row.supplier_sku if row else "",
    )


def edit(
    order: PurchaseOrder, changes: Mapping[str, Any], known: Known, *, expected_version: int, now: dt.datetime
) -> Step:
    """New values of fields (as in Draft). VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST, SKU_NOT_FOUND."""
    catalog.check_version(order.version, expected_version)
    under_way = order.state in UNDER_WAY and EDITABLE_UNDER_WAY.issuperset(changes)
    if order.state != State.DRAFT and not under_way:
        raise transitions.IllegalTransition(order.state, State.DRAFT, MOVES[order.state])
    wrong = catalog.Violations("purchase_order")
    wrong.check_texts(note=changes.get("note", ""))
    if under_way and changes.get("expected_at", now) is None:
        wrong.add("expected_at", "is needed once the order is placed")
    wrong.refuse()
    new = dict(changes)
    if "lines" in new:
        new["lines"] = _lines(new["lines"], order.currency_code, known)
    edited = _next(order, now, **new)
    if under_way and "expected_at" in new:
        return _reschedule(edited)
    return Step(edited, None)


def _reschedule(order: PurchaseOrder) -> Step:
    """All that is still waited for is expected at the order's new date."""
    lines = [dataclasses.replace(x, expected_at=order.expected_at) if x.outstanding else x for x in order.lines]
    return _told(dataclasses.replace(order, lines=tuple(lines)), _expect([line for line in lines if line.outstanding]))


def place(
    order: PurchaseOrder, supplier: suppliers.Supplier, known: Known, crowded: Collection[str], *,
    expected_version: int, now: dt.datetime,
) -> Step:  # fmt: skip
    """DRAFT to ORDERED. crowded: folded SKUs with too many open documents. INVALID_REQUEST lists what is wrong."""
    catalog.check_version(order.version, expected_version)
    state = transitions.check(MOVES, order.state, State.ORDERED)
    _check_placeable(order, supplier, known, crowded)
    lines = []
    for line in order.lines:
        lead_time = suppliers.lead_time(supplier, known.rows.get(codes.sku_key(line.sku)))
        expected_at = line.expected_at or order.expected_at or now + lead_time
        lines.append(dataclasses.replace(line, expected_at=expected_at, promised_at=expected_at))
    placed = _next(order, now, state=state, lines=tuple(lines), ordered_at=now)
    return _told(placed, _expect(lines))


def _check_placeable(
    order: PurchaseOrder, supplier: suppliers.Supplier, known: Known, crowded: Collection[str]
) -> None:
    wrong = catalog.Violations("purchase_order")
    if not order.lines:
        wrong.add("lines", "has none")
    if supplier.inactive:
        wrong.add("supplier_id", "is inactive")
    for index, line in enumerate(order.lines):
        key = codes.sku_key(line.sku)
        row = known.rows.get(key) or suppliers.SupplierSku(sku=line.sku)
        if row.discontinued:
            wrong.add(f"lines[{index}].sku", "is not delivered by this supplier any more")
        if line.ordered % row.pack_size:
            wrong.add(f"lines[{index}].ordered", f"is not a multiple of the pack size {row.pack_size}")
        if line.ordered < row.minimum_order_quantity:
            wrong.add(f"lines[{index}].ordered", f"is less than the minimum of {row.minimum_order_quantity}")
        if key in crowded:
            wrong.add(f"lines[{index}].sku", f"is incoming in {levels.INCOMING_MAX} open documents of the location")
    wrong.refuse()


def close(order: PurchaseOrder, reason: str, *, expected_version: int, now: dt.datetime) -> Step:
    """PARTIALLY_RECEIVED to CLOSED."""
    return _end(order, State.CLOSED, reason, expected_version, now)


def cancel(order: PurchaseOrder, reason: str, *, expected_version: int, now: dt.datetime) -> Step:
    """DRAFT or ORDERED to CANCELLED."""
    return _end(order, State.CANCELLED, reason, expected_version, now)


def _end(order: PurchaseOrder, to: State, reason: str, expected_version: int, now: dt.datetime) -> Step:
    catalog.check_version(order.version, expected_version)
    state = transitions.check(MOVES, order.state, to)
    wrong = catalog.Violations("")
    wrong.check_texts(reason=reason)
    wrong.refuse()
    ended = _next(order, now, state=state, end_reason=reason, ended_at=now)
    if order.state == State.DRAFT:
        return Step(ended, None)
    return _told(ended, [(line.sku, 0, None) for line in order.lines if line.outstanding])


Expected = tuple[str, int, dt.datetime | None]


def _expect(lines: Sequence[Line]) -> list[Expected]:
    return [(line.sku, line.outstanding, line.expected_at) for line in lines]


def _told(order: PurchaseOrder, lines: Sequence[Expected]) -> Step:
    """The order, and the stock told what is incoming of it."""
    command = commands.ExpectStock(order.reference, tuple(lines))
    return Step(dataclasses.replace(order, effects=order.effects + 1, settled=False), command)


def _next(order: PurchaseOrder, now: dt.datetime, **changes: Any) -> PurchaseOrder:
    return dataclasses.replace(order, **changes, version=order.version + 1, updated_at=now)
