"""SQL that reads stock, reservations, the ledger and exceptions. What writes stock is in lane.py."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import levels as values
from services.inventory.domain.bundles import BundleLevel
from services.inventory.store import bundles, lane, lot_rows
from services.inventory.tables import stock as tables
from services.kit import binary, database, pipeline

LEVEL = tables.stock_level.c
NOW = sa.func.clock_timestamp()
# A volatile function can't bound an index scan: all buckets of a SKU, or of all SKUs, would be read to find a few.
NOW_ONCE = sa.select(NOW).scalar_subquery()

# One statement for all reads that wait: a level each, with what has run out by the database's clock added back.
_READ = """
SELECT q.n, l.sku_key, l.sku, l.on_hand, l.reserved - coalesce(b.due, 0), l.allocated, l.damaged, {unsellable}, l.in_transit,
       l.safety_stock, l.backorder_limit, l.incoming, l.version, l.observed_at, l.updated_at, l.low_stock_threshold,
       l.rearm_threshold, l.alert, l.has_lots
FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY q (location_id, sku_key, n)
JOIN stock_level l ON l.tenant_id = $1 AND l.location_id = q.location_id AND l.sku_key = q.sku_key
LEFT JOIN LATERAL (SELECT sum(quantity)::bigint AS due FROM hold_bucket
    WHERE tenant_id = l.tenant_id AND location_id = l.location_id AND sku_key = l.sku_key AND expires_at <= (SELECT clock_timestamp())
) b ON true
"""
READ = pipeline.Statement(_READ.format(unsellable="l.quality_control, l.expired"))
# Levels that turn out to have lots are asked for again, with lots whose time is over taken off: to be ready for lots costs
# every read of others a tenth of its time.
READ_WITH_LOTS = pipeline.Statement(
    _READ.format(unsellable="l.quality_control + e.recalled, l.expired + e.expired")
    + f"CROSS JOIN LATERAL ({lot_rows.retiring('l')}) e"
)
# What is missing above: a SKU that the location never had reads as zeros, unless catalogue or location don't know it.
KNOWN = pipeline.Statement("""
SELECT q.n, v.sku, EXISTS (SELECT FROM location x WHERE x.tenant_id = $1 AND x.id = q.location_id),
       EXISTS (SELECT FROM bundle_part p WHERE p.tenant_id = $1 AND p.bundle_key = q.sku_key)
FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY q (location_id, sku_key, n)
LEFT JOIN variant v ON v.tenant_id = $1 AND v.sku_key = q.sku_key
""")


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a level can't be read."""

    location_known: bool


Answer = values.Level | BundleLevel | Missing


async def read_levels(
    connection: pipeline.LaneConnection, tenant: str, wanted: Sequence[tuple[uuid.UUID, str]]
) -> list[Answer]:
    """Levels of (location, folded SKU), in order; one round trip unless some are not there, or are bundles."""
    owner = uuid.UUID(tenant).bytes
    (found,) = await connection.ask(tenant, (READ, (owner, *_pairs(wanted))))
    levels: list[Answer | None] = [None] * len(wanted)
    for row in found:
        levels[row[0] - 1] = lane.level_of(row[1:])
    with_lots = [n for n, level in enumerate(levels) if isinstance(level, values.Level) and level.has_lots]
    if with_lots:
        (found,) = await connection.ask(tenant, (READ_WITH_LOTS, (owner, *_pairs([wanted[n] for n in with_lots]))))
        for row in found:
            levels[with_lots[row[0] - 1]] = lane.level_of(row[1:])
    missing = [n for n, level in enumerate(levels) if level is None]
    if missing:
        (known,) = await connection.ask(tenant, (KNOWN, (owner, *_pairs([wanted[n] for n in missing]))))
        composed = []
        for row in known:
            n = missing[row[0] - 1]
            levels[n] = values.Level(row[1]) if row[1] is not None and row[2] else Missing(row[2])
            if row[2] and row[3]:
                composed.append(n)
        if composed:
            read = await bundles.read(connection, tenant, [wanted[n] for n in composed])
            for at, level in read.items():
                levels[composed[at]] = level
    return levels  # type: ignore[return-value]  # each is filled by now


def _pairs(wanted: Sequence[tuple[uuid.UUID, str]]) -> tuple[bytes, bytes]:
    return binary.uuids([w[0] for w in wanted]), binary.texts([w[1] for w in wanted])


