"""Jobs of imports and exports. Row-level security picks the tenant; the worker sees jobs of all tenants, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from services.inventory.domain import bulk
from services.kit import database

Session = sa_asyncio.AsyncConnection
JOB = "SELECT * FROM bulk_job WHERE id = :id AND direction = :direction"
COUNT_OPEN = sa.text("SELECT count(*) FROM bulk_job WHERE state <= 3")
INSERT = sa.text("""
INSERT INTO bulk_job (tenant_id, id, direction, kind, format, state, location_id, subject, actor, locations)
VALUES (current_setting('app.tenant_id')::uuid, :id, :direction, :kind, :format, :state, :location_id, :subject, :actor,
    :locations)
RETURNING *
""")
PAGE = sa.text("""
SELECT * FROM bulk_job
WHERE direction = :direction AND (CAST(:after AS uuid) IS NULL OR id < :after)
  AND (CAST(:subject AS text) IS NULL OR subject = :subject)
ORDER BY id DESC LIMIT :limit
""")
SET_STATE = sa.text("""
UPDATE bulk_job SET state = :state, message = :message, parts = :parts, size_bytes = :size_bytes,
    updated_at = clock_timestamp(), ended_at = CASE WHEN :state > 3 THEN clock_timestamp() END
WHERE id = :id AND state <= 3 RETURNING *
""")
# Only from the position that the writer began at: of two processes that both think they run a job, one counts a chunk.
ADVANCE = sa.text("""
UPDATE bulk_job SET position = :until, applied = applied + :applied, refused = refused + :refused,
    state = 3, updated_at = clock_timestamp()
WHERE id = :id AND position = :after AND state IN (2, 3) RETURNING *
""")
REFUSE = sa.text("""
INSERT INTO bulk_job_error (tenant_id, job_id, row, line, reason, message)
VALUES (current_setting('app.tenant_id')::uuid, :id, :row, :line, :reason, :message) ON CONFLICT DO NOTHING
""")
ERRORS = sa.text("""
SELECT row, line, reason, message FROM bulk_job_error WHERE job_id = :id AND row > :after ORDER BY row LIMIT :limit
""")
# The one that waits longest, whatever its tenant: a job gives way after each turn, and its updated_at rises with it.
NEXT = sa.text("""
SELECT * FROM bulk_job WHERE state IN (2, 3) AND id <> ALL(CAST(:without AS uuid[])) ORDER BY updated_at LIMIT 1
""")
AGED = sa.text("""
SELECT * FROM bulk_job WHERE ended_at < clock_timestamp() - CAST(:keep AS interval)
   OR (state = 1 AND updated_at < clock_timestamp() - interval '1 day') LIMIT 100
""")
FORGET = sa.text("DELETE FROM bulk_job WHERE tenant_id = :tenant AND id = :id")
CODES = sa.text("SELECT id, code_key FROM location WHERE code_key = ANY(:codes)")
LEVELS = sa.text("""
SELECT v.location_id, l.code, v.sku_key, v.sku, v.on_hand, v.reserved, v.allocated,
    v.damaged + v.quality_control + v.expired AS unsellable, v.in_transit, v.safety_stock, v.available, v.version, v.updated_at,
    v.has_lots
FROM stock_level v JOIN location l ON l.tenant_id = v.tenant_id AND l.id = v.location_id
WHERE (v.location_id, v.sku_key) > (CAST(:location AS uuid), CAST(:sku AS text) COLLATE "C")
  AND (CAST(:only AS uuid[]) IS NULL OR v.location_id = ANY(CAST(:only AS uuid[])))
ORDER BY v.location_id, v.sku_key LIMIT :limit
""")
LOTS = sa.text("""
SELECT s.location_id, s.sku_key, s.lot, s.on_hand, s.reserved, s.allocated, s.damaged + s.quality_control + s.expired AS unsellable,
    s.in_transit, d.expires_on, d.best_before_on, d.produced_on
FROM unnest(CAST(:locations AS uuid[]), CAST(:keys AS text[])) q (location_id, sku_key)
JOIN stock_lot s ON s.location_id = q.location_id AND s.sku_key = q.sku_key
JOIN lot d ON d.tenant_id = s.tenant_id AND d.sku_key = s.sku_key AND d.code = s.lot
ORDER BY s.location_id, s.sku_key, s.lot
""")
PRICES = sa.text("""
SELECT DISTINCT ON (sku_key, currency_code) sku_key, currency_code, minor_units FROM price
WHERE sku_key = ANY(:keys) AND location_id IS NULL AND valid_from <= now() AND valid_until > now()
ORDER BY sku_key, currency_code, valid_from DESC
""")


async def find(session: Session, job_id: uuid.UUID, direction: str, *, lock: bool = False) -> bulk.Job | None:
    """A job of the tenant."""
    statement = sa.text(JOB + (" FOR UPDATE" if lock else ""))
    row = (await session.execute(statement, {"id": job_id, "direction": direction})).one_or_none()
    return None if row is None else _job(row)


async def count_open(session: Session) -> int:
    """Jobs of the tenant that have not ended."""
    return int((await session.execute(COUNT_OPEN)).scalar_one())


async def insert(session: database.WriteSession, new: dict[str, Any]) -> bulk.Job:
    """A job to begin with. new: the columns of INSERT."""
    return _job((await session.execute(INSERT, new)).one())


async def page(
    session: Session, direction: str, subject: str | None, after: uuid.UUID | None, limit: int
) -> list[bulk.Job]:
    """Jobs, newest first. subject: only that one's; None: all."""
    given = {"direction": direction, "subject": subject, "after": after, "limit": limit}
    return [_job(row) for row in await session.execute(PAGE, given)]


