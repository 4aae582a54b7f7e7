"""Where a consumer stands in a key, and what that means for an event. The rule is pure; the cursor is one row.

The cursor row of (tenant, consumer, key) is locked in the transaction of the effect and moved in it, so an effect and
its position are committed together or not at all. Lanes use the same rule and LANE_LOCK / LANE_ADVANCE.

A newer epoch means: the owner was restored from a backup, and its positions went on from an earlier one. An event of a
newer epoch is AHEAD whatever its position, because only the owner knows where the epoch begins; the replay asks it,
moves the cursor there (`adopt`) and goes on. An event of an older epoch never happened as far as the owner is
concerned.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database
from tillmesh.common.v1 import event_pb2

LOCK = sa.text("""
SELECT epoch, seq FROM inbox_cursor
WHERE tenant_id = current_setting('app.tenant_id')::uuid AND consumer = :consumer AND key = :key FOR UPDATE
""")
INSERT = sa.text("""
INSERT INTO inbox_cursor (tenant_id, consumer, key, epoch, seq)
VALUES (current_setting('app.tenant_id')::uuid, :consumer, :key, 0, 0) ON CONFLICT DO NOTHING
""")
ADVANCE = sa.text("""
UPDATE inbox_cursor SET epoch = :epoch, seq = :seq, updated_at = clock_timestamp()
WHERE tenant_id = current_setting('app.tenant_id')::uuid AND consumer = :consumer AND key = :key
""")
# Never backwards: an event that was applied meanwhile has moved it further.
ADOPT = sa.text("""
INSERT INTO inbox_cursor (tenant_id, consumer, key, epoch, seq)
VALUES (current_setting('app.tenant_id')::uuid, :consumer, :key, :epoch, :seq)
ON CONFLICT (tenant_id, consumer, key) DO UPDATE
SET epoch = excluded.epoch, seq = excluded.seq, updated_at = clock_timestamp()
WHERE (inbox_cursor.epoch, inbox_cursor.seq) < (excluded.epoch, excluded.seq)
""")
# The only way back: for a projection that was wiped.
REWIND = sa.text("""
UPDATE inbox_cursor SET epoch = CASE WHEN :seq = 0 THEN 0 ELSE epoch END, seq = :seq, updated_at = clock_timestamp()
WHERE tenant_id = current_setting('app.tenant_id')::uuid AND consumer = :consumer AND key = :key AND seq > :seq
""")
READ = sa.text("""
SELECT w.ordinal, c.epoch, c.seq
FROM unnest(CAST(:tenants AS uuid[]), CAST(:keys AS text[])) WITH ORDINALITY AS w (tenant_id, key, ordinal)
JOIN inbox_cursor c ON c.tenant_id = w.tenant_id AND c.consumer = :consumer AND c.key = w.key
""")

# For a raw psycopg lane. LANE_LOCK first inserts, so that two processes that meet a new key meet at its row.
LANE_LOCK: Final = """
INSERT INTO inbox_cursor (tenant_id, consumer, key, epoch, seq)
VALUES (current_setting('app.tenant_id')::uuid, %(consumer)s, %(key)s, 0, 0)
ON CONFLICT (tenant_id, consumer, key) DO UPDATE SET seq = inbox_cursor.seq RETURNING epoch, seq
"""
LANE_ADVANCE: Final = """
UPDATE inbox_cursor SET epoch = %(epoch)s, seq = %(seq)s, updated_at = clock_timestamp()
WHERE tenant_id = current_setting('app.tenant_id')::uuid AND consumer = %(consumer)s AND key = %(key)s
"""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """The last event of a key that was applied: its epoch and seq_to. (0, 0): none yet."""

    epoch: int = 0
    seq: int = 0


START: Final = Position()


class Decision(enum.Enum):
    """What to do with an event."""

    APPLY = "apply"
    ALREADY = "already"
    AHEAD = "ahead"


class Misaligned(Exception):
    """The event begins at or below the cursor and ends above it: its owner cut the positions anew."""


def of(envelope: event_pb2.EventEnvelope) -> Position:
    """Where a consumer stands once it has applied the event."""
    return Position(envelope.epoch, envelope.seq_to)


def decide(cursor: Position, envelope: event_pb2.EventEnvelope) -> Decision:
    """The rule: at or below the cursor ALREADY, right after it APPLY, else AHEAD. Misaligned: a defect of the owner."""
    if cursor == START:  # of this key nothing is known, not even the epoch
        return Decision.APPLY if envelope.seq_from == 1 else Decision.AHEAD
    if envelope.epoch != cursor.epoch:
        return Decision.ALREADY if envelope.epoch < cursor.epoch else Decision.AHEAD
    if envelope.seq_to <= cursor.seq:
        return Decision.ALREADY
    if envelope.seq_from <= cursor.seq:
        raise Misaligned
    return Decision.APPLY if envelope.seq_from == cursor.seq + 1 else Decision.AHEAD


async def lock(session: database.WriteSession, consumer: str, key: str) -> Position:
    """Locks the cursor of a key until the transaction ends, and reads it."""
    given = {"consumer": consumer, "key": key}
    found = (await session.execute(LOCK, given)).one_or_none()
    if found is None:
        await session.execute(INSERT, given)
        found = (await session.execute(LOCK, given)).one()
    return Position(found.epoch, found.seq)


async def advance(session: database.WriteSession, consumer: str, envelope: event_pb2.EventEnvelope) -> None:
    """Moves a locked cursor past the event."""
    given = {"consumer": consumer, "key": envelope.key, "epoch": envelope.epoch, "seq": envelope.seq_to}
    await session.execute(ADVANCE, given)


async def adopt(session: database.WriteSession, consumer: str, key: str, position: Position) -> None:
    """Moves a cursor to where the owner says that a newer epoch, or what is still kept, begins."""
    given = {"consumer": consumer, "key": key, "epoch": position.epoch, "seq": position.seq}
    await session.execute(ADOPT, given)


async def rewind(session: database.WriteSession, consumer: str, key: str, seq: int) -> None:
    """Moves a cursor back to a position of its epoch; 0: to the beginning, whatever the epoch."""
    await session.execute(REWIND, {"consumer": consumer, "key": key, "seq": seq})


async def read(session: sa_asyncio.AsyncConnection, consumer: str, keys: Sequence[tuple[str, str]]) -> list[Position]:
    """The positions of (tenant uuid text, key), in the same order; START where there is no cursor."""
    positions = [START] * len(keys)
    given = {"consumer": consumer, "tenants": [tenant for tenant, _ in keys], "keys": [key for _, key in keys]}
    for ordinal, epoch, seq in await session.execute(READ, given):
        positions[ordinal - 1] = Position(epoch, seq)
    return positions
