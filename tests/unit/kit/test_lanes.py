"""The lane engine alone: what travels together, in which order, and what a bad request does to its neighbours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import pytest

from services.kit import errors, lanes


class Key(NamedTuple):
    tenant: str
    place: int


class Runner:
    """Answers each command with its number; can be held at a gate, and refuses batches that hold a poisoned command."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[Key, int]]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.poison: set[int] = set()

    async def run(self, work: Sequence[tuple[Key, int]]) -> list[int | errors.Error]:
        self.batches.append(list(work))
        await self.gate.wait()
        if any(command in self.poison for _, command in work):
            raise ZeroDivisionError
        return [command for _, command in work]

    async def resolve(self, work: Sequence[tuple[Key, int]]) -> list[int | errors.Error] | None:
        raise AssertionError


@contextlib.asynccontextmanager
async def running(**limits: int) -> AsyncIterator[tuple[lanes.Lanes[Key, int, int], Runner]]:
    runner = Runner()
    engine: lanes.Lanes[Key, int, int] = lanes.Lanes("unit", runner, in_flight=1, **limits)
    engine.start()
    try:
        yield engine, runner
    finally:
        runner.gate.set()
        await engine.stop()


async def held(engine: lanes.Lanes[Key, int, int], runner: Runner, keys: Sequence[Key]) -> list[int | BaseException]:
    """Submits a command for each key while a first batch is in flight; answers in the same order."""
    runner.gate.clear()
    first = asyncio.create_task(engine.submit(Key("first", 0), -1))
    await asyncio.sleep(0)
    calls = [asyncio.create_task(engine.submit(key, number)) for number, key in enumerate(keys)]
    await asyncio.sleep(0)
    runner.gate.set()
    await first
    results = await asyncio.gather(*calls, return_exceptions=True)
    del runner.batches[0]
    return results


async def test_lanes_of_one_tenant_share_a_batch_and_tenants_do_not() -> None:
    async with running() as (engine, runner):
        keys = [Key(tenant, place) for place in range(3) for tenant in ("a", "b")]
        assert await held(engine, runner, keys) == list(range(6))
        assert [{key.tenant for key, _ in batch} for batch in runner.batches] == [{"a"}, {"b"}]


async def test_each_lane_keeps_its_order() -> None:
    async with running() as (engine, runner):
        await held(engine, runner, [Key("a", number % 3) for number in range(30)])
        for place in range(3):
            seen = [command for batch in runner.batches for key, command in batch if key.place == place]
            assert seen == list(range(place, 30, 3))


async def test_a_batch_is_bounded_in_requests_and_in_lanes() -> None:
    async with running(batch_max=8) as (engine, runner):
        await held(engine, runner, [Key("a", number % 2) for number in range(40)])
        assert max(map(len, runner.batches)) == 8
    async with running() as (engine, runner):
        await held(engine, runner, [Key("a", number) for number in range(50)])
        assert max(len({key for key, _ in batch}) for batch in runner.batches) == lanes.LANES_MAX


async def test_a_bad_request_fails_alone_whichever_lanes_it_travelled_with() -> None:
    async with running() as (engine, runner):
        runner.poison = {5}
        results = await held(engine, runner, [Key("a", number % 4) for number in range(12)])
        assert [n for n, result in enumerate(results) if isinstance(result, ZeroDivisionError)] == [5]
        assert [result for n, result in enumerate(results) if n != 5] == [n for n in range(12) if n != 5]


async def test_a_full_lane_refuses_and_its_neighbour_does_not() -> None:
    async with running(queue_max=3) as (engine, runner):
        results = await held(engine, runner, [Key("a", 1)] * 5 + [Key("a", 2)])
        assert [type(result) for result in results] == [int, int, int, errors.Overloaded, errors.Overloaded, int]


async def test_a_lone_caller_is_not_kept_waiting_for_company() -> None:
    """Nothing is scheduled for later: its batch leaves in the turn of the loop in which it came."""
    async with running(linger_seconds=3600) as (engine, runner):
        for number in range(50):
            assert await engine.submit(Key("a", 1), number) == number
        assert [len(batch) for batch in runner.batches] == [1] * 50


@pytest.mark.parametrize("callers", [2, 32])
async def test_several_callers_end_up_in_one_batch(callers: int) -> None:
    async with running() as (engine, runner):

        async def call(number: int) -> None:
            for _ in range(40):
                await engine.submit(Key("a", 1), number)

        await asyncio.gather(*map(call, range(callers)))
        assert sum(map(len, runner.batches[-20:])) >= 20 * callers / 2


async def test_a_tenant_has_one_batch_in_flight_and_its_slow_one_holds_up_nobody_for_long() -> None:
    runner = Runner()
    engine: lanes.Lanes[Key, int, int] = lanes.Lanes("unit", runner, in_flight=3)
    engine.start()
    try:
        runner.gate.clear()
        calls = [asyncio.create_task(engine.submit(Key("a", number), number)) for number in range(2)]
        calls.append(asyncio.create_task(engine.submit(Key("b", 1), 7)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        late = asyncio.create_task(engine.submit(Key("a", 9), 9))
        await asyncio.sleep(0)
        assert [sorted(command for _, command in batch) for batch in runner.batches] == [[0, 1], [7]]
        async with asyncio.timeout(5):
            while len(runner.batches) < 3:  # the first one counts as slow by now
                await asyncio.sleep(0.001)
        assert runner.batches[2] == [(Key("a", 9), 9)]
        runner.gate.set()
        assert await asyncio.gather(*calls, late) == [0, 1, 7, 9]
    finally:
        runner.gate.set()
        await engine.stop()