async def set_state(
    session: database.WriteSession, job: bulk.Job, state: bulk.State, *, message: str = "", **file: int
) -> bulk.Job | None:
    """Moves a job on; None when it has ended meanwhile. file: parts, size_bytes, where they change."""
    given = {"parts": job.parts, "size_bytes": job.size_bytes, **file, "state": int(state), "message": message}
    row = (await session.execute(SET_STATE, {"id": job.id, **given})).one_or_none()
    return None if row is None else _job(row)


async def advance(
    session: database.WriteSession, job: bulk.Job, until: int, applied: int, refusals: Sequence[bulk.Refusal]
) -> bulk.Job | None:
    """Counts the rows up to `until` as done; None when the job was stopped, or another process counted them."""
    given = {"id": job.id, "after": job.position, "until": until, "applied": applied, "refused": len(refusals)}
    row = (await session.execute(ADVANCE, given)).one_or_none()
    if row is None:
        return None
    if refusals:
        told = [
            {"id": job.id, "row": r.row, "line": r.line, "reason": r.reason, "message": r.message} for r in refusals
        ]
        await session.execute(REFUSE, told)
    return _job(row)


async def refusals(session: Session, job_id: uuid.UUID, after: int, limit: int) -> list[bulk.Refusal]:
    """Refused rows behind row `after`, in order."""
    found = await session.execute(ERRORS, {"id": job_id, "after": after, "limit": limit})
    return [bulk.Refusal(*row) for row in found]


async def next_job(session: database.WorkerSession, without: Collection[uuid.UUID]) -> bulk.Job | None:
    """The job whose turn it is, of any tenant."""
    row = (await session.execute(NEXT, {"without": list(without)})).one_or_none()
    return None if row is None else _job(row)


async def aged(session: database.WorkerSession, keep_days: int) -> list[bulk.Job]:
    """Jobs that ended so long ago, or whose file never came."""
    return [_job(row) for row in await session.execute(AGED, {"keep": f"{keep_days} days"})]


async def forget(session: database.WorkerSession, job: bulk.Job) -> None:
    """Removes a job and its refusals."""
    await session.execute(FORGET, {"tenant": job.tenant, "id": job.id})


async def locations_by_code(session: Session, keys: Sequence[str]) -> dict[str, uuid.UUID]:
    """Locations by their folded codes; unknown ones are left out."""
    return {row.code_key: row.id for row in await session.execute(CODES, {"codes": list(keys)})}


async def product_by_code(session: Session, code_key: str) -> uuid.UUID | None:
    """The product with a folded code."""
    found = await session.execute(sa.text("SELECT id FROM product WHERE code_key = :code"), {"code": code_key})
    return found.scalar_one_or_none()


async def levels(session: Session, only: Sequence[uuid.UUID] | None, limit: int) -> AsyncIterator[Sequence[Any]]:
    """Levels in batches, by location and SKU. only: of these locations; None: all."""
    last: tuple[uuid.UUID, str] = (uuid.UUID(int=0), "")
    within = None if only is None else list(only)
    while True:
        given = {"location": last[0], "sku": last[1], "only": within, "limit": limit}
        rows = (await session.execute(LEVELS, given)).all()
        if rows:
            yield rows
        if len(rows) < limit:
            return
        last = (rows[-1].location_id, rows[-1].sku_key)


async def lots_of(session: Session, levels: Sequence[Any]) -> dict[tuple[uuid.UUID, str], list[Any]]:
    """The lots of a batch of levels, by code; of levels without lots nothing is asked."""
    kept = [level for level in levels if level.has_lots]
    if not kept:
        return {}
    given = {"locations": [level.location_id for level in kept], "keys": [level.sku_key for level in kept]}
    found: dict[tuple[uuid.UUID, str], list[Any]] = {}
    for row in await session.execute(LOTS, given):
        found.setdefault((row.location_id, row.sku_key), []).append(row)
    return found


async def general_prices(session: Session, keys: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """(currency, minor units) of the prices that hold everywhere now, by folded SKU."""
    found: dict[str, list[tuple[str, int]]] = {}
    for row in await session.execute(PRICES, {"keys": list(keys)}):
        found.setdefault(row.sku_key, []).append((row.currency_code, row.minor_units))
    return found


def _job(row: Any) -> bulk.Job:
    return bulk.Job(
        tenant=str(row.tenant_id),
        id=row.id,
        direction=row.direction,
        kind=bulk.Kind(row.kind),
        format=bulk.Format(row.format),
        state=bulk.State(row.state),
        parts=row.parts,
        position=row.position,
        applied=row.applied,
        refused=row.refused,
        size_bytes=row.size_bytes,
        message=row.message,
        location_id=row.location_id,
        subject=row.subject,
        actor=row.actor,
        locations=tuple(row.locations),
        created_at=row.created_at,
        updated_at=row.updated_at,
        ended_at=row.ended_at,
    )
