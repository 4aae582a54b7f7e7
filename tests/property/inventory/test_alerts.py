"""Alerts while stock swings around its thresholds, against a model that only notes what was told since the re-arm point."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid

import hypothesis
from hypothesis import strategies as st

from services.inventory.domain import alerts, commands, stock, stock_errors, stock_holds
from services.inventory.domain import levels as values

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ME = commands.Origin("me")
Kind = values.AlertKind


class Shelf:
    """One SKU, loaded anew for each batch as the lane does; every second is a batch."""

    def __init__(self) -> None:
        self.level = values.Level("Red-1")
        self.now = START
        self.buckets: dict[dt.datetime, int] = {}

    def do(self, name: str, *given: int) -> list[tuple[list[values.Alert], int, int]]:
        """What one batch told, available and what nobody was promised, after each of its commands."""
        self.now += dt.timedelta(seconds=1)
        due = sum(quantity for ends, quantity in self.buckets.items() if ends <= self.now)
        working = stock.Stock(
            location_id="loc", seq=0, now=self.now, levels={"red-1": self.level}, variants={"red-1": "Red-1"}, holds={},
            due={"red-1": due},
        )  # fmt: skip
        working.expire_due()
        seen = [self._finish(working)]
        with contextlib.suppress(stock_errors.InsufficientStock, stock_errors.QuantityBelowZero):
            getattr(self, name)(working, *given)
        seen.append(self._finish(working))
        self.buckets = {ends: quantity for ends, quantity in self.buckets.items() if ends > self.now}
        for (_, ends), quantity in working.buckets.items():
            self.buckets[ends] = self.buckets.get(ends, 0) + quantity
        return seen

    def _finish(self, working: stock.Stock) -> tuple[list[values.Alert], int, int]:
        step, level = working.finish(), self.level
        free = level.on_hand - level.reserved - level.allocated
        return (step.alerts if step else []), level.available, free

    def adjust(self, working: stock.Stock, delta: int) -> None:
        working.adjust(commands.Adjust(ME, "red-1", delta, 1))

    def sell(self, working: stock.Stock, quantity: int) -> None:
        working.apply_sale(commands.Sale("ord", (commands.SaleLine("red-1", quantity),), ME))

    def hold(self, working: stock.Stock, quantity: int, seconds: int) -> None:
        stock_holds.reserve(working, commands.Reserve(ME, uuid.uuid4(), (("red-1", quantity),), seconds))

    def keep_back(self, working: stock.Stock, safety: int) -> None:
        working.set_policy(commands.SetPolicy(ME, "red-1", safety, None, None))

    def watch(self, working: stock.Stock, threshold: int, gap: int) -> None:
        of = commands.Thresholds(True, threshold, threshold + gap)
        working.set_policy(commands.SetPolicy(ME, "red-1", None, None, None, thresholds=of))


small = st.integers(1, 6)
movements = st.lists(
    st.one_of(
        st.tuples(st.just("adjust"), st.integers(-6, 6).filter(bool)),
        st.tuples(st.just("sell"), small),
        st.tuples(st.just("hold"), small, st.integers(1, 3)),
        st.tuples(st.just("keep_back"), st.integers(0, 3)),
    ),
    max_size=60,
)


class Model:
    """What was told since available was last above the re-arm point."""

    def __init__(self, threshold: int, rearm: int) -> None:
        self.threshold, self.rearm = threshold, rearm
        self.told: list[Kind] = []

    def expect(self, available: int, free: int) -> list[Kind]:
        if available > self.rearm and free >= 0:
            was_out = Kind.OUT_OF_STOCK in self.told or Kind.OVERSOLD in self.told
            self.told = []
            return [Kind.BACK_IN_STOCK] if was_out else []
        if free < 0:
            kind = Kind.OVERSOLD
        elif available <= 0:
            kind = Kind.OUT_OF_STOCK
        elif available <= self.threshold:
            kind = Kind.LOW_STOCK
        else:
            return []  # between threshold and re-arm point
        if any(told <= kind for told in self.told):
            return []  # this was told, or something more urgent
        self.told.append(kind)
        return [kind]


@hypothesis.settings(deadline=None, max_examples=300)
@hypothesis.given(st.integers(0, 5), st.integers(0, 4), movements)
def test_stock_that_swings_around_its_thresholds_is_told_once(
    threshold: int, gap: int, steps: list[tuple[str, int]]
) -> None:
    shelf, model = Shelf(), Model(threshold, threshold + gap)
    between: list[Kind] = []  # re-armings
    for step in [("watch", threshold, gap), *steps]:
        batch = shelf.do(*step)
        for raised, available, free in batch if step[0] != "watch" else batch[1:]:  # before, nobody was to be told
            kinds = [alert.kind for alert in raised]
            assert kinds == model.expect(available, free)
            assert all((a.available, a.threshold, a.sku) == (available, threshold, "Red-1") for a in raised)
            between += kinds
            assert len(set(between)) == len(between)
            if available > threshold + gap:
                between = []
        assert shelf.level.alert == min(model.told, default=Kind.NONE)


@hypothesis.given(movements)
def test_a_level_without_thresholds_raises_nothing(steps: list[tuple[str, int]]) -> None:
    shelf = Shelf()
    told = [raised for step in steps for raised, *_ in shelf.do(*step)]
    assert not any(told)
    assert shelf.level.alert == Kind.NONE


@hypothesis.given(st.integers(0, 10**9))
def test_the_default_re_arm_point_is_a_fifth_more_and_at_least_one(threshold: int) -> None:
    rearm = alerts.default_rearm(threshold)
    assert rearm >= threshold + 1
    assert 0 <= 5 * (rearm - threshold) - threshold < 5 or rearm == threshold + 1
