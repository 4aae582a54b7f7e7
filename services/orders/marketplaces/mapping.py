"""Messages of MarketplacesService to values and back. Pure, but for asking who calls."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Callable
from typing import Any, Final, TypeVar

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message

from services.kit import clock, errors, events, idempotency, ids, paging, principal, validation
from services.orders.domain.marketplaces import ledger, listings, values
from services.orders.marketplaces import handlers
from services.orders.placing.effects import Tenant
from tillmesh.common.v1 import money_pb2
from tillmesh.orders.v1 import marketplaces_pb2
from tillmesh.orders.v1 import marketplaces_service_pb2 as pb

M = TypeVar("M", bound=Message)
T = TypeVar("T")
_SERVICE: Final = pb.DESCRIPTOR.services_by_name["MarketplacesService"].full_name

connection_id = functools.partial(ids.given, "mkc", "marketplace_connection")


# --- requests ---


def caller() -> handlers.Caller:
    """Who asks."""
    asks = principal.current()
    tenant = Tenant(events.tenant_uuid(asks.tenant_id), asks.tenant_id)
    return handlers.Caller(asks, tenant, asks.actor or asks.subject)


def write(method: str, request: Any, answer: type[M], render: Callable[[T], M]) -> handlers.Write[M, T]:
    """A write of the current caller; method is the rpc's name."""
    asks = principal.current()
    tenant, scope = events.tenant_uuid(asks.tenant_id), f"{_SERVICE}/{method}"
    fingerprint = idempotency.fingerprint(request)
    key = idempotency.Key(tenant, asks.subject, scope, request.request_id, fingerprint)
    return handlers.Write(key, answer, render)


def wanted(request: pb.CreateMarketplaceConnectionRequest) -> handlers.Wanted:
    """NOT_FOUND for a location that can't be one."""
    told = request.connection
    return handlers.Wanted(
        name=told.name,
        account=told.account,
        location_id=ids.given("loc", "location", told.location_id),
        stock_locations=tuple(ids.given("loc", "location", each) for each in told.stock_location_ids),
        buffer=told.buffer,
        reject_after=told.reject_after.ToTimedelta() if told.HasField("reject_after") else None,
        orders_from=validation.instant(told, "orders_from"),
    )


def number(request: Any) -> handlers.Number:
    """NOT_FOUND for a connection that can't be one."""
    return handlers.Number(connection_id(request.connection_id), request.number)


def why(request: pb.RejectMarketplaceOrderRequest) -> values.CancelWhy:
    return values.CancelWhy(request.reason or values.CancelWhy.OUT_OF_STOCK)


def after_text(request: Any) -> str:
    """The name, number or SKU that ended the page before. INVALID_PAGE_TOKEN."""
    last = paging.start(principal.current().tenant_id, request, [str])
    found = "" if last is None else str(last[0])
    if "\0" in found:
        raise errors.InvalidPageToken
    return found


def before_seq(request: Any) -> int | None:
    """The entry that ended the page before. INVALID_PAGE_TOKEN."""
    last = paging.start(principal.current().tenant_id, request, [int])
    if last is None or last[0] is None:
        return None
    if not 0 < int(last[0]) < 2**63:
        raise errors.InvalidPageToken
    return int(last[0])


# --- messages ---


def page(request: Message, rows: list[T], limit: int, last: Callable[[T], str | int]) -> tuple[list[T], str]:
    """The rows of a page and the token of the next; rows has one more than limit when there is one."""
    if len(rows) <= limit:
        return rows, ""
    return rows[:limit], paging.next_token(principal.current().tenant_id, request, [last(rows[limit - 1])])


