"""tillmesh.common.v1.EventsService for any service, from its outbox: what JetStream lost is read again here.

Only other services may call it (the contract's access rule), so it reads all tenants, as the worker.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import sqlalchemy as sa
from google.protobuf import timestamp_pb2

from services.kit import clock, database, errors, events, outbox, paging
from services.kit.inbox import owners
from tillmesh.common.v1 import event_pb2, events_service_pb2, events_service_pb2_grpc

#: The generated code of the service doesn't import this, and without it nobody finds the access rules of its methods.
SERVICE: Final = events_service_pb2.DESCRIPTOR.services_by_name["EventsService"].full_name
HEADS_DEFAULT: Final = 1000
EVENTS_DEFAULT: Final = 100
RECENT: Final = dt.timedelta(minutes=15)
NOW = sa.text("SELECT clock_timestamp()")
# A short stretch of time: its rows are read by recorded_at, and grouped.
RECENT_HEADS = sa.text("""
WITH recent AS MATERIALIZED (SELECT tenant_id, key, epoch, seq_to FROM outbox WHERE recorded_at > :after)
SELECT DISTINCT ON (tenant_id, key) tenant_id, key, epoch, seq_to FROM recent
WHERE (tenant_id, key) > (CAST(:tenant AS uuid), :key) ORDER BY tenant_id, key, seq_to DESC LIMIT :limit
""")
# All that is kept: hops from key to key over the primary key, since a busy key alone may have a million rows.
ALL_HEADS = sa.text("""
WITH RECURSIVE hop AS (
    (SELECT tenant_id, key FROM outbox WHERE (tenant_id, key) > (CAST(:tenant AS uuid), :key)
     ORDER BY tenant_id, key LIMIT 1)
    UNION ALL
    SELECT n.tenant_id, n.key FROM hop CROSS JOIN LATERAL (
        SELECT tenant_id, key FROM outbox WHERE (tenant_id, key) > (hop.tenant_id, hop.key)
        ORDER BY tenant_id, key LIMIT 1) n
)
SELECT hop.tenant_id, hop.key, h.epoch, h.seq_to FROM hop CROSS JOIN LATERAL (
    SELECT epoch, seq_to, recorded_at FROM outbox o WHERE o.tenant_id = hop.tenant_id AND o.key = hop.key
    ORDER BY seq_to DESC LIMIT 1) h
WHERE CAST(:after AS timestamptz) IS NULL OR h.recorded_at > :after LIMIT :limit
""")
FIRST_TENANT: Final = "00000000-0000-0000-0000-000000000000"


class EventsServicer(events_service_pb2_grpc.EventsServiceServicer):
    """Reads of a service's outbox."""

    def __init__(self, db: database.Database) -> None:
        self._database = db

    async def ListEventHeads(
        self,
        request: event_pb2.ListEventHeadsRequest,
        context: Any,
    ) -> event_pb2.ListEventHeadsResponse:
        """The newest position of each key."""
        size = request.page_size or HEADS_DEFAULT
        tenant, key, read_at_micros = paging.start("", request, (str, str, int)) or (FIRST_TENANT, "", None)
        after = request.recorded_after.ToDatetime(clock.UTC) if request.HasField("recorded_after") else None
        async with self._database.worker() as session:
            now = (await session.execute(NOW)).scalar_one()
            recent = after is not None and now - after < RECENT
            given = {"after": after, "tenant": tenant, "key": key, "limit": size}
            rows = (await session.execute(RECENT_HEADS if recent else ALL_HEADS, given)).all()
        response = event_pb2.ListEventHeadsResponse()
        # The first page's moment holds for all: what is recorded while we page belongs to the next comparison.
        response.read_at.CopyFrom(_stamp(now, read_at_micros))
        for row in rows:
            response.heads.add(
                tenant_id=events.tenant_text(row.tenant_id), key=row.key, epoch=row.epoch, seq=row.seq_to
            )
        if len(rows) == size:
            last = [str(rows[-1].tenant_id), rows[-1].key, response.read_at.ToMicroseconds()]
            response.next_page_token = paging.next_token("", request, last)
        return response

    async def ReadEvents(
        self,
        request: event_pb2.ReadEventsRequest,
        context: Any,
    ) -> event_pb2.ReadEventsResponse:
        """The events of one key after a position; RESYNC_REQUIRED when some of them are no longer kept."""
        try:
            tenant = events.tenant_uuid(request.tenant_id)
        except ValueError:
            violation = errors.FieldViolation("tenant_id", "not an id of a tenant")
            raise errors.InvalidRequest(violations=[violation]) from None
        limit = request.limit or EVENTS_DEFAULT
        async with self._database.worker() as session:
            rows = await outbox.read_after(session, tenant, request.key, request.after_seq, limit)
        if rows and rows[0].seq_from > request.after_seq + 1:
            oldest = {owners.OLDEST_EPOCH: str(rows[0].epoch), owners.OLDEST_SEQ: str(rows[0].seq_from - 1)}
            raise errors.ResyncRequired("events after this position are no longer kept", metadata=oldest)
        return event_pb2.ReadEventsResponse(events=[events.envelope(row) for row in rows])


def _stamp(now: dt.datetime, micros: Any) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    if micros is None:
        stamp.FromDatetime(now)
    else:
        stamp.FromMicroseconds(micros)
    return stamp
