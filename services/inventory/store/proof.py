"""SQL that holds stock against its ledger: what each number should be, added up by the database.

Reads of one location in one snapshot, so that nothing that happens meanwhile looks like a fault. Answers are only what
differs, and at most DIFFERENCES_MAX rows of a kind: memory stays small over any ledger.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from services.inventory.domain import levels as values
from services.kit import binary, database, pipeline

DIFFERENCES_MAX = 1000
STATEMENT_TIMEOUT = "30min"  # a ledger of years is added up in one statement, which locks nothing

# On hand is what came in from outside (1) or off the road (8), less what left for there.
_SUMS = ", ".join(
    f"coalesce(sum(quantity * ((to_state = {state:d})::int - (from_state = {state:d})::int)), 0)::bigint AS {name}"
    for name, state in zip(values.Counters._fields[1:], list(values.State)[2:], strict=True)
)
_MOVED = f"""
SELECT lower(sku) COLLATE "C" AS sku_key, {{and_by}}
    coalesce(sum(quantity * ((from_state IN (1, 8))::int - (to_state IN (1, 8))::int)), 0)::bigint AS on_hand, {_SUMS}
FROM ledger WHERE {{where}} GROUP BY {{by}}
"""
_BY_LOT = {"and_by": 'lot COLLATE "C" AS lot,', "by": "1, 2"}
_OF_LOT = " of lot "
_PAIRS = ", ".join(f"('{name}', coalesce(m.{name}, 0), coalesce(l.{name}, 0))" for name in values.Counters._fields)

LEVELS = f"""
SELECT coalesce(l.sku_key, m.sku_key), v.* FROM ({_MOVED.format(where="location_id = :location", and_by="", by="1")}) m
FULL JOIN (SELECT * FROM stock_level WHERE location_id = :location) l ON l.sku_key = m.sku_key
CROSS JOIN LATERAL (VALUES {_PAIRS}) v (what, expected, found)
WHERE v.expected <> v.found
"""
LOTS = f"""
SELECT coalesce(l.sku_key, m.sku_key), v.what || '{_OF_LOT}' || coalesce(l.lot, m.lot), v.expected, v.found
FROM ({_MOVED.format(where="location_id = :location AND lot <> ''", **_BY_LOT)}) m
FULL JOIN (SELECT * FROM stock_lot WHERE location_id = :location) l ON l.sku_key = m.sku_key AND l.lot = m.lot
CROSS JOIN LATERAL (VALUES {_PAIRS}) v (what, expected, found)
WHERE v.expected <> v.found
"""
LOTS_RESERVED = """
SELECT coalesce(l.sku_key, b.sku_key), 'reserved of lot ' || coalesce(l.lot, b.lot) || ', by the buckets',
       coalesce(b.quantity, 0), coalesce(l.reserved, 0)
FROM (SELECT sku_key, lot, sum(quantity)::bigint AS quantity FROM lot_bucket WHERE location_id = :location GROUP BY 1, 2) b
FULL JOIN (SELECT sku_key, lot, reserved FROM stock_lot WHERE location_id = :location) l
    ON l.sku_key = b.sku_key AND l.lot = b.lot
WHERE coalesce(b.quantity, 0) <> coalesce(l.reserved, 0)
"""
# A level that doesn't say that it has lots would be decided on as if it had none.
HAS_LOTS = """
SELECT sku_key, 'has lots', h.has::int, has_lots::int FROM stock_level l CROSS JOIN LATERAL (SELECT EXISTS (
    SELECT FROM stock_lot s WHERE s.tenant_id = l.tenant_id AND s.location_id = l.location_id AND s.sku_key = l.sku_key
) AS has) h WHERE location_id = :location AND h.has <> has_lots
"""
RESERVED = """
SELECT coalesce(l.sku_key, b.sku_key), 'reserved, by the buckets', coalesce(b.quantity, 0), coalesce(l.reserved, 0)
FROM (SELECT sku_key, sum(quantity)::bigint AS quantity FROM hold_bucket WHERE location_id = :location GROUP BY 1) b
FULL JOIN (SELECT sku_key, reserved FROM stock_level WHERE location_id = :location) l ON l.sku_key = b.sku_key
WHERE coalesce(b.quantity, 0) <> coalesce(l.reserved, 0)
"""
# A bucket that is gone although its holds still say ACTIVE was given back, as its time is over: the clock is read within
# the statement, so later than any lane whose commit the snapshot sees.
BUCKETS = """
WITH t AS MATERIALIZED (SELECT clock_timestamp() AS now), h AS (
    SELECT lower(sku) COLLATE "C" AS sku_key, expires_at, sum(quantity)::bigint AS quantity
    FROM hold WHERE location_id = :location AND state = 1 GROUP BY 1, 2
), b AS (SELECT sku_key, expires_at, quantity FROM hold_bucket WHERE location_id = :location)
SELECT coalesce(b.sku_key, h.sku_key), 'held until ' || coalesce(b.expires_at, h.expires_at), coalesce(h.quantity, 0),
       coalesce(b.quantity, 0)
