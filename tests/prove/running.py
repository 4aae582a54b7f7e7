"""One run: a stack, two brands, callers, tills and a nemesis, and the history of it all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.e2e import stack as stacks
from tests.prove import callers, clerks, ending, nemesis, rush, watchers, world
from tests.prove.history import History

DOORS: Final = ("grpc", "sse")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of. callers: beside the rushes; buyers: in each of these."""

    seed: int
    seconds: float
    callers: int = 64
    buyers: int = 200
    rushes: int = 1


async def record(stack: stacks.Stack, plan: Plan, say: Say = lambda _: None) -> History:
    """Runs it on a stack; when the nemesis is done, everything comes back and the end is read."""
    async with world.brands(stack, plan.rushes) as brands:
        locations = {brand.name: brand.locations for brand in brands}
        history = History(plan.seed, plan.seconds, plan.callers, locations, world.bundles(plan.rushes))
        tills = [
            (location, watchers.Watcher(door, brand, location, history))
            for brand in brands
            for location in brand.locations
            for door in DOORS
        ]
        following = [asyncio.create_task(till.run()) for _, till in tills]
        try:
            told = f"{plan.callers} callers, {len(tills)} tills and rushes of {plan.buyers} buyers"
            say(f"{told} for {plan.seconds:g} s; processes are killed meanwhile")
            await _work(stack, brands, history, plan)
            say("all goes quiet; reading what the product says now")
            await asyncio.to_thread(stack.wait_ready)
            await ending.collect(stack, brands, tills, history)
        finally:
            for task in following:
                task.cancel()
            for task in following:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
    return history


async def _work(stack: stacks.Stack, brands: list[world.Brand], history: History, plan: Plan) -> None:
    until = time.monotonic() + plan.seconds
    desks = {location: callers.Desk() for brand in brands for location in brand.locations}
    transfers = {brand.name: clerks.Transfers() for brand in brands}
    async with asyncio.TaskGroup() as group:
        group.create_task(nemesis.Nemesis(stack, history.seed, history).run(until))
        group.create_task(rush.rushes(plan.rushes, plan.seed, brands, history, plan.buyers, until))
        for number in range(history.callers):
            brand, other = brands[number % 2], brands[1 - number % 2]
            caller = callers.Caller(number, history.seed, brand, other, desks, transfers, history)
            group.create_task(caller.run(until))