def connection(shown: handlers.Shown) -> marketplaces_pb2.MarketplaceConnection:
    of = shown.of
    message = marketplaces_pb2.MarketplaceConnection(
        id=ids.encode("mkc", of.id),
        name=of.name,
        account=of.account,
        kind=marketplaces_pb2.MarketplaceKind.ValueType(of.kind),
        state=marketplaces_pb2.MarketplaceConnectionState.ValueType(of.state),
        location_id=ids.encode("loc", of.location_id),
        stock_location_ids=[ids.encode("loc", each) for each in of.stock_locations],
        buffer=of.buffer,
        orders_from=_at(of.cursor_at),
        health=_health(of.health or values.Health()),
        owed=[_money(code, units) for code, units in shown.owed.items()],
        created_at=_at(of.created_at),
        updated_at=_at(of.updated_at),
        version=of.version,
    )
    if of.cancel_after is not None:
        message.reject_after.FromTimedelta(of.cancel_after)
    return message


def _health(health: values.Health) -> marketplaces_pb2.MarketplaceHealth:
    return marketplaces_pb2.MarketplaceHealth(
        success_at=_at(health.success_at),
        failed_at=_at(health.failed_at),
        failure=health.failure,
        failures=health.failures,
        waits_until=_at(health.throttled_until),
        listings_read_at=_at(health.listed_at),
        problems=health.problems,
        waiting=health.waiting,
        unsent=health.unsent,
    )


def order(taken: values.Taken) -> marketplaces_pb2.MarketplaceOrder:
    message = marketplaces_pb2.MarketplaceOrder(
        connection_id=ids.encode("mkc", taken.connection_id),
        number=taken.number,
        state=marketplaces_pb2.MarketplaceOrderState.ValueType(taken.state),
        problem=marketplaces_pb2.MarketplaceProblem.ValueType(taken.problem),
        detail=taken.detail,
        order_id=_text("ord", taken.order_id),
        customer_id=_text("cus", taken.customer_id),
        modified_at=_at(taken.modified_at),
        received_at=_at(taken.received_at),
        updated_at=_at(taken.updated_at),
        version=taken.version,
    )
    content = taken.content
    if content is not None:
        code = content.currency_code
        message.lines.extend(_line(code, line) for line in content.lines)
        message.shipping.CopyFrom(_money(code, content.shipping))
        message.total.CopyFrom(_money(code, content.total))
        message.ordered_at.CopyFrom(clock.timestamp(content.ordered_at))
    return message


def _line(code: str, line: values.Line) -> marketplaces_pb2.MarketplaceOrder.Line:
    tax = marketplaces_pb2.MarketplaceOrder.Tax
    return marketplaces_pb2.MarketplaceOrder.Line(
        sku=line.sku,
        title=line.title,
        quantity=line.quantity,
        net_amount=_money(code, line.net_amount),
        taxes=[tax(name=part.name, amount=_money(code, part.amount)) for part in line.taxes],
        collected_taxes=[tax(name=part.name, amount=_money(code, part.amount)) for part in line.collected],
    )


def listing(made: listings.Listing) -> marketplaces_pb2.MarketplaceListing:
    return marketplaces_pb2.MarketplaceListing(
        sku=made.sku,
        quantity=made.quantity,
        pending=made.due_at != listings.NEVER,
        failure=made.failure,
        sent_at=_at(made.sent_at),
    )


def entry(made: ledger.Entry) -> marketplaces_pb2.MarketplaceEntry:
    source, target = made.books
    return marketplaces_pb2.MarketplaceEntry(
        seq=made.seq,
        kind=marketplaces_pb2.MarketplaceEntryKind.ValueType(made.kind),
        from_book=marketplaces_pb2.MarketplaceBook.ValueType(source),
        to_book=marketplaces_pb2.MarketplaceBook.ValueType(target),
        amount=_money(made.currency_code, made.amount),
        owed_after=_money(made.currency_code, made.owed_after),
        order_id=_text("ord", made.order_id),
        payment_id=_text("pay", made.payment_id),
        reference=made.reference,
        actor=made.actor,
        recorded_at=_at(made.recorded_at),
    )


def _money(code: str, units: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code=code, minor_units=units)


def _at(moment: dt.datetime | None) -> timestamp_pb2.Timestamp | None:
    return None if moment is None else clock.timestamp(moment)


def _text(prefix: str, value: uuid.UUID | None) -> str:
    return "" if value is None else ids.encode(prefix, value)
