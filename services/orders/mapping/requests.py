"""Requests of OrdersService to commands and questions. Pure functions; what only code can check is refused here."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Sequence

from google.protobuf import timestamp_pb2

from services.kit import errors, events, idempotency, ids, paging, principal, validation
from services.orders import handlers, lane
from services.orders.domain import sale as domain
from services.orders.domain import summary
from services.orders.store import looking, reads
from tillmesh.orders.v1 import orders_pb2
from tillmesh.orders.v1 import orders_service_pb2 as pb

SUMMARY_ROWS_DEFAULT = 500
_KINDS: dict[int, domain.LineKind] = {
    orders_pb2.LINE_KIND_UNSPECIFIED: domain.LineKind.ITEM,
    **{kind.value: kind for kind in domain.LineKind},
}
_KEY_KINDS: dict[summary.Dimension, type] = {summary.Dimension.HOUR: int, summary.Dimension.TENDER: int}


@functools.lru_cache(maxsize=65536)
def lane_key(tenant_id: str, location_id: str) -> lane.Key:
    """A location of a tenant, both TypeIDs. NotFound for a text that looks like an id and can't be one."""
    location = ids.given("loc", "location", location_id)
    return lane.Key(events.tenant_uuid(tenant_id), location, tenant_id, location_id)


order_uuid = functools.partial(ids.given, "ord", "order")


def record_sale(request: pb.RecordSaleRequest, caller: principal.Principal) -> handlers.RecordSale:
    """The till of the token wins over the one that the request names."""
    key = lane_key(caller.tenant_id, request.location_id)
    terminal_id = caller.terminal_id or request.terminal_id
    sale = domain.Sale(
        location_id=key.location,
        terminal_id=terminal_id,
        client_sale_id=request.client_sale_id,
        occurred_at=validation.instant(request, "occurred_at"),
        currency_code=request.currency_code,
        tax_inclusive=request.tax_inclusive,
        lines=tuple([_line(line) for line in request.lines]),
        tenders=tuple([_tender(tender) for tender in request.tenders]),
        customer_id=optional_id("cus", request.customer_id, "customer_id"),
        campaign_id=request.campaign_id,
        reservation_id=optional_id("rsv", request.reservation_id, "reservation_id"),
        actor=caller.actor or caller.subject,
    )
    content = pb.RecordSaleRequest()
    content.CopyFrom(request)
    content.ClearField("request_id")
    content.terminal_id = terminal_id
    return handlers.RecordSale(key, sale, idempotency.fingerprint(content), caller.subject, request.request_id)


def _line(line: pb.RecordSaleRequest.Line) -> domain.SaleLine:
    return domain.SaleLine(
        kind=_KINDS[line.kind],
        code=line.code,
        quantity=line.quantity,
        unit_price=line.unit_price if line.HasField("unit_price") else None,
        net_amount=line.net_amount,
        taxes=tuple([domain.Tax(tax.name, tax.rate, tax.minor_units) for tax in line.taxes]),
        discounts=tuple([domain.Discount(d.name, d.minor_units, d.campaign_id) for d in line.discounts]),
        name=line.name,
        lot=line.lot,
    )


def _tender(tender: orders_pb2.Tender) -> domain.Tender:
    amount = tender.amount
    return domain.Tender(domain.TenderType(tender.type), amount.minor_units, amount.currency_code, tender.details)


def optional_id(prefix: str, text: str, field: str) -> uuid.UUID | None:
    if not text:
        return None
    try:
        return ids.decode(prefix, text)
    except ValueError:
        raise validation.invalid(field, f"is not an id of the kind {prefix}_") from None


def _day(text: str, field: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise validation.invalid(field, "is not a day of the calendar") from None


def storable(text: str, field: str) -> str:
    """PostgreSQL has no texts with a NUL; nothing can match."""
    if "\0" in text:
        raise validation.invalid(field, "holds a NUL")
    return text


def list_filter(request: pb.ListSalesRequest) -> reads.Filter:
    keep = request.filter
    since, until = keep.business_date_from, keep.business_date_to
    return reads.Filter(
        since=_day(since, "filter.business_date_from") if since else None,
        until=_day(until, "filter.business_date_to") if until else None,
        terminal_id=storable(keep.terminal_id, "filter.terminal_id"),
        client_sale_id=storable(keep.client_sale_id, "filter.client_sale_id"),
        customer_id=optional_id("cus", keep.customer_id, "filter.customer_id"),
        campaign_id=storable(keep.campaign_id, "filter.campaign_id"),
    )


def list_start(request: pb.ListSalesRequest, tenant: str) -> looking.Position | None:
    """Where the page begins. INVALID_PAGE_TOKEN."""
    return position(paging.start(tenant, request, [int, str]))


def position(found: Sequence[str | int | None] | None) -> looking.Position | None:
    """What a page token says of the last order before. INVALID_PAGE_TOKEN."""
    if found is None:
        return None
    try:
        stamp = timestamp_pb2.Timestamp()
        stamp.FromMicroseconds(int(found[0] or 0))
        return looking.Position(stamp.ToDatetime(tzinfo=dt.UTC), uuid.UUID(str(found[1])))
    except (ValueError, OverflowError):
        raise errors.InvalidPageToken from None


def question(request: pb.SummarizeSalesRequest) -> summary.Question:
    """What is to be summed. InvalidRequest."""
    since = _day(request.business_date_from, "business_date_from")
    until = _day(request.business_date_to, "business_date_to")
    return summary.ask(since, until, [summary.Dimension(dimension) for dimension in request.group_by])


def summary_start(
    request: pb.SummarizeSalesRequest, tenant: str, dimensions: Sequence[summary.Dimension]
) -> list[str | int] | None:
    """Key of the last row of the page before. INVALID_PAGE_TOKEN."""
    found = paging.start(tenant, request, [*(_KEY_KINDS.get(dimension, str) for dimension in dimensions), str])
    if found is None:
        return None
    key = [part for part in found if part is not None]
    if len(key) < len(found) or any("\0" in part if isinstance(part, str) else not 0 <= part < 100 for part in key):
        raise errors.InvalidPageToken
    if summary.Dimension.BUSINESS_DATE in dimensions:
        try:
            dt.date.fromisoformat(str(key[dimensions.index(summary.Dimension.BUSINESS_DATE)]))
        except ValueError:
            raise errors.InvalidPageToken from None
    return key
