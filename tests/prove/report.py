"""What a run says on the screen, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich.console
import rich.table

from tests.prove.checking import Check
from tests.prove.history import History

STORIES_MAX = 3


def show(console: rich.console.Console, history: History, checks: Sequence[Check]) -> None:
    """A short summary; then, where a promise was broken, the stories."""
    console.print(_calls(history), _kills(history), _checks(checks))
    slowest = max(history.calls, key=lambda call: call.seconds)
    console.print(
        f"The longest outage that a caller saw: {slowest.seconds:.1f} s ({slowest.kind} {slowest.key}, then "
        f"{slowest.outcome}). Tills came back {breaks(history)} times."
    )
    console.print(rushes(history))
    for check in checks:
        for told in check.violations[:STORIES_MAX]:
            console.print(f"\n[red]broken: {check.name}[/red]")
            console.print(told, markup=False)
        if len(check.violations) > STORIES_MAX:
            console.print(f"… and {len(check.violations) - STORIES_MAX} more")


def breaks(history: History) -> int:
    """How often a stream ended and was taken up again."""
    return sum(event["kind"] == "broken" for stream in history.streams for event in stream.events)


def rushes(history: History) -> str:
    """How the rushes ended, in a sentence."""
    sold_out = sum(rush["sold_out"] for rush in history.rushes)
    return f"{len(history.rushes)} rushes, {sold_out} of them until nothing was left."


def outcomes(history: History) -> dict[str, Counter[str]]:
    """By kind of call, how often it ended how."""
    found: dict[str, Counter[str]] = {}
    for call in history.calls:
        found.setdefault(call.kind, Counter())[call.outcome] += 1
    return found


def kills(history: History) -> Counter[str]:
    """By process and signal."""
    return Counter(f"{kill['process']} {kill['how']}" for kill in history.kills)


def _calls(history: History) -> rich.table.Table:
    table = rich.table.Table("call", "sent", "known as", title=f"seed {history.seed}, {history.callers} callers")
    for kind, counted in sorted(outcomes(history).items()):
        sent = sum(len(call.attempts) for call in history.of(kind))
        table.add_row(kind, str(sent), ", ".join(f"{name} {count}" for name, count in counted.most_common()))
    return table


def _kills(history: History) -> str:
    return "Struck: " + ", ".join(f"{name} {count}" for name, count in sorted(kills(history).items()))


def _checks(checks: Sequence[Check]) -> rich.table.Table:
    table = rich.table.Table("promise", "held against", "broken")
    for check in checks:
        broken = f"[red]{len(check.violations)}[/red]" if check.violations else "0"
        table.add_row(check.name, f"{check.looked_at:,}", broken)
    return table


def write(path: Path, history: History, checks: Sequence[Check]) -> None:
    """One JSON object a line: the run, then each promise."""
    run: dict[str, Any] = {
        "name": "run",
        "seed": history.seed,
        "seconds": history.seconds,
        "callers": history.callers,
        "calls": outcomes(history),
        "kills": kills(history),
        "outage_seconds_max": round(max(call.seconds for call in history.calls), 3),
        "stream_breaks": breaks(history),
        "rushes": history.rushes,
        "outage": history.outage,
    }
    rows = [{"name": c.name, "looked_at": c.looked_at, "violations": c.violations} for c in checks]
    path.write_text("".join(json.dumps(row) + "\n" for row in (run, *rows)))