def _due() -> sa.ScalarSelect[int]:
    bucket = tables.hold_bucket.c
    return (
        sa.select(sa.func.coalesce(sa.cast(sa.func.sum(bucket.quantity), sa.BigInteger), 0))
        .where(
            bucket.tenant_id == LEVEL.tenant_id,
            bucket.location_id == LEVEL.location_id,
            bucket.sku_key == LEVEL.sku_key,
            bucket.expires_at <= NOW_ONCE,
        )
        .scalar_subquery()
    )


_RETIRING = (
    sa.text(lot_rows.retiring("stock_level"))
    .columns(sa.column("recalled", sa.BigInteger), sa.column("expired", sa.BigInteger))
    .lateral("e")
)
_LEVELS = tables.stock_level.join(_RETIRING, sa.true())


def _levels() -> sa.Select[Any]:
    live, retiring = (LEVEL.reserved - _due()).label("live"), _RETIRING.c
    return sa.select(
        LEVEL.sku_key, LEVEL.sku, LEVEL.on_hand, live, LEVEL.allocated, LEVEL.damaged,
        LEVEL.quality_control + retiring.recalled, LEVEL.expired + retiring.expired, LEVEL.in_transit, LEVEL.safety_stock,
        LEVEL.backorder_limit, LEVEL.incoming, LEVEL.version, LEVEL.observed_at, LEVEL.updated_at, LEVEL.low_stock_threshold,
        LEVEL.rearm_threshold, LEVEL.alert, LEVEL.has_lots, LEVEL.location_id,
        LEVEL.available,
    ).select_from(_LEVELS)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placed:
    """A level and where it is; sort_available is what it was sorted by."""

    location: uuid.UUID
    level: values.Level | BundleLevel
    sort_available: int


def _placed(rows: Sequence[Any]) -> list[Placed]:
    return [Placed(row.location_id, lane.level_of(row[:19]), row.available) for row in rows]


def levels_page(
    location: uuid.UUID, *, prefix: str, at_most: int | None, at_least: int | None, order_by: str,
    after: Sequence[Any] | None, limit: int,
) -> sa.Select[Any]:  # fmt: skip
    """The statement of list_levels."""
    query = _levels().where(LEVEL.location_id == location)
    if prefix:
        query = query.where(LEVEL.sku_key >= prefix, LEVEL.sku_key < prefix + "\x7f")
    if at_most is not None:
        query = query.where(LEVEL.available <= at_most)
    if at_least is not None:
        query = query.where(LEVEL.available >= at_least)
    columns = [LEVEL.available, LEVEL.sku_key] if order_by.startswith("available") else [LEVEL.sku_key]
    descending = order_by.endswith(" desc")
    if after is not None:
        position = sa.tuple_(*[sa.literal(part) for part in after[-len(columns) :]])
        row = sa.tuple_(*columns)
        query = query.where(row < position if descending else row > position)
    return query.order_by(*[column.desc() if descending else column.asc() for column in columns]).limit(limit)


async def list_levels(session: database.ReadSession, location: uuid.UUID, **page: Any) -> list[Placed]:
    """Levels of a location (levels_page). after: the last row's (available, folded SKU)."""
    return _placed((await session.execute(levels_page(location, **page))).all())


async def list_alerts(
    session: database.ReadSession, location: uuid.UUID, *, kind: int, after: Sequence[Any] | None, limit: int
) -> list[values.Level]:
    """Levels of a location that have an alert, by it and the folded SKU. kind 0: any. after: the last row's."""
    # As text, not a parameter: only so is it known to be the condition of the index.
    query = _levels().where(LEVEL.location_id == location, sa.text("stock_level.alert > 0"))
    if kind:
        query = query.where(LEVEL.alert == kind)
    if after is not None:
        query = query.where(sa.tuple_(LEVEL.alert, LEVEL.sku_key) > sa.tuple_(*[sa.literal(part) for part in after]))
    rows = (await session.execute(query.order_by(LEVEL.alert, LEVEL.sku_key).limit(limit))).all()
    return [lane.level_of(row) for row in rows]


async def list_sku(
    session: database.ReadSession, key: str, locations: Sequence[uuid.UUID] | None, after: uuid.UUID | None, limit: int
) -> list[Placed]:
    """Levels of a folded SKU by location; locations None: all. Of a bundle, where there is any part of it."""
    if await bundles.is_bundle(session, key):
        found = await bundles.by_location(session, key, locations, after, limit)
        return [Placed(location, level, level.available) for location, level in found.items()]
    query = _of_sku(_levels(), key, locations)
    if after is not None:
        query = query.where(LEVEL.location_id > after)
    return _placed((await session.execute(query.order_by(LEVEL.location_id).limit(limit))).all())


