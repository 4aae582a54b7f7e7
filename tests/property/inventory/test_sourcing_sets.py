"""Sourcing of more locations and lines than the other oracle can list: here it lists sets of locations.

No two lines share a SKU and there are no groups, so that in a given set the walk is beyond doubt: each location in turn
gives all that is still missing. What is tested is which set.
"""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Sequence

import pytest

from services.inventory.domain import sourcing
from services.inventory.domain.sourcing.values import Candidate, Line, Plan, Request, Rule, Splitting

CASES = 60

Shares = dict[int, dict[int, int]]
"""Units by location number and line."""


def a_request(rng: random.Random, splitting: Splitting, rule: Rule) -> Request:
    keys = [f"sku-{n}" for n in range(rng.randint(5, 10))]
    density, plenty = rng.choice([0.15, 0.25, 0.4]), rng.randint(2, 5)
    stock = [{key: rng.randint(1, plenty) for key in keys if rng.random() < density} for _ in range(rng.randint(7, 11))]
    for key in keys:
        rng.choice(stock)[key] = plenty + 1  # somebody has it: nearly every request can be served
    places = tuple(Candidate(uuid.UUID(int=number), 1, have, number) for number, have in enumerate(stock))
    lines = tuple(Line(n, key, rng.randint(1, 3)) for n, key in enumerate(keys))
    return Request(lines, places, rule, splitting, None, rng.choice([None, 3, 4, 5]))


def walk(request: Request, places: Sequence[Candidate]) -> Shares | None:
    """What each of these locations gives, in their order; None when it isn't all."""
    missing = [line.quantity for line in request.lines]
    shares: Shares = {}
    for place in places:
        for number, line in enumerate(request.lines):
            has = min(place.available.get(line.key, 0), missing[number])
            if has and (has == line.quantity or request.splitting == Splitting.UNITS):
                shares.setdefault(place.id.int, {})[number] = has
                missing[number] -= has
    return None if any(missing) else shares


def best(request: Request) -> Shares | None:
    """The least of all sets, by the tuples of sourcing.py. Distances are the numbers: the order is known."""
    found: list[tuple[object, Shares]] = []
    order = range(len(request.candidates))
    for size in range(1, len(request.candidates) + 1):
        for places in itertools.combinations(request.candidates, size):
            shares = walk(request, places)
            if shares is None or len(shares) > (request.parcels_max or size):
                continue
            parcels = len(shares) if request.rule == Rule.FEWEST_PARCELS else 0
            units = [-sum(shares.get(number, {}).values()) for number in order]
            found.append(((len(shares) > 1, parcels, units), shares))
    return min(found, key=lambda pair: pair[0])[1] if found else None


@pytest.mark.parametrize("rule", [Rule.FEWEST_PARCELS, Rule.NEAREST])
@pytest.mark.parametrize("splitting", [Splitting.LINES, Splitting.UNITS])
def test_the_plan_is_that_of_the_best_set_of_locations(splitting: Splitting, rule: Rule) -> None:
    rng = random.Random(f"{splitting} {rule}")
    served = 0
    for _ in range(CASES):
        request = a_request(rng, splitting, rule)
        answer, expected = sourcing.choose(request), best(request)
        assert answer.proven
        assert isinstance(answer, Plan) == (expected is not None)
        if isinstance(answer, Plan):
            served += 1
            actual = {p.location_id.int: {part.ref: part.quantity for part in p.portions} for p in answer.parcels}
            assert actual == expected, request
    assert served > CASES / 2
