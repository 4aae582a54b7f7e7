"""`./scripts/prove`: breaks a stack of its own while it is used, and holds what happened against what is promised."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import rich.console
import typer

from tests.prove import checks, history, report, running, world

CALLERS = 64
BUYERS = 200
SECONDS = 120.0
RELAY_STOPPED_SECONDS = 15.0
#: A rush takes so long at least; beside other work there is one a minute.
RUSH_SECONDS, CALM_SECONDS = 15.0, 60.0


def main(
    seconds: Annotated[float, typer.Option(min=5, help="How long callers work.")] = SECONDS,
    seed: Annotated[
        int | None, typer.Option(help="What is killed when, and what callers do; default: the clock.")
    ] = None,
    callers: Annotated[int, typer.Option(min=0, help="How many call at the same time.")] = CALLERS,
    buyers: Annotated[int, typer.Option(min=8, help="How many come for the last units of something.")] = BUYERS,
    rush: Annotated[bool, typer.Option("--rush", help="One rush after the other, and nothing beside them.")] = False,
    relay_stopped: Annotated[
        float, typer.Option(min=0, help="Seconds near the end in which the relays publish nothing.")
    ] = RELAY_STOPPED_SECONDS,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also writes the summary, one object a line.")
    ] = None,
    history_file: Annotated[Path | None, typer.Option("--history", help="Keeps the history whatever it shows.")] = None,
    again: Annotated[
        Path | None, typer.Option("--check", help="Judges a kept history again, and runs nothing.")
    ] = None,
) -> None:
    signal.signal(signal.SIGTERM, _end)
    console = rich.console.Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    if again is not None:
        found, kept = history.read(again), again.parent
    else:
        plan = running.Plan(
            seed=int(time.time()) if seed is None else seed,
            seconds=max(seconds, relay_stopped + 2 * RELAY_STOPPED_SECONDS),
            relay_stopped=relay_stopped,
            callers=0 if rush else callers,
            buyers=buyers,
            rushes=1 + int(seconds // (RUSH_SECONDS if rush else CALM_SECONDS)),
        )
        found, kept = _run(console, plan)
    judged = checks.judge(found)
    report.show(console, found, judged)
    if json_file is not None:
        report.write(json_file, found, judged)
    if history_file is not None:
        found.write(history_file)
    if any(check.violations for check in judged):
        console.print(f"\n[red]Promises were broken with --seed {found.seed}[/red]; history and logs: {kept}")
        raise typer.Exit(1)
    if again is None:
        shutil.rmtree(kept)


def _run(console: rich.console.Console, plan: running.Plan) -> tuple[history.History, Path]:
    """The history of a run, and a folder that keeps it and the logs of the parts."""
    kept = Path(tempfile.mkdtemp(prefix=f"tillmesh-prove-{plan.seed}-"))
    console.print(f"seed {plan.seed}; a stack starts")
    with world.stack() as stack:
        try:
            found = asyncio.run(running.record(stack, plan, say=console.print))
        finally:
            shutil.copytree(world.logs(stack), kept / "logs")
    found.write(kept / "history.json")
    return found, kept


def _end(_number: int, _frame: Any) -> None:
    """SIGTERM ends as Ctrl-C does: what was started is stopped, and the stack's folder goes away."""
    sys.exit(143)


if __name__ == "__main__":
    typer.run(main)
