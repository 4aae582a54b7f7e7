"""The flow of the relay: woken -> fetch the shards that may have something -> publish -> mark -> again.

A shard is one unit: while something of it is in flight, nothing more of it is fetched. Its keys are published side by
side, the events of one key one after the other: the next is sent when the stream has acknowledged the one before, so no
failure, timeout or reconnect can change the order of a key. (A key's commits queue at a row lock too; one round trip to
NATS is shorter than one commit, so this keeps up.) A relay that dies after publishing publishes again; Nats-Msg-Id and
the consumers' cursors drop that.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import prometheus_client
import structlog

from services.kit import database, events, ids, pings, streams, subjects, telemetry
from services.kit.relay import marker, shares, store

log = structlog.get_logger()

LAG = prometheus_client.Gauge("tillmesh_outbox_lag_seconds", "Age of the oldest unpublished event.", ["service"])
UNPUBLISHED = prometheus_client.Gauge("tillmesh_outbox_unpublished", "Events that wait for the relay.", ["service"])
PUBLISHED = prometheus_client.Counter(
    "tillmesh_relay_published_total", "Events that the stream has stored.", ["service"]
)
UNPUBLISHABLE = prometheus_client.Counter(
    "tillmesh_relay_unpublishable_total", "Events too large for NATS: consumers read them from the owner.", ["service"]
)
ROWS_PER_SHARD_MIN: Final = 16
DATABASE_SECONDS_MAX: Final = 15.0


@dataclass(frozen=True, slots=True)
class Options:
    """Limits of a relay. Durations in seconds."""

    poll_seconds: float = 0.5
    linger_seconds: float = 0.015
    """What is committed this soon after another commit is fetched and marked with it: under load the relay's own
    statements cost as much as the batches they follow."""
    lease_seconds: float = 4.0
    renew_seconds: float = 1.0
    retry_seconds_max: float = 5.0
    window: int = 256
    """Publishes in flight: keys at once, one publish each."""
    rows_max: int = 2048
    """Rows in memory."""
    metrics_seconds: float = 5.0
    stop_seconds: float = 3.0
    """How long a stop waits for what is in flight."""


@dataclass(slots=True)
class _Shard:
    """What is known of a shard. dirty: it may have something; busy: something of it is in flight."""

    dirty: bool = True
    busy: bool = False
    failures: int = 0
    retry_at: float = 0.0


@dataclass(slots=True)
class _Outcome:
    """What became of some rows of one shard: published in order, and the error that ended it."""

    published: list[events.Row] = field(default_factory=list)
    error: Exception | None = None


class LeaseLost(Exception):
    """The shard belongs to another relay now."""


class Relay:
    """Publishes the outbox of one service, together with the relays of its other processes."""

    def __init__(
        self,
        db: database.Database,
        publisher: streams.Publisher,
        service: str,
        *,
        heard: pings.Pings | None = None,
        options: Options | None = None,
        holder: str = "",
    ) -> None:
        """heard: pings that wake it. holder: a name for logs and leases, unique for each process."""
        self.holder = holder or f"{service}-{ids.new_uuid()}"
        self._options = options or Options()
        self._publisher = publisher
        self._service = service
        self._store = store.Store(db, self.holder)
        self._marker = marker.Marker(self._store)
        self._shards = [_Shard() for _ in range(subjects.SHARDS)]
        self._shares = shares.Shares(
            self._store, ttl_seconds=self._options.lease_seconds, is_busy=lambda shard: self._shards[shard].busy
        )
        self._window = asyncio.Semaphore(self._options.window)
        self._rows = 0
        self._woken = asyncio.Event()
        self._flights: set[asyncio.Task[None]] = set()
        self._failing = False
        self._prepared = False
        if heard is not None:
            heard.listen(lambda _tenant, key: self.wake(subjects.shard(key)))

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards that this process holds."""
        return self._shares.held

    def wake(self, shard: int | None = None) -> None:
        """Something was committed: in a shard, or somewhere. Cheap; call it after each commit, in the relay's loop."""
        for one in self._shards if shard is None else (self._shards[shard],):
            one.dirty = True
        self._woken.set()

    async def run(self) -> None:
        """Runs until cancelled; then lets what is in flight end, marks it and gives the shards back."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_shares())
                group.create_task(self._pump())
                group.create_task(self._measure())
        finally:
            await self._stop()

    async def _stop(self) -> None:
        if self._flights:
            await asyncio.wait(self._flights, timeout=self._options.stop_seconds)
            for flight in self._flights:
                flight.cancel()
        with contextlib.suppress(Exception):  # the leases end by themselves
            async with asyncio.timeout(self._options.stop_seconds):
                await self._shares.release_all()

    async def _keep_shares(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._options.lease_seconds):
                    for shard in await self._shares.tick():
                        self._shards[shard].retry_at = 0.0
                        self.wake(shard)
            except Exception as error:  # noqa: BLE001 - PostgreSQL restarts; what is held ends by itself
                self._say_failing(error)
            await asyncio.sleep(self._options.renew_seconds * random.uniform(0.8, 1.2))  # noqa: S311

    async def _pump(self) -> None:
        poll_at = 0.0
        failures = 0
        while True:
            if not self._prepared or not self._publisher.connected:
                await self._prepare()
            if time.monotonic() >= poll_at:
                self.wake()
                poll_at = time.monotonic() + self._options.poll_seconds
            self._woken.clear()
            try:
                await self._launch()
                failures = 0
            except Exception as error:  # noqa: BLE001 - the database, mostly; said once, tried for ever
                self._say_failing(error)
                failures += 1
                await asyncio.sleep(self._backoff(failures))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, poll_at - time.monotonic())):
                    await self._woken.wait()
            await asyncio.sleep(self._options.linger_seconds)

    async def _prepare(self) -> None:
        """Waits for NATS, and for the stream: a server that lost its data has none."""
        if not self._publisher.connected:
            log.warning("relay.paused", reason="NATS does not answer")
            await self._publisher.wait_connected()
            log.info("relay.resumed")
        with contextlib.suppress(Exception):  # publishing fails without a stream, and tries this again
            await self._publisher.ensure_stream()
        self._prepared = True
        self.wake()

    async def _launch(self) -> None:
        """Fetches what is ready and sends it off; returns before it is published."""
        now = time.monotonic()
        ready = [
            number
            for number in self._shares.held
            if (shard := self._shards[number]).dirty and not shard.busy and shard.retry_at <= now
        ]
        room = self._options.rows_max - self._rows
        ready = ready[: room // ROWS_PER_SHARD_MIN]
        if not ready:
            return
        for number in ready:  # before the fetch: what is committed during it makes it dirty again
            self._shards[number].dirty = False
        per_shard = min(self._options.window, room // len(ready))
        try:
            async with asyncio.timeout(DATABASE_SECONDS_MAX):
                found = await self._store.fetch(ready, per_shard)
        except BaseException:
            for number in ready:
                self._shards[number].dirty = True
            raise
        for number, rows in found.items():
            fence = self._shares.fence(number)
            if fence is not None:
                self._shards[number].busy = True
                self._rows += len(rows)
                flight = asyncio.create_task(self._fly(number, fence, rows, full=len(rows) >= per_shard))
                self._flights.add(flight)
                flight.add_done_callback(self._flights.discard)

    async def _fly(self, number: int, fence: int, rows: list[events.Row], *, full: bool) -> None:
        """Publishes rows of one shard and marks them; the shard is free again afterwards."""
        shard = self._shards[number]
        error: Exception | None = None
        try:
            outcome = await self._publish_shard(number, fence, rows)
            error = outcome.error
            if outcome.published:
                async with asyncio.timeout(DATABASE_SECONDS_MAX):
                    await self._marker.mark(outcome.published, fence)
        except Exception as failed:  # noqa: BLE001 - unmarked rows are published again and dropped as duplicates
            error = failed
        finally:
            shard.busy = False
            self._rows -= len(rows)
        if error is not None:
            await self._postpone(number, shard, error)
            return
        shard.failures = 0
        if self._failing:
            self._failing = False
            log.info("relay.recovered")
        if full or len(outcome.published) < len(rows):
            shard.dirty = True
        if shard.dirty:
            self._woken.set()

    async def _postpone(self, number: int, shard: _Shard, error: Exception) -> None:
        """After a failure: the shard is read again from its first unpublished event, a little later."""
        shard.failures += 1
        delay = self._backoff(shard.failures)
        shard.retry_at = time.monotonic() + delay
        asyncio.get_running_loop().call_later(delay + 0.001, self.wake, number)
        if isinstance(error, LeaseLost):
            return
        first = not self._failing
        self._say_failing(error)
        if first or shard.failures % 4 == 0:  # a stream that was deleted, or a server that lost its data
            with contextlib.suppress(Exception):
                await self._publisher.ensure_stream()

    async def _publish_shard(self, number: int, fence: int, rows: Sequence[events.Row]) -> _Outcome:
        keys: dict[tuple[uuid.UUID, str], list[events.Row]] = {}
        for row in rows:
            keys.setdefault((row.tenant_id, row.key), []).append(row)
        outcomes = await asyncio.gather(*(self._publish_key(number, fence, key) for key in keys.values()))
        return _Outcome(
            [row for outcome in outcomes for row in outcome.published],
            next((outcome.error for outcome in outcomes if outcome.error is not None), None),
        )

    async def _publish_key(self, number: int, fence: int, rows: Sequence[events.Row]) -> _Outcome:
        """One after the other; ends at the first that fails, so that nothing overtakes it."""
        outcome = _Outcome()
        async with self._window:
            for row in sorted(rows, key=lambda row: row.seq_to):
                if self._shares.fence(number) != fence:
                    outcome.error = LeaseLost()
                    break
                try:
                    await self._publish(row)
                except streams.Unpublishable as error:
                    # Not lost: a consumer that misses it reads it from the owner. Waiting would stop the key.
                    UNPUBLISHABLE.labels(self._service).inc()
                    log.error("relay.unpublishable", event_id=row.id, type=row.type, reason=str(error))  # noqa: TRY400
                except Exception as error:  # noqa: BLE001 - whatever it is, the key waits and is tried again
                    outcome.error = error
                    break
                outcome.published.append(row)
        return outcome

    async def _publish(self, row: events.Row) -> None:
        subject = events.subject(row)
        kind = subjects.prefix(row.type)
        facts = {"messaging.system": "nats", "messaging.operation.type": "send", "messaging.destination.name": kind}
        with telemetry.span(f"publish {kind}", "producer", facts, parent=row.traceparent):
            headers = {"Nats-Msg-Id": str(row.id), "Tillmesh-Key": subjects.token(row.key)}
            if parent := telemetry.traceparent():
                headers[telemetry.TRACEPARENT] = parent
            await self._publisher.publish(subject, events.envelope(row).SerializeToString(), headers)
        PUBLISHED.labels(self._service).inc()

    async def _measure(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # the pump says what is wrong
                backlog = await self._store.backlog(self._shares.held)
                LAG.labels(self._service).set(backlog.lag_seconds)
                UNPUBLISHED.labels(self._service).set(backlog.unpublished)
            await asyncio.sleep(self._options.metrics_seconds)

    def _say_failing(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            log.warning("relay.failing", error=type(error).__qualname__)

    def _backoff(self, failures: int) -> float:
        delay = min(self._options.retry_seconds_max, 0.05 * 2.0 ** min(failures, 10))
        return delay * random.uniform(0.5, 1.0)  # noqa: S311
