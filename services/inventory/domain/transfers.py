"""A transfer between two locations: its states and lines, and how it is drafted and edited. Values in, values out.

A step answers the transfer as it is from then on, what happened, and, where stock is concerned, commands for the lanes
of its ends, which are never refused: whatever could refuse a step is checked here. Steps that move stock are in
transfer_steps.py.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from services.inventory.domain import catalog, commands, transitions
from services.inventory.domain import catalog_codes as codes

REF_TYPE: Final = "transfer"


class State(enum.IntEnum):
    """State of a transfer; numbers of the contract."""

    DRAFT = 1
    READY = 2
    IN_TRANSIT = 3
    PARTIALLY_RECEIVED = 4
    RECEIVED = 5
    CANCELLED = 6


MOVES: transitions.Moves[State] = {
    State.DRAFT: (State.READY, State.CANCELLED),
    State.READY: (State.IN_TRANSIT, State.CANCELLED),
    State.IN_TRANSIT: (State.PARTIALLY_RECEIVED, State.RECEIVED),
    State.PARTIALLY_RECEIVED: (State.PARTIALLY_RECEIVED, State.RECEIVED),
    State.RECEIVED: (),
    State.CANCELLED: (),
}
ON_THE_ROAD: Final = frozenset({State.IN_TRANSIT, State.PARTIALLY_RECEIVED})
UNDER_WAY: Final = ON_THE_ROAD | {State.READY}
EDITABLE_UNDER_WAY: Final = frozenset({"note", "reference", "expected_at"})


class EventKind(enum.IntEnum):
    """What happened to a transfer; numbers of the contract."""

    CREATED = 1
    UPDATED = 2
    READY = 3
    SHIPPED = 4
    RECEIVED = 5
    CLOSED = 6
    CANCELLED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a caller says of a transfer. lines: SKU, units."""

    from_location_id: uuid.UUID
    to_location_id: uuid.UUID
    lines: tuple[tuple[str, int], ...] = ()
    expected_at: dt.datetime | None = None
    note: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LotUnits:
    """Units of a line that are of a lot. mistaken: sent as of it, and seen to be of another as they came."""

    lot: str
    shipped: int = 0
    received: int = 0
    lost: int = 0
    mistaken: int = 0
    surplus: int = 0
    """Part of received: beyond those that were sent as of it."""

    @property
    def outstanding(self) -> int:
        """Units in transit."""
        return self.shipped - (self.received - self.surplus) - self.lost - self.mistaken


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Units of a SKU. received: all that came, of which damaged, quality_control, and surplus: more than was sent."""

    sku: str
    quantity: int
    shipped: int = 0
    received: int = 0
    damaged: int = 0
    quality_control: int = 0
    lost: int = 0
    surplus: int = 0
    lots: tuple[LotUnits, ...] = ()
    """What of it is of lots, as far as its steps are in the stock; the rest is of none."""

    @property
    def outstanding(self) -> int:
        """Units in transit."""
        return self.shipped - (self.received - self.surplus) - self.lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Stock that goes from one location to another. effects: steps that concern the stock; settled: all are in it."""

    id: uuid.UUID
    number: int
    from_location_id: uuid.UUID
    to_location_id: uuid.UUID
    state: State
    lines: tuple[Line, ...]
    expected_at: dt.datetime | None
    note: str
    reference: str
    created_by: str
    created_at: dt.datetime
    updated_at: dt.datetime
    hold_id: uuid.UUID | None = None
    shipped_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    end_reason: str = ""
    version: int = 1
    effects: int = 0
    events: int = 0
    settled: bool = True

    @property
    def name(self) -> str:
        """What people and incoming stock call it."""
        return f"TR-{self.number:06d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLine:
    """Units of a SKU in an event. surplus: of those that came, the ones that were never sent. lot: as it was seen."""

    sku: str
    lot: str = ""
    shipped: int = 0
    accepted: int = 0
    damaged: int = 0
    quality_control: int = 0
    lost: int = 0
    surplus: int = 0

    @property
    def received(self) -> int:
        """Units that came."""
        return self.accepted + self.damaged + self.quality_control


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Who did what. effect: the step that brings it into the stock, 0: none; seq: its place in the ledger."""

    number: int
    kind: EventKind
    lines: tuple[EventLine, ...]
    note: str
    actor: str
    terminal: str
    occurred_at: dt.datetime
    recorded_at: dt.datetime
    effect: int = 0
    seq: int = 0
    settled: bool = True

    def reference(self, transfer: Transfer) -> str:
        """What its movements refer to."""
        return f"{transfer.name}/{self.number}"


class Told(NamedTuple):
    """What the stock of a location is told."""

    location_id: uuid.UUID
    command: commands.Document


class Step(NamedTuple):
    """The transfer after a step, what happened; and what the stock is told at once, of which the first has its seq."""

    transfer: Transfer
    event: Event
    told: tuple[Told, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who takes a step on which version (0: whatever it is). now: the database's clock; occurred_at None: now too."""

    origin: commands.Origin
    now: dt.datetime
    expected_version: int = 0

    def at(self, occurred_at: dt.datetime | None) -> commands.Origin:
        """The origin of movements. A time to come is taken for now."""
        return dataclasses.replace(self.origin, occurred_at=min(occurred_at or self.now, self.now))


