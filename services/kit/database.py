"""Connections and transactions of a service. Every transaction has a tenant, a time limit and one way to end.

`transaction` and `read` are for use cases (SQLAlchemy Core), `together` is for those of which many come at once; lanes
and what else is hot borrow connections with `lane_connection`, whose unit of work ends in `commit_with`
(services/kit/pipeline.py). Worker sessions have no tenant until they take one with `become_app`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import NewType, TypeVar
from urllib.parse import urlsplit, urlunsplit

import psycopg
import psycopg_pool
import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import deadline, errors, grouping, pipeline

ReadSession = NewType("ReadSession", sa_asyncio.AsyncConnection)
WriteSession = NewType("WriteSession", sa_asyncio.AsyncConnection)
WorkerSession = NewType("WorkerSession", sa_asyncio.AsyncConnection)
LaneConnection = pipeline.LaneConnection
T = TypeVar("T")
Pool = psycopg_pool.AsyncConnectionPool[LaneConnection]

SERVER_VERSION_MIN = 170006  # CVE-2025-8713: before it, statistics leak rows past row-level security
STATEMENT_SECONDS_MAX = 30.0
# Generic plans: the lanes' statements take arrays of any length, and planning cost as much as executing. On a fresh
# table, before statistics exist, the planner prefers a scan to a look-up by key, and a generic plan keeps it: 7 ms
# instead of 0.08. Forbidding hash joins as well made a lane 3.5 times slower.
LANE_OPTIONS = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c statement_timeout=10s"
# Background work on lanes' terms looks rows up one by one: another plan, made while a table was empty, would read all.
WORKER_LANE_OPTIONS = LANE_OPTIONS + " -c enable_hashjoin=off -c enable_mergejoin=off"
WORKER_LANE_CONNECTIONS = 2
ENTER = sa.text("SELECT set_config('app.tenant_id', :tenant, true), set_config('statement_timeout', :timeout, true)")
CHECK_ROLE = """
SELECT current_setting('server_version_num')::int, r.rolsuper OR r.rolbypassrls,
       EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = 'public' AND pg_has_role(r.oid, c.relowner, 'USAGE'))
FROM pg_roles r WHERE r.rolname = current_user
"""


class UnsafeRole(Exception):
    """The role a service logs in with could bypass row-level security."""


def sqlalchemy_url(url: str) -> str:
    """The same URL with the driver's name that SQLAlchemy asks for."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(scheme="postgresql+psycopg", netloc=parts.netloc or "")).replace(":/?", ":///?")


def _timeout() -> str:
    """What is left of the caller's time, as a statement_timeout."""
    remaining = deadline.remaining()
    seconds = STATEMENT_SECONDS_MAX if remaining is None else min(remaining, STATEMENT_SECONDS_MAX)
    if seconds <= 0:
        raise errors.DeadlineExceeded
    return f"{max(1, int(seconds * 1000))}ms"


