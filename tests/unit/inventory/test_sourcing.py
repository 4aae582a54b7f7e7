"""What each rule of sourcing promises, by examples; tests/property has the oracle."""

from __future__ import annotations

import dataclasses
import random
import time
import uuid
from typing import Any

import pytest

from services.inventory.domain import sourcing
from services.inventory.domain.sourcing.values import (
    WAREHOUSE,
    Alternative,
    Candidate,
    Line,
    Plan,
    Request,
    Rule,
    ShortLine,
    SourcingShortage,
    Splitting,
)

STORE = 1


def a_place(number: int, *, kind: int = STORE, far: int | None = 0, priority: int = 0, **have: int) -> Candidate:
    return Candidate(uuid.UUID(int=number), kind, have, far, priority)


def a_line(ref: int, key: str, quantity: int = 1, group: str = "") -> Line:
    return Line(ref, key, quantity, group)


def a_request(lines: list[Line], places: list[Candidate], rule: Rule = Rule.NEAREST, **fields: Any) -> Request:
    return Request(tuple(lines), tuple(places), rule, **{"splitting": Splitting.UNITS, **fields})


def chosen(request: Request, **options: int) -> dict[int, dict[tuple[int, str], int]]:
    """The plan as location number -> (ref, key) -> units."""
    plan = sourcing.choose(request, **options)
    assert isinstance(plan, Plan)
    return {
        parcel.location_id.int: {(portion.ref, portion.key): portion.quantity for portion in parcel.portions}
        for parcel in plan.parcels
    }


def refused(request: Request) -> SourcingShortage:
    answer = sourcing.choose(request)
    assert isinstance(answer, SourcingShortage)
    return answer


# --- the rules ---


@pytest.mark.parametrize("rule", list(Rule))
def test_one_parcel_beats_several_whatever_the_rule(rule: Rule) -> None:
    near = [a_place(1, kind=WAREHOUSE, a=99), a_place(2, kind=WAREHOUSE, b=99)]
    far = a_place(3, far=900_000, priority=9, a=1, b=1)
    assert list(chosen(a_request([a_line(0, "a"), a_line(1, "b")], [*near, far], rule))) == [3]


def test_the_nearest_gives_all_it_has_and_the_next_what_remains() -> None:
    places = [a_place(1, far=500, a=2, b=1), a_place(2, far=100, a=2), a_place(3, far=300, a=2, b=1)]
    request = a_request([a_line(0, "a", 5), a_line(1, "b")], places)
    assert chosen(request) == {2: {(0, "a"): 2}, 3: {(0, "a"): 2, (1, "b"): 1}, 1: {(0, "a"): 1}}


def test_an_unknown_distance_is_farther_than_any() -> None:
    places = [a_place(1, far=None, a=1), a_place(2, far=20_000_000, a=1)]
    assert list(chosen(a_request([a_line(0, "a")], places))) == [2]


def test_fewest_parcels_finds_what_taking_the_most_first_would_miss() -> None:
    greedy = a_place(1, a=1, b=1, d=1, e=1)
    optimal = [a_place(2, far=9, a=1, b=1, c=1), a_place(3, far=9, d=1, e=1, f=1)]
    lines = [a_line(n, key) for n, key in enumerate("abcdef")]
    request = a_request(lines, [greedy, *optimal], Rule.FEWEST_PARCELS)
    assert set(chosen(request)) == {2, 3}
    assert set(chosen(a_request(lines, [greedy, *optimal], Rule.NEAREST))) == {1, 2, 3}


def test_a_location_is_only_left_out_when_another_gives_all_that_it_gives() -> None:
    """Taking 2 first looks better than 4, and fails; 4 gives d, which 2 doesn't."""
    have = ["be", "abc", "bcd", "abd", "bc", "ce"]
    places = [a_place(n, far=n, **dict.fromkeys(keys, 1)) for n, keys in enumerate(have, 1)]
    request = a_request([a_line(n, key) for n, key in enumerate("abcde")], places, Rule.FEWEST_PARCELS)
    assert list(chosen(dataclasses.replace(request, splitting=Splitting.LINES))) == [4, 6]
    assert list(chosen(request)) == [4, 6]


def test_among_plans_of_fewest_parcels_the_nearest_locations_are_chosen() -> None:
    places = [a_place(1, far=5, a=1), a_place(2, far=9, b=1), a_place(3, far=7, b=1), a_place(4, far=8, a=1)]
    request = a_request([a_line(0, "a"), a_line(1, "b")], places, Rule.FEWEST_PARCELS)
    assert list(chosen(request)) == [1, 3]


