"""What holds of every plan, whatever the rule, the size of the request and the budget."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import uuid

import hypothesis
from hypothesis import strategies as st

from services.inventory.domain import sourcing
from services.inventory.domain.sourcing.values import (
    Candidate,
    Line,
    Plan,
    Request,
    Rule,
    SourcingShortage,
    Splitting,
)

KEYS = "abcdefg"


@st.composite
def requests(draw: st.DrawFn) -> Request:
    ats = draw(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(KEYS)), max_size=9, unique=True))
    lines = [
        Line(ref, key, draw(st.integers(1, 9)), draw(st.sampled_from(["", "", "", "g", "h", "i"]))) for ref, key in ats
    ]
    numbers = draw(st.lists(st.integers(1, 99), min_size=0, max_size=12, unique=True))
    candidates = [
        Candidate(
            uuid.UUID(int=number),
            draw(st.sampled_from([1, 2])),
            draw(st.dictionaries(st.sampled_from(KEYS), st.integers(-2, 15), min_size=1)),
            draw(st.sampled_from([None, 0, 5, 9])),
            draw(st.integers(0, 1)),
        )
        for number in numbers
    ]
    return Request(
        tuple(lines),
        tuple(candidates),
        draw(st.sampled_from(Rule)),
        draw(st.sampled_from(Splitting)),
        draw(st.sampled_from([None, None, None, *(c.id for c in candidates)])),
        draw(st.sampled_from([None, None, 1, 2, 3, 4])),
    )


efforts = st.sampled_from([0, 0, 200, 2_000, 100_000])


@hypothesis.settings(max_examples=250, deadline=None)
@hypothesis.given(requests(), efforts)
def test_a_plan_covers_exactly_and_takes_no_more_than_there_is(request: Request, effort: int) -> None:
    plan = sourcing.choose(request, effort_max=effort)
    if isinstance(plan, SourcingShortage):
        assert plan.lines
        return
    given: collections.Counter[tuple[int, str]] = collections.Counter()
    homes: dict[tuple[int, str], set[uuid.UUID]] = {}
    for parcel in plan.parcels:
        assert parcel.portions
        taken: collections.Counter[str] = collections.Counter()
        for portion in parcel.portions:
            assert portion.quantity > 0
            given[portion.ref, portion.key] += portion.quantity
            taken[portion.key] += portion.quantity
            homes.setdefault((portion.ref, portion.key), set()).add(parcel.location_id)
        (place,) = [c for c in request.candidates if c.id == parcel.location_id]
        assert all(units <= place.available[key] for key, units in taken.items())
        assert list(parcel.portions) == sorted(parcel.portions)
    assert given == {(line.ref, line.key): line.quantity for line in request.lines}
    used = [parcel.location_id for parcel in plan.parcels]
    assert len(set(used)) == len(used) <= (request.parcels_max or len(used))
    assert request.pickup_at is None or set(used) <= {request.pickup_at}
    assert request.splitting != Splitting.NONE or len(used) <= 1
    for line in request.lines:
        if line.group or request.splitting != Splitting.UNITS:
            assert len(homes[line.ref, line.key]) == 1
    for group in {line.group for line in request.lines if line.group}:
        members = [homes[line.ref, line.key] for line in request.lines if line.group == group]
        assert len(set.union(*members)) == 1


@hypothesis.settings(max_examples=120, deadline=None)
@hypothesis.given(requests(), efforts, st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_named_decides_nothing(request: Request, effort: int, rng: object) -> None:
    lines, candidates = list(request.lines), list(request.candidates)
    rng.shuffle(lines)  # type: ignore[attr-defined]
    rng.shuffle(candidates)  # type: ignore[attr-defined]
    other = dataclasses.replace(
        request,
        lines=tuple(lines),
        candidates=tuple(dataclasses.replace(c, available=dict(reversed(c.available.items()))) for c in candidates),
    )
    assert sourcing.choose(request, effort_max=effort) == sourcing.choose(other, effort_max=effort)


@hypothesis.settings(max_examples=120, deadline=None)
@hypothesis.given(requests(), efforts)
def test_what_is_proven_on_a_small_budget_is_what_a_large_one_finds(request: Request, effort: int) -> None:
    hasty = sourcing.choose(request, effort_max=effort)
    if hasty.proven:
        thorough = sourcing.choose(request)
        assert isinstance(hasty, Plan) == isinstance(thorough, Plan)
        assert isinstance(hasty, SourcingShortage) or hasty == thorough


@hypothesis.settings(max_examples=120, deadline=None)
@hypothesis.given(requests())
def test_to_be_allowed_more_never_costs_the_plan_of_one_parcel_or_any_plan(request: Request) -> None:
    answers = [sourcing.choose(dataclasses.replace(request, splitting=splitting)) for splitting in Splitting]
    for stricter, freer in itertools.pairwise(answers):
        if isinstance(stricter, Plan):
            assert isinstance(freer, Plan)
            if len(stricter.parcels) <= 1:
                assert freer == stricter


@hypothesis.settings(max_examples=120, deadline=None)
@hypothesis.given(requests())
def test_no_rule_has_fewer_parcels_than_fewest_parcels(request: Request) -> None:
    fewest = sourcing.choose(dataclasses.replace(request, rule=Rule.FEWEST_PARCELS))
    for rule in Rule:
        other = sourcing.choose(dataclasses.replace(request, rule=rule))
        assert isinstance(other, Plan) == isinstance(fewest, Plan)
        if isinstance(other, Plan) and isinstance(fewest, Plan):
            assert len(other.parcels) >= len(fewest.parcels)
