"""One run: a stack, two brands, callers, tills and a nemesis, and the history of it all."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.e2e import stack as stacks
from tests.prove import callers, clerks, ending, nemesis, outage, rush, shelves, watchers, world
from tests.prove.history import History

DOORS: Final = ("grpc", "sse")
#: Callers go on for so long when the relays are back.
CATCH_UP_SECONDS: Final = 10.0
#: Nobody is killed shortly before, so that what is measured is the relays' and not a restart's.
CALM_SECONDS: Final = 5.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run consists of. callers: beside the rushes; buyers: in each of these.

    relay_stopped: seconds near the end in which no event is published; 0: none.
    """

    seed: int
    seconds: float
    callers: int = 64
    buyers: int = 200
    rushes: int = 1
    relay_stopped: float = 0.0


async def record(stack: stacks.Stack, plan: Plan, say: Say = lambda _: None) -> History:
    """Runs it on a stack; when the nemesis is done, everything comes back and the end is read."""
    async with world.brands(stack, plan.rushes) as brands:
        locations = {brand.name: brand.locations for brand in brands}
        history = History(plan.seed, plan.seconds, plan.callers, locations, world.bundles(plan.rushes), brands[0].zone)
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
            await _work(stack, brands, history, plan, say)
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


async def _work(stack: stacks.Stack, brands: list[world.Brand], history: History, plan: Plan, say: Say) -> None:
    until = time.monotonic() + plan.seconds
    desks = {location: callers.Desk() for brand in brands for location in brand.locations}
    transfers = {brand.name: clerks.Transfers() for brand in brands}
    lots = {brand.name: shelves.Lots() for brand in brands}
    async with asyncio.TaskGroup() as group:
        striking = nemesis.Nemesis(stack, history.seed, history)
        resumes = until - CATCH_UP_SECONDS
        group.create_task(striking.run(resumes - CALM_SECONDS if plan.relay_stopped else until))
        if plan.relay_stopped:
            stopped = outage.Outage(stack, history, striking)
            group.create_task(stopped.run(resumes - plan.relay_stopped, plan.relay_stopped, say))
        group.create_task(rush.rushes(plan.rushes, plan.seed, brands, history, plan.buyers, until))
        for number in range(history.callers):
            brand, other = brands[number % 2], brands[1 - number % 2]
            caller = callers.Caller(number, history.seed, brand, other, desks, transfers, lots, history)
            group.create_task(caller.run(until))
