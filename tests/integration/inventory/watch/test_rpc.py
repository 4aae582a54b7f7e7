"""WatchStock over gRPC: the real server and interceptors, a real socket, real readers."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.inventory.servicer.stock import StockServicer
from services.inventory.watch import StockWatch
from services.kit import server, settings, watching
from tests.integration.inventory.watch import tills
from tests.integration.inventory.watch.tills import Shop
from tests.unit.kit import keyring
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import inventory_service_pb2_grpc as rpc

# Else grpc takes in some 6 MB on behalf of a reader that reads nothing.
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0)]
FAST = {"progress_seconds": 0.8, "blocked_seconds": 0.7}


@dataclass
class Door:
    """A server with WatchStock, and a till's way in."""

    shop: Shop
    watch: StockWatch
    server: server.Server
    stub: Any
    users: keyring.Keyring

    def follow(self, location_id: str, *, token: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Any:
        claims = keyring.user_claims(tid=self.shop.tenant_id, locs=["*"])
        bearer = ("authorization", f"Bearer {self.users.sign('user-1', claims)}")
        request = pb.WatchStockRequest(location_id=location_id, resume_token=token)
        return self.stub.WatchStock(request, metadata=(bearer, *headers))


@pytest.fixture
async def door(shop: Shop) -> AsyncIterator[Door]:
    with tempfile.TemporaryDirectory(prefix="tm-watch-") as name:
        users = keyring.Keyring(Path(name) / "edge.json")
        users.add("user-1")
        config = settings.ServiceSettings(
            listen=f"unix:{name}/inventory.sock", issuer=keyring.ISSUER, jwks_file=users.file, drain_seconds=0
        )
        running = server.Server(config, "inventory", server.verifier(config, "inventory"))
        watch = shop.watch(**FAST)
        servicer = StockServicer(shop.handlers, None, watch, None, None)  # type: ignore[arg-type]  # dead letters aren't read here
        running.add(watching.bytes_through(rpc.add_InventoryServiceServicer_to_server), servicer)
        running.on_drain(watch.drain)
        await running.start()
        async with grpc.aio.insecure_channel(running.address, options=SMALL_WINDOW) as channel:
            yield Door(shop, watch, running, rpc.InventoryServiceStub(channel), users)
        await running.close()


def reason(error: grpc.aio.AioRpcError) -> str:
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    info = error_details_pb2.ErrorInfo()
    assert status_pb2.Status.FromString(details).details[0].Unpack(info)
    return info.reason


async def test_a_till_sees_the_snapshot_a_change_and_progress(door: Door) -> None:
    location_id = await door.shop.location(["a"])
    call = door.follow(location_id)

    first = await call.read()
    await door.shop.adjust(location_id, "a", 2)
    second, third = await call.read(), await call.read()
    call.cancel()

    assert first.snapshot_chunk.last
    assert [c.level.on_hand for c in second.changes.changes] == [2]
    assert third.progress.seq == 1


async def test_headers_come_before_the_first_frame(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    location_id = await door.shop.location()
    released = asyncio.Event()

    async def waiting(*_: Any) -> Any:
        await released.wait()
        return watching.Snapshot(watching.Position(1, 0), [b""])

    monkeypatch.setattr(door.watch.hub._source, "snapshot", waiting)
    call = door.follow(location_id)

    async with asyncio.timeout(5):
        await call.initial_metadata()
    released.set()

    assert (await call.read()).snapshot_chunk.last
    call.cancel()


async def test_a_token_that_can_not_be_resumed_is_an_error_before_the_first_frame(door: Door) -> None:
    first, other = await door.shop.location(), await door.shop.location()
    call = door.follow(first)
    token = (await call.read()).resume_token
    call.cancel()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.follow(other, token=token).read()

    assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.OUT_OF_RANGE, "RESYNC_REQUIRED")


async def test_a_browsers_last_event_id_that_can_not_be_resumed_is_answered_in_band(door: Door) -> None:
    location_id = await door.shop.location()
    call = door.follow(location_id, headers=(("last-event-id", "A" * 40),))

    frames = [frame async for frame in call]

    assert [tills.reason(frame) for frame in frames] == ["RESYNC_REQUIRED"]
    assert await call.code() == grpc.StatusCode.OK


async def test_an_unknown_location_is_not_found(door: Door) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.follow(keyring.OTHER_SHOP).read()

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_reader_that_goes_away_leaves_nothing_behind(door: Door) -> None:
    location_id = await door.shop.location()
    calls = [door.follow(location_id) for _ in range(10)]
    for call in calls:
        await call.read()

    for call in calls:
        call.cancel()

    async with asyncio.timeout(5):
        while door.watch.hub.open:
            await asyncio.sleep(0.02)


async def test_a_reader_that_reads_nothing_is_cut_off_while_others_go_on(door: Door) -> None:
    skus = [f"{n:02}-{'x' * 50}" for n in range(50)]
    location_id = await door.shop.location(skus)
    stuck, brisk = door.follow(location_id), door.follow(location_id)
    await stuck.read()  # and never again: its window and buffers fill
    await brisk.read()

    async def sell() -> None:
        seq = 0
        while door.watch.hub.open == 2:
            lines = [door.shop.adjust(location_id, sku, 1) for sku in skus]
            seq += len(await asyncio.gather(*lines))
            while tills.position(await brisk.read()) < seq:
                pass

    async with asyncio.timeout(30):
        await sell()
    brisk.cancel()
    stuck.cancel()


async def test_a_stop_ends_streams_with_draining_and_ok(door: Door) -> None:
    call = door.follow(await door.shop.location())
    kinds: list[str] = []

    async for frame in call:
        kinds.append(frame.WhichOneof("frame"))
        if kinds[-1] == "snapshot_chunk":
            closing = asyncio.create_task(door.server.close())
    await closing

    assert [kind for kind in kinds if kind != "progress"] == ["snapshot_chunk", "draining", "ended"]
    assert tills.reason(frame) == "DRAINING"
    assert await call.code() == grpc.StatusCode.OK
