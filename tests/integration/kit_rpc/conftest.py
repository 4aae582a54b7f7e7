from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog

from services.kit import server, settings
from tests.integration.kit_rpc import echo
from tests.unit.kit import keyring
from tests.unit.kit.keyring import Keyring


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """structlog's own default draws tracebacks with all locals, which takes half a second each."""
    structlog.configure(processors=[structlog.processors.KeyValueRenderer()])
    yield
    structlog.reset_defaults()


class Rpc:
    """A running server with the echo service, a plain channel to it, and the keys it trusts."""

    def __init__(self, running: server.Server, servicer: echo.Servicer, users: Keyring, services: Keyring) -> None:
        self.server, self.servicer, self.users, self.services = running, servicer, users, services
        self.channel = grpc.aio.insecure_channel(running.address)
        self.stub: Any = echo.Stub(self.channel)

    def user(self, **claims: Any) -> list[tuple[str, str]]:
        """Metadata of an associate of SHOP, with other claims."""
        return [("authorization", f"Bearer {self.user_token(**claims)}")]

    def user_token(self, **claims: Any) -> str:
        return self.users.sign("user-1", keyring.user_claims(**claims))

    def service(
        self, name: str = "orders", *, behalf: str = "", tenant: str = "", **claims: Any
    ) -> list[tuple[str, str]]:
        """Metadata of a service's call."""
        token = self.services.sign(f"svc-{name}-1", keyring.service_claims(name, "inventory", **claims))
        metadata = [("authorization", f"Bearer {token}")]
        if behalf:
            metadata.append(("x-tillmesh-on-behalf", behalf))
        if tenant:
            metadata.append(("x-tillmesh-tenant", tenant))
        return metadata


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: paths of sockets end at 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tm-kit-") as name:
        yield Path(name)


@pytest.fixture
def users(folder: Path) -> Keyring:
    ring = Keyring(folder / "edge.json")
    ring.add("user-1")
    return ring


@pytest.fixture
def services(folder: Path) -> Keyring:
    ring = Keyring(folder / "services.json")
    ring.add("svc-orders-1")
    ring.add("svc-marketing-1")
    return ring


@pytest.fixture
def config(folder: Path, users: Keyring, services: Keyring) -> settings.ServiceSettings:
    return settings.ServiceSettings(
        listen=f"unix:{folder}/run/inventory.sock",
        metrics_port=0,
        issuer=keyring.ISSUER,
        jwks_file=users.file,
        service_jwks_file=services.file,
        drain_seconds=0,
    )


class Servers:
    """Makes servers, and ends those that a test left running."""

    def __init__(self, config: settings.ServiceSettings) -> None:
        self._config = config
        self._made: list[server.Server] = []

    def make(self, servicer: echo.Servicer | None = None, **changes: Any) -> server.Server:
        config = self._config.model_copy(update=changes)
        made = server.Server(config, "inventory", server.verifier(config, "inventory"))
        made.add(echo.register, servicer or echo.Servicer())
        self._made.append(made)
        return made

    async def start(self, servicer: echo.Servicer | None = None, **changes: Any) -> server.Server:
        made = self.make(servicer, **changes)
        await made.start()
        return made

    async def close(self) -> None:
        for each in self._made:
            await each.close()


@pytest.fixture
async def servers(config: settings.ServiceSettings) -> AsyncIterator[Servers]:
    made = Servers(config)
    yield made
    await made.close()


@pytest.fixture
async def rpc(servers: Servers, users: Keyring, services: Keyring) -> AsyncIterator[Rpc]:
    servicer = echo.Servicer()
    client = Rpc(await servers.start(servicer), servicer, users, services)
    yield client
    await client.channel.close()