async def sum_sku(session: database.ReadSession, key: str, locations: Sequence[uuid.UUID] | None) -> tuple[int, ...]:
    """on_hand, reserved, allocated, unsellable, available (each location's at least 0), in transit, number of locations."""
    if await bundles.is_bundle(session, key):
        available, count = await bundles.sum_locations(session, key, locations)
        return 0, 0, 0, 0, available, 0, count
    due, put_aside = _due(), _RETIRING.c.recalled + _RETIRING.c.expired
    columns = [
        LEVEL.on_hand,
        LEVEL.reserved - due,
        LEVEL.allocated,
        LEVEL.damaged + LEVEL.quality_control + LEVEL.expired + put_aside,
        sa.func.greatest(LEVEL.available + due - put_aside, 0),
        LEVEL.in_transit,
    ]
    sums = [sa.func.coalesce(sa.cast(sa.func.sum(column), sa.BigInteger), 0) for column in columns]
    query = _of_sku(sa.select(*sums, sa.func.count()).select_from(_LEVELS), key, locations)
    return tuple((await session.execute(query)).one())


def _of_sku(query: Any, key: str, locations: Sequence[uuid.UUID] | None) -> Any:
    query = query.where(LEVEL.sku_key == key)
    if locations is None:
        return query
    return query.where(LEVEL.location_id == sa.any_(sa.literal(list(locations), pg.ARRAY(pg.UUID))))


async def variant_sku(session: database.ReadSession, key: str) -> str | None:
    """How the catalogue spells a folded SKU."""
    query = sa.text("SELECT sku FROM variant WHERE sku_key = :key")  # the policy adds the tenant
    return (await session.execute(query, {"key": key})).scalar_one_or_none()


async def location_exists(session: database.ReadSession, location: uuid.UUID) -> bool:
    """Whether the tenant has the location."""
    head = tables.stock_head.c
    query = sa.select(sa.literal(1)).where(head.location_id == location)
    return (await session.execute(query)).scalar_one_or_none() is not None


# --- reservations ---


@dataclass(frozen=True, slots=True)
class PlacedHold:
    """A reservation: its part at each location, and the database's clock when it was read."""

    parts: tuple[tuple[uuid.UUID, values.Hold], ...]
    now: dt.datetime

    @property
    def id(self) -> uuid.UUID:
        """Of the reservation."""
        return self.parts[0][1].id


def _holds(rows: Sequence[Any]) -> list[PlacedHold]:
    """Rows of whole reservations, each one's together, in the order of their lines."""
    by_id: dict[uuid.UUID, dict[uuid.UUID, list[Any]]] = {}
    for row in rows:
        by_id.setdefault(row.id, {}).setdefault(row.location_id, []).append(row)
    return [
        PlacedHold(tuple((location, _hold(lines)) for location, lines in places.items()), rows[0].now)
        for places in by_id.values()
    ]


def _hold(rows: Sequence[Any]) -> values.Hold:
    first = rows[0]
    lines = tuple(
        values.HoldLine(values.fold(row.sku), row.sku, row.quantity, row.line, row.lot) for row in rows if row.quantity
    )
    return values.Hold(
        first.id, lines, values.HoldState(first.state), first.expires_at, first.order_ref, first.created_at,
        first.created_seq,
    )  # fmt: skip


async def find_hold(session: database.ReadSession, hold_id: uuid.UUID) -> PlacedHold | None:
    """A reservation, unlocked: its locations never change, nor do SKUs come to it; its state may, and its units be fewer."""
    hold = tables.hold.c
    query = sa.select(tables.hold, NOW.label("now")).where(hold.id == hold_id).order_by(hold.line, hold.lot)
    return next(iter(_holds((await session.execute(query)).all())), None)


async def list_holds(
    session: database.ReadSession, location: uuid.UUID, *, state: int, order_ref: str, sku: str, after: uuid.UUID | None,
    limit: int,
) -> list[PlacedHold]:  # fmt: skip
    """Reservations of a location, newest first. state by the clock: 0 any."""
    hold = tables.hold.c
    ids = sa.select(hold.id).distinct().where(hold.location_id == location)
    if state in (values.HoldState.ACTIVE, values.HoldState.EXPIRED):
        live = hold.expires_at > NOW
        ids = ids.where(hold.state == values.HoldState.ACTIVE, live if state == values.HoldState.ACTIVE else ~live)
    elif state:
        ids = ids.where(hold.state == state)
    if order_ref:
        ids = ids.where(hold.order_ref == order_ref)
    if sku:
        ids = ids.where(sa.func.lower(hold.sku) == values.fold(sku), hold.quantity > 0)
    if after is not None:
        ids = ids.where(hold.id < after)
    page = ids.order_by(hold.id.desc()).limit(limit).subquery()
    query = (
        sa.select(tables.hold, NOW.label("now"))
        .join(page, page.c.id == hold.id)
        .order_by(hold.id.desc(), hold.line, hold.lot)
    )
    return _holds((await session.execute(query)).all())


