"""What Orders tells the others: domain facts to events of the contract (tillmesh.orders.v1, *_events.proto)."""

from __future__ import annotations

from collections.abc import Sequence

from services.kit import clock, events, ids
from services.orders.domain import placed_order
from services.orders.domain import sale as domain
from services.orders.mapping import messages, placed_messages
from tillmesh.orders.v1 import orders_events_pb2 as pb

OrderEvent = pb.OrderDrafted | pb.OrderPlaced | pb.OrderUpdated | pb.OrderCompleted | pb.OrderCancelled


def sales_recorded(
    location_id: str, epoch: int, orders: Sequence[domain.Order], traceparent: str, causation_id: str
) -> events.Event:
    """The event of a batch, keyed by the location's TypeID. orders: in order of seq, without gaps, at least one."""
    message = pb.SalesRecorded(location_id=location_id)
    for order in orders:
        _add(message, order)
    return events.Event(
        key=location_id,
        epoch=epoch,
        seq_from=orders[0].seq,
        seq_to=orders[-1].seq,
        message=message,
        occurred_at=min(order.occurred_at for order in orders),
        traceparent=traceparent,
        causation_id=causation_id,
    )


def _add(event: pb.SalesRecorded, order: domain.Order) -> None:
    sale = event.sales.add(
        seq=order.seq,
        order_id=messages.order_text(order.id),
        terminal_id=order.terminal_id,
        actor=order.actor,
        reservation_id=ids.encode("rsv", order.reservation_id) if order.reservation_id else "",
        occurred_at=clock.timestamp(order.occurred_at),
        business_date=order.business_date.isoformat(),
        customer_id=ids.encode("cus", order.customer_id) if order.customer_id else "",
        campaign_id=order.campaign_id,
        currency_code=order.currency_code,
        total=order.total,
    )
    for line in order.lines:
        if line.kind is domain.LineKind.ITEM:
            told = sale.lines.add(
                sku=line.sku,
                quantity=line.quantity,
                category=line.category,
                net_amount=line.net_amount,
                lot=line.lot,
            )
            if line.scanned is not None:
                told.scanned.expires_on = line.scanned.expires_on
                told.scanned.best_before_on = line.scanned.best_before_on
                told.scanned.produced_on = line.scanned.produced_on
                told.scanned.SetInParent()
            for sku, units in line.components:
                told.components.add(sku=sku, quantity=units * line.quantity)


def order_changed(
    kind: type[OrderEvent], order: domain.Order, entries: Sequence[placed_order.Entry], causation_id: str
) -> events.Event:
    """What became of an order that is no sale: one event for each version of it. Free texts stay behind."""
    assert order.placed is not None
    assert order.placed.updated_at is not None
    told = messages.order_to_proto(domain.Shown(order, stock_applied=False))
    for field in ("note", "cancel_note", "history"):
        told.ClearField(field)
    message = kind(order=told)
    if isinstance(message, pb.OrderUpdated):
        message.changes.extend(map(placed_messages.entry, entries))
        for change in message.changes:
            change.ClearField("reason")
    return events.Event(
        key=told.id,
        epoch=1,
        seq_from=order.version,
        seq_to=order.version,
        message=message,
        occurred_at=order.placed.updated_at,
        causation_id=causation_id,
    )
