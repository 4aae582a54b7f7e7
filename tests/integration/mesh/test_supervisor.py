from __future__ import annotations

import asyncio
import os
import signal

import pytest
import structlog

from services.mesh import child, faults, logs, metrics, processes, supervisor


@pytest.fixture
async def keeper(home):
    """A supervisor; the children that a test left running are killed after it."""
    made = supervisor.Supervisor(metrics.Metrics())
    yield made
    made.kill()
    await made.stop(*made._kept)


@pytest.fixture
def program(home):
    """Makes a child of a shell script, which is ready when it has made the file ``ready``."""

    def make(script, name="till", **options):
        async def ready():
            return (home / "ready").exists()

        return child.Child(
            name=name,
            argv=["/bin/sh", "-c", script],
            env={"PATH": "/usr/bin:/bin"},
            log=home / f"{name}.log",
            cwd=home,
            ready=ready,
            **options,
        )

    return make


def sample(keeper, name, child="till"):
    return keeper._metrics.registry.get_sample_value(name, {"child": child})


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_child_that_is_killed_comes_back_and_it_is_said(keeper, program):
    with structlog.testing.capture_logs() as said:
        keeper.start(program("touch ready; exec sleep 60"))
        await keeper.ready("till")
        first = keeper.pids["till"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: keeper.pids.get("till", first) != first)
        await keeper.ready("till")
    exited = next(event for event in said if event["event"] == "child.exited")
    assert (exited["child"], exited["signal"], exited["log_level"]) == ("till", "SIGKILL", "error")
    assert 0 < exited["restart_in_seconds"] < 1
    assert [event["event"] for event in said] == ["child.ready", "child.exited", "child.restarted", "child.ready"]
    assert sample(keeper, "tillmesh_child_restarts_total") == 1
    assert sample(keeper, "tillmesh_child_up") == 1


async def test_a_child_that_ends_by_itself_is_not_up(keeper, program):
    with structlog.testing.capture_logs() as said:
        keeper.start(program("echo out of paper >&2; exit 3"))
        await until(lambda: said)
    assert (said[0]["event"], said[0]["exit_code"], said[0]["said"]) == ("child.exited", 3, "out of paper")
    assert sample(keeper, "tillmesh_child_up") == 0
    assert keeper.unready() == ["till"]


async def test_a_child_that_refuses_its_settings_ends_the_stack_with_its_own_sentence(keeper, program):
    keeper.start(program("echo loading; echo 'The database is newer than this release.' >&2; exit 78"))
    with pytest.raises(faults.Refusal, match=r"^The database is newer than this release\.$"):
        await asyncio.wait_for(keeper.fault, 10)
    assert sample(keeper, "tillmesh_child_restarts_total") == 0


async def test_a_program_that_is_not_there_ends_the_stack(keeper, program, home):
    missing = program("")
    keeper.start(child.Child(**{**vars(missing), "argv": [str(home / "nothing")]}))
    with pytest.raises(faults.Refusal, match=r"^till can't be started: .*nothing"):
        await asyncio.wait_for(keeper.fault, 10)


async def test_a_stop_is_polite_first(keeper, program, home):
    keeper.start(program("trap 'echo said goodbye; exit 0' TERM; touch ready; while :; do sleep 0.02; done"))
    await keeper.ready("till")
    with structlog.testing.capture_logs() as said:
        await keeper.stop("till")
    assert (home / "till.log").read_text() == "said goodbye\n"
    assert (keeper.pids, said) == ({}, [])


async def test_a_child_that_does_not_listen_is_killed_with_all_its_own_children(keeper, program, home):
    keeper.start(program("trap '' TERM; sleep 60 & echo $! > grandchild; touch ready; wait; wait", stop_seconds=0.2))
    await keeper.ready("till")
    await keeper.stop("till")
    await until(lambda: not processes.is_alive(processes.first_number(home / "grandchild")))


async def test_a_child_is_not_restarted_while_it_waits_for_its_next_try_and_is_stopped(keeper, program):
    with structlog.testing.capture_logs() as said:
        keeper.start(program("exit 1"))
        await until(lambda: said)
        await keeper.stop("till")
    assert [event["event"] for event in said] == ["child.exited"]


async def test_pauses_double_up_to_a_limit_and_are_short_again_after_good_health():
    delays = supervisor._Delays()
    pauses = [delays.after(lived_seconds=0) for _ in range(10)]
    assert all(
        0.75 * base <= pause <= 1.25 * base
        for pause, base in zip(pauses, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10], strict=True)
    )
    assert delays.after(lived_seconds=60) <= 0.25


async def test_what_stands_in_a_childs_way_is_cleared_before_each_start(keeper, program, home):
    cleared = []
    keeper.start(program("touch ready; sleep 60", before_start=lambda: cleared.append(1)))
    await keeper.ready("till")
    os.kill(keeper.pids["till"], signal.SIGKILL)
    await until(lambda: len(cleared) == 2)


async def test_a_step_fails_with_its_last_line(home):
    async def run(script):
        await child.run(
            child.Step(name="migrate", argv=["/bin/sh", "-c", script], env={"PATH": "/usr/bin:/bin"}, log=home / "log")
        )

    await run("exit 0")
    with pytest.raises(faults.Refusal, match=r"^too new$"):
        await run("echo too new; exit 78")
    with pytest.raises(faults.StartFailed, match=r"^migrate failed with exit code 1 \(no table\)"):
        await run("echo no table; exit 1")


def test_a_log_that_has_grown_is_kept_once_and_emptied_under_its_writer(home):
    log = logs.LogFile(home / "till.log")
    writer = log.open()
    os.write(writer, b"early words\n")
    logs.trim(home, bytes_max=5)
    os.write(writer, b"late words\n")
    os.close(writer)
    assert (home / "till.log.1").read_text() == "early words\n"
    assert (home / "till.log").read_text() == "late words\n"
    assert log.last_words() == "late words"


def test_a_process_is_recognised_by_more_than_its_number(home):
    record = home / "processes.json"
    own = os.getpid()
    record.write_text(processes.identities({"till": own}).replace(str(processes._started(own)), "1"))
    assert processes.end_leftovers(record, 0) == []
