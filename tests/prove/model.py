"""The reference: plain double entry over a location's ledger, replayed in order of seq. Nothing of the product's code."""

from __future__ import annotations

import bisect
import collections
import datetime as dt
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

COUNTERS: Final = ("on_hand", "reserved", "allocated", "damaged", "quality_control", "expired", "in_transit")
_PLACES: Final = {name.upper(): number for number, name in enumerate(COUNTERS)}


class State(NamedTuple):
    """The stock of a SKU."""

    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0
    damaged: int = 0
    quality_control: int = 0
    expired: int = 0
    in_transit: int = 0

    @property
    def sellable(self) -> int:
        """Physically fit to sell, promised or not."""
        return self.on_hand - self.damaged - self.quality_control - self.expired

    @property
    def available(self) -> int:
        """Free to promise."""
        return self.sellable - self.reserved - self.allocated

    def moved(self, source: str, target: str, quantity: int) -> State:
        """After units went from one state of stock to another; EXTERNAL is outside, SELLABLE is what is left of on hand."""
        counts = list(self)
        for state, sign in ((source, -1), (target, 1)):
            if state == "EXTERNAL":
                counts[0] -= sign * quantity
            elif state != "SELLABLE":
                counts[_PLACES[state]] += sign * quantity
            if state == "IN_TRANSIT":  # on the road, so not on hand
                counts[0] -= sign * quantity
        return State(*counts)