def test_most_stock_counts_only_what_was_asked_for() -> None:
    places = [a_place(1, a=5, z=1_000), a_place(2, a=8), a_place(3, a=7)]
    assert list(chosen(a_request([a_line(0, "a")], places, Rule.MOST_STOCK))) == [2]


def test_a_warehouse_goes_before_stores_and_near_before_far() -> None:
    places = [
        a_place(1, far=1, a=9),
        a_place(2, kind=WAREHOUSE, far=900, a=2),
        a_place(3, kind=WAREHOUSE, far=500, a=2),
    ]
    assert list(chosen(a_request([a_line(0, "a", 2)], places, Rule.PREFER_WAREHOUSE))) == [3]
    fragments = [a_place(1, far=1, a=4), *places[1:]]
    assert chosen(a_request([a_line(0, "a", 5)], fragments, Rule.PREFER_WAREHOUSE)) == {
        3: {(0, "a"): 2},
        2: {(0, "a"): 2},
        1: {(0, "a"): 1},
    }


def test_a_priority_list_is_followed_whatever_the_distance() -> None:
    places = [a_place(1, far=1, priority=2, a=1), a_place(2, far=900, priority=1, a=1)]
    assert list(chosen(a_request([a_line(0, "a")], places, Rule.PRIORITY_LIST))) == [2]


@pytest.mark.parametrize("rule", list(Rule))
def test_the_id_breaks_the_last_tie(rule: Rule) -> None:
    assert list(chosen(a_request([a_line(0, "a")], [a_place(2, a=1), a_place(1, a=1)], rule))) == [1]


# --- what divides, and what doesn't ---


def test_a_line_is_divided_only_where_units_may_be() -> None:
    places = [a_place(1, a=2), a_place(2, far=5, a=2)]
    lines = [a_line(0, "a", 3)]
    assert chosen(a_request(lines, places)) == {1: {(0, "a"): 2}, 2: {(0, "a"): 1}}
    (short,) = refused(a_request(lines, places, splitting=Splitting.LINES)).lines
    assert (short.requested, short.available) == (3, 2)


def test_a_group_comes_from_one_location_even_where_units_may_be_divided() -> None:
    lines = [a_line(0, "a", 1, "set"), a_line(0, "c", 1, "set"), a_line(1, "b")]
    places = [a_place(1, a=1, b=1), a_place(2, far=5, a=1, c=1)]
    assert chosen(a_request(lines, places)) == {1: {(1, "b"): 1}, 2: {(0, "a"): 1, (0, "c"): 1}}
    short = refused(a_request(lines, [a_place(1, a=1, b=1), a_place(2, c=1)]))
    assert [(line.ref, line.key, line.together) for line in short.lines] == [(0, "a", True), (0, "c", True)]


def test_two_lines_that_share_a_sku_never_oversell() -> None:
    places = [a_place(1, a=3), a_place(2, far=5, a=2)]
    lines = [a_line(0, "a", 2), a_line(1, "a", 2)]
    assert chosen(a_request(lines, places, splitting=Splitting.LINES)) == {1: {(0, "a"): 2}, 2: {(1, "a"): 2}}
    short = refused(a_request(lines, places[:1]))
    assert [(line.ref, line.requested, line.wanted, line.available) for line in short.lines] == [
        (0, 2, 4, 3),
        (1, 2, 4, 3),
    ]


def test_lines_are_packed_so_that_all_of_them_fit() -> None:
    """Largest into first leaves no room for the last: 4 and 2 must share, as must 3 and 3."""
    places = [a_place(1, a=6), a_place(2, far=5, a=6)]
    lines = [a_line(0, "a", 3), a_line(1, "a", 4), a_line(2, "a", 2), a_line(3, "a", 3)]
    assert chosen(a_request(lines, places, splitting=Splitting.LINES)) == {
        1: {(0, "a"): 3, (3, "a"): 3},
        2: {(1, "a"): 4, (2, "a"): 2},
    }


def test_a_location_may_be_needed_for_its_room_alone() -> None:
    """Locations 3 and 5 have enough of each SKU, and each line fits there, but not both lines of c."""
    places = [a_place(1, a=1, b=1, c=1), a_place(2, far=1, b=2, c=1), a_place(3, far=2, c=5), a_place(4, far=3, c=3)]
    lines = [a_line(0, "a"), a_line(1, "b"), a_line(2, "c", 3), a_line(3, "a", 5), a_line(4, "c", 3, "set")]
    request = a_request(lines, [*places, a_place(5, far=4, a=6)], splitting=Splitting.LINES, parcels_max=4)
    assert chosen(request) == {
        1: {(0, "a"): 1, (1, "b"): 1},
        3: {(2, "c"): 3},
        4: {(4, "c"): 3},
        5: {(3, "a"): 5},
    }


