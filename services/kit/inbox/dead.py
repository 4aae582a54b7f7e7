"""The dead letter table: events that were given up, whole, until they are replayed. Worker sessions, all tenants."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from services.kit import database, events
from tillmesh.common.v1 import event_pb2

ERROR_LENGTH_MAX: Final = 200
PUT = sa.text("""
INSERT INTO dead_letter (tenant_id, consumer, key, seq_from, seq_to, event_id, envelope, error, attempts)
VALUES (CAST(:tenant AS uuid), :consumer, :key, :seq_from, :seq_to, :event_id, :envelope, :error, :attempts)
ON CONFLICT (tenant_id, consumer, key, seq_from) DO UPDATE
SET seq_to = excluded.seq_to, event_id = excluded.event_id, envelope = excluded.envelope, error = excluded.error,
    attempts = dead_letter.attempts + excluded.attempts
""")
PARKED = sa.text("""
SELECT EXISTS (SELECT FROM dead_letter WHERE tenant_id = CAST(:tenant AS uuid) AND consumer = :consumer AND key = :key)
""")


async def put(
    db: database.Database, consumer: str, envelope: event_pb2.EventEnvelope, *, error: str, attempts: int
) -> None:
    """Sets an event aside. error: class of the last error, never data."""
    given = {
        "tenant": events.tenant_uuid(envelope.tenant_id),
        "consumer": consumer,
        "key": envelope.key,
        "seq_from": envelope.seq_from,
        "seq_to": envelope.seq_to,
        "event_id": envelope.id,
        "envelope": envelope.SerializeToString(),
        "error": error[:ERROR_LENGTH_MAX],
        "attempts": attempts,
    }
    async with db.worker() as session:
        await session.execute(PUT, given)


async def is_parked(db: database.Database, consumer: str, tenant_id: str, key: str) -> bool:
    """Whether an event of the key was set aside, so that later ones wait for its replay."""
    given = {"tenant": events.tenant_uuid(tenant_id), "consumer": consumer, "key": key}
    async with db.worker() as session:
        return bool((await session.execute(PARKED, given)).scalar_one())
