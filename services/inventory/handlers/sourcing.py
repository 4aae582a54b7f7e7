"""Finds where a request can be served from, and reserves there: planned unlocked, decided again under locks."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from services.inventory.domain import geography, sourcing, stock_errors
from services.inventory.domain import levels as values
from services.inventory.domain.sourcing import composing
from services.inventory.handlers import stock as handlers
from services.inventory.mapping import stock as mapping
from services.inventory.store import sourcing as store
from services.kit import database, errors, idempotency, pipeline, principal, validation
from tillmesh.inventory.v1 import stock_pb2

TRIES_MAX = 3
ALTERNATIVES_MAX = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for, SKUs as the caller spells them. within: preferred first; empty: all."""

    lines: tuple[sourcing.Asked, ...]
    rule: sourcing.Rule
    splitting: sourcing.Splitting
    destination: geography.Point | None
    pickup_at: uuid.UUID | None
    within: tuple[uuid.UUID, ...]
    parcels_max: int
    ttl_seconds: float
    order_ref: str
    channel: str = ""


class SourcingHandlers:
    """Reservations whose locations are chosen here."""

    def __init__(self, db: database.Database, stock: handlers.StockHandlers) -> None:
        self._db = db
        self._stock = stock

    async def reserve(self, wanted: Wanted, key: idempotency.Key) -> stock_pb2.Reservation:
        """INSUFFICIENT_STOCK; SKU_NOT_FOUND; NOT_FOUND for a location that is named and isn't there."""
        if (earlier := await self._earlier(key)) is not None:
            return earlier
        by = mapping.origin(principal.current())
        for attempt in range(1, TRIES_MAX + 1):
            places = await self._plan(key.tenant, wanted)
            parts = mapping.reserve(places, by, wanted.ttl_seconds, wanted.order_ref, wanted.channel)
            try:
                return await self._stock.write_spread(parts, key, stock_pb2.Reservation)
            except stock_errors.InsufficientStock:  # somebody else took some of it since it was planned
                if attempt == TRIES_MAX:
                    raise
        raise AssertionError

    async def _earlier(self, key: idempotency.Key) -> stock_pb2.Reservation | None:
        """What the key was answered before, whatever could be had now."""
        async with self._db.lane_connection() as connection:
            (rows,) = await connection.ask(key.tenant, idempotency.look_up(uuid.UUID(key.tenant), [key]))
        for _, fingerprint, response in rows:
            key.check(fingerprint)
            return stock_pb2.Reservation.FromString(response)
        return None

    async def _plan(self, tenant: str, wanted: Wanted) -> dict[str, list[tuple[str, int]]]:
        """(SKU, units) by location (TypeID)."""
        async with self._db.lane_connection() as connection:
            found = await self._find(connection, tenant, wanted)
        request = _request(wanted, found)
        # Choosing takes milliseconds for a few locations, and up to a tenth of a second for hundreds.
        plan = await asyncio.to_thread(sourcing.choose, request)
        if isinstance(plan, sourcing.SourcingShortage):
            short = composing.short(plan, request, wanted.lines, found.bundles)
            raise stock_errors.InsufficientStock(lines=[_short(line, wanted, found.spellings) for line in short])
        places = composing.parcels(plan, wanted.lines, found.bundles)
        return {mapping.location_text(location): lines for location, lines in places.items()}

    async def _find(self, connection: pipeline.LaneConnection, tenant: str, wanted: Wanted) -> store.Found:
        within = _within(wanted)
        keys = sorted({values.fold(sku) for sku, _, _ in wanted.lines})
        capability = store.SHIP_FROM if wanted.pickup_at is None else store.PICKUP
        found = await store.find(connection, tenant, keys, capability=capability, within=within, channel=wanted.channel)
        for sku, _, _ in wanted.lines:
            if values.fold(sku) not in found.spellings:
                raise stock_errors.SkuNotFound(sku)
        if len(found.places) > store.CANDIDATES_MAX:
            raise validation.invalid("location_ids", f"more than {store.CANDIDATES_MAX} locations could serve it")
        if (wanted.within or wanted.pickup_at) and len(found.places) < len(within or ()):
            raise errors.NotFound("location")
        return found


def _within(wanted: Wanted) -> list[uuid.UUID] | None:
    """The locations to choose from: the named ones, or all that the caller's token covers."""
    if wanted.pickup_at is not None:
        return [wanted.pickup_at]
    if wanted.within:
        return list(wanted.within)
    caller = principal.current()
    if caller.all_locations:
        return None
    return [mapping.location_uuid(text) for text in sorted(caller.locations)]


def _request(wanted: Wanted, found: store.Found) -> sourcing.Request:
    preference = {location: number for number, location in enumerate(wanted.within)}
    candidates = tuple(
        sourcing.Candidate(
            id=place.id,
            kind=place.type,
            available=found.promises.get(place.id, {}),
            distance_m=_distance(wanted.destination, place.coordinates),
            priority=preference.get(place.id, len(preference)),
        )
        for place in found.places
        if place.usable
    )
    return sourcing.Request(
        lines=composing.lines(wanted.lines, found.bundles),
        candidates=candidates,
        rule=wanted.rule,
        splitting=wanted.splitting,
        pickup_at=wanted.pickup_at,
        parcels_max=min(wanted.parcels_max, mapping.PLACES_MAX),
    )


def _distance(one: geography.Point | None, other: geography.Point | None) -> int | None:
    return None if one is None or other is None else geography.distance_m(one, other)


def _short(line: sourcing.ShortOfUnits, wanted: Wanted, spellings: Mapping[str, str]) -> values.Shortage:
    return values.Shortage(
        sku=wanted.lines[line.ref].sku,
        location_id="" if wanted.pickup_at is None else mapping.location_text(wanted.pickup_at),
        requested=wanted.lines[line.ref].quantity,
        available=line.available,
        next_available_at=None,
        alternatives=tuple(
            (mapping.location_text(each.location_id), each.available) for each in line.alternatives[:ALTERNATIVES_MAX]
        ),
        together=line.together,
        components=composing.spelled(line.components, spellings),
    )
