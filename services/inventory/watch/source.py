"""Where stock streams come from: rows of the store as what services/kit/watching understands."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence

from services.inventory.domain import levels as values
from services.inventory.domain.bundles import BundleLevel
from services.inventory.mapping import stock as mapping
from services.inventory.store import bundles
from services.inventory.store import watch as store
from services.inventory.watch import frames
from services.kit import database, errors, pipeline, watching
from tillmesh.inventory.v1 import inventory_events_pb2 as events_pb

SMALL_TRIES = 3
"""A busy location moves on between two statements now and then; then it is read in one transaction."""


class StockSource:
    """The Source of stock (services.kit.watching). Positions and tails are read on the lanes' connections."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    async def head(self, tenant: str, key: str) -> watching.Position:
        """How far a location has come. NOT_FOUND when the tenant doesn't have it."""
        found = await self.heads(tenant, [key])
        if key not in found:
            raise errors.NotFound("location")
        return found[key]

    async def heads(self, tenant: str, keys: Sequence[str]) -> Mapping[str, watching.Position]:
        """How far locations have come."""
        by_id: dict[uuid.UUID, str] = {mapping.location_uuid(key): key for key in keys}
        async with self._db.lane_connection() as connection:
            rows = await store.heads(connection, mapping.tenant_uuid(tenant), list(by_id))
        return {by_id[row.location]: watching.Position(row.epoch, row.seq) for row in rows}

    async def tail(self, tenant: str, key: str, after: int) -> watching.Tail:
        """Changes of a location after a position."""
        async with self._db.lane_connection() as connection:
            rows, more = await store.tail(connection, mapping.tenant_uuid(tenant), key, after)
        batches = [watching.Batch(epoch, recorded_at, _changes(data)) for _, epoch, recorded_at, data in rows]
        return watching.Tail(batches, more)

    async def snapshot(self, tenant: str, key: str, names: frozenset[str] | None) -> watching.Snapshot:
        """All levels of a location, or those of some folded SKUs: position and levels of one moment."""
        location, tenant_uuid = mapping.location_uuid(key), mapping.tenant_uuid(tenant)
        keys = None if names is None else sorted(names)
        async with self._db.lane_connection() as connection:
            found = await _small(connection, tenant_uuid, location, keys)
        if found is not None:
            head, levels, composed = found
            chunks = _chunks(key, levels) + (_chunks(key, composed) if composed else [])
            return watching.Snapshot(watching.Position(head.epoch, head.seq), chunks)
        return await self._large_snapshot(tenant_uuid, key, location, keys)

    async def _large_snapshot(
        self, tenant_uuid: str, key: str, location: uuid.UUID, keys: Sequence[str] | None
    ) -> watching.Snapshot:
        """Chunk by chunk in one transaction, on a connection that the lanes can spare."""
        chunks: list[bytes] = []
        async with self._db.read(tenant_uuid, snapshot=True) as session:
            head = await store.head(session, location)
            if head is None:
                raise errors.NotFound("location")
            async for levels in store.levels(session, tenant_uuid, location, keys):
                if levels or not chunks:
                    chunks += _chunks(key, levels)
                    await asyncio.sleep(0)  # a chunk takes some milliseconds; others have their turn in between
            async for composed in bundles.page_of_location(session, tenant_uuid, location, keys):
                chunks += _chunks(key, composed)
                await asyncio.sleep(0)
        return watching.Snapshot(watching.Position(head.epoch, head.seq), chunks)


async def _small(
    connection: pipeline.LaneConnection, tenant: str, location: uuid.UUID, keys: Sequence[str] | None
) -> tuple[store.Head, list[values.Level], list[BundleLevel]] | None:
    """Position, levels and bundles of a location, in one moment: two statements that found the same position.

    None when there are many of either, or the location never stands still for so long.
    """
    for _ in range(SMALL_TRIES):
        found = await store.small(connection, tenant, location, keys)
        if found is None or not found[0].bundles:
            return None if found is None else (*found, [])
        composed = await bundles.of_location(connection, tenant, location, keys)
        if composed is None:
            return None
        if composed[0] == (found[0].epoch, found[0].seq):
            return (*found, composed[1])
    return None


def _chunks(key: str, levels: Sequence[mapping.AnyLevel]) -> list[bytes]:
    return frames.chunk_payloads([mapping.any_level(key, level) for level in levels])


def _changes(data: bytes) -> tuple[watching.Change, ...]:
    return tuple(
        watching.Change(
            change.seq,
            tuple((values.fold(level.sku), frames.change_payload(change.seq, level)) for level in change.levels),
        )
        for change in events_pb.StockChanged.FromString(data).changes
    )
