"""Sourcing against an oracle that lists every plan there is and takes the least by the words of choosing.py."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import random
import uuid
from collections.abc import Iterator, Sequence

import pytest

from services.inventory.domain import sourcing
from services.inventory.domain.bundles import Bundle, Bundles, Component
from services.inventory.domain.sourcing import composing
from services.inventory.domain.sourcing.values import (
    Candidate,
    Line,
    Plan,
    Request,
    Rule,
    SourcingShortage,
    Splitting,
)

CASES = 125
"""Of each chunk and splitting: 8 chunks make 1,000 cases a splitting, and every case is asked with each of the rules."""
PLANS_MAX = 6_000
"""What the oracle may have to list; a case with more is drawn again, as a matter of seconds."""

Given = dict[tuple[uuid.UUID, int], int]
"""Units by location and position of the line."""


def some_lines(rng: random.Random) -> list[Line]:
    """Up to 5 lines; SKUs, references and groups may be shared."""
    skus, at_most, grouped = "abcde"[: rng.randint(1, 5)], rng.randint(1, 4), rng.choice([0, 0, 0.3, 0.8])
    lines = {}
    for number in range(rng.choice([1, 2, 3, 4, 5, 5])):
        ref, key = rng.choice([number, number, 0]), rng.choice(skus)
        group = rng.choice("gh") if rng.random() < grouped else ""
        lines[ref, key] = Line(ref, key, rng.randint(1, at_most), group)
    return rng.sample(list(lines.values()), len(lines))


def some_stock(rng: random.Random, lines: list[Line], places: int) -> list[dict[str, int]]:
    """Either anything, or little more than is asked for, scattered: then it takes several parcels, or can't be had."""
    stock: list[dict[str, int]] = [{} for _ in range(places)]
    scarce, plenty = rng.random(), rng.randint(1, 7)
    scattered = rng.random() < 0.7
    for key in {line.key: None for line in lines}:
        if not scattered:
            for have in stock:
                if rng.random() > scarce:
                    have[key] = rng.randint(-1, plenty)
            continue
        portions = [line.quantity for line in lines if line.key == key]
        portions += [rng.randint(1, 2) for _ in range(rng.randint(0, 3))]
        if rng.random() < 0.3:
            portions = [1] * sum(portions)
        for portion in portions:
            have = rng.choice(stock)
            have[key] = have.get(key, 0) + portion
    return stock


def a_request(rng: random.Random, splitting: Splitting) -> Request:
    """Up to 6 locations, with every kind of tie, now and then pickup and limits."""
    lines = some_lines(rng)
    numbers = rng.sample(range(1, 50), rng.choice([1, 2, 3, 4, 5, 6, 6]))
    stock = some_stock(rng, lines, len(numbers))
    candidates = [
        Candidate(
            uuid.UUID(int=number), rng.choice([1, 2, 4]), have, rng.choice([None, 0, 100, 100, 2500]), rng.randint(0, 2)
        )
        for number, have in zip(numbers, stock, strict=True)
    ]
    return Request(
        tuple(lines),
        tuple(candidates),
        Rule.NEAREST,
        splitting,
        rng.choice([c.id for c in candidates]) if rng.random() < 0.05 else None,
        rng.randint(1, 5) if rng.random() < 0.4 else None,
    )


# --- the oracle ---


def ways_of(quantity: int, most: list[int]) -> Iterator[tuple[int, ...]]:
    """Every way to write a quantity as a sum over locations."""
    if not most:
        if quantity == 0:
            yield ()
        return
    for here in range(min(quantity, most[0]) + 1):
        for others in ways_of(quantity - here, most[1:]):
            yield (here, *others)


def options(request: Request, places: list[Candidate], line: Line) -> list[tuple[int, ...]]:
    has = [max(0, c.available.get(line.key, 0)) for c in places]
    ways = list(ways_of(line.quantity, has))
    if request.splitting == Splitting.UNITS and not line.group:
        return ways
    return [way for way in ways if max(way) == line.quantity]