# --- ledger and exceptions ---


@dataclass(frozen=True, slots=True)
class MovementFilter:
    """What to keep of the ledger; None or empty: all."""

    sku: str = ""
    reason: int = 0
    recorded_from: dt.datetime | None = None
    recorded_until: dt.datetime | None = None
    reference_id: str = ""


async def list_movements(
    session: database.ReadSession, location: uuid.UUID, keep: MovementFilter, after: Sequence[Any] | None, limit: int
) -> Sequence[Any]:
    """Rows of the ledger, newest first. after: (seq, line) of the last row."""
    row = tables.ledger.c
    query = sa.select(tables.ledger).where(row.location_id == location)
    if keep.sku:
        query = query.where(sa.func.lower(row.sku) == values.fold(keep.sku))
    if keep.reason:
        query = query.where(row.reason == keep.reason)
    if keep.recorded_from:
        query = query.where(row.recorded_at >= keep.recorded_from)
    if keep.recorded_until:
        query = query.where(row.recorded_at < keep.recorded_until)
    if keep.reference_id:
        query = query.where(row.ref_id == keep.reference_id)
    if after is not None:
        query = query.where(sa.tuple_(row.seq, row.line) < sa.tuple_(*[sa.literal(part) for part in after]))
    return (await session.execute(query.order_by(row.seq.desc(), row.line.desc()).limit(limit))).all()


async def list_exceptions(
    session: database.ReadSession, location: uuid.UUID, *, resolved: bool, after: uuid.UUID | None, limit: int
) -> Sequence[Any]:
    """Exceptions of a location, newest first."""
    row = tables.stock_exception.c
    query = sa.select(tables.stock_exception).where(row.location_id == location)
    if not resolved:
        query = query.where(row.resolved_at.is_(None))
    if after is not None:
        query = query.where(row.id < after)
    return (await session.execute(query.order_by(row.id.desc()).limit(limit))).all()


async def resolve_exception(
    session: database.WriteSession, location: uuid.UUID, exception: uuid.UUID, resolution: str
) -> Any | None:
    """Notes what was done; the first note stays. None when there is no such exception."""
    row = tables.stock_exception.c
    here = sa.and_(row.location_id == location, row.id == exception)
    values_ = {"resolved_at": NOW, "resolution": resolution}
    await session.execute(sa.update(tables.stock_exception).where(here, row.resolved_at.is_(None)).values(values_))
    return (await session.execute(sa.select(tables.stock_exception).where(here))).one_or_none()


async def applied_position(session: database.ReadSession, consumer: str, key: str) -> int:
    """How far a consumer has come with a key; 0: not at all."""
    query = sa.text("SELECT seq FROM inbox_cursor WHERE consumer = :consumer AND key = :key")
    return (await session.execute(query, {"consumer": consumer, "key": key})).scalar_one_or_none() or 0


# --- expiry ---

DUE = sa.text("""
SELECT tenant_id, location_id, array_agg(DISTINCT sku_key) AS keys FROM (
    (SELECT tenant_id, location_id, sku_key FROM hold_bucket WHERE expires_at <= (SELECT clock_timestamp())
     ORDER BY expires_at LIMIT :limit)
    UNION ALL
    (SELECT tenant_id, location_id, sku_key FROM stock_lot
     WHERE free > 0 AND sell_until IS NOT NULL AND sell_until <= (SELECT clock_timestamp()) ORDER BY sell_until LIMIT :limit)
    UNION ALL
    (SELECT tenant_id, location_id, sku_key FROM stock_lot WHERE free > 0 AND recalled_at IS NOT NULL ORDER BY recalled_at
     LIMIT :limit)
) due GROUP BY tenant_id, location_id
""")


async def due(session: database.WorkerSession, limit: int) -> Sequence[Any]:
    """Where holds have run out, or lots may not be sold any more, that no batch has come by. Over all tenants.

    tenant_id, location_id, keys; at most limit of each kind.
    """
    return (await session.execute(DUE, {"limit": limit})).all()
