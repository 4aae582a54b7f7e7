"""Stock on the wire and in the domain: requests to commands, results to messages. Pure functions."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.message import Message

from services.inventory.domain import commands, stock, stock_errors
from services.inventory.domain import levels as values
from services.inventory.store import stock as store
from services.kit import errors, idempotency, ids, principal, status, validation
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2 as stock_pb

TTL_DEFAULT_SECONDS = 900.0
Reply = Callable[[stock.Stock, Any], Message]

# Ids of tenants and locations come with every request: decoding them once each is enough.
tenant_uuid = functools.lru_cache(maxsize=4096)(lambda text: str(ids.decode("ten", text)))
location_uuid = functools.lru_cache(maxsize=65536)(functools.partial(ids.given, "loc", "location"))
hold_uuid = functools.partial(ids.given, "rsv", "reservation")
location_text = functools.lru_cache(maxsize=65536)(lambda value: ids.encode("loc", value))

ExceptionMessage = stock_pb.StockException
Counted = pb.BulkUpdateStockResponse
"""How much was applied: what background work answers."""
BulkResult = pb.BulkUpdateStockResponse.Result


def timestamp(at: dt.datetime) -> timestamp_pb2.Timestamp:
    """A protobuf timestamp, to the microsecond."""
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(at)
    return message


def ttl(request: Any) -> float:
    """A hold's time to live in seconds."""
    return request.ttl.ToTimedelta().total_seconds() if request.HasField("ttl") else TTL_DEFAULT_SECONDS


def origin(caller: principal.Principal, request: Any = None) -> commands.Origin:
    """Who asked, and when it happened there."""
    occurred_at = validation.instant(request, "occurred_at") if request is not None else None
    return commands.Origin(caller.actor or caller.subject, caller.terminal_id, occurred_at)


def key(caller: principal.Principal, method: str, request: Any) -> idempotency.Key:
    """Scope of a write. Without a key one is made, since a lane looks answers up when COMMIT's reply is lost."""
    return _key(caller, method, request, request.request_id or f"once:{uuid.uuid4().hex}")


def given_key(caller: principal.Principal, method: str, request: Any) -> idempotency.Key:
    """Scope of a call of many lines, whose keys follow from it; empty without a key."""
    return _key(caller, method, request, request.request_id)


def _key(caller: principal.Principal, method: str, request: Any, text: str) -> idempotency.Key:
    tenant = tenant_uuid(caller.tenant_id)
    return idempotency.Key(tenant, caller.subject, method, text, idempotency.fingerprint(request))


# --- requests to commands ---


def reserve_stock(request: pb.ReserveStockRequest, caller: principal.Principal) -> commands.Reserve:
    lines = ((request.sku, request.quantity),)
    return commands.Reserve(origin(caller), ids.new_uuid(), lines, ttl(request), request.order_ref)


def create_reservation(request: pb.CreateReservationRequest, caller: principal.Principal) -> commands.Reserve:
    lines = tuple((line.sku, line.quantity) for line in request.lines)
    return commands.Reserve(origin(caller), ids.new_uuid(), lines, ttl(request), request.order_ref)


def adjust_stock(request: pb.AdjustStockRequest, caller: principal.Principal) -> commands.Adjust:
    return commands.Adjust(origin(caller, request), request.sku, request.delta, request.reason, request.reference)


def move_stock(request: pb.MoveStockRequest, caller: principal.Principal) -> commands.Move:
    states = (request.from_state, request.to_state)
    return commands.Move(
        origin(caller, request), request.sku, *states, request.quantity, request.reason, request.reference
    )


def set_stock_counts(request: pb.SetStockCountsRequest, caller: principal.Principal) -> commands.SetCounts:
    counts = tuple(
        commands.Count(c.sku, c.on_hand, c.expected_on_hand if c.HasField("expected_on_hand") else None)
        for c in request.counts
    )
    forced = "; ".join(dict.fromkeys(c.force_reason for c in request.counts if c.force_reason))
    reference = " ".join(part for part in (request.reference, f"forced: {forced}" if forced else "") if part)
    reason = request.reason or stock_pb.MOVEMENT_REASON_CYCLE_COUNT
    return commands.SetCounts(origin(caller, request), counts, reason, reference)


