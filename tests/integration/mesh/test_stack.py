"""A whole stack as one program: PostgreSQL, NATS and the supervisor are real, services and edge are small scripts."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sys
from pathlib import Path

import psycopg
import pytest

from services.mesh import processes, throwaway
from services.mesh.placement import Account


def database(program, name="tillmesh_inventory", user="inventory_app"):
    postgres = program.endpoints["postgres"]
    passfile = program.place.passfile
    return psycopg.connect(
        host=postgres["host"], port=postgres["port"], dbname=name, user=user, passfile=str(passfile), autocommit=True
    )


def runs(program, step):
    """How often a step has run on this data folder."""
    path = program.place.state / f"ran-{step}"
    return path.read_text().count("ran") if path.exists() else 0


def test_a_second_start_keeps_the_data_and_repeats_nothing(home, run):
    first = run(home / "a b").is_up()
    with database(first, user="tillmesh_migrator") as owner:
        owner.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    first.event("demo.loaded")
    assert first.end() == 0
    assert not first.place.endpoints.exists()
    assert not first.place.run.exists()
    second = run(home / "a b")
    assert second.event("stack.ready")["seconds"] < 10
    with database(second, user="tillmesh_migrator") as owner:
        assert owner.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert {step: runs(second, step) for step in ("migrate-inventory", "migrate-orders", "demo-data")} == {
        "migrate-inventory": 1,
        "migrate-orders": 1,
        "demo-data": 1,
    }


def test_a_second_start_on_running_data_is_refused_and_one_on_other_data_runs_beside_it(home, data, run):
    first, other = run(data), run(home / "other")
    first.is_up()
    refused = run(data)
    assert refused.end(None) == 78
    (sentence,) = refused.said
    assert f"(process {first.process.pid})" in sentence
    other.is_up()
    assert not set(first.endpoints["metrics"].values()) & set(other.endpoints["metrics"].values())
    for program in (first, other):
        with database(program) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_every_killed_part_comes_back_and_is_counted(data, run):
    program = run(data).is_up()
    before = program.endpoints["pids"]
    for name, pid in before.items():
        os.kill(pid, signal.SIGKILL)
        program.event("child.exited", child=name, signal="SIGKILL")
        program.event("child.ready", child=name)
    with database(program) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    after = program.endpoints["pids"]
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    for name in before:
        assert f'tillmesh_child_up{{child="{name}"}} 1.0' in program.metrics()
        assert f'tillmesh_child_restarts_total{{child="{name}"}} 1.0' in program.metrics()
    assert program.end(signal.SIGINT) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_parts_end_with_a_killed_supervisor_and_the_next_start_succeeds(data, run):
    first = run(data).is_up()
    pids = first.endpoints["pids"]
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    second = run(data).is_up()
    assert not any(processes.is_alive(pid) for pid in pids.values())
    assert second.end() == 0


def test_a_part_that_refuses_its_data_stops_the_stack_with_its_own_sentence(data, run):
    program = run(data, FAKE_INVENTORY="echo 'the inventory database is newer than this release' >&2; exit 78")
    assert program.end(None) == 78
    assert program.said[-1] == "tillmesh: the inventory database is newer than this release"
    assert not program.place.endpoints.exists()


def test_a_part_that_never_gets_ready_is_named(data, run):
    program = run(data, FAKE_INVENTORY="exec sleep 60", TILLMESH_START_TIMEOUT_SECONDS="4")
    assert program.end(None) == 1
    assert program.said[-1].startswith("tillmesh: Not ready within 4 s: ")
    assert program.said[-1].endswith(f"inventory; see {data / 'logs'}.")


def test_a_stop_during_the_start_is_clean(data, run):
    program = run(data, FAKE_INVENTORY="exec sleep 60")
    program.event("child.ready", child="edge")
    pids = program.endpoints["pids"]
    assert program.end(signal.SIGINT) == 0
    assert not any(processes.is_alive(pid) for pid in pids.values())


def test_a_second_interrupt_does_not_wait(data, run):
    program = run(data, FAKE_INVENTORY="trap '' TERM; touch ready-inventory; while :; do sleep 0.1; done").is_up()
    pids = program.endpoints["pids"]
    program.process.send_signal(signal.SIGINT)
    program.event("stack.stopping")
    assert program.end(signal.SIGINT) == 130
    assert not processes.is_alive(pids["inventory"])
    assert not program.place.run.exists()


def interpreter_for(account):
    """A Python of this version that the account can run: a clone's may lie in a closed home."""
    real = os.path.realpath(sys.executable)
    found = [real, shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin:/usr/local/bin")]
    return next((path for path in found if path and account.can_execute(path)), None)


@pytest.mark.skipif(os.geteuid() != 0, reason="a plain user runs every test as one")
def test_a_plain_user_runs_the_stack_in_a_path_with_spaces(home, run):
    entry = pwd.getpwnam("nobody")
    account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    python = interpreter_for(account)
    if python is None or not account.can_execute(throwaway.__file__.rpartition("/")[0]):
        pytest.skip("neither Python nor this folder is open to nobody")
    (home / "no body").mkdir()
    os.chown(home / "no body", entry.pw_uid, entry.pw_gid)
    program = run(home / "no body" / "my data", python=python, user=entry.pw_uid).is_up()
    assert {path.stat().st_uid for path in program.place.data.iterdir()} == {entry.pw_uid}
    assert program.place.data.stat().st_mode & 0o777 == 0o700
    assert program.end() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_as_root_a_closed_data_folder_gets_its_cluster_elsewhere_and_finds_it_again(home, run):
    home.chmod(0o700)
    first = run(home / "data")
    place = first.event("postgres.elsewhere")["folder"]
    try:
        first.is_up()
        with database(first, user="tillmesh_migrator") as owner:
            owner.execute("CREATE TABLE kept ()")
        assert first.end() == 0
        assert (home / "data" / "postgres-location").read_text().strip() == place
        second = run(home / "data").is_up()
        with database(second, user="tillmesh_migrator") as owner:
            owner.execute("TABLE kept")
        assert second.end() == 0
    finally:
        shutil.rmtree(Path(place).parent)
