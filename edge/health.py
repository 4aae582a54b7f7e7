"""Whether every part of the mesh is ready: asked in parallel, each within a second, and remembered for half a second.

A service's own readiness covers its database, so the edge asks services and NATS only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge import metrics

PROBE_SECONDS = 1.0
REMEMBER_SECONDS = 0.5  # However often /healthz is asked, the parts see two rounds a second.
NATS_PORT = 4222

Probe = Callable[[], Awaitable[str]]
"""Answers "" when the part is ready, else a few words why not; it may also raise OSError or run out of time."""


class GrpcProbe:
    """grpc.health.v1 of one process, over a channel that stays open."""

    def __init__(self, address: str) -> None:
        # Without these bounds a channel that failed a few times would wait minutes before it tries again.
        options = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
        self._channel = grpc.aio.insecure_channel(address, options=options)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def __call__(self) -> str:
        """Ready when the server says SERVING."""
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS)
        except grpc.aio.AioRpcError as error:
            return "no answer in time" if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else "unreachable"
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return "" if serving else "not serving"

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class NatsProbe:
    """The greeting of a NATS server: it needs no credentials, and a server that greets is up."""

    def __init__(self, url: str) -> None:
        self._servers = [urlsplit(part.strip()) for part in url.split(",")]

    async def __call__(self) -> str:
        """Ready when one of the servers greets."""
        answers = await asyncio.gather(*(self._greets(s.hostname or "", s.port or NATS_PORT) for s in self._servers))
        return "" if any(answers) else "unreachable"

    async def _greets(self, host: str, port: int) -> bool:
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        try:
            line = await reader.readline()
            return line.startswith(b"INFO ") and "server_id" in json.loads(line[5:])
        except ValueError:
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Readiness:
    """The state of every part, no older than ``REMEMBER_SECONDS``."""

    def __init__(self, probes: Mapping[str, Probe], clock: Callable[[], float] = time.monotonic) -> None:
        self._probes = probes
        self._clock = clock
        self._asking = asyncio.Lock()
        self._parts: dict[str, str] = {}
        self._asked_at = float("-inf")

    async def parts(self) -> dict[str, str]:
        """By part: "" when it is ready, else why not. Callers that come together share one round."""
        async with self._asking:
            if self._clock() - self._asked_at >= REMEMBER_SECONDS:
                answers = await asyncio.gather(*(_bounded(probe) for probe in self._probes.values()))
                self._parts = dict(zip(self._probes, answers, strict=True))
                self._asked_at = self._clock()
                for part, problem in self._parts.items():
                    metrics.READY.labels(part=part).set(not problem)
            return self._parts

    async def close(self) -> None:
        """Close what the probes keep open."""
        for probe in self._probes.values():
            if isinstance(probe, GrpcProbe):
                await probe.close()


async def _bounded(probe: Probe) -> str:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await probe()
    except TimeoutError:
        return "no answer in time"
    except OSError:
        return "unreachable"


def mesh_probes(addresses: Mapping[str, list[str]], nats_url: str) -> dict[str, Probe]:
    """A probe for each process of each service and for NATS. Needs a running event loop."""
    probes: dict[str, Probe] = {}
    for service, targets in addresses.items():
        for number, target in enumerate(targets, start=1):
            probes[service if number == 1 else f"{service}-{number}"] = GrpcProbe(target)
    if nats_url:
        probes["nats"] = NatsProbe(nats_url)
    return probes
