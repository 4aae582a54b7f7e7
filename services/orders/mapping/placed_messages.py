"""What orders have that are no sales, to messages of tillmesh.orders.v1. Pure functions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from google.protobuf import timestamp_pb2

from services.kit import clock, ids, paging, status
from services.orders.domain import machines, placed_order, placement
from services.orders.domain import sale as domain
from tillmesh.common.v1 import money_pb2
from tillmesh.orders.v1 import orders_pb2, placement_pb2, states_pb2

TARGETS = {machines.Machine.FULFILLMENT: "ful", machines.Machine.PARCEL: "pcl"}


def set_money(money: money_pb2.Money, amount: int, currency: str) -> None:
    """Fills a field where it is: making a message and copying it in takes twice as long, five times a sale."""
    money.currency_code = currency
    money.minor_units = amount


def fill(message: orders_pb2.Order, order: domain.Order, placed: placed_order.Placed) -> None:
    """Fills what a sale has not."""
    message.number = str(placed.number) if placed.number else ""
    message.cancel_reason = orders_pb2.CancelReason.ValueType(placed.cancel_reason)
    message.cancel_note = placed.cancel_note
    message.prices_held = placed.prices_held
    message.external_reference = placed.external_reference
    message.marketplace = placed.marketplace
    message.note = placed.note
    _set_instant(message.valid_until, placed.valid_until)
    _set_instant(message.placed_at, placed.placed_at)
    _set_instant(message.updated_at, placed.updated_at)
    _set_method(message, placed.method)
    _set_pricing(message.pricing, placed.pricing)
    _set_payment(message.payment, order, placed)
    message.groups.extend(map(_group, placed.groups))
    message.fulfillment_state = states_pb2.FulfillmentState.ValueType(
        placed_order.fulfillment_state(placed.groups) or 0
    )
    message.history.extend(map(entry, placed.history))


def preview(order: orders_pb2.Order) -> orders_pb2.Order:
    """An order that isn't: without an identity, and nothing that has happened."""
    for field in ("id", "state", "payment", "occurred_at", "recorded_at", "updated_at"):
        order.ClearField(field)
    for line in order.lines:
        line.ClearField("id")
    return order


def edit_preview(order: orders_pb2.Order, *, due: int, back: int) -> placement_pb2.PreviewOrderEditResponse:
    """What an order would be, and what that moves of its money."""
    message = placement_pb2.PreviewOrderEditResponse(order=order)
    set_money(message.due_now, due, order.currency_code)
    set_money(message.refund, back, order.currency_code)
    return message


def entry(of: placed_order.Entry) -> orders_pb2.OrderHistoryEntry:
    return orders_pb2.OrderHistoryEntry(
        number=of.number,
        machine=states_pb2.Machine.ValueType(of.machine),
        target_id="" if of.target is None else ids.encode(TARGETS[machines.Machine(of.machine)], of.target),
        from_state=of.from_state,
        to_state=of.to_state,
        reason=of.reason,
        actor=of.actor,
        version=of.version,
        at=clock.timestamp(of.at),
    )


def history_page(
    request: placement_pb2.ListOrderHistoryRequest, tenant: str, found: Sequence[placed_order.Entry], limit: int
) -> placement_pb2.ListOrderHistoryResponse:
    """found: one more than limit when there is another page."""
    page = found[:limit]
    response = placement_pb2.ListOrderHistoryResponse(entries=map(entry, page))
    if len(found) > limit:
        response.next_page_token = paging.next_token(tenant, request, (page[-1].number,))
    return response


def tax_policy(of: placement.TaxPolicy) -> placement_pb2.TaxPolicy:
    message = placement_pb2.TaxPolicy(
        country_code=of.country_code,
        tax_inclusive=of.tax_inclusive,
        rounding_level=orders_pb2.TaxRoundingLevel.ValueType(int(of.level)),
        rounding_mode=orders_pb2.RoundingMode.ValueType(int(of.rounding)),
        version=of.version,
    )
    for category, rate in of.rates:
        message.rates.add(name=rate.name, rate=rate.rate, tax_category=category)
    _set_instant(message.updated_at, of.updated_at)
    return message


