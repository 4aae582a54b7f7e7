"""Servers that all tests of a run share. Everything else stands in the conftest of its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

# A test process that has spoken gRPC makes clusters and programs later: gRPC's own handlers would run in the child before
# it becomes another program, and have ended it there ("Epoll1Poller … Bad file descriptor"). Read when gRPC is loaded.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

import pytest

from services.mesh import postgres, throwaway


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A running PostgreSQL with the roles and empty databases of all services: one a test process."""
    with throwaway.cluster() as server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The run of prove comes first: two minutes at the end of a run would leave the other test process idle."""
    items.sort(key=lambda item: item.path.name != "test_prove.py")
