"""Several transfers of one SKU and its lots from one place to another, at once, against boxes with labels.

Each transfer of the model is a list of units, each with the lot that it set out as. A receiver takes single units from the
boxes of that transfer alone: by the label that was read, else the first to expire.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from services.inventory.domain import commands, stock, stock_documents, stock_errors, stock_holds, transfer_lots
from services.inventory.domain import levels as values
from services.inventory.domain import transfer_steps as steps
from services.inventory.domain import transfers as domain
from services.inventory.domain.transfers import EventLine, LotUnits, State
from services.kit import errors

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HERE, THERE = uuid.UUID(int=1), uuid.UUID(int=2)
ME = commands.Origin("me")
SKU = "a"
LASTS = {"OLD": 2, "YOUNG": 9, "ENDLESS": None, "": None}  # days; in the order in which they go
CODES = [code for code in LASTS if code]
ORDER = [*CODES, ""]
counts = st.integers(0, 3)


@dataclass
class Place:
    """A location as the database would keep it."""

    level: values.Level = field(default_factory=lambda: values.Level(SKU))
    lots: dict[str, values.LotStock] = field(default_factory=dict)
    holds: dict[uuid.UUID, values.Hold] = field(default_factory=dict)
    seq: int = 0

    def batch(self, named: Sequence[tuple[str, str]]) -> stock.Stock:
        """Loads the lots that have units and those that are named, as the lane does."""
        codes = {code for code, of in self.lots.items() if not of.is_empty} | {code for _, code in named}
        self.level.lots = {code: self.lots.setdefault(code, _lot(code)) for code in codes}
        return stock.Stock(
            location_id="loc", seq=self.seq, now=NOW, levels={SKU: self.level}, variants={SKU: SKU}, holds=self.holds,
            due={},
        )  # fmt: skip

    def save(self, working: stock.Stock) -> None:
        working.finish()
        self.holds, self.seq = working.holds, working.seq

    def by_lot(self, name: str) -> Counter[str]:
        found = Counter({code: getattr(of, name) for code, of in self.lots.items()})
        found[""] = getattr(self.level, name) - found.total()
        return Counter({code: units for code, units in found.items() if units})


def _lot(code: str) -> values.LotStock:
    days = LASTS[code]
    return values.LotStock(SKU, code=code, sell_until=None if days is None else NOW + dt.timedelta(days=days))


@dataclass
class Boxes:
    """A transfer as its units. at: units of a lot that are held, on the road, and so on."""

    held: list[str] = field(default_factory=list)
    road: list[str] = field(default_factory=list)
    counted: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, code: str, *names: str) -> None:
        if code:
            self.counted.setdefault(code, Counter()).update(names)

    def take(self, label: str) -> str:
        """A unit out of the boxes: with the label, or the first to expire."""
        code = label if label and label in self.road else min(self.road, key=ORDER.index)
        self.road.remove(code)
        return code


class TransferLotsMachine(stateful.RuleBasedStateMachine):
    """Steps reach the stock late, those of a transfer in their order."""

    transfers = stateful.Bundle("transfers")

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.here, self.there = Place(), Place()
        self.kept: dict[int, domain.Transfer] = {}
        self.told: dict[int, deque[tuple[domain.Told, ...]]] = {}
        self.learnt: dict[int, dict[str, LotUnits]] = {}
        self.boxes: dict[int, Boxes] = {}
        self.shelf: Counter[str] = Counter()
        self.arrived: Counter[str] = Counter()

    def by(self) -> domain.By:
        return domain.By(origin=ME, now=NOW)

    @stateful.initialize(units=st.fixed_dictionaries({code: st.integers(2, 8) for code in LASTS}))
    def open_with_some(self, units: dict[str, int]) -> None:
        for code, quantity in units.items():
            working = self.here.batch([(SKU, code)] if code else [])
            working.adjust(commands.Adjust(ME, SKU, quantity, 1, lot=code))
            self.here.save(working)
            self.shelf[code] += quantity

    @stateful.precondition(lambda self: len(self.kept) < 4)
    @stateful.rule(target=transfers, quantity=st.integers(1, 9), stays=st.integers(0, 3))
    def send(self, quantity: int, stays: int) -> int:
        """Made ready and decided to be shipped, without some of its units."""
        number = next(self.numbers)
        draft = domain.Draft(
            from_location_id=HERE, to_location_id=THERE, lines=((SKU, quantity),), expected_at=NOW + dt.timedelta(1)
        )
        made = domain.new_transfer(draft, transfer_id=uuid.uuid4(), number=number, spellings={SKU: SKU}, by=self.by())
        self.kept[number], self.told[number], self.boxes[number] = made.transfer, deque(), Boxes()
        self.learnt[number] = {}
        working, hold_id = self.here.batch([]), uuid.uuid4()
        try:
            reserve = commands.Reserve(ME, hold_id, ((SKU, quantity),), 600, for_sale=False)
            stock_holds.reserve(working, reserve)
        except stock_errors.InsufficientStock:
            assert self.shelf.total() < quantity
            return number
        finally:
            self.here.save(working)
        boxes = self.boxes[number]
        for _ in range(quantity):
            boxes.held.append(next(code for code in ORDER if self.shelf[code] > 0))
            self.shelf[boxes.held[-1]] -= 1
        self.take(number, steps.ready(self.kept[number], hold_id, (), self.by()))
        leaves = max(quantity - stays, 1)
        self.take(number, steps.ship(self.kept[number], steps.Shipment(lines=((SKU, leaves),)), self.by()))
        boxes.road, back = boxes.held[:leaves], boxes.held[leaves:]
        for code in boxes.road:
            boxes.count(code, "shipped")
        self.shelf.update(back)
        self.the_next_step_reaches_the_stock(number)
        self.the_next_step_reaches_the_stock(number)  # else what is given back isn't there for the next one yet
        return number

    @stateful.rule(
        number=transfers,
        lines=st.dictionaries(st.sampled_from(ORDER), st.tuples(counts, counts, counts).filter(any), min_size=1),
    )
    def receive(self, number: int, lines: dict[str, tuple[int, int, int]]) -> None:
        """By the label that was read ("": none): fit, damaged, lost."""
        transfer, boxes = self.kept[number], self.boxes[number]
        if transfer.state not in (State.IN_TRANSIT, State.PARTIALLY_RECEIVED):
            return
        came = tuple(
            EventLine(sku=SKU, lot=label, accepted=fit, damaged=damaged, lost=lost)
            for label, (fit, damaged, lost) in lines.items()
        )
        received = sum(fit + damaged for fit, damaged, _ in lines.values())
        lost = sum(units for *_, units in lines.values())
        try:
            step = steps.receive(transfer, steps.Receipt(lines=came), self.by())
        except errors.InvalidRequest:
            assert lost > max(len(boxes.road) - received, 0)
            return
        assert lost <= max(len(boxes.road) - received, 0)
        self.take(number, step)
        in_turn = sorted(lines, key=lambda label: not label)
        for label in in_turn:
            for _ in range(lines[label][0] + lines[label][1]):
                self.one_comes(boxes, label)
        for label in in_turn:
            for _ in range(lines[label][2]):
                boxes.count(boxes.take(label), "lost")

    def one_comes(self, boxes: Boxes, label: str) -> None:
        if not boxes.road:  # from nobody knows where
            boxes.count(label, "received", "surplus")
            self.arrived[label] += 1
            return
        code = boxes.take(label)
        self.arrived[label or code] += 1
        if label in ("", code):
            boxes.count(code, "received")
        else:
            boxes.count(code, "mistaken")
            boxes.count(label, "received", "surplus")

    @stateful.rule(number=transfers)
    def close(self, number: int) -> None:
        if self.kept[number].state in (State.IN_TRANSIT, State.PARTIALLY_RECEIVED):
            self.take(number, steps.close(self.kept[number], "x", self.by()))
            for code in self.boxes[number].road:
                self.boxes[number].count(code, "lost")
            self.boxes[number].road = []

    def take(self, number: int, step: domain.Step) -> None:
        self.kept[number] = step.transfer
        if step.told:
            self.told[number].append(step.told)

    @stateful.rule(number=transfers)
    def the_next_step_reaches_the_stock(self, number: int) -> None:
        if not self.told[number]:
            return
        first, *rest = self.told[number].popleft()
        place = self.here if first.location_id == HERE else self.there
        command = first.command
        if isinstance(command, commands.MoveInTransit):
            road = [(lot, of.outstanding) for lot, of in self.learnt[number].items() if of.outstanding]
            command = dataclasses.replace(command, lots={SKU: road})
        done = self.apply(place, command)
        for told in rest:
            assert isinstance(told.command, commands.MoveInTransit)
            left = [(move.lot, move.quantity) for move in done.lots if move.reason == values.Reason.TRANSFER_OUT]
            self.apply(self.there, dataclasses.replace(told.command, lots={SKU: left}))
        for (_, lot), units in transfer_lots.sums(done.lots).items():
            before = self.learnt[number].get(lot, LotUnits(lot=lot))
            names = ("shipped", "received", "lost", "mistaken", "surplus")
            added = {name: getattr(before, name) + getattr(units, name) for name in names}
            self.learnt[number][lot] = LotUnits(lot=lot, **added)
            assert self.learnt[number][lot].outstanding >= 0

    def apply(self, place: Place, command: commands.Document) -> commands.Done:
        sent = command.lots.get(SKU, ()) if isinstance(command, commands.MoveInTransit) else ()
        working = place.batch([*commands.lots_of(command), *((SKU, lot) for lot, _ in sent)])
        done = stock_documents.apply(working, command)
        place.save(working)
        return done

    # --- what always holds ---

    @stateful.invariant()
    def nothing_is_owed(self) -> None:
        for place in (self.here, self.there):
            for name in values.Counters._fields:
                assert all(units >= 0 for units in place.by_lot(name).values())

    @stateful.invariant()
    def what_a_transfer_has_on_the_road_by_lot_is_what_the_stock_has(self) -> None:
        road: Counter[str] = Counter()
        for learnt in self.learnt.values():
            road.update({lot: of.outstanding for lot, of in learnt.items() if of.outstanding})
        in_transit = self.there.by_lot("in_transit")
        assert {code: units for code, units in in_transit.items() if code} == dict(road)

    def teardown(self) -> None:
        for number in self.kept:
            while self.told[number]:
                self.the_next_step_reaches_the_stock(number)
        assert self.here.by_lot("on_hand") == +self.shelf
        assert self.there.by_lot("on_hand") == +self.arrived
        assert self.there.by_lot("in_transit") == Counter(code for of in self.boxes.values() for code in of.road)
        for number, boxes in self.boxes.items():
            known = {
                code: Counter({name: units for name, units in _numbers(of).items() if units})
                for code, of in self.learnt[number].items()
            }
            assert known == boxes.counted
            left = Counter({code: of.outstanding for code, of in self.learnt[number].items() if of.outstanding})
            assert left == Counter(code for code in boxes.road if code)


def _numbers(of: LotUnits) -> dict[str, int]:
    return {name: getattr(of, name) for name in ("shipped", "received", "lost", "mistaken", "surplus")}


TestTransferLotsMachine = TransferLotsMachine.TestCase
TestTransferLotsMachine.settings = hypothesis.settings(max_examples=120, stateful_step_count=25, deadline=None)
