"""Suppliers, purchase orders and counts as messages of the contract. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.inventory.domain import cycle_counts, purchase_orders, purchase_receipts, suppliers
from services.inventory.handlers import cycle_counts as counts
from services.inventory.mapping import catalog_messages as names
from services.inventory.mapping import documents
from services.kit import clock, ids, status
from tillmesh.common.v1 import money_pb2
from tillmesh.inventory.v1 import catalog_pb2, lots_pb2
from tillmesh.inventory.v1 import replenishment_pb2 as messages
from tillmesh.inventory.v1 import replenishment_service_pb2 as pb

AMOUNT_MAX = 10**15  # of Money, in the contract


def _money(currency_code: str, minor_units: int | None) -> money_pb2.Money | None:
    """None when it isn't known, or is more than Money holds."""
    if minor_units is None or abs(minor_units) > AMOUNT_MAX:
        return None
    return money_pb2.Money(currency_code=currency_code, minor_units=minor_units)


# --- suppliers ---


def supplier(value: suppliers.Supplier) -> messages.Supplier:
    """A supplier."""
    return messages.Supplier(
        id=ids.encode("sup", value.id),
        code=value.code,
        name=value.name,
        contact=_contact(value.contact),
        currency_code=value.currency_code,
        default_lead_time_days=value.default_lead_time_days,
        inactive=value.inactive,
        version=value.version,
        created_at=documents.timestamp(value.created_at),
        updated_at=documents.timestamp(value.updated_at),
    )


def _contact(value: suppliers.Contact) -> messages.SupplierContact:
    message = messages.SupplierContact(name=value.name, email=value.email, phone=value.phone, website=value.website)
    if (place := value.address) is not None:
        message.address.CopyFrom(
            catalog_pb2.Address(
                lines=place.lines,
                city=place.city,
                region=place.region,
                postal_code=place.postal_code,
                country_code=place.country_code,
            )
        )
    return message


def listed(value: suppliers.Listed) -> messages.SupplierSku:
    """A row of a supplier's list."""
    row = value.row
    return messages.SupplierSku(
        supplier_id=ids.encode("sup", value.supplier_id),
        sku=row.sku,
        supplier_sku=row.supplier_sku,
        cost=_money(value.currency_code, row.cost),
        pack_size=row.pack_size,
        minimum_order_quantity=row.minimum_order_quantity,
        lead_time_days=row.lead_time_days,
        discontinued=row.discontinued,
        updated_at=documents.timestamp(value.updated_at),
    )


def outcomes(of: Sequence[suppliers.Outcome]) -> pb.PutSupplierSkusResponse:
    """How each line of a list went."""
    response = pb.PutSupplierSkusResponse()
    for each in of:
        result = response.results.add(line=each.number, sku=each.sku, status=int(each.status))
        if each.refusal is not None:
            result.error.CopyFrom(status.to_proto(each.refusal))
    states = [each.status for each in of]
    response.applied = states.count(suppliers.LineStatus.APPLIED)
    response.unchanged = states.count(suppliers.LineStatus.UNCHANGED)
    response.refused = states.count(suppliers.LineStatus.REFUSED)
    return response


def performance(row: Any) -> messages.SupplierPerformance:
    """A supplier's figures."""
    return messages.SupplierPerformance(
        orders=row.orders,
        orders_cancelled=row.orders_cancelled,
        lines=row.lines,
        lines_due=row.lines_due,
        lines_on_time=row.lines_on_time,
        on_time_basis_points=_basis_points(row.lines_on_time, row.lines_due),
        units_due=row.units_due,
        units_filled=row.units_filled,
        fill_basis_points=_basis_points(row.units_filled, row.units_due),
        units_damaged=row.units_damaged,
        units_rejected=row.units_rejected,
        mean_lead_time_days=row.mean_lead_time_days or "",
    )


def _basis_points(part: int, whole: int) -> int | None:
    """Rounded half up; None of nothing."""
    return (part * 20_000 + whole) // (2 * whole) if whole else None


# --- purchase orders ---


def order(value: purchase_orders.PurchaseOrder) -> messages.PurchaseOrder:
    """A purchase order."""
    currency = value.currency_code
    return messages.PurchaseOrder(
        id=ids.encode("pur", value.id),
        number=value.reference,
        supplier_id=ids.encode("sup", value.supplier_id),
        location_id=names.location_id(value.location_id),
        state=int(value.state),  # type: ignore[arg-type]  # the domain has the contract's numbers
        currency_code=currency,
        lines=[_order_line(line, currency) for line in value.lines],
        expected_at=documents.timestamp(value.expected_at),
        over_receipt_basis_points=value.over_receipt_basis_points,
        note=value.note,
        total_cost=_money(currency, value.total_cost),
        stock_effect=documents.effect(value.settled),
        created_by=value.created_by,
        end_reason=value.end_reason,
        version=value.version,
        created_at=documents.timestamp(value.created_at),
        updated_at=documents.timestamp(value.updated_at),
        ordered_at=documents.timestamp(value.ordered_at),
        ended_at=documents.timestamp(value.ended_at),
    )


