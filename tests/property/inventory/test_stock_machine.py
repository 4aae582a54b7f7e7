"""Random commands on stock, against a reference model too plain to be wrong: lists of facts, summed up when asked.

The machine keeps what the database would keep (levels, holds, buckets) and loads each batch from it, as the lane does;
time is a number that the machine moves. The model knows holds one by one and no counters at all.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from services.inventory.domain import commands, stock, stock_documents, stock_errors, stock_holds
from services.inventory.domain import levels as values
from services.kit import errors

SKUS = ("Red-1", "BLUE", "green.x")
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ME = commands.Origin("me")
Kinds = values.HoldState
Units = values.State

skus = st.sampled_from([s for sku in SKUS for s in (sku, sku.upper(), sku.lower())])
quantities = st.integers(1, 12)


@dataclass
class ModelHold:
    """A hold as a person would note it."""

    lines: dict[str, int]
    ends: dt.datetime
    state: Kinds = Kinds.ACTIVE


@dataclass
class Model:
    """On hand as a sum of what came and went; everything else from the list of holds."""

    moved: list[tuple[str, int]] = field(default_factory=list)
    unsellable: dict[str, int] = field(default_factory=dict)
    """Damaged, here."""
    on_the_road: dict[str, int] = field(default_factory=dict)
    safety: dict[str, int] = field(default_factory=dict)
    backorder: dict[str, int] = field(default_factory=dict)
    holds: dict[uuid.UUID, ModelHold] = field(default_factory=dict)

    def on_hand(self, key: str) -> int:
        return sum(quantity for k, quantity in self.moved if k == key)

    def held(self, key: str, now: dt.datetime) -> int:
        return sum(h.lines.get(key, 0) for h in self.holds.values() if h.state == Kinds.ACTIVE and h.ends > now)

    def allocated(self, key: str) -> int:
        return sum(h.lines.get(key, 0) for h in self.holds.values() if h.state == Kinds.CONFIRMED)

    def free(self, key: str, now: dt.datetime) -> int:
        return self.on_hand(key) - self.held(key, now) - self.allocated(key) - self.unsellable.get(key, 0)

    def available(self, key: str, now: dt.datetime) -> int:
        return self.free(key, now) - self.safety.get(key, 0)

    def live(self, hold_id: uuid.UUID, now: dt.datetime) -> bool:
        hold = self.holds[hold_id]
        return hold.state == Kinds.ACTIVE and hold.ends > now


class StockMachine(stateful.RuleBasedStateMachine):
    """Each rule is a batch of one command."""

    holds = stateful.Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.seq = 0
        self.levels: dict[str, values.Level] = {}
        self.stored: dict[uuid.UUID, values.Hold] = {}
        self.buckets: dict[tuple[str, dt.datetime], int] = {}
        self.ledger: list[values.Movement] = []
        self.model = Model()

    def batch(self) -> stock.Stock:
        due: dict[str, int] = {}
        for (key, ends), quantity in self.buckets.items():
            if ends <= self.now:
                due[key] = due.get(key, 0) + quantity
        working = stock.Stock(
            location_id="loc",
            seq=self.seq,
            now=self.now,
            levels=self.levels,
            variants={values.fold(sku): sku for sku in SKUS},
            holds=self.stored,
            due=due,
        )
        working.expire_due()
        working.finish()
        return working

    def save(self, working: stock.Stock) -> None:
        for level in working.levels.values():
            level.fresh = level.policy_changed = False
        self.levels, self.stored = working.levels, working.holds
        self.buckets = {at: quantity for at, quantity in self.buckets.items() if at[1] > self.now}
        for at, quantity in working.buckets.items():
            self.buckets[at] = self.buckets.get(at, 0) + quantity
            assert self.buckets[at] >= 0
        assert [step.seq for step in working.steps] == list(range(self.seq + 1, working.seq + 1))
        self.seq = working.seq
        self.ledger += [movement for step in working.steps for movement in step.movements]

    # --- rules ---

    @stateful.rule(seconds=st.sampled_from([0.2, 1, 7, 60]))
    def time_passes(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)

    @stateful.rule(sku=skus, delta=st.integers(-15, 30).filter(bool))
    def adjust(self, sku: str, delta: int) -> None:
        key, working = values.fold(sku), self.batch()
        there = self.model.on_hand(key) - self.model.unsellable.get(key, 0)
        try:
            working.adjust(commands.Adjust(ME, sku, delta, 1))
        except stock_errors.QuantityBelowZero:
            assert there + delta < 0
            return self.save(working)
        assert there + delta >= 0 or delta > 0
        self.model.moved.append((key, delta))
        step = working.finish()
        short = -self.model.free(key, self.now) if delta < 0 else 0
        assert step is not None
        assert [x.quantity for x in step.exceptions] == ([min(-delta, short)] if short > 0 else [])
        return self.save(working)

    @stateful.rule(
        target=holds,
        lines=st.lists(st.tuples(skus, quantities), min_size=1, max_size=4),
        ttl=st.sampled_from([1, 1.5, 5, 60, 600]),
    )
    def reserve(self, lines: list[tuple[str, int]], ttl: float) -> object:
        wanted: dict[str, int] = {}
        for sku, quantity in lines:
            wanted[values.fold(sku)] = wanted.get(values.fold(sku), 0) + quantity
        promise = {k: self.model.available(k, self.now) + self.model.backorder.get(k, 0) for k in wanted}
        working, hold_id = self.batch(), uuid.uuid4()
        try:
            hold = stock_holds.reserve(working, commands.Reserve(ME, hold_id, tuple(lines), ttl))
        except stock_errors.InsufficientStock as refused:
            assert {values.fold(s.sku): (s.requested, s.available) for s in refused.lines} == {
                k: (quantity, max(promise[k], 0)) for k, quantity in wanted.items() if promise[k] < quantity
            }
            self.save(working)
            return stateful.multiple()
        assert all(promise[k] >= quantity for k, quantity in wanted.items())
        asked_until = self.now + dt.timedelta(seconds=ttl)
        assert asked_until <= hold.expires_at < asked_until + dt.timedelta(seconds=1)
        self.model.holds[hold_id] = ModelHold(wanted, hold.expires_at)
        working.finish()
        self.save(working)
        return hold_id

    @stateful.rule(hold_id=holds, action=st.sampled_from([Kinds.CONFIRMED, Kinds.RELEASED, Kinds.ACTIVE]))
    def end(self, hold_id: uuid.UUID, action: Kinds) -> None:
        model, working = self.model.holds[hold_id], self.batch()
        may = self.model.live(hold_id, self.now) or (
            action == Kinds.RELEASED and model.state in (Kinds.RELEASED, Kinds.CONFIRMED)
        )
        command = commands.EndHold(ME, hold_id, tuple(model.lines), action, 30)
        try:
            hold = stock_holds.end_hold(working, command)
        except stock_errors.ReservationEnded:
            assert not may
            return self.save(working)
        assert may
        if action == Kinds.ACTIVE:
            assert hold.expires_at >= max(model.ends, self.now + dt.timedelta(seconds=30))
            model.ends = hold.expires_at
        else:
            model.state = action
        working.finish()
        return self.save(working)

    @stateful.rule(hold_id=holds, lines=st.lists(st.tuples(skus, st.integers(1, 5)), min_size=1, max_size=3))
    def reduce(self, hold_id: uuid.UUID, lines: list[tuple[str, int]]) -> None:
        model, working = self.model.holds[hold_id], self.batch()
        wanted: dict[str, int] = {}
        for sku, quantity in lines:
            wanted[values.fold(sku)] = wanted.get(values.fold(sku), 0) + quantity
        enough = all(model.lines.get(key, 0) >= quantity for key, quantity in wanted.items())
        may = self.model.live(hold_id, self.now) or model.state == Kinds.CONFIRMED
        try:
            hold = stock_holds.reduce_hold(working, commands.ReduceHold(ME, hold_id, tuple(lines)))
        except (stock_errors.ReservationEnded, stock_errors.QuantityBelowZero) as refused:
            assert isinstance(refused, stock_errors.ReservationEnded) == (not may)
            assert not (may and enough)
            return self.save(working)
        assert may
        assert enough
        for key, quantity in wanted.items():
            model.lines[key] -= quantity
        assert {line.key: line.quantity for line in hold.lines} == {k: n for k, n in model.lines.items() if n}
        working.finish()
        return self.save(working)

    @stateful.rule(sku=skus, on_hand=st.integers(0, 40), right=st.booleans())
    def count(self, sku: str, on_hand: int, right: bool) -> None:
        key, working = values.fold(sku), self.batch()
        before = self.model.on_hand(key)
        command = commands.SetCounts(ME, (commands.Count(sku, on_hand, before if right else before + 1),), 10)
        try:
            working.set_counts(command)
        except stock_errors.QuantityStale:
            assert not right
            return self.save(working)
        assert right
        self.model.moved.append((key, on_hand - before))
        working.finish()
        return self.save(working)

    @stateful.rule(sku=skus, quantity=quantities, back=st.booleans())
    def damage(self, sku: str, quantity: int, back: bool) -> None:
        key, working = values.fold(sku), self.batch()
        damaged = self.model.unsellable.get(key, 0)
        have = damaged if back else self.model.on_hand(key) - damaged
        states = (
            (values.State.DAMAGED, values.State.SELLABLE) if back else (values.State.SELLABLE, values.State.DAMAGED)
        )
        try:
            working.move_states(commands.Move(ME, sku, *states, quantity, 6))
        except stock_errors.QuantityBelowZero:
            assert have < quantity
            return self.save(working)
        assert have >= quantity
        self.model.unsellable[key] = damaged + (-quantity if back else quantity)
        working.finish()
        return self.save(working)

    @stateful.rule(sku=skus, safety=st.integers(0, 3), backorder=st.integers(0, 3))
    def policy(self, sku: str, safety: int, backorder: int) -> None:
        working = self.batch()
        working.set_policy(commands.SetPolicy(ME, sku, safety, backorder, None))
        self.model.safety[values.fold(sku)], self.model.backorder[values.fold(sku)] = safety, backorder
        working.finish()
        self.save(working)

    @stateful.rule(
        lines=st.lists(st.tuples(st.sampled_from([*SKUS, "unknown"]), quantities), min_size=1, max_size=4),
        hold_id=st.none() | holds,
    )
    def sell(self, lines: list[tuple[str, int]], hold_id: uuid.UUID | None) -> None:
        working = self.batch()
        held = self.model.holds[hold_id] if hold_id else None
        sale = commands.Sale(
            "ord", tuple(commands.SaleLine(*line) for line in lines), ME, hold_id, tuple(held.lines) if held else ()
        )
        working.apply_sale(sale)
        step = working.finish()
        for sku, quantity in lines:
            if sku != "unknown":
                self.model.moved.append((values.fold(sku), -quantity))
        if held and hold_id and (self.model.live(hold_id, self.now) or held.state == Kinds.CONFIRMED):
            held.state = Kinds.CONSUMED
        unknown = [x for x in (step.exceptions if step else []) if x.kind == values.ExceptionKind.UNKNOWN_SKU]
        assert len(unknown) == sum(sku == "unknown" for sku, _ in lines)
        self.save(working)

    # --- documents: none of them is ever refused ---

    @stateful.rule(sku=skus, quantity=quantities, state=st.sampled_from([Units.SELLABLE, Units.DAMAGED]))
    def deliver(self, sku: str, quantity: int, state: Units) -> None:
        key = values.fold(sku)
        line = commands.Receipt(sku, state, quantity)
        command = commands.ReceiveStock(ME, (line,), 1, "purchase_order", "PO-1/1", "PO-1")
        self.document(command)
        self.model.moved.append((key, quantity))
        if state == Units.DAMAGED:
            self.model.unsellable[key] = self.model.unsellable.get(key, 0) + quantity

    @stateful.rule(sku=skus, delta=st.integers(-12, 12).filter(bool))
    def find_a_variance(self, sku: str, delta: int) -> None:
        self.document(commands.ApplyVariances(ME, ((sku, delta, self.now),), "CNT-1"))
        self.model.moved.append((values.fold(sku), delta))

    @stateful.rule(
        hold_id=holds,
        action=st.sampled_from([Kinds.CONFIRMED, Kinds.CONSUMED, Kinds.RELEASED]),
        share=st.integers(0, 2),
    )
    def transfer(self, hold_id: uuid.UUID, action: Kinds, share: int) -> None:
        """A transfer's hold comes to an end: promised, sent in half, whole or twofold, or given back."""
        hold = self.model.holds[hold_id]
        open_still = self.model.live(hold_id, self.now) or hold.state == Kinds.CONFIRMED
        sent = tuple((key, quantity * share // 2) for key, quantity in hold.lines.items())
        self.document(commands.EndTransferHold(ME, hold_id, action, sent, "TR-1/2", "transfer"))
        if action == Kinds.CONSUMED:
            self.model.moved += [(key, -quantity) for key, quantity in sent]
        if open_still or action == Kinds.CONFIRMED:
            hold.state = action

    @stateful.rule(sku=skus, quantity=quantities)
    def set_out_for_here(self, sku: str, quantity: int) -> None:
        moves = ((sku, Units.EXTERNAL, Units.IN_TRANSIT, quantity, values.Reason.TRANSFER_IN),)
        self.transit(moves, {values.fold(sku): quantity})

    @stateful.rule(sku=skus, parts=st.tuples(*[st.integers(0, 6)] * 4))
    def arrive(self, sku: str, parts: tuple[int, int, int, int]) -> None:
        """Fit, damaged, lost, and more than was sent."""
        key = values.fold(sku)
        there = self.model.on_the_road.get(key, 0)
        fit, damaged, lost = (min(parts[0], there), min(parts[1], max(there - parts[0], 0)), 0)
        lost = min(parts[2], there - fit - damaged)
        moves = [
            (sku, Units.IN_TRANSIT, Units.SELLABLE, fit, values.Reason.TRANSFER_RECEIVED),
            (sku, Units.IN_TRANSIT, Units.DAMAGED, damaged, values.Reason.TRANSFER_RECEIVED),
            (sku, Units.IN_TRANSIT, Units.EXTERNAL, lost, values.Reason.LOST_IN_TRANSIT),
            (sku, Units.EXTERNAL, Units.SELLABLE, parts[3], values.Reason.TRANSFER_IN),
        ]
        self.transit(tuple(move for move in moves if move[3]), {key: -fit - damaged - lost})
        self.model.moved.append((key, fit + damaged + parts[3]))
        self.model.unsellable[key] = self.model.unsellable.get(key, 0) + damaged

    def transit(self, moves: tuple[tuple[str, int, int, int, int], ...], deltas: dict[str, int]) -> None:
        for key, delta in deltas.items():
            self.model.on_the_road[key] = self.model.on_the_road.get(key, 0) + delta
        expected = tuple((key, self.model.on_the_road[key], START) for key in deltas)
        told = tuple(commands.TransitMove(*move) for move in moves)
        self.document(commands.MoveInTransit(ME, told, "TR-1/3", "transfer", expected, "TR-1"))

    def document(self, command: commands.Document) -> None:
        working = self.batch()
        stock_documents.apply(working, command)
        working.finish()
        self.save(working)

    @stateful.rule(sku=st.just("nowhere"))
    def an_unknown_sku_changes_nothing(self, sku: str) -> None:
        working = self.batch()
        unknown = commands.Reserve(ME, uuid.uuid4(), ((SKUS[0], 1), (sku, 1)), 5)
        for call in (
            lambda: working.adjust(commands.Adjust(ME, sku, 1, 1)),
            lambda: stock_holds.reserve(working, unknown),
        ):
            try:
                call()
            except stock_errors.SkuNotFound:
                continue
            raise AssertionError("an unknown SKU was accepted")
        assert working.finish() is None
        self.save(working)

    # --- what always holds ---

    @stateful.invariant()
    def levels_equal_the_model(self) -> None:
        working = self.batch()  # what a reader would see now
        for key, level in working.levels.items():
            assert level.on_hand == self.model.on_hand(key)
            assert level.reserved == self.model.held(key, self.now)
            assert level.allocated == self.model.allocated(key)
            assert level.available == self.model.available(key, self.now)
            assert level.in_transit == sum(entry.quantity for entry in level.incoming)
            assert level.in_transit == self.model.on_the_road.get(key, 0)
            assert min(level.reserved, level.allocated, level.damaged, level.in_transit) >= 0
        self.save(working)

    @stateful.invariant()
    def no_command_makes_or_loses_a_unit(self) -> None:
        """An account a state, EXTERNAL too, by the ledger alone: over all of them nothing; each is what the level says."""
        accounts: dict[str, dict[int, int]] = {}
        for line in self.ledger:
            assert line.quantity > 0
            account = accounts.setdefault(line.sku, dict.fromkeys(Units, 0))
            account[line.from_state] -= line.quantity
            account[line.to_state] += line.quantity
        for level in self.levels.values():
            account = accounts.get(level.sku, dict.fromkeys(Units, 0))
            assert sum(account.values()) == 0
            assert account[Units.EXTERNAL] == -level.on_hand - level.in_transit
            assert account[Units.SELLABLE] == level.free
            counted = [s for s in Units if s not in (Units.EXTERNAL, Units.SELLABLE)]
            assert [account[s] for s in counted] == [level.in_state(s) for s in counted]

    @stateful.invariant()
    def buckets_hold_what_is_reserved(self) -> None:
        for key, level in self.levels.items():
            assert level.reserved == sum(quantity for (k, _), quantity in self.buckets.items() if k == key)


StockMachine.TestCase.settings = hypothesis.settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
TestStock = StockMachine.TestCase


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 4)), max_size=30),
)
def test_an_event_is_applied_once_and_in_order(deliveries: list[tuple[int, int, int]]) -> None:
    """Whatever is delivered, positions are applied from 1 on, each once; a newer epoch waits for its owner."""
    cursor: dict[str, tuple[int, int]] = {}
    applied: list[int] = []
    for epoch_offset, seq_from, length in deliveries:
        working = stock.Stock(
            location_id="loc", seq=0, now=START, levels={}, variants={}, holds={}, due={}, cursors=cursor
        )
        event = commands.ApplySales("inventory", 1 + (epoch_offset == 3), seq_from, seq_from + length - 1, ())
        known = cursor.get("inventory", (0, 0))
        if known != (0, 0) and event.epoch == known[0] and seq_from <= known[1] < event.seq_to:
            continue  # an owner never cuts its positions anew within an epoch
        try:
            admitted = working.admit(event)
        except errors.Error:
            continue
        if admitted:
            assert seq_from == (cursor.get("inventory", (0, 0))[1] + 1)
            cursor["inventory"] = (event.epoch, event.seq_to)
            applied += range(event.seq_from, event.seq_to + 1)
    assert applied == list(range(1, len(applied) + 1))
