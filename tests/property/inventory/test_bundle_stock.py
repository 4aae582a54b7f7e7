"""Bundles against a model that takes them apart by hand, and against the stock that their components are held from."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from services.inventory.domain import bundles as values
from services.inventory.domain import commands, stock, stock_errors, stock_holds
from services.inventory.domain.bundles import Bundle, Bundles, Component, Units
from services.inventory.domain.levels import HoldState, Level
from services.kit import errors

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PLAIN = ("Red", "blue", "Green")
INNER = ("Set", "duo")
OUTER = ("Gift", "hamper")

spelled = st.sampled_from([str.lower, str.upper, str])


@st.composite
def assortments(draw: st.DrawFn) -> list[Bundle]:
    """Bundles of plain SKUs, and bundles of those."""

    def a_bundle(sku: str, of: tuple[str, ...]) -> Bundle:
        chosen = draw(st.lists(st.sampled_from(of), min_size=1, unique=True))
        return Bundle(sku, tuple(Component(draw(spelled)(each), draw(st.integers(1, 3))) for each in chosen))

    return [a_bundle(sku, PLAIN) for sku in INNER] + [a_bundle(sku, (*PLAIN, *INNER)) for sku in OUTER]


lines = st.lists(st.tuples(st.sampled_from(PLAIN + INNER + OUTER), st.integers(1, 4)), min_size=1, max_size=5)
counts = st.fixed_dictionaries({sku.lower(): st.integers(-2, 40) for sku in PLAIN})


def by_hand(bundles: list[Bundle], sku: str) -> list[str]:
    """Every single unit in a unit of a SKU."""
    for bundle in bundles:
        if bundle.sku.lower() == sku.lower():
            return [
                unit for each in bundle.components for _ in range(each.quantity) for unit in by_hand(bundles, each.sku)
            ]
    return [sku.lower()]


def can_be_had(bundles: list[Bundle], asked: list[tuple[str, int]], available: dict[str, int]) -> bool:
    left = dict(available)
    for sku, quantity in asked:
        for _ in range(quantity):
            for unit in by_hand(bundles, sku):
                left[unit] -= 1
                if left[unit] < 0:
                    return False
    return True


def taken_apart(bundles: list[Bundle], asked: list[tuple[str, int]]) -> Counter[str]:
    return Counter(unit for sku, quantity in asked for _ in range(quantity) for unit in by_hand(bundles, sku))


def some_stock(available: dict[str, int], bundles: Bundles = stock.NO_BUNDLES) -> stock.Stock:
    return stock.Stock(
        location_id="loc",
        seq=0,
        now=NOW,
        levels={key: Level(key, on_hand=max(0, units), allocated=max(0, -units)) for key, units in available.items()},
        variants={key: key for key in available},
        holds={},
        due={},
        bundles=bundles,
    )


def reserves(working: stock.Stock, demands: tuple[Units, ...]) -> bool:
    asked = tuple((demand.sku, demand.quantity) for demand in demands)
    try:
        stock_holds.reserve(working, commands.Reserve(commands.Origin("me"), uuid.uuid4(), asked, 60))
    except stock_errors.InsufficientStock:
        return False
    return True


@hypothesis.settings(deadline=None)
@hypothesis.given(assortments(), counts, st.sampled_from(INNER + OUTER), spelled)
def test_a_bundle_is_available_as_often_as_it_can_be_reserved(
    bundles: list[Bundle], available: dict[str, int], sku: str, spell: type[str]
) -> None:
    found = Bundles(bundles)
    most = found.available(spell(sku), available)
    assert most == 0 or reserves(some_stock(available), found.demands([(sku, most)]))
    assert not reserves(some_stock(available), found.demands([(sku, most + 1)]))
    assert most == max((k for k in range(1, 45) if can_be_had(bundles, [(sku, k)], available)), default=0)


@hypothesis.settings(deadline=None)
@hypothesis.given(assortments(), counts, lines)
def test_lines_together_are_reserved_exactly_when_every_unit_is_there(
    bundles: list[Bundle], available: dict[str, int], asked: list[tuple[str, int]]
) -> None:
    found, working = Bundles(bundles), some_stock(available)
    possible = can_be_had(bundles, asked, available)
    assert reserves(working, found.demands(asked)) == possible
    assert (found.shortage(asked, available) is None) == possible
    units = [unit for sku, quantity in asked for _ in range(quantity) for unit in by_hand(bundles, sku)]
    for key, level in working.levels.items():
        assert level.available == available[key] - (units.count(key) if possible else 0)
    demanded = {demand.key: demand.quantity for demand in found.demands(asked)}
    assert demanded == {unit: units.count(unit) for unit in set(units)}
    exploded = found.explode(asked)
    assert demanded == {key: sum(part.quantity for part in exploded if part.key == key) for key in set(units)}


@hypothesis.settings(deadline=None)
@hypothesis.given(assortments(), counts, lines)
def test_lines_one_after_another_never_take_what_is_not_there(
    bundles: list[Bundle], available: dict[str, int], asked: list[tuple[str, int]]
) -> None:
    found, working = Bundles(bundles), some_stock(available)
    taken: list[tuple[str, int]] = []
    for line in asked:
        expected = can_be_had(bundles, [*taken, line], available)
        assert reserves(working, found.demands([line])) == expected
        if expected:
            taken.append(line)
        assert all(level.available >= min(0, available[key]) for key, level in working.levels.items())
        for sku in INNER + OUTER:
            left = {key: level.available for key, level in working.levels.items()}
            more = found.available(sku, left)
            assert more == 0 or can_be_had(bundles, [*taken, (sku, more)], available)
            assert not can_be_had(bundles, [*taken, (sku, more + 1)], available)


@hypothesis.settings(deadline=None)
@hypothesis.given(assortments(), counts, lines)
def test_a_shortage_says_how_many_could_be_had(
    bundles: list[Bundle], available: dict[str, int], asked: list[tuple[str, int]]
) -> None:
    shortage = Bundles(bundles).shortage(asked, available)
    if shortage is None:
        return
    units = [unit for sku, quantity in asked for _ in range(quantity) for unit in by_hand(bundles, sku)]
    short = {key for key, has in available.items() if units.count(key) > has and key in units}
    assert {c.sku.lower() for c in shortage.components} == short
    assert all(c.requested == units.count(c.sku.lower()) for c in shortage.components)
    assert [line.ref for line in shortage.lines] == [
        ref for ref, (sku, _) in enumerate(asked) if short & set(by_hand(bundles, sku))
    ]
    for line in shortage.lines:
        parts = set(by_hand(bundles, line.sku))
        others = [other for ref, other in enumerate(asked) if ref != line.ref]
        rest = [unit for sku, quantity in others for _ in range(quantity) for unit in by_hand(bundles, sku)]
        left = {key: available[key] - rest.count(key) for key in parts}
        assert line.available == most_of(bundles, line.sku, left) < line.requested
        assert line.alone == most_of(bundles, line.sku, available)
        assert {sku.lower() for sku in line.components} == short & parts


def most_of(bundles: list[Bundle], sku: str, available: dict[str, int]) -> int:
    return max((k for k in range(1, 45) if can_be_had(bundles, [(sku, k)], available)), default=0)


@hypothesis.given(assortments(), st.lists(st.sampled_from([*PLAIN, *INNER, "none"]).map(str.lower)))
def test_the_affected_bundles_are_those_that_have_a_unit_of_it(bundles: list[Bundle], keys: list[str]) -> None:
    expected = sorted(b.sku.lower() for b in bundles if set(by_hand(bundles, b.sku)) & set(keys))
    assert Bundles(bundles).affected(keys) == expected


# --- what may be defined ---


def depth(known: dict[str, Bundle], key: str, above: tuple[str, ...] = ()) -> int:
    """Levels of bundles from here down; 99 for a cycle."""
    if key in above:
        return 99
    if key not in known:
        return 0
    return 1 + max(depth(known, each.sku.lower(), (*above, key)) for each in known[key].components)


definitions = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefxyz"), min_size=1, max_size=3, unique=True)),
    max_size=12,
)


@hypothesis.settings(max_examples=400)
@hypothesis.given(definitions)
def test_a_definition_is_refused_exactly_when_something_would_nest_too_deep(
    wanted: list[tuple[str, list[str]]],
) -> None:
    known: dict[str, Bundle] = {}
    for sku, components in wanted:
        bundle = Bundle(sku.upper(), tuple(Component(each, 1) for each in components))
        after = {**known, sku: bundle}
        legal = all(depth(after, key) <= 2 for key in after)
        try:
            values.check_bundle(bundle, known)
        except errors.InvalidRequest:
            assert not legal
        else:
            assert legal
            known = after
            assert {p.key for p in Bundles(known.values()).parts(sku)}.isdisjoint(known)


orders = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), lines),
        st.tuples(st.just("sell"), lines),
        st.tuples(st.just("adjust"), st.tuples(st.sampled_from(PLAIN), st.integers(-3, 12))),
        st.tuples(st.just("end"), st.integers(0, 9)),
        st.tuples(st.just("reduce"), st.tuples(st.integers(0, 9), lines)),
    ),
    max_size=12,
)


@hypothesis.settings(deadline=None)
@hypothesis.given(assortments(), counts, orders)
def test_a_location_never_promises_a_unit_twice_whatever_bundles_are_asked_for(
    bundles: list[Bundle], counted: dict[str, int], asked: list[tuple[str, Any]]
) -> None:
    """Against a purse of units: what is asked for is taken apart by hand, and taken when every unit is there."""
    working = some_stock({key: max(0, units) for key, units in counted.items()}, Bundles(bundles, 1))
    purse = Counter({key: max(0, units) for key, units in counted.items()})
    held: list[tuple[uuid.UUID, Counter[str]]] = []
    for action, what in asked:
        if action == "adjust":
            sku, delta = what
            if delta and purse[sku.lower()] + delta >= 0:
                working.adjust(commands.Adjust(commands.Origin("me"), sku, delta, reason=1))
                purse[sku.lower()] += delta
        elif action == "end" and what < len(held):
            hold, units = held.pop(what)
            stock_holds.end_hold(working, commands.EndHold(commands.Origin("me"), hold, (), HoldState.RELEASED))
            purse.update(units)
        elif action == "reduce" and what[0] < len(held):
            hold, units = held[what[0]]
            less = taken_apart(bundles, what[1])
            reduction = commands.ReduceHold(commands.Origin("me"), hold, tuple(less.items()))
            if all(units[key] >= quantity for key, quantity in less.items()):
                stock_holds.reduce_hold(working, reduction)
                purse.update(less)
                units.subtract(less)
            else:
                with pytest.raises(stock_errors.QuantityBelowZero):
                    stock_holds.reduce_hold(working, reduction)
        elif action == "sell":
            units = taken_apart(bundles, what)
            working.apply_sale(
                commands.Sale("ord", tuple(commands.SaleLine(*line) for line in what), commands.Origin("me"))
            )
            purse.subtract(units)
        elif action == "reserve":
            units = taken_apart(bundles, what)
            command = commands.Reserve(commands.Origin("me"), uuid.uuid4(), tuple(what), 60)
            if all(purse[key] >= quantity for key, quantity in units.items()):
                made = stock_holds.reserve(working, command)
                assert {line.key: line.quantity for line in made.lines} == units
                held.append((made.id, units))
                purse.subtract(units)
            else:
                with pytest.raises(stock_errors.InsufficientStock):
                    stock_holds.reserve(working, command)
        step = working.finish()
        touched = step.touched if step else {}
        assert {level.sku: level.available for level in working.bundle_levels(touched)} == {
            bundle.sku: max(0, min(purse[key] // quantity for key, quantity in parts.items()))
            for bundle in bundles
            if (parts := taken_apart(bundles, [(bundle.sku, 1)])).keys() & touched.keys()
        }
    assert {key: level.available for key, level in working.levels.items()} == {key: purse[key] for key in counted}
