"""SQL of the audit log. Tables and grants: schema.audit. Callers append and read; the rest is the worker's."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database, pipeline
from services.kit.audit import entries, seals

TENANT: Final = "current_setting('app.tenant_id')::uuid"
_GIVEN: Final = "actor, service, method, action, resource, resource_id, request_id, traceparent, changes"
_ROWS: Final = f"(id, {_GIVEN})"
_INSERTED: Final = f"recorded_at, {_GIVEN}"
# The moment is read once: the entry and what waits to be sealed have the same.
APPEND = sa.text(f"""
WITH new AS MATERIALIZED (
    SELECT {TENANT} AS tenant_id, clock_timestamp() AS recorded_at, n.*
    FROM unnest(CAST(:ids AS uuid[]), CAST(:actors AS text[]), CAST(:services AS text[]), CAST(:methods AS text[]),
        CAST(:actions AS text[]), CAST(:resources AS text[]), CAST(:resource_ids AS text[]),
        CAST(:request_ids AS text[]), CAST(:traceparents AS text[]), CAST(:changes AS text[])) n {_ROWS}
), kept AS (
    INSERT INTO audit_entry (tenant_id, id, {_INSERTED}) SELECT tenant_id, id, {_INSERTED} FROM new
)
INSERT INTO audit_pending (tenant_id, id, recorded_at) SELECT tenant_id, id, recorded_at FROM new
""")
# For a lane, as one more query of its last trip; parameters from lane_query().
LANE_APPEND = pipeline.Named(f"""
WITH kept AS (
    INSERT INTO audit_entry (tenant_id, id, {_INSERTED})
    SELECT %(tenant)s::uuid, n.id, %(recorded_at)s::timestamptz, n.actor, n.service, n.method, n.action, n.resource,
        n.resource_id, n.request_id, n.traceparent, n.changes
    FROM unnest(%(ids)s::uuid[], %(actors)s::text[], %(services)s::text[], %(methods)s::text[], %(actions)s::text[],
        %(resources)s::text[], %(resource_ids)s::text[], %(request_ids)s::text[], %(traceparents)s::text[],
        %(changes)s::text[]) n {_ROWS}
    RETURNING tenant_id, id, recorded_at
)
INSERT INTO audit_pending (tenant_id, id, recorded_at) SELECT tenant_id, id, recorded_at FROM kept
""")
PAGE = """
SELECT {columns}, EXISTS (SELECT FROM audit_pending p WHERE p.tenant_id = e.tenant_id AND p.id = e.id) AS pending
FROM audit_entry e
WHERE {conditions} ORDER BY recorded_at DESC, id DESC LIMIT :limit
"""

TAKE = sa.text("""
DELETE FROM audit_pending WHERE (tenant_id, id) IN (
    SELECT tenant_id, id FROM audit_pending ORDER BY recorded_at, id LIMIT :limit)
RETURNING tenant_id, id, recorded_at
""")
_ALIASED: Final = ", ".join(f"e.{name.strip()}" for name in entries.COLUMNS.split(","))
LOAD = sa.text(f"""
SELECT {_ALIASED} FROM unnest(CAST(:tenants AS uuid[]), CAST(:ids AS uuid[]), CAST(:times AS timestamptz[]))
    n (tenant_id, id, recorded_at)
JOIN audit_entry e ON e.tenant_id = n.tenant_id AND e.recorded_at = n.recorded_at AND e.id = n.id
""")
HEADS = sa.text("""
SELECT DISTINCT ON (tenant_id) tenant_id, seq, digest FROM audit_seal
WHERE CAST(:tenants AS uuid[]) IS NULL OR tenant_id = ANY(CAST(:tenants AS uuid[])) ORDER BY tenant_id, seq DESC
""")
_SEAL: Final = "tenant_id, seq, sealed_at, first_at, last_at, entries, hashes, digest, key_id, mac"
PUT = sa.text(f"""
INSERT INTO audit_seal ({_SEAL}) VALUES (:tenant_id, :seq, :sealed_at, :first_at, :last_at, CAST(:entries AS uuid[]),
    CAST(:hashes AS bytea), CAST(:digest AS bytea), :key_id, CAST(:mac AS bytea))
