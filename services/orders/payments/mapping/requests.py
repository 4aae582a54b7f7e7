"""Requests of PaymentsService to commands and questions. Pure functions; what only code can check is refused here."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from services.kit import audit, clock, errors, events, idempotency, ids, paging, principal, validation
from services.orders.domain import payment_exceptions as raising
from services.orders.domain import stored_value
from services.orders.payments import port
from services.orders.payments.handlers import exceptions, paying, values
from tillmesh.common.v1 import money_pb2
from tillmesh.orders.v1 import payments_pb2
from tillmesh.orders.v1 import payments_service_pb2 as pb

M = TypeVar("M", bound=Message)
AHEAD: Final = dt.timedelta(minutes=5)
_SERVICE: Final = pb.DESCRIPTOR.services_by_name["PaymentsService"].full_name
_MEANS = {
    payments_pb2.PAYMENT_MEANS_CARD: port.Method.CARD,
    payments_pb2.PAYMENT_MEANS_GIFT_CARD: port.Method.GIFT_CARD,
    payments_pb2.PAYMENT_MEANS_STORE_CREDIT: port.Method.STORE_CREDIT,
}
_BY_HAND = {
    payments_pb2.OFFLINE_MEANS_CASH: "cash",
    payments_pb2.OFFLINE_MEANS_CARD_TERMINAL: "card_terminal",
    payments_pb2.OFFLINE_MEANS_BANK_TRANSFER: "bank_transfer",
    payments_pb2.OFFLINE_MEANS_OTHER: "other",
}
order_id = functools.partial(ids.given, "ord", "order")
payment_id = functools.partial(ids.given, "pay", "payment")
exception_id = functools.partial(ids.given, "pex", "payment_exception")
card_id = functools.partial(ids.given, "gft", "gift_card")
customer_id = functools.partial(ids.given, "cus", "customer")


def tenant() -> str:
    """The caller's, uuid text."""
    return events.tenant_uuid(principal.current().tenant_id)


def caller(request: Any = None) -> paying.Caller:
    """Who asks. request: what for, where it changes something."""
    asks = principal.current()
    source = audit.caller(request_id=getattr(request, "request_id", ""))
    return paying.Caller(asks, events.tenant_uuid(asks.tenant_id), _actor(asks), source)


def _actor(asks: principal.Principal) -> str:
    return asks.actor or asks.subject


def key(request: Any) -> str:
    """The key of an operation: a caller's request_id, apart from everybody else's; empty: none."""
    return f"{principal.current().subject}:{request.request_id}" if request.request_id else ""


def amount(request: Any) -> paying.Amount | None:
    """An amount that may be left out."""
    if not request.HasField("amount"):
        return None
    return given_amount(request)


def given_amount(request: Any) -> paying.Amount:
    money: money_pb2.Money = request.amount
    return paying.Amount(money.currency_code, money.minor_units)


def order_ref(request: Any) -> port.OrderRef:
    """The order that a new payment is of, and where it is made."""
    location = ids.given("loc", "location", request.location_id) if request.location_id else None
    return port.OrderRef(order_id(request.order_id), location, _actor(principal.current()))


def tender(request: pb.CreatePaymentRequest) -> port.Tender:
    money = request.amount
    return port.Tender(
        _MEANS[request.means],
        request.token,
        money.minor_units,
        money.currency_code,
        purpose=request.purpose,
        lasts=not request.capture,
    )


def offline_tender(request: pb.RecordOfflinePaymentRequest) -> port.Tender:
    occurred_at = validation.instant(request, "occurred_at")
    if occurred_at is not None and occurred_at > clock.now() + AHEAD:
        raise validation.invalid("occurred_at", "is in the future")
    money = request.amount
    return port.Tender(
        port.Method.OFFLINE,
        _BY_HAND[request.means],
        money.minor_units,
        money.currency_code,
        details=request.details,
        purpose=request.purpose,
        occurred_at=occurred_at,
    )


def exceptions_query(request: pb.ListPaymentExceptionsRequest, limit: int) -> exceptions.Query:
    """INVALID_PAGE_TOKEN."""
    keep = request.filter
    open_ = keep.state != payments_pb2.PAYMENT_EXCEPTION_STATE_RESOLVED
    return exceptions.Query(open_, keep.kind, after_id(request), limit)


def answer(request: pb.ResolvePaymentExceptionRequest) -> exceptions.Answer:
    finding = raising.Finding(request.finding)
    return exceptions.Answer(exception_id(request.exception_id), finding, request.note, request.reference)


def write(method: str, request: Any, answer: type[M], render: Callable[[stored_value.Account], M]) -> values.Write[M]:
    """A write of the current caller on stored value; method is the rpc's name."""
    asks = principal.current()
    scope, fingerprint = f"{_SERVICE}/{method}", idempotency.fingerprint(request)
    at = events.tenant_uuid(asks.tenant_id)
    remembered = idempotency.Key(at, asks.subject, scope, request.request_id, fingerprint)
    return values.Write(remembered, answer, render, _actor(asks), request.reason)


def new_card(request: pb.IssueGiftCardRequest) -> values.NewCard:
    money = request.amount
    return values.NewCard(money.currency_code, money.minor_units, validation.instant(request, "expires_at"))


def after_id(request: Any) -> uuid.UUID | None:
    """The id that ended the page before. INVALID_PAGE_TOKEN."""
    last = paging.start(principal.current().tenant_id, request, [str])
    if last is None:
        return None
    try:
        return uuid.UUID(str(last[0]))
    except ValueError:
        raise errors.InvalidPageToken from None


def before_seq(request: Any) -> int | None:
    """The number of the entry that ended the page before. INVALID_PAGE_TOKEN."""
    last = paging.start(principal.current().tenant_id, request, [int])
    if last is None or last[0] is None:
        return None
    if not 0 < int(last[0]) < 2**63:
        raise errors.InvalidPageToken
    return int(last[0])


def after_currency(request: Any) -> str:
    """The currency that ended the page before. INVALID_PAGE_TOKEN."""
    last = paging.start(principal.current().tenant_id, request, [str])
    found = "" if last is None else str(last[0])
    if "\0" in found:
        raise errors.InvalidPageToken
    return found


def header(metadata: Any, name: str) -> str:
    """A header of the call; empty when it wasn't sent."""
    value = dict(metadata or ()).get(name, "")
    return value if isinstance(value, str) else ""
