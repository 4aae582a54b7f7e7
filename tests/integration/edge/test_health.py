"""GET /healthz asks every part: real gRPC health servers on unix sockets and a real NATS server."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SETTLE_SECONDS = 5.0


class Service:
    """A gRPC server that answers grpc.health.v1 and counts how often it is asked."""

    def __init__(self, address: str) -> None:
        self.asked = 0
        self._health = health.HealthServicer()
        self._server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[self._counter()])
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._server.add_insecure_port(address)
        self._server.start()

    def _counter(self) -> grpc.ServerInterceptor:
        service = self

        class Counter(grpc.ServerInterceptor):
            def intercept_service(self, continuation: Any, details: Any) -> Any:
                service.asked += 1
                return continuation(details)

        return Counter()

    def say(self, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        self._health.set("", status)

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def services(folder: Path) -> Iterator[dict[str, Service]]:
    made = {name: Service(f"unix:{folder}/{name}.sock") for name in ("inventory", "inventory-2", "orders")}
    yield made
    for service in made.values():
        service.stop()


@pytest.fixture
def addresses(folder: Path) -> dict[str, str]:
    return {
        "TILLMESH_INVENTORY_ADDRESS": f"unix:{folder}/inventory.sock, unix:{folder}/inventory-2.sock",
        "TILLMESH_ORDERS_ADDRESS": f"unix:{folder}/orders.sock",
    }


def until(edge: Any, status: int) -> httpx.Response:
    """Ask until the status comes: what the edge remembers is up to half a second old."""
    end = time.monotonic() + SETTLE_SECONDS
    while (answer := edge.http.get("/healthz")).status_code != status:
        assert time.monotonic() < end, answer.text
        time.sleep(0.05)
    return answer


def test_ready_when_every_process_is(folder: Path, start_edge: Any, services: Any, addresses: dict[str, str]) -> None:
    with start_edge(folder, **addresses) as edge:
        answer = until(edge, 200)
        ready = dict.fromkeys(["edge", "inventory", "inventory-2", "orders"], "ready")
        assert answer.json() == {"status": "ready", "not_ready": [], "parts": ready}

        services["inventory-2"].say(serving=False)
        answer = until(edge, 503)
        assert answer.json()["not_ready"] == ["inventory-2"]
        assert answer.json()["parts"]["inventory-2"] == "not serving"
        assert answer.headers["cache-control"] == "no-store"

        services["inventory-2"].say(serving=True)
        until(edge, 200)
        services["orders"].stop()
        until(edge, 503)
        assert edge.http.get("/healthz").json()["parts"]["orders"] in ("unreachable", "no answer in time")

        services["orders"] = Service(f"unix:{folder}/orders.sock")
        until(edge, 200)


def test_asking_often_does_not_ask_the_parts_often(
    folder: Path, start_edge: Any, services: Any, addresses: dict[str, str]
) -> None:
    with start_edge(folder, **addresses) as edge:
        until(edge, 200)
        began, before = time.monotonic(), services["orders"].asked
        for _ in range(200):
            edge.http.get("/healthz")
        rounds_allowed = (time.monotonic() - began) / 0.5 + 1
        assert services["orders"].asked - before <= rounds_allowed


def test_a_part_that_hangs_costs_a_second(folder: Path, start_edge: Any) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{folder}/orders.sock")
        silent.listen()
        with start_edge(folder, TILLMESH_ORDERS_ADDRESS=f"unix:{folder}/orders.sock") as edge:
            began = time.monotonic()
            answer = edge.http.get("/healthz")
            assert time.monotonic() - began < 2
            assert answer.json()["not_ready"] == ["orders"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def nats(port: int) -> Iterator[subprocess.Popen[bytes]]:
    binary = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    assert binary is not None
    process = subprocess.Popen([binary, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_nats_is_a_part(folder: Path, start_edge: Any) -> None:
    port = free_port()
    with start_edge(folder, TILLMESH_NATS_URL=f"nats://127.0.0.1:{port}") as edge:
        assert until(edge, 503).json()["parts"]["nats"] == "unreachable"
        with nats(port):
            assert until(edge, 200).json()["parts"]["nats"] == "ready"
        assert until(edge, 503).json()["not_ready"] == ["nats"]