def new_transfer(
    draft: Draft, *, transfer_id: uuid.UUID, number: int, spellings: Mapping[str, str], by: By
) -> Step:  # fmt: skip
    """A draft. INVALID_REQUEST. spellings: of the catalogue, by folded SKU."""
    wrong = catalog.Violations("transfer")
    wrong.check_texts(note=draft.note, reference=draft.reference)
    if draft.from_location_id == draft.to_location_id:
        wrong.add("to_location_id", "is the origin too")
    wrong.refuse()
    made = Transfer(
        id=transfer_id,
        number=number,
        from_location_id=draft.from_location_id,
        to_location_id=draft.to_location_id,
        state=State.DRAFT,
        lines=_lines(draft.lines, spellings),
        expected_at=draft.expected_at,
        note=draft.note,
        reference=draft.reference,
        created_by=by.origin.actor,
        created_at=by.now,
        updated_at=by.now,
        version=0,
    )
    return taken(made, EventKind.CREATED, by, {})


def _lines(drafts: Sequence[tuple[str, int]], spellings: Mapping[str, str]) -> tuple[Line, ...]:
    wrong = catalog.Violations("transfer")
    keys = [codes.sku_key(sku) for sku, _ in drafts]
    for index in catalog.duplicates(keys):
        wrong.add(f"lines[{index}].sku", "has a line already")
    wrong.refuse()
    return tuple(Line(sku=spellings[key], quantity=units) for key, (_, units) in zip(keys, drafts, strict=True))


def edit(transfer: Transfer, changes: Mapping[str, Any], spellings: Mapping[str, str], by: By) -> Step:
    """New values of fields (as in Draft). VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""
    catalog.check_version(transfer.version, by.expected_version)
    under_way = transfer.state in UNDER_WAY and EDITABLE_UNDER_WAY.issuperset(changes)
    if transfer.state != State.DRAFT and not under_way:
        raise transitions.IllegalTransition(transfer.state, State.DRAFT, MOVES[transfer.state])
    wrong = catalog.Violations("transfer")
    wrong.check_texts(note=changes.get("note", ""), reference=changes.get("reference", ""))
    if transfer.state in ON_THE_ROAD and changes.get("expected_at", by.now) is None:
        wrong.add("expected_at", "is needed while units are in transit")
    wrong.refuse()
    new = dict(changes)
    if "lines" in new:
        new["lines"] = _lines(new["lines"], spellings)
    step = taken(transfer, EventKind.UPDATED, by, new)
    if transfer.state in ON_THE_ROAD and "expected_at" in new:
        return _rescheduled(step, by)
    return step


def _rescheduled(step: Step, by: By) -> Step:
    """All that is in transit is expected at the new date."""
    transfer = step.transfer
    expected = tuple((x.sku, x.outstanding, transfer.expected_at) for x in transfer.lines if x.outstanding)
    reference = step.event.reference(transfer)
    command = commands.MoveInTransit(by.origin, (), reference, REF_TYPE, expected, transfer.name)
    return telling(step, Told(transfer.to_location_id, command))


def taken(
    transfer: Transfer,
    kind: EventKind,
    by: By,
    changes: Mapping[str, Any],
    *,
    lines: tuple[EventLine, ...] = (),
    note: str = "",
    occurred_at: dt.datetime | None = None,
) -> Step:
    """A step that was taken: the next version of the transfer, and its event."""
    event = Event(
        number=transfer.events + 1,
        kind=kind,
        lines=lines,
        note=note,
        actor=by.origin.actor,
        terminal=by.origin.terminal,
        occurred_at=occurred_at or by.now,
        recorded_at=by.now,
    )
    changed = dataclasses.replace(
        transfer, **changes, events=event.number, version=transfer.version + 1, updated_at=by.now
    )
    return Step(changed, event)


def telling(step: Step, *told: Told) -> Step:
    """The same step, which the stock is told of."""
    effect = step.transfer.effects + 1
    transfer = dataclasses.replace(step.transfer, effects=effect, settled=False)
    return Step(transfer, dataclasses.replace(step.event, effect=effect, settled=False), told)