FROM h FULL JOIN b ON b.sku_key = h.sku_key AND b.expires_at = h.expires_at CROSS JOIN t
WHERE coalesce(h.quantity, 0) <> coalesce(b.quantity, 0) AND (b.sku_key IS NOT NULL OR h.expires_at > t.now)
"""
# The outbox is kept for days: it covers every position from its oldest row to the head. The ledger has no line for a
# change of policy, so its positions have gaps, but never within a command.
OUTBOX = """
SELECT '', 'outbox, next position', seq, seq_from FROM (
    SELECT lag(seq_to) OVER (ORDER BY seq_to) + 1 AS seq, seq_from FROM outbox WHERE key = :key
) o WHERE seq <> seq_from
UNION ALL
SELECT '', 'outbox, last position', h.seq, coalesce(o.seq_to, 0)
FROM stock_head h CROSS JOIN (SELECT max(seq_to) AS seq_to FROM outbox WHERE key = :key) o
WHERE h.location_id = :location AND h.seq <> coalesce(o.seq_to, 0) AND (o.seq_to IS NOT NULL OR EXISTS (
    SELECT FROM ledger WHERE location_id = :location AND recorded_at > now() - interval '6 days'
))
"""
LINES = """
SELECT '', 'ledger, lines at position ' || seq, max(line), count(*)
FROM ledger WHERE location_id = :location GROUP BY seq HAVING max(line) <> count(*) OR count(DISTINCT line) <> count(*)
"""
AHEAD = """
SELECT '', 'ledger, last position', h.seq, l.seq FROM stock_head h
CROSS JOIN (SELECT max(seq) AS seq FROM ledger WHERE location_id = :location) l
WHERE h.location_id = :location AND l.seq > h.seq
"""
CHECKS = [sa.text(f"{check} ORDER BY 1, 2 LIMIT {DIFFERENCES_MAX}") for check in (
    LEVELS, LOTS, HAS_LOTS, RESERVED, LOTS_RESERVED, BUCKETS, OUTBOX, LINES, AHEAD,
)]  # fmt: skip
PATIENCE = sa.text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")

LOCATIONS = sa.text("""
SELECT tenant_id, location_id FROM stock_head
WHERE (CAST(:tenant AS uuid) IS NULL OR tenant_id = CAST(:tenant AS uuid))
  AND (CAST(:location AS uuid) IS NULL OR location_id = CAST(:location AS uuid))
ORDER BY tenant_id, location_id
""")
POSITION = sa.text("SELECT seq FROM stock_head WHERE location_id = :location")
MOVED = sa.text(_MOVED.format(where="location_id = :location AND lower(sku) = ANY (CAST(:keys AS text[]))", **_BY_LOT))
MOVED_SINCE = pipeline.Statement(
    _MOVED.format(where="tenant_id = $1 AND location_id = $2 AND seq > $3 AND lower(sku) = ANY ($4::text[])", **_BY_LOT)
)
Moved = dict[tuple[str, str], values.Counters]
"""What moved, by folded SKU and lot; the lot is empty for units of none."""


class Difference(NamedTuple):
    """A number that isn't what the rest says. sku: folded; empty for positions."""

    sku: str
    what: str
    expected: int
    found: int

    @property
    def is_level(self) -> bool:
        """Whether setting the level, and its lots, to the ledger mends it."""
        return self.what.partition(_OF_LOT)[0] in values.Counters._fields and not self.what.endswith("by the buckets")


async def locations(session: database.WorkerSession, tenant: str | None, location: uuid.UUID | None) -> Sequence[Any]:
    """tenant_id, location_id of all locations, of a tenant's (uuid text), or of one."""
    return (await session.execute(LOCATIONS, {"tenant": tenant, "location": location})).all()


async def differences(session: database.ReadSession, location: uuid.UUID, key: str) -> list[Difference]:
    """What doesn't add up at a location (key: its TypeID). The session must be a snapshot."""
    await session.execute(PATIENCE)
    given = {"location": location, "key": key}
    return [Difference(*row) for check in CHECKS for row in await session.execute(check, given)]


async def moved(session: database.ReadSession, location: uuid.UUID, keys: Sequence[str]) -> tuple[int, Moved]:
    """A position, and what the ledger says of folded SKUs up to it. The session must be a snapshot."""
    await session.execute(PATIENCE)
    seq = (await session.execute(POSITION, {"location": location})).scalar_one()
    rows = await session.execute(MOVED, {"location": location, "keys": list(keys)})
    return seq, {(row[0], row[1]): values.Counters(*row[2:]) for row in rows}


async def moved_since(
    connection: pipeline.LaneConnection, tenant: str, location: uuid.UUID, seq: int, keys: Sequence[str]
) -> Moved:
    """What the ledger says of folded SKUs after a position, within a lane's transaction."""
    given = (uuid.UUID(tenant).bytes, location.bytes, binary.number(seq), binary.texts(keys))
    (rows,) = await connection.proceed((MOVED_SINCE, given))
    return {(row[0], row[1]): values.Counters(*row[2:]) for row in rows}
