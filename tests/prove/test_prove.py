"""A short run of ./scripts/prove: the product keeps its promises while its processes are killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.prove import checks, nemesis, running, world

PLAN = running.Plan(seed=7, seconds=100.0, callers=32, buyers=100, rushes=1, relay_stopped=10.0)

pytestmark = pytest.mark.timeout(420)


def test_no_promise_is_broken_while_processes_are_killed(tmp_path: Path) -> None:
    with world.stack() as stack:
        history = asyncio.run(running.record(stack, PLAN))
    history.write(tmp_path / "history.json")  # ./scripts/prove --check judges it again
    judged = checks.judge(history)

    assert [f"{check.name}: {check.violations[0]}" for check in judged if check.violations] == []
    assert [check.name for check in judged if not check.looked_at] == []
    assert {kill["process"] for kill in history.kills} == set(nemesis.VICTIMS)
