"""Where the time of a row goes: a sampling profile of the services' Python, and PostgreSQL's own account of statements.

A profile costs what it measures: it is taken in runs of its own, whose numbers are in no report.
"""

from __future__ import annotations

import collections
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import rich.box
import rich.table

from tests.bench import generator, shop
from tests.bench.measuring import Subject

SERVICES: Final = ("inventory", "orders")
RATE: Final = 400
#: Samples of the first second are of the warm-up.
WARM_UP_SECONDS: Final = 1.0
SHOWN: Final = 12
TEXT_SHOWN: Final = 60
END_SECONDS: Final = 15.0
#: The part of a service that a sample belongs to. Those of WHOLE take everything that they call; else it is the innermost
#: frame that one names.
WHOLE: Final = (("relay and NATS", ("services/kit/relay", "/nats/")),)
PARTS: Final = (
    ("decide", ("/domain/", "inventory/lane.py", "orders/lane.py", "inventory/ledger.py")),
    ("SQL", ("/store/", "kit/pipeline", "kit/database", "/psycopg/", "kit/outbox", "kit/idempotency")),
    ("queue of the lane", ("kit/lanes",)),
    ("events and watch", ("/events.py", "/watch/", "kit/watch")),
    ("translation", ("/mapping/", "/servicer", "google/protobuf", "kit/ids")),
    ("interceptors", ("services/kit/",)),
    ("handlers", ("services/",)),
    ("grpc and the loop", ("/grpc/", "asyncio/", "__main__")),
)
OTHER: Final = "other"
RESET: Final = "SELECT pg_stat_statements_reset()"
STATEMENTS: Final = """
SELECT s.calls, s.total_exec_time, s.rows, s.wal_bytes, s.query
FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() AND s.calls > 0
ORDER BY s.total_exec_time DESC
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement's account. total_ms: executing, without planning, parsing and the network."""

    service: str
    calls: int
    total_ms: float
    rows: int
    wal_bytes: int
    text: str


@dataclass(frozen=True, slots=True)
class Profile:
    """Of one row. stacks: of each process that was busy, samples by stack, outermost frame first."""

    name: str
    unit: str
    answers: float
    stacks: Mapping[str, Mapping[tuple[str, ...], int]]
    statements: Sequence[Statement]


def sampler() -> str:
    """The py-spy to be used. Unavailable when there is none."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise generator.Unavailable("--profile samples with py-spy and none was found: pip install py-spy.")
    return found


def profile(at: shop.Shop, subject: Subject, seconds: float) -> Profile:
    """Profiles a run of a subject that is prepared."""
    for service in SERVICES:
        with at.rows(service) as session:
            session.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            session.execute(RESET)
    with _sampled(at, seconds) as files:
        measured = subject.measure(seconds)
    stacks = {process: _collapsed(file.read_text()) for process, file in files.items()}
    statements = [found for service in SERVICES for found in _statements(at, service)]
    return Profile(subject.name, subject.unit, measured.value * seconds, stacks, statements)


@contextlib.contextmanager
def _sampled(at: shop.Shop, seconds: float) -> Iterator[dict[str, Path]]:
    """Samples the services' processes while the block runs. Only who holds the interpreter's lock counts as running."""
    running, files = [], {}
    for name, pid in at.pids.items():
        if name.partition("-")[0] not in SERVICES:
            continue
        files[name] = at.folder / f"stacks-{name}"
        # fmt: off
        command = [
            sampler(), "record", "--gil", "--nonblocking", "--full-filenames", "--format", "raw", "--rate", str(RATE),
            "--duration", str(round(seconds)), "--pid", str(pid), "--output", str(files[name]),
        ]
        # fmt: on
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    time.sleep(WARM_UP_SECONDS)
    try:
        yield files
        for process in running:
            _, said = process.communicate(timeout=END_SECONDS)
            if process.returncode != 0:
                raise generator.Unavailable(f"py-spy can't sample here: {said.strip()[-500:]}")
    finally:
        for process in running:
            process.kill()
            process.wait()


def _collapsed(text: str) -> dict[tuple[str, ...], int]:
    found: collections.Counter[tuple[str, ...]] = collections.Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        found[tuple(stack.split(";"))] += int(count)
    return dict(found)


def _statements(at: shop.Shop, service: str) -> list[Statement]:
    with at.rows(service) as session:
        return [
            Statement(service, calls, float(total), rows, int(wal), " ".join(text.split()))
            for calls, total, rows, wal, text in session.execute(STATEMENTS)
            if "pg_stat_statements" not in text
        ]


def part(stack: Sequence[str]) -> str:
    """The part of the service that a sample belongs to: see WHOLE and PARTS."""
    for name, files in WHOLE:
        if any(file in frame for frame in stack for file in files):
            return name
    for frame in reversed(stack):
        for name, files in PARTS:
            if any(file in frame for file in files):
                return name
    return OTHER


def tables(found: Profile) -> list[rich.table.Table]:
    """What a person is shown: parts and functions of each busy process, and the statements."""
    shown = []
    for process, stacks in found.stacks.items():
        samples = sum(stacks.values())
        parts: collections.Counter[str] = collections.Counter()
        functions: collections.Counter[str] = collections.Counter()
        for stack, count in stacks.items():
            parts[part(stack)] += count
            functions[_short(stack[-1])] += count
        if samples:
            title = f"{found.name}: Python of {process}, {samples} samples"
            shown.append(_shares(title, samples, parts.most_common(), functions.most_common(SHOWN)))
    shown.append(_accounts(found))
    return shown


def _short(frame: str) -> str:
    """A function of a file, without the folders that are the machine's."""
    name, _, file = frame.removesuffix(")").partition(" (")
    return f"{name} ({'/'.join(file.split('/')[-3:])})"