class Bundles:
    """What bundles consist of, and how often that is there."""

    def __init__(self, bundles: Mapping[str, Mapping[str, int]]) -> None:
        self._parts = {bundle: _parts(bundles, bundle, 1) for bundle in bundles}

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def parts(self, sku: str) -> Mapping[str, int]:
        """Plain SKUs of one unit."""
        return self._parts.get(sku, {sku: 1})

    def apart(self, lines: Mapping[str, int]) -> dict[str, int]:
        """What lines ask of plain SKUs together."""
        units: collections.Counter[str] = collections.Counter()
        for sku, quantity in lines.items():
            for part, each in self.parts(sku).items():
                units[part] += each * quantity
        return dict(units)

    def within(self, sku: str, free: Mapping[str, int]) -> int:
        """How often a SKU can be had of what is free of plain ones."""
        return max(0, min(free[part] // each for part, each in self.parts(sku).items()))

    def touched(self, skus: Collection[str]) -> set[str]:
        """Bundles with any of these plain SKUs in them."""
        return {bundle for bundle, parts in self._parts.items() if parts.keys() & set(skus)}


def _parts(bundles: Mapping[str, Mapping[str, int]], sku: str, times: int) -> collections.Counter[str]:
    if sku not in bundles:
        return collections.Counter({sku: times})
    found: collections.Counter[str] = collections.Counter()
    for component, quantity in bundles[sku].items():
        found += _parts(bundles, component, quantity * times)
    return found


def state_of(level: Mapping[str, Any]) -> State:
    """The state that a level of the API tells."""
    return State(*(int(level.get(name, 0)) for name in COUNTERS))


def seconds(timestamp: str) -> float:
    """Seconds since 1970 of a timestamp of the API."""
    return dt.datetime.fromisoformat(timestamp).timestamp()


class Line(NamedTuple):
    """A line of the ledger."""

    sku: str
    source: str
    target: str
    quantity: int
    reason: str
    lot: str = ""


#: Why units of a lot are put aside that may not be sold any more, and where.
RETIRED: Final = {"EXPIRED": "EXPIRED", "RECALL": "QUALITY_CONTROL"}


def summed(lines: Iterable[Sequence[Any]]) -> dict[tuple[Any, ...], int]:
    """Units by what happened to them, of whichever lot: SKU, from, to, reason. For lines, and whatever begins like one."""
    units: dict[tuple[Any, ...], int] = {}
    for sku, source, target, quantity, reason, *_ in lines:
        what = sku, source, target, reason
        units[what] = units.get(what, 0) + quantity
    return units


@dataclass(slots=True)
class Step:
    """All lines of one position."""

    seq: int
    at: float
    cause: tuple[str, str]
    """What it refers to: type and id."""
    lines: list[Line] = field(default_factory=list)
    happened: list[float] = field(default_factory=list)
    """When each line happened, by whoever told of it."""

    @property
    def own(self) -> list[Line]:
        """Without what was put aside at once as it came back: that follows from the lot."""
        return [line for line in self.lines if line.reason not in RETIRED]

    def units(self, reason: str) -> dict[str, int]:
        """Units by SKU that moved for a reason."""
        found: dict[str, int] = {}
        for line in self.lines:
            if line.reason == reason:
                found[line.sku] = found.get(line.sku, 0) + line.quantity
        return found


class Ledger:
    """A location's ledger, and what its stock was after each position."""

    def __init__(self, movements: Iterable[Mapping[str, Any]]) -> None:
        self.steps = _steps(movements)
        self.by_cause: dict[tuple[str, str], list[Step]] = {}
        self._seqs: dict[str, list[int]] = {}
        self._states: dict[str, list[State]] = {}
        for step in self.steps:
            self.by_cause.setdefault(step.cause, []).append(step)
            for sku in dict.fromkeys(line.sku for line in step.lines):
                state = self.at(sku, step.seq)
                for line in step.lines:
                    if line.sku == sku:
                        state = state.moved(line.source, line.target, line.quantity)
                self._seqs.setdefault(sku, []).append(step.seq)
                self._states.setdefault(sku, []).append(state)
        self._lots: dict[tuple[str, str], tuple[list[int], list[State]]] = {}
        for step in self.steps:
            for line in step.lines:
                if line.lot:
                    seqs, states = self._lots.setdefault((line.sku, line.lot), ([], []))
                    seqs.append(step.seq)
                    last = states[-1] if states else State()
                    states.append(last.moved(line.source, line.target, line.quantity))
        self._times = list(itertools.accumulate((step.at for step in self.steps), max))

    @property
    def skus(self) -> list[str]:
        return list(self._seqs)

    @property
    def head(self) -> int:
        """The last position."""
        return self.steps[-1].seq if self.steps else 0

    def at(self, sku: str, seq: int) -> State:
        """The stock of a SKU after a position."""
        index = bisect.bisect_right(self._seqs.get(sku, []), seq)
        return self._states[sku][index - 1] if index else State()

    def lots(self, sku: str) -> list[str]:
        """Lots of a SKU that there ever was something of."""
        return [lot for of, lot in self._lots if of == sku]

    def lot_at(self, sku: str, lot: str, seq: int) -> State:
        """The stock of a lot after a position."""
        seqs, states = self._lots.get((sku, lot), ([], []))
        index = bisect.bisect_right(seqs, seq)
        return states[index - 1] if index else State()

    def last_until(self, time: float) -> int:
        """The last position that may have been seen at a time: it was decided by then."""
        index = bisect.bisect_right(self._times, time)
        return self.steps[index - 1].seq if index else 0

    def positions(self, skus: Sequence[str], first: int, last: int) -> list[int]:
        """Positions at which one of the SKUs began to be as it was, as far as they were seen from first to last."""
        found = {first}
        for sku in skus:
            seqs = self._seqs.get(sku, [])
            found.update(seqs[bisect.bisect_right(seqs, first) : bisect.bisect_right(seqs, last)])
        return sorted(found)


def _steps(movements: Iterable[Mapping[str, Any]]) -> list[Step]:
    steps: dict[int, Step] = {}
    for row in sorted(movements, key=lambda row: (int(row["seq"]), int(row["line"]))):
        cause = row["reference_type"], row["reference_id"]
        step = steps.setdefault(int(row["seq"]), Step(int(row["seq"]), seconds(row["recorded_at"]), cause))
        names = (row[name].removeprefix("STOCK_STATE_") for name in ("from_state", "to_state"))
        reason = row["reason"].removeprefix("MOVEMENT_REASON_")
        step.lines.append(Line(row["sku"], *names, int(row["quantity"]), reason, row.get("lot", "")))
        step.happened.append(seconds(row["occurred_at"]))
    return list(steps.values())


class Acknowledged:
    """What callers knew when: the highest position whose answer had arrived before a time."""

    def __init__(self, pairs: Iterable[tuple[float, int]]) -> None:
        """pairs: time of an answer, position that it told of."""
        ordered = sorted(pairs)
        self._times = [time for time, _ in ordered]
        self._seqs = list(itertools.accumulate((seq for _, seq in ordered), max))

    def before(self, time: float) -> int:
        index = bisect.bisect_left(self._times, time)
        return self._seqs[index - 1] if index else 0