class Database:
    """The pools of one process of a service: app role (use cases), app role (lanes), worker role."""

    def __init__(self, app_url: str, worker_url: str, *, pool_size: int = 8, lane_connections: int = 2) -> None:
        options = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 5, "pool_pre_ping": True}
        self._app = sa_asyncio.create_async_engine(sqlalchemy_url(app_url), **options)
        self._worker = sa_asyncio.create_async_engine(sqlalchemy_url(worker_url), **options)
        self._lanes = _pool(app_url, lane_connections, LANE_OPTIONS)
        self._worker_lanes = _pool(worker_url, WORKER_LANE_CONNECTIONS, WORKER_LANE_OPTIONS)
        self._groups = grouping.Groups(self.lane_connection, "group")
        self._read_groups = grouping.Groups(self.lane_connection, "read group", reads=True)
        self._renewing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connects, and refuses a server or a role that can't keep tenants apart."""
        await self._lanes.open(wait=True, timeout=15)
        await self._worker_lanes.open(wait=True, timeout=15)
        async with self._lanes.connection() as connection:
            row = await (await connection.execute(CHECK_ROLE)).fetchone()
        if row is None or row[0] < SERVER_VERSION_MIN:
            raise UnsafeRole("PostgreSQL 17.6 or newer is needed: older ones leak rows past row-level security")
        if row[1] or row[2]:
            raise UnsafeRole("the service's role owns tables or bypasses row-level security: give it the _app role")
        self._groups.start()
        self._read_groups.start()

    async def close(self) -> None:
        """Lets what is queued finish, and closes all pools."""
        await self._groups.stop()
        await self._read_groups.stop()
        await self._lanes.close(timeout=5)
        await self._worker_lanes.close(timeout=5)
        await self._app.dispose()
        await self._worker.dispose()

    @contextlib.asynccontextmanager
    async def transaction(self, tenant: str) -> AsyncIterator[WriteSession]:
        """A unit of work of one tenant (uuid text): all of it, or on an error nothing."""
        async with self._app.begin() as connection:
            await connection.execute(ENTER, {"tenant": tenant, "timeout": _timeout()})
            yield WriteSession(connection)

    async def together(self, tenant: str, key: Hashable, work: Callable[[WriteSession], Awaitable[T]]) -> T:
        """A unit of work that shares its transaction with others of the tenant: services/kit/grouping.py says how.

        key: of what it locks.
        """
        return await self._groups.run(tenant, key, work)

    async def read_together(self, tenant: str, work: Callable[[ReadSession], Awaitable[T]]) -> T:
        """Reads that share their transaction with others of the tenant."""
        return await self._read_groups.run(tenant, object(), work)

    @contextlib.asynccontextmanager
    async def read(self, tenant: str, *, snapshot: bool = False) -> AsyncIterator[ReadSession]:
        """Reads of one tenant. snapshot: all statements see the same moment."""
        async with self._app.connect() as connection:
            if snapshot:
                await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                await connection.execute(ENTER, {"tenant": tenant, "timeout": _timeout()})
                yield ReadSession(connection)

    @contextlib.asynccontextmanager
    async def worker(self) -> AsyncIterator[WorkerSession]:
        """A unit of background work over all tenants, limited by the worker's policies."""
        async with self._worker.begin() as connection:
            yield WorkerSession(connection)

    def lane_connection(self) -> contextlib.AbstractAsyncContextManager[LaneConnection]:
        """A connection for a batch. It is rolled back unless `commit_with` was reached."""
        return self._borrowed(self._lanes)

    def worker_connection(self) -> contextlib.AbstractAsyncContextManager[LaneConnection]:
        """The same for hot background work: all tenants, limited by the worker's policies."""
        return self._borrowed(self._worker_lanes)

    @contextlib.asynccontextmanager
    async def _borrowed(self, pool: Pool) -> AsyncIterator[LaneConnection]:
        connection = await pool.getconn()
        try:
            yield connection
        except psycopg.OperationalError:
            if connection.broken:
                self._renew()
            raise
        finally:
            try:
                if not connection.closed and connection.pgconn.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    await connection.rollback()
            finally:
                await pool.putconn(connection)

    def _renew(self) -> None:
        """A connection broke, so the server went away and all others are as dead: finds out before they are used."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._check_all(), name="renew lane connections")

    async def _check_all(self) -> None:
        await self._lanes.check()
        await self._worker_lanes.check()

    def lane_statistics(self) -> dict[str, int]:
        """Counters of the lane pool, for metrics."""
        return self._lanes.get_stats()


def _pool(url: str, size: int, options: str) -> Pool:
    return psycopg_pool.AsyncConnectionPool(
        url,
        min_size=size,
        max_size=size,
        open=False,
        timeout=5,
        connection_class=pipeline.LaneConnection,
        kwargs={"autocommit": True, "prepare_threshold": None, "options": options},  # as pipeline wants it
    )


async def become_app(session: WorkerSession, service: str, tenant: str) -> WriteSession:
    """Turns the worker's transaction into one of the app role, for one tenant (uuid text)."""
    await session.execute(sa.text(f"SET LOCAL ROLE {service}_app"))
    await session.execute(ENTER, {"tenant": tenant, "timeout": f"{int(STATEMENT_SECONDS_MAX * 1000)}ms"})
    return WriteSession(session)