""")
SEALS = sa.text(f"SELECT {_SEAL} FROM audit_seal WHERE tenant_id = :tenant AND seq > :after ORDER BY seq LIMIT :limit")
OF_SEAL = sa.text(f"""
SELECT {entries.COLUMNS} FROM audit_entry
WHERE tenant_id = :tenant AND recorded_at BETWEEN :first_at AND :last_at AND id = ANY(CAST(:ids AS uuid[]))
""")
TENANTS = sa.text("SELECT tenant_id FROM audit_entry UNION SELECT tenant_id FROM audit_seal ORDER BY 1")
# Entries that no seal has: inserted past the service, or taken out of what waits. Younger ones may still be waiting.
UNSEALED = sa.text("""
SELECT e.id, e.recorded_at, p.id IS NOT NULL AS pending FROM audit_entry e
LEFT JOIN (SELECT unnest(entries) AS id FROM audit_seal WHERE tenant_id = :tenant) s ON s.id = e.id
LEFT JOIN audit_pending p ON p.tenant_id = e.tenant_id AND p.id = e.id
WHERE e.tenant_id = :tenant AND s.id IS NULL AND e.recorded_at < clock_timestamp() - CAST(:grace AS interval)
ORDER BY e.recorded_at, e.id LIMIT :limit
""")
TWICE = sa.text("""
(SELECT id, 'entries' AS of FROM audit_entry WHERE tenant_id = :tenant GROUP BY id HAVING count(*) > 1 LIMIT :limit)
UNION ALL
(SELECT id, 'seals' FROM (SELECT unnest(entries) AS id FROM audit_seal WHERE tenant_id = :tenant) s
 GROUP BY id HAVING count(*) > 1 LIMIT :limit)
""")
NOW = sa.text("SELECT clock_timestamp()")


class Pending(NamedTuple):
    """An entry that waits to be sealed."""

    tenant_id: uuid.UUID
    id: uuid.UUID
    recorded_at: dt.datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which entries; empty or None: any. after: (recorded_at, id) of the last one before; the newest come first."""

    resource: str = ""
    resource_id: str = ""
    actor: str = ""
    from_at: dt.datetime | None = None
    until_at: dt.datetime | None = None
    after: tuple[dt.datetime, uuid.UUID] | None = None
    limit: int


# --- callers ---


async def append(session: database.WriteSession, source: entries.Source, new: Sequence[entries.Entry]) -> None:
    """Writes entries in the session's transaction, for the session's tenant. ValueError when one is too large."""
    if new:
        await session.execute(APPEND, _columns([(source, entry) for entry in new]))


def lane_query(
    tenant: uuid.UUID, new: Sequence[tuple[entries.Source, entries.Entry]], recorded_at: dt.datetime
) -> pipeline.Query:
    """The same for a lane's last trip. recorded_at: clock_timestamp() after its locks."""
    return LANE_APPEND.bind({"tenant": tenant, "recorded_at": recorded_at, **_columns(new)})


def _columns(new: Sequence[tuple[entries.Source, entries.Entry]]) -> dict[str, list[Any]]:
    return {
        "ids": [entry.id for _, entry in new],
        "actors": [source.actor for source, _ in new],
        "services": [source.service for source, _ in new],
        "methods": [source.method for source, _ in new],
        "actions": [entry.action for _, entry in new],
        "resources": [entry.resource for _, entry in new],
        "resource_ids": [entry.resource_id for _, entry in new],
        "request_ids": [source.request_id for source, _ in new],
        "traceparents": [source.traceparent for source, _ in new],
        "changes": [entry.text() for _, entry in new],
    }


async def page(session: sa_asyncio.AsyncConnection, query: Query) -> list[tuple[entries.Row, bool]]:
    """Entries of the session's tenant, the newest first, and whether each still waits to be sealed."""
    conditions, given = _conditions(query)
    statement = sa.text(PAGE.format(columns=_ALIASED, conditions=" AND ".join(conditions)))
    rows = await session.execute(statement, {**given, "limit": query.limit})
    return [(entries.Row(*row[:-1]), row[-1]) for row in rows]


