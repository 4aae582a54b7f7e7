"""The relay's SQL: unpublished rows, marks, leases, and how far behind it is. Worker sessions, all tenants."""

from __future__ import annotations

import collections
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from services.kit import database, events, pipeline

# Rows by shard, a bounded number and amount of bytes of each, so that one shard's backlog starves no other.
# Order relied on: within a key, recorded_at and seq_to rise together (outbox.py says why), so the oldest rows of a
# shard hold each key's first unpublished event before its later ones. seq_to decides between equal moments of one
# statement. A row of another key that commits late (its recorded_at lies before others' commits) is found as well,
# because nothing here remembers a cursor.
FETCH = pipeline.Named(f"""
SELECT {events.COLUMNS} FROM unnest(%(shards)s::bigint[]) AS s (wanted)
CROSS JOIN LATERAL (
    SELECT o.*, sum(octet_length(o.data)) OVER (ORDER BY o.recorded_at, o.seq_to) - octet_length(o.data) AS bytes_before
    FROM (SELECT * FROM outbox WHERE outbox.shard = s.wanted::smallint AND published_at IS NULL
          ORDER BY recorded_at, seq_to LIMIT %(per_shard)s::bigint) o
) n WHERE bytes_before < %(bytes_max)s::bigint ORDER BY shard, recorded_at, seq_to
""")
BYTES_PER_SHARD_MAX: Final = 2_000_000

# Fenced: a relay that lost the shard no longer marks anything. Each row is looked up by itself, in its partition alone.
MARK = pipeline.Named("""
UPDATE outbox o SET published_at = clock_timestamp()
FROM unnest(%(tenants)s::uuid[], %(keys)s::text[], %(seqs)s::bigint[], %(moments)s::timestamptz[], %(shards)s::bigint[],
            %(fences)s::bigint[]) AS m (tenant_id, key, seq_to, recorded_at, shard, fence)
JOIN relay_lease l ON l.shard = m.shard::smallint AND l.fence = m.fence AND l.holder = %(holder)s::text
WHERE o.tenant_id = m.tenant_id AND o.key = m.key AND o.seq_to = m.seq_to AND o.recorded_at = m.recorded_at
  AND o.shard = m.shard::smallint AND o.published_at IS NULL
""")

BACKLOG = sa.text("""
SELECT (SELECT count(*) FROM (
           SELECT FROM outbox WHERE published_at IS NULL AND shard = ANY (CAST(:shards AS smallint[]))
           LIMIT :count_max) c),
       extract(epoch FROM clock_timestamp() - (
           SELECT min(f.recorded_at) FROM unnest(CAST(:shards AS smallint[])) AS s (wanted) CROSS JOIN LATERAL (
               SELECT recorded_at FROM outbox WHERE outbox.shard = s.wanted AND published_at IS NULL
               ORDER BY recorded_at LIMIT 1) f))
""")
BACKLOG_COUNT_MAX: Final = 100_000

JOIN = sa.text("""
INSERT INTO relay_member (holder, expires_at) VALUES (:holder, clock_timestamp() + CAST(:ttl AS interval))
ON CONFLICT (holder) DO UPDATE SET expires_at = excluded.expires_at
""")
FORGET = sa.text("DELETE FROM relay_member WHERE expires_at < clock_timestamp() - interval '1 hour'")
LEAVE = sa.text("DELETE FROM relay_member WHERE holder = :holder")
MEMBERS = sa.text("SELECT count(*) FROM relay_member WHERE expires_at > clock_timestamp()")
# By holder and not by what is left of the time: as long as nobody else has taken a shard, it is still ours.
RENEW = sa.text("""
UPDATE relay_lease SET expires_at = clock_timestamp() + CAST(:ttl AS interval) WHERE holder = :holder
RETURNING shard, fence
""")
CLAIM = sa.text("""
UPDATE relay_lease l SET holder = :holder, fence = l.fence + 1, expires_at = clock_timestamp() + CAST(:ttl AS interval)
FROM (SELECT shard FROM relay_lease WHERE expires_at < clock_timestamp() AND holder <> :holder
      ORDER BY random() LIMIT :count FOR UPDATE SKIP LOCKED) free
WHERE l.shard = free.shard RETURNING l.shard, l.fence
""")
RELEASE = sa.text("""
UPDATE relay_lease SET holder = '', expires_at = '-infinity'
WHERE holder = :holder AND shard = ANY (CAST(:shards AS smallint[]))
""")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in some shards: rows (at most BACKLOG_COUNT_MAX), and the age of the oldest in seconds."""

    unpublished: int
    lag_seconds: float


class Store:
    """The statements, each in a transaction of its own."""

    def __init__(self, db: database.Database, holder: str) -> None:
        self._database = db
        self._holder = holder

    async def fetch(self, shards: Sequence[int], per_shard: int) -> Mapping[int, list[events.Row]]:
        """The oldest unpublished rows of each shard that has any, at most per_shard."""
        found: collections.defaultdict[int, list[events.Row]] = collections.defaultdict(list)
        bounds = {"shards": shards, "per_shard": per_shard, "bytes_max": BYTES_PER_SHARD_MAX}
        async with self._database.worker_connection() as connection:
            (rows,) = await connection.ask("", FETCH.bind(bounds))
        for row in map(events.row, rows):
            found[row.shard].append(row)
        return found

    async def mark(self, rows: Sequence[tuple[events.Row, int]]) -> None:
        """Marks rows published. Each comes with the fence under which it was."""
        parameters = {
            "holder": self._holder,
            "tenants": [row.tenant_id for row, _ in rows],
            "keys": [row.key for row, _ in rows],
            "seqs": [row.seq_to for row, _ in rows],
            "moments": [row.recorded_at for row, _ in rows],
            "shards": [row.shard for row, _ in rows],
            "fences": [fence for _, fence in rows],
        }
        async with self._database.worker_connection() as connection:
            await connection.ask("", MARK.bind(parameters))

    async def backlog(self, shards: Sequence[int]) -> Backlog:
        """How far behind the shards are."""
        async with self._database.worker() as session:
            given = {"shards": list(shards), "count_max": BACKLOG_COUNT_MAX}
            count, lag = (await session.execute(BACKLOG, given)).one()
        return Backlog(count, float(lag or 0))

    async def renew(self, ttl_seconds: float) -> tuple[dict[int, int], int]:
        """Says that this relay lives and keeps what it holds. Returns (fence by shard, number of living relays)."""
        given = {"holder": self._holder, "ttl": dt.timedelta(seconds=ttl_seconds)}
        async with self._database.worker() as session:
            await session.execute(JOIN, given)
            members = (await session.execute(MEMBERS)).scalar_one()
            fences = {row.shard: row.fence for row in await session.execute(RENEW, given)}
        return fences, members

    async def claim(self, count: int, ttl_seconds: float) -> dict[int, int]:
        """Takes up to count shards that nobody holds. Returns fence by shard."""
        given = {"holder": self._holder, "ttl": dt.timedelta(seconds=ttl_seconds), "count": count}
        async with self._database.worker() as session:
            await session.execute(FORGET)
            return {row.shard: row.fence for row in await session.execute(CLAIM, given)}

    async def release(self, shards: Sequence[int], *, leave: bool = False) -> None:
        """Gives shards back at once. leave: this relay goes away."""
        async with self._database.worker() as session:
            await session.execute(RELEASE, {"holder": self._holder, "shards": list(shards)})
            if leave:
                await session.execute(LEAVE, {"holder": self._holder})
