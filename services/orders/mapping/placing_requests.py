"""Requests to place and cancel orders to commands. Pure functions; what only code can check is refused here."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

from google.protobuf import duration_pb2

from services.kit import clock, events, idempotency, ids, principal, validation
from services.orders import drafting, readdressing, visible
from services.orders.customers import domain as people
from services.orders.customers import mapping, postal
from services.orders.customers.handlers import desk
from services.orders.domain import editing as changes
from services.orders.domain import placed_order, placement, sale
from services.orders.editing import editing
from services.orders.mapping import contents, placed_requests, requests
from services.orders.placing import addressing, cancelling, placing
from services.orders.placing.effects import Tenant
from tillmesh.orders.v1 import orders_pb2, placement_pb2, recipients_pb2


def tenant(caller: principal.Principal) -> Tenant:
    """The caller's."""
    return Tenant(events.tenant_uuid(caller.tenant_id), caller.tenant_id)


def place(request: placement_pb2.PlaceOrderRequest, caller: principal.Principal) -> placing.Place:
    """Who a guest is, and where it goes, stay out of the fingerprint: they are personal."""
    told = placement_pb2.PlaceOrderRequest()
    told.CopyFrom(request)
    told.ClearField("guest")
    told.ClearField("address")
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
        place=_place(request),
    )


def preview(request: placement_pb2.PreviewOrderRequest, caller: principal.Principal) -> placing.Place:
    return place(placement_pb2.PlaceOrderRequest(content=request.content), caller)


def place_draft(request: placement_pb2.PlaceDraftOrderRequest, caller: principal.Principal) -> placing.PlaceDraft:
    """NOT_FOUND for an id that can't be one. Where it goes stays out of the fingerprint, as of `place`."""
    told = placement_pb2.PlaceDraftOrderRequest()
    told.CopyFrom(request)
    told.ClearField("address")
    key = placed_requests.idempotency_key("PlaceDraftOrder", told, caller)
    return placing.PlaceDraft(
        order_id=requests.order_uuid(request.order_id),
        payment=payment(request.payment),
        expected_total=request.expected_total if request.HasField("expected_total") else None,
        expected_version=request.expected_version,
        principal=key.principal,
        request_key=key.key,
        fingerprint=key.fingerprint,
        actor=placed_requests.actor(caller),
        place=_place(request),
    )


def create_draft(request: placement_pb2.CreateDraftOrderRequest, caller: principal.Principal) -> drafting.Create:
    return drafting.Create(
        content=content(request.content, caller),
        kept=contents.to_json(request.content),
        ttl=_ttl(request.ttl, drafting.DRAFT_TTL),
        key=placed_requests.idempotency_key("CreateDraftOrder", request, caller),
        actor=placed_requests.actor(caller),
    )


def update_draft(request: placement_pb2.UpdateDraftOrderRequest, caller: principal.Principal) -> drafting.Update:
    """NOT_FOUND for an id that can't be one."""
    return drafting.Update(
        order_id=requests.order_uuid(request.order_id),
        content=content(request.content, caller),
        kept=contents.to_json(request.content),
        expected_version=request.expected_version,
        key=placed_requests.idempotency_key("UpdateDraftOrder", request, caller),
        actor=placed_requests.actor(caller),
    )


def quote(request: placement_pb2.QuoteOrderRequest, caller: principal.Principal) -> drafting.Quote:
    """NOT_FOUND for an id that can't be one."""
    return drafting.Quote(
        order_id=requests.order_uuid(request.order_id),
        ttl=_ttl(request.ttl, drafting.QUOTE_TTL),
        expected_version=request.expected_version,
        key=placed_requests.idempotency_key("QuoteOrder", request, caller),
        actor=placed_requests.actor(caller),
    )


def _ttl(told: duration_pb2.Duration, default: dt.timedelta) -> dt.timedelta:
    """Not set is the default: a ttl is at least a minute."""
    return told.ToTimedelta() or default


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


def cancelled_units(request: placement_pb2.CancelOrderRequest) -> dict[int, int]:
    """By line; none: the whole order. INVALID_REQUEST for a line that is named twice."""
    return _by_line("lines", [(line.line_number, line.quantity) for line in request.lines])


def _by_line(field: str, told: Sequence[tuple[int, int]]) -> dict[int, int]:
    units: dict[int, int] = {}
    for place, (number, quantity) in enumerate(told):
        if number in units:
            raise validation.invalid(f"{field}[{place}].line_number", "is there twice")
        units[number] = quantity
    return units


