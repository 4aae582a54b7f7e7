"""Replay by hand: as often as one likes, from any position, and of a projection that was wiped."""

from __future__ import annotations

import psycopg
import pytest

from services.kit.inbox import catching_up, positions, replaying
from services.mesh import postgres
from tests.integration.kit_messaging import messaging_worlds as worlds


def replay(world: worlds.World) -> replaying.Replay:
    return replaying.Replay(world.consumer, worlds.CONSUMER, world.subscription())


async def test_all_keys_are_replayed_and_again_changes_nothing(world: worlds.World) -> None:
    await world.emit("loc_0", 3)
    await world.emit("loc_1", 2)
    by_hand = replay(world)
    keys = await by_hand.keys()
    assert sorted(keys) == [(world.tenant_id, "loc_0"), (world.tenant_id, "loc_1")]
    assert await by_hand.keys("ten_other") == []

    first = [await by_hand.run(*key) for key in sorted(keys)]
    again = [await by_hand.run(*key, after_seq=after) for after in (0, 1) for key in sorted(keys)]

    assert [(done.read, done.applied) for done in first] == [(3, 3), (2, 2)]
    assert [(done.read, done.applied) for done in again] == [(3, 0), (2, 0), (2, 0), (1, 0)]
    await world.until_applied()


async def test_a_projection_that_was_wiped_is_restored(world: worlds.World, cluster: postgres.Cluster) -> None:
    await world.emit("loc_0", 5)
    by_hand = replay(world)
    await by_hand.run(world.tenant_id, "loc_0")
    with psycopg.connect(cluster.url("messaging_inventory"), autocommit=True) as admin:
        admin.execute("DELETE FROM applied WHERE seq_from > 2")

    assert (await by_hand.run(world.tenant_id, "loc_0")).applied == 0  # the cursor says that all is there
    await by_hand.rewind(world.tenant_id, "loc_0", 2)
    done = await by_hand.run(world.tenant_id, "loc_0", 2)

    assert (done.read, done.applied, done.position) == (3, 3, positions.Position(1, 5))
    await world.until_applied()


async def test_a_wiped_projection_of_which_not_even_a_cursor_is_left_is_restored(
    world: worlds.World, cluster: postgres.Cluster
) -> None:
    await world.emit("loc_0", 4)
    by_hand = replay(world)
    await by_hand.run(world.tenant_id, "loc_0")
    with psycopg.connect(cluster.url("messaging_inventory"), autocommit=True) as admin:
        admin.execute("DELETE FROM applied")
        admin.execute("DELETE FROM inbox_cursor")

    assert (await by_hand.run(world.tenant_id, "loc_0")).applied == 4
    await world.until_applied()


async def test_a_replay_that_would_leave_events_out_is_refused(world: worlds.World) -> None:
    await world.emit("loc_0", 4)
    with pytest.raises(catching_up.Inconsistent):
        await replay(world).run(world.tenant_id, "loc_0", after_seq=2)
    assert await world.applied() == {}
