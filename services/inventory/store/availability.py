"""SQL that reads what is available of some SKUs at many locations: one statement, one moment, under the tenant's policy."""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from services.inventory.store import bundles, lot_rows
from services.kit import database

LOCATIONS_MAX: Final = 400  # what a caller may name; 20,000 cells are a second of an edge's patience in JSON
_ID_BYTES: Final = 16
_NUMBER_BYTES: Final = 8

# What has run out of a level, and what is to come of it; x is the level. The clock is read once, so that only buckets that
# have run out are looked at, and those only of a SKU that somebody holds: to find none for each of a thousand levels took
# most of the time.
_DUE: Final = """CASE WHEN x.reserved > 0 THEN (SELECT coalesce(sum(b.quantity)::bigint, 0) FROM hold_bucket b
    WHERE b.location_id = x.location_id AND b.sku_key = x.sku_key AND b.expires_at <= (SELECT clock_timestamp())) ELSE 0 END"""
_COMING: Final = """CASE WHEN CAST(:at AS timestamptz) IS NULL THEN 0 ELSE (
    SELECT coalesce(sum(CAST(d ->> 'quantity' AS bigint))::bigint, 0) FROM jsonb_array_elements(x.incoming) d
    WHERE CAST(d ->> 'eta' AS timestamptz) <= CAST(:at AS timestamptz)) END"""
# What of a level is of lots that may not be sold any more; of one without lots nothing is looked up.
_RETIRING: Final = (
    f"CASE WHEN x.has_lots THEN (SELECT e.recalled + e.expired FROM ({lot_rows.retiring('x')}) e) ELSE 0 END"
)
_PLACED: Final = "x.location_id = ANY (ARRAY(SELECT id FROM place))"
_UNITS: Final = bundles.UNITS.replace("p.quantity", "y.quantity")
# A bundle has no level: where there are all of its parts it has what they come to. OFFSET keeps the planner from adding
# up once a column.
_CELLS: Final = f"""
SELECT l.location_id, l.on_hand, l.available + l.due AS available, l.available + l.due + l.coming AS expected FROM (
    SELECT x.location_id, x.on_hand, x.available - {_RETIRING} AS available, {_DUE} AS due, {_COMING} AS coming
    FROM stock_level x WHERE x.sku_key = v.sku_key AND {_PLACED} OFFSET 0
) l
UNION ALL
SELECT y.location_id, 0, {_UNITS.format(available="y.available + y.due")},
       {_UNITS.format(available="y.available + y.due + y.coming")}
FROM (
    SELECT x.location_id, p.quantity, x.available - {_RETIRING} AS available, {_DUE} AS due, {_COMING} AS coming
    FROM bundle_part p JOIN stock_level x ON x.tenant_id = p.tenant_id AND x.sku_key = p.sku_key
    WHERE p.bundle_key = v.sku_key AND {_PLACED} OFFSET 0
) y
GROUP BY y.location_id HAVING count(*) = (SELECT count(*) FROM bundle_part WHERE bundle_key = v.sku_key)
"""
# The first row tells the columns, the others a SKU each: where it has levels, and their numbers. Ids and numbers come as
# bytes joined together: 20,000 cells as Python values of their own would take longer than the statement.
AVAILABILITY: Final = sa.text(f"""
WITH place AS MATERIALIZED (
    SELECT id FROM location
    WHERE (CAST(:within AS uuid[]) IS NULL OR id = ANY (CAST(:within AS uuid[])))
      AND (:kind = 0 OR type = :kind) AND (:capability = 0 OR CAST(:capability AS smallint) = ANY (capabilities))
      AND (:named OR NOT closed)
    ORDER BY id LIMIT :most
)
SELECT 0 AS n, NULL AS sku, (SELECT string_agg(uuid_send(id), '' ORDER BY id) FROM place) AS places,
       CASE WHEN :named THEN (SELECT count(*) FROM location WHERE id = ANY (CAST(:within AS uuid[]))) END AS known,
       CAST(NULL AS bytea) AS available, CAST(NULL AS bytea) AS on_hand, CAST(NULL AS bytea) AS expected
UNION ALL
SELECT q.n, v.sku, c.places, NULL, c.available, c.on_hand, c.expected
FROM unnest(CAST(:keys AS text[])) WITH ORDINALITY q (sku_key, n) JOIN variant v ON v.sku_key = q.sku_key
CROSS JOIN LATERAL (
    SELECT string_agg(uuid_send(l.location_id), '') AS places,
           string_agg(int8send(l.available), '') AS available,
           string_agg(int8send(l.on_hand), '') AS on_hand,
           CASE WHEN CAST(:at AS timestamptz) IS NOT NULL THEN string_agg(int8send(l.expected), '') END AS expected
    FROM ({_CELLS}) l
) c
ORDER BY n
""")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read. keys: folded SKUs. within: locations, None: all. named: the caller said which; kind, capability 0: any."""

    keys: Sequence[str]
    within: Sequence[uuid.UUID] | None
    named: bool
    kind: int
    capability: int
    at: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Cells:
    """A number for each column. total: of those above zero."""

    numbers: list[int]
    total: int


@dataclass(frozen=True, slots=True)
class Row:
    """A SKU as the catalogue spells it."""

    sku: str
    available: Cells
    on_hand: Cells
    expected: Cells


@dataclass(frozen=True, slots=True)
class Matrix:
    """locations: the columns, by id, up to one more than LOCATIONS_MAX. known: how many of those named there are.

    rows: by position in what was asked for; SKUs that the catalogue doesn't know are left out.
    """

    locations: list[bytes]
    known: int
    rows: dict[int, Row]


async def read_availability(session: database.ReadSession, wanted: Wanted) -> Matrix:
    """The matrix of SKUs and locations."""
    values = {
        "keys": list(wanted.keys),
        "within": None if wanted.within is None else list(wanted.within),
        "named": wanted.named,
        "kind": wanted.kind,
        "capability": wanted.capability,
        "at": wanted.at,
        "most": LOCATIONS_MAX + 1,
    }
    head, *found = (await session.execute(AVAILABILITY, values)).all()
    locations = _ids(head.places)
    columns = {location: column for column, location in enumerate(locations)}
    return Matrix(locations, head.known or 0, {row.n - 1: _row(row, columns) for row in found})


def _row(row: Any, columns: dict[bytes, int]) -> Row:
    places = [columns[location] for location in _ids(row.places)]
    numbers = [_spread(raw, places, len(columns)) for raw in (row.available, row.on_hand, row.expected)]
    return Row(row.sku, *numbers)


def _spread(raw: bytes | None, places: Sequence[int], width: int) -> Cells:
    numbers = [0] * width  # a SKU that the location never had reads as zero
    if raw is None:  # nowhere, or not asked for
        return Cells(numbers, 0)
    found = struct.unpack(f">{len(raw) // _NUMBER_BYTES}q", raw)
    for place, number in zip(places, found, strict=True):
        numbers[place] = number
    return Cells(numbers, sum(number for number in found if number > 0))


def _ids(raw: bytes | None) -> list[bytes]:
    return [(raw or b"")[start : start + _ID_BYTES] for start in range(0, len(raw or b""), _ID_BYTES)]
