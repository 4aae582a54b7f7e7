from __future__ import annotations

import asyncio
import collections

import psycopg
import pytest
import sqlalchemy as sa

from services.kit import database, errors, inbox
from services.kit.inbox import positions
from services.mesh import postgres
from tests.integration.kit_messaging import messaging_worlds as worlds
from tillmesh.common.v1 import event_pb2

KEYS = [f"loc_{n}" for n in range(8)]


async def test_each_event_is_applied_once_and_in_order_of_its_key(world: worlds.World) -> None:
    world.spawn(world.relay().run())
    world.spawn(world.inbox().run())
    for _ in range(5):
        await asyncio.gather(*(world.emit(key) for key in KEYS))
    await world.until_applied()


async def test_two_processes_of_a_consumer_apply_each_event_once_and_in_order(world: worlds.World) -> None:
    world.spawn(world.relay().run())
    subscription = world.subscription()
    for _ in range(2):
        world.spawn(world.inbox(subscription).run())
    for _ in range(5):
        await asyncio.gather(*(world.emit(key) for key in KEYS))
    await world.until_applied()


async def test_duplicates_change_nothing(world: worlds.World) -> None:
    run = world.spawn(world.relay().run())
    await world.emit("loc_0", 3)
    await world.until_published()
    run.cancel()
    for envelope in await world.in_stream():  # once more, under another message id: after the duplicate window
        await world.publisher.publish("tillmesh.orders.v1.again.x.00", envelope.SerializeToString(), {})
    world.spawn(world.inbox().run())
    await world.until_applied()
    await world.until_acknowledged()
    assert (await world.applied())["loc_0"] == [(1, 1), (2, 2), (3, 3)]


async def test_an_event_that_comes_too_early_waits_for_the_ones_before_it(world: worlds.World) -> None:
    run = world.spawn(world.relay().run())
    await world.emit("loc_0", 4)
    await world.until_published()
    run.cancel()
    envelopes = await world.in_stream()
    await world.purge()
    world.source.down = True  # so that only the stream can bring them
    world.spawn(world.inbox(limits=inbox.Limits(ahead_delays=(0.2, 0.2, 0.2))).run())
    for envelope in (envelopes[3], envelopes[1], envelopes[2], envelopes[0]):
        await world.publisher.publish("tillmesh.orders.v1.again.x.00", envelope.SerializeToString(), {})
    await world.until_applied()
    assert world.source.reads == 0


async def test_a_gap_is_filled_from_the_owner(world: worlds.World) -> None:
    run = world.spawn(world.relay().run())
    await world.emit("loc_0", 6)
    await world.until_published()
    run.cancel()
    for lost in (1, 2, 4):
        await world.owner_broker.jetstream.delete_msg("ORDERS", lost)
    world.spawn(world.inbox().run())
    await world.until_applied()
    assert world.source.reads > 0


async def test_a_gap_is_filled_later_when_the_owner_does_not_answer_now(world: worlds.World) -> None:
    run = world.spawn(world.relay().run())
    await world.emit("loc_0", 3)
    await world.until_published()
    run.cancel()
    await world.owner_broker.jetstream.delete_msg("ORDERS", 1)
    world.source.down = True
    world.spawn(world.inbox().run())

    async def asked() -> bool:
        return world.source.reads >= 3

    await world.until(asked)
    world.source.down = False
    await world.until_applied()


async def test_a_purged_tail_is_caught_up_though_the_source_stays_silent(world: worlds.World) -> None:
    world.spawn(world.relay().run())
    consumer = world.inbox()
    run = world.spawn(consumer.run())
    await world.emit("loc_0", 2)
    await world.until_applied()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await world.emit("loc_0")
    await world.emit("loc_1", 2)
    await world.until_published()
    await world.purge()
    world.spawn(consumer.run())
    world.spawn(world.reconciler(consumer).run())
    await world.until_applied()


async def test_events_reach_the_consumer_even_while_nats_has_lost_everything_and_no_relay_runs(
    world: worlds.World,
) -> None:
    await world.emit("loc_0", 110)  # more than a page
    await world.emit("loc_1", 3)
    world.spawn(world.reconciler(world.inbox()).run())
    await world.until_applied()


async def test_reconciliation_leaves_alone_what_is_up_to_date(world: worlds.World) -> None:
    world.spawn(world.relay().run())
    consumer = world.inbox()
    world.spawn(consumer.run())
    await world.emit("loc_0", 3)
    await world.until_applied()
    assert await world.reconciler(consumer).compare() == 0
    assert world.source.reads == 0


async def test_an_error_that_may_pass_is_not_poison(world: worlds.World) -> None:
    """Ten conflicts, twice as many as a defect may cost, then it works."""
    tries: collections.Counter[int] = collections.Counter()

    async def handler(session: database.WriteSession, envelope: event_pb2.EventEnvelope) -> None:
        tries[envelope.seq_from] += 1
        if envelope.seq_from == 2 and tries[2] <= 10:
            raise errors.Conflict
        await world.record(session, envelope)

    world.spawn(world.relay().run())
    subscription = world.subscription(handler)
    world.spawn(world.inbox(subscription).run())
    await world.emit("loc_0", 4)
    await world.until_applied()
    assert not (await world.letters(subscription).list(world.tenant, event_pb2.ListDeadLettersRequest())).dead_letters