def edit(request: placement_pb2.EditOrderRequest, caller: principal.Principal) -> editing.Edit:
    """NOT_FOUND for an id that can't be one; INVALID_REQUEST for a line that is named twice."""
    key = placed_requests.idempotency_key("EditOrder", request, caller)
    lines, charges = contents.added(request.lines, request.charges)
    return editing.Edit(
        order_id=requests.order_uuid(request.order_id),
        change=changes.Change(
            quantities=_by_line("quantities", [(of.line_number, of.quantity) for of in request.quantities]),
            lines=lines,
            charges=charges,
            delivery_method=request.delivery_method if request.HasField("delivery_method") else None,
            pickup_at=validation.instant(request, "pickup_at"),
            note=request.note if request.HasField("note") else None,
        ),
        sourcing=contents.sourcing(request.sourcing),
        tenders=_tenders(request.tenders),
        due_now=request.due_now if request.HasField("due_now") else None,
        expected_total=request.expected_total if request.HasField("expected_total") else None,
        expected_version=request.expected_version,
        reason=request.reason,
        principal=key.principal,
        request_key=key.key,
        fingerprint=key.fingerprint,
        actor=placed_requests.actor(caller),
    )


def recipient(request: recipients_pb2.UpdateOrderRecipientRequest, caller: principal.Principal) -> readdressing.Command:
    """NOT_FOUND for ids that can't be any. What is personal stays out of the fingerprint, as of `place`."""
    told = recipients_pb2.UpdateOrderRecipientRequest()
    told.CopyFrom(request)
    told.ClearField("address")
    told.ClearField("contact")
    of = request.contact
    profile = people.Profile(given_name=of.given_name, family_name=of.family_name, email=of.email, phone=of.phone)
    return readdressing.Command(
        order_id=requests.order_uuid(request.order_id),
        address_id=ids.given("adr", "address", request.address_id) if request.address_id else None,
        place=_place(request),
        contact=profile if request.HasField("contact") else None,
        reason=request.reason,
        expected_version=request.expected_version,
        key=placed_requests.idempotency_key("UpdateOrderRecipient", told, caller),
        tenant_id=caller.tenant_id,
        actor=placed_requests.actor(caller),
    )


def content(told: placement_pb2.OrderContent, caller: principal.Principal) -> placement.Content:
    """What is ordered. A customer's own token names the customer by itself."""
    own = caller.customer_id if not visible.is_staff(caller) else ""
    return contents.content(told, own or told.customer_id)


def payment(told: placement_pb2.OrderPayment) -> placement.Payment:
    """INVALID_REQUEST when the balance was due already."""
    balance_due_at = validation.instant(told, "balance_due_at")
    if balance_due_at is not None and balance_due_at <= clock.now():
        raise validation.invalid("payment.balance_due_at", "is not in the future")
    return placement.Payment(
        tenders=_tenders(told.tenders),
        capture=placed_order.Capture(told.capture or orders_pb2.CAPTURE_TIME_PLACEMENT),
        due_now=told.due_now if told.HasField("due_now") else None,
        balance_due_at=balance_due_at,
    )


def _tenders(told: Iterable[placement_pb2.OrderPayment.Tender]) -> tuple[placement.TenderSpec, ...]:
    return tuple(placement.TenderSpec(sale.TenderType(each.type), each.token, each.minor_units) for each in told)


def _place(
    request: placement_pb2.PlaceOrderRequest
    | placement_pb2.PlaceDraftOrderRequest
    | recipients_pb2.UpdateOrderRecipientRequest,
) -> postal.Postal | None:
    return mapping.place(request.address) if request.HasField("address") else None


def _guest(request: placement_pb2.PlaceOrderRequest, caller: principal.Principal) -> addressing.Guest:
    told = request.guest
    if not visible.is_staff(caller) and caller.customer_id:
        raise validation.invalid("guest", "is for those who have not registered")
    # Without a key: who is found is left as it is, so doing it again changes nothing.
    key = idempotency.Key(events.tenant_uuid(caller.tenant_id), caller.subject, "", "", b"")
    profile = people.Profile(
        given_name=told.given_name, family_name=told.family_name, email=told.email, phone=told.phone
    )
    write = desk.Write(caller.tenant_id, key, placed_requests.actor(caller))
    return addressing.Guest(write, people.Draft(profile=profile, locale=""))
