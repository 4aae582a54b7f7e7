from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from services.kit import leases, maintenance
from tests.integration.kit_messaging import messaging_worlds as worlds


async def test_a_lease_has_one_holder_and_the_fence_rises_with_each(world: worlds.World) -> None:
    async with leases.held(world.owner, "sweep") as first:
        assert first is not None
        async with leases.held(world.owner, "sweep") as second:
            assert second is None
    async with leases.held(world.owner, "sweep") as third:
        assert third is not None
        assert third.fence > first.fence


async def test_a_lease_is_kept_for_as_long_as_the_work_takes(world: worlds.World) -> None:
    async with leases.held(world.owner, "sweep", ttl_seconds=0.3) as lease:
        assert lease is not None
        first_end = await _end(world)

        async def renewed_past_its_end() -> bool:
            return await _end(world) > first_end + worlds.dt.timedelta(seconds=0.3)

        await world.until(renewed_past_its_end)
        assert await leases.acquire(world.owner, "sweep") is None


async def _end(world: worlds.World) -> worlds.dt.datetime:
    async with world.owner.worker() as session:
        found: worlds.dt.datetime = (
            await session.execute(sa.text("SELECT expires_at FROM worker_lease WHERE name = 'sweep'"))
        ).scalar_one()
    return found


async def test_work_ends_when_its_lease_is_lost(world: worlds.World) -> None:
    with pytest.raises(TimeoutError):
        async with leases.held(world.owner, "sweep", ttl_seconds=0.3):
            async with world.owner.worker() as session:
                await session.execute(sa.text("UPDATE worker_lease SET holder = 'another', fence = fence + 1"))
            await asyncio.Event().wait()


async def test_an_error_of_the_work_comes_out_as_it_is_and_frees_the_lease(world: worlds.World) -> None:
    with pytest.raises(KeyError):
        async with leases.held(world.owner, "sweep"):
            raise KeyError
    assert await leases.acquire(world.owner, "sweep") is not None


async def test_a_job_runs_in_one_process_and_another_takes_over(world: worlds.World) -> None:
    ran: list[str] = []
    turn = asyncio.Event()

    async def run(name: str) -> None:
        async def job(_lease: leases.Lease) -> None:
            ran.append(name)
            turn.set()
            if len(ran) == 2:
                raise RuntimeError  # a failed turn is only a failed turn

        await leases.run_alone(world.owner, "job", job, every_seconds=0.01, ttl_seconds=0.3)

    first = world.spawn(run("first"))
    await turn.wait()
    world.spawn(run("second"))

    async def several() -> bool:
        return len(ran) > 5

    await world.until(several)
    assert set(ran) == {"first"}
    first.cancel()

    async def taken_over() -> bool:
        return "second" in ran

    await world.until(taken_over)


async def test_maintenance_makes_missing_partitions(world: worlds.World) -> None:
    assert await maintenance.maintain(world.owner) == 0
    async with world.owner.worker() as session:
        # Only the owner role may drop; the worker may only ask for upkeep.
        with pytest.raises(sa.exc.ProgrammingError):
            await session.execute(sa.text("DROP TABLE outbox_default"))
