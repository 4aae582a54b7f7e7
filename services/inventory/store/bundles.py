"""SQL that reads bundles: what lanes know of them, and what locations have of them.

A bundle has no level: what is to be had of it follows from those of its parts, read in one statement. What defines
bundles is in bundle_definitions.py.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from services.inventory.domain import levels as values
from services.inventory.domain.bundles import Bundle, BundleLevel, Component, PartLevel
from services.inventory.store import lot_rows
from services.kit import binary, database, pipeline

# What changed in a tenant's bundles after a version: SKU, version, and the parts, none of what is plain again.
CHANGED = pipeline.Statement("""
SELECT v.sku, b.version, p.skus, p.quantities
FROM bundle b JOIN variant v ON v.tenant_id = b.tenant_id AND v.sku_key = b.sku_key
LEFT JOIN LATERAL (
    SELECT array_agg(sku ORDER BY sku_key) AS skus, array_agg(quantity ORDER BY sku_key) AS quantities
    FROM bundle_part WHERE tenant_id = b.tenant_id AND bundle_key = b.sku_key
) p ON true
WHERE b.tenant_id = $1 AND b.version > $2
""")
# What lanes tell beside what they lock: as the location's events have told it.
BESIDE = pipeline.Statement("""
SELECT x.location_id, x.sku_key, x.available, x.version, x.updated_at
FROM unnest($2::uuid[], $3::text[]) q (location_id, sku_key)
JOIN stock_level x ON x.tenant_id = $1 AND x.location_id = q.location_id AND x.sku_key = q.sku_key
""")

# A part of a bundle at a location, with what has run out added back, and lots whose time is over taken off. p, of
# bundle_part, and place are there already.
_PART: Final = """
LEFT JOIN stock_level l ON l.tenant_id = p.tenant_id AND l.location_id = {place} AND l.sku_key = p.sku_key
LEFT JOIN LATERAL (SELECT sum(quantity)::bigint AS due FROM hold_bucket
    WHERE l.reserved > 0 AND tenant_id = l.tenant_id AND location_id = l.location_id AND sku_key = l.sku_key
      AND expires_at <= (SELECT clock_timestamp())
) d ON true
LEFT JOIN LATERAL ({retiring}) e ON true
"""
_UNITS: Final = "coalesce(l.available + coalesce(d.due, 0) - e.recalled - e.expired, 0)"
_COLUMNS: Final = f"""p.quantity, {_UNITS} AS available,
    coalesce(l.version, 0) AS version, l.updated_at, l.incoming"""
READ = pipeline.Statement(f"""
SELECT q.n, v.sku, b.version, {_COLUMNS}
FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY q (location_id, sku_key, n)
JOIN bundle b ON b.tenant_id = $1 AND b.sku_key = q.sku_key
JOIN variant v ON v.tenant_id = b.tenant_id AND v.sku_key = b.sku_key
JOIN bundle_part p ON p.tenant_id = b.tenant_id AND p.bundle_key = b.sku_key
{_PART.format(place="q.location_id", retiring=lot_rows.retiring("l"))}
ORDER BY q.n
""")
# Where there is anything of a bundle, and there all of its parts.
_PLACES: Final = """
SELECT DISTINCT x.location_id FROM bundle_part y
JOIN stock_level x ON x.tenant_id = y.tenant_id AND x.sku_key = y.sku_key
WHERE y.bundle_key = :key AND (CAST(:within AS uuid[]) IS NULL OR x.location_id = ANY (CAST(:within AS uuid[])))
"""
BY_LOCATION = sa.text(f"""
SELECT o.location_id, v.sku, b.version AS defined, {_COLUMNS}
FROM ({_PLACES} AND (CAST(:after AS uuid) IS NULL OR x.location_id > CAST(:after AS uuid))
    ORDER BY x.location_id LIMIT :limit) o
