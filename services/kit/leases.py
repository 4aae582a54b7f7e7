"""One process at a time: leases for background jobs, by database time, with a fence.

For what is merely wasteful to do twice (sweeping, maintenance). What must not happen twice is guarded by row locks in
the job itself, or by the fence.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
import structlog

from services.kit import database, ids

log = structlog.get_logger()

TTL_SECONDS: Final = 15.0
RETRY_SECONDS_MAX: Final = 30.0
ACQUIRE = sa.text("""
INSERT INTO worker_lease (name, holder, fence, expires_at)
VALUES (:name, :holder, 1, clock_timestamp() + CAST(:ttl AS interval))
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, fence = worker_lease.fence + 1, expires_at = excluded.expires_at
WHERE worker_lease.expires_at < clock_timestamp()
RETURNING fence
""")
RENEW = sa.text("""
UPDATE worker_lease SET expires_at = clock_timestamp() + CAST(:ttl AS interval)
WHERE name = :name AND holder = :holder AND fence = :fence RETURNING fence
""")
RELEASE = sa.text("""
UPDATE worker_lease SET expires_at = '-infinity' WHERE name = :name AND holder = :holder AND fence = :fence
""")


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that is held. fence rises with each change of the holder."""

    name: str
    holder: str
    fence: int


@contextlib.asynccontextmanager
async def held(db: database.Database, name: str, *, ttl_seconds: float = TTL_SECONDS) -> AsyncIterator[Lease | None]:
    """Holds a lease while the block runs, renewed; None when another process has it.

    When it can't be renewed in time, the block is cancelled (it sees CancelledError, the caller TimeoutError).
    """
    lease = await acquire(db, name, ttl_seconds=ttl_seconds)
    if lease is None:
        yield None
        return
    keeper: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(ttl_seconds) as limit:
            keeper = asyncio.create_task(_keep(db, lease, ttl_seconds, limit), name=f"lease {name}")
            yield lease
    finally:
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        with contextlib.suppress(Exception):  # it ends by itself
            await _execute(db, RELEASE, lease, ttl_seconds)


async def run_alone(
    db: database.Database,
    name: str,
    job: Callable[[Lease], Awaitable[None]],
    *,
    every_seconds: float,
    ttl_seconds: float = TTL_SECONDS,
) -> None:
    """Runs job every so many seconds, in one process at a time, until cancelled. The others stand by.

    A job that fails is logged and runs again at its next turn.
    """
    failures = 0
    while True:
        try:
            async with held(db, name, ttl_seconds=ttl_seconds) as lease:
                while lease is not None:
                    await _turn(name, job, lease)
                    failures = 0
                    await asyncio.sleep(every_seconds)
        except Exception as error:  # noqa: BLE001 - the database went away, or the lease was lost
            failures += 1
            if failures == 1:
                log.warning("lease.lost", name=name, error=type(error).__qualname__)
        wait = min(RETRY_SECONDS_MAX, ttl_seconds / 3 * 2 ** min(failures, 4))
        await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # noqa: S311


async def _turn(name: str, job: Callable[[Lease], Awaitable[None]], lease: Lease) -> None:
    try:
        await job(lease)
    except Exception:
        log.exception("job.failed", name=name)


async def acquire(db: database.Database, name: str, *, ttl_seconds: float = TTL_SECONDS) -> Lease | None:
    """Takes a lease that nobody holds."""
    wanted = Lease(name, f"{ids.new_uuid()}", 0)
    fence = await _execute(db, ACQUIRE, wanted, ttl_seconds)
    return None if fence is None else Lease(name, wanted.holder, fence)


async def _keep(db: database.Database, lease: Lease, ttl_seconds: float, limit: asyncio.Timeout) -> None:
    while True:
        await asyncio.sleep(ttl_seconds / 3)
        asked = asyncio.get_running_loop().time()
        with contextlib.suppress(Exception):  # tried again until the time is over
            if await _execute(db, RENEW, lease, ttl_seconds) is None:
                limit.reschedule(asyncio.get_running_loop().time())  # another has it: end now
                return
            limit.reschedule(asked + ttl_seconds * 0.9)


async def _execute(db: database.Database, statement: sa.TextClause, lease: Lease, ttl_seconds: float) -> int | None:
    given = {"name": lease.name, "holder": lease.holder, "fence": lease.fence, "ttl": dt.timedelta(seconds=ttl_seconds)}
    async with db.worker() as session:
        result = await session.execute(statement, given)
        return result.scalar_one_or_none() if result.returns_rows else None