def policies_page(
    request: placement_pb2.ListTaxPoliciesRequest, tenant: str, found: Sequence[placement.TaxPolicy], limit: int
) -> placement_pb2.ListTaxPoliciesResponse:
    """found: one more than limit when there is another page."""
    page = found[:limit]
    response = placement_pb2.ListTaxPoliciesResponse(tax_policies=map(tax_policy, page))
    if len(found) > limit:
        response.next_page_token = paging.next_token(tenant, request, (page[-1].country_code,))
    return response


def _order_shortage(error: placement.InsufficientStock) -> orders_pb2.OrderShortage:
    detail = orders_pb2.OrderShortage()
    for short in error.lines:
        detail.lines.add(line_numbers=short.numbers, shortage=short.detail)
    return detail


def _price_change(error: placement.PriceChanged) -> orders_pb2.PriceChange:
    detail = orders_pb2.PriceChange()
    set_money(detail.total, error.total, error.currency_code)
    for change in error.lines:
        line = detail.lines.add(line_number=change.number, sku=change.sku)
        set_money(line.expected_unit_price, change.expected, change.currency_code)
        set_money(line.unit_price, change.unit_price, change.currency_code)
    return detail


status.register_detail(placement.InsufficientStock, _order_shortage)
status.register_detail(placement.PriceChanged, _price_change)


def _set_instant(message: timestamp_pb2.Timestamp, at: dt.datetime | None) -> None:
    if at is not None:
        message.CopyFrom(clock.timestamp(at))


def _set_method(message: orders_pb2.Order, method: placed_order.Method) -> None:
    match method:
        case placed_order.Delivery():
            message.delivery.address_id = method.address_id
            message.delivery.country_code = method.country_code
            message.delivery.method = method.method
        case placed_order.Pickup():
            message.pickup.location_id = ids.encode("loc", method.location_id)
            _set_instant(message.pickup.pickup_at, method.at)


def _set_pricing(message: orders_pb2.PricingPolicy, pricing: placed_order.Pricing) -> None:
    message.rounding_mode = orders_pb2.RoundingMode.ValueType(pricing.rounding_mode)
    message.tax_rounding_level = orders_pb2.TaxRoundingLevel.ValueType(pricing.tax_level)
    message.tax_country = pricing.tax_country
    message.tax_policy_version = pricing.tax_policy_version
    message.price_list = pricing.price_list


def _set_payment(message: orders_pb2.PaymentSummary, order: domain.Order, placed: placed_order.Placed) -> None:
    sums, currency = placed.payment, order.currency_code
    message.state = states_pb2.PaymentState.ValueType(int(placed_order.payment_state(order.total, sums)))
    message.capture = orders_pb2.CaptureTime.ValueType(int(placed.capture))
    set_money(message.authorised, sums.open, currency)
    set_money(message.captured, sums.captured, currency)
    set_money(message.refunded, sums.refunded, currency)
    set_money(message.due, sums.due(order.total), currency)
    _set_instant(message.balance_due_at, placed.balance_due_at)


def _units(of: placed_order.Group) -> dict[tuple[int, str], int]:
    """Units by line and SKU, whichever reservations they are of: an edit adds another."""
    sums: dict[tuple[int, str], int] = {}
    for line in of.lines:
        sums[line.number, line.sku] = sums.get((line.number, line.sku), 0) + line.quantity
    return sums


def _group(of: placed_order.Group) -> orders_pb2.FulfillmentGroup:
    return orders_pb2.FulfillmentGroup(
        id=ids.encode("ful", of.id),
        location_id=ids.encode("loc", of.location_id),
        state=states_pb2.FulfillmentState.ValueType(of.state),
        lines=[
            orders_pb2.FulfillmentLine(line_number=number, sku=sku, quantity=quantity)
            for (number, sku), quantity in _units(of).items()
        ],
        parcels=[
            orders_pb2.Parcel(
                id=ids.encode("pcl", parcel.id),
                state=states_pb2.ParcelState.ValueType(parcel.state),
                updated_at=clock.timestamp(parcel.updated_at),
            )
            for parcel in of.parcels
        ],
        updated_at=clock.timestamp(of.updated_at),
    )
