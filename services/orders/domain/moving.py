"""A move of one of an order's machines that somebody asks for by the name of a state. Values in, values out.

The tables are machines'. What follows from a move is done with it: a group follows its parcels, and an order whose
goods are all delivered and paid is completed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from services.kit import errors
from services.orders.domain import machines, placed_order, sale
from services.orders.domain.machines import By, FulfillmentState, Machine
from services.orders.domain.placed_order import Entry, Group, Parcel, Placed

COMPLETED_REASON = "all is delivered and paid"
T = TypeVar("T", Group, Parcel)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. target: the group or parcel; None: the only one, or the order. to_state: its name."""

    machine: Machine
    target: uuid.UUID | None
    to_state: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The order after a move, a version later. entries: what happened, to be numbered; group: the one that changed."""

    order: sale.Order
    entries: tuple[Entry, ...]
    group: Group | None = None


def find_group(order: sale.Order, request: Request) -> Group | None:
    """The group that is moved, or whose parcel is; None: the order itself, or its payment. NotFound."""
    groups = () if order.placed is None else order.placed.groups
    if request.machine is Machine.FULFILLMENT:
        return _the_one(groups, request.target, "fulfillment_group")
    if request.machine is Machine.PARCEL:
        parcel = _the_one([parcel for group in groups for parcel in group.parcels], request.target, "parcel")
        return next(group for group in groups if parcel in group.parcels)
    return None


def move(order: sale.Order, request: Request, at: dt.datetime) -> Moved:
    """ILLEGAL_TRANSITION; TRANSITION_RESERVED; INVALID_REQUEST for a state that there isn't; NOT_FOUND."""
    group = find_group(order, request)
    if group is not None:
        return _move_group(order, group, request, at)
    if request.machine is Machine.PAYMENT:
        _refuse_payment(order, request)
    return _move_order(order, request, at)


def _move_order(order: sale.Order, request: Request, at: dt.datetime) -> Moved:
    to = machines.ORDER.named(request.to_state)
    told = machines.ORDER.move(order.state, to, By.STAFF)
    assert order.placed is not None  # a sale is completed, and moves no more
    if not is_done(order):
        allowed = machines.ORDER.allowed(order.state, By.STAFF)
        raise machines.IllegalTransition(order.state, to, [state for state in allowed if state is not to])
    moved = dataclasses.replace(order, state=to, version=order.version + 1)
    return Moved(_updated(moved, order.placed, at), (_entry(told, None, request, moved.version, at),))


def _refuse_payment(order: sale.Order, request: Request) -> None:
    """Always: it moves by payments only."""
    to = machines.PAYMENT.named(request.to_state)
    if order.placed is None:  # a sale is paid when it is recorded
        raise machines.IllegalTransition(machines.PaymentState.PAID, to, ())
    state = placed_order.payment_state(order.total, order.placed.payment)
    machines.PAYMENT.move(state, to, By.STAFF)
    raise AssertionError


def _move_group(order: sale.Order, group: Group, request: Request, at: dt.datetime) -> Moved:
    placed, version = order.placed, order.version + 1
    assert placed is not None  # it has groups
    if order.state is not sale.OrderState.PLACED:
        raise placed_order.NotEditable(order.state.name)
    if request.machine is Machine.FULFILLMENT:
        to = machines.FULFILLMENT.named(request.to_state)
        told = machines.FULFILLMENT.move(group.state, to, By.STAFF)
        changed, entries = dataclasses.replace(group, state=to), [_entry(told, group.id, request, version, at)]
    else:
        changed, entries = _move_parcel(group, request, version, at)
    changed = dataclasses.replace(changed, updated_at=at)
    groups = tuple(changed if each is group else each for each in placed.groups)
    placed = dataclasses.replace(placed, groups=groups)
    moved = dataclasses.replace(order, version=version)
    if is_done(_updated(moved, placed, at)):
        end = machines.ORDER.move(moved.state, sale.OrderState.COMPLETED, By.SYSTEM)
        entries.append(dataclasses.replace(_entry(end, None, request, version, at), reason=COMPLETED_REASON))
        moved = dataclasses.replace(moved, state=sale.OrderState.COMPLETED)
    return Moved(_updated(moved, placed, at), tuple(entries), changed)


def _move_parcel(group: Group, request: Request, version: int, at: dt.datetime) -> tuple[Group, list[Entry]]:
    """The group with the parcel moved, and what follows for itself."""
    parcel = _the_one(group.parcels, request.target, "parcel")
    told = machines.PARCEL.move(parcel.state, machines.PARCEL.named(request.to_state), By.STAFF)
    entries = [_entry(told, parcel.id, request, version, at)]
    changed = dataclasses.replace(parcel, state=told.to_state, updated_at=at)
    parcels = tuple(changed if each is parcel else each for each in group.parcels)
    state = machines.group_state(group.state, [each.state for each in parcels])
    if state is not group.state:
        follows = machines.Move(Machine.FULFILLMENT, group.state, state)
        entries.append(_entry(follows, group.id, request, version, at))
    return dataclasses.replace(group, state=state, parcels=parcels), entries


def is_done(order: sale.Order) -> bool:
    """Whether all that is still wanted was handed over, and nothing is owed."""
    placed = order.placed
    assert placed is not None  # a sale is completed from the beginning
    delivered = placed_order.fulfillment_state(placed.groups) is FulfillmentState.DELIVERED
    return delivered and placed.payment.captured - placed.payment.refunded >= order.total


def _updated(order: sale.Order, placed: Placed, at: dt.datetime) -> sale.Order:
    return dataclasses.replace(order, placed=dataclasses.replace(placed, updated_at=at))


def _the_one(found: Sequence[T], target: uuid.UUID | None, resource: str) -> T:
    """The one of an id, or the only one. NotFound."""
    wanted = found if target is None else [each for each in found if each.id == target]
    if len(wanted) != 1:
        raise errors.NotFound(resource)
    return wanted[0]


def _entry(
    told: machines.Move[Any], target: uuid.UUID | None, request: Request, version: int, at: dt.datetime
) -> Entry:
    before = "" if told.from_state is None else told.from_state.name
    return Entry(0, int(told.machine), target, before, told.to_state.name, request.reason, request.actor, version, at)
