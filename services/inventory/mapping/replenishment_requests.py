"""Requests about suppliers, purchase orders and counts as drafts, edits and queries. Pure functions."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from services.inventory.domain import catalog, cycle_counts, purchase_orders, purchase_receipts, supplier_feed
from services.inventory.domain import suppliers as supplier_values
from services.inventory.handlers import catalog as handlers
from services.inventory.handlers import cycle_counts as counts
from services.inventory.handlers import purchase_orders as orders
from services.inventory.handlers import suppliers
from services.inventory.mapping import catalog_requests as common
from services.inventory.mapping import documents, lot_inputs
from services.kit import errors, paging, principal, validation
from tillmesh.common.v1 import money_pb2
from tillmesh.inventory.v1 import replenishment_pb2
from tillmesh.inventory.v1 import replenishment_service_pb2 as pb

T = TypeVar("T")
M = TypeVar("M", bound=Message)
RECEIPTS_DEFAULT = 20
PERIOD = dt.timedelta(days=90)
APPROVERS = frozenset({"store_manager", "admin"})
_SERVICE = pb.DESCRIPTOR.services_by_name["ReplenishmentService"].full_name

actor = documents.actor
origin = documents.origin
tenant = common.tenant
location_id = common.location_id
next_page = common.next_page


def write(method: str, request: Any, answer: type[M], render: Callable[[T], M]) -> handlers.Write[T, M]:
    """A write of the current caller; method is the rpc's name."""
    return documents.write(_SERVICE, method, request, answer, render)


def sees_expected() -> bool:
    """Whether the caller may know what is expected of a count."""
    return not principal.current().roles.isdisjoint(APPROVERS)


supplier_id = functools.partial(documents.resource_id, "sup", "supplier")
order_id = functools.partial(documents.resource_id, "pur", "purchase_order")
receipt_id = functools.partial(documents.resource_id, "rcp", "receipt")
count_id = functools.partial(documents.resource_id, "cnt", "count")


# --- suppliers ---


def supplier_draft(message: replenishment_pb2.Supplier) -> supplier_values.SupplierDraft:
    """What a caller says of a supplier."""
    return supplier_values.SupplierDraft(
        code=message.code,
        name=message.name,
        currency_code=message.currency_code,
        contact=_contact(message.contact),
        default_lead_time_days=message.default_lead_time_days,
        inactive=message.inactive,
    )


def _contact(message: replenishment_pb2.SupplierContact) -> supplier_values.Contact:
    address = None
    if message.HasField("address"):
        place = message.address
        address = catalog.Address(tuple(place.lines), place.city, place.region, place.postal_code, place.country_code)
    return supplier_values.Contact(
        name=message.name, email=message.email, phone=message.phone, website=message.website, address=address
    )


def supplier_edit(request: pb.UpdateSupplierRequest) -> suppliers.Edit:
    """An edit of a supplier."""
    return suppliers.Edit(
        supplier_id=supplier_id(request.supplier.id),
        changes=documents.masked(request, "supplier", supplier_draft(request.supplier)),
        expected_version=request.expected_version,
    )


def supplier_query(request: pb.ListSuppliersRequest) -> suppliers.Query:
    """Which suppliers."""
    after = documents.after(request, str)
    return suppliers.Query(
        query=common.text(request.query, "query"),
        inactive=request.include_inactive,
        after=None if after is None else common.text(after, "page_token"),
        limit=paging.page_size(request.page_size),
    )


def list_query(request: pb.ListSupplierSkusRequest) -> suppliers.ListQuery:
    """Which rows of a supplier's list."""
    after = documents.after(request, str)
    return suppliers.ListQuery(
        supplier_id=supplier_id(request.supplier_id),
        prefix=request.sku_prefix,
        discontinued=request.include_discontinued,
        after=None if after is None else common.text(after, "page_token"),
        limit=paging.page_size(request.page_size),
    )


def after_supplier(request: pb.ListSkuSuppliersRequest) -> uuid.UUID | None:
    """The supplier after whom a page begins."""
    return documents.after_id(request)


