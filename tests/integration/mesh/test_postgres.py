from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from services.mesh import faults, postgres, postgres_settings, throwaway


def make(home: Path, passfile: str = "pgpass") -> postgres.Cluster:
    return postgres.Cluster(home / "postgres", home / "pg", home / passfile, fast=True)


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A cluster that was made and never started: copying it is quicker than initdb."""
    with throwaway.folder() as path:
        make(path).initialise()
        yield path


@pytest.fixture
def made(home: Path, template: Path) -> Path:
    """A folder with a cluster of its own."""
    subprocess.run(["cp", "-a", f"{template}/.", str(home)], check=True)
    return home


def execute(cluster: postgres.Cluster, statement: str) -> list[tuple]:
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_a_cluster_keeps_its_data_over_a_restart(made):
    with make(made) as cluster:
        execute(cluster, "CREATE TABLE kept AS SELECT 42 AS answer")
    with make(made) as cluster:
        assert execute(cluster, "SELECT answer FROM kept") == [(42,)]


def test_a_cluster_recovers_after_its_postmaster_was_killed(made):
    first = make(made)
    first.initialise()
    first.start()
    execute(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    first.stop(signal.SIGKILL)
    assert (made / "postgres" / "postmaster.pid").exists()
    with make(made) as second:
        assert execute(second, "SELECT answer FROM kept") == [(42,)]


def test_a_stale_lock_that_names_another_program_does_not_stop_a_start(made):
    cluster = make(made)
    cluster.initialise()
    uid = cluster.account.uid if cluster.account else os.geteuid()
    with subprocess.Popen(["/bin/sleep", "60"], user=uid) as other:
        lock = made / "postgres" / "postmaster.pid"
        lock.write_text(f"{other.pid}\n{made / 'postgres'}\n0\n5432\n{made / 'pg'}\n\n")
        os.chown(lock, uid, -1)
        cluster.start()
        other.terminate()
    assert cluster.is_ready()
    cluster.stop()


def test_an_interrupted_initdb_is_not_taken_for_a_cluster(home):
    half = home / "postgres.partial"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with make(home) as cluster:
        assert execute(cluster, "SELECT 1") == [(1,)]
    assert not half.exists()


def test_a_cluster_of_another_major_version_is_refused_in_one_sentence(made):
    (made / "postgres" / "PG_VERSION").write_text("99\n")
    with pytest.raises(faults.Refusal, match=r"is of PostgreSQL 99 and the server is \d+: convert it"):
        make(made).initialise()


def test_a_folder_that_is_no_cluster_is_refused(home):
    (home / "postgres").mkdir()
    with pytest.raises(faults.Refusal, match="is not a PostgreSQL cluster"):
        make(home).initialise()


def test_a_missing_server_is_refused_in_one_sentence(home, monkeypatch):
    monkeypatch.setenv("TILLMESH_POSTGRES_BIN", str(home))
    with pytest.raises(faults.Refusal, match=r"PostgreSQL was not found at .*: run ./scripts/bootstrap, or set"):
        make(home)


def test_a_connection_without_the_password_is_refused(cluster):
    conninfo = f"host={cluster.socket_dir} user={postgres.SUPERUSER} dbname=postgres passfile=/dev/null"
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(conninfo)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("listen_addresses", ""), ("data_checksums", "on"), ("password_encryption", "scram-sha-256"), ("timezone", "UTC")],
)
def test_the_server_is_closed_and_careful(cluster, setting, expected):
    assert execute(cluster, f"SHOW {setting}") == [(expected,)]


def test_text_sorts_by_code_point_and_folds_beyond_ascii(cluster):
    assert execute(
        cluster, "SELECT datlocprovider::text, datlocale FROM pg_database WHERE datname = 'tillmesh_orders'"
    ) == [("b", "C.UTF-8")]
    assert execute(cluster, "SELECT lower('ÄÖÜ'), 'Z' < 'a'") == [("äöü", True)]


def test_the_product_is_durable_and_only_tests_are_not(home):
    def settings(*, fast):
        return postgres_settings.render(home, postgres.PORT, statements=False, fast=fast)

    assert "fsync" not in settings(fast=False)
    assert "fsync = 'off'" in settings(fast=True)
