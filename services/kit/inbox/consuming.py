"""The flow of the inbox: messages grouped by key, in order within it, keys side by side, acknowledged after the commit.

A message is never acknowledged before its effect is committed, its event is known to be applied, or it is in the dead
letter table (or waits behind one that is: the owner has it). Everything else comes again. An acknowledgement that gets
lost brings a duplicate, which the cursor drops.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, Final

import google.protobuf.message
import prometheus_client
import structlog
from nats.aio import msg as nats_msg

from services.kit import broker, database, errors, subjects, telemetry
from services.kit.inbox import catching_up, dead, effects, positions, pulling, subscriptions, troubles
from tillmesh.common.v1 import event_pb2

log = structlog.get_logger()

Limits = troubles.Limits
Key = tuple[str, str]
ACK_WAIT_SECONDS: Final = 30.0
HELD_MAX: Final = 512  # messages in memory; what is beyond stays in the stream
CONCURRENCY: Final = 3  # a worker session each: the pool has four, and the relay needs one
STOP_SECONDS: Final = 3.0
UNAVAILABLE_SECONDS: Final = 5.0

EVENTS = prometheus_client.Counter(
    "tillmesh_inbox_events_total", "Deliveries by what became of them.", ["consumer", "outcome"]
)
REPLAYED = prometheus_client.Counter(
    "tillmesh_inbox_replayed_total", "Events that were read from their owner.", ["consumer"]
)
DEAD = prometheus_client.Counter("tillmesh_inbox_dead_letters_total", "Events that were given up.", ["consumer"])
DELAY = prometheus_client.Histogram(
    "tillmesh_inbox_delay_seconds",
    "From recorded at the owner to applied here.",
    ["consumer"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300),
)


def error_name(error: BaseException) -> str:
    """What is kept and logged of an effect's error: its reason or class, never data."""
    return error.reason if isinstance(error, errors.Error) else type(error).__qualname__


class Delivery:
    """A message in hand. Answers are best effort: one that gets lost only brings the message again."""

    def __init__(self, message: nats_msg.Msg, envelope: event_pb2.EventEnvelope) -> None:
        self._message = message
        self.envelope = envelope

    async def ack(self) -> None:
        """It is done."""
        with contextlib.suppress(Exception):
            await self._message.ack()

    async def nak(self, delay_seconds: float) -> None:
        """Again, after a while."""
        with contextlib.suppress(Exception):
            await self._message.nak(delay_seconds)

    async def in_progress(self) -> None:
        """Not yet: it waits or is worked on."""
        with contextlib.suppress(Exception):
            await self._message.in_progress()


