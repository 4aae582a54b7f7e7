"""Tills that follow a location over gRPC and over server-sent events, and come back with their last token after a break.

Events of a stream, as the checker reads them: snapshot {seq, last, levels}, changes {from, to, changes: [[seq, sku, level]]},
progress {seq}, ended {reason}, broken {why}. A level is a list of the counters of model.py and then the version; of a
bundle, of what is available and the version.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import httpx
from google.protobuf import json_format

from tests.prove import model, world
from tests.prove.history import History, Stream
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import inventory_service_pb2_grpc as rpc

AGAIN_SECONDS: Final = 0.2
#: A stream says something every 15 s; who hears nothing for longer has lost it.
SILENCE_SECONDS: Final = 25.0


class Watcher:
    """A till at a door. The history gets what it sees."""

    def __init__(self, door: str, brand: world.Brand, location: str, history: History) -> None:
        self._brand, self._location = brand, location
        name = f"{door} {brand.name} {brand.locations.index(location) + 1}"
        self._stream = Stream(name, door, brand.name, location)
        history.streams.append(self._stream)
        self._frames = self._grpc if door == "grpc" else self._sse
        self._token = ""
        self.seen = 0
        """The last position that nothing is missing below."""

    async def run(self) -> None:
        """Follows until it is cancelled."""
        while True:
            try:
                async with contextlib.aclosing(self._frames()) as frames:
                    async for frame in frames:
                        self._take(frame)
                self._note("broken", why="end")
            except (grpc.RpcError, httpx.HTTPError, ValueError, TimeoutError) as error:
                why = error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
                self._note("broken", why=why)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _grpc(self) -> AsyncIterator[dict[str, Any]]:
        target = self._brand.stack.endpoints["http"].removeprefix("http://")
        # A channel of its own for each connection: a till that lost the door begins anew, without the library's backoff.
        async with grpc.aio.insecure_channel(target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            request = pb.WatchStockRequest(location_id=self._location, resume_token=self._token)
            metadata = [("authorization", f"Bearer {await self._brand.token()}")]
            call = rpc.InventoryServiceStub(channel).WatchStock(request, metadata=metadata)
            while True:
                frame = await asyncio.wait_for(call.read(), SILENCE_SECONDS)
                if frame is grpc.aio.EOF:
                    return
                yield json_format.MessageToDict(frame, preserving_proto_field_name=True)

    async def _sse(self) -> AsyncIterator[dict[str, Any]]:
        headers = {"authorization": f"Bearer {await self._brand.token()}", "accept": "text/event-stream"}
        if self._token:
            headers["last-event-id"] = self._token
        path = f"/v1/locations/{self._location}/inventory/watch"
        timeout = httpx.Timeout(10, read=SILENCE_SECONDS)
        async with self._brand.http.stream("GET", path, headers=headers, timeout=timeout) as answer:
            if answer.status_code != 200:
                reason = world.reason_of(json.loads(await answer.aread()))
                self._note("broken", why=f"{answer.status_code} {reason}")
                await asyncio.sleep(AGAIN_SECONDS)
                return
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def _take(self, frame: dict[str, Any]) -> None:
        if chunk := frame.get("snapshot_chunk"):
            levels = {level["sku"]: _level(level) for level in chunk.get("levels", [])}
            self._note("snapshot", seq=int(chunk.get("seq", 0)), last=chunk.get("last", False), levels=levels)
            self.seen = int(chunk.get("seq", 0)) if chunk.get("last") else self.seen
            foreign = [level for level in chunk.get("levels", []) if level["location_id"] != self._location]
        elif changes := frame.get("changes"):
            found = [[int(c["seq"]), c["level"]["sku"], _level(c["level"])] for c in changes["changes"]]
            self._note("changes", **{"from": int(changes["seq_from"]), "to": int(changes["seq_to"])}, changes=found)
            self.seen = int(changes["seq_to"])
            foreign = [c["level"] for c in changes["changes"] if c["level"]["location_id"] != self._location]
        else:
            foreign = []
        if progress := frame.get("progress"):
            self._note("progress", seq=int(progress.get("seq", 0)))
        if ended := frame.get("ended"):
            self._note("ended", reason=world.reason_of(ended.get("status", {})))
        for level in foreign:
            self._note("foreign", location=level["location_id"])
        self._token = frame.get("resume_token") or self._token

    def _note(self, kind: str, **facts: Any) -> None:
        self._stream.events.append({"kind": kind, **facts})


def _level(level: dict[str, Any]) -> list[int]:
    if level.get("bundle"):
        return [int(level.get("available", 0)), int(level["version"])]
    return [*model.state_of(level), int(level.get("version", 0))]
