from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.kit import server, settings
from tests.integration.kit_rpc import echo
from tests.unit.kit import keyring
from tests.unit.kit.keyring import Keyring


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

    def service(self, name: str = "orders", *, behalf: str = "", tenant: str = "", **claims: Any) -> list[tuple[str, str]]:
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


@pytest.fixture
async def rpc(config: settings.ServiceSettings, users: Keyring, services: Keyring) -> AsyncIterator[Rpc]:
    running = server.Server(config, "inventory", server.verifier(config, "inventory"))
    servicer = echo.Servicer()
    running.add(echo.register, servicer)
    await running.start()
    client = Rpc(running, servicer, users, services)
    yield client
    await client.channel.close()
    await running.close()
