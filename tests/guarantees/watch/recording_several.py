"""The same history as in recording.py, of clerks who follow several locations in one stream.

What came of it is told as one Recording a location, so that the same oracles judge both forms.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from services.inventory.watch import StockWatch
from services.kit import database, errors
from services.mesh import postgres
from tests.guarantees.watch import recording
from tests.guarantees.watch.recording import Chaos, History, Recording
from tests.integration.inventory.watch import tills
from tests.integration.inventory.watch.tills import Clerk, Frame, Shop

LOCATIONS = 3


@dataclass
class Diary:
    """What one clerk was told, over all connections. tokens: each with the positions that it stands for."""

    skus: frozenset[str]
    frames: list[tuple[str, Frame]] = field(default_factory=list)
    tokens: list[tuple[str, dict[str, int]]] = field(default_factory=list)
    connections: int = 0


class Floor:
    """Locations that sell at the same time, and the processes that serve their streams."""

    def __init__(self, shop: Shop, location_ids: list[str], seed: int) -> None:
        self.chaos = {
            location_id: Chaos(shop, location_id, seed + n, processes=2 if n == 0 else 0)
            for n, location_id in enumerate(location_ids)
        }
        self.shop, self.location_ids = shop, location_ids
        self.random = random.Random(seed)

    @property
    def first(self) -> Chaos:
        """The one whose processes serve all."""
        return self.chaos[self.location_ids[0]]

    async def heads(self) -> dict[str, int]:
        return {location_id: await self.shop.head(location_id) for location_id in self.location_ids}

    async def follow(self, diary: Diary) -> None:
        """Reads until the last command of each location, over as many connections as it takes."""
        token, positions = "", dict.fromkeys(self.location_ids, -1)
        while not (self.first.done and all(positions[at] >= seq for at, seq in (await self.heads()).items())):
            clerk = Clerk(self.shop, self.random.choice(self.first.watches), self.location_ids)
            diary.connections += 1
            try:
                await clerk.connect(token=token, skus=tuple(diary.skus))
                for _ in range(self.random.randint(1, 24)):
                    location_id, frame = await clerk.next()
                    diary.frames.append((location_id, frame))
                    positions[location_id] = max(positions[location_id], tills.position(frame))
                    token = frame.resume_token
                    diary.tokens.append((token, dict(positions)))
                await clerk.leave()
            except (StopAsyncIteration, errors.Draining):
                continue


async def record(urls: tuple[str, str], cluster: postgres.Cluster, seed: int) -> list[Recording]:
    """Runs it all on new locations: a recording each."""
    db = database.Database(*urls, lane_connections=4)
    await db.open()
    try:
        async with Shop(db, cluster) as shop:
            await shop.variants([*recording.SKUS, *recording.BUNDLES])
            locations = [await shop.location() for _ in range(LOCATIONS)]
            for bundle in recording.BUNDLES:
                await shop.set_bundle(bundle, {recording.SKUS[1]: 1, recording.SKUS[2]: 2})
            for location_id in locations:
                for sku in recording.SKUS:
                    await shop.adjust(location_id, sku, 10)
            floor = Floor(shop, locations, seed)
            diaries = await _run(floor)
            made = {location_id: Recording() for location_id in locations}
            for location_id, one in made.items():
                one.histories = [_history(diary, location_id) for diary in diaries]
                await recording.read_truth(one, shop, location_id)
            watch = shop.watch()
            for diary in diaries:
                await _resume_from_the_past(made, floor, watch, diary)
            for process in shop.watches:
                await process.hub.stop(0.0)
    finally:
        await db.close()
    return list(made.values())


async def _run(floor: Floor) -> list[Diary]:
    diaries = [Diary(frozenset()) for _ in range(4)] + [Diary(frozenset(recording.FILTER)) for _ in range(2)]
    followers = [asyncio.create_task(floor.follow(diary)) for diary in diaries]
    restarts = asyncio.create_task(floor.first.restarts())
    await asyncio.gather(*(chaos.sell() for chaos in floor.chaos.values()))
    floor.first.done = True
    await asyncio.gather(restarts, *followers)
    for watch in floor.first.watches:
        await watch.hub.stop(0.0)
    return diaries


def _history(diary: Diary, location_id: str) -> History:
    frames = [frame for at, frame in diary.frames if at == location_id]
    return History(diary.skus, frames, diary.connections)


async def _resume_from_the_past(made: dict[str, Recording], floor: Floor, watch: StockWatch, diary: Diary) -> None:
    """A token of any frame gives of each location what came after the position that the token holds of it."""
    whole = [(token, at) for token, at in diary.tokens if min(at.values()) >= 0]
    for token, positions in floor.random.sample(whole, 4):
        clerk = await Clerk(floor.shop, watch, floor.location_ids).connect(token=token, skus=tuple(diary.skus))
        last = {at: max(recording.touched(one, diary.skus)) for at, one in made.items()}
        clerk.positions = dict(positions)
        await clerk.reach({at: seq for at, seq in last.items() if positions[at] < seq})
        for at, one in made.items():
            mark = Frame(progress=Frame.Progress(seq=positions[at]))
            one.suffixes.append((mark, diary.skus, [frame for where, frame in clerk.frames if where == at]))
        await clerk.leave()
