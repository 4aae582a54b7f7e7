"""Use cases of stock: writes go through the lane of their location, reads straight to the store."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from services.inventory import lane, reading
from services.inventory.domain import commands, stock_errors
from services.inventory.domain import levels as values
from services.inventory.handlers import known_lots
from services.inventory.mapping import bulk_lines
from services.inventory.mapping import stock as mapping
from services.inventory.store import availability
from services.inventory.store import stock as store
from services.kit import audit, batches, database, errors, idempotency, lanes, principal, telemetry, validation

M = TypeVar("M", bound=Message)
StockLanes = lanes.Lanes[lane.LaneKey, lane.Submission, Message]


def lane_key(tenant_id: str, location_id: str) -> lane.LaneKey:
    """The lane of a location (TypeID texts)."""
    return lane.LaneKey(mapping.tenant_uuid(tenant_id), mapping.location_uuid(location_id), tenant_id, location_id)


class StockHandlers:
    """Writes and reads of stock for one process."""

    def __init__(self, db: database.Database, stock_lanes: StockLanes, reader: reading.LevelReader) -> None:
        self._db = db
        self._lanes = stock_lanes
        self._reader = reader
        self.known_lots = known_lots.KnownLots(db)

    # --- writes ---

    async def write(
        self,
        location_id: str,
        command: commands.Command,
        key: idempotency.Key,
        answer: type[M],
        reply: mapping.Reply,
    ) -> M:
        """Runs a command in the lane of its location."""
        noted = audit.by(key) if isinstance(command, commands.SetPolicy) else None
        submission = lane.Submission(command, key, answer, reply, telemetry.traceparent(), noted=noted)
        caller = principal.current()
        return await self._lanes.submit(lane_key(caller.tenant_id, location_id), submission)  # type: ignore[return-value]  # the answer's type is the submission's

    async def write_spread(
        self, parts: Sequence[tuple[str, commands.Spreadable]], key: idempotency.Key, answer: type[M]
    ) -> M:
        """Runs a command on a hold at all its locations (TypeIDs), all or nothing."""
        caller = principal.current()
        (first, command), *rest = [(lane_key(caller.tenant_id, location_id), of) for location_id, of in parts]
        reply = mapping.reply_spread_reservation if rest else mapping.reply_reservation
        submission = lane.Submission(command, key, answer, reply, telemetry.traceparent(), elsewhere=tuple(rest))
        return await self._lanes.submit(first, submission)  # type: ignore[return-value]  # the answer's type is the submission's

    async def end_hold(
        self, hold_id: uuid.UUID, action: values.HoldState, ttl_seconds: float, key: idempotency.Key, answer: type[M]
    ) -> M:
        """Confirms, releases or extends a reservation. NOT_FOUND; LOCATION_SCOPE; RESERVATION_ENDED."""
        caller = principal.current()
        placed = await self._find_hold(caller, hold_id)
        parts = [
            (
                mapping.location_text(location),
                commands.EndHold(
                    mapping.origin(caller), hold_id, tuple(line.key for line in part.lines), action, ttl_seconds
                ),
            )
            for location, part in placed.parts
        ]
        return await self.write_spread(parts, key, answer)

    async def reduce_hold(
        self, hold_id: uuid.UUID, lines: Sequence[mapping.LineOfHold], key: idempotency.Key, answer: type[M]
    ) -> M:
        """Gives a part of a reservation back. NOT_FOUND; LOCATION_SCOPE; RESERVATION_ENDED; QUANTITY_BELOW_ZERO."""
        caller = principal.current()
        placed = await self._find_hold(caller, hold_id)
        return await self.write_spread(mapping.reductions(placed, lines, caller), key, answer)

    async def bulk_update(
        self, lines: Sequence[bulk_lines.BulkLine | errors.Error], key: idempotency.Key
    ) -> list[bulk_lines.BulkResult]:
        """Applies each line by itself. IDEMPOTENCY_KEY_REUSED."""
        return await batches.run(self._db, key, lines, self.apply_line, bulk_lines.refused_line)

    async def apply_line(self, line: bulk_lines.BulkLine, key: idempotency.Key) -> bulk_lines.BulkResult:
        """Applies a line of many; a lot that it names is known from then on. Errors of AdjustStock; QUANTITY_STALE."""
        command: commands.Command = line.command
        if line.lot is not None:
            command = line.of_lot(await self.known_lots.code(line.sku, line.lot))
        return await self.write(line.location_id, command, key, bulk_lines.BulkResult, line.reply)

    async def resolve_exception(
        self, location: uuid.UUID, exception: uuid.UUID, resolution: str, key: idempotency.Key
    ) -> Message:
        """Notes what was done about an exception. NOT_FOUND."""

        async def effect(session: database.WriteSession) -> mapping.ExceptionMessage:
            row = await store.resolve_exception(session, location, exception, resolution)
            if row is None:
                raise errors.NotFound("exception")
            return mapping.exception_to_proto(row)

        return await idempotency.run(self._db, key, mapping.ExceptionMessage, effect)

    # --- reads ---

    async def get_level(self, location_id: str, sku: str) -> mapping.AnyLevel:
        """The level of a SKU, or of a bundle; zeros where the location never had it. NOT_FOUND, SKU_NOT_FOUND."""
        key = lane_key(principal.current().tenant_id, location_id)
        answer = await self._reader.read(key.tenant, key.location, values.fold(sku))
        if isinstance(answer, store.Missing):
            raise stock_errors.SkuNotFound(sku) if answer.location_known else errors.NotFound("location")
        return answer

    async def availability(self, wanted: availability.Wanted) -> availability.Matrix:
        """SKUs over locations that the caller may see. SKU_NOT_FOUND; NOT_FOUND; INVALID_REQUEST."""
        caller = principal.current()
        if not wanted.named and not caller.all_locations:
            wanted = dataclasses.replace(wanted, within=[mapping.location_uuid(text) for text in caller.locations])
        async with self._db.read(mapping.tenant_uuid(caller.tenant_id)) as session:
            matrix = await availability.read_availability(session, wanted)
        if len(matrix.rows) < len(wanted.keys):
            raise stock_errors.SkuNotFound(next(key for n, key in enumerate(wanted.keys) if n not in matrix.rows))
        if wanted.named and matrix.known < len(wanted.within or ()):
            raise errors.NotFound("location")
        if len(matrix.locations) > availability.LOCATIONS_MAX:
            raise validation.invalid("filter", f"finds more than {availability.LOCATIONS_MAX} locations")
        return matrix

    async def list_levels(self, location_id: str, **query: Any) -> list[store.Placed]:
        """A page of a location's levels (store.list_levels). NOT_FOUND."""
        async with self._at(location_id) as (session, location):
            return await store.list_levels(session, location, **query)

    async def list_sku(
        self, sku: str, after: uuid.UUID | None, limit: int
    ) -> tuple[list[store.Placed], tuple[int, ...]]:
        """A page of a SKU's levels and the sums of all, over the locations the caller may see. SKU_NOT_FOUND."""
        caller = principal.current()
        allowed = None if caller.all_locations else [mapping.location_uuid(text) for text in sorted(caller.locations)]
        async with self._db.read(mapping.tenant_uuid(caller.tenant_id), snapshot=True) as session:
            if await store.variant_sku(session, values.fold(sku)) is None:
                raise stock_errors.SkuNotFound(sku)
            page = await store.list_sku(session, values.fold(sku), allowed, after, limit)
            return page, await store.sum_sku(session, values.fold(sku), allowed)

    async def get_hold(self, hold_id: uuid.UUID) -> store.PlacedHold:
        """A reservation. NOT_FOUND; LOCATION_SCOPE."""
        return await self._find_hold(principal.current(), hold_id)

    async def list_holds(self, location_id: str, **query: Any) -> list[store.PlacedHold]:
        """A page of a location's reservations (store.list_holds). NOT_FOUND."""
        async with self._at(location_id) as (session, location):
            return await store.list_holds(session, location, **query)

    async def list_movements(
        self, location_id: str, keep: store.MovementFilter, after: Sequence[Any] | None, limit: int
    ) -> Sequence[Any]:
        """A page of a location's ledger. NOT_FOUND."""
        async with self._at(location_id) as (session, location):
            return await store.list_movements(session, location, keep, after, limit)

    async def list_exceptions(self, location_id: str, **query: Any) -> Sequence[Any]:
        """A page of a location's exceptions (store.list_exceptions). NOT_FOUND."""
        async with self._at(location_id) as (session, location):
            return await store.list_exceptions(session, location, **query)

    async def list_alerts(self, location_id: str, **query: Any) -> list[values.Level]:
        """A page of a location's levels that have an alert (store.list_alerts). NOT_FOUND."""
        async with self._at(location_id) as (session, location):
            return await store.list_alerts(session, location, **query)

    async def applied_position(self, location_id: str, consumer: str) -> int:
        """How far a consumer has applied the events of a location. NOT_FOUND."""
        async with self._at(location_id) as (session, _):
            return await store.applied_position(session, consumer, location_id)

    async def _find_hold(self, caller: principal.Principal, hold_id: uuid.UUID) -> store.PlacedHold:
        async with self._db.read(mapping.tenant_uuid(caller.tenant_id)) as session:
            placed = await store.find_hold(session, hold_id)
        if placed is None:
            raise errors.NotFound("reservation")
        for location, _ in placed.parts:
            caller.require_location(mapping.location_text(location))
        return placed

    @contextlib.asynccontextmanager
    async def _at(self, location_id: str) -> AsyncIterator[tuple[database.ReadSession, uuid.UUID]]:
        """A read at a location that exists. NOT_FOUND."""
        location = mapping.location_uuid(location_id)
        async with self._db.read(mapping.tenant_uuid(principal.current().tenant_id)) as session:
            if not await store.location_exists(session, location):
                raise errors.NotFound("location")
            yield session, location