def test_a_limit_on_parcels_overrules_the_order_of_locations() -> None:
    places = [a_place(1, far=1, a=1), a_place(2, far=2, a=2), a_place(3, far=3, a=3), a_place(4, far=4, a=4)]
    request = a_request([a_line(0, "a", 6)], places, parcels_max=2)
    assert chosen(request) == {2: {(0, "a"): 2}, 4: {(0, "a"): 4}}


def test_a_pickup_takes_nothing_from_elsewhere() -> None:
    places = [a_place(1, a=1, b=0), a_place(2, a=9, b=9)]
    pickup = uuid.UUID(int=1)
    assert list(chosen(a_request([a_line(0, "a")], places, pickup_at=pickup))) == [1]
    assert refused(a_request([a_line(0, "b", 2)], places, pickup_at=pickup)).lines == (
        ShortLine(0, "b", 2, 2, 0, 0, together=False, alternatives=(Alternative(uuid.UUID(int=2), 9),)),
    )


def test_nothing_asked_for_is_a_plan_without_parcels() -> None:
    assert sourcing.choose(a_request([], [])) == Plan((), proven=True)


def test_what_is_owed_counts_as_nothing() -> None:
    (short,) = refused(a_request([a_line(0, "a", 2)], [a_place(1, a=-5), a_place(2, a=1)])).lines
    assert (short.available, short.alternatives) == (1, (Alternative(uuid.UUID(int=2), 1),))


# --- shortages ---


def test_a_shortage_names_only_lines_that_conflict() -> None:
    places = [a_place(1, a=1, b=1, c=1), a_place(2, a=1, b=1, d=1)]
    lines = [a_line(n, key) for n, key in enumerate("abcd")]
    answer = refused(a_request(lines, places, splitting=Splitting.NONE))
    assert [(line.key, line.together, line.available) for line in answer.lines] == [("c", True, 1), ("d", True, 1)]


def test_alternatives_have_enough_before_they_have_most_and_are_few() -> None:
    places = [a_place(n, far=10 - n, a=n) for n in range(1, 9)]
    (short,) = refused(a_request([a_line(0, "a", 6)], places, pickup_at=uuid.UUID(int=99))).lines
    assert [(a.location_id.int, a.available) for a in short.alternatives] == [(8, 8), (7, 7), (6, 6), (5, 5), (4, 4)]


# --- limits ---


def a_cover(rng: random.Random, places: int, lines: int, density: float, **fields: Any) -> Request:
    keys = [f"sku-{n:02}" for n in range(lines)]
    return a_request(
        [a_line(n, key, rng.randint(1, 3)) for n, key in enumerate(keys)],
        [
            a_place(
                n + 1,
                kind=rng.choice([STORE, STORE, WAREHOUSE]),
                far=rng.randrange(10**6),
                priority=rng.randrange(9),
                **{key: rng.randint(1, 4) for key in keys if rng.random() < density},
            )
            for n in range(places)
        ],
        **fields,
    )


def test_when_the_budget_is_spent_the_plan_is_possible_and_said_to_be_unproven() -> None:
    request = a_cover(random.Random(4), 60, 20, 0.3, rule=Rule.FEWEST_PARCELS)
    hasty, thorough = sourcing.choose(request, effort_max=0), sourcing.choose(request)
    assert isinstance(hasty, Plan)
    assert isinstance(thorough, Plan)
    assert (hasty.proven, thorough.proven) == (False, True)
    assert len(hasty.parcels) >= len(thorough.parcels)
    assert sum(p.quantity for parcel in hasty.parcels for p in parcel.portions) == sum(
        line.quantity for line in request.lines
    )


@pytest.mark.parametrize("splitting", [Splitting.LINES, Splitting.UNITS])
def test_a_request_of_50_lines_over_400_locations_is_answered(splitting: Splitting) -> None:
    """Prints what it took (pytest -s)."""
    for rule in Rule:
        for density in (0.1, 0.3, 0.6, 0.9):
            request = a_cover(random.Random(1), 400, 50, density, rule=rule, splitting=splitting)
            start = time.process_time()
            plan = sourcing.choose(request)
            took = 1000 * (time.process_time() - start)
            assert isinstance(plan, Plan)
            assert len({(p.ref, p.key) for parcel in plan.parcels for p in parcel.portions}) == 50
            known = "proven" if plan.proven else "best found"
            print(
                f"{rule.name:16} {splitting.name:5} {density:.1f} {took:6.0f} ms {len(plan.parcels):3} parcels {known}"
            )
