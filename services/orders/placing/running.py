"""Who runs sagas: the process that was asked, in a task of its own, and else whoever finds one that is due."""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import prometheus_client
import structlog

from services.kit import channels, database, ids, leases
from services.orders.domain import sagas, sale
from services.orders.placing import saga as one
from services.orders.placing.effects import Effects, Tenant
from services.orders.store import sagas as store

log = structlog.get_logger()

LEASE_NAME: Final = "sagas"
EVERY_SECONDS: Final = 1.0
AT_ONCE: Final = 40
CONCURRENCY: Final = 8
CLOSE_SECONDS: Final = 5.0
ENDED = prometheus_client.Counter("tillmesh_order_sagas_total", "Runs of sagas, by what came of them.", ["kind", "end"])


Begin = Callable[[Tenant, sagas.Saga, sale.Order | None], one.Run]
"""A run of a saga, by its kind. The order: as it was when the saga began, where that is known."""


class Runner:
    """Runs sagas in this process."""

    def __init__(self, effects: Effects, begin: Begin) -> None:
        self._effects = effects
        self._begin = begin
        self._tasks: set[asyncio.Task[sale.Order]] = set()

    async def run(self, tenant: Tenant, saga: sagas.Saga, order: sale.Order | None = None) -> sale.Order:
        """The order at the end of a saga, which a caller who goes away does not end. Refused; Waiting; Superseded."""
        task = asyncio.create_task(self._run(tenant, saga, order), context=contextvars.copy_context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Lets running sagas end for a moment; the rest is resumed by another process."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for task in list(self._tasks):
            task.cancel()

    async def resume(self) -> int:
        """Runs what is due, up to AT_ONCE; answers how many it found."""
        claimed = await self._effects.claim(AT_ONCE)
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one_of(tenant: uuid.UUID, saga: sagas.Saga) -> None:
            async with slots:
                try:
                    await self._run(Tenant(str(tenant), ids.encode("ten", tenant)), saga)
                except (one.Refused, one.Waiting, store.Superseded):
                    pass
                except Exception:  # one that fails must not stop the others; it is due again after its lease
                    log.exception("saga.failed", saga=str(saga.id))

        await asyncio.gather(*(one_of(*each) for each in claimed))
        return len(claimed)

    async def run_due(self, db: database.Database, also: Callable[[], Awaitable[None]]) -> None:
        """Looks for what is due, until cancelled, in one process at a time. also: is done as often."""

        async def job(_lease: leases.Lease) -> None:
            while await self.resume() == AT_ONCE:
                pass  # what was claimed isn't due again for a while, so this ends
            await also()

        await leases.run_alone(db, LEASE_NAME, job, every_seconds=EVERY_SECONDS)

    async def _run(self, tenant: Tenant, saga: sagas.Saga, order: sale.Order | None = None) -> sale.Order:
        run, end = self._begin(tenant, saga, order), "failed"
        with channels.acting_for(tenant.id):  # the keys of Inventory are the service's: any process may repeat them
            try:
                ended = await run.to_end()
            except one.Refused:
                end = "refused"
                raise
            except one.Waiting:
                end = "waiting"
                await run.postpone()
                raise
            else:
                end = "done"
                return ended
            finally:
                ENDED.labels(saga.kind.name.lower(), end).inc()

    def _done(self, task: asyncio.Task[sale.Order]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            expected = isinstance(error, one.Refused | one.Waiting | store.Superseded)
            if not expected:
                log.error("saga.failed", exc_info=error)