def all_plans(request: Request, places: list[Candidate], each: list[list[tuple[int, ...]]]) -> Iterator[Given]:
    """Every legal plan, checked as a whole."""
    for chosen in itertools.product(*each):
        given = {
            (place.id, number): way[at]
            for number, way in enumerate(chosen)
            for at, place in enumerate(places)
            if way[at]
        }
        used = {place for place, _ in given}
        if request.parcels_max is not None and len(used) > request.parcels_max:
            continue
        if request.splitting == Splitting.NONE and len(used) > 1:
            continue
        homes: dict[str, set[uuid.UUID]] = {}
        for place, number in given:
            if request.lines[number].group:
                homes.setdefault(request.lines[number].group, set()).add(place)
        if any(len(at) > 1 for at in homes.values()):
            continue
        sums: dict[tuple[uuid.UUID, str], int] = {}
        for (place, number), units in given.items():
            at = (place, request.lines[number].key)
            sums[at] = sums.get(at, 0) + units
        if all(units <= c.available.get(key, 0) for c in places for (p, key), units in sums.items() if p == c.id):
            yield given


def order_of(request: Request, rule: Rule, places: list[Candidate]) -> list[uuid.UUID]:
    asked = {line.key for line in request.lines}

    def far(c: Candidate) -> float:
        return float("inf") if c.distance_m is None else c.distance_m

    tuples = {
        Rule.NEAREST: lambda c: (far(c), c.priority, c.id),
        Rule.FEWEST_PARCELS: lambda c: (far(c), c.priority, c.id),
        Rule.PRIORITY_LIST: lambda c: (c.priority, far(c), c.id),
        Rule.MOST_STOCK: lambda c: (-sum(max(0, c.available.get(k, 0)) for k in asked), far(c), c.priority, c.id),
        Rule.PREFER_WAREHOUSE: lambda c: (0 if c.kind == 2 else 1, far(c), c.priority, c.id),
    }
    return [c.id for c in sorted(places, key=tuples[rule])]


def objective(request: Request, rule: Rule, order: list[uuid.UUID], given: Given) -> tuple[object, ...]:
    used = {place for place, _ in given}
    by_line = sorted(range(len(request.lines)), key=lambda n: (request.lines[n].ref, request.lines[n].key))
    return (
        len(used) > 1,
        len(used) if rule == Rule.FEWEST_PARCELS else 0,
        [-sum(units for (at, _), units in given.items() if at == place) for place in order],
        [-given.get((place, number), 0) for number in by_line for place in order],
    )


def draw(rng: random.Random, splitting: Splitting) -> tuple[Request, list[Given], list[Candidate]]:
    """A case, and all its plans. Cases that one location serves, or nobody, are easy: most of them are drawn again."""
    while True:
        request = a_request(rng, splitting)
        places = [c for c in request.candidates if request.pickup_at in (None, c.id)]
        each = [options(request, places, line) for line in request.lines]
        count = math.prod(len(ways) for ways in each)
        if count > PLANS_MAX:
            continue
        plans = list(all_plans(request, places, each))
        hard = bool(plans) and all(len({place for place, _ in given}) > 1 for given in plans)
        if hard or rng.random() < (0.5 if splitting == Splitting.NONE else 0.1):
            return request, plans, places


def given_by(request: Request, plan: Plan) -> Given:
    numbers = {(line.ref, line.key): number for number, line in enumerate(request.lines)}
    return {
        (parcel.location_id, numbers[portion.ref, portion.key]): portion.quantity
        for parcel in plan.parcels
        for portion in parcel.portions
    }


# --- what a shortage says ---


def is_possible(request: Request, lines: Sequence[Line], splitting: Splitting | None = None) -> bool:
    asked = dataclasses.replace(request, lines=tuple(lines), splitting=splitting or request.splitting)
    places = [c for c in request.candidates if request.pickup_at in (None, c.id)]
    each = [options(asked, places, line) for line in lines]
    return next(all_plans(asked, places, each), None) is not None


