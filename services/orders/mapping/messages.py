"""Orders and sums to messages of tillmesh.orders.v1. Pure functions."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping, Sequence

from google.protobuf.message import Message

from services.kit import clock, ids, paging
from services.orders import handlers, recalls
from services.orders.domain import sale as domain
from services.orders.domain import summary
from services.orders.mapping import placed_messages
from services.orders.store import lots
from tillmesh.orders.v1 import orders_pb2, placement_pb2
from tillmesh.orders.v1 import orders_service_pb2 as pb

order_text = functools.lru_cache(maxsize=4096)(functools.partial(ids.encode, "ord"))  # for the event, and the answer
location_text = functools.lru_cache(maxsize=65536)(functools.partial(ids.encode, "loc"))
product_text = functools.lru_cache(maxsize=65536)(functools.partial(ids.encode, "prd"))


def _optional_text(prefix: str, value: uuid.UUID | None) -> str:
    return "" if value is None else ids.encode(prefix, value)


def order_to_proto(shown: domain.Shown) -> orders_pb2.Order:
    order = shown.order
    currency = order.currency_code
    message = orders_pb2.Order(
        id=order_text(order.id),
        channel=orders_pb2.Channel.ValueType(order.channel),
        state=orders_pb2.OrderState.ValueType(order.state),
        location_id=location_text(order.location_id),
        terminal_id=order.terminal_id,
        client_sale_id=order.client_sale_id,
        currency_code=currency,
        tax_inclusive=order.tax_inclusive,
        customer_id=_optional_text("cus", order.customer_id),
        campaign_id=order.campaign_id,
        reservation_id=_optional_text("rsv", order.reservation_id),
        business_date=order.business_date.isoformat(),
        business_hour=order.business_hour,
        occurred_at=clock.timestamp(order.occurred_at),
        recorded_at=clock.timestamp(order.recorded_at),
        clock_skewed=order.clock_skewed,
        version=order.version,
    )
    if order.placed is not None:
        placed_messages.fill(message, order, order.placed)
    else:
        message.stock_effect = (
            orders_pb2.STOCK_EFFECT_APPLIED if shown.stock_applied else orders_pb2.STOCK_EFFECT_PENDING
        )
        # The stock effect is part of the answer: a reader that asks "changed since?" must hear of it.
        message.version += int(shown.stock_applied)
    placed_messages.set_money(message.net_total, order.net_total, currency)
    placed_messages.set_money(message.tax_total, order.tax_total, currency)
    placed_messages.set_money(message.total, order.total, currency)
    placed_messages.set_money(message.discount_total, order.discount_total, currency)
    for line in order.lines:
        _add_line(message, line, currency)
    for tender in order.tenders:
        added = message.tenders.add(type=orders_pb2.TenderType.ValueType(tender.type), details=tender.details)
        placed_messages.set_money(added.amount, tender.amount, currency)
    return message


def _add_line(order: orders_pb2.Order, line: domain.OrderLine, currency: str) -> None:
    message = order.lines.add(
        id=ids.encode("ln", line.id),
        number=line.number,
        kind=orders_pb2.LineKind.ValueType(line.kind),
        sku=line.sku,
        quantity=line.quantity,
        name=line.name,
        category=line.category,
        product_id=product_text(line.product_id) if line.product_id else "",
        price_id=line.price_id,
        unresolved=line.unresolved,
        tax_category=line.tax_category,
        canceled_quantity=line.canceled_quantity,
        lot=line.lot,
    )
    placed_messages.set_money(message.net_amount, line.net_amount, currency)
    if line.unit_price is not None:
        placed_messages.set_money(message.unit_price, line.unit_price, currency)
    for sku, quantity in line.components:
        message.components.add(sku=sku, quantity=quantity)
    for tax in line.taxes:
        message.taxes.add(name=tax.name, rate=tax.rate, minor_units=tax.amount)
    for discount in line.discounts:
        message.discounts.add(name=discount.name, minor_units=discount.amount, campaign_id=discount.campaign_id)


def sales_page(request: pb.ListSalesRequest, tenant: str, found: handlers.Listed) -> pb.ListSalesResponse:
    sales = [order_to_proto(shown) for shown in found.orders]
    return pb.ListSalesResponse(sales=sales, next_page_token=_next_token(request, tenant, found))


def orders_page(
    request: placement_pb2.ListOrdersRequest | placement_pb2.ListCustomerOrdersRequest,
    tenant: str,
    found: handlers.Listed,
) -> tuple[list[orders_pb2.Order], str]:
    """Orders and the token of the next page."""
    return [order_to_proto(shown) for shown in found.orders], _next_token(request, tenant, found)


def _next_token(request: Message, tenant: str, found: handlers.Listed) -> str:
    if found.next is None:
        return ""
    micros = clock.timestamp(found.next.occurred_at).ToMicroseconds()
    return paging.next_token(tenant, request, (micros, found.next.order_id.hex))


def lot_orders(page: recalls.Page, buyers: Mapping[uuid.UUID, lots.Buyer]) -> pb.ListLotOrdersResponse:
    """What took units of a lot; an order that isn't here has no buyer."""
    response = pb.ListLotOrdersResponse(next_page_token=page.next_page_token)
    for taken in page.taken:
        row = response.orders.add(order_id=taken.order_id, location_id=taken.location_id, quantity=taken.quantity)
        row.occurred_at.FromNanoseconds(taken.occurred_at_ns)
        if (buyer := buyers.get(taken.order)) is not None:
            row.customer_id = _optional_text("cus", buyer.customer)
            row.channel = orders_pb2.Channel.ValueType(buyer.channel)
            row.terminal_id, row.client_sale_id = buyer.terminal_id, buyer.client_sale_id
    return response


def summary_page(
    request: pb.SummarizeSalesRequest,
    tenant: str,
    question: summary.Question,
    rows: Sequence[summary.Row],
    limit: int,
) -> pb.SummarizeSalesResponse:
    """rows: one more than limit when there is another page."""
    page = rows[:limit]
    response = pb.SummarizeSalesResponse(rows=[_row(question, row) for row in page])
    if len(rows) > limit:
        last = page[-1]
        response.next_page_token = paging.next_token(tenant, request, [*last.key, last.currency_code])
    return response


_KEY_FIELDS = {
    summary.Dimension.BUSINESS_DATE: "business_date",
    summary.Dimension.HOUR: "hour",
    summary.Dimension.SKU: "sku",
    summary.Dimension.CATEGORY: "category",
    summary.Dimension.TENDER: "tender",
    summary.Dimension.CAMPAIGN: "campaign_id",
}


def _row(question: summary.Question, row: summary.Row) -> pb.SummarizeSalesResponse.Row:
    currency = row.currency_code
    message = pb.SummarizeSalesResponse.Row(sales=row.sales, lines=row.lines, units=row.units)
    placed_messages.set_money(message.net_amount, row.net_amount, currency)
    for dimension, value in zip(question.dimensions, row.key, strict=True):
        setattr(message, _KEY_FIELDS[dimension], value)
    if question.source is not summary.Source.TENDERS:
        placed_messages.set_money(message.tax_amount, row.tax_amount, currency)
        placed_messages.set_money(message.discount_amount, row.discount_amount, currency)
    return message
