"""Asking a part whether it serves. A probe answers quickly and never raises: who can't be asked doesn't serve."""

from __future__ import annotations

import asyncio
import http.client
import socket
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

_ANSWER_SECONDS_MAX: Final = 2.0


async def grpc_serving(address: str, *services: str) -> bool:
    """Whether the server at ``address`` (``unix:…``) says SERVING for itself and for each of ``services``."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            for service in ("", *services):
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=_ANSWER_SECONDS_MAX)
                if answer.status != health_pb2.HealthCheckResponse.SERVING:
                    return False
        except grpc.aio.AioRpcError:
            return False
    return True


async def http_status(place: Path | int, path: str) -> int:
    """The status of a GET to a unix socket, or to a port of this machine; 0 if there is no answer."""
    status, _ = await ask(place, path)
    return status


async def ask(place: Path | int, path: str, *, method: str = "GET") -> tuple[int, str]:
    """Status and body of a request; (0, "") if there is no answer."""
    return await asyncio.to_thread(_ask, place, path, method)


def _ask(place: Path | int, path: str, method: str) -> tuple[int, str]:
    connection = (
        _UnixConnection(place)
        if isinstance(place, Path)
        else http.client.HTTPConnection("127.0.0.1", place, timeout=_ANSWER_SECONDS_MAX)
    )
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS_MAX)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ANSWER_SECONDS_MAX)
        self.sock.connect(str(self._path))