def check_shortage(request: Request, answer: SourcingShortage) -> None:
    wanted = collections.Counter[str]()
    for line in request.lines:
        wanted[line.key] += line.quantity
    by_itself = []
    for line in sorted(request.lines, key=lambda line: (line.ref, line.key)):
        of_all = Line(0, line.key, wanted[line.key])
        beyond = is_possible(request, [of_all], Splitting.UNITS if may_split(request) else None)
        if not is_possible(request, [line]) or not beyond:
            by_itself.append((line.ref, line.key))
    named = [(short.ref, short.key) for short in answer.lines]
    assert named == sorted(named)
    if by_itself:
        assert named == by_itself
    else:
        lines = [line for line in request.lines if (line.ref, line.key) in named]
        assert not is_possible(request, lines)
        assert all(is_possible(request, [other for other in lines if other is not line]) for line in lines)
    for short in answer.lines:
        line = next(line for line in request.lines if (line.ref, line.key) == (short.ref, short.key))
        most = max(
            (q for q in range(1, 40) if is_possible(request, [dataclasses.replace(line, quantity=q)])), default=0
        )
        assert (short.requested, short.wanted, short.available) == (line.quantity, wanted[line.key], most)
        assert short.together == (not by_itself)
        having = {c.id: c.available.get(line.key, 0) for c in request.candidates if c.available.get(line.key, 0) > 0}
        told = [alternative.available for alternative in short.alternatives]
        assert {a.location_id: a.available for a in short.alternatives}.items() <= having.items()
        assert len(told) == min(len(having), 5)
        assert sum(min(q, line.quantity) for q in told) == sum(
            sorted((min(q, line.quantity) for q in having.values()), reverse=True)[:5]
        )


def may_split(request: Request) -> bool:
    return request.splitting != Splitting.NONE


@pytest.mark.parametrize("chunk", range(8))
@pytest.mark.parametrize("splitting", list(Splitting))
def test_the_plan_is_the_least_of_all_plans_by_every_rule(splitting: Splitting, chunk: int) -> None:
    rng = random.Random(f"{splitting} {chunk}")
    for _ in range(CASES):
        request, plans, places = draw(rng, splitting)
        for rule in Rule:
            asked = Request(request.lines, request.candidates, rule, splitting, request.pickup_at, request.parcels_max)
            answer = sourcing.choose(asked)
            assert answer.proven
            if not plans:
                assert isinstance(answer, SourcingShortage), asked
                check_shortage(asked, answer)
                continue
            assert isinstance(answer, Plan), asked
            order = order_of(asked, rule, places)
            best = min(plans, key=lambda given: objective(asked, rule, order, given))
            assert given_by(asked, answer) == best, asked
            sent = [parcel.location_id for parcel in answer.parcels]
            assert sent == [place for place in order if place in sent]


# --- bundles among the lines ---

BUNDLES = (
    Bundle("set", (Component("a", 2), Component("b", 1))),
    Bundle("duo", (Component("b", 1), Component("c", 1))),
    Bundle("gift", (Component("set", 1), Component("b", 1), Component("d", 1))),
)
PARTS = {"set": {"a": 2, "b": 1}, "duo": {"b": 1, "c": 1}, "gift": {"a": 2, "b": 2, "d": 1}}


def parts_of(sku: str) -> dict[str, int]:
    return PARTS.get(sku, {sku: 1})


def places_of(request: Request) -> list[Candidate]:
    return [c for c in request.candidates if request.pickup_at in (None, c.id)]


def fits(request: Request, asked: Sequence[sourcing.Asked], given: Given) -> bool:
    """Whether what is given, in units as asked for, breaks no rule of a plan."""
    used = {place for place, _ in given}
    if len(used) > (request.parcels_max or len(used)) or (request.splitting == Splitting.NONE and len(used) > 1):
        return False
    for group in {line.group for line in asked if line.group}:
        if len({place for place, number in given if asked[number].group == group}) > 1:
            return False
    for place in request.candidates:
        taken = collections.Counter[str]()
        for (at, number), units in given.items():
            for key, quantity in parts_of(asked[number].sku).items():
                taken[key] += quantity * units if at == place.id else 0
        if any(units > max(place.available.get(key, 0), 0) for key, units in taken.items()):
            return False
    return True


