"""A cycle count: its states, its lines and passes, and the variances that its approval adds to the stock.

What was expected of a line is the level as of when it was counted, so that sales and deliveries before the approval are
neither lost nor taken for a variance; store/cycle_counts.py works it out of the ledger. Values in, values out.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from services.inventory.domain import catalog, commands, transitions
from services.inventory.domain import catalog_codes as codes
from services.kit import errors

REF_TYPE: Final = "count"
LINES_MAX: Final = 1000
"""Its variances are one step into the stock and one event, which must stay well below what travels in one message."""


class State(enum.IntEnum):
    """State of a count; numbers of the contract."""

    OPEN = 1
    COUNTED = 2
    APPROVED = 3
    REJECTED = 4
    CANCELLED = 5


MOVES: transitions.Moves[State] = {
    State.OPEN: (State.COUNTED, State.CANCELLED),
    State.COUNTED: (State.OPEN, State.APPROVED, State.REJECTED, State.CANCELLED),
    State.APPROVED: (),
    State.REJECTED: (),
    State.CANCELLED: (),
}


class SecondPersonRequired(errors.Error):
    """Who counted may not approve the count."""

    reason = "SECOND_PERSON_REQUIRED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is counted: one of the three."""

    skus: tuple[str, ...] = ()
    category: str = ""
    sku_prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a caller says of a count."""

    location_id: uuid.UUID
    scope: Scope
    note: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the lines. All but lines: of those that count; cost and value None: not known."""

    lines: int = 0
    counted: int = 0
    varying: int = 0
    over: int = 0
    short: int = 0
    cost: int | None = None
    value: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A count. opened_seq and seq: positions in the location's ledger; settled: its variances are in the stock."""

    id: uuid.UUID
    number: int
    location_id: uuid.UUID
    state: State
    scope: Scope
    note: str
    currency_code: str
    created_by: str
    created_at: dt.datetime
    opened_seq: int
    updated_at: dt.datetime
    submitted_by: str = ""
    submitted_at: dt.datetime | None = None
    decided_by: str = ""
    decided_at: dt.datetime | None = None
    decision_reason: str = ""
    version: int = 1
    effects: int = 0
    settled: bool = True
    seq: int = 0
    totals: Totals = Totals()

    @property
    def reference(self) -> str:
        """What people and movements call it."""
        return f"CC-{self.number:06d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A SKU of a count and its last pass. on_hand, seq: the level and the ledger's position when that was recorded."""

    sku: str
    counted: int | None = None
    counted_at: dt.datetime | None = None
    counted_by: str = ""
    passes: int = 0
    recount: bool = False
    on_hand: int = 0
    seq: int = 0
    expected: int | None = None
    unit_cost: int | None = None
    unit_price: int | None = None
    superseded: bool = False

    @property
    def counts(self) -> bool:
        """Whether it was counted, and not sent back since."""
        return self.counted is not None and not self.recount

    @property
    def variance(self) -> int | None:
        """What the approval adds; None while it isn't known."""
        return None if self.counted is None or self.expected is None else self.counted - self.expected


@dataclass(frozen=True, slots=True)
class Entry:
    """What a caller counted. counted_at None: now."""

    sku: str
    counted: int
    counted_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One time that a line was counted."""

    sku: str
    number: int
    counted: int
    counted_at: dt.datetime
    recorded_at: dt.datetime
    counted_by: str
    terminal: str
    on_hand: int
    seq: int


class Observed(NamedTuple):
    """The level of a SKU, and where the location's ledger was, in one reading."""

    on_hand: int
    seq: int


@dataclass(frozen=True, slots=True)
class Decided:
    """A count that was approved, and what the stock is told; None: nothing."""

    count: Count
    command: commands.ApplyVariances | None


def new_count(
    draft: Draft,
    skus: Sequence[str],
    *,
    count_id: uuid.UUID,
    number: int,
    currency_code: str,
    by: str,
    seq: int,
    now: dt.datetime,
) -> Count:
    """An open count of SKUs, as the scope gave them. INVALID_REQUEST when they are none or too many."""
    wrong = catalog.Violations("cycle_count")
    wrong.check_texts(note=draft.note, scope=draft.scope.category)
    if not skus:
        wrong.add("scope", "holds no SKU")
    if len(skus) > LINES_MAX:
        wrong.add("scope", f"holds more than {LINES_MAX} SKUs")
    wrong.refuse()
    return Count(
        id=count_id,
        number=number,
        location_id=draft.location_id,
        state=State.OPEN,
        scope=draft.scope,
        note=draft.note,
        currency_code=currency_code,
        created_by=by,
        created_at=now,
        opened_seq=seq,
        updated_at=now,
    )


