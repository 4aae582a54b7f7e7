"""The floor of rpcs: grpc.aio as every service has it (options, loop, health), without interceptors, and an empty rpc.

    python -m tests.bench.empty_server unix:/path[,unix:/path…] PATH…

Each PATH (`/package.Service/Method`) reads and answers google.protobuf.Empty. Given paths of the real contract, Envoy
transcodes to it as it does to the service.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import grpc
from google.protobuf import empty_pb2
from grpc_health.v1 import health, health_pb2_grpc

from services.kit import server

EMPTY = empty_pb2.Empty()


async def answer(_request: empty_pb2.Empty, _context: grpc.aio.ServicerContext[Any, Any]) -> empty_pb2.Empty:
    """Nothing, for nothing."""
    return EMPTY


async def serve(addresses: str, paths: list[str]) -> None:
    """Serves until SIGTERM, on as many addresses as a service's process."""
    checks = health.aio.HealthServicer()
    servers = [await _listening(address, paths, checks) for address in addresses.split(",")]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    for empty in servers:
        await empty.stop(None)


async def _listening(address: str, paths: list[str], checks: health.aio.HealthServicer) -> grpc.aio.Server:
    empty = grpc.aio.server(options=server.OPTIONS)
    health_pb2_grpc.add_HealthServicer_to_server(checks, empty)
    methods: dict[str, dict[str, grpc.RpcMethodHandler[Any, Any]]] = {}
    for path in paths:
        service, _, method = path.lstrip("/").partition("/")
        methods.setdefault(service, {})[method] = grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=empty_pb2.Empty.FromString,
            response_serializer=empty_pb2.Empty.SerializeToString,
        )
    for service, handlers in methods.items():
        empty.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        await checks.set(service, server.SERVING)
    server.claim_socket(address.removeprefix("unix:"))
    previous = os.umask(0o177)
    empty.add_insecure_port(address)
    os.umask(previous)
    await empty.start()
    return empty


if __name__ == "__main__":
    server.run(serve(sys.argv[1], sys.argv[2:]))
