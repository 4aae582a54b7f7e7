"""The audit log as managers read it (ListAuditEntries). What opens values that are sealed is the service's."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from services.kit import clock, database, errors, events, ids, paging, validation
from services.kit import principal as principals
from services.kit.audit import entries, store
from tillmesh.common.v1 import audit_pb2


class Opener(Protocol):
    """Opens what is sealed in entries."""

    async def open(
        self, tenant: str, rows: Sequence[tuple[entries.Row, entries.Values]]
    ) -> Mapping[uuid.UUID, entries.Values]:
        """Changes of those entries that have sealed values, by their id; None for a value whose key is gone.

        tenant: uuid text. The look is noted before this returns.
        """
        ...


class Reading:
    """Reads of one service's audit log."""

    def __init__(self, db: database.Database, opener: Opener | None = None) -> None:
        self._db = db
        self._opener = opener

    async def list(
        self, caller: principals.Principal, request: audit_pb2.ListAuditEntriesRequest
    ) -> audit_pb2.ListAuditEntriesResponse:
        """A page, the newest first. LocationScope, InvalidPageToken."""
        caller.require_location("*")
        tenant, size = events.tenant_uuid(caller.tenant_id), paging.page_size(request.page_size)
        async with self._db.read(tenant) as session:
            found = await store.page(session, _query(tenant, request, size + 1))
        rows = [(row, json.loads(row.changes)) for row, _ in found[:size]]
        sealed = [(row, values) for row, values in rows if any(map(_is_sealed, values.values()))]
        opened: Mapping[uuid.UUID, entries.Values] = {}
        if sealed and self._opener is not None:
            opened = await self._opener.open(tenant, sealed)
        response = audit_pb2.ListAuditEntriesResponse()
        for (row, values), (_, pending) in zip(rows, found, strict=False):
            response.entries.append(_to_proto(row, values, opened.get(row.id, {}), pending=pending))
        if len(found) > size:
            last = rows[-1][0]
            response.next_page_token = paging.next_token(tenant, request, [last.recorded_at.isoformat(), str(last.id)])
        return response


def _query(tenant: str, request: audit_pb2.ListAuditEntriesRequest, limit: int) -> store.Query:
    keep = request.filter
    return store.Query(
        resource=keep.resource,
        resource_id=keep.resource_id,
        actor=keep.actor,
        from_at=validation.instant(keep, "recorded_from"),
        until_at=validation.instant(keep, "recorded_until"),
        after=_after(tenant, request),
        limit=limit,
    )


def _after(tenant: str, request: audit_pb2.ListAuditEntriesRequest) -> tuple[dt.datetime, uuid.UUID] | None:
    start = paging.start(tenant, request, (str, str))
    try:
        return None if start is None else (dt.datetime.fromisoformat(str(start[0])), uuid.UUID(str(start[1])))
    except ValueError:
        raise errors.InvalidPageToken from None


def _is_sealed(values: Mapping[str, Any]) -> bool:
    return any(entries.is_sealed(value) for value in values.values())


_SIDES: Final = ("before", "after")


def _to_proto(
    row: entries.Row, values: entries.Values, opened: entries.Values, *, pending: bool
) -> audit_pb2.AuditEntry:
    message = audit_pb2.AuditEntry(
        id=ids.encode(entries.PREFIX, row.id),
        recorded_at=clock.timestamp(row.recorded_at),
        actor=row.actor,
        service=row.service,
        method=row.method,
        action=row.action,
        resource=row.resource,
        resource_id=row.resource_id,
        request_id=row.request_id,
        traceparent=row.traceparent,
        sealed=not pending,
    )
    for field, of in values.items():
        shown = opened.get(field, dict.fromkeys(_SIDES)) if _is_sealed(of) else of
        before, after = ("" if shown[side] is None else entries.canonical(shown[side]) for side in _SIDES)
        gone = _is_sealed(of) and all(shown[side] is None for side in _SIDES)
        message.changes.add(field=field, before=before, after=after, unreadable=gone)
    return message