def record(
    count: Count,
    lines: Mapping[str, Line],
    entries: Sequence[Entry],
    observed: Mapping[str, Observed],
    *,
    origin: commands.Origin,
    now: dt.datetime,
) -> tuple[Count, list[Pass]]:
    """Notes passes of lines (by folded SKU, those of the entries). ILLEGAL_TRANSITION, INVALID_REQUEST."""
    if count.state != State.OPEN:
        raise transitions.IllegalTransition(count.state, State.OPEN, MOVES[count.state])
    keys = [codes.sku_key(entry.sku) for entry in entries]
    wrong = catalog.Violations("")
    for index in catalog.duplicates(keys):
        wrong.add(f"counts[{index}].sku", "stands there already")
    _check_known(wrong, "counts[{}].sku", keys, lines)
    wrong.refuse()
    passes = [
        Pass(
            sku=lines[key].sku,
            number=lines[key].passes + 1,
            counted=entry.counted,
            counted_at=max(min(entry.counted_at or now, now), count.created_at),
            recorded_at=now,
            counted_by=origin.actor,
            terminal=origin.terminal,
            on_hand=observed[key].on_hand,
            seq=observed[key].seq,
        )
        for key, entry in zip(keys, entries, strict=True)
    ]
    return _next(count, now), passes


def _check_known(wrong: catalog.Violations, path: str, keys: Sequence[str], lines: Mapping[str, Line]) -> None:
    for index, key in enumerate(keys):
        if key not in lines:
            wrong.add(path.format(index), "is not in the count")


def passed(line: Line, by: Pass) -> Line:
    """The line after a pass. What was expected isn't known of this one yet."""
    return dataclasses.replace(
        line,
        counted=by.counted,
        counted_at=by.counted_at,
        counted_by=by.counted_by,
        passes=by.number,
        recount=False,
        on_hand=by.on_hand,
        seq=by.seq,
        expected=None,
    )


def submit(
    count: Count, lines: Iterable[Line], *, leave_uncounted: bool, by: str, expected_version: int, now: dt.datetime
) -> Count:
    """OPEN to COUNTED. VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST when lines are missing."""
    catalog.check_version(count.version, expected_version)
    state = transitions.check(MOVES, count.state, State.COUNTED)
    missing = [line.sku for line in lines if not line.counts]
    if missing and not leave_uncounted:
        wrong = catalog.Violations("")
        shown = ", ".join(missing[:5])
        wrong.add("leave_uncounted", f"is needed: {len(missing)} SKUs are to be counted ({shown}…)")
        wrong.refuse()
    return _next(count, now, state=state, submitted_by=by, submitted_at=now)


def send_back(
    count: Count, lines: Mapping[str, Line], skus: Sequence[str], *, expected_version: int, now: dt.datetime
) -> tuple[Count, list[Line]]:
    """COUNTED to OPEN, and the lines to be counted again. VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""
    catalog.check_version(count.version, expected_version)
    state = transitions.check(MOVES, count.state, State.OPEN)
    keys = [codes.sku_key(sku) for sku in skus]
    wrong = catalog.Violations("")
    _check_known(wrong, "skus[{}]", keys, lines)
    wrong.refuse()
    again = [dataclasses.replace(lines[key], recount=True) for key in dict.fromkeys(keys)]
    return _next(count, now, state=state), again


def check_approval(count: Count, *, counted: bool, admin: bool, expected_version: int) -> None:
    """Whether it may be approved now, by this one. VERSION_MISMATCH, ILLEGAL_TRANSITION, SECOND_PERSON_REQUIRED."""
    catalog.check_version(count.version, expected_version)
    transitions.check(MOVES, count.state, State.APPROVED)
    if counted and not admin:
        raise SecondPersonRequired


def approve(count: Count, lines: Iterable[Line], *, origin: commands.Origin, now: dt.datetime) -> Decided:
    """COUNTED to APPROVED. lines: as expected by now. Their variances are one step into the stock."""
    state = transitions.check(MOVES, count.state, State.APPROVED)
    differ = [
        (line.sku, line.variance, line.counted_at)
        for line in lines
        if line.counts and line.variance and line.counted_at is not None
    ]
    command = commands.ApplyVariances(origin, tuple(differ), count.reference) if differ else None
    approved = _next(count, now, state=state, decided_by=origin.actor, decided_at=now)
    if command is None:
        return Decided(approved, None)
    return Decided(dataclasses.replace(approved, effects=count.effects + 1, settled=False), command)


def end(count: Count, to: State, reason: str, *, by: str, expected_version: int, now: dt.datetime) -> Count:
    """To REJECTED or CANCELLED: the stock stays. VERSION_MISMATCH, ILLEGAL_TRANSITION."""
    catalog.check_version(count.version, expected_version)
    state = transitions.check(MOVES, count.state, to)
    wrong = catalog.Violations("")
    wrong.check_texts(reason=reason)
    wrong.refuse()
    return _next(count, now, state=state, decided_by=by, decided_at=now, decision_reason=reason)


def _next(count: Count, now: dt.datetime, **changes: Any) -> Count:
    return dataclasses.replace(count, **changes, version=count.version + 1, updated_at=now)