async def test_a_failed_handler_leaves_nothing_behind(world: worlds.World) -> None:
    tries: collections.Counter[int] = collections.Counter()

    async def handler(session: database.WriteSession, envelope: event_pb2.EventEnvelope) -> None:
        await world.record(session, envelope)
        tries[envelope.seq_from] += 1
        if tries[envelope.seq_from] == 1:
            raise RuntimeError

    world.spawn(world.relay().run())
    world.spawn(world.inbox(world.subscription(handler)).run())
    await world.emit("loc_0", 3)
    await world.until_applied()


async def test_a_long_effect_is_not_given_to_anybody_else(world: worlds.World) -> None:
    started: list[int] = []

    async def handler(session: database.WriteSession, envelope: event_pb2.EventEnvelope) -> None:
        started.append(envelope.seq_from)
        await asyncio.sleep(1.3)
        await world.record(session, envelope)

    world.spawn(world.relay().run())
    subscription = world.subscription(handler)
    for _ in range(2):
        world.spawn(world.inbox(subscription, ack_wait_seconds=0.6).run())
    await world.emit("loc_0")
    await world.until_applied()
    await world.until_acknowledged()
    assert started == [1]


async def test_the_cursor_and_the_effect_are_one_transaction_of_the_tenant(world: worlds.World) -> None:
    world.spawn(world.relay().run())
    world.spawn(world.inbox().run())
    await world.emit("loc_0", 2)
    await world.until_applied()
    async with world.consumer.read("00000000-0000-0000-0000-000000000001") as session:
        assert (await session.execute(sa.text("SELECT count(*) FROM inbox_cursor"))).scalar_one() == 0
    async with world.consumer.worker() as session:
        (position,) = await positions.read(session, worlds.CONSUMER, [(world.tenant, "loc_0")])
    assert position == positions.Position(1, 2)


async def test_a_newer_epoch_goes_on_where_the_owner_says_it_begins(
    world: worlds.World, cluster: postgres.Cluster
) -> None:
    """The owner was restored to position 4 of 6; positions 5 to 7 mean other things now, and 5 is lost on the way."""
    relaying = world.spawn(world.relay().run())
    world.spawn(world.inbox().run())
    await world.emit("loc_0", 6)
    await world.until_applied()
    relaying.cancel()
    with psycopg.connect(cluster.url("messaging_orders"), autocommit=True) as admin:
        admin.execute("DELETE FROM outbox WHERE seq_to > 4")
    world.heads["loc_0"], world.epoch = 4, 2
    await world.emit("loc_0", 3)
    world.spawn(world.relay(publisher=worlds.Publishing(world.publisher, before=_loses_position_5)).run())

    async def arrived() -> bool:
        return len((await world.applied())["loc_0"]) == 9

    await world.until(arrived)
    assert (await world.applied())["loc_0"] == [(n, n) for n in (1, 2, 3, 4, 5, 6, 5, 6, 7)]


async def _loses_position_5(envelope: event_pb2.EventEnvelope) -> None:
    if envelope.seq_from == 5:
        raise worlds.streams.Unpublishable


@pytest.mark.parametrize("skip_lost", [True, False])
async def test_events_that_nobody_keeps_any_more_are_skipped_or_set_aside_as_the_consumer_says(
    world: worlds.World, cluster: postgres.Cluster, skip_lost: bool
) -> None:
    await world.emit("loc_0", 5)
    with psycopg.connect(cluster.url("messaging_orders"), autocommit=True) as admin:
        admin.execute("DELETE FROM outbox WHERE seq_to <= 3")
    world.spawn(world.relay().run())
    subscription = world.subscription(skip_lost=skip_lost)
    world.spawn(world.inbox(subscription).run())

    async def settled() -> bool:
        letters = await world.letters(subscription).list(world.tenant, event_pb2.ListDeadLettersRequest())
        found = (await world.applied()).get("loc_0")
        if skip_lost:
            return found == [(4, 4), (5, 5)]
        return found is None and [one.error for one in letters.dead_letters] == ["RESYNC_REQUIRED"]

    await world.until(settled)


async def test_a_consumer_takes_only_the_families_of_keys_that_it_asks_for(world: worlds.World) -> None:
    world.spawn(world.relay().run())
    subscription = world.subscription(
        types=("tillmesh.orders.v1.SalesRecorded",), keys=lambda key: not key.startswith("other")
    )
    consumer = world.inbox(subscription)
    await world.emit("other_1")
    await world.emit("loc_0")
    await world.reconciler(consumer).compare()
    assert set(await world.applied()) == {"loc_0"}
    world.spawn(consumer.run())
    await world.emit("loc_0", 2)
    await world.until_applied("loc_0")
    info = await world.consumer_broker.jetstream.consumer_info("ORDERS", "inventory--orders")
    assert info.config is not None
    assert info.config.filter_subjects == ["tillmesh.orders.v1.sales_recorded.>"]
