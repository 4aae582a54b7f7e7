"""Stock on the wire and in the domain: requests to commands, results to messages. Pure functions."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from google.protobuf import duration_pb2
from google.protobuf.message import Message

from services.inventory.domain import bundles, commands, stock, stock_errors
from services.inventory.domain import levels as values
from services.inventory.store import stock as store
from services.kit import clock, idempotency, ids, principal, status, validation
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2 as stock_pb

TTL_DEFAULT_SECONDS = 900.0
PLACES_MAX = 16  # locations of one reservation: they are locked together
AnyLevel = values.Level | bundles.BundleLevel
Reply = Callable[[stock.Stock, Any], Message]

# Ids of tenants and locations come with every request: decoding them once each is enough.
tenant_uuid = functools.lru_cache(maxsize=4096)(lambda text: str(ids.decode("ten", text)))
location_uuid = functools.lru_cache(maxsize=65536)(functools.partial(ids.given, "loc", "location"))
hold_uuid = functools.partial(ids.given, "rsv", "reservation")
hold_text = functools.partial(ids.encode, "rsv")
location_text = functools.lru_cache(maxsize=65536)(lambda value: ids.encode("loc", value))

ExceptionMessage = stock_pb.StockException
Counted = pb.BulkUpdateStockResponse
"""How much was applied: what background work answers."""


def ttl(request: Any) -> float:
    """A hold's time to live in seconds."""
    return request.ttl.seconds + request.ttl.nanos / 1e9 if request.HasField("ttl") else TTL_DEFAULT_SECONDS


def origin(caller: principal.Principal, request: Any = None) -> commands.Origin:
    """Who asked, and when it happened there."""
    occurred_at = validation.instant(request, "occurred_at") if request is not None else None
    return commands.Origin(caller.actor or caller.subject, caller.terminal_id, occurred_at)


def key(caller: principal.Principal, method: str, request: Any) -> idempotency.Key:
    """Scope of a write. Without a key one is made, since a lane looks answers up when COMMIT's reply is lost."""
    return _key(caller, method, request, request.request_id or f"{idempotency.ONCE}{uuid.uuid4().hex}")


def given_key(caller: principal.Principal, method: str, request: Any) -> idempotency.Key:
    """Scope of a call of many lines, whose keys follow from it; empty without a key."""
    return _key(caller, method, request, request.request_id)


def _key(caller: principal.Principal, method: str, request: Any, text: str) -> idempotency.Key:
    tenant = tenant_uuid(caller.tenant_id)
    return idempotency.Key(tenant, caller.subject, method, text, idempotency.fingerprint(request))


# --- requests to commands ---


def reserve_stock(request: pb.ReserveStockRequest, caller: principal.Principal) -> commands.Reserve:
    lines = ((request.sku, request.quantity),)
    return commands.Reserve(
        origin(caller), ids.new_uuid(), lines, ttl(request), request.order_ref, channel=request.channel
    )


def create_reservation(
    request: pb.CreateReservationRequest, caller: principal.Principal
) -> list[tuple[str, commands.Reserve]]:
    """A command for each location (TypeID), in the order of the lines."""
    places: dict[str, list[tuple[str, int]]] = {}
    for line in request.lines:
        places.setdefault(line.location_id or request.location_id, []).append((line.sku, line.quantity))
    if len(places) > PLACES_MAX:
        raise validation.invalid("lines", f"name more than {PLACES_MAX} locations")
    return reserve(places, origin(caller), ttl(request), request.order_ref, request.channel)


def reserve(
    places: Mapping[str, Sequence[tuple[str, int]]],
    by: commands.Origin,
    ttl_seconds: float,
    order_ref: str,
    channel: str = "",
) -> list[tuple[str, commands.Reserve]]:
    """One hold over locations: (SKU, quantity) by TypeID."""
    hold_id, first = ids.new_uuid(), 1
    spread = []
    for location_id, lines in places.items():
        part = commands.Reserve(by, hold_id, tuple(lines), ttl_seconds, order_ref, first, channel=channel)
        spread.append((location_id, part))
        first += len(lines) * bundles.PARTS_MAX  # as many lines as they may come to
    return spread


LineOfHold = pb.ReduceReservationRequest.Line


