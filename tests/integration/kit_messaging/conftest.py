"""One NATS server and two databases for the folder; a fresh world for each test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest
import structlog

from services.mesh import nats as mesh_nats
from services.mesh import parts, ports, postgres, throwaway
from tests.integration.kit_messaging import messaging_worlds as worlds


@pytest.fixture(scope="package", autouse=True)
def _plain_logs() -> Iterator[None]:
    """Without it structlog draws each traceback with all locals, which takes longer than what is tested."""
    before = structlog.get_config()
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])
    yield
    structlog.configure(**before)


@pytest.fixture(scope="package")
def urls(cluster: postgres.Cluster) -> Mapping[str, tuple[str, str]]:
    return {service: worlds.prepare(cluster, service) for service in (worlds.OWNER, worlds.CONSUMER)}


@pytest.fixture(scope="package")
def passwords() -> Mapping[str, str]:
    return {service: secrets.token_urlsafe(12) for service in parts.SERVICES}


@pytest.fixture(scope="package")
def nats_server(passwords: Mapping[str, str]) -> Iterator[mesh_nats.NatsServer]:
    port = ports.pick({"nats": ports.Wish("TILLMESH_NATS_PORT", 0)})["nats"]
    with throwaway.folder() as home, mesh_nats.NatsServer(home / "nats", port, passwords) as server:
        yield server


@pytest.fixture
async def world(
    cluster: postgres.Cluster,
    urls: Mapping[str, tuple[str, str]],
    nats_server: mesh_nats.NatsServer,
    passwords: Mapping[str, str],
) -> AsyncIterator[worlds.World]:
    for service in urls:
        worlds.empty(cluster, service)
    with throwaway.folder() as home:
        async with worlds.world(urls, nats_server, passwords, home) as made:
            yield made
