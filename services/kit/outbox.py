"""The outbox: events are written in the transaction that makes them true, and read again by relay and consumers.

Kept 7 days by partition. `append` serves use cases; LANE_INSERT is for lanes that put the row into a statement of their
own. After the commit the writer calls `pings.Pings.send`. Publishing belongs to `relay`.

Order: the owner of a key (a location's head row, an aggregate) is locked before the key's positions are taken, so
positions are gap-free and rise in commit order, and recorded_at, read from clock_timestamp() after that lock, rises
with them. No id or sequence of the table itself means anything.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database, events, subjects

APPEND = sa.text(f"""
INSERT INTO outbox ({events.COLUMNS})
SELECT current_setting('app.tenant_id')::uuid, n.key, n.seq_from, n.seq_to, n.epoch, n.id, n.shard, n.type,
       n.occurred_at, coalesce(CAST(:recorded_at AS timestamptz), (SELECT clock_timestamp())),
       n.traceparent, n.causation_id, n.data
FROM unnest(CAST(:keys AS text[]), CAST(:seq_froms AS bigint[]), CAST(:seq_tos AS bigint[]), CAST(:epochs AS bigint[]),
            CAST(:ids AS uuid[]), CAST(:shards AS bigint[]), CAST(:types AS text[]), CAST(:occurred AS timestamptz[]),
            CAST(:traceparents AS text[]), CAST(:causations AS text[]), CAST(:datas AS bytea[]))
     AS n (key, seq_from, seq_to, epoch, id, shard, type, occurred_at, traceparent, causation_id, data)
""")

# For a lane, as one WITH query of its pipeline.Named statement or by itself; parameters from lane_parameters().
LANE_INSERT: Final = f"""
INSERT INTO outbox ({events.COLUMNS})
SELECT current_setting('app.tenant_id')::uuid, e.key, e.seq_from, e.seq_to, e.epoch, e.id, e.shard, e.type,
       e.occurred_at, %(outbox_recorded_at)s::timestamptz, e.traceparent, e.causation_id, e.data
FROM unnest(%(outbox_keys)s::text[], %(outbox_seq_froms)s::bigint[], %(outbox_seq_tos)s::bigint[],
            %(outbox_epochs)s::bigint[], %(outbox_ids)s::uuid[], %(outbox_shards)s::bigint[], %(outbox_types)s::text[],
            %(outbox_occurred)s::timestamptz[], %(outbox_traceparents)s::text[], %(outbox_causations)s::text[],
            %(outbox_datas)s::bytea[])
     AS e (key, seq_from, seq_to, epoch, id, shard, type, occurred_at, traceparent, causation_id, data)
"""

# The bytes are bounded in the statement: a page of large events would not fit in memory or in an answer. The first
# event is always returned, else a large one could never be read.
READ_AFTER = sa.text(f"""
SELECT {events.COLUMNS} FROM (
    SELECT o.*, sum(octet_length(o.data)) OVER (ORDER BY o.seq_to) - octet_length(o.data) AS bytes_before
    FROM (SELECT * FROM outbox WHERE tenant_id = CAST(:tenant AS uuid) AND key = :key AND seq_to > :after_seq
          ORDER BY seq_to LIMIT :limit) o
) p WHERE bytes_before < :bytes_max ORDER BY seq_to
""")
OLDEST = sa.text(f"""
SELECT {events.COLUMNS} FROM outbox WHERE tenant_id = CAST(:tenant AS uuid) AND key = :key ORDER BY seq_to LIMIT 1
""")
READ_BYTES_MAX: Final = 1_000_000


async def append(
    session: database.WriteSession, new: Sequence[events.Event], *, recorded_at: dt.datetime | None = None
) -> None:
    """Writes events in the session's transaction, for the session's tenant. Last before the commit, after all locks.

    recorded_at: what a statement after the key's lock gave as clock_timestamp(); None: the moment of this statement.
    ValueError when an event is too large to travel.
    """
    if not new:
        return
    await session.execute(APPEND, {"recorded_at": recorded_at, **_columns(new)})


def lane_parameters(new: Sequence[events.Event], recorded_at: dt.datetime) -> dict[str, Any]:
    """Parameters of LANE_INSERT. recorded_at: clock_timestamp() of a statement after the lane's locks.

    ValueError when an event is too large to travel.
    """
    columns = {f"outbox_{name}": values for name, values in _columns(new).items()}
    return {"outbox_recorded_at": recorded_at, **columns}


def _columns(new: Sequence[events.Event]) -> dict[str, list[Any]]:
    return {
        "keys": [event.key for event in new],
        "seq_froms": [event.seq_from for event in new],
        "seq_tos": [event.seq_to for event in new],
        "epochs": [event.epoch for event in new],
        "ids": [event.id for event in new],
        "shards": [subjects.shard(event.key) for event in new],
        "types": [event.type for event in new],
        "occurred": [event.occurred_at for event in new],
        "traceparents": [event.traceparent for event in new],
        "causations": [event.causation_id for event in new],
        "datas": [event.serialised() for event in new],
    }


async def read_after(
    session: sa_asyncio.AsyncConnection, tenant: str, key: str, after_seq: int, limit: int
) -> list[events.Row]:
    """The events of a key whose seq_to is greater, in order; fewer than limit if they are large. tenant: uuid text."""
    parameters = {"tenant": tenant, "key": key, "after_seq": after_seq, "limit": limit, "bytes_max": READ_BYTES_MAX}
    return [events.row(found) for found in await session.execute(READ_AFTER, parameters)]


async def oldest(session: sa_asyncio.AsyncConnection, tenant: str, key: str) -> events.Row | None:
    """The first event of a key that is still kept."""
    found = (await session.execute(OLDEST, {"tenant": tenant, "key": key})).one_or_none()
    return None if found is None else events.row(found)