def plans_of_bundles(request: Request, asked: Sequence[sourcing.Asked]) -> list[Given]:
    """Every legal plan, in units as they are asked for: a bundle is never divided."""
    places = places_of(request)

    def ways(line: sourcing.Asked) -> list[tuple[int, ...]]:
        all_ways = ways_of(line.quantity, [line.quantity] * len(places))
        divided = request.splitting == Splitting.UNITS and not line.group and line.sku not in PARTS
        return [way for way in all_ways if divided or max(way) == line.quantity]

    found = []
    for chosen in itertools.product(*map(ways, asked)):
        given = {(c.id, n): way[at] for n, way in enumerate(chosen) for at, c in enumerate(places) if way[at]}
        if fits(request, asked, given):
            found.append(given)
    return found


def apart(asked: Sequence[sourcing.Asked], request: Request, given: Given) -> Given:
    """The same in units of plain SKUs, by the lines of the request."""
    return {
        (place, at): units * parts_of(asked[number].sku)[line.key]
        for (place, number), units in given.items()
        for at, line in enumerate(request.lines)
        if line.ref == number
    }


def draw_bundles(rng: random.Random, splitting: Splitting) -> tuple[Request, list[sourcing.Asked], list[Given]]:
    known = Bundles(BUNDLES)
    while True:
        skus = [rng.choice(["a", "b", "c", "d", *PARTS]) for _ in range(rng.randint(1, 4))]
        asked = [sourcing.Asked(sku, rng.randint(1, 2), rng.choice(["", "", "", "g"])) for sku in dict.fromkeys(skus)]
        lines = composing.lines(asked, known)
        drawn = dataclasses.replace(a_request(rng, splitting), lines=lines)
        stock = some_stock(rng, list(lines), len(drawn.candidates))
        candidates = tuple(
            dataclasses.replace(c, available=have) for c, have in zip(drawn.candidates, stock, strict=True)
        )
        request = dataclasses.replace(drawn, candidates=candidates)
        if not any(line.sku in PARTS for line in asked) or math.prod(len(candidates) ** 2 for _ in asked) > PLANS_MAX:
            continue
        plans = plans_of_bundles(request, asked)
        hard = bool(plans) and all(len({place for place, _ in given}) > 1 for given in plans)
        if hard or rng.random() < 0.25:
            return request, asked, plans


def check_told(request: Request, asked: Sequence[sourcing.Asked], told: Sequence[sourcing.ShortOfUnits]) -> None:
    assert told
    for line in told:
        of = asked[line.ref]

        def alone(units: int, of: sourcing.Asked = of) -> bool:
            return bool(plans_of_bundles(request, [of._replace(quantity=units)]))

        assert line.available == max((units for units in range(1, 12) if alone(units)), default=0)
        if of.sku in PARTS:
            assert line.together == (line.available >= of.quantity)
        for other in line.alternatives:
            (place,) = [c for c in request.candidates if c.id == other.location_id]
            have = min(place.available.get(key, 0) // units for key, units in parts_of(of.sku).items())
            assert other.available == have > 0
        assert all(short.available < short.requested for short in line.components)
        assert {short.sku for short in line.components} <= parts_of(of.sku).keys()


@pytest.mark.parametrize("splitting", list(Splitting))
def test_with_bundles_among_the_lines_the_plan_is_the_least_of_all_that_keep_them_whole(splitting: Splitting) -> None:
    rng = random.Random(f"bundles {splitting}")
    known = Bundles(BUNDLES)
    served = 0
    for _ in range(CASES):
        drawn, asked, plans = draw_bundles(rng, splitting)
        for rule in Rule:
            request = dataclasses.replace(drawn, rule=rule)
            answer = sourcing.choose(request)
            assert answer.proven
            if not plans:
                assert isinstance(answer, SourcingShortage), (request, asked)
                check_told(request, asked, composing.short(answer, request, asked, known))
                continue
            assert isinstance(answer, Plan), (request, asked)
            order = order_of(request, rule, places_of(request))
            best = min(plans, key=lambda given: objective(request, rule, order, apart(asked, request, given)))
            assert given_by(request, answer) == apart(asked, request, best), (request, asked)
            reserved = composing.parcels(answer, asked, known)
            assert {(place, sku): units for place, lines in reserved.items() for sku, units in lines} == {
                (place, asked[number].sku): units for (place, number), units in best.items()
            }
            served += 1
    assert served > CASES
