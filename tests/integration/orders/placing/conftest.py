"""Inventory in a process of its own, once for all tests of this folder; a tenant and its desk for each test."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.kit import migrating
from tests.integration.orders.placing.shop import Place, Shop, inventory_process
from tests.unit.kit import keyring


@pytest.fixture(scope="session")
def place(urls: tuple[str, str, str], keys_file: Path, erasure_log: Path) -> Iterator[Place]:
    """Where everything is. The folder has a short name: paths of sockets end at 107 bytes."""
    assert migrating.migrate("inventory", urls[2].replace("tillmesh_orders", "tillmesh_inventory")) == 0
    with tempfile.TemporaryDirectory(prefix="tm-plc-") as folder:
        yield Place(folder, urls, str(keys_file), str(erasure_log))


@pytest.fixture(scope="session")
def users(place: Place) -> Iterator[keyring.Keyring]:
    """The keys of Inventory's users; while they are there, it serves."""
    with inventory_process(place) as made:
        yield made


@pytest.fixture
async def shop(place: Place, users: keyring.Keyring, tenant: uuid.UUID) -> AsyncIterator[Shop]:
    made = Shop(place, tenant, users)
    await made.db.open()
    yield made
    await made.close()