CROSS JOIN bundle_part p JOIN bundle b ON b.tenant_id = p.tenant_id AND b.sku_key = p.bundle_key
JOIN variant v ON v.tenant_id = p.tenant_id AND v.sku_key = p.bundle_key
{_PART.format(place="o.location_id", retiring=lot_rows.retiring("l"))}
WHERE p.bundle_key = :key ORDER BY o.location_id
""")
# Division rounds towards zero here, which is the same below it: at least 0 is answered.
UNITS: Final = "greatest(min(({available}) / p.quantity), 0)::bigint"
SUM = sa.text(f"""
SELECT coalesce(sum(units), 0)::bigint AS available, count(*) AS locations FROM (
    SELECT {UNITS.format(available=_UNITS)} AS units
    FROM ({_PLACES}) o CROSS JOIN bundle_part p {_PART.format(place="o.location_id", retiring=lot_rows.retiring("l"))}
    WHERE p.bundle_key = :key GROUP BY o.location_id
) u
""")
IS_BUNDLE = sa.text("SELECT EXISTS (SELECT FROM bundle_part WHERE bundle_key = :key)")
LISTED_MAX: Final = 500
"""Bundles a statement of a snapshot reads."""
# All parts of the bundles of which a location has anything, and the position as of which that is so. keys NULL: of all.
_OF_LOCATION: Final = f"""
SELECT p.bundle_key, v.sku, b.version AS defined, {_COLUMNS}
FROM (
    SELECT DISTINCT y.bundle_key FROM bundle_part y
    JOIN stock_level x ON x.tenant_id = y.tenant_id AND x.location_id = {{location}} AND x.sku_key = y.sku_key
    WHERE y.tenant_id = {{tenant}} AND ({{keys}} IS NULL OR y.bundle_key = ANY ({{keys}})) AND y.bundle_key > {{after}}
    ORDER BY y.bundle_key LIMIT {{limit}}
) o JOIN bundle_part p ON p.tenant_id = {{tenant}} AND p.bundle_key = o.bundle_key
JOIN bundle b ON b.tenant_id = p.tenant_id AND b.sku_key = p.bundle_key
JOIN variant v ON v.tenant_id = p.tenant_id AND v.sku_key = p.bundle_key
{_PART.format(place="{location}", retiring=lot_rows.retiring("l"))}
ORDER BY p.bundle_key
"""


OF_LOCATION = pipeline.Statement(f"""
SELECT h.epoch, h.seq, o.* FROM stock_head h LEFT JOIN LATERAL (
    {_OF_LOCATION.format(tenant="h.tenant_id", location="h.location_id", keys="$3::text[]", after="''", limit=LISTED_MAX + 1)}
) o ON true
WHERE h.tenant_id = $1 AND h.location_id = $2
""")
PAGE_OF_LOCATION = sa.text(
    _OF_LOCATION.format(
        tenant="CAST(:tenant AS uuid)",
        location=":location",
        keys="CAST(:keys AS text[])",
        after=":after",
        limit=":limit",
    )
)


def definitions(rows: Sequence[Sequence[Any]]) -> list[Bundle]:
    """Rows of CHANGED."""
    return [
        Bundle(sku, tuple(Component(*each) for each in zip(skus or (), quantities or (), strict=True)), version)
        for sku, version, skus, quantities in rows
    ]


def beside(rows: Sequence[Sequence[Any]]) -> dict[str, PartLevel]:
    """Rows of BESIDE of one location, by folded SKU."""
    return {key: PartLevel(1, available, version, updated_at) for _, key, available, version, updated_at in rows}


async def read(
    connection: pipeline.LaneConnection, tenant: str, wanted: Sequence[tuple[uuid.UUID, str]]
) -> dict[int, BundleLevel]:
    """What locations have of bundles (folded SKUs), by position in wanted; those that aren't bundles are left out."""
    pairs = binary.uuids([w[0] for w in wanted]), binary.texts([w[1] for w in wanted])
    (rows,) = await connection.ask(tenant, (READ, (uuid.UUID(tenant).bytes, *pairs)))
    return {n - 1: level for n, level in _levels(rows).items()}


def _levels(rows: Sequence[Sequence[Any]]) -> dict[Any, BundleLevel]:
    """Rows (what it is of, SKU, version of the definition, a part) by the first column, in order."""
    found: dict[Any, tuple[str, int, list[PartLevel]]] = {}
    for what, sku, defined, *part in rows:
        found.setdefault(what, (sku, defined, []))[2].append(_part(*part))
    return {what: BundleLevel(sku, defined, tuple(parts)) for what, (sku, defined, parts) in found.items()}


def _part(quantity: int, available: int, version: int, updated_at: dt.datetime | None, incoming: Any) -> PartLevel:
    expected = tuple(
        values.Incoming(each["quantity"], dt.datetime.fromisoformat(each["eta"]), each["reference"])
        for each in incoming or ()
    )
    return PartLevel(quantity, available, version, updated_at, expected)


async def of_location(
    connection: pipeline.LaneConnection, tenant: str, location: uuid.UUID, keys: Sequence[str] | None
) -> tuple[tuple[int, int], list[BundleLevel]] | None:
    """(epoch, seq) of a location and the bundles of which it ever had a part, by folded SKU, in one moment.

    None when there is no such location, or more than 500 of them. keys: only these folded SKUs; None: all.
    """
    given = (uuid.UUID(tenant).bytes, location.bytes, None if keys is None else binary.texts(keys))
    (rows,) = await connection.ask(tenant, (OF_LOCATION, given))
    found = _levels([row[2:] for row in rows if row[2] is not None])
    return None if not rows or len(found) > LISTED_MAX else (rows[0][:2], list(found.values()))


async def page_of_location(
    session: database.ReadSession, tenant: str, location: uuid.UUID, keys: Sequence[str] | None
) -> AsyncIterator[list[BundleLevel]]:
    """The same in chunks of at most 500, in the moment that the session's transaction sees."""
    after = ""
    while True:
        given = {"tenant": tenant, "location": location, "keys": keys, "after": after, "limit": LISTED_MAX}
        found = _levels((await session.execute(PAGE_OF_LOCATION, given)).all())
        if found:
            yield list(found.values())
        if len(found) < LISTED_MAX:
            return
        after = list(found)[-1]


async def is_bundle(session: database.ReadSession, key: str) -> bool:
    """Whether a folded SKU is a bundle."""
    return bool((await session.execute(IS_BUNDLE, {"key": key})).scalar_one())


async def by_location(
    session: database.ReadSession, key: str, within: Sequence[uuid.UUID] | None, after: uuid.UUID | None, limit: int
) -> Mapping[uuid.UUID, BundleLevel]:
    """What locations have of a bundle (folded SKU), by id, where any part ever was. within: only there; None: everywhere."""
    given = {"key": key, "within": None if within is None else list(within), "after": after, "limit": limit}
    return _levels((await session.execute(BY_LOCATION, given)).all())


async def sum_locations(session: database.ReadSession, key: str, within: Sequence[uuid.UUID] | None) -> tuple[int, int]:
    """How many of a bundle are available, over all locations, and the number of those."""
    row = (await session.execute(SUM, {"key": key, "within": None if within is None else list(within)})).one()
    return row.available, row.locations
