"""Builders: two services on real servers, Orders as the owner of events and Inventory as their consumer."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from services.kit import (
    broker,
    clock,
    database,
    dead_letters,
    events,
    events_servicer,
    ids,
    inbox,
    outbox,
    pings,
    reconcile,
    relay,
    schema,
    streams,
)
from services.mesh import nats as mesh_nats
from services.mesh import postgres
from tillmesh.common.v1 import event_pb2
from tillmesh.orders.v1 import orders_events_pb2

OWNER, CONSUMER = "orders", "inventory"
# Databases of their own: the template names belong to the services' migrations.
TABLES = ["outbox", "inbox_cursor", "dead_letter", "worker_lease", "relay_member", "applied"]
QUICK = relay.Options(poll_seconds=0.3, lease_seconds=4, renew_seconds=0.3, retry_seconds_max=0.2, stop_seconds=0.3)
PATIENCE = inbox.Limits(
    ahead_delays=(0.02, 0.04, 0.08),
    defect_delay=0.02,
    defect_delay_max=0.05,
    transient_delay=0.02,
    transient_delay_max=0.05,
)
RECORD = sa.text("""
INSERT INTO applied (tenant_id, consumer, key, seq_from, seq_to, event_id)
VALUES (current_setting('app.tenant_id')::uuid, :consumer, :key, :seq_from, :seq_to, :event_id)
""")


def prepare(cluster: postgres.Cluster, service: str) -> tuple[str, str]:
    """A database with the messaging tables and one for effects. Returns URLs of the app and the worker role."""
    name = f"messaging_{service}"
    with psycopg.connect(cluster.url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} OWNER {service}_owner")
    with psycopg.connect(cluster.url(name), autocommit=True) as admin:
        admin.execute(f"GRANT USAGE ON SCHEMA public TO {service}_app, {service}_worker")
        admin.execute(f"GRANT ALL ON SCHEMA public TO {service}_owner")
        admin.execute(f"SET ROLE {service}_owner")
        applied = """CREATE TABLE applied (n bigserial, tenant_id uuid NOT NULL, consumer text NOT NULL, key text NOT NULL,
            seq_from bigint NOT NULL, seq_to bigint NOT NULL, event_id text NOT NULL)"""
        for statement in [
            *schema.partitions(service),
            *schema.messaging(service),
            applied,
            *schema.tenant_table(service, "applied", app="SELECT, INSERT"),
            f"GRANT USAGE ON SEQUENCE applied_n_seq TO {service}_app",
            "SELECT maintain_partitions()",
        ]:
            admin.execute(statement)
    return cluster.url(name, f"{service}_app"), cluster.url(name, f"{service}_worker")


def empty(cluster: postgres.Cluster, service: str) -> None:
    """A fresh start for the next test."""
    with psycopg.connect(cluster.url(f"messaging_{service}"), autocommit=True) as admin:
        for table in TABLES:  # few rows: TRUNCATE of all partitions takes longer
            admin.execute(f"DELETE FROM {table}")
        admin.execute("UPDATE relay_lease SET holder = '', fence = 0, expires_at = '-infinity'")


async def take_over(world: World, holder: str) -> None:
    """Gives all shards of the owner to another relay, as happens when their holder doesn't renew in time."""
    async with world.owner.worker() as session:
        query = "UPDATE relay_lease SET holder = :holder, fence = fence + 1, expires_at = 'infinity'"
        await session.execute(sa.text(query), {"holder": holder})


class Servicer:
    """An Owner that asks the servicer itself: the rpc around it is tested with the server."""

    def __init__(self, db: database.Database) -> None:
        self.servicer = events_servicer.EventsServicer(db)
        self.reads = 0
        self.down = False

    async def read_events(
        self, tenant_id: str, key: str, after_seq: int, limit: int
    ) -> Sequence[event_pb2.EventEnvelope]:
        self.reads += 1
        if self.down:
            raise ConnectionError
        request = event_pb2.ReadEventsRequest(tenant_id=tenant_id, key=key, after_seq=after_seq, limit=limit)
        return (await self.servicer.ReadEvents(request, None)).events

    async def list_event_heads(
        self, recorded_after: dt.datetime | None, page_size: int, page_token: str
    ) -> event_pb2.ListEventHeadsResponse:
        request = event_pb2.ListEventHeadsRequest(page_size=page_size, page_token=page_token)
        if recorded_after is not None:
            request.recorded_after.FromDatetime(recorded_after)
        return await self.servicer.ListEventHeads(request, None)


