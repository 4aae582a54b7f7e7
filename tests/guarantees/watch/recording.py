"""A recorded history: tills that watch a busy location while connections drop and processes come and go.

What happened is written down here; what must hold of it is in test_guarantees.py.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import sqlalchemy as sa

from services.inventory.mapping import stock as mapping
from services.inventory.watch import StockWatch
from services.kit import database, errors
from services.mesh import postgres
from tests.integration.inventory.watch import tills
from tests.integration.inventory.watch.tills import Frame, Shop, Till
from tillmesh.inventory.v1 import inventory_events_pb2

SKUS = [f"sku-{n}" for n in range(12)]
BUNDLES = ["set-1", "set-2"]
ROUNDS = 100
FILTER = (SKUS[1], SKUS[4], SKUS[7], BUNDLES[0])


@dataclass
class History:
    """Frames of one till over all its connections, and where each connection began."""

    skus: frozenset[str]
    frames: list[Frame] = field(default_factory=list)
    connections: int = 0
    conflated: bool = False


@dataclass
class Recording:
    """committed: seq -> levels after it, as the database has them. suffixes: what a token of the past gave later."""

    committed: dict[int, dict[str, int]] = field(default_factory=dict)
    histories: list[History] = field(default_factory=list)
    suffixes: list[tuple[Frame, frozenset[str], list[Frame]]] = field(default_factory=list)
    final: dict[str, int] = field(default_factory=dict)


class Chaos:
    """Two processes that serve streams; each is restarted now and then, one of them never hears of commits."""

    def __init__(self, shop: Shop, location_id: str, seed: int, *, processes: int = 2) -> None:
        self.shop, self.location_id = shop, location_id
        self.random = random.Random(seed)
        self.watches: list[StockWatch] = [self._start(number) for number in range(processes)]
        self.done = False

    def _start(self, number: int) -> StockWatch:
        return self.shop.watch(hears=number == 0, poll_seconds=0.05, progress_seconds=0.75)

    async def restarts(self) -> None:
        while not self.done:
            await asyncio.sleep(0.2)
            number = self.random.randrange(2)
            old, self.watches[number] = self.watches[number], self._start(number)
            await old.hub.stop(0.0 if self.random.random() < 0.5 else 0.5)

    async def sell(self) -> None:
        """Commands of one line and of several, some at once."""
        for _ in range(ROUNDS):
            await asyncio.gather(*(self._command() for _ in range(self.random.randint(1, 6))))
            await asyncio.sleep(self.random.random() * 0.02)

    async def _command(self) -> None:
        chance = self.random.random()
        if chance < 0.05:
            await define(self.shop, self.random)
        elif chance < 0.7:
            await self.shop.adjust(self.location_id, self.random.choice(SKUS), 5)
        else:
            lines = [(sku, 1) for sku in self.random.sample([*SKUS, *BUNDLES], 3)]
            try:
                await self.shop.reserve(self.location_id, *lines)
            except errors.Error:
                return  # a shortage: nothing was committed

    async def follow(self, history: History) -> None:
        """Reads until the last command, over as many connections as it takes."""
        token = ""
        while not (self.done and history.frames and tills.position(history.frames[-1]) >= await self.head()):
            till = Till(self.shop, self.random.choice(self.watches), self.location_id)
            history.connections += 1
            try:
                await till.connect(token=token, skus=tuple(history.skus))
                for _ in range(self.random.randint(1, 12)):
                    frame = await till.next()
                    history.frames.append(frame)
                    token = frame.resume_token
                    if self.done and tills.position(frame) >= await self.head():
                        break
                await till.leave()
            except (StopAsyncIteration, errors.Draining):
                continue

    async def head(self) -> int:
        return await self.shop.head(self.location_id)


async def define(shop: Shop, chance: random.Random) -> None:
    """Says anew what a bundle consists of."""
    parts = chance.sample(SKUS, 3)
    await shop.set_bundle(chance.choice(BUNDLES), {sku: chance.randint(1, 3) for sku in parts})


async def record(urls: tuple[str, str], cluster: postgres.Cluster, seed: int) -> Recording:
    """Runs it all on a new location."""
    db = database.Database(*urls, lane_connections=4)
    await db.open()
    recording = Recording()
    try:
        async with Shop(db, cluster) as shop:
            location_id = await shop.location([*SKUS, *BUNDLES])
            for bundle in BUNDLES:
                await shop.set_bundle(bundle, {SKUS[1]: 1, SKUS[2]: 2})
            for sku in SKUS:
                await shop.adjust(location_id, sku, 10)
            await _run(recording, Chaos(shop, location_id, seed))
            await read_truth(recording, shop, location_id)
            await _resume_from_the_past(recording, shop, location_id, seed)
            for watch in shop.watches:
                await watch.hub.stop(0.0)
    finally:
        await db.close()
    return recording


async def _run(recording: Recording, chaos: Chaos) -> None:
    recording.histories = [History(frozenset()) for _ in range(5)] + [History(frozenset(FILTER)) for _ in range(2)]
    followers = [asyncio.create_task(chaos.follow(history)) for history in recording.histories]
    restarts = asyncio.create_task(chaos.restarts())
    await chaos.sell()
    chaos.done = True
    await asyncio.gather(restarts, *followers)
    for watch in chaos.watches:
        await watch.hub.stop(0.0)


async def read_truth(recording: Recording, shop: Shop, location_id: str) -> None:
    """What the database says of it."""
    rows = await shop.rows("SELECT data FROM outbox WHERE key = :key ORDER BY seq_to", key=location_id)
    for row in rows:
        for change in inventory_events_pb2.StockChanged.FromString(row.data).changes:
            recording.committed[change.seq] = {level.sku: level.available for level in change.levels}
    async with shop.db.read(shop.tenant) as session:
        found = await session.execute(
            sa.text("SELECT sku, available FROM stock_level WHERE location_id = :location"),
            {"location": mapping.location_uuid(location_id)},
        )
        recording.final = {row.sku: row.available for row in found}
    for bundle in BUNDLES:
        recording.final[bundle] = (await shop.level(location_id, bundle)).available


async def _resume_from_the_past(recording: Recording, shop: Shop, location_id: str, seed: int) -> None:
    chosen = random.Random(seed)
    watch = shop.watch()
    for history in recording.histories:
        frames = [frame for frame in history.frames if tills.position(frame) >= 0]
        for frame in chosen.sample(frames, 4):
            till = await Till(shop, watch, location_id).connect(token=frame.resume_token, skus=tuple(history.skus))
            if tills.position(frame) < max(touched(recording, history.skus), default=0):
                await till.reach(max(touched(recording, history.skus)))
            recording.suffixes.append((frame, history.skus, till.frames))
            await till.leave()


def touched(recording: Recording, skus: frozenset[str]) -> list[int]:
    """Positions of commands that concern a filter."""
    return [seq for seq, levels in recording.committed.items() if not skus or skus & levels.keys()]
