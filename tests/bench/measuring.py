"""What is measured, how it is repeated, and the numbers that come of it. What a thing does when measured is elsewhere."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a subject. details: what explains the value; their names are the same in every run."""

    value: float
    details: Mapping[str, Any] = field(default_factory=dict)


class Subject(Protocol):
    """Something that can be measured again and again: the product's, or a floor."""

    name: str
    unit: str

    def prepare(self) -> None:
        """Makes its data; before all rounds, once."""

    def measure(self, seconds: float) -> Measured:
        """One run, checked. Mismatch when its counts don't add up."""

    def close(self) -> None:
        """Stops what it started."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the design asks for: at least `limit` times a floor, or a detail below it (above it, when least)."""

    limit: float
    floor: str = ""
    detail: str = ""
    least: bool = False

    def __str__(self) -> str:
        if self.floor:
            return f"≥ {self.limit:g} x {self.floor}"
        return f"{self.detail} {'≥' if self.least else '<'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the report. subject: what is measured; floors: what it is compared with, the judged ones in targets."""

    name: str
    subject: str
    floors: tuple[str, ...]
    targets: tuple[Target, ...]


def repeat(subjects: Sequence[Subject], rounds: int, seconds: float, said: Any) -> dict[str, list[Measured]]:
    """Measures each subject once a round. Each round begins with another, so that none always follows the same one."""
    runs: dict[str, list[Measured]] = {subject.name: [] for subject in subjects}
    for number in range(rounds):
        first = number % len(subjects)
        for subject in (*subjects[first:], *subjects[:first]):
            measured = subject.measure(seconds)
            runs[subject.name].append(measured)
            said(number + 1, subject, measured)
    return runs


@dataclass(frozen=True, slots=True)
class Result:
    """A row with its numbers. Ratios are medians of each round's own, so that a slow minute of the machine cancels out."""

    row: Row
    unit: str
    value: float
    floors: dict[str, float]
    ratios: dict[str, float]
    runs: list[dict[str, Any]]
    floor_runs: dict[str, list[dict[str, Any]]]
    reached: dict[str, bool]

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest run."""
        values = [run["value"] for run in self.runs]
        return min(values), max(values)


def result(row: Row, unit: str, runs: Mapping[str, Sequence[Measured]]) -> Result:
    """Puts the runs of a row together."""
    own = [run.value for run in runs[row.subject]]
    floors = {name: [run.value for run in runs[name]] for name in row.floors}
    ratios = {
        name: statistics.median(a / b for a, b in zip(own, values, strict=True)) for name, values in floors.items()
    }
    value = statistics.median(own)
    return Result(
        row=row,
        unit=unit,
        value=value,
        floors={name: statistics.median(values) for name, values in floors.items()},
        ratios=ratios,
        runs=[
            {"value": run.value, "floors": {name: floors[name][number] for name in floors}, **run.details}
            for number, run in enumerate(runs[row.subject])
        ],
        floor_runs={name: [{"value": run.value, **run.details} for run in runs[name]] for name in row.floors},
        reached={str(target): _reached(target, ratios, runs[row.subject]) for target in row.targets},
    )


def _reached(target: Target, ratios: Mapping[str, float], runs: Sequence[Measured]) -> bool:
    if target.floor:
        return ratios[target.floor] >= target.limit
    found = float(statistics.median(run.details[target.detail] for run in runs))
    return found >= target.limit if target.least else found < target.limit
