"""Promises of transfers that need no database: which step is legal in which state, and what each tells both ends."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import uuid
from collections.abc import Callable

import pytest

from services.inventory.domain import commands, transitions
from services.inventory.domain import levels as values
from services.inventory.domain import transfer_steps as steps
from services.inventory.domain import transfers as domain
from services.inventory.domain.transfers import EventLine, State
from services.kit import errors

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
SOON = NOW + dt.timedelta(days=2)
HERE, THERE = uuid.uuid4(), uuid.uuid4()
ME = commands.Origin("me", "trm-1")
BY = domain.By(origin=ME, now=NOW)
Units = values.State
OUT, IN, CAME, LOST = 19, 20, 21, 22


def drafted(**units: int) -> domain.Transfer:
    draft = domain.Draft(from_location_id=HERE, to_location_id=THERE, lines=tuple(units.items()), expected_at=SOON)
    spellings = {sku: sku for sku in units}
    return domain.new_transfer(draft, transfer_id=uuid.uuid4(), number=7, spellings=spellings, by=BY).transfer


def readied(**units: int) -> domain.Transfer:
    return steps.ready(drafted(**units), uuid.uuid4(), (), BY).transfer


def sent(**units: int) -> domain.Transfer:
    return steps.ship(readied(**units), steps.Shipment(), BY).transfer


def came(transfer: domain.Transfer, *lines: EventLine) -> domain.Step:
    return steps.receive(transfer, steps.Receipt(lines=lines), BY)


def moved(step: domain.Step) -> list[tuple[str, int, int, int, int]]:
    (told,) = step.told
    assert isinstance(told.command, commands.MoveInTransit)
    assert not any(move.lot for move in told.command.moves)
    return [move[:5] for move in told.command.moves]


def in_state(state: State) -> domain.Transfer:
    """A transfer of two units that went through whatever leads there."""
    if state in (State.DRAFT, State.CANCELLED):
        made = drafted(a=2)
    elif state == State.READY:
        made = readied(a=2)
    else:
        made = sent(a=2)
    if state == State.CANCELLED:
        return steps.cancel(made, "x", BY).transfer
    for _ in range({State.PARTIALLY_RECEIVED: 1, State.RECEIVED: 2}.get(state, 0)):
        made = came(made, EventLine(sku="a", accepted=1)).transfer
    assert made.state == state
    return made


def edit(transfer: domain.Transfer, **changes: object) -> domain.Step:
    return domain.edit(transfer, changes, {"b": "b"}, BY)


STEPS: dict[str, tuple[Callable[[domain.Transfer], domain.Step], dict[State, State]]] = {
    "edit its lines": (lambda t: edit(t, lines=(("b", 1),)), {State.DRAFT: State.DRAFT}),
    "edit its date": (
        lambda t: edit(t, expected_at=NOW),
        {s: s for s in (State.DRAFT, State.READY, State.IN_TRANSIT, State.PARTIALLY_RECEIVED)},
    ),
    "ready": (lambda t: steps.ready(t, uuid.uuid4(), (), BY), {State.DRAFT: State.READY}),
    "ship": (lambda t: steps.ship(t, steps.Shipment(), BY), {State.READY: State.IN_TRANSIT}),
    "receive": (
        lambda t: came(t, EventLine(sku="a", accepted=1)),
        {State.IN_TRANSIT: State.PARTIALLY_RECEIVED, State.PARTIALLY_RECEIVED: State.RECEIVED},
    ),
    "close": (
        lambda t: steps.close(t, "x", BY),
        {State.IN_TRANSIT: State.RECEIVED, State.PARTIALLY_RECEIVED: State.RECEIVED},
    ),
    "cancel": (
        lambda t: steps.cancel(t, "x", BY),
        {State.DRAFT: State.CANCELLED, State.READY: State.CANCELLED},
    ),
}


@pytest.mark.parametrize(("name", "state"), list(itertools.product(STEPS, State)))
def test_a_step_is_taken_in_its_states_and_refused_in_all_others(name: str, state: State):
    take, legal = STEPS[name]
    before = in_state(state)
    if state not in legal:
        with pytest.raises(transitions.IllegalTransition) as refused:
            take(before)
        assert refused.value.metadata["from"] == state.name
        return
    step = take(before)
    assert (step.transfer.state, step.transfer.version) == (legal[state], before.version + 1)
    assert step.event.number == before.events + 1
    assert (step.transfer.effects, step.event.effect) == (
        (before.effects + 1, before.effects + 1) if step.told else (before.effects, 0)
    )


def test_an_old_version_is_refused_by_every_step():
    stale = dataclasses.replace(BY, expected_version=99)
    for take in (
        lambda: domain.edit(drafted(a=1), {"note": "x"}, {}, stale),
        lambda: steps.ready(drafted(a=1), uuid.uuid4(), (), stale),
        lambda: steps.ship(readied(a=1), steps.Shipment(), stale),
        lambda: steps.receive(sent(a=1), steps.Receipt(lines=(EventLine(sku="a", accepted=1),)), stale),
        lambda: steps.close(sent(a=1), "x", stale),
        lambda: steps.cancel(drafted(a=1), "x", stale),
    ):
        with pytest.raises(errors.VersionMismatch):
            take()


def test_shipping_tells_both_ends_at_once_and_gives_back_what_stays():
    step = steps.ship(readied(a=5, b=3), steps.Shipment(lines=(("A", 4),)), BY)

    origin, destination = step.told
    assert (origin.location_id, destination.location_id) == (HERE, THERE)
    assert isinstance(origin.command, commands.EndTransferHold)
    assert isinstance(destination.command, commands.MoveInTransit)
    assert (origin.command.action, origin.command.lines) == (values.HoldState.CONSUMED, (("a", 4), ("b", 0)))
    assert destination.command.moves == (("a", Units.EXTERNAL, Units.IN_TRANSIT, 4, IN, ""),)
    assert (destination.command.expected, destination.command.expected_under) == ((("a", 4, SOON),), "TR-000007")
    assert [(line.shipped, line.outstanding) for line in step.transfer.lines] == [(4, 4), (0, 0)]


@pytest.mark.parametrize(
    ("shipment", "field"),
    [
        (steps.Shipment(lines=(("a", 6),)), "lines[0].quantity"),
        (steps.Shipment(lines=(("a", 1), ("A", 1))), "lines[1].sku"),
        (steps.Shipment(lines=(("c", 1),)), "lines[0].sku"),
        (steps.Shipment(lines=(("a", 0),)), "lines"),
    ],
)
def test_what_can_not_be_shipped_is_named(shipment: steps.Shipment, field: str):
    with pytest.raises(errors.InvalidRequest) as refused:
        steps.ship(readied(a=5), shipment, BY)
    assert [violation.field for violation in refused.value.violations] == [field]


def test_a_transfer_without_a_date_is_not_shipped_and_loses_none_on_the_road():
    undated = dataclasses.replace(readied(a=1), expected_at=None)
    with pytest.raises(errors.InvalidRequest):
        steps.ship(undated, steps.Shipment(), BY)
    assert steps.ship(undated, steps.Shipment(expected_at=SOON), BY).transfer.expected_at == SOON
    with pytest.raises(errors.InvalidRequest):
        edit(sent(a=1), expected_at=None)


def test_what_came_leaves_transit_by_what_became_of_it():
    step = came(sent(a=9, b=1), EventLine(sku="A", accepted=3, damaged=2, quality_control=1, lost=2))

    assert moved(step) == [
        ("a", Units.IN_TRANSIT, Units.SELLABLE, 3, CAME),
        ("a", Units.IN_TRANSIT, Units.DAMAGED, 2, CAME),
        ("a", Units.IN_TRANSIT, Units.QUALITY_CONTROL, 1, CAME),
        ("a", Units.IN_TRANSIT, Units.EXTERNAL, 2, LOST),
    ]
    line = step.transfer.lines[0]
    assert (line.received, line.damaged, line.quality_control, line.lost, line.outstanding) == (6, 2, 1, 2, 1)
    assert step.transfer.state == State.PARTIALLY_RECEIVED
    assert step.told[0].command.expected == (("a", 1, SOON),)  # type: ignore[union-attr]  # moved() has looked


def test_units_beyond_those_sent_come_from_outside_and_are_told_as_surplus():
    step = came(sent(a=3), EventLine(sku="a", accepted=2, damaged=2, quality_control=1))

    assert moved(step) == [
        ("a", Units.IN_TRANSIT, Units.SELLABLE, 2, CAME),
        ("a", Units.IN_TRANSIT, Units.DAMAGED, 1, CAME),
        ("a", Units.EXTERNAL, Units.DAMAGED, 1, IN),
        ("a", Units.EXTERNAL, Units.QUALITY_CONTROL, 1, IN),
    ]
    line = step.transfer.lines[0]
    assert (line.received, line.surplus, line.outstanding, step.event.lines[0].surplus) == (5, 2, 0, 2)
    assert step.transfer.state == State.RECEIVED


def test_who_has_seen_a_lot_is_believed_before_who_has_counted():
    step = came(
        sent(a=5),
        EventLine(sku="a", accepted=4),
        EventLine(sku="A", lot="L", damaged=2),
    )

    (told,) = step.told
    assert isinstance(told.command, commands.MoveInTransit)
    assert told.command.moves == (
        ("a", Units.IN_TRANSIT, Units.DAMAGED, 2, CAME, "L"),
        ("a", Units.IN_TRANSIT, Units.SELLABLE, 3, CAME, ""),
        ("a", Units.EXTERNAL, Units.SELLABLE, 1, IN, ""),
    )
    assert [(line.lot, line.surplus) for line in step.event.lines] == [("", 1), ("L", 0)]


def test_a_sku_may_have_a_line_for_each_lot_of_it():
    some = sent(a=5)
    assert (
        came(some, *(EventLine(sku="a", lot=lot, accepted=1) for lot in ("", "L", "M"))).transfer.lines[0].received == 3
    )
    with pytest.raises(errors.InvalidRequest) as refused:
        came(some, EventLine(sku="a", lot="L", accepted=1), EventLine(sku="A", lot="L", lost=1))
    assert [violation.field for violation in refused.value.violations] == ["lines[1].sku"]


def test_more_than_is_in_transit_can_not_be_lost():
    with pytest.raises(errors.InvalidRequest) as refused:
        came(sent(a=3), EventLine(sku="a", accepted=2, lost=2))
    assert [violation.field for violation in refused.value.violations] == ["lines[0].lost"]
    with pytest.raises(errors.InvalidRequest) as refused:
        came(sent(a=3), EventLine(sku="a", lost=1), EventLine(sku="a", lot="L", accepted=2, lost=1))
    assert [violation.field for violation in refused.value.violations] == ["lines[1].lost"]


def test_closing_loses_what_is_still_in_transit():
    partly = came(sent(a=5, b=2), EventLine(sku="a", accepted=4)).transfer

    step = steps.close(partly, "the van burnt down", BY)

    assert moved(step) == [
        ("a", Units.IN_TRANSIT, Units.EXTERNAL, 1, LOST),
        ("b", Units.IN_TRANSIT, Units.EXTERNAL, 2, LOST),
    ]
    assert [line.lost for line in step.transfer.lines] == [1, 2]
    assert (step.transfer.end_reason, step.event.note) == ("the van burnt down", "the van burnt down")


def test_giving_up_a_draft_tells_the_stock_nothing_and_a_ready_one_gives_its_units_back():
    assert steps.cancel(drafted(a=1), "x", BY).told == ()
    ready = readied(a=1)
    (told,) = steps.cancel(ready, "x", BY).told
    assert isinstance(told.command, commands.EndTransferHold)
    assert (told.location_id, told.command.hold_id, told.command.action) == (
        HERE,
        ready.hold_id,
        values.HoldState.RELEASED,
    )


def test_what_can_not_be_ready_is_named():
    for transfer, crowded in ((drafted(), ()), (drafted(a=1), ("a",))):
        with pytest.raises(errors.InvalidRequest):
            steps.check_ready(transfer, crowded, 0)


def test_a_device_that_is_ahead_ships_now():
    step = steps.ship(readied(a=1), steps.Shipment(shipped_at=SOON), BY)
    assert step.transfer.shipped_at == step.event.occurred_at == NOW