class World:
    """Both services' databases and brokers in one process, with one tenant."""

    def __init__(
        self,
        owner: database.Database,
        consumer: database.Database,
        owner_broker: broker.Broker,
        consumer_broker: broker.Broker,
        server: mesh_nats.NatsServer,
    ) -> None:
        self.owner, self.consumer = owner, consumer
        self.owner_broker, self.consumer_broker = owner_broker, consumer_broker
        self.server = server
        self.pings = pings.Pings(owner_broker, OWNER)
        self.publisher = streams.JetStreamPublisher(owner_broker, OWNER, bytes_max=64 * 1024**2)
        self.source = Servicer(owner)
        self.tenant_id = ids.new("ten")
        self.tenant = events.tenant_uuid(self.tenant_id)
        self.heads: collections.Counter[str] = collections.Counter()
        self.epoch = 1
        self.arrived = asyncio.Condition()
        self._tasks: list[asyncio.Task[Any]] = []

    async def emit(self, key: str, count: int = 1, *, span: int = 1, size: int = 0) -> list[events.Event]:
        """Commits events of a key, one transaction each, and pings. span: positions of each."""
        return [await self._emit_one(key, span, size) for _ in range(count)]

    async def _emit_one(self, key: str, span: int, size: int) -> events.Event:
        first = self.heads[key] + 1
        message = orders_events_pb2.SalesRecorded(location_id=f"{key}{'x' * size}")
        event = events.Event(key, self.epoch, first, first + span - 1, message, clock.now())
        async with self.owner.transaction(self.tenant) as session:
            await outbox.append(session, [event])
        self.heads[key] += span
        self.pings.send(self.tenant_id, key)
        return event

    def relay(self, **given: Any) -> relay.Relay:
        given = {"options": QUICK, "heard": self.pings, "publisher": self.publisher, **given}
        return relay.Relay(self.owner, given.pop("publisher"), OWNER, **given)

    async def record(self, session: database.WriteSession, envelope: event_pb2.EventEnvelope) -> None:
        """A handler: writes down what it applied."""
        given = {name: getattr(envelope, name) for name in ("key", "seq_from", "seq_to")}
        await session.execute(RECORD, {**given, "consumer": "inventory", "event_id": envelope.id})

    def subscription(self, handler: Any = None, consumer: str = CONSUMER, **given: Any) -> inbox.Subscription:
        async def handle(session: database.WriteSession, envelope: event_pb2.EventEnvelope) -> None:
            await (handler or self.record)(session, envelope)

        effect = given.pop("effect", None) or inbox.SessionEffect(self.consumer, CONSUMER, consumer, handle)
        return inbox.Subscription(consumer, OWNER, Telling(effect, self.arrived), self.source, **given)

    def inbox(self, subscription: inbox.Subscription | None = None, **given: Any) -> inbox.Inbox:
        given = {"limits": PATIENCE, **given}
        return inbox.Inbox(self.consumer, CONSUMER, self.consumer_broker, subscription or self.subscription(), **given)

    def reconciler(self, inbox_: inbox.Inbox) -> reconcile.Reconciler:
        options = reconcile.Options(every_seconds=0.2, grace_seconds=0.1)
        return reconcile.Reconciler(self.consumer, inbox_, options)

    def letters(self, subscription: inbox.Subscription) -> dead_letters.DeadLetters:
        return dead_letters.DeadLetters(self.consumer, CONSUMER, [subscription])

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs something until the test ends."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def applied(self) -> dict[str, list[tuple[int, int]]]:
        """What was applied, by key, in the order in which it was."""
        found: dict[str, list[tuple[int, int]]] = collections.defaultdict(list)
        async with self.consumer.read(self.tenant) as session:
            rows = await session.execute(sa.text("SELECT key, seq_from, seq_to FROM applied ORDER BY n"))
            for key, seq_from, seq_to in rows:
                found[key].append((seq_from, seq_to))
        return dict(found)

    async def until(self, holds: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
        """Waits for something that effects bring about."""
        end = time.monotonic() + seconds
        while not await holds():
            assert time.monotonic() < end, "it didn't happen in time"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1), self.arrived:
                    await self.arrived.wait()
            await asyncio.sleep(0.02)  # effects come in bursts: one look at the database for all of them

    async def until_applied(self, *keys: str, seconds: float = 15) -> None:
        """Waits until all that was emitted (of some keys) is applied, and asserts that it was once and in order."""
        wanted = {key: [(n, n) for n in range(1, self.heads[key] + 1)] for key in keys or self.heads}

        async def done() -> bool:
            found = await self.applied()
            return all(len(found.get(key, [])) >= len(wanted[key]) for key in wanted)

        await self.until(done, seconds)
        found = await self.applied()
        assert {key: found[key] for key in wanted} == wanted

    async def unpublished(self) -> int:
        async with self.owner.worker() as session:
            query = sa.text("SELECT count(*) FROM outbox WHERE published_at IS NULL")
            return int((await session.execute(query)).scalar_one())

    async def until_published(self) -> None:
        async def done() -> bool:
            return await self.unpublished() == 0

        await self.until(done)

    async def until_acknowledged(self) -> None:
        """Waits until the consumer has answered for good all that the stream holds."""
        jetstream = self.consumer_broker.jetstream

        async def done() -> bool:
            last = (await self.owner_broker.jetstream.stream_info("ORDERS")).state.last_seq
            info = await jetstream.consumer_info("ORDERS", "inventory--orders")
            assert info.ack_floor is not None
            return info.ack_floor.stream_seq >= last and info.num_ack_pending == 0

        await self.until(done)

    async def in_stream(self) -> list[event_pb2.EventEnvelope]:
        """All that the stream holds, in its order."""
        jetstream = self.owner_broker.jetstream
        state = (await jetstream.stream_info("ORDERS")).state
        numbers = range(state.first_seq, state.last_seq + 1)
        messages = await asyncio.gather(*(jetstream.get_msg("ORDERS", n) for n in numbers))
        return [event_pb2.EventEnvelope.FromString(message.data or b"") for message in messages]

    async def in_stream_count(self) -> int:
        return int((await self.owner_broker.jetstream.stream_info("ORDERS")).state.messages)

    async def purge(self) -> None:
        await self.owner_broker.jetstream.purge_stream("ORDERS")

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pings.stop()