def update_stock_policy(request: pb.UpdateStockPolicyRequest, caller: principal.Principal) -> commands.SetPolicy:
    masked = set(request.update_mask.paths)
    return commands.SetPolicy(
        origin(caller),
        request.sku,
        request.safety_stock if "safety_stock" in masked else None,
        request.backorder_limit if "backorder_limit" in masked else None,
        tuple(_incoming(i) for i in request.incoming) if "incoming" in masked else None,
        request.expected_version,
    )


@dataclass(frozen=True, slots=True)
class BulkLine:
    """A line of a bulk update: an own command with an own answer."""

    location_id: str
    command: commands.Adjust | commands.SetCounts
    reply: Reply
    fingerprint: bytes


def bulk_lines(request: pb.BulkUpdateStockRequest, caller: principal.Principal) -> list[BulkLine | errors.Error]:
    """What each line asks for, or what is wrong with it."""
    return validation.each(request.lines, lambda line: _bulk_line(line, caller))


def _bulk_line(line: pb.BulkUpdateStockRequest.Line, caller: principal.Principal) -> BulkLine:
    command = _bulk_command(line, caller)
    reply = _reply_adjusted if isinstance(command, commands.Adjust) else _reply_counted
    return BulkLine(line.location_id, command, reply, idempotency.fingerprint(line))


def _bulk_command(
    line: pb.BulkUpdateStockRequest.Line, caller: principal.Principal
) -> commands.Adjust | commands.SetCounts:
    source = origin(caller, line)
    if line.WhichOneof("change") == "delta":
        reason = line.reason or stock_pb.MOVEMENT_REASON_RECEIVED
        return commands.Adjust(source, line.sku, line.delta, reason, line.reference, "bulk")
    expected = line.expected_on_hand if line.HasField("expected_on_hand") else None
    count = commands.Count(line.sku, line.on_hand, expected, newest_wins=expected is None)
    reason = line.reason or stock_pb.MOVEMENT_REASON_CYCLE_COUNT
    return commands.SetCounts(source, (count,), reason, line.reference, "bulk")


def _incoming(message: stock_pb.IncomingStock) -> values.Incoming:
    eta = validation.instant(message, "eta")
    assert eta is not None  # needed, by the contract
    return values.Incoming(message.quantity, eta, message.reference)


# --- results to messages ---


def level_to_proto(location_id: str, level: values.Level) -> stock_pb.StockLevel:
    message = stock_pb.StockLevel(
        location_id=location_id,
        sku=level.sku,
        on_hand=level.on_hand,
        reserved=level.reserved,
        allocated=level.allocated,
        unsellable=level.unsellable,
        safety_stock=level.safety_stock,
        available=level.available,
        version=level.version,
        damaged=level.damaged,
        quality_control=level.quality_control,
        expired=level.expired,
        backorder_limit=level.backorder_limit,
    )
    if level.updated_at is not None:
        message.updated_at.FromDatetime(level.updated_at)
    for incoming in level.incoming:
        message.incoming.add(quantity=incoming.quantity, eta=timestamp(incoming.eta), reference=incoming.reference)
    return message


def reservation_to_proto(location_id: str, hold: values.Hold, now: dt.datetime) -> stock_pb.Reservation:
    state = hold.state_at(now)
    message = stock_pb.Reservation(
        id=ids.encode("rsv", hold.id),
        location_id=location_id,
        state=state,  # type: ignore[arg-type]  # the same numbers
        order_ref=hold.order_ref,
        created_seq=hold.created_seq,
    )
    for line in hold.lines:
        message.lines.add(sku=line.sku, quantity=line.quantity)
    message.expires_at.FromDatetime(hold.expires_at)
    message.created_at.FromDatetime(hold.created_at)
    active = state == values.HoldState.ACTIVE
    message.ttl_remaining.CopyFrom(_duration(values.ttl_remaining(hold.expires_at, now) if active else 0.0))
    return message


def _duration(seconds: float) -> duration_pb2.Duration:
    whole = int(seconds)
    return duration_pb2.Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))


def reply_level(working: stock.Stock, level: values.Level) -> stock_pb.StockLevel:
    """Answers a command with the level it left."""
    return level_to_proto(working.location_id, level)


def reply_levels(working: stock.Stock, levels: Sequence[values.Level]) -> pb.SetStockCountsResponse:
    """Answers a command with the levels it left."""
    return pb.SetStockCountsResponse(levels=[level_to_proto(working.location_id, level) for level in levels])


def reply_reservation(working: stock.Stock, hold: values.Hold) -> stock_pb.Reservation:
    """Answers a command with the reservation as it stands."""
    return reservation_to_proto(working.location_id, hold, working.now)


