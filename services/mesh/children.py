"""The table of what the stack runs, as data. Order and waiting belong to ``stack``."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.mesh import binaries, environment, layout, nats, parts, postgres, probes
from services.mesh.child import Child, Probe, Step

#: PostgreSQL writes a checkpoint when it stops; a service flushes its lanes and closes its streams.
_POSTGRES_STOP_SECONDS: Final = 60.0
_SERVICE_STOP_SECONDS: Final = 15.0
_ENVOY_DRAIN_SECONDS: Final = 5

POSTGRES: Final = "postgres"
NATS: Final = "nats"
ENVOY: Final = "envoy"


@dataclass(frozen=True, slots=True)
class Table:
    """Everything the stack runs of its own code. Tests bring tables of small programs instead."""

    services: list[Child]
    edge: Child
    migrations: dict[str, Step]
    demo_clients: Step
    demo_data: Step
    with_door: bool = True


def real(env: environment.Environment) -> Table:
    """The services and the edge of this repository."""
    steps = {
        service: _step(env, f"migrate-{service}", service, "-m", f"services.{service}", "migrate")
        for service in parts.WITH_DATABASE
    }
    return Table(
        services=[
            _service(env, service, process)
            for service in parts.SERVICES
            for process in parts.process_names(service, env.settings.processes(service))
        ],
        edge=_edge(env),
        migrations=steps,
        demo_clients=_step(env, "demo-clients", parts.EDGE, "-m", "edge.clients"),
        demo_data=_step(env, "demo-data", parts.EDGE, "-m", "edge.demo"),
    )


def _service(env: environment.Environment, service: str, process: str) -> Child:
    command = "all" if service in parts.WITH_DATABASE else "serve"
    name = f"tillmesh.{service}.v1.{service.capitalize()}Service"
    socket = env.place.socket(process)

    async def ready() -> bool:
        return socket.exists() and await probes.grpc_serving(f"unix:{socket}", name)

    return _python(env, service, process, ready, "-m", f"services.{service}", command)


def _edge(env: environment.Environment) -> Child:
    socket = env.place.socket(parts.EDGE)

    async def ready() -> bool:
        # 503 names a service that isn't there yet: the edge itself serves.
        return await probes.http_status(socket, "/.well-known/jwks.json") == 200

    return _python(env, parts.EDGE, parts.EDGE, ready, "-m", "edge")


def _python(env: environment.Environment, part: str, process: str, ready: Probe, *arguments: str) -> Child:
    return Child(
        name=process,
        argv=[sys.executable, *arguments],
        env=env.of(part, process),
        log=env.place.log(process),
        cwd=layout.ROOT,
        ready=ready,
        stop_seconds=_SERVICE_STOP_SECONDS,
    )


def _step(env: environment.Environment, name: str, part: str, *arguments: str) -> Step:
    return Step(
        name=name, argv=[sys.executable, *arguments], env=env.of(part), log=env.place.log(name), cwd=layout.ROOT
    )


def postgres_server(cluster: postgres.Cluster, place: layout.Layout) -> Child:
    async def ready() -> bool:
        return cluster.is_ready()

    return Child(
        name=POSTGRES,
        argv=cluster.command(),
        env=cluster.environment(),
        log=place.log(POSTGRES),
        ready=ready,
        before_start=cluster.prepare,
        account=cluster.owner,
        stop_signal=postgres.FAST,
        stop_seconds=_POSTGRES_STOP_SECONDS,
    )


def nats_server(server: nats.NatsServer, place: layout.Layout) -> Child:
    async def ready() -> bool:
        return server.is_ready()

    return Child(name=NATS, argv=server.command(), env={}, log=place.log(NATS), ready=ready)


def envoy_proxy(configuration: Path, http_port: int, place: layout.Layout) -> Child:
    """Envoy without hot restart: two stacks on one machine don't meet in its shared memory."""

    async def ready() -> bool:
        return await probes.http_status(http_port, "/healthz") != 0

    # fmt: off
    argv = [
        str(binaries.envoy()), "-c", str(configuration), "--disable-hot-restart", "--concurrency", "1",
        "--drain-time-s", str(_ENVOY_DRAIN_SECONDS), "--file-flush-interval-msec", "500", "--log-level", "warning",
    ]
    # fmt: on
    return Child(name=ENVOY, argv=argv, env={}, log=place.log(ENVOY), ready=ready, stop_signal=signal.SIGTERM)
