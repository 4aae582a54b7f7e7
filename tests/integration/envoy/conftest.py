"""One upstream, one edge and one Envoy for all tests of the door; tests with other settings start another Envoy."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwk

from services.mesh.envoy import settings
from tests.integration.envoy import contract, door, upstream

ORIGIN = "https://shop.test"


@dataclasses.dataclass(frozen=True)
class Behind:
    """What stands behind every Envoy of these tests."""

    folder: Path
    messages: contract.Messages
    key: jwk.ECKey
    edge: upstream.Edge
    loop: upstream.Loop
    sockets: Mapping[str, Sequence[Path]]


@pytest.fixture(scope="session")
def behind() -> Iterator[Behind]:
    """The upstream and the edge on unix sockets in a short folder; orders has a socket that nobody serves."""
    folder = Path(tempfile.mkdtemp(prefix="tm-door-"))
    contract.compile_to(folder / "api.binpb")
    door.write_certificate(folder / "tls.crt", folder / "tls.key")
    messages = contract.Messages(folder / "api.binpb")
    key = door.new_key("edge-1")
    edge = upstream.Edge([key.as_dict(private=False)])
    loop = upstream.Loop()
    try:
        loop.serve_grpc(upstream.Service(messages, "first"), folder / "inventory.sock")
        loop.serve_grpc(upstream.Service(messages, "second"), folder / "inventory-2.sock")
        loop.serve_http(edge.app, folder / "edge.sock")
        sockets = {
            "inventory": [folder / "inventory.sock"],
            "orders": [folder / "orders.sock"],
            "edge": [folder / "edge.sock"],
        }
        yield Behind(folder, messages, key, edge, loop, sockets)
    finally:
        loop.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def start_door(behind: Behind) -> Iterator[Callable[..., door.Door]]:
    """Starts an Envoy with the settings given (and other sockets, if given); all are stopped at the end."""
    started: list[door.Door] = []

    def start(
        sockets: Mapping[str, Sequence[Path]] | None = None, otlp_endpoint: str | None = None, **changed: Any
    ) -> door.Door:
        name, configured = f"envoy-{len(started)}", settings.DoorSettings(**changed)
        started.append(door.start(behind.folder, name, sockets or behind.sockets, configured, otlp_endpoint))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def the_door(start_door: Callable[..., door.Door]) -> door.Door:
    """The Envoy that most tests share. Its limits are too high to be met by accident."""
    return start_door(cors_origins=ORIGIN, rate_limit_tokens_per_address=100_000, rate_limit_per_address=100_000)


@pytest.fixture(scope="session")
def rest(the_door: door.Door, behind: Behind) -> Iterator[httpx.Client]:
    """A REST caller with a good token."""
    headers = {"authorization": f"Bearer {door.token(behind.key)}"}
    with httpx.Client(base_url=the_door.url, headers=headers, timeout=15) as client:
        yield client


@pytest.fixture(scope="session")
def nobody(the_door: door.Door) -> Iterator[httpx.Client]:
    """A REST caller without a token."""
    with httpx.Client(base_url=the_door.url, timeout=15) as client:
        yield client
