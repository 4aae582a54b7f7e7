from __future__ import annotations

import asyncio
import collections
import contextlib
import random

import nats.errors
import psycopg
import sqlalchemy as sa

from services.kit import events, outbox, pipeline, relay, streams, subjects
from services.kit.relay import store as relay_store
from services.mesh import postgres
from tests.integration.kit_messaging import messaging_worlds as worlds
from tillmesh.common.v1 import event_pb2

KEYS = [f"loc_{n}" for n in range(12)]


async def test_what_is_committed_is_published_whole_and_in_order(world: worlds.World) -> None:
    world.spawn(world.relay().run())
    events_ = [event for _ in range(4) for key in KEYS for event in await world.emit(key)]
    await world.until_published()
    published = await world.in_stream()
    assert len(published) == len(events_)
    for key in KEYS:
        assert [one.seq_from for one in published if one.key == key] == list(range(1, 5))
    first = published[0]
    assert first.tenant_id == world.tenant_id
    assert first.type == "tillmesh.orders.v1.SalesRecorded"
    assert first.data == next(e for e in events_ if e.key == first.key).message.SerializeToString()


async def test_a_message_names_its_key_its_trace_and_its_id_in_headers(world: worlds.World) -> None:
    world.spawn(world.relay().run())
    await world.emit("loc_a")
    await world.until_published()
    message = await world.owner_broker.jetstream.get_msg("ORDERS", 1)
    assert message.subject == subjects.subject(
        "tillmesh.orders.v1.SalesRecorded", world.tenant_id, subjects.shard("loc_a")
    )
    assert message.headers is not None
    assert message.headers["Tillmesh-Key"] == "loc_a"
    assert message.headers["Nats-Msg-Id"]


async def test_order_within_a_key_survives_publishes_that_fail(world: worlds.World) -> None:
    """Failures before and after the stream has stored the message, and acknowledgements that never come."""
    chance = random.Random(7)

    async def before(_envelope: event_pb2.EventEnvelope) -> None:
        if chance.random() < 0.1:
            raise nats.errors.TimeoutError

    async def after(_envelope: event_pb2.EventEnvelope) -> None:
        if chance.random() < 0.1:
            raise nats.errors.TimeoutError

    publisher = worlds.Publishing(world.publisher, before=before, after=after)
    world.spawn(world.relay(publisher=publisher).run())
    for _ in range(8):
        await asyncio.gather(*(world.emit(key) for key in KEYS))
    await world.until_published()
    published = await world.in_stream()
    for key in KEYS:
        assert [one.seq_from for one in published if one.key == key] == list(range(1, 9))


async def test_a_key_that_hangs_does_not_stop_keys_of_other_shards(world: worlds.World) -> None:
    hung = asyncio.Event()

    async def before(envelope: event_pb2.EventEnvelope) -> None:
        if envelope.key == "loc_0":
            hung.set()
            await asyncio.Event().wait()

    world.spawn(world.relay(publisher=worlds.Publishing(world.publisher, before=before)).run())
    await world.emit("loc_0")
    await hung.wait()
    others = [key for key in KEYS if subjects.shard(key) != subjects.shard("loc_0")]
    for key in others:
        await world.emit(key, 3)

    async def only_one_left() -> bool:
        return await world.unpublished() == 1

    await world.until(only_one_left)
    assert len(await world.in_stream()) == 3 * len(others)


async def test_two_relays_share_the_shards_and_never_publish_one_key_at_once(world: worlds.World) -> None:
    flying: collections.Counter[str] = collections.Counter()
    overlaps: list[str] = []

    async def before(envelope: event_pb2.EventEnvelope) -> None:
        flying[envelope.key] += 1
        if flying[envelope.key] > 1:
            overlaps.append(envelope.key)
        await asyncio.sleep(0.002)

    async def after(envelope: event_pb2.EventEnvelope) -> None:
        flying[envelope.key] -= 1

    def one(name: str) -> relay.Relay:
        return world.relay(publisher=worlds.Publishing(world.publisher, before=before, after=after), holder=name)

    first, second = one("first"), one("second")
    first_run = world.spawn(first.run())
    await world.emit("loc_0")
    await world.until_published()
    assert len(first.shards) == 64
    world.spawn(second.run())
    while len(second.shards) < 32:  # the first gives away what is beyond its fair share
        for key in KEYS:
            await world.emit(key)
    assert len(first.shards) == 32
    assert not set(first.shards) & set(second.shards)
    first_run.cancel()  # a clean end hands over at once
    for key in KEYS:
        await world.emit(key, 3)
    await world.until_published()
    assert overlaps == []
    published = await world.in_stream()
    for key in KEYS:
        assert [one.seq_from for one in published if one.key == key] == list(range(1, world.heads[key] + 1))


