"""Lanes: requests on the same rows queue while a batch of them is in the database, and leave together in the next.

One lane a key, e.g. (tenant, location). A fixed number of batches is in flight in a process, whatever the number of
lanes: waiting for a place is what fills a batch. A batch costs the process as much as ten requests, so while several
callers are there a tenant's lanes wait 2 ms for company before they take a place together, and 4 ms in a crowd; a lone
caller never waits. Lanes hold no state: row locks and checks guard. What a batch does is the service's Runner. Here:
order, bounds, deadlines, failures.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import prometheus_client
import psycopg
import psycopg_pool
import structlog

from services.kit import deadline, errors, telemetry

log = structlog.get_logger()


class Key(Protocol):
    """Of a lane; hashable. Lanes of one tenant may share a batch."""

    @property
    def tenant(self) -> str:
        """UUID text."""


K = TypeVar("K", bound=Key)
C = TypeVar("C")
R = TypeVar("R")
K_contra = TypeVar("K_contra", contravariant=True)
C_contra = TypeVar("C_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

RETRIES_MAX = 3
LINGER_SECONDS = 0.002
#: Mean size of the last batches from which waiting pays: others come in while one waits.
COMPANY = 1.5
#: From here on twice as long pays: who waits would else wait for the process, which is busy with small batches.
CROWD = 8.0
SLOW_SECONDS = 0.025  # a batch that waits for another process's lock, or for a disk, holds up its tenant no longer
LANES_MAX = 16  # of a batch
BATCH_SIZE = prometheus_client.Histogram(
    "tillmesh_lane_batch_size", "Requests a batch.", ["lane"], buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
BATCH_SECONDS = prometheus_client.Histogram(
    "tillmesh_lane_batch_seconds",
    "From the first lock to the commit.",
    ["lane"],
    buckets=(0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 1),
)
QUEUED = prometheus_client.Gauge("tillmesh_lane_queued", "Requests that wait.", ["lane"])
FAILED = prometheus_client.Counter(
    "tillmesh_lane_failures_total", "Batches that failed, by what was done.", ["lane", "action"]
)


class CommitLost(Exception):
    """The connection broke between COMMIT and its answer: it may have happened."""


class Runner(Protocol[K_contra, C_contra, R_co]):
    """What a batch does: commands with the keys of their lanes, all of one tenant, in the order of each lane.

    Both answer one result or error a command, in order.
    """

    async def run(self, work: Sequence[tuple[K_contra, C_contra]]) -> Sequence[R_co | errors.Error]:
        """Runs a batch in one transaction. CommitLost when its end is unknown."""

    async def resolve(self, work: Sequence[tuple[K_contra, C_contra]]) -> Sequence[R_co | errors.Error] | None:
        """After CommitLost, on a new connection: the answers if the batch was committed, None if it was not."""


@dataclass(slots=True)
class _Entry(Generic[K, C, R]):
    work: tuple[K, C]
    future: asyncio.Future[R]
    expires_at: float | None


class _Lane(Generic[K, C, R]):
    __slots__ = ("entries", "key", "scheduled")

    def __init__(self, key: K) -> None:
        self.key = key
        self.entries: collections.deque[_Entry[K, C, R]] = collections.deque()
        self.scheduled = False


class _Ready(Generic[K, C, R]):
    """Lanes of a tenant that have entries and are in no batch. open: they have waited for company long enough."""

    __slots__ = ("lanes", "open")

    def __init__(self) -> None:
        self.lanes: collections.deque[_Lane[K, C, R]] = collections.deque()
        self.open = False


class Lanes(Generic[K, C, R]):
    """All lanes of a kind in this process."""

    def __init__(
        self,
        name: str,
        runner: Runner[K, C, R],
        *,
        in_flight: int = 2,
        batch_max: int = 128,
        queue_max: int = 2000,
        linger_seconds: float = LINGER_SECONDS,
        lanes_max: int = LANES_MAX,
    ) -> None:
        """in_flight: batches at once, 1 or 2 a core. queue_max: requests that wait in a lane. lanes_max: of a batch."""
        self._linger_seconds = linger_seconds
        self._company = 1.0
        self._runner = runner
        self._batch_max = batch_max
        self._lanes_max = lanes_max
        self._queue_max = queue_max
        self._in_flight = in_flight
        self._lanes: dict[K, _Lane[K, C, R]] = {}
        self._ready: dict[str, _Ready[K, C, R]] = {}
        self._running: dict[str, float] = {}
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._name = name
        self._queued = QUEUED.labels(name)
        self._batch_size = BATCH_SIZE.labels(name)
        self._batch_seconds = BATCH_SECONDS.labels(name)

    def start(self) -> None:
        """Starts the workers in the running loop."""
        self._tasks = [asyncio.create_task(self._work(), name=f"lane-{self._name}-{n}") for n in range(self._in_flight)]

    async def stop(self, timeout_seconds: float = 5.0) -> None:
        """Lets what is queued finish, within a limit."""
        limit = time.monotonic() + timeout_seconds
        while self._lanes and time.monotonic() < limit:  # noqa: ASYNC110  # once, at the end: an event for each batch isn't worth it
            await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def submit(self, key: K, command: C) -> R:
        """Runs command in the lane's next batch. OVERLOADED when too many wait; DEADLINE_EXCEEDED before it began.

        A caller that goes away after the batch has begun changes nothing: the batch commits.
        """
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
        if len(lane.entries) >= self._queue_max:
            raise errors.Overloaded
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        lane.entries.append(_Entry((key, command), future, deadline.at()))
        if not lane.scheduled:
            lane.scheduled = True
            self._schedule(lane)
        return await future

    def _schedule(self, lane: _Lane[K, C, R]) -> None:
        """Lets a lane take a place, along with its tenant's others, as soon as it is worth it."""
        ready = self._ready.get(lane.key.tenant)
        if ready is None:
            ready = self._ready[lane.key.tenant] = _Ready()
            if self._company < COMPANY:
                self._open(ready)
            else:
                seconds = self._linger_seconds if self._company < CROWD else 2 * self._linger_seconds
                asyncio.get_running_loop().call_later(seconds, self._open, ready)
        ready.lanes.append(lane)
        if len(lane.entries) >= self._batch_max:
            self._open(ready)

    def _open(self, ready: _Ready[K, C, R]) -> None:
        if not ready.open:
            ready.open = True
            self._woken.set()

    def _free_tenant(self) -> str | None:
        """A tenant with ready lanes and no batch in flight, or only a slow one: two at once would halve each other."""
        slow = time.monotonic() - SLOW_SECONDS
        for tenant, ready in self._ready.items():
            if ready.open and self._running.get(tenant, slow) <= slow:
                return tenant
        return None

    async def _next(self) -> list[_Lane[K, C, R]]:
        """Waits for the lanes of the next batch. Tenants take turns."""
        while (tenant := self._free_tenant()) is None:
            self._woken.clear()
            await self._woken.wait()
        ready = self._ready.pop(tenant)
        lanes = ready.lanes
        taken, room = [lanes.popleft()], self._batch_max
        room -= len(taken[0].entries)
        while lanes and room > 0 and len(taken) < self._lanes_max:
            taken.append(lanes.popleft())
            room -= len(taken[-1].entries)
        if lanes:
            self._ready[tenant] = ready
        return taken

    async def _work(self) -> None:
        while True:
            taken = await self._next()
            tenant = taken[0].key.tenant
            self._running[tenant] = began = time.monotonic()
            asyncio.get_running_loop().call_later(SLOW_SECONDS, self._woken.set)
            entries = self._take(taken)
            try:
                if entries:
                    with self._batch_seconds.time():
                        await self._run(entries)
            except Exception as error:  # a lane must go on, whatever a batch met
                log.exception("lane.batch_failed", lane=self._name)
                _fail(entries, error)
            if self._running.get(tenant) == began:
                del self._running[tenant]
                self._woken.set()
            for lane in taken:
                if lane.entries:
                    self._schedule(lane)
                else:
                    lane.scheduled = False
                    del self._lanes[lane.key]

    def _take(self, ready: Sequence[_Lane[K, C, R]]) -> list[_Entry[K, C, R]]:
        """The next batch: what still has a caller and time."""
        now = time.monotonic()
        taken: list[_Entry[K, C, R]] = []
        waiting = [lane for lane in ready if lane.entries]
        while waiting and len(taken) < self._batch_max:
            entry = waiting[0].entries.popleft()
            if not waiting[0].entries:
                del waiting[0]
            if entry.future.done():
                continue  # the caller went away before the batch began
            if entry.expires_at is not None and entry.expires_at <= now:
                entry.future.set_exception(errors.DeadlineExceeded())
                continue
            taken.append(entry)
        self._queued.set(sum(len(lane.entries) for lane in waiting))
        self._batch_size.observe(len(taken))
        self._company += (len(taken) - self._company) / 8
        return taken

    async def _run(self, entries: list[_Entry[K, C, R]], attempt: int = 0) -> None:
        work = [entry.work for entry in entries]
        results: Sequence[R | errors.Error] | None
        try:
            results = await self._runner.run(work)
        except CommitLost:
            FAILED.labels(self._name, "resolved").inc()
            results = await self._resolve(entries, attempt)
            if results is None:
                return
        except (psycopg.OperationalError, psycopg.errors.UniqueViolation, psycopg_pool.PoolTimeout) as error:
            await self._again(entries, attempt, error)
            return
        except Exception as error:  # noqa: BLE001  # a defect, or data that a constraint refuses: find whose it is
            await self._bisect(entries, error)
            return
        _answer(entries, results)

    async def _resolve(self, entries: list[_Entry[K, C, R]], attempt: int) -> Sequence[R | errors.Error] | None:
        work = [entry.work for entry in entries]
        for pause in (0.0, 0.2, 1.0, 3.0):
            await asyncio.sleep(pause)
            try:
                results = await self._runner.resolve(work)
            except (CommitLost, psycopg.OperationalError, psycopg_pool.PoolTimeout):
                continue
            if results is None:
                await self._again(entries, attempt, errors.Unavailable())
            return results
        _fail(entries, errors.OutcomeUnknown())
        return None

    async def _again(self, entries: list[_Entry[K, C, R]], attempt: int, error: Exception) -> None:
        """Nothing was done: the same batch once more, a bounded number of times.

        A unique key that another batch took meanwhile (the same idempotency key in two lanes) is seen at the next try.
        """
        FAILED.labels(self._name, "retried").inc()
        if attempt >= RETRIES_MAX:
            conflict = isinstance(error, psycopg.errors.TransactionRollback | psycopg.errors.UniqueViolation)
            _fail(entries, errors.Conflict() if conflict else errors.Unavailable())
            return
        await asyncio.sleep(0.02 * 4**attempt)
        await self._run(entries, attempt + 1)

    async def _bisect(self, entries: list[_Entry[K, C, R]], error: Exception) -> None:
        """One bad request never fails its neighbours: halve the batch until it stands alone."""
        FAILED.labels(self._name, "bisected").inc()
        if len(entries) == 1:
            _fail(entries, error)
            return
        middle = len(entries) // 2
        await self._run(entries[:middle])
        await self._run(entries[middle:])


def span(name: str, parents: Sequence[str]) -> contextlib.AbstractContextManager[object]:
    """A batch in the traces of its requests (traceparents): below a single one, linked to several."""
    if not telemetry.enabled():
        return contextlib.nullcontext()
    single = parents[0] if len(parents) == 1 else ""
    facts: dict[str, str | int] = {"db.system.name": "postgresql", "db.operation.batch.size": len(parents)}
    return telemetry.span(name, "client", facts, links=() if single else parents, parent=single)


def _answer(entries: Sequence[_Entry[K, C, R]], results: Sequence[R | errors.Error]) -> None:
    for entry, result in zip(entries, results, strict=True):
        if entry.future.done():
            continue  # cancelled by its caller: the others must still be answered
        if isinstance(result, errors.Error):
            entry.future.set_exception(result)
        else:
            entry.future.set_result(result)


def _fail(entries: Sequence[_Entry[K, C, R]], error: Exception) -> None:
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(error)
