"""What is placed becomes an order, and what may be done with one that is there."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from dataclasses import dataclass

from services.kit import errors
from services.orders.domain import business_day, machines, sale
from services.orders.domain.placed_order import CancelReason, Capture, NotEditable, Placed
from services.orders.domain.placement.content import Content
from services.orders.domain.placement.pricing import Quote

UNTOUCHED = (
    machines.FulfillmentState.OPEN,
    machines.FulfillmentState.ON_HOLD,
    machines.FulfillmentState.SCHEDULED,
    machines.FulfillmentState.CANCELLED,
)
"""Groups on which no work has begun."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """An order that is to be cancelled: reservations that are given back, and what is said of it."""

    reservations: tuple[uuid.UUID, ...]
    reason: CancelReason
    note: str
    actor: str


def was_draft(order: sale.Order) -> bool:
    """Whether an order that is PENDING was a draft before."""
    return order.placed is not None and order.placed.valid_until is not None


def require_draft(order: sale.Order, expected_version: int, at: dt.datetime) -> None:
    """NotEditable when it is no draft, or has run out; VersionMismatch. expected_version 0: whatever it is."""
    if order.placed is None or order.state is not sale.OrderState.DRAFT:
        raise NotEditable(order.state.name)
    if order.placed.valid_until is not None and order.placed.valid_until <= at:
        raise NotEditable(sale.OrderState.EXPIRED.name)
    if expected_version not in (0, order.version):
        raise errors.VersionMismatch(order.version)


def still_a_draft(pending: sale.Order, draft: sale.Order) -> sale.Order:
    """A draft that is being placed keeps what it has as a draft, until it is placed."""
    assert pending.placed is not None
    assert draft.placed is not None
    valid_until, held = draft.placed.valid_until, draft.placed.prices_held
    placed = dataclasses.replace(pending.placed, valid_until=valid_until, prices_held=held)
    return dataclasses.replace(pending, version=draft.version, customer_id=draft.customer_id, placed=placed)


def plan_cancel(order: sale.Order, expected_version: int, reason: CancelReason, note: str, actor: str) -> Cancel | None:
    """What has to be given back; None: it is cancelled already. VersionMismatch; NotEditable: work on it has begun."""
    if order.state is sale.OrderState.CANCELLED:
        return None
    if order.placed is None or order.state not in (sale.OrderState.DRAFT, sale.OrderState.PLACED):
        raise NotEditable(order.state.name)
    if expected_version not in (0, order.version):
        raise errors.VersionMismatch(order.version)
    for group in order.placed.groups:
        if group.state not in UNTOUCHED:
            raise NotEditable(group.state.name)
    held = dict.fromkeys(line.reservation_id for group in order.placed.groups for line in group.lines)
    return Cancel(tuple(held), reason, note, actor)


def order_of(
    content: Content,
    quote: Quote,
    store: sale.Store,
    *,
    order_id: uuid.UUID,
    number: int,
    state: sale.OrderState,
    capture: Capture,
    actor: str,
    at: dt.datetime,
    version: int,
    balance_due_at: dt.datetime | None = None,
) -> sale.Order:
    """The order that content becomes, at a moment."""
    day, hour = business_day.of(at, store.timezone, store.cutoff_minutes)
    return sale.Order(
        id=order_id,
        seq=0,
        channel=content.channel,
        state=state,
        location_id=content.location_id,
        terminal_id="",
        client_sale_id="",
        currency_code=quote.currency_code,
        tax_inclusive=quote.tax_inclusive,
        lines=quote.lines,
        tenders=(),
        net_total=quote.sums.net,
        tax_total=quote.sums.tax,
        discount_total=quote.sums.discount,
        total=quote.sums.total,
        customer_id=content.customer_id,
        campaign_id=content.campaign_id,
        reservation_id=None,
        business_date=day,
        business_hour=hour,
        occurred_at=at,
        recorded_at=at,
        clock_skewed=False,
        actor=actor,
        version=version,
        placed=Placed(
            number=number,
            method=content.method,
            pricing=quote.pricing,
            capture=capture,
            balance_due_at=balance_due_at,
            updated_at=at,
            external_reference=content.external_reference,
            marketplace=content.marketplace,
            note=content.note,
        ),
    )
