"""What an order becomes when its placement or cancellation ends, and what its history says of that."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence

from services.orders.domain import machines, placed_order, sagas, sale
from services.orders.domain.machines import FulfillmentState, Machine
from services.orders.domain.placed_order import Entry


def placed(pending: sale.Order, saga: sagas.Saga, groups: Sequence[placed_order.Group], at: dt.datetime) -> sale.Order:
    """PLACED, in its next version, as its saga planned. groups: of the units that are allocated."""
    assert pending.placed is not None
    tenders = tuple(sale.Tender(each.type, each.amount, pending.currency_code, "") for each in saga.plan.tenders)
    placed_ = dataclasses.replace(pending.placed, groups=tuple(groups), placed_at=at, updated_at=at, valid_until=None)
    return dataclasses.replace(
        pending,
        state=sale.OrderState.PLACED,
        version=pending.version + 1,
        tenders=tenders,
        placed=placed_,
    )


def ended(
    before: sale.Order,
    state: sale.OrderState,
    reason: placed_order.CancelReason,
    note: str,
    groups: Sequence[placed_order.Group],
    at: dt.datetime,
) -> sale.Order:
    """CANCELLED or EXPIRED, in its next version, and why. groups: what has become of them."""
    assert before.placed is not None
    placed_ = dataclasses.replace(
        before.placed, cancel_reason=int(reason), cancel_note=note, groups=tuple(groups), updated_at=at
    )
    return dataclasses.replace(before, state=state, version=before.version + 1, placed=placed_)


def moved(
    move: machines.Move[sale.OrderState] | machines.Move[FulfillmentState],
    order: sale.Order,
    target: uuid.UUID | None = None,
    *,
    actor: str,
) -> Entry:
    """A move in the history, of an order or of its group (target). The order: as it is after the move."""
    before = "" if move.from_state is None else move.from_state.name
    return dataclasses.replace(told(move.machine, before, move.to_state.name, order, actor), target=target)


def told(machine: Machine, before: str, after: str, order: sale.Order, actor: str) -> Entry:
    """An entry of the history, numbered when it is kept."""
    assert order.placed is not None
    assert order.placed.updated_at is not None
    return Entry(0, int(machine), None, before, after, "", actor, order.version, order.placed.updated_at)
