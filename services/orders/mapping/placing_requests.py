"""Requests to place and cancel orders to commands. Pure functions; what only code can check is refused here."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from services.kit import clock, events, idempotency, ids, principal, validation
from services.orders import visible
from services.orders.customers import domain as people
from services.orders.customers.handlers import desk
from services.orders.domain import placed_order, placement, sale
from services.orders.mapping import placed_requests, requests
from services.orders.placing import cancelling, placing
from services.orders.placing.effects import Tenant
from tillmesh.orders.v1 import orders_pb2, placement_pb2


def tenant(caller: principal.Principal) -> Tenant:
    """The caller's."""
    return Tenant(events.tenant_uuid(caller.tenant_id), caller.tenant_id)


def place(request: placement_pb2.PlaceOrderRequest, caller: principal.Principal) -> placing.Place:
    """Who a guest is stays out of the fingerprint: it is personal."""
    told = placement_pb2.PlaceOrderRequest()
    told.CopyFrom(request)
    told.ClearField("guest")
    key = placed_requests.idempotency_key("PlaceOrder", told, caller)
    return placing.Place(
        content=content(request.content, caller),
        payment=payment(request.payment),
        expected_total=request.expected_total if request.HasField("expected_total") else None,
        guest=_guest(request, caller) if request.HasField("guest") else None,
        principal=key.principal,
        request_key=key.key,
        fingerprint=key.fingerprint,
        actor=placed_requests.actor(caller),
    )


def preview(request: placement_pb2.PreviewOrderRequest, caller: principal.Principal) -> placing.Place:
    return place(placement_pb2.PlaceOrderRequest(content=request.content), caller)


def cancel(request: placement_pb2.CancelOrderRequest, caller: principal.Principal) -> cancelling.Cancel:
    """NOT_FOUND for an id that can't be one."""
    key = placed_requests.idempotency_key("CancelOrder", request, caller)
    return cancelling.Cancel(
        order_id=requests.order_uuid(request.order_id),
        reason=placed_order.CancelReason(request.reason or orders_pb2.CANCEL_REASON_CUSTOMER),
        note=request.note,
        expected_version=request.expected_version,
        principal=key.principal,
        request_key=key.key,
        fingerprint=key.fingerprint,
        actor=placed_requests.actor(caller),
    )


def content(told: placement_pb2.OrderContent, caller: principal.Principal) -> placement.Content:
    """What is ordered. A customer's own token names the customer by itself."""
    customer_id = told.customer_id
    if not visible.is_staff(caller) and caller.customer_id:
        customer_id = caller.customer_id
    return placement.Content(
        location_id=ids.given("loc", "location", told.location_id),
        channel=sale.Channel(told.channel or orders_pb2.CHANNEL_WEB),
        lines=tuple(_line(line) for line in told.lines),
        method=_method(told),
        charges=tuple(
            placement.Charge(sale.LineKind(each.kind), each.name, each.minor_units, each.tax_category)
            for each in told.charges
        ),
        discounts=_discounts(told.discounts),
        customer_id=requests.optional_id("cus", customer_id, "content.customer_id"),
        campaign_id=told.campaign_id,
        price_list=told.price_list,
        sourcing=_sourcing(told.sourcing),
        external_reference=told.external_reference,
        marketplace=told.marketplace,
        note=told.note,
    )


def payment(told: placement_pb2.OrderPayment) -> placement.Payment:
    return placement.Payment(
        tenders=tuple(
            placement.TenderSpec(sale.TenderType(each.type), each.token, each.minor_units) for each in told.tenders
        ),
        capture=placed_order.Capture(told.capture or orders_pb2.CAPTURE_TIME_PLACEMENT),
        due_now=told.due_now if told.HasField("due_now") else None,
    )


def _guest(request: placement_pb2.PlaceOrderRequest, caller: principal.Principal) -> placing.Guest:
    told = request.guest
    if not visible.is_staff(caller) and caller.customer_id:
        raise validation.invalid("guest", "is for those who have not registered")
    # Without a key: who is found is left as it is, so doing it again changes nothing.
    key = idempotency.Key(events.tenant_uuid(caller.tenant_id), caller.subject, "", "", b"")
    profile = people.Profile(
        given_name=told.given_name, family_name=told.family_name, email=told.email, phone=told.phone
    )
    write = desk.Write(caller.tenant_id, key, placed_requests.actor(caller))
    return placing.Guest(write, people.Draft(profile=profile, locale=""))


def _line(line: placement_pb2.OrderContent.Line) -> placement.ContentLine:
    return placement.ContentLine(
        code=line.code,
        quantity=line.quantity,
        expected_unit_price=line.expected_unit_price if line.HasField("expected_unit_price") else None,
        unit_price=line.unit_price if line.HasField("unit_price") else None,
        discounts=_discounts(line.discounts),
        group=line.group,
    )


def _discounts(told: Iterable[orders_pb2.DiscountAmount]) -> tuple[sale.Discount, ...]:
    return tuple(sale.Discount(each.name, each.minor_units, each.campaign_id) for each in told)


def _method(told: placement_pb2.OrderContent) -> placed_order.Method:
    if told.HasField("pickup"):
        at = told.pickup.pickup_at.ToDatetime(clock.UTC) if told.pickup.HasField("pickup_at") else None
        location: uuid.UUID = ids.given("loc", "location", told.pickup.location_id)
        return placed_order.Pickup(location, at)
    return placed_order.Delivery(told.delivery.address_id, told.delivery.country_code, told.delivery.method)


def _sourcing(told: placement_pb2.OrderContent.Sourcing) -> placement.Sourcing:
    """Where it goes is kept to two decimals: the neighbourhood, and not the house."""
    destination = None
    if told.HasField("destination"):
        destination = (round(told.destination.latitude, 2), round(told.destination.longitude, 2))
    return placement.Sourcing(told.rule, told.split, destination, tuple(told.location_ids), told.parcels_max)