def batch(request: pb.BatchPutSupplierSkusRequest) -> suppliers.Read:
    """How the rows of a request are read: each sets all of its row."""

    def read(supplier: supplier_values.Supplier) -> list[supplier_values.Line]:
        return [_row(index, row, supplier.currency_code) for index, row in enumerate(request.skus)]

    return read


def _row(index: int, message: replenishment_pb2.SupplierSku, currency_code: str) -> supplier_values.Line:
    cost = message.cost if message.HasField("cost") else None
    refusal: errors.Error | None = None
    if cost is not None and cost.currency_code != currency_code:
        refusal = supplier_values.line_refusal("cost", f"is not in {currency_code}, the supplier's currency")
    if "\0" in message.supplier_sku:
        refusal = supplier_values.line_refusal("supplier_sku", "has a NUL character")
    changes = {
        "supplier_sku": message.supplier_sku,
        "cost": None if cost is None else cost.minor_units,
        "pack_size": message.pack_size or 1,
        "minimum_order_quantity": message.minimum_order_quantity,
        "lead_time_days": message.lead_time_days if message.HasField("lead_time_days") else None,
        "discontinued": message.discontinued,
    }
    return supplier_values.Line(index, message.sku, changes, refusal)


def csv_file(request: pb.ImportSupplierSkusRequest) -> suppliers.Read:
    """How the lines of a file are read: each sets what the file has columns for."""
    return lambda supplier: supplier_feed.parse(request.file.data, supplier.currency_code)


def period(request: pb.GetSupplierPerformanceRequest, now: dt.datetime) -> suppliers.Period:
    """Which orders to sum up."""
    until_at = documents.moment(request, "ordered_until") or now
    from_at = documents.moment(request, "ordered_from") or until_at - PERIOD
    if from_at > until_at:
        raise validation.invalid("ordered_until", "is before ordered_from")
    supplier = supplier_id(request.supplier_id)
    return suppliers.Period(supplier_id=supplier, from_at=from_at, until_at=until_at, within=documents.covered())


# --- purchase orders ---


def order_draft(message: replenishment_pb2.PurchaseOrder) -> purchase_orders.Draft:
    """What a caller says of an order."""
    return purchase_orders.Draft(
        supplier_id=supplier_id(message.supplier_id),
        location_id=location_id(message.location_id),
        lines=_lines(message),
        expected_at=documents.moment(message, "expected_at"),
        over_receipt_basis_points=message.over_receipt_basis_points,
        note=message.note,
    )


def _lines(message: replenishment_pb2.PurchaseOrder) -> tuple[purchase_orders.LineDraft, ...]:
    return tuple(
        purchase_orders.LineDraft(
            sku=line.sku,
            ordered=line.ordered,
            cost=_amount(line.cost) if line.HasField("cost") else None,
            expected_at=documents.moment(line, "expected_at"),
        )
        for line in message.lines
    )


def _amount(message: money_pb2.Money) -> tuple[str, int]:
    return message.currency_code, message.minor_units


def order_edit(request: pb.UpdatePurchaseOrderRequest) -> orders.Edit:
    """An edit of an order."""
    message = request.purchase_order
    # What isn't edited needs no ids: only the fields of the mask are taken from this.
    nobody = uuid.UUID(int=0)
    draft = purchase_orders.Draft(
        supplier_id=nobody,
        location_id=nobody,
        lines=_lines(message),
        expected_at=documents.moment(message, "expected_at"),
        over_receipt_basis_points=message.over_receipt_basis_points,
        note=message.note,
    )
    return orders.Edit(
        order_id=order_id(message.id),
        changes=documents.masked(request, "purchase_order", draft),
        expected_version=request.expected_version,
    )


def order_end(request: pb.ClosePurchaseOrderRequest | pb.CancelPurchaseOrderRequest) -> orders.End:
    """Closing or cancelling an order."""
    closes = isinstance(request, pb.ClosePurchaseOrderRequest)
    return orders.End(
        order_id=order_id(request.purchase_order_id),
        to=purchase_orders.State.CLOSED if closes else purchase_orders.State.CANCELLED,
        reason=request.reason,
        expected_version=request.expected_version,
    )


