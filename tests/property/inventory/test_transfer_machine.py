"""Transfers between two locations, step by step and in any order, against people with pencils: no unit is lost or made.

The machine drives what the product does: documents decide, and what they tell the stock is done later, each document's
steps in their order and all ends of a step at once. The model only notes how many units somebody has put where.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from services.inventory.domain import commands, stock, stock_documents, stock_errors, stock_holds, transitions
from services.inventory.domain import levels as values
from services.inventory.domain import transfer_steps as steps
from services.inventory.domain import transfers as domain
from services.inventory.domain.transfers import State
from services.kit import errors

SKUS = ("a", "b")
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SOON = START + dt.timedelta(days=1)
PLACES = (uuid.UUID(int=1), uuid.UUID(int=2))
ME = commands.Origin("me")
Units = values.State
FEW = 3  # transfers at a time, so that many steps meet the same one


@dataclass
class Place:
    """A location as the database would keep it."""

    levels: dict[str, values.Level] = field(default_factory=dict)
    holds: dict[uuid.UUID, values.Hold] = field(default_factory=dict)
    buckets: dict[tuple[str, dt.datetime], int] = field(default_factory=dict)
    ledger: list[values.Movement] = field(default_factory=list)
    seq: int = 0

    def batch(self, now: dt.datetime) -> stock.Stock:
        due: Counter[str] = Counter()
        for (key, ends), _quantity in list(self.buckets.items()):
            if ends <= now:
                due[key] += self.buckets.pop((key, ends))
        variants = {sku: sku for sku in SKUS}
        working = stock.Stock(
            location_id="loc", seq=self.seq, now=now, levels=self.levels, variants=variants, holds=self.holds, due=due
        )
        working.expire_due()
        working.finish()
        return working

    def save(self, working: stock.Stock) -> None:
        working.finish()
        self.levels, self.holds, self.seq = working.levels, working.holds, working.seq
        for at, quantity in working.buckets.items():
            self.buckets[at] = self.buckets.get(at, 0) + quantity
        self.ledger += [movement for step in working.steps for movement in step.movements]


class TransferMachine(stateful.RuleBasedStateMachine):
    """Two locations, and transfers both ways."""

    transfers = stateful.Bundle("transfers")

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.numbers = itertools.count(1)
        self.places = {place: Place() for place in PLACES}
        self.kept: dict[int, domain.Transfer] = {}
        self.told: dict[int, deque[Sequence[domain.Told]]] = {}
        self.holds: dict[int, uuid.UUID] = {}
        self.shelves: Counter[tuple[uuid.UUID, str]] = Counter()
        """What is at a place, whatever its state, once all that was decided is done."""
        self.roads: Counter[tuple[int, str]] = Counter()
        self.gone: Counter[str] = Counter()
        self.put: Counter[str] = Counter()

    def by(self) -> domain.By:
        return domain.By(origin=ME, now=self.now)

    # --- stock that comes and goes by itself ---

    @stateful.initialize()
    def open_with_some(self) -> None:
        for place in PLACES:
            for sku in SKUS:
                self.adjust(place, sku, 12)

    @stateful.rule(seconds=st.sampled_from([1, 50, 200]))
    def time_passes(self, seconds: int) -> None:
        self.now += dt.timedelta(seconds=seconds)

    @stateful.rule(place=st.sampled_from(PLACES), sku=st.sampled_from(SKUS), delta=st.integers(-4, 12).filter(bool))
    def adjust(self, place: uuid.UUID, sku: str, delta: int) -> None:
        working = self.places[place].batch(self.now)
        try:
            working.adjust(commands.Adjust(ME, sku, delta, 1))
        except stock_errors.QuantityBelowZero:
            delta = 0
        self.places[place].save(working)
        self.shelves[place, sku] += delta
        self.put[sku] += delta

    @stateful.rule(number=transfers)
    def a_person_releases_its_hold(self, number: int) -> None:
        transfer = self.kept[number]
        place = self.places[transfer.from_location_id]
        working = place.batch(self.now)
        keys = tuple(line.sku for line in transfer.lines)
        if transfer.hold_id is not None:
            with contextlib.suppress(errors.Error):
                stock_holds.end_hold(working, commands.EndHold(ME, transfer.hold_id, keys, values.HoldState.RELEASED))
        place.save(working)

    # --- steps of documents ---

    @stateful.precondition(lambda self: len(self.kept) < FEW)
    @stateful.rule(
        target=transfers,
        ends=st.permutations(PLACES),
        lines=st.dictionaries(st.sampled_from(SKUS), st.integers(1, 6), min_size=1),
        as_far_as=st.sampled_from([State.DRAFT, State.READY, State.IN_TRANSIT, State.IN_TRANSIT]),
        stays=st.integers(0, 3),
    )
    def draft(self, ends: Sequence[uuid.UUID], lines: dict[str, int], as_far_as: State, stays: int) -> int:
        """Often taken further at once: what goes wrong needs goods on the road."""
        number = next(self.numbers)
        draft = domain.Draft(
            from_location_id=ends[0], to_location_id=ends[1], lines=tuple(lines.items()), expected_at=SOON
        )
        spellings = {sku: sku for sku in SKUS}
        step = domain.new_transfer(draft, transfer_id=uuid.uuid4(), number=number, spellings=spellings, by=self.by())
        self.kept[number], self.told[number] = step.transfer, deque()
        if as_far_as >= State.READY:
            self.ready(number, False)
        if as_far_as == State.IN_TRANSIT and self.kept[number].state == State.READY:
            self.ship(number, stays)
        return number

    @stateful.rule(number=transfers, crashes=st.booleans())
    def ready(self, number: int, crashes: bool) -> None:
        """Holds first; a crash leaves the hold, and the next attempt in time uses it."""
        transfer = self.kept[number]
        if transfer.state != State.DRAFT:
            return self.refused(number, lambda: steps.ready(transfer, uuid.uuid4(), (), self.by()))
        place = self.places[transfer.from_location_id]
        working = place.batch(self.now)
        hold = working.holds.get(self.holds.get(number, uuid.UUID(int=0)))
        if hold is None or hold.state_at(self.now) != values.HoldState.ACTIVE:
            self.holds[number] = uuid.uuid4()
            lines = tuple((line.sku, line.quantity) for line in transfer.lines)
            reserve = commands.Reserve(ME, self.holds[number], lines, 120, transfer.name, for_sale=False)
            try:
                stock_holds.reserve(working, reserve)
            except stock_errors.InsufficientStock as refused:
                free = {line.sku: working.level(line.sku).available for line in transfer.lines}
                assert {x.sku for x in refused.lines} == {x.sku for x in transfer.lines if free[x.sku] < x.quantity}
                return place.save(working)
        place.save(working)
        if not crashes:
            self.take(number, steps.ready(transfer, self.holds[number], (), self.by()))

    @stateful.rule(number=transfers, stays=st.integers(0, 3))
    def ship(self, number: int, stays: int) -> None:
        transfer = self.kept[number]
        lines = tuple((line.sku, max(line.quantity - stays, 0)) for line in transfer.lines)
        if not any(units for _, units in lines):
            lines = ()  # all
        shipment = steps.Shipment(lines=lines)
        if transfer.state != State.READY:
            return self.refused(number, lambda: steps.ship(transfer, shipment, self.by()))
        self.take(number, steps.ship(transfer, shipment, self.by()))
        for line in transfer.lines:
            units = dict(lines).get(line.sku, line.quantity)
            self.shelves[transfer.from_location_id, line.sku] -= units
            self.roads[number, line.sku] += units

    @stateful.rule(number=transfers, parts=st.tuples(*[st.integers(0, 4)] * 4).filter(any), first=st.booleans())
    def receive(self, number: int, parts: tuple[int, int, int, int], first: bool) -> None:
        """One SKU: fit, damaged, to be looked at, lost."""
        transfer = self.kept[number]
        sku = transfer.lines[0 if first else -1].sku
        line = domain.EventLine(
            sku=sku.upper(), accepted=parts[0], damaged=parts[1], quality_control=parts[2], lost=parts[3]
        )
        receipt = steps.Receipt(lines=(line,))
        road, came, lost = self.roads[number, sku], sum(parts[:3]), parts[3]
        try:
            step = steps.receive(transfer, receipt, self.by())
        except transitions.IllegalTransition:
            assert transfer.state not in (State.IN_TRANSIT, State.PARTIALLY_RECEIVED)
            return
        except errors.InvalidRequest:
            assert lost > max(road - came, 0)
            return
        assert lost <= max(road - came, 0)
        self.take(number, step)
        surplus = max(came - road, 0)
        self.roads[number, sku] -= came - surplus + lost
        self.shelves[transfer.to_location_id, sku] += came
        self.gone[sku] += lost
        self.put[sku] += surplus

    @stateful.rule(number=transfers)
    def close(self, number: int) -> None:
        transfer = self.kept[number]
        if transfer.state not in (State.IN_TRANSIT, State.PARTIALLY_RECEIVED):
            return self.refused(number, lambda: steps.close(transfer, "x", self.by()))
        self.take(number, steps.close(transfer, "x", self.by()))
        for sku in SKUS:
            self.gone[sku] += self.roads.pop((number, sku), 0)

    @stateful.rule(number=transfers)
    def cancel(self, number: int) -> None:
        transfer = self.kept[number]
        if transfer.state not in (State.DRAFT, State.READY):
            return self.refused(number, lambda: steps.cancel(transfer, "x", self.by()))
        self.take(number, steps.cancel(transfer, "x", self.by()))

    def refused(self, number: int, step: object) -> None:
        before = self.kept[number]
        try:
            step()  # type: ignore[operator]  # a step
        except transitions.IllegalTransition:
            assert self.kept[number] is before
        else:
            raise AssertionError("a step was taken in a state that has none")

    def take(self, number: int, step: domain.Step) -> None:
        self.kept[number] = step.transfer
        if step.told:
            self.told[number].append(step.told)

    @stateful.rule(number=transfers)
    def the_next_step_reaches_the_stock(self, number: int) -> None:
        if self.told[number]:
            for place, command in self.told[number].popleft():
                working = self.places[place].batch(self.now)
                stock_documents.check(working, command)
                stock_documents.apply(working, command)
                self.places[place].save(working)

    # --- what always holds ---

    @stateful.invariant()
    def what_left_one_end_is_on_its_way_to_another(self) -> None:
        left, set_out = Counter[str](), Counter[str]()
        for place in self.places.values():
            for moved in place.ledger:
                if moved.reason == values.Reason.TRANSFER_OUT:
                    left[moved.sku] += moved.quantity
                if moved.to_state == Units.IN_TRANSIT:
                    set_out[moved.sku] += moved.quantity
        assert left == set_out

    @stateful.invariant()
    def levels_are_what_the_ledger_adds_up_to(self) -> None:
        for place in self.places.values():
            for sku, level in place.levels.items():
                account: Counter[int] = Counter()
                for moved in place.ledger:
                    if moved.sku == sku:
                        account[moved.from_state] -= moved.quantity
                        account[moved.to_state] += moved.quantity
                assert (account[Units.IN_TRANSIT], account[Units.ALLOCATED]) == (level.in_transit, level.allocated)
                assert account[Units.EXTERNAL] == -level.on_hand - level.in_transit
                assert level.in_transit == sum(entry.quantity for entry in level.incoming) >= 0
                assert level.allocated >= 0

    def teardown(self) -> None:
        for number in self.kept:
            while self.told[number]:
                self.the_next_step_reaches_the_stock(number)
        self.levels_are_what_the_ledger_adds_up_to()
        self.what_left_one_end_is_on_its_way_to_another()
        for sku in SKUS:
            on_hand = {key: self.places[key].levels.get(sku, values.Level(sku)).on_hand for key in PLACES}
            assert on_hand == {key: self.shelves[key, sku] for key in PLACES}
            roads = sum(units for (_, of), units in self.roads.items() if of == sku)
            transit = sum(place.levels.get(sku, values.Level(sku)).in_transit for place in self.places.values())
            assert transit == roads
            assert sum(on_hand.values()) + transit + self.gone[sku] == self.put[sku]
        for transfer in self.kept.values():
            for line in transfer.lines:
                assert line.outstanding == self.roads[transfer.number, line.sku] >= 0


TestTransferMachine = TransferMachine.TestCase
TestTransferMachine.settings = hypothesis.settings(max_examples=150, stateful_step_count=40, deadline=None)
