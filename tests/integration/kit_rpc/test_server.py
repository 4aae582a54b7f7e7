"""A process around its rpcs: where it listens, when it is ready, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.kit import server
from tests.integration.kit_rpc import echo
from tests.integration.kit_rpc.told import refusal
from tests.unit.kit import keyring

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def test_the_socket_is_the_owners_alone(rpc):
    path = Path(rpc.server.address.removeprefix("unix:"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_socket_left_by_a_dead_process_is_replaced(config, servers):
    path = Path(config.listen.removeprefix("unix:"))
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    running = await servers.start()
    async with grpc.aio.insecure_channel(running.address) as channel:
        assert (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())).status == SERVING
    await running.close()
    assert not path.exists()


async def test_a_socket_that_somebody_listens_on_is_not_taken(rpc, servers):
    with pytest.raises(server.AddressInUse, match="Another process"):
        await servers.start()
    assert (await rpc.stub.GetEcho(echo.Request(text="a"), metadata=rpc.user())).text == "a"


def test_a_file_that_is_no_socket_is_left_alone(folder):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(server.AddressInUse):
        server.claim_socket(str(folder / "notes.txt"))
    with pytest.raises(server.AddressInUse, match="longer than"):
        server.claim_socket(str(folder / ("x" * 120)))


async def test_over_tcp_a_port_in_use_ends_in_one_sentence(servers):
    first = await servers.start(listen="127.0.0.1:0")
    with pytest.raises(server.AddressInUse, match="in use"):
        await servers.start(listen=first.address)


async def test_health_follows_the_checks(servers, monkeypatch):
    monkeypatch.setattr(server, "CHECK_EVERY_SECONDS", 0.01)
    ready = False
    running = servers.make()
    running.ready_when("database", lambda: ready)

    async def broken() -> bool:
        if not ready:
            raise OSError
        return True

    running.ready_when("nats", broken)
    await running.start()
    async with grpc.aio.insecure_channel(running.address) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=echo.SERVICE))
        assert (await watched.read()).status == NOT_SERVING
        ready = True
        assert (await watched.read()).status == SERVING
        ready = False
        assert (await watched.read()).status == NOT_SERVING
        watched.cancel()


async def test_sigterm_ends_in_order(servers):
    order = []
    running = servers.make(drain_seconds=0.2)
    running.on_drain(lambda: order.append("drain"))
    running.on_close("first", lambda: order.append("first"))

    async def failing() -> None:
        order.append("second")
        raise OSError

    running.on_close("second", failing)
    await running.start()
    serving = asyncio.create_task(running.run_until_signal())
    async with grpc.aio.insecure_channel(running.address) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        while (await watched.read()).status != SERVING:
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await watched.read()).status == NOT_SERVING
        assert order == []
    await asyncio.wait_for(serving, 10)
    assert order == ["drain", "second", "first"]


async def test_an_rpc_that_is_under_way_finishes_after_sigterm(servers, users):
    gate = asyncio.Event()
    began = asyncio.Event()

    class Slow(echo.Servicer):
        async def unary(self, request, context):
            began.set()
            await gate.wait()
            return echo.Reply(text="done")

    running = servers.make(Slow())
    running.on_drain(gate.set)
    await running.start()
    serving = asyncio.create_task(running.run_until_signal())
    async with grpc.aio.insecure_channel(running.address) as channel:
        metadata = [("authorization", f"Bearer {users.sign('user-1', keyring.user_claims())}")]
        call = asyncio.ensure_future(echo.Stub(channel).GetEcho(echo.Request(), metadata=metadata))
        await began.wait()
        running.stop()
        assert (await call).text == "done"
    await asyncio.wait_for(serving, 10)


async def test_metrics_count_calls_and_streams_but_time_only_unary_calls(rpc):
    await rpc.stub.GetEcho(echo.Request(), metadata=rpc.user())
    await refusal(rpc.stub.GetEcho(echo.Request(text="not found"), metadata=rpc.user()))
    stream = rpc.stub.WatchEcho(echo.Request(text="hang"), metadata=rpc.user())
    await rpc.servicer.began.wait()
    open_now = await scrape(rpc)
    stream.cancel()
    await asyncio.wait_for(rpc.servicer.ended.wait(), 5)
    unary = f'grpc_method="GetEcho",grpc_service="{echo.SERVICE}",grpc_type="unary"'
    watch = f'grpc_method="WatchEcho",grpc_service="{echo.SERVICE}",grpc_type="server_stream"'
    assert f"grpc_server_started_total{{{unary}}}" in open_now
    assert f'grpc_server_handled_total{{grpc_code="OK",{unary}}}' in open_now
    assert f'grpc_server_handled_total{{grpc_code="NOT_FOUND",{unary}}}' in open_now
    assert f"grpc_server_handling_seconds_count{{{unary}}}" in open_now
    assert f"grpc_server_streams_open{{{watch}}} 1.0" in open_now
    assert f"grpc_server_handling_seconds_count{{{watch}}}" not in open_now


async def scrape(rpc) -> str:
    def read() -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{rpc.server.metrics_port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    return await asyncio.to_thread(read)


def test_a_process_runs_on_uvloop():
    async def name() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert server.run(name()).startswith("uvloop")