def _reply_adjusted(working: stock.Stock, level: values.Level) -> BulkResult:
    """Answers a line of a bulk update that is a delta."""
    applied = pb.BulkUpdateStockResponse.LINE_STATUS_APPLIED
    return BulkResult(status=applied, level=level_to_proto(working.location_id, level))


def _reply_counted(working: stock.Stock, levels: Sequence[values.Level]) -> BulkResult:
    """Answers a line of a bulk update that is a count."""
    return _reply_adjusted(working, levels[0])


def refused_line(error: errors.Error) -> BulkResult:
    """Answers a line of a bulk update that was not applied."""
    return BulkResult(status=pb.BulkUpdateStockResponse.LINE_STATUS_REFUSED, error=status.to_proto(error))


def bulk_results(results: Sequence[BulkResult]) -> pb.BulkUpdateStockResponse:
    """How each line went, in order."""
    for index, result in enumerate(results):
        result.index = index
    refused = sum(result.HasField("error") for result in results)
    return pb.BulkUpdateStockResponse(results=results, applied=len(results) - refused, refused=refused)


def level_page(placed: Sequence[store.Placed]) -> list[stock_pb.StockLevel]:
    return [level_to_proto(location_text(p.location), p.level) for p in placed]


def totals_to_proto(sums: Sequence[int]) -> pb.StockTotals:
    names = ("on_hand", "reserved", "allocated", "unsellable", "available", "locations")
    return pb.StockTotals(**dict(zip(names, sums, strict=True)))


def hold_to_proto(placed: store.PlacedHold) -> stock_pb.Reservation:
    return reservation_to_proto(location_text(placed.location), placed.hold, placed.now)


def reference_text(ref_type: str, ref_id: str) -> str:
    """What a movement refers to, as callers know it: reservations by TypeID."""
    return ids.encode("rsv", uuid.UUID(ref_id)) if ref_type == "reservation" else ref_id


def _reference_id(text: str) -> str:
    """What the ledger has for it."""
    if not text.startswith("rsv_"):
        return text
    try:
        return str(ids.decode("rsv", text))
    except ValueError:
        return text


def movement_filter(request: pb.ListMovementsRequest) -> store.MovementFilter:
    keep = request.filter
    window = validation.instant(keep, "recorded_from"), validation.instant(keep, "recorded_until")
    return store.MovementFilter(keep.sku, keep.reason, *window, _reference_id(keep.reference_id))


def movement_to_proto(row: Any) -> stock_pb.StockMovement:
    return stock_pb.StockMovement(
        location_id=location_text(row.location_id),
        seq=row.seq,
        line=row.line,
        sku=row.sku,
        lot=row.lot,
        from_state=row.from_state,
        to_state=row.to_state,
        quantity=row.quantity,
        reason=row.reason,
        reference_type=row.ref_type,
        reference_id=reference_text(row.ref_type, row.ref_id),
        actor=row.actor,
        terminal_id=row.terminal,
        occurred_at=timestamp(row.occurred_at),
        recorded_at=timestamp(row.recorded_at),
    )


def exception_to_proto(row: Any) -> stock_pb.StockException:
    return stock_pb.StockException(
        id=str(row.id),
        location_id=location_text(row.location_id),
        kind=row.kind,
        sku=row.sku,
        quantity=row.quantity,
        reference_type=row.ref_type,
        reference_id=row.ref_id,
        recorded_at=timestamp(row.recorded_at),
        resolved_at=timestamp(row.resolved_at) if row.resolved_at else None,
        resolution=row.resolution,
    )


# --- details of errors ---


def _shortage(error: stock_errors.InsufficientStock) -> stock_pb.StockShortage:
    detail = stock_pb.StockShortage()
    for line in error.lines:
        row = detail.lines.add(
            sku=line.sku, location_id=error.location_id, requested=line.requested, available=line.available
        )
        if line.next_available_at is not None:
            row.next_available_at.FromDatetime(line.next_available_at)
    return detail


def _stale(error: stock_errors.QuantityStale) -> stock_pb.QuantityStale:
    detail = stock_pb.QuantityStale()
    for line in error.lines:
        detail.lines.add(sku=line.sku, expected_on_hand=line.expected_on_hand, on_hand=line.on_hand)
    return detail


def register_details() -> None:
    """Tells the error funnel how lines of these errors are packed."""
    status.register_detail(stock_errors.InsufficientStock, _shortage)
    status.register_detail(stock_errors.QuantityStale, _stale)
