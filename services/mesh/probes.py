"""Asking a part whether it serves. A probe answers quickly and never raises: who can't be asked doesn't serve."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

_ANSWER_SECONDS_MAX: Final = 2.0
_ANSWER_BYTES_MAX: Final = 256 * 1024


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
    status, _ = await http(place, path)
    return status


async def http(place: Path | int, path: str, *, method: str = "GET") -> tuple[int, str]:
    """Status and body of a request; (0, "") if there is no answer."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            return await _exchange(place, path, method)
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0, ""


async def _exchange(place: Path | int, path: str, method: str) -> tuple[int, str]:
    if isinstance(place, Path):
        reader, writer = await asyncio.open_unix_connection(str(place))
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", place)
    try:
        # HTTP/1.0 has no chunks: the body is what comes until the other side closes.
        writer.write(f"{method} {path} HTTP/1.0\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()
        head, _, body = (await reader.read(_ANSWER_BYTES_MAX)).partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode(errors="replace")
    finally:
        writer.close()
