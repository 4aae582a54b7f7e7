"""What a person and a program are told of the results: a table, and one JSON object a line."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.box
import rich.console
import rich.table

from tests.bench import profiling
from tests.bench.measuring import Measured, Result, Subject

#: Of a run's details: those that are in `runs` only, or told in another way.
SHOWN_ELSEWHERE = ("value", "floors", "latency_ms", "by_second", "cores", "load_average")


def progress(console: rich.console.Console) -> Any:
    """Says each run as it ends."""

    def said(number: int, subject: Subject, measured: Measured) -> None:
        others = measured.details.get("cores_others", 0.0)
        warning = f"  [yellow]others used {others:.2f} cores[/yellow]" if others > 0.1 else ""
        console.print(f"  round {number}  {subject.name:<15} {measured.value:>10,.1f} {subject.unit}{warning}")

    return said


def table(results: Sequence[Result], plan: Mapping[str, Any]) -> rich.table.Table:
    """The results, with what they should reach."""
    title = f"median of {plan['rounds']} interleaved runs of {plan['seconds']:g} s"
    if plan["short"]:
        title += " — SHORT: too few and too short to mean anything"
    shown = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD)
    for name, justify in (
        ("row", "left"),
        ("value", "right"),
        ("runs", "right"),
        ("floors", "left"),
        ("reach", "left"),
    ):
        shown.add_column(name, justify=justify)  # type: ignore[arg-type]  # the two words that it takes
    for result in results:
        low, high = result.spread
        floors = [f"{name} {value:,.0f}: {result.ratios[name]:.2f} x" for name, value in result.floors.items()]
        reach = [
            f"[{'green' if ok else 'red'}]{'yes' if ok else 'no '}[/] {said}" for said, ok in result.reached.items()
        ]
        shown.add_row(
            result.row.name,
            f"{result.value:,.1f} {result.unit}",
            f"{low:,.0f} to {high:,.0f}",
            "\n".join(floors),
            "\n".join(reach),
        )
    return shown


def write(
    path: Path, results: Sequence[Result], plan: Mapping[str, Any], profiles: Sequence[profiling.Profile] = ()
) -> None:
    """One JSON object a line for a row; the file is written anew."""
    found = {profile.name: profiling.told(profile) for profile in profiles}
    lines = [
        json.dumps(_line(result, plan, found.get(result.row.subject)), separators=(",", ":")) for result in results
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _line(result: Result, plan: Mapping[str, Any], profile: Mapping[str, Any] | None) -> dict[str, Any]:
    low, high = result.spread
    return {
        "name": result.row.name,
        "value": round(result.value, 2),
        "unit": result.unit,
        "floors": {name: round(value, 2) for name, value in result.floors.items()},
        "ratios": {name: round(value, 3) for name, value in result.ratios.items()},
        "runs": result.runs,
        "details": {
            **plan,
            "spread": [round(low, 2), round(high, 2)],
            "reached": result.reached,
            "disturbed_runs": sum(run.get("cores_others", 0.0) > 0.1 for run in result.runs),
            **_medians(result.runs, result.unit),
            "floors": {name: _medians(runs, "/s") for name, runs in result.floor_runs.items()},
            **({} if profile is None else {"profile": profile}),
        },
    }


def _medians(runs: Sequence[Mapping[str, Any]], unit: str) -> dict[str, Any]:
    """Of the numbers that every run tells, and of processor time an answer; what else it tells, as the last run has it."""
    told = {name: value for name, value in runs[-1].items() if name not in SHOWN_ELSEWHERE}
    for name, value in told.items():
        if isinstance(value, (int, float)):
            told[name] = round(statistics.median(run[name] for run in runs), 3)
    if "latency_ms" in runs[0]:
        told |= {
            f"{name}_ms": round(statistics.median(run["latency_ms"][name] for run in runs), 3)
            for name in runs[0]["latency_ms"]
        }
    if unit.endswith("/s"):
        told["cpu_us_an_answer"] = {
            part: round(statistics.median(1e6 * run["cores"].get(part, 0.0) / run["value"] for run in runs), 1)
            for part in sorted({part for run in runs for part in run["cores"]})
        }
    return told
