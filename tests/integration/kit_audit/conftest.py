"""The audit log of a service on a real database, with real files of keys and anchors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kit import database
from services.mesh import postgres
from tests import worlds
from tests.integration.kit_audit.logs import Log


@pytest.fixture(scope="session")
def urls(cluster: postgres.Cluster) -> tuple[str, str]:
    return worlds.migrated(cluster)


@pytest.fixture
async def db(urls: tuple[str, str]) -> AsyncIterator[database.Database]:
    opened = database.Database(*urls)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def log(db: database.Database, cluster: postgres.Cluster, tmp_path: Path) -> Log:
    return Log(db, tmp_path, cluster.url("tillmesh_inventory"))
