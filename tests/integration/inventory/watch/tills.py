"""A till that watches a location in process, and a shop whose lanes tell the watch what they committed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg

from services.inventory import lane
from services.inventory.watch import StockWatch
from services.kit import database, watching
from services.mesh import postgres
from tests import worlds
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2

Frame = pb.WatchStockResponse
PATIENCE_SECONDS = 10.0


class Shop(worlds.StockWorld):
    """Stock of a tenant whose lanes notify watches, as the composition root does."""

    def __init__(self, db: database.Database, cluster: postgres.Cluster) -> None:
        self.watches: list[StockWatch] = []
        self._cluster = cluster
        super().__init__(db, runner=lambda of, _: lane.StockRunner(of, self._committed))  # type: ignore[arg-type]

    def _committed(self, key: lane.LaneKey, seq: int) -> None:
        for watch in self.watches:
            watch.notify(key.tenant_id, key.location_id, seq)

    def watch(self, *, hears: bool = True, lifetime_seconds: float = 900.0, **limits: Any) -> StockWatch:
        """A watch as another process has it. hears: it is told of commits; else only its poll finds them."""
        made = StockWatch(self.db, limits=watching.Limits(**{"lifetime_seconds": lifetime_seconds, **limits}))
        made.start()
        if hears:
            self.watches.append(made)
        return made

    def administer(self, statement: str, *parameters: Any) -> None:
        """Does what no service may: time and accidents."""
        with psycopg.connect(self._cluster.url("tillmesh_inventory"), autocommit=True) as connection:
            connection.execute(statement, parameters)

    def compact(self, location_id: str, up_to: int) -> None:
        """Drops what the outbox keeps of a location up to a position, as the partitions of old days are dropped."""
        self.administer("DELETE FROM outbox WHERE key = %s AND seq_to <= %s", location_id, up_to)

    def change_epoch(self) -> None:
        """What a restore does to every location of the tenant."""
        self.administer("UPDATE stock_head SET epoch = epoch + 1 WHERE tenant_id = %s", self.tenant)

    async def head(self, location_id: str) -> int:
        [(seq,)] = await self.rows(
            "SELECT seq FROM stock_head WHERE location_id = :location",
            location=str(lane.mapping.location_uuid(location_id)),
        )
        return int(seq)


class Till:
    """Reads a stream at its own pace and keeps every frame."""

    def __init__(self, shop: Shop, watch: StockWatch, location_id: str) -> None:
        self._shop, self._watch, self._location = shop, watch, location_id
        self.frames: list[Frame] = []
        self.levels: dict[str, stock_pb2.StockLevel] = {}
        self.subscription: watching.Subscription | None = None
        self._frames: Any = None

    @property
    def token(self) -> str:
        return self.frames[-1].resume_token

    async def connect(self, *, token: str = "", skus: tuple[str, ...] = (), **options: Any) -> Till:
        names = frozenset(sku.lower() for sku in skus) or None
        self.subscription = await self._watch.hub.subscribe(
            self._shop.tenant_id, self._location, names=names, token=token, **options
        )
        self._frames = self.subscription.frames()
        return self

    async def next(self) -> Frame:
        """The next frame. StopAsyncIteration at the end, or the error the rpc ends with."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            frame = Frame.FromString(await anext(self._frames))
        self.frames.append(frame)
        for level in frame.snapshot_chunk.levels:
            self.levels[level.sku] = level
        for change in frame.changes.changes:
            self.levels[change.level.sku] = change.level
        return frame

    async def until(self, met: Callable[[Frame], bool]) -> Frame:
        """Reads on until a frame that meets the condition."""
        while not met(frame := await self.next()):
            pass
        return frame

    async def snapshot(self) -> Frame:
        """Reads the whole snapshot."""
        return await self.until(lambda frame: frame.snapshot_chunk.last)

    async def reach(self, seq: int) -> Frame:
        """Reads on until nothing at or below seq remains."""
        return await self.until(lambda frame: position(frame) >= seq)

    async def rest(self) -> Exception | None:
        """Reads to the end; the error that the rpc ends with, if any."""
        try:
            while True:
                await self.next()
        except StopAsyncIteration:
            return None
        except Exception as error:
            return error

    async def leave(self) -> None:
        await self._frames.aclose()


class Clerk:
    """Reads one stream of several locations, and keeps what it was told of each."""

    def __init__(self, shop: Shop, watch: StockWatch, location_ids: Sequence[str]) -> None:
        self._shop, self._watch, self.location_ids = shop, watch, tuple(location_ids)
        self.frames: list[tuple[str, Frame]] = []
        """Location and frame, in the order they came; tokens are the stream's."""
        self.positions = dict.fromkeys(location_ids, -1)
        self.subscription: watching.Merged | None = None
        self._frames: Any = None

    @property
    def token(self) -> str:
        return self.frames[-1][1].resume_token

    async def connect(self, *, token: str = "", skus: tuple[str, ...] = (), **options: Any) -> Clerk:
        names = frozenset(sku.lower() for sku in skus) or None
        self.subscription = await self._watch.hub.subscribe_several(
            self._shop.tenant_id, self.location_ids, names=names, token=token, **options
        )
        self._frames = self.subscription.frames()
        return self

    async def next(self) -> tuple[str, Frame]:
        """The next frame and its location. StopAsyncIteration at the end, or the error the rpc ends with."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            raw = await anext(self._frames)
        location_id, frame = pb.WatchLocationsResponse.FromString(raw).location_id, Frame.FromString(raw)
        frame.DiscardUnknownFields()  # the location: else the same as on a stream of its own
        self.frames.append((location_id, frame))
        self.positions[location_id] = max(self.positions[location_id], position(frame))
        return location_id, frame

    async def reach(self, positions: Mapping[str, int]) -> None:
        """Reads on until nothing at or below the positions remains."""
        while any(self.positions[location_id] < seq for location_id, seq in positions.items()):
            await self.next()

    async def rest(self) -> Exception | None:
        """Reads to the end; the error that the rpc ends with, if any."""
        try:
            while True:
                await self.next()
        except StopAsyncIteration:
            return None
        except Exception as error:
            return error

    async def leave(self) -> None:
        await self._frames.aclose()


def position(frame: Frame) -> int:
    """Up to where a frame goes; -1 if it doesn't say."""
    if frame.WhichOneof("frame") == "snapshot_chunk":
        return frame.snapshot_chunk.seq if frame.snapshot_chunk.last else -1
    return frame.changes.seq_to if frame.WhichOneof("frame") == "changes" else frame.progress.seq or -1


def reason(frame: Frame) -> str:
    """Why the stream ended, by the last frame."""
    from google.rpc import error_details_pb2

    info = error_details_pb2.ErrorInfo()
    assert frame.ended.status.details[0].Unpack(info)
    return info.reason
