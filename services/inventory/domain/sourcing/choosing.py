"""Chooses the location, or the split over locations, that serves a request (INV-10). Pure: values in, values out.

A plan gives every line in full, takes no more than a location may promise, keeps each group at one location, divides no
further than the request allows, comes from the pickup location alone if there is one, and has at most `parcels_max`
parcels. A parcel is a location that gives something.

Each rule ranks the locations by a tuple that ends in their id, so that no two are equal:

    NEAREST           (distance, priority, id)
    PRIORITY_LIST     (priority, distance, id)
    MOST_STOCK        (-units available of the SKUs asked for, distance, priority, id)
    PREFER_WAREHOUSE  (0 for a warehouse, else 1; distance, priority, id)
    FEWEST_PARCELS    (distance, priority, id)

Of the possible plans, the one with the least of these is chosen, compared from left to right:

    all rules         (0 for one parcel, else 1;
    FEWEST_PARCELS      the number of parcels;
    all rules           -units from the 1st location, -units from the 2nd, …;
                        line by line in the order of (ref, key): -units of it from the 1st location, from the 2nd, …)

So one parcel beats several whatever the rule, and a rule that isn't FEWEST_PARCELS then takes from its first location
as much as it can, from the next as much as remains, even for more parcels than the least. This is what others do:
complete locations go first in Shopify's and Endless Commerce's defaults; the least number of parcels is a rule of its
own in Shopify and Salesforce, with distance as the tie; Saleor walks its order, line by line, and takes what is there.
MOST_STOCK ranks locations and not each SKU by itself (as Saleor does), which would make a parcel of every SKU.

The last two parts need no search while parcels aren't limited and lines don't compete for a location's stock: then a
plan is exact in one walk. Otherwise (set cover, bin packing) it is searched under a budget; a result says whether it is
proven (cover.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from services.inventory.domain.sourcing.budget import EFFORT_MAX, Budget
from services.inventory.domain.sourcing.cover import Search
from services.inventory.domain.sourcing.demand import Demand, Step
from services.inventory.domain.sourcing.shortage import describe
from services.inventory.domain.sourcing.values import (
    WAREHOUSE,
    Candidate,
    Line,
    Parcel,
    Plan,
    Portion,
    Request,
    Rule,
    SourcingShortage,
    Splitting,
)
from services.inventory.domain.sourcing.walk import Walk


def choose(request: Request, *, effort_max: int = EFFORT_MAX) -> Plan | SourcingShortage:
    """The best plan by the request's rule, or why there is none."""
    budget = Budget(effort_max)
    ranked = rank(request)
    plan = _plan(request, request.lines, ranked, budget)
    if plan is not None:
        return plan
    proven = budget.proven

    def possible(lines: Sequence[Line]) -> bool:
        if budget.spent:
            return True
        budget.proven = True
        return _plan(request, lines, ranked, budget, any_plan=True) is not None or not budget.proven

    return describe(request, possible, proven=proven)


def rank(request: Request) -> list[Candidate]:
    """The locations that may serve a request, in the order of its rule."""
    usable = [c for c in request.candidates if request.pickup_at in (None, c.id)]
    keys = {line.key for line in request.lines}

    def first(candidate: Candidate) -> tuple[int, ...]:
        if request.rule == Rule.PRIORITY_LIST:
            return (candidate.priority,)
        if request.rule == Rule.MOST_STOCK:
            return (-sum(max(candidate.available.get(key, 0), 0) for key in keys),)
        if request.rule == Rule.PREFER_WAREHOUSE:
            return (int(candidate.kind != WAREHOUSE),)
        return ()

    return sorted(usable, key=lambda c: (*first(c), c.distance_m is None, c.distance_m or 0, c.priority, c.id))


def _plan(
    request: Request,
    lines: Sequence[Line],
    ranked: Sequence[Candidate],
    budget: Budget,
    *,
    any_plan: bool = False,
) -> Plan | None:
    """The best plan for these lines, or any; None when there is none, or none was found."""
    if not lines:
        return Plan((), proven=True)
    if (complete := _complete(lines, ranked)) is not None:
        portions = sorted(Portion(line.ref, line.key, line.quantity) for line in lines)
        return Plan((Parcel(complete.id, tuple(portions)),), proven=True)
    parcels = min(len(ranked), request.parcels_max or len(ranked))
    if request.splitting == Splitting.NONE or parcels <= 1:
        return None
    demand = Demand(lines, ranked, request.splitting)
    search, allowed = Search(demand, budget), demand.useful()
    cover = search.cover(demand.all, allowed, parcels)
    if cover is None:
        return None
    if any_plan:
        return _as_plan(demand, ranked, search.placed(demand.all, cover), budget)
    walk = Walk(demand, search, budget)
    if request.rule == Rule.FEWEST_PARCELS:
        cover = walk.fewest(allowed, cover, parcels)
        parcels = cover.ranks.bit_count()
    return _as_plan(demand, ranked, walk.best(demand.all, allowed, parcels, cover), budget)


def _complete(lines: Sequence[Line], ranked: Sequence[Candidate]) -> Candidate | None:
    """The first location that has everything."""
    wanted: dict[str, int] = {}
    for line in lines:
        wanted[line.key] = wanted.get(line.key, 0) + line.quantity
    for candidate in ranked:
        if all(candidate.available.get(key, 0) >= units for key, units in wanted.items()):
            return candidate
    return None


def _as_plan(
    demand: Demand,
    ranked: Sequence[Candidate],
    steps: Sequence[Step],
    budget: Budget,
) -> Plan:
    parts = demand.portions(steps)
    parcels = tuple(Parcel(ranked[at].id, tuple(parts[at])) for at in sorted(parts))
    return Plan(parcels, budget.proven)
