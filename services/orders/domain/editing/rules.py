"""Whether an order may be changed, and what the change comes to."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from services.kit import errors
from services.orders.domain import machines, sale
from services.orders.domain.editing import amounts, units
from services.orders.domain.editing.values import HELD_LINES_MAX, LINES_MAX, Change, Edited, Offered
from services.orders.domain.machines import FulfillmentState
from services.orders.domain.placed_order import Delivery, Entry, Group, Method, NotEditable, Pickup

GONE = (FulfillmentState.HANDED_OVER, FulfillmentState.DELIVERED)
"""Groups that have left the house: where they go to can't be changed any more."""
REASON_LENGTH_MAX = 500  # of the contract
Moved = machines.Move[Any]


def require_editable(order: sale.Order, expected_version: int) -> None:
    """NotEditable unless it is placed; VersionMismatch. expected_version 0: whatever it is."""
    if order.placed is None or order.state is not sale.OrderState.PLACED:
        raise NotEditable(order.state.name)
    if expected_version not in (0, order.version):
        raise errors.VersionMismatch(order.version)


def edit(
    order: sale.Order,
    change: Change,
    offered: Offered | None,
    *,
    line_ids: Sequence[uuid.UUID],
    reason: str,
    actor: str,
) -> Edited:
    """How an order that is editable would be. offered: where there are new lines or charges.

    InvalidRequest; NotEditable: work on what would change has begun; SkuNotFound, ItemNotSold, LocationNotCapable,
    PriceChanged.
    """
    placed = order.placed
    assert placed is not None  # require_editable
    if offered is not None and not offered.store.sells:
        raise sale.LocationNotCapable
    _refuse(_violations(order, change))
    lines, sums = amounts.reprice(order, change, offered, line_ids=line_ids, actor=actor)
    now = {line.number: line for line in order.lines}
    given = [
        each
        for number, quantity in change.quantities.items()
        if quantity < now[number].quantity
        for each in units.give_back(placed.groups, now[number], now[number].quantity - quantity)
    ]
    added = lines[len(order.lines) :]
    more = amounts.units_added(order, change.quantities)
    more |= {line.number: line.quantity for line in added if line.kind is sale.LineKind.ITEM}
    together = {line.number: of.group for line, of in zip(added, change.lines, strict=False)}
    hold, wanted = units.to_hold(more, lines, together)
    return Edited(
        lines=lines,
        sums=sums,
        method=_method(placed.method, change, placed.groups),
        note=placed.note if change.note is None else change.note,
        hold=hold,
        wanted=wanted,
        given=tuple(given),
        reason=reason[:REASON_LENGTH_MAX],
        actor=actor,
    )


def changed(order: sale.Order, edited: Edited) -> sale.Order:
    """The order as it is to become, but for its groups, its payments and its version."""
    assert order.placed is not None
    return dataclasses.replace(
        order,
        lines=edited.lines,
        net_total=edited.sums.net,
        tax_total=edited.sums.tax,
        discount_total=edited.sums.discount,
        total=edited.sums.total,
        placed=dataclasses.replace(order.placed, method=edited.method, note=edited.note),
    )


def told(edited: Edited, moved: Iterable[tuple[Moved, uuid.UUID | None]], version: int, at: dt.datetime) -> list[Entry]:
    """What the history says of an edit: why and by whom, and which machines moved with it."""
    who = Entry(0, 0, None, "", "", edited.reason, edited.actor, version, at)
    return [
        who,
        *(
            dataclasses.replace(
                who,
                machine=int(move.machine),
                target=target,
                from_state="" if move.from_state is None else move.from_state.name,
                to_state=move.to_state.name,
                reason="",
            )
            for move, target in moved
        ),
    ]


def left_after(order: sale.Order, cancelled: Mapping[int, int]) -> dict[int, int]:
    """Units of lines after so many of them are cancelled, by number. InvalidRequest: there are fewer."""
    now = {line.number: line.quantity for line in order.lines if line.kind is sale.LineKind.ITEM}
    _refuse(
        errors.FieldViolation("lines", f"line {number} has {now.get(number, 0)} units")
        for number, quantity in cancelled.items()
        if quantity > now.get(number, 0)
    )
    return {number: now[number] - quantity for number, quantity in cancelled.items()}


def is_everything(order: sale.Order, quantities: Mapping[int, int]) -> bool:
    """Whether no unit would be left."""
    items = [line for line in order.lines if line.kind is sale.LineKind.ITEM]
    return not any(quantities.get(line.number, line.quantity) for line in items)


def _violations(order: sale.Order, change: Change) -> Iterator[errors.FieldViolation]:
    """What is wrong with what is asked, but for prices."""
    assert order.placed is not None
    items = {line.number: line for line in order.lines if line.kind is sale.LineKind.ITEM}
    for number in change.quantities:
        if number not in items:
            yield errors.FieldViolation("quantities", f"there is no item with the number {number}")
    if is_everything(order, change.quantities) and not change.lines:
        yield errors.FieldViolation("quantities", "would leave nothing: cancel the order")
    if len(order.lines) + len(change.lines) + len(change.charges) > LINES_MAX:
        yield errors.FieldViolation("lines", f"an order has at most {LINES_MAX}, with those that were removed")
    if len(amounts.units_added(order, change.quantities)) + len(change.lines) > HELD_LINES_MAX:
        yield errors.FieldViolation("lines", f"at most {HELD_LINES_MAX} may get more units at once")
    if not _changes(order, change):
        yield errors.FieldViolation("", "nothing would change")
    is_sent = isinstance(order.placed.method, Delivery)
    if change.delivery_method is not None and not is_sent:
        yield errors.FieldViolation("delivery_method", "is for an order that is sent")
    if change.pickup_at is not None and is_sent:
        yield errors.FieldViolation("pickup_at", "is for an order that is collected")


def _changes(order: sale.Order, change: Change) -> bool:
    placed = order.placed
    assert placed is not None
    now = {line.number: line.quantity for line in order.lines}
    return bool(
        change.lines
        or change.charges
        or any(now.get(number) != quantity for number, quantity in change.quantities.items())
        or (change.note is not None and change.note != placed.note)
        or _wanted(placed.method, change) != placed.method
    )


def _wanted(now: Method, change: Change) -> Method:
    """How the customer gets it from now on."""
    match now:
        case Delivery() if change.delivery_method is not None:
            return dataclasses.replace(now, method=change.delivery_method)
        case Pickup() if change.pickup_at is not None:
            return dataclasses.replace(now, at=change.pickup_at)
    return now


def _method(now: Method, change: Change, groups: Sequence[Group]) -> Method:
    """The same, if it hasn't left. NotEditable."""
    wanted = _wanted(now, change)
    if wanted != now:
        require_here(groups)
    return wanted


def require_here(groups: Sequence[Group]) -> None:
    """NotEditable when something of it has left the house."""
    for group in groups:
        if group.state in GONE:
            raise NotEditable(group.state.name)


def _refuse(violations: Iterator[errors.FieldViolation]) -> None:
    """INVALID_REQUEST lists them all."""
    if found := list(violations):
        raise errors.InvalidRequest(violations=found)