def _order_line(line: purchase_orders.Line, currency: str) -> messages.PurchaseOrderLine:
    return messages.PurchaseOrderLine(
        sku=line.sku,
        ordered=line.ordered,
        cost=_money(currency, line.cost),
        expected_at=documents.timestamp(line.expected_at),
        supplier_sku=line.supplier_sku,
        received=line.received,
        damaged=line.damaged,
        quality_control=line.quality_control,
        rejected=line.rejected,
        outstanding=line.outstanding,
        completed_at=documents.timestamp(line.completed_at),
    )


def receipt(value: purchase_receipts.Receipt) -> messages.PurchaseReceipt:
    """A delivery."""
    message = messages.PurchaseReceipt(
        id=ids.encode("rcp", value.id),
        purchase_order_id=ids.encode("pur", value.order_id),
        location_id=names.location_id(value.location_id),
        number=value.number,
        delivery_note=value.delivery_note,
        received_at=documents.timestamp(value.received_at),
        recorded_at=documents.timestamp(value.recorded_at),
        received_by=value.received_by,
        movement_reference=value.reference,
        stock_effect=documents.effect(value.settled),
        seq=value.seq,
    )
    for line in value.lines:
        message.lines.add(
            sku=line.sku,
            accepted=line.accepted,
            damaged=line.damaged,
            quality_control=line.quality_control,
            rejected=line.rejected,
            lot=lots_pb2.LotInput(code=line.lot) if line.lot else None,
        )
    return message


def _over_receipt(error: purchase_receipts.OverReceipt) -> messages.OverReceipt:
    detail = messages.OverReceipt()
    for line in error.lines:
        detail.lines.add(sku=line.sku, ordered=line.ordered, received=line.received, at_most=line.at_most)
    return detail


def register_details() -> None:
    """Tells the error funnel how lines of these errors are packed."""
    status.register_detail(purchase_receipts.OverReceipt, _over_receipt)


# --- counts: whoever may not approve never sees what is expected, nor what it can be worked out from ---


def count(value: cycle_counts.Count, *, sees_expected: bool) -> messages.CycleCount:
    """A count."""
    totals = value.totals
    message = messages.CycleCount(
        id=ids.encode("cnt", value.id),
        number=value.reference,
        location_id=names.location_id(value.location_id),
        scope=messages.CycleCountScope(
            skus=value.scope.skus, category=value.scope.category, sku_prefix=value.scope.sku_prefix
        ),
        note=value.note,
        state=int(value.state),  # type: ignore[arg-type]  # the domain has the contract's numbers
        lines=totals.lines,
        lines_counted=totals.counted,
        stock_effect=documents.effect(value.settled),
        seq=value.seq,
        created_by=value.created_by,
        submitted_by=value.submitted_by,
        decided_by=value.decided_by,
        decision_reason=value.decision_reason,
        version=value.version,
        created_at=documents.timestamp(value.created_at),
        submitted_at=documents.timestamp(value.submitted_at),
        decided_at=documents.timestamp(value.decided_at),
    )
    if sees_expected:
        message.lines_varying, message.units_over, message.units_short = totals.varying, totals.over, totals.short
        if (cost := _money(value.currency_code, totals.cost)) is not None:
            message.variance_cost.CopyFrom(cost)
        if (worth := _money(value.currency_code, totals.value)) is not None:
            message.variance_value.CopyFrom(worth)
    return message


def lines(of: counts.Counted, *, sees_expected: bool) -> list[messages.CycleCountLine]:
    """Lines of a count."""
    return [_line(line, of.count.currency_code, sees_expected) for line in of.lines]


def _line(line: cycle_counts.Line, currency: str, sees_expected: bool) -> messages.CycleCountLine:
    message = messages.CycleCountLine(
        sku=line.sku, passes=line.passes, recount=line.recount, superseded=line.superseded
    )
    if line.counted is not None and line.counted_at is not None and (sees_expected or not line.recount):
        message.counted, message.counted_by = line.counted, line.counted_by
        message.counted_at.CopyFrom(clock.timestamp(line.counted_at))
    if sees_expected and line.expected is not None and (variance := line.variance) is not None:
        message.expected, message.variance = line.expected, variance
        cost, worth = (None if unit is None else unit * variance for unit in (line.unit_cost, line.unit_price))
        if (amount := _money(currency, cost)) is not None:
            message.variance_cost.CopyFrom(amount)
        if (amount := _money(currency, worth)) is not None:
            message.variance_value.CopyFrom(amount)
    return message


def recorded(of: counts.Counted, *, sees_expected: bool) -> pb.RecordCycleCountLinesResponse:
    """What was noted."""
    return pb.RecordCycleCountLinesResponse(lines=lines(of, sees_expected=sees_expected))


def count_pass(value: cycle_counts.Pass) -> messages.CycleCountPass:
    """One time that a line was counted."""
    return messages.CycleCountPass(
        number=value.number,
        counted=value.counted,
        counted_at=documents.timestamp(value.counted_at),
        recorded_at=documents.timestamp(value.recorded_at),
        counted_by=value.counted_by,
        terminal_id=value.terminal,
        on_hand=value.on_hand,
        seq=value.seq,
    )
