"""Promises of shared work."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from services.kit import errors
from services.kit.watching.sharing import Flights

LOCAL: contextvars.ContextVar[str] = contextvars.ContextVar("LOCAL", default="nobody's")


async def test_callers_at_the_same_time_share_one_piece_of_work() -> None:
    flights: Flights[str, int] = Flights()
    begun: list[int] = []

    async def work() -> int:
        begun.append(1)
        await asyncio.sleep(0)
        return 7

    assert await asyncio.gather(*(flights.join("k", work) for _ in range(5))) == [7] * 5
    assert begun == [1]


async def test_a_caller_that_goes_away_leaves_the_work_to_the_others() -> None:
    flights: Flights[str, int] = Flights()
    released = asyncio.Event()

    async def work() -> int:
        await released.wait()
        return 7

    first, second = (asyncio.create_task(flights.join("k", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    released.set()

    assert await second == 7


async def test_a_failure_reaches_all_and_is_not_remembered() -> None:
    flights: Flights[str, int] = Flights()
    outcomes = iter([ValueError("once"), 7])

    async def work() -> int:
        await asyncio.sleep(0)
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    failed = await asyncio.gather(*(flights.join("k", work) for _ in range(2)), return_exceptions=True)
    assert [type(each) for each in failed] == [ValueError] * 2
    await asyncio.sleep(0)
    assert await flights.join("k", work) == 7


async def test_shared_work_runs_in_nobodys_context() -> None:
    LOCAL.set("the first caller's")
    flights: Flights[str, str] = Flights()

    async def work() -> str:
        return LOCAL.get()

    assert await flights.join("k", work) == "nobody's"


async def test_work_that_is_ended_tells_its_callers_why() -> None:
    flights: Flights[str, None] = Flights()
    caller = asyncio.create_task(flights.join("k", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    flights.cancel()
    with pytest.raises(errors.Draining):
        await caller