async def test_a_relay_that_lost_its_lease_publishes_and_marks_nothing_more(world: worlds.World) -> None:
    sent: list[int] = []
    frozen, thaw = asyncio.Event(), asyncio.Event()

    async def before(envelope: event_pb2.EventEnvelope) -> None:
        sent.append(envelope.seq_from)
        if envelope.seq_from == 1:
            frozen.set()
            await thaw.wait()

    stale = world.relay(publisher=worlds.Publishing(world.publisher, before=before), holder="stale")
    run = world.spawn(stale.run())
    await world.emit("loc_0", 3)
    await frozen.wait()
    await worlds.take_over(world, "another")  # as if the process had been asleep for longer than its lease
    await world.until(lambda: _no_shards(stale))
    thaw.set()
    await asyncio.sleep(0)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert sent == [1]
    assert await world.unpublished() == 3


async def _no_shards(stale: relay.Relay) -> bool:
    return not stale.shards


async def test_a_mark_under_an_old_fence_has_no_effect(world: worlds.World) -> None:
    await world.emit("loc_0")
    leases = relay_store.Store(world.owner, "me")
    fences = await leases.claim(64, 5)
    shard = subjects.shard("loc_0")
    row = (await leases.fetch([shard], 10))[shard][0]
    await leases.mark([(row, fences[shard] - 1)])
    assert await world.unpublished() == 1
    await leases.mark([(row, fences[shard])])
    assert await world.unpublished() == 0


async def test_a_ping_of_another_process_wakes_the_relay(world: worlds.World) -> None:
    """With a poll of ten minutes, only the ping can have done it."""
    heard = worlds.pings.Pings(world.owner_broker, worlds.OWNER)
    await heard.start()
    options = relay.Options(poll_seconds=600, renew_seconds=0.3)
    world.spawn(world.relay(heard=heard, options=options).run())
    await world.emit("loc_0")
    await world.until_published()  # by what a start looks for
    await world.emit("loc_0", 2)  # world.pings stands for another process: they know each other only over NATS
    await world.until_published()
    await heard.stop()


async def test_without_any_wake_up_the_poll_finds_what_was_committed(world: worlds.World) -> None:
    world.spawn(world.relay(heard=None).run())
    await world.emit("loc_0", 3)
    await world.until_published()


async def test_an_event_too_large_for_the_server_does_not_stop_its_key(world: worlds.World) -> None:
    """It is not lost: consumers read it from the owner."""

    async def before(envelope: event_pb2.EventEnvelope) -> None:
        if envelope.seq_from == 2:
            raise streams.Unpublishable

    world.spawn(world.relay(publisher=worlds.Publishing(world.publisher, before=before)).run())
    world.spawn(world.inbox().run())
    await world.emit("loc_0", 3)
    await world.until_applied()
    assert [one.seq_from for one in await world.in_stream()] == [1, 3]


async def test_the_relay_survives_the_loss_of_its_database_connections(
    world: worlds.World, cluster: postgres.Cluster
) -> None:
    world.spawn(world.relay().run())
    await world.emit("loc_0")
    await world.until_published()
    with psycopg.connect(cluster.url(), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('orders_worker', 'orders_app')"
        )
    for _ in range(8):  # as many as the writer's pool has connections: the first ones find theirs dead
        with contextlib.suppress(sa.exc.OperationalError):
            await world.emit("loc_0")
    await world.until_published()
    assert world.heads["loc_0"] > 1
    assert [one.seq_from for one in await world.in_stream()] == list(range(1, world.heads["loc_0"] + 1))


async def test_a_lane_writes_the_same_row_in_its_own_statement(world: worlds.World) -> None:
    event = events.Event("loc_0", 1, 1, 5, worlds.orders_events_pb2.SalesRecorded(location_id="x"), worlds.clock.now())
    async with world.owner.lane_connection() as lane:
        ((now,),) = (await lane.begin(world.tenant, (pipeline.Statement("SELECT clock_timestamp()"), ())))[0]
        insert = pipeline.Named(f"WITH o AS ({outbox.LANE_INSERT}) SELECT 1")
        await lane.commit_with(insert.bind(outbox.lane_parameters([event], now)))
    world.spawn(world.relay().run())
    await world.until_published()
    (envelope,) = await world.in_stream()
    assert (envelope.seq_from, envelope.seq_to, envelope.key) == (1, 5, "loc_0")
    assert envelope.recorded_at.ToDatetime(worlds.clock.UTC) == now
