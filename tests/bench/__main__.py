"""`./scripts/bench [NAME…] [--json FILE] [--short]`: starts a stack of its own and measures the rows that are named."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import rich.console
import typer

from services.mesh import faults
from tests.bench import floors, generator, machine, measuring, profiling, report, rows, shop

ROUNDS, SECONDS = 5, 10.0
SHORT_ROUNDS, SHORT_SECONDS = 1, 2.0
CALIBRATION_SECONDS = 3.0
#: Programs on the machine, by load average, from which the numbers are not worth much.
BUSY_LOAD = 0.5


def measure(
    console: rich.console.Console,
    at: shop.Shop,
    wanted: list[measuring.Row],
    *,
    rounds: int,
    seconds: float,
    short: bool,
    profiled: bool = False,
) -> tuple[list[measuring.Result], dict[str, Any], list[profiling.Profile]]:
    """Measures rows on a stack: the results, what the plan was, and profiles if wanted. Mismatch; Unavailable."""
    if profiled:
        profiling.sampler()  # before all the work
    subjects = rows.subjects(wanted, at)
    plan = {"rounds": rounds, "seconds": seconds, "short": short, "machine": machine.describe(at.folder)}
    try:
        for subject in subjects:
            console.print(f"  preparing {subject.name}")
            subject.prepare()
        for subject in subjects:
            if isinstance(subject, floors.Sql):
                subject.calibrate(min(seconds, CALIBRATION_SECONDS))
        runs = measuring.repeat(subjects, rounds, seconds, report.progress(console))
        own = {row.subject for row in wanted} if profiled else set()
        profiles = [profiling.profile(at, subject, seconds) for subject in subjects if subject.name in own]
    finally:
        for subject in reversed(subjects):
            subject.close()
    units = {subject.name: subject.unit for subject in subjects}
    return [measuring.result(row, units[row.subject], runs) for row in wanted], plan, profiles


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Rows; none: all. " + ", ".join(rows.ROWS))] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also writes one JSON object a line, a row each.")
    ] = None,
    short: Annotated[
        bool, typer.Option("--short", help="One run of 2 s each: shows that it works, not how fast.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved runs of each.")] = ROUNDS,
    seconds: Annotated[float, typer.Option(min=1, help="Of each run.")] = SECONDS,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Then another run of each row that tells where the time goes; needs py-spy."),
    ] = False,
) -> None:
    """Measure what the design promises, against floors of the same machine and hour."""
    unknown = [name for name in names or () if name not in rows.ROWS]
    if unknown:
        raise typer.BadParameter(f"there is no row {unknown[0]}; rows are {', '.join(rows.ROWS)}")
    wanted = [rows.ROWS[name] for name in dict.fromkeys(names or rows.ROWS)]
    if short:
        rounds, seconds = SHORT_ROUNDS, SHORT_SECONDS
    signal.signal(signal.SIGTERM, _end)
    console = rich.console.Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    load = machine.load_average()
    if load > BUSY_LOAD:
        console.print(f"[yellow]Other programs are busy (load average {load:.1f}): the numbers say little.[/yellow]")
    try:
        with shop.opened(short=short) as at:
            results, plan, profiles = measure(
                console, at, wanted, rounds=rounds, seconds=seconds, short=short, profiled=profile
            )
    except (generator.Unavailable, faults.Refusal) as missing:
        print(f"bench: {missing}", file=sys.stderr)
        raise typer.Exit(78) from None
    except generator.Mismatch as mismatch:
        print(f"bench: the counts don't match, so nothing is reported: {mismatch}", file=sys.stderr)
        raise typer.Exit(1) from None
    console.print(report.table(results, plan))
    for found in profiles:
        console.print(*profiling.tables(found))
    if json_file is not None:
        report.write(json_file, results, plan, profiles)


def _end(_number: int, _frame: Any) -> None:
    """SIGTERM ends as Ctrl-C does: what was started is stopped, and the folder goes away."""
    sys.exit(143)


if __name__ == "__main__":
    typer.run(main)
