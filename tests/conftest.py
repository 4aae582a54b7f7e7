"""Servers that all tests of a run share. Everything else stands in the conftest of its folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.mesh import postgres, throwaway


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """A running PostgreSQL with the roles and empty databases of all services: one a test process."""
    with throwaway.cluster() as server:
        yield server