def _conditions(query: Query) -> tuple[list[str], dict[str, Any]]:
    wanted = {
        "resource = :resource": query.resource,
        "resource_id = :resource_id": query.resource_id,
        "actor = :actor": query.actor,
        "recorded_at >= :from_at": query.from_at,
        "recorded_at < :until_at": query.until_at,
    }
    conditions = [f"tenant_id = {TENANT}", *(text for text, value in wanted.items() if value)]
    given: dict[str, Any] = {text.rpartition(":")[2]: value for text, value in wanted.items() if value}
    if query.after is not None:
        conditions.append("(recorded_at, id) < (:after_at, :after_id)")
        given |= {"after_at": query.after[0], "after_id": query.after[1]}
    return conditions, given


# --- sealing ---


async def take(session: database.WorkerSession, limit: int) -> list[Pending]:
    """What waits longest, which nobody else seals from now on; the oldest first."""
    rows = [Pending(*row) for row in await session.execute(TAKE, {"limit": limit})]
    return sorted(rows, key=lambda row: (row.recorded_at, row.id))


async def load(session: database.WorkerSession, wanted: Sequence[Pending]) -> dict[uuid.UUID, entries.Row]:
    """Entries by id, those that are there."""
    tenants, found, times = zip(*wanted, strict=True)
    given = {"tenants": list(tenants), "ids": list(found), "times": list(times)}
    return {row.id: entries.Row(*row) for row in await session.execute(LOAD, given)}


async def heads(
    session: database.WorkerSession, tenants: Sequence[uuid.UUID] | None = None
) -> dict[uuid.UUID, tuple[int, bytes]]:
    """The last seal of each tenant, or of each of some: number and digest."""
    given = {"tenants": None if tenants is None else list(tenants)}
    return {row.tenant_id: (row.seq, bytes(row.digest)) for row in await session.execute(HEADS, given)}


async def put(session: database.WorkerSession, seal: seals.Seal) -> None:
    """Keeps a seal."""
    names = [field.name for field in dataclasses.fields(seal)]
    given = {name: getattr(seal, name) for name in names}
    await session.execute(PUT, {**given, "entries": list(seal.entries), "hashes": b"".join(seal.hashes)})


async def now(session: sa_asyncio.AsyncConnection) -> dt.datetime:
    """The database's clock."""
    at: dt.datetime = (await session.execute(NOW)).scalar_one()
    return at


# --- verifying ---


async def tenants(session: database.WorkerSession) -> list[uuid.UUID]:
    """Whoever has entries or seals."""
    return list((await session.execute(TENANTS)).scalars())


async def seals_after(session: database.WorkerSession, tenant: uuid.UUID, after: int, limit: int) -> list[seals.Seal]:
    """Seals of a tenant in order."""
    rows = await session.execute(SEALS, {"tenant": tenant, "after": after, "limit": limit})
    return [_seal(row) for row in rows]


def _seal(row: sa.Row[Any]) -> seals.Seal:
    values = row._asdict()
    hashes = bytes(values["hashes"])
    cut: Iterator[bytes] = (hashes[start : start + 32] for start in range(0, len(hashes), 32))
    return seals.Seal(**{**values, "hashes": list(cut), "digest": bytes(values["digest"]), "mac": bytes(values["mac"])})


async def of_seal(session: database.WorkerSession, seal: seals.Seal) -> dict[uuid.UUID, entries.Row]:
    """The entries of a seal, those that are there."""
    given = {
        "tenant": seal.tenant_id, "first_at": seal.first_at, "last_at": seal.last_at, "ids": list(seal.entries),
    }  # fmt: skip
    return {row.id: entries.Row(*row) for row in await session.execute(OF_SEAL, given)}


async def unsealed(
    session: database.WorkerSession, tenant: uuid.UUID, grace: dt.timedelta, limit: int
) -> Sequence[sa.Row[Any]]:
    """Entries (id, recorded_at, pending) that no seal has, older than grace."""
    return (await session.execute(UNSEALED, {"tenant": tenant, "grace": grace, "limit": limit})).all()


async def twice(session: database.WorkerSession, tenant: uuid.UUID, limit: int) -> Sequence[sa.Row[Any]]:
    """Ids (id, of) that stand more than once among entries or seals."""
    return (await session.execute(TWICE, {"tenant": tenant, "limit": limit})).all()