def reductions(
    placed: store.PlacedHold, lines: Sequence[LineOfHold], caller: principal.Principal
) -> list[tuple[str, commands.ReduceHold]]:
    """A command for each location (TypeID) of a reservation, so that the answer is of all; INVALID_REQUEST."""
    places: dict[str, list[tuple[str, int]]] = {location_text(location): [] for location, _ in placed.parts}
    for number, line in enumerate(lines):
        where = line.location_id or (next(iter(places)) if len(places) == 1 else "")
        if where not in places:
            raise validation.invalid(f"lines[{number}].location_id", "is not a location of the reservation")
        places[where].append((line.sku, line.quantity))
    by = origin(caller)
    return [(location, commands.ReduceHold(by, placed.id, tuple(here))) for location, here in places.items()]


def adjust_stock(request: pb.AdjustStockRequest, caller: principal.Principal, lot: str) -> commands.Adjust:
    """lot: the code of the one that the request names; empty: none."""
    change = (request.sku, request.delta, request.reason, request.reference)
    return commands.Adjust(origin(caller, request), *change, lot=lot)


def move_stock(request: pb.MoveStockRequest, caller: principal.Principal) -> commands.Move:
    states = (request.from_state, request.to_state)
    return commands.Move(
        origin(caller, request), request.sku, *states, request.quantity, request.reason, request.reference, request.lot
    )


def set_stock_counts(request: pb.SetStockCountsRequest, caller: principal.Principal) -> commands.SetCounts:
    counts = tuple(
        commands.Count(c.sku, c.on_hand, c.expected_on_hand if c.HasField("expected_on_hand") else None, lot=c.lot)
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
        _thresholds(request, masked),
    )


def _thresholds(request: pb.UpdateStockPolicyRequest, masked: set[str]) -> commands.Thresholds | None:
    sets_low, sets_rearm = "low_stock_threshold" in masked, "rearm_threshold" in masked
    if not sets_low and not sets_rearm:
        return None
    low = request.low_stock_threshold if sets_low and request.HasField("low_stock_threshold") else None
    rearm = request.rearm_threshold if sets_rearm and request.HasField("rearm_threshold") else None
    return commands.Thresholds(sets_low, low, rearm)


def _incoming(message: stock_pb.IncomingStock) -> values.Incoming:
    eta = validation.instant(message, "eta")
    assert eta is not None  # needed, by the contract
    return values.Incoming(message.quantity, eta, message.reference)


# --- results to messages ---


def level_to_proto(location_id: str, level: values.Level) -> stock_pb.StockLevel:
    return stock_pb.StockLevel(
        location_id=location_id,
        sku=level.sku,
        on_hand=level.on_hand,
        reserved=level.reserved,
        allocated=level.allocated,
        unsellable=level.unsellable,
        safety_stock=level.safety_stock,
        available=level.available,
        incoming=[
            stock_pb.IncomingStock(quantity=i.quantity, eta=clock.timestamp(i.eta), reference=i.reference)
            for i in level.incoming
        ],
        version=level.version,
        updated_at=None if level.updated_at is None else clock.timestamp(level.updated_at),
        damaged=level.damaged,
        quality_control=level.quality_control,
        expired=level.expired,
        backorder_limit=level.backorder_limit,
        low_stock_threshold=level.low_stock_threshold,
        rearm_threshold=level.rearm_threshold,
        in_transit=level.in_transit,
    )


def bundle_to_proto(location_id: str, level: bundles.BundleLevel) -> stock_pb.StockLevel:
    return stock_pb.StockLevel(
        location_id=location_id,
        sku=level.sku,
        available=level.available,
        version=level.version,
        updated_at=None if level.updated_at is None else clock.timestamp(level.updated_at),
        bundle=True,
    )


def any_level(location_id: str, level: AnyLevel) -> stock_pb.StockLevel:
    """A level, of a bundle or of a plain SKU."""
    if isinstance(level, bundles.BundleLevel):
        return bundle_to_proto(location_id, level)
    return level_to_proto(location_id, level)


def level_at(location_id: str, level: AnyLevel, at: dt.datetime | None) -> stock_pb.StockLevel:
    """A level with what is expected of it by a date, if one is asked for."""
    message = any_level(location_id, level)
    if at is not None:
        message.expected_available = level.expected_by(at)
    return message


