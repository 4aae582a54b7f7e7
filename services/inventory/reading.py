"""Strong reads of single levels, together: what is asked while a statement runs is answered by the next one.

A read begins after it was asked, so it sees every change that was acknowledged before. One statement serves all callers
of a tenant that wait; the same level asked twice is read once.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid

import psycopg
import psycopg_pool

from services.inventory.store import stock as store
from services.kit import database, errors, lanes

BATCH_MAX = 500
LINGER_SECONDS = 0.002
#: Mean size of the last statements from which it pays to wait for more (services/kit/lanes.py does the same).
COMPANY = 1.5
QUEUE_MAX = 10_000

Wanted = tuple[uuid.UUID, str]
Answer = store.Answer


class LevelReader:
    """Coalesces reads in this process. in_flight: statements at once."""

    def __init__(self, db: database.Database, *, in_flight: int = 2) -> None:
        self._db = db
        self._in_flight = in_flight
        self._waiting: dict[str, dict[Wanted, asyncio.Future[Answer]]] = {}
        self._company = 1.0
        self._batch_size = lanes.BATCH_SIZE.labels("reads")
        self._ready = asyncio.Event()
        self._turn = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts the workers in the running loop."""
        self._tasks = [asyncio.create_task(self._work(), name=f"read-{n}") for n in range(self._in_flight)]

    async def stop(self) -> None:
        """Ends the workers; what waits is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def read(self, tenant: str, location: uuid.UUID, key: str) -> Answer:
        """The level of a folded SKU, or why there is none. OVERLOADED when too many wait."""
        waiting = self._waiting.setdefault(tenant, {})
        future = waiting.get((location, key))
        if future is None:
            if len(waiting) >= QUEUE_MAX:
                raise errors.Overloaded
            future = waiting[location, key] = asyncio.get_running_loop().create_future()
            self._ready.set()
        return await asyncio.shield(future)  # others may wait for the same level

    async def _work(self) -> None:
        while True:
            async with self._turn:  # one worker gathers while the other one asks
                tenant, batch = await self._gather()
            self._company += (len(batch) - self._company) / 8
            self._batch_size.observe(len(batch))
            await self._read(tenant, batch)

    async def _gather(self) -> tuple[str, dict[Wanted, asyncio.Future[Answer]]]:
        while not self._waiting:
            self._ready.clear()
            await self._ready.wait()
        if self._company >= COMPANY:
            await asyncio.sleep(LINGER_SECONDS)
        tenant = next(iter(self._waiting))  # tenants take turns: a new dict entry goes to the end
        waiting = self._waiting.pop(tenant)
        if len(waiting) <= BATCH_MAX:
            return tenant, waiting
        items = list(waiting.items())
        self._waiting[tenant] = dict(items[BATCH_MAX:])
        return tenant, dict(items[:BATCH_MAX])

    async def _read(self, tenant: str, batch: dict[Wanted, asyncio.Future[Answer]]) -> None:
        try:
            answers = await self._ask(tenant, list(batch))
        except Exception as error:  # noqa: BLE001  # whatever it is, the callers get it; the worker goes on
            for future in batch.values():
                future.set_exception(error)
                future.exception()  # a caller that went away leaves it unread
            return
        for future, answer in zip(batch.values(), answers, strict=True):
            future.set_result(answer)

    async def _ask(self, tenant: str, wanted: list[Wanted]) -> list[Answer]:
        """One statement; again on another connection when the server went away meanwhile. UNAVAILABLE."""
        for pause in (0.0, 0.05, 0.2):
            await asyncio.sleep(pause)
            with contextlib.suppress(psycopg.OperationalError, psycopg_pool.PoolTimeout):
                async with self._db.lane_connection() as connection:
                    return await store.read_levels(connection, tenant, wanted)
        raise errors.Unavailable