class Inbox:
    """One consumer of one source."""

    def __init__(
        self,
        db: database.Database,
        service: str,
        connection: broker.Broker,
        subscription: subscriptions.Subscription,
        *,
        limits: Limits | None = None,
        concurrency: int = CONCURRENCY,
        ack_wait_seconds: float = ACK_WAIT_SECONDS,
    ) -> None:
        """concurrency: effects at once, of different keys; an effect that feeds a lane takes more."""
        self.subscription = subscription
        self._database = db
        self._name = subscription.durable
        self._ack_wait_seconds = ack_wait_seconds
        self._troubles = troubles.Troubles(limits or Limits())
        self._catch_up = catching_up.CatchUp(db, service, subscription)
        self._puller = pulling.Puller(
            connection, subscription, ack_wait_seconds=ack_wait_seconds, arrive=self._arrive, room=self._room
        )
        self._slots = asyncio.Semaphore(concurrency)
        self._queues: dict[Key, collections.deque[Delivery]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._held: set[Delivery] = set()
        self._freed = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Consumes until cancelled; then finishes what is in progress and hands the rest back."""
        self._stopping = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._puller.run())
                group.create_task(self._keep_in_progress())
        finally:
            self._stopping = True
            if self._workers:
                await asyncio.wait(self._workers, timeout=STOP_SECONDS)
            for worker in self._workers:
                worker.cancel()

    async def undelivered(self) -> int:
        """How many messages of the stream are still to come."""
        return await self._puller.undelivered()

    async def catch_up(self, tenant_id: str, key: str, wanted: positions.Position) -> bool:
        """Replays a key from its owner until it has reached a position. False when it hasn't: later again.

        An event that fails is counted like a delivery of it, and set aside when it has failed too often.
        """
        try:
            reached = await self._replay(tenant_id, key, wanted)
        except catching_up.ReplayFailed as failed:
            await self._failed(failed.envelope, failed.__cause__ or failed)
            return False
        self._troubles.clear(tenant_id, key)
        return reached >= wanted

    async def is_parked(self, tenant_id: str, key: str) -> bool:
        """Whether the key waits behind a dead letter."""
        return await dead.is_parked(self._database, self.subscription.consumer, tenant_id, key)

    async def _room(self) -> int:
        while len(self._held) >= HELD_MAX:
            self._freed.clear()
            await self._freed.wait()
        return HELD_MAX - len(self._held)

    def _arrive(self, message: nats_msg.Msg) -> None:
        try:
            envelope = event_pb2.EventEnvelope.FromString(message.data)
            subjects.prefix(envelope.type)
        except (google.protobuf.message.DecodeError, ValueError):
            log.error(  # noqa: TRY400 - the traceback says nothing more
                "inbox.not_an_event", consumer=self._name, subject=message.subject
            )
            self._spawn(
                Delivery(message, event_pb2.EventEnvelope()).ack()
            )  # no retry can mend it; the owner has the event
            return
        delivery = Delivery(message, envelope)
        self._held.add(delivery)
        key = (envelope.tenant_id, envelope.key)
        queue = self._queues.get(key)
        if queue is None:
            self._queues[key] = collections.deque([delivery])
            self._spawn(self._work(key))
        else:
            queue.append(delivery)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"inbox {self._name}")
        self._workers.add(task)
        task.add_done_callback(self._workers.discard)

    async def _work(self, key: Key) -> None:
        """All that has arrived of one key, one after the other."""
        queue = self._queues[key]
        while queue:
            delivery = queue.popleft()
            try:
                async with self._slots:
                    if self._stopping:
                        await delivery.nak(0)
                    else:
                        await self._handle(delivery)
            except Exception:
                log.exception("inbox.defect", consumer=self._name)
                await delivery.nak(1.0)
            finally:
                self._held.discard(delivery)
                self._freed.set()
        del self._queues[key]

    async def _handle(self, delivery: Delivery) -> None:
        envelope = delivery.envelope
        wait = self._troubles.hold_back(envelope)
        if wait > 0:
            await delivery.nak(wait)
            return
        try:
            outcome = await self._apply(envelope)
        except Exception as error:  # noqa: BLE001 - whatever an effect raises decides what becomes of the event
            delay = await self._failed(envelope, error)
            await (delivery.ack() if delay is None else delivery.nak(delay))
            return
        EVENTS.labels(self._name, outcome.value).inc()
        if outcome is effects.Outcome.AHEAD:
            await self._ahead(delivery)
            return
        if outcome is effects.Outcome.APPLIED:
            self._troubles.clear(envelope.tenant_id, envelope.key)
            DELAY.labels(self._name).observe(max(0.0, time.time() - envelope.recorded_at.ToNanoseconds() / 1e9))
        await delivery.ack()

    async def _apply(self, envelope: event_pb2.EventEnvelope) -> effects.Outcome:
        kind = subjects.prefix(envelope.type)
        facts = {
            "messaging.system": "nats",
            "messaging.operation.type": "process",
            "messaging.destination.name": kind,
            "messaging.message.id": envelope.id,
            "messaging.consumer.group.name": self._name,
        }
        # A traceparent names the one request that caused the event, so the trace goes on; several causes carry none.
        with telemetry.span(f"process {kind}", "consumer", facts, parent=envelope.traceparent):
            return await self.subscription.effect.apply(envelope)

    async def _ahead(self, delivery: Delivery) -> None:
        """Something before it is missing: waits for it three times, then asks the owner."""
        envelope = delivery.envelope
        try:
            if await self.is_parked(envelope.tenant_id, envelope.key):
                EVENTS.labels(self._name, "parked").inc()
                await delivery.ack()  # it waits in the owner's outbox for the replay of the dead letter
                return
            delay = self._troubles.ahead(envelope)
            if delay is not None:
                await delivery.nak(delay)
                return
            wanted = positions.of(envelope)
            reached = await self._replay(envelope.tenant_id, envelope.key, wanted)
            # Not reached: the owner doesn't have this event. It may after a moment, or it was lost in a restore.
            delay = None if reached >= wanted else await self._failed(envelope, catching_up.Inconsistent())
        except catching_up.ReplayFailed as failed:
            delay = await self._failed(failed.envelope, failed.__cause__ or failed)
        except Exception as error:  # noqa: BLE001 - the owner or the database doesn't answer
            # That the owner refuses us is never the event's fault; that it no longer keeps what is missing is final.
            refused = isinstance(error, errors.Error) and not isinstance(error, errors.ResyncRequired)
            delay = await self._failed(envelope, error, passing=refused)
        if delay is None:
            self._troubles.clear(envelope.tenant_id, envelope.key)
        await (delivery.ack() if delay is None else delivery.nak(delay))

    async def _replay(self, tenant_id: str, key: str, wanted: positions.Position) -> positions.Position:
        done = await self._catch_up.run(tenant_id, key, wanted)
        if done.applied:
            REPLAYED.labels(self._name).inc(done.applied)
            log.info("inbox.replayed", consumer=self._name, key=key, events=done.applied)
        return done.position

    async def _failed(
        self, envelope: event_pb2.EventEnvelope, error: BaseException, *, passing: bool = False
    ) -> float | None:
        """Seconds until the event is tried again; None when it was set aside. passing: it is not the event's fault."""
        transient = passing or effects.is_transient(error)
        delay = self._troubles.failed(envelope, transient=transient)
        name = error_name(error)
        EVENTS.labels(self._name, "delayed" if transient else "failed").inc()
        attempts = self._troubles.attempts(envelope)
        if delay is not None:
            if attempts in (1, 10, 100):  # the last one is said with the dead letter
                log.warning(
                    "inbox.failed",
                    consumer=self._name,
                    event_id=envelope.id,
                    error=name,
                    attempts=attempts,
                    exc_info=error,
                )
            return delay
        try:
            await dead.put(self._database, self.subscription.consumer, envelope, error=name, attempts=attempts)
        except Exception:  # noqa: BLE001 - without a place for it, it stays in the stream
            return UNAVAILABLE_SECONDS
        DEAD.labels(self._name).inc()
        log.error("inbox.dead_letter", consumer=self._name, event_id=envelope.id, type=envelope.type, error=name)
        self._troubles.clear(envelope.tenant_id, envelope.key)
        return None

    async def _keep_in_progress(self) -> None:
        """Tells the server now and then that what is in hand is not lost, however long effects or queues take."""
        while True:
            await asyncio.sleep(self._ack_wait_seconds / 3)
            for delivery in list(self._held):
                await delivery.in_progress()