#: Which state a reservation has whose parts have come to different ends: the first that any of them has.
_STATES = (
    values.HoldState.ACTIVE,
    values.HoldState.CONFIRMED,
    values.HoldState.CONSUMED,
    values.HoldState.RELEASED,
    values.HoldState.EXPIRED,
)


def reservation_to_proto(parts: Sequence[tuple[str, values.Hold]], now: dt.datetime) -> stock_pb.Reservation:
    """A reservation of (location, its part there)."""
    location_id, hold = parts[0]
    states = [part.state_at(now) for _, part in parts]
    state = states[0] if len(parts) == 1 else next(state for state in _STATES if state in states)
    active = state == values.HoldState.ACTIVE
    return stock_pb.Reservation(
        id=hold_text(hold.id),
        location_id=location_id if len(parts) == 1 else "",
        state=state,  # type: ignore[arg-type]  # the same numbers
        lines=[
            stock_pb.ReservationLine(
                sku=line.sku, quantity=line.quantity, location_id=place, created_seq=part.created_seq, lot=line.lot
            )
            for place, part in parts
            for line in part.lines
        ],
        expires_at=clock.timestamp(hold.expires_at),
        ttl_remaining=_duration(values.ttl_remaining(hold.expires_at, now) if active else 0.0),
        order_ref=hold.order_ref,
        created_at=clock.timestamp(hold.created_at),
        created_seq=hold.created_seq,
    )


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
    return reservation_to_proto([(working.location_id, hold)], working.now)


def reply_spread_reservation(working: stock.Stock, parts: Sequence[tuple[str, values.Hold]]) -> stock_pb.Reservation:
    """The same for one that lies at several locations."""
    return reservation_to_proto(parts, working.now)


def level_page(placed: Sequence[store.Placed]) -> list[stock_pb.StockLevel]:
    return [any_level(location_text(p.location), p.level) for p in placed]


def totals_to_proto(sums: Sequence[int]) -> pb.StockTotals:
    names = ("on_hand", "reserved", "allocated", "unsellable", "available", "in_transit", "locations")
    return pb.StockTotals(**dict(zip(names, sums, strict=True)))


def hold_to_proto(placed: store.PlacedHold) -> stock_pb.Reservation:
    return reservation_to_proto([(location_text(location), hold) for location, hold in placed.parts], placed.now)


def movement_filter(request: pb.ListMovementsRequest) -> store.MovementFilter:
    keep = request.filter
    window = validation.instant(keep, "recorded_from"), validation.instant(keep, "recorded_until")
    return store.MovementFilter(keep.sku, keep.reason, *window, keep.reference_id)


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
        reference_id=row.ref_id,
        actor=row.actor,
        terminal_id=row.terminal,
        occurred_at=clock.timestamp(row.occurred_at),
        recorded_at=clock.timestamp(row.recorded_at),
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
        recorded_at=clock.timestamp(row.recorded_at),
        resolved_at=clock.timestamp(row.resolved_at) if row.resolved_at else None,
        resolution=row.resolution,
        lot=row.lot,
    )


def alert_to_proto(alert: values.Alert) -> stock_pb.StockAlert:
    return stock_pb.StockAlert(
        kind=int(alert.kind),  # type: ignore[arg-type]  # the same numbers
        sku=alert.sku,
        available=alert.available,
        threshold=alert.threshold,
    )


def level_alert(level: values.Level) -> stock_pb.StockAlert:
    """The alert that a level has."""
    kind = values.AlertKind(level.alert)
    return alert_to_proto(values.Alert(kind, level.sku, level.available, level.low_stock_threshold or 0))


# --- details of errors ---


def _shortage(error: stock_errors.InsufficientStock) -> stock_pb.StockShortage:
    detail = stock_pb.StockShortage()
    for line in error.lines:
        row = detail.lines.add(
            sku=line.sku, location_id=line.location_id, requested=line.requested, available=line.available
        )
        if line.next_available_at is not None:
            row.next_available_at.CopyFrom(clock.timestamp(line.next_available_at))
        row.together = line.together
        for short in line.components:
            row.components.add(sku=short.sku, requested=short.requested, available=short.available)
        for location_id, available in line.alternatives:
            row.alternatives.add(location_id=location_id, available=available)
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
