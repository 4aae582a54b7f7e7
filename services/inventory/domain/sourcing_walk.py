"""The best plan, once it is known that there is one: the locations are walked in the rule's order.

At each, the most that can be taken is taken, if what remains can still be covered: this is the definition of the order
of plans (sourcing.py), so nothing has to be enumerated except where pieces compete for the stock of a location.
"""

from __future__ import annotations

import itertools

from services.inventory.domain import sourcing_budget, sourcing_cover, sourcing_demand
from services.inventory.domain.sourcing_cover import Cover
from services.inventory.domain.sourcing_demand import Rest, Step, bits

WAY_EFFORT = 256
"""Of a way among several: it is walked to its end."""
STEPS_MAX = 1_024
"""Choices among pieces at a location: all of them for ten pieces."""
STEPS_HASTY = 1
"""Likewise when the budget is spent."""
STEP_EFFORT = 16
"""Of a choice beyond the first."""


class Walk:
    """Finds plans for one demand."""

    def __init__(
        self, demand: sourcing_demand.Demand, search: sourcing_cover.Search, budget: sourcing_budget.Budget
    ) -> None:
        self._demand = demand
        self._search = search
        self._budget = budget

    def fewest(self, allowed: int, cover: Cover, parcels: int) -> Cover:
        """A cover with as few locations as possible; two is the least, as one was tried already."""
        everything = self._demand.all
        greedy = self._search.greedy(everything, allowed, parcels)
        best = min((self._used(c) for c in (greedy, cover) if c is not None), key=lambda c: c.ranks.bit_count())
        with self._budget.half():
            while best.ranks.bit_count() > 2:
                fewer = self._search.cover(everything, allowed, best.ranks.bit_count() - 1)
                if fewer is None:
                    break
                best = self._used(fewer)
        return best

    def _used(self, cover: Cover) -> Cover:
        steps = self._search.placed(self._demand.all, cover)
        return Cover(sum(1 << step.rank for step in steps), cover.homes)

    def best(self, rest: Rest, allowed: int, parcels: int, cover: Cover, before: tuple[Step, ...] = ()) -> list[Step]:
        """The best way to take the rest from the allowed locations, of which the cover is one way. All steps."""
        steps = list(before)
        if not rest:
            return steps
        hopeless = self._hopeless(rest, allowed, parcels)
        for rank in bits(allowed):
            allowed &= ~(1 << rank)
            if hopeless >> rank & 1:
                continue
            ways = self._ways(rest, rank, allowed, parcels - 1, cover)
            if not ways and cover.ranks >> rank & 1 and self._demand.gives(rest, rank):
                self._budget.proven = False  # the budget is spent: keep to what is known
                return steps + self._search.placed(rest, cover)
            if not ways:
                continue
            if len(ways) > 1:
                return min(
                    (self.best(then, allowed, parcels - 1, onward, (*steps, step)) for step, then, onward in ways),
                    key=self._demand.merit,
                )
            step, rest, cover = ways[0]
            steps.append(step)
            parcels -= 1
            if not rest:
                break
            hopeless = self._hopeless(rest, allowed, parcels)
        return steps

    def _ways(self, rest: Rest, rank: int, allowed: int, parcels: int, cover: Cover) -> list[tuple[Step, Rest, Cover]]:
        """The largest steps at a location after which the rest can be covered: as many as are equally large."""
        for _, equal in itertools.groupby(self._steps(rest, rank), key=lambda step: step.units):
            ways: list[tuple[Step, Rest, Cover]] = []
            for step in equal:
                if ways and self._budget.spent:
                    self._budget.proven = False
                    return ways
                then = self._demand.after(rest, step)
                onward = self._search.cover(then, allowed, parcels, cover.ranks) if then else Cover(0, {})
                if onward is not None:
                    ways.append((step, then, onward))
                    self._budget.charge(WAY_EFFORT)
            if ways:
                return ways
        return []

    def _steps(self, rest: Rest, rank: int) -> list[Step]:
        steps, complete = self._demand.steps(rest, rank, STEPS_HASTY if self._budget.spent else STEPS_MAX)
        self._budget.proven &= complete
        self._budget.charge(STEP_EFFORT * (len(steps) - 1))
        return steps

    def _hopeless(self, rest: Rest, allowed: int, parcels: int) -> int:
        return self._search.out_of_reach(rest, allowed, parcels) if parcels < allowed.bit_count() else 0
