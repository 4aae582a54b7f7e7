"""Random steps of cycle counts, legal and not, over a shop whose shelves are known to the model and to nobody else.

Units are sold, delivered, and stolen; who counts sees the shelf, the system sees only the ledger. Whatever happens in
between, an approval makes the system agree with the shelf, but for what was stolen after the count.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st

from services.inventory.domain import commands, cycle_counts, stock, stock_documents, transitions
from services.inventory.domain import levels as values
from services.kit import errors

SKUS = ("Red-1", "BLUE", "green.x")
KEYS = tuple(values.fold(sku) for sku in SKUS)
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
State = cycle_counts.State
# Written down once more, from the contract's comment and not from the code.
LEGAL = {
    "record": {State.OPEN},
    "submit": {State.OPEN},
    "send back": {State.COUNTED},
    "approve": {State.COUNTED},
    "reject": {State.COUNTED},
    "cancel": {State.OPEN, State.COUNTED},
}
skus = st.sampled_from([s for sku in SKUS for s in (sku, sku.upper(), sku.lower())])
people = st.sampled_from(["ann", "bob", "meg"])


class CycleCountMachine(stateful.RuleBasedStateMachine):
    """One count after another. Each rule is one rpc, or something that happens in the shop."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.seq = 0
        self.levels: dict[str, values.Level] = {}
        self.shelf = dict.fromkeys(KEYS, 20)
        self.stolen = dict.fromkeys(KEYS, 0)
        """Since the system last agreed with the shelf, or since the line was counted."""
        self.ended = 0
        self.waiting: commands.ApplyVariances | None = None
        working = self.batch()
        for sku in SKUS:
            working.adjust(commands.Adjust(commands.Origin("me"), sku, 20, 1))
        self.keep(working)
        self.open()

    def batch(self) -> stock.Stock:
        spellings = dict(zip(KEYS, SKUS, strict=True))
        return stock.Stock(
            location_id="loc", seq=self.seq, now=self.now, levels=self.levels, variants=spellings, holds={}, due={}
        )

    def keep(self, working: stock.Stock) -> None:
        working.finish()
        for level in working.levels.values():
            level.fresh = level.policy_changed = False
        self.levels, self.seq = working.levels, working.seq

    def open(self) -> None:
        draft = cycle_counts.Draft(location_id=uuid.uuid4(), scope=cycle_counts.Scope(skus=SKUS))
        self.count = cycle_counts.new_count(
            draft, SKUS, count_id=uuid.uuid4(), number=1, currency_code="EUR", by="meg", seq=self.seq, now=self.now
        )
        self.state = State.OPEN
        self.lines = {key: cycle_counts.Line(sku=sku) for key, sku in zip(KEYS, SKUS, strict=True)}
        self.counters: set[str] = set()
        self.known: set[str] = set()
        """SKUs that were counted and not sent back since."""
        self.overtaken: set[str] = set()
        """SKUs that somebody set right by another way after they were counted here."""

    def attempt(self, move: str, step: Callable[[], Any]) -> Any:
        """The step, which must be refused exactly where the notebook says so."""
        may = self.state in LEGAL[move]
        try:
            result = step()
        except transitions.IllegalTransition as refused:
            assert not may, (move, self.state)
            assert refused.metadata["from"] == self.state.name
            return None
        assert may, (move, self.state)
        return result

    # --- the shop ---

    @stateful.rule(sku=st.sampled_from(SKUS), units=st.integers(1, 3))
    def sell(self, sku: str, units: int) -> None:
        self.tick()
        working = self.batch()
        working.apply_sale(commands.Sale("ord", (commands.SaleLine(sku, units),), commands.Origin("till")))
        self.keep(working)
        self.shelf[values.fold(sku)] -= units

    @stateful.rule(sku=st.sampled_from(SKUS), units=st.integers(1, 9))
    def deliver(self, sku: str, units: int) -> None:
        self.tick()
        working = self.batch()
        working.adjust(commands.Adjust(commands.Origin("me"), sku, units, 1))
        self.keep(working)
        self.shelf[values.fold(sku)] += units

    @stateful.rule(key=st.sampled_from(KEYS))
    def steal(self, key: str) -> None:
        if self.shelf[key] > 0:
            self.shelf[key] -= 1
            self.stolen[key] += 1

    @stateful.rule(key=st.sampled_from(KEYS))
    def set_right_by_hand(self, key: str) -> None:
        """Somebody looks at the shelf and sets what is there, without a document."""
        if self.shelf[key] < 0:
            return
        self.tick()
        working = self.batch()
        count = commands.Count(self.lines[key].sku, self.shelf[key], None)
        working.set_counts(commands.SetCounts(commands.Origin("me", "", self.now), (count,), 4))
        self.keep(working)
        self.stolen[key] = 0
        self.overtaken.add(key)

    def tick(self) -> None:
        self.now += dt.timedelta(seconds=1)

    # --- rpcs ---

    @stateful.rule(who=people, wanted=st.lists(skus, min_size=1, max_size=4))
    def record(self, who: str, wanted: list[str]) -> None:
        self.tick()
        keys = [values.fold(sku) for sku in wanted]
        if any(self.shelf[key] < 0 for key in keys):
            return
        entries = [cycle_counts.Entry(sku, self.shelf[values.fold(sku)]) for sku in wanted]
        observed = {key: cycle_counts.Observed(self.levels[key].on_hand, self.seq) for key in keys}
        try:
            result = self.attempt(
                "record",
                lambda: cycle_counts.record(
                    self.count, self.lines, entries, observed, origin=commands.Origin(who), now=self.now
                ),
            )
        except errors.InvalidRequest:
            assert len(set(keys)) < len(keys)
            return
        if result is None:
            return
        assert len(set(keys)) == len(keys)
        self.count, passes = result
        for key, one in zip(keys, passes, strict=True):
            assert (one.number, one.counted_by) == (self.lines[key].passes + 1, who)
            line = cycle_counts.passed(self.lines[key], one)
            self.lines[key] = dataclasses.replace(line, expected=line.on_hand)
            self.overtaken.discard(key)
            self.stolen[key] = 0
            self.known.add(key)
        self.counters.add(who)

    @stateful.rule(leave=st.booleans())
    def submit(self, leave: bool) -> None:
        missing = set(KEYS) - self.known
        try:
            after = self.attempt(
                "submit",
                lambda: cycle_counts.submit(
                    self.count, self.lines.values(), leave_uncounted=leave, by="ann", expected_version=0, now=self.now
                ),
            )
        except errors.InvalidRequest:
            assert missing
            assert not leave
            return
        if after is not None:
            assert leave or not missing
            self.count, self.state = after, State.COUNTED

    @stateful.rule(wanted=st.lists(skus, min_size=1, max_size=3))
    def send_back(self, wanted: list[str]) -> None:
        result = self.attempt(
            "send back",
            lambda: cycle_counts.send_back(self.count, self.lines, wanted, expected_version=0, now=self.now),
        )
        if result is not None:
            self.count, again = result
            self.state = State.OPEN
            self.lines |= {values.fold(line.sku): line for line in again}
            assert {values.fold(line.sku) for line in again} == {values.fold(sku) for sku in wanted}
            self.known -= {values.fold(line.sku) for line in again}

    @stateful.rule(who=people, admin=st.booleans())
    def approve(self, who: str, admin: bool) -> None:
        counted = who in self.counters

        def step() -> cycle_counts.Decided:
            cycle_counts.check_approval(self.count, counted=counted, admin=admin, expected_version=0)
            return cycle_counts.approve(self.count, self.lines.values(), origin=commands.Origin(who), now=self.now)

        try:
            decided = self.attempt("approve", step)
        except cycle_counts.SecondPersonRequired:
            assert counted
            assert not admin
            return
        if decided is not None:
            assert admin or not counted
            self.count, self.state, self.waiting = decided.count, State.APPROVED, decided.command
            assert decided.count.settled == (decided.command is None)
            told = {values.fold(sku) for sku, *_ in decided.command.lines} if decided.command else set()
            assert told == {key for key in self.known if self.lines[key].variance}

    @stateful.rule(who=people)
    def count_the_rest(self, who: str) -> None:
        if rest := [self.lines[key].sku for key in KEYS if key not in self.known]:
            self.record(who, rest)

    @stateful.rule(what=st.sampled_from(["approve", "approve", "send back", "reject"]), who=people, admin=st.booleans())
    def hand_in_and_decide(self, what: str, who: str, admin: bool) -> None:
        """Several steps at once, which a random walk seldom takes."""
        if what == "send back":
            self.count_the_rest(who)
        self.submit(leave=True)
        if what == "approve":
            self.approve(who, admin)
        elif what == "send back":
            self.send_back([SKUS[0]])
            self.submit(leave=True)
        else:
            self.give_up(State.REJECTED)

    @stateful.rule(to=st.sampled_from([State.REJECTED, State.CANCELLED]))
    def give_up(self, to: State) -> None:
        move = "reject" if to == State.REJECTED else "cancel"
        after = self.attempt(
            move, lambda: cycle_counts.end(self.count, to, "no", by="meg", expected_version=0, now=self.now)
        )
        if after is not None:
            self.count, self.state = after, to

    @stateful.precondition(lambda self: self.state == State.APPROVED)
    @stateful.rule()
    def bring(self) -> None:
        """The variances reach the stock, and then the system agrees with the shelf wherever it was counted."""
        if self.waiting is not None:
            working = self.batch()
            superseded = stock_documents.apply(working, self.waiting).superseded
            self.keep(working)
            differing = {values.fold(sku) for sku, *_ in self.waiting.lines}
            assert {values.fold(sku) for sku in superseded} == differing & self.overtaken
        for key, line in self.lines.items():
            assert line.counts == (key in self.known)
            if key in self.known:
                assert self.levels[key].on_hand == self.shelf[key] + self.stolen[key]
        self.waiting = None
        self.ended += 1
        self.open()

    @stateful.precondition(lambda self: self.state in (State.REJECTED, State.CANCELLED))
    @stateful.rule()
    def begin_anew(self) -> None:
        """A new count, once nothing more can be done with the old one."""
        ended = self.state
        self.record("ann", [SKUS[0]])
        self.submit(leave=True)
        self.send_back([SKUS[0]])
        self.approve("meg", admin=True)
        for to in (State.REJECTED, State.CANCELLED):
            self.give_up(to)
        assert self.state == ended
        self.open()

    @stateful.invariant()
    def nothing_but_an_approval_changes_the_stock(self) -> None:
        assert self.count.state == self.state
        if self.state != State.APPROVED:
            assert self.waiting is None


CycleCountMachine.TestCase.settings = hypothesis.settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
TestCycleCounts = CycleCountMachine.TestCase