def order_query(request: pb.ListPurchaseOrdersRequest) -> orders.Query:
    """Which orders, among those of locations that the caller's token covers."""
    return orders.Query(
        location=location_id(request.location_id) if request.location_id else None,
        within=documents.covered(),
        supplier_id=supplier_id(request.supplier_id) if request.supplier_id else None,
        states=list(request.states),
        sku=request.sku,
        after=documents.after_id(request),
        limit=paging.page_size(request.page_size),
    )


def delivery(request: pb.CreatePurchaseReceiptRequest) -> orders.Delivery:
    """A delivery on an order."""
    drafts = [lot_inputs.draft(line) for line in request.lines]
    lines = tuple(
        purchase_receipts.ReceiptLine(
            sku=line.sku,
            accepted=line.accepted,
            damaged=line.damaged,
            quality_control=line.quality_control,
            rejected=line.rejected,
            lot="" if lot is None else lot.code,
        )
        for line, lot in zip(request.lines, drafts, strict=True)
    )
    draft = purchase_receipts.ReceiptDraft(
        lines=lines,
        delivery_note=request.delivery_note,
        received_at=documents.moment(request, "received_at"),
        lots=tuple((line.sku, lot) for line, lot in zip(request.lines, drafts, strict=True) if lot is not None),
    )
    return orders.Delivery(
        order_id=order_id(request.purchase_order_id),
        draft=draft,
        origin=origin(),
        expected_version=request.expected_version,
    )


def kept_receipt(message: replenishment_pb2.PurchaseReceipt) -> uuid.UUID:
    """Which receipt an answer is about."""
    return receipt_id(message.id)


def receipts_after(request: pb.ListPurchaseReceiptsRequest) -> tuple[int, int]:
    """The number after which a page begins, and its size."""
    return documents.after(request, int) or 0, paging.page_size(request.page_size, RECEIPTS_DEFAULT)


# --- counts ---


def count_draft(message: replenishment_pb2.CycleCount) -> cycle_counts.Draft:
    """What a caller says of a count."""
    scope = cycle_counts.Scope(
        skus=tuple(message.scope.skus), category=message.scope.category, sku_prefix=message.scope.sku_prefix
    )
    return cycle_counts.Draft(location_id=location_id(message.location_id), scope=scope, note=message.note)


def count_query(request: pb.ListCycleCountsRequest) -> counts.Query:
    """Which counts, among those of locations that the caller's token covers."""
    return counts.Query(
        location=location_id(request.location_id) if request.location_id else None,
        within=documents.covered(),
        states=list(request.states),
        after=documents.after_id(request),
        limit=paging.page_size(request.page_size),
    )


def line_query(request: pb.ListCycleCountLinesRequest) -> counts.LineQuery:
    """Which lines. ROLE_REQUIRED for what tells what is expected."""
    varying = request.keep == pb.ListCycleCountLinesRequest.KEEP_VARYING
    if varying and not sees_expected():
        raise errors.RoleRequired
    after = documents.after(request, str)
    return counts.LineQuery(
        count_id=count_id(request.count_id),
        to_count=request.keep == pb.ListCycleCountLinesRequest.KEEP_TO_COUNT,
        varying=varying,
        after=None if after is None else common.text(after, "page_token"),
        limit=paging.page_size(request.page_size),
    )


def entries(request: pb.RecordCycleCountLinesRequest) -> Sequence[cycle_counts.Entry]:
    """What was counted."""
    return [cycle_counts.Entry(each.sku, each.counted, documents.moment(each, "counted_at")) for each in request.counts]


def decision(request: Any) -> counts.Decision:
    """What is to become of a count."""
    return counts.Decision(
        count_id=count_id(request.count_id),
        origin=origin(),
        expected_version=request.expected_version,
        reason=getattr(request, "reason", ""),
        leave_uncounted=getattr(request, "leave_uncounted", False),
        skus=getattr(request, "skus", ()),
        admin="admin" in principal.current().roles,
    )
