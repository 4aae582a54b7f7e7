from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.kit.keyring import Keyring


class Clock:
    """Time that tests move."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(1_800_000_000.0)


@pytest.fixture
def users(tmp_path: Path) -> Keyring:
    ring = Keyring(tmp_path / "edge.json")
    ring.add("user-1")
    return ring


@pytest.fixture
def services(tmp_path: Path) -> Keyring:
    ring = Keyring(tmp_path / "services.json")
    ring.add("svc-orders-1")
    ring.add("svc-marketing-1")
    return ring