class Telling:
    """An effect that says when it has done something."""

    def __init__(self, effect: inbox.Effect, arrived: asyncio.Condition) -> None:
        self._effect, self._arrived = effect, arrived

    async def apply(self, envelope: event_pb2.EventEnvelope) -> inbox.Outcome:
        try:
            return await self._effect.apply(envelope)
        finally:
            async with self._arrived:
                self._arrived.notify_all()


class Publishing:
    """A publisher around the real one: notes what happens, and lets a test interfere."""

    def __init__(
        self,
        inner: streams.Publisher,
        *,
        before: Callable[[event_pb2.EventEnvelope], Awaitable[None]] | None = None,
        after: Callable[[event_pb2.EventEnvelope], Awaitable[None]] | None = None,
    ) -> None:
        self._inner, self._before, self._after = inner, before, after

    @property
    def connected(self) -> bool:
        return self._inner.connected

    async def wait_connected(self) -> None:
        await self._inner.wait_connected()

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        envelope = event_pb2.EventEnvelope.FromString(data)
        if self._before:
            await self._before(envelope)
        await self._inner.publish(subject, data, headers)
        if self._after:
            await self._after(envelope)

    async def ensure_stream(self) -> None:
        await self._inner.ensure_stream()


def connect(server: mesh_nats.NatsServer, service: str, password: str, folder: Path) -> broker.Broker:
    """A service's broker, with its own password and permissions."""
    file = folder / f"nats-{service}-{uuid.uuid4().hex}"
    file.write_text(password)
    return broker.Broker(server.url, name=service, user=service, password_file=file, inbox_prefix=f"_INBOX.{service}")


@contextlib.asynccontextmanager
async def world(
    urls: Mapping[str, tuple[str, str]], server: mesh_nats.NatsServer, passwords: Mapping[str, str], folder: Path
) -> AsyncIterator[World]:
    """A world that is connected, with an empty stream."""
    databases = {name: database.Database(*urls[name], pool_size=4, lane_connections=1) for name in (OWNER, CONSUMER)}
    brokers = {name: connect(server, name, passwords[name], folder) for name in (OWNER, CONSUMER)}
    for db in databases.values():
        await db.open()
    for one in brokers.values():
        one.start()
        await asyncio.wait_for(one.wait_connected(), 10)
    made = World(databases[OWNER], databases[CONSUMER], brokers[OWNER], brokers[CONSUMER], server)
    with contextlib.suppress(Exception):
        await brokers[OWNER].jetstream.delete_stream("ORDERS")
    await made.publisher.ensure_stream()
    await made.pings.start()
    try:
        yield made
    finally:
        await made.stop()
        for one in brokers.values():
            await one.stop()
        for db in databases.values():
            await db.close()
