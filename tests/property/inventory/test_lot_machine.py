"""Random commands on stock that is kept by lots, against a model that handles units one at a time.

The machine keeps what the database would keep and loads each batch from it, as the lane does. The model knows how many units
of each lot, and of none, are in each state, and looks through all lots anew for every single unit that leaves.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from dataclasses import dataclass, field

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from services.inventory.domain import commands, lots, stock, stock_documents, stock_errors, stock_holds, stock_lots
from services.inventory.domain import levels as values

START = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
ME = commands.Origin("me")
SKU, KEY = "Milk", "milk"
POLICY = lots.Policy(minimum_life_days={"web": 3, "export": 20})
S = values.State
CODES = ("A", "B", "C", "D")
CHANNELS = ("", "till", "web", "export")
quantities = st.integers(1, 9)
named = st.sampled_from(CODES)
maybe_named = st.sampled_from(("", "", *CODES))


@dataclass
class Dates:
    """What is known of a lot."""

    until: dt.datetime | None
    recalled: dt.datetime | None = None

    def aside(self, now: dt.datetime) -> S | None:
        if self.recalled:
            return S.QUALITY_CONTROL
        return S.EXPIRED if self.until and self.until <= now else None


@dataclass
class Held:
    """A hold as a person would note it: units by lot."""

    units: list[tuple[str, int]]
    ends: dt.datetime
    state: S | None = S.RESERVED


@dataclass
class Model:
    """Units by lot and state; the lot is empty for units of none."""

    dates: dict[str, Dates]
    units: Counter[tuple[str, S]] = field(default_factory=Counter)
    holds: dict[uuid.UUID, Held] = field(default_factory=dict)
    safety: int = 0
    backorder: int = 0

    def total(self, *states: S) -> int:
        return sum(units for (_, state), units in self.units.items() if state in states)

    def pass_time(self, now: dt.datetime) -> None:
        for hold in self.holds.values():
            if hold.state == S.RESERVED and hold.ends <= now:
                hold.state = None
                self.move(hold.units, S.RESERVED, S.SELLABLE)
        self.put_aside(now)

    def put_aside(self, now: dt.datetime) -> None:
        for code, dates in self.dates.items():
            if (aside := dates.aside(now)) and (free := self.units[code, S.SELLABLE]) > 0:
                self.move([(code, free)], S.SELLABLE, aside)

    def move(self, parts: list[tuple[str, int]], source: S | None, target: S | None) -> None:
        for code, units in parts:
            if source:
                self.units[code, source] -= units
            if target:
                self.units[code, target] += units

    def first_out(self, state: S, quantity: int, until: dt.datetime) -> list[tuple[str, int]]:
        """One unit after the other, each of the lot that ends first among those that have one left."""
        taken: Counter[str] = Counter()
        for _ in range(quantity):
            having = [
                (dates.until is None, dates.until or START, code)
                for code, dates in self.dates.items()
                if self.units[code, state] > taken[code]
                and (state != S.SELLABLE or not (dates.recalled or (dates.until and dates.until <= until)))
            ]
            taken[min(having)[2] if having else ""] += 1
        return [(code, units) for code, units in taken.items() if units]

    def promise(self, until: dt.datetime) -> int:
        free = self.total(S.SELLABLE)
        too_old = sum(
            max(self.units[code, S.SELLABLE], 0)
            for code, dates in self.dates.items()
            if dates.recalled or (dates.until and dates.until <= until)
        )
        return min(free - self.safety, free - too_old) + self.backorder


class LotMachine(stateful.RuleBasedStateMachine):
    """Each rule is a batch of one command."""

    holds = stateful.Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.now, self.seq = START, 0
        self.level = values.Level(SKU)
        self.kept: dict[str, values.LotStock] = {}
        self.stored: dict[uuid.UUID, values.Hold] = {}
        self.buckets: Counter[tuple[str, dt.datetime]] = Counter()
        self.lot_buckets: Counter[tuple[str, dt.datetime]] = Counter()
        self.ledger: list[values.Movement] = []
        self.model = Model({"A": Dates(START + DAY), "B": Dates(START + 9 * DAY), "C": Dates(None), "D": Dates(None)})

    def batch(self, *codes: str) -> stock.Stock:
        for code in codes:
            if code and code not in self.kept:
                self.kept[code] = values.LotStock(KEY, code=code)
        for code, of in self.kept.items():
            of.sell_until, of.recalled_at = self.model.dates[code].until, self.model.dates[code].recalled
        self.level.lots = self.kept
        lot_due: Counter[tuple[str, str]] = Counter()
        for (code, ends), units in self.lot_buckets.items():
            if ends <= self.now:
                lot_due[KEY, code] += units
        due = sum(units for (_, ends), units in self.buckets.items() if ends <= self.now)
        working = stock.Stock(
            location_id="loc", seq=self.seq, now=self.now, levels={KEY: self.level}, variants={KEY: SKU},
            holds=self.stored, due={KEY: due} if due else {}, lot_due=lot_due, policies={KEY: POLICY},
        )  # fmt: skip
        working.expire_due()
        working.finish()
        self.model.pass_time(self.now)
        return working

    def save(self, working: stock.Stock) -> None:
        working.finish()
        for name, kept, new in (
            ("buckets", self.buckets, {(k, at): n for (k, at), n in working.buckets.items()}),
            ("lot_buckets", self.lot_buckets, {(lot, at): n for (_, lot, at), n in working.lot_buckets.items()}),
        ):
            left = Counter({of: units for of, units in kept.items() if of[1] > self.now})
            left.update(new)
            assert min(left.values(), default=0) >= 0, name
            setattr(self, name, left)
        self.kept = {code: of for code, of in self.kept.items() if not of.is_empty}
        assert self.level.has_lots == bool(self.kept)
        self.seq, self.stored = working.seq, working.holds
        self.ledger += [movement for step in working.steps for movement in step.movements]

    # --- rules ---

    @stateful.rule(hours=st.sampled_from([1, 11, 24, 24 * 8]))
    def time_passes(self, hours: int) -> None:
        self.now += dt.timedelta(hours=hours)

    @stateful.rule(code=named, days=st.none() | st.integers(-2, 25))
    def date_is_corrected(self, code: str, days: int | None) -> None:
        self.model.dates[code].until = None if days is None else self.now + days * DAY

    @stateful.rule(code=named)
    def lot_is_recalled_or_not_any_more(self, code: str) -> None:
        dates = self.model.dates[code]
        dates.recalled = None if dates.recalled else self.now

    @stateful.rule(code=maybe_named, quantity=quantities, state=st.sampled_from([S.SELLABLE, S.SELLABLE, S.DAMAGED]))
    def deliver(self, code: str, quantity: int, state: S) -> None:
        working = self.batch(code)
        line = commands.Receipt(SKU, state, quantity, code)
        stock_documents.apply(working, commands.ReceiveStock(ME, (line,), 1, "purchase_order", "PO-1/1", "PO-1"))
        self.model.move([(code, quantity)], None, state)
        self.model.put_aside(self.now)
        self.save(working)

    @stateful.rule(safety=st.integers(0, 3), backorder=st.integers(0, 3))
    def policy(self, safety: int, backorder: int) -> None:
        working = self.batch()
        working.set_policy(commands.SetPolicy(ME, SKU, safety, backorder, None))
        self.model.safety, self.model.backorder = safety, backorder
        self.save(working)

    @stateful.rule(
        target=holds, quantity=quantities, channel=st.sampled_from(CHANNELS), hours=st.sampled_from([1, 30, 300])
    )
    def reserve(self, quantity: int, channel: str, hours: int) -> object:
        working, hold_id = self.batch(), uuid.uuid4()
        until = self.now + POLICY.life(channel)
        promise = self.model.promise(until)
        command = commands.Reserve(ME, hold_id, ((SKU, quantity),), hours * 3600, channel=channel)
        try:
            hold = stock_holds.reserve(working, command)
        except stock_errors.InsufficientStock as refused:
            assert [line.available for line in refused.lines] == [max(promise, 0)]
            assert promise < quantity
            self.save(working)
            return stateful.multiple()
        assert promise >= quantity
        parts = self.model.first_out(S.SELLABLE, quantity, until)
        assert sorted((line.lot, line.quantity) for line in hold.lines) == sorted(parts)
        for line in hold.lines:
            if line.lot and (ends := self.model.dates[line.lot].until):
                assert ends > self.now + dt.timedelta(days=POLICY.minimum_life_days.get(channel, 0))
        self.model.move(parts, S.SELLABLE, S.RESERVED)
        self.model.holds[hold_id] = Held([(x.lot, x.quantity) for x in hold.lines], hold.expires_at)
        self.save(working)
        return hold_id

    @stateful.rule(hold_id=holds, confirm=st.booleans())
    def end(self, hold_id: uuid.UUID, confirm: bool) -> None:
        working, held = self.batch(), self.model.holds[hold_id]
        action = values.HoldState.CONFIRMED if confirm else values.HoldState.RELEASED
        try:
            stock_holds.end_hold(working, commands.EndHold(ME, hold_id, (KEY,), action))
        except stock_errors.ReservationEnded:
            assert held.state is None or confirm
            return self.save(working)
        if held.state is not None:
            target = S.ALLOCATED if confirm else S.SELLABLE
            self.model.move(held.units, held.state, target)
            held.state = S.ALLOCATED if confirm else None
            self.model.put_aside(self.now)
        return self.save(working)

    @stateful.rule(hold_id=holds, quantity=quantities)
    def reduce(self, hold_id: uuid.UUID, quantity: int) -> None:
        """One unit after the other goes back: of a lot that can't be sold, else of none, else of the lot that ends last."""
        working, held = self.batch(), self.model.holds[hold_id]
        there = sum(units for _, units in held.units)
        try:
            hold = stock_holds.reduce_hold(working, commands.ReduceHold(ME, hold_id, ((SKU, quantity),)))
        except stock_errors.ReservationEnded:
            assert held.state is None
            return self.save(working)
        except stock_errors.QuantityBelowZero:
            assert there < quantity
            return self.save(working)
        assert held.state is not None
        left, back = Counter(dict(held.units)), Counter[str]()
        for _ in range(quantity):
            code = max((code for code, units in left.items() if units), key=self.leaves_an_order_by)
            left[code] -= 1
            back[code] += 1
        assert Counter({line.lot: line.quantity for line in hold.lines}) == +left
        self.model.move(list(back.items()), held.state, S.SELLABLE)
        held.units = list((+left).items())
        self.model.put_aside(self.now)
        return self.save(working)

    def leaves_an_order_by(self, code: str) -> tuple[bool, bool, bool, dt.datetime, str]:
        dates = self.model.dates.get(code, Dates(None))
        return bool(code and dates.aside(self.now)), not code, dates.until is None, dates.until or START, code

    @stateful.rule(quantity=quantities, code=maybe_named, hold_id=st.none() | holds)
    def sell(self, quantity: int, code: str, hold_id: uuid.UUID | None) -> None:
        working = self.batch(code)
        sale = commands.Sale("ord", (commands.SaleLine(SKU, quantity, code),), ME, hold_id, (KEY,) if hold_id else ())
        working.apply_sale(sale)
        left = self.model_sells_held(quantity, code, self.model.holds[hold_id] if hold_id else None)
        if code:
            self.model_takes(code, left)
        else:
            self.model.move(self.model.first_out(S.SELLABLE, left, self.now), S.SELLABLE, None)
        told = {x.kind: x for x in working.step.exceptions if x.lot}
        sold = {m.lot for m in working.step.movements if m.reason == values.Reason.SALE and m.lot}
        unfit = {lot for lot in sold if self.model.dates[lot].aside(self.now)}
        kinds = values.ExceptionKind.EXPIRED_LOT_SOLD, values.ExceptionKind.RECALLED_LOT_SOLD
        assert {x.lot for x in working.step.exceptions if x.kind in kinds} == unfit
        oversold = told.get(values.ExceptionKind.LOT_OVERSOLD)
        assert (oversold is not None) == (bool(code) and left > 0 and self.model.units[code, S.SELLABLE] < 0)
        self.save(working)

    def model_sells_held(self, quantity: int, code: str, held: Held | None) -> int:
        """Takes from a hold what it has, gives the rest of it back; answers what is missing."""
        if held is None or held.state is None:
            return quantity
        for lot, units in held.units:
            used = min(units, quantity) if code in ("", lot) else 0
            quantity -= used
            self.model.move([(lot, used)], held.state, None)
            self.model.move([(lot, units - used)], held.state, S.SELLABLE)
        held.state = None
        self.model.put_aside(self.now)
        return quantity

    def model_takes(self, code: str, quantity: int) -> None:
        """Of one lot: free units, then those that were put aside as it may not be sold, then below zero."""
        aside = self.model.dates[code].aside(self.now)
        for _ in range(quantity):
            from_aside = aside is not None and self.model.units[code, S.SELLABLE] <= 0 < self.model.units[code, aside]
            self.model.move([(code, 1)], aside if from_aside else S.SELLABLE, None)

    @stateful.rule(delta=st.integers(-9, 9).filter(bool), code=maybe_named)
    def adjust(self, delta: int, code: str) -> None:
        working = self.batch(code)
        fit = [(c, s) for c, s in self.model.units if c == code or not code]
        aside = self.model.dates[code].aside(self.now) if code else None
        counted = (S.SELLABLE, S.RESERVED, S.ALLOCATED, aside)
        there = sum(self.model.units[of] for of in fit if of[1] in counted)
        try:
            working.adjust(commands.Adjust(ME, SKU, delta, 1, lot=code))
        except stock_errors.QuantityBelowZero:
            assert there + delta < 0
            return self.save(working)
        assert delta > 0 or there + delta >= 0
        if delta > 0:
            self.model.move([(code, delta)], None, S.SELLABLE)
            self.model.put_aside(self.now)
        elif code:
            self.model_takes(code, -delta)
        else:
            self.model.move(self.model.first_out(S.SELLABLE, -delta, self.now), S.SELLABLE, None)
        return self.save(working)

    @stateful.rule(
        quantity=quantities,
        code=maybe_named,
        states=st.permutations([S.SELLABLE, S.DAMAGED, S.EXPIRED, S.QUALITY_CONTROL]).map(lambda found: found[:2]),
    )
    def move_states(self, quantity: int, code: str, states: list[S]) -> None:
        source, target = states
        working = self.batch(code)
        of = [(c, s) for c, s in self.model.units if c == code or not code]
        counted = (S.SELLABLE, S.RESERVED, S.ALLOCATED) if source == S.SELLABLE else (source,)
        there = sum(self.model.units[each] for each in of if each[1] in counted)
        dead = {c: dates for c, dates in self.model.dates.items() if dates.aside(self.now)}
        try:
            working.move_states(commands.Move(ME, SKU, source, target, quantity, 6, lot=code))
        except stock_errors.QuantityBelowZero:
            assert there < quantity
            return self.save(working)
        except lots.LotNotSellable:
            assert target == S.SELLABLE
            assert code in dead or there - sum(self.model.units[c, source] for c in dead) < quantity
            return self.save(working)
        assert there >= quantity
        if code:
            parts = [(code, quantity)]
        elif target == S.SELLABLE:
            living = {c: dates for c, dates in self.model.dates.items() if c not in dead}
            parts = Model(living, self.model.units).first_out(source, quantity, self.now)
        else:
            parts = self.model.first_out(source, quantity, self.now)
        self.model.move(parts, source, target)
        self.model.put_aside(self.now)
        return self.save(working)

    @stateful.rule(pair=st.permutations(["", *CODES]).map(lambda found: found[:2]), quantity=quantities)
    def assign(self, pair: list[str], quantity: int) -> None:
        source, target = pair
        working = self.batch(source, target)
        aside = self.model.dates[source].aside(self.now) if source else None
        free = self.model.units[source, S.SELLABLE]
        have = (max(free, 0) if source else free) + (self.model.units[source, aside] if aside else 0)
        try:
            stock_lots.assign(working, commands.Assign(ME, SKU, source, target, quantity))
        except stock_errors.QuantityBelowZero:
            assert have < quantity
            return self.save(working)
        assert have >= quantity
        if source:
            self.model_takes(source, quantity)
        else:
            self.model.move([("", quantity)], S.SELLABLE, None)
        self.model.move([(target, quantity)], None, S.SELLABLE)
        self.model.put_aside(self.now)
        return self.save(working)

    # --- what always holds ---

    @stateful.invariant()
    def units_are_where_the_model_has_them(self) -> None:
        self.save(self.batch())  # what a reader would see now
        counted = [state for state in S if state not in (S.EXTERNAL, S.SELLABLE)]
        for code in CODES:
            of = self.kept.get(code, values.LotStock(KEY))
            assert of.free == self.model.units[code, S.SELLABLE]
            assert [of.in_state(state) for state in counted] == [self.model.units[code, state] for state in counted]
        assert self.level.free == self.model.total(S.SELLABLE)
        for state in counted:
            assert self.level.in_state(state) == self.model.total(state)
            assert self.model.units["", state] >= 0
        assert not [of for of in self.kept.values() if of.retired_to(self.now) and of.free > 0]

    @stateful.invariant()
    def the_ledger_of_each_lot_adds_up(self) -> None:
        for code in CODES:
            right = values.LotStock(KEY)
            for line in self.ledger:
                if line.lot == code:
                    right.move(line.from_state, line.to_state, line.quantity)
            of = self.kept.get(code, values.LotStock(KEY))
            assert [getattr(of, n) for n in values.Counters._fields] == [
                getattr(right, n) for n in values.Counters._fields
            ]

    @stateful.invariant()
    def buckets_hold_what_is_reserved_of_each_lot(self) -> None:
        assert self.level.reserved == sum(self.buckets.values())
        for code in CODES:
            units = sum(units for (lot, _), units in self.lot_buckets.items() if lot == code)
            assert units == (self.kept[code].reserved if code in self.kept else 0)


LotMachine.TestCase.settings = hypothesis.settings(
    max_examples=250, stateful_step_count=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
TestLots = LotMachine.TestCase
