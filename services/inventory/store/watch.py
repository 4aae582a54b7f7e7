"""SQL of watching stock: positions of locations, the tail of changes from the outbox, and snapshots of levels.

The tail is read from the outbox rather than from the ledger: its rows hold the level of each SKU as of each command, so
a frame needs no reconstruction, and one read serves all streams of a location. One round trip a read.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from services.inventory.domain import levels as values
from services.inventory.store import lane, lot_rows
from services.inventory.tables import stock as tables
from services.kit import binary, database, pipeline

ROWS_MAX = 64
BYTES_MAX = 1_000_000
CHUNK_LEVELS = 500
"""Levels a statement of a snapshot reads: what the loop can turn into a frame without holding up others."""

HEADS = pipeline.Statement(
    "SELECT location_id, epoch, seq FROM stock_head WHERE tenant_id = $1 AND location_id = ANY ($2::uuid[])"
)
# The bytes are bounded in the statement; the first row is always returned, else a large one could never be read.
TAIL = pipeline.Statement(f"""
SELECT seq_to, epoch, recorded_at, data FROM (
    SELECT o.*, sum(octet_length(o.data)) OVER (ORDER BY o.seq_to) - octet_length(o.data) AS bytes_before
    FROM (SELECT seq_to, epoch, recorded_at, data FROM outbox WHERE tenant_id = $1 AND key = $2 AND seq_to > $3
          ORDER BY seq_to LIMIT {ROWS_MAX + 1}) o
) p WHERE bytes_before < {BYTES_MAX} ORDER BY seq_to
""")
# What has run out by the database's clock is added back, and lots that are over are taken off, for a chunk in one go.
_CHUNK = (
    """
SELECT l.sku_key, l.sku, l.on_hand, l.reserved - coalesce(b.due, 0) AS reserved, l.allocated, l.damaged,
       l.quality_control + e.recalled, l.expired + e.expired, l.in_transit, l.safety_stock, l.backorder_limit, l.incoming,
       l.version, l.observed_at, l.updated_at, l.low_stock_threshold, l.rearm_threshold, l.alert, l.has_lots
FROM (
    SELECT * FROM stock_level
    WHERE tenant_id = {tenant} AND location_id = {location} AND sku_key > {after}
      AND ({keys}::text[] IS NULL OR sku_key = ANY ({keys}::text[]))
    ORDER BY sku_key LIMIT {limit}
) l LEFT JOIN LATERAL (
    SELECT sum(quantity)::bigint AS due FROM hold_bucket
    WHERE l.reserved > 0 AND tenant_id = l.tenant_id AND location_id = l.location_id AND sku_key = l.sku_key
      AND expires_at <= statement_timestamp()
) b ON true
CROSS JOIN LATERAL ("""
    + lot_rows.retiring("l")
    + """) e
ORDER BY l.sku_key
"""
)
_FIRST = _CHUNK.format(tenant="h.tenant_id", location="h.location_id", after="''", keys="$3", limit=CHUNK_LEVELS + 1)
# A small location in one statement, which sees one moment: most are, and a thousand may be asked for at once.
SMALL = pipeline.Statement(f"""
SELECT h.epoch, h.seq, h.bundles, c.* FROM stock_head h LEFT JOIN LATERAL ({_FIRST}) c ON true
WHERE h.tenant_id = $1 AND h.location_id = $2 ORDER BY c.sku_key
""")
LEVELS = sa.text(
    _CHUNK.format(
        tenant="CAST(:tenant AS uuid)", location=":location", after=":after", keys=":keys", limit=CHUNK_LEVELS
    ).replace(":keys::text[]", "CAST(:keys AS text[])")
)


class Head(NamedTuple):
    """How far a location's ledger has come. bundles: version of the bundles in force; 0: the tenant has none."""

    location: uuid.UUID
    epoch: int
    seq: int
    bundles: int = 0


async def heads(connection: pipeline.LaneConnection, tenant: str, locations: Sequence[uuid.UUID]) -> list[Head]:
    """Positions of locations; those that the tenant doesn't have are left out."""
    (rows,) = await connection.ask(tenant, (HEADS, (uuid.UUID(tenant).bytes, binary.uuids(locations))))
    return [Head(*row) for row in rows]


async def tail(
    connection: pipeline.LaneConnection, tenant: str, key: str, after: int
) -> tuple[list[tuple[Any, ...]], bool]:
    """Rows (seq_to, epoch, recorded_at, data) of the outbox after a position, in order; whether there are more."""
    parameters = (uuid.UUID(tenant).bytes, key.encode(), binary.number(after))
    (rows,) = await connection.ask(tenant, (TAIL, parameters))
    return rows[:ROWS_MAX], len(rows) > ROWS_MAX or sum(len(row[3]) for row in rows) >= BYTES_MAX


async def small(
    connection: pipeline.LaneConnection, tenant: str, location: uuid.UUID, keys: Sequence[str] | None
) -> tuple[Head, list[values.Level]] | None:
    """Position and levels of a location in one moment; None when there is no such location, or more than 500 levels.

    keys: folded SKUs; None: all.
    """
    parameters = (uuid.UUID(tenant).bytes, location.bytes, None if keys is None else binary.texts(keys))
    (rows,) = await connection.ask(tenant, (SMALL, parameters))
    if not rows or len(rows) > CHUNK_LEVELS:
        return None
    return Head(location, *rows[0][:3]), [lane.level_of(row[3:]) for row in rows if row[3] is not None]


async def head(session: database.ReadSession, location: uuid.UUID) -> Head | None:
    """Position of a location, in the moment that the session's transaction sees."""
    at = tables.stock_head.c
    query = sa.select(at.epoch, at.seq, at.bundles).where(at.location_id == location)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else Head(location, *row)


async def levels(
    session: database.ReadSession, tenant: str, location: uuid.UUID, keys: Sequence[str] | None
) -> AsyncIterator[list[values.Level]]:
    """Levels of a location by folded SKU, in chunks of at most 500. keys None: all. The last chunk may be empty."""
    after = ""
    while True:
        parameters = {"tenant": tenant, "location": location, "after": after, "keys": keys, "limit": CHUNK_LEVELS}
        rows = (await session.execute(LEVELS, parameters)).all()
        yield [lane.level_of(row) for row in rows]
        if len(rows) < CHUNK_LEVELS:
            return
        after = rows[-1].sku_key