def _shares(
    title: str, samples: int, parts: Sequence[tuple[str, int]], functions: Sequence[tuple[str, int]]
) -> rich.table.Table:
    table = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD)
    for name, justify in (("%", "right"), ("part", "left"), ("%", "right"), ("function itself", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # the two words that it takes
    for number in range(max(len(parts), len(functions))):
        table.add_row(*_share(parts, number, samples), *_share(functions, number, samples))
    return table


def _share(of: Sequence[tuple[str, int]], number: int, samples: int) -> tuple[str, str]:
    if number >= len(of):
        return "", ""
    name, count = of[number]
    return f"{100 * count / samples:.1f}", name


def _heaviest(found: Profile) -> list[Statement]:
    return sorted(found.statements, key=lambda one: -one.total_ms)[:SHOWN]


def _accounts(found: Profile) -> rich.table.Table:
    table = rich.table.Table(title=f"{found.name}: statements, by time in all", box=rich.box.SIMPLE_HEAD)
    for name in ("µs an answer", "calls", "ms a call", "rows", "WAL bytes"):
        table.add_column(name, justify="right", min_width=7)
    table.add_column("statement", overflow="ellipsis", no_wrap=True, min_width=40)
    for of in _heaviest(found):
        table.add_row(
            f"{1000 * of.total_ms / found.answers:.1f}",
            f"{of.calls:,}",
            f"{of.total_ms / of.calls:.3f}",
            f"{of.rows / of.calls:.1f}",
            f"{of.wal_bytes / of.calls:,.0f}",
            f"{of.service}: {of.text[:TEXT_SHOWN]}",
        )
    return table


def told(found: Profile) -> dict[str, Any]:
    """The same for a program."""
    return {
        "answers": round(found.answers),
        "python": {process: _told(stacks) for process, stacks in found.stacks.items()},
        "sql": [
            {
                "service": of.service,
                "calls": of.calls,
                "us_an_answer": round(1000 * of.total_ms / found.answers, 2),
                "ms_a_call": round(of.total_ms / of.calls, 4),
                "text": of.text[:300],
            }
            for of in _heaviest(found)
        ],
    }


def _told(stacks: Mapping[tuple[str, ...], int]) -> dict[str, float]:
    parts: collections.Counter[str] = collections.Counter()
    for stack, count in stacks.items():
        parts[part(stack)] += count
    samples = max(1, sum(parts.values()))
    return {name: round(count / samples, 3) for name, count in parts.most_common()}
