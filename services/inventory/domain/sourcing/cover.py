"""Whether a number of locations can cover a demand: the one hard question of sourcing, answered exactly or not at all.

With as many parcels as one likes it is a sum; with a limit it is set cover, and where pieces compete for stock it is
bin packing as well. Both are searched depth first, most constrained part first, under one budget. What the search
leaves out can't be part of an answer:

* a location that, beside the best others that the limit allows, can't reach what is missing;
* where nothing competes, a location that gives no more of anything missing than one that was tried in vain.

When the budget is spent, only what is quick is tried (what is left of an earlier answer, the greedy choice), and
`proven` turns false as soon as a question stays open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from services.inventory.domain.sourcing.budget import Budget
from services.inventory.domain.sourcing.demand import Demand, Rest, Step, bits
from services.inventory.domain.sourcing.packing import Packing

NODE_EFFORT = 64
"""Of a node, besides its looks at locations."""
WHOLE = 1_000_000
"""What a location gives is counted in millionths of each part that is missing, rounded up: never too little."""


class Cover(NamedTuple):
    """Locations that together have everything, and where the pieces go that compete for stock."""

    ranks: int
    homes: Mapping[int, int]


class Open(NamedTuple):
    """What is missing: pieces that fit at no chosen location, units by key."""

    pieces: int
    wants: dict[int, int]


class Search:
    """Questions about one demand, under one budget."""

    def __init__(self, demand: Demand, budget: Budget) -> None:
        self._demand = demand
        self._budget = budget

    def cover(self, rest: Rest, allowed: int, parcels: int, hint: int = 0) -> Cover | None:
        """At most this many of the allowed locations that cover the rest. None: there are none, or it stays open."""
        if parcels >= allowed.bit_count() or (not any(rest.loose) and parcels >= rest.pieces.bit_count()):
            return self._holds(rest, allowed)  # the limit doesn't bind: no more locations than pieces are ever needed
        for ranks in _near(hint & allowed, parcels):
            if (found := self._holds(rest, ranks)) is not None:
                return found
        if not hint and (found := self.greedy(rest, allowed, parcels)) is not None:
            return found
        return self._search(rest, self._open(rest), 0, allowed, parcels)

    def greedy(self, rest: Rest, allowed: int, parcels: int) -> Cover | None:
        """Takes the location that gives most, again and again. None says nothing."""
        chosen, missing = 0, self._open(rest)
        while missing.pieces or missing.wants:
            gains = self.gains(missing, allowed & ~chosen)
            if not gains or chosen.bit_count() == parcels:
                return None
            best = max(gains, key=lambda rank: (gains[rank], -rank))
            chosen |= 1 << best
            missing = self._less(missing, best)
        return self._holds(rest, chosen)

    def out_of_reach(self, rest: Rest, allowed: int, parcels: int) -> int:
        """Locations that can be in no cover with at most this many parcels."""
        missing = self._open(rest)
        return allowed & ~self._within_reach(missing, self.gains(missing, allowed), allowed, parcels)

    def gains(self, missing: Open, allowed: int) -> dict[int, int]:
        """What each location gives of what is missing, without those that give nothing."""
        stock, fits, gains = self._demand.stock, self._demand.fits, {}
        pieces, wants = missing.pieces, list(missing.wants.items())
        for rank in bits(allowed):
            have = stock[rank]
            gain = WHOLE * (fits[rank] & pieces).bit_count()
            for k, units in wants:
                gain += WHOLE if have[k] >= units else -(-WHOLE * have[k] // units)
            if gain:
                gains[rank] = gain
        return gains

    # --- the search ---

    def _open(self, rest: Rest) -> Open:
        return Open(rest.pieces, self._demand.wants(rest))

    def _less(self, missing: Open, rank: int) -> Open:
        have = self._demand.stock[rank]
        wants = {k: units - have[k] for k, units in missing.wants.items() if units > have[k]}
        return Open(missing.pieces & ~self._demand.fits[rank], wants)

    def _search(self, rest: Rest, missing: Open, chosen: int, allowed: int, parcels: int) -> Cover | None:
        if self._budget.spent:
            self._budget.proven = False
            return None
        self._budget.charge(NODE_EFFORT + allowed.bit_count() * (1 + len(missing.wants)))
        if not missing.pieces and not missing.wants:
            return self._holds(rest, chosen) or self._add(rest, chosen, allowed, parcels)
        gains = self.gains(missing, allowed)
        allowed = self._within_reach(missing, gains, allowed, parcels)
        branches = self._branches(missing, allowed, parcels)
        for rank in sorted(bits(branches), key=lambda rank: (-gains[rank], rank)):
            if not allowed >> rank & 1:
                continue
            allowed &= ~(1 << rank)
            found = self._search(rest, self._less(missing, rank), chosen | 1 << rank, allowed, parcels - 1)
            if found is not None:
                return found
            if not rest.pieces & self._demand.rivals:
                allowed &= ~self._no_better(missing, rank, allowed)
        return None

    def _add(self, rest: Rest, chosen: int, allowed: int, parcels: int) -> Cover | None:
        """More room for pieces that fit one by one, but not together."""
        if not parcels:
            return None
        for rank in bits(allowed):
            allowed &= ~(1 << rank)
            if self._demand.fits[rank] & rest.pieces & self._demand.rivals:
                found = self._search(rest, Open(0, {}), chosen | 1 << rank, allowed, parcels - 1)
                if found is not None:
                    return found
        return None

    def _within_reach(self, missing: Open, gains: Mapping[int, int], allowed: int, parcels: int) -> int:
        """Locations that can complete what is missing beside the best others; none when the best can't."""
        need = WHOLE * (missing.pieces.bit_count() + len(missing.wants))
        best = sorted(gains.values(), reverse=True)[:parcels]
        if sum(best) < need:
            return 0
        least = need - sum(best[: parcels - 1])
        if least <= 0 and self._demand.rivals:
            return allowed  # one that gives nothing that is counted may still have room for a piece
        return sum(1 << rank for rank, gain in gains.items() if gain >= least)

    def _branches(self, missing: Open, allowed: int, parcels: int) -> int:
        """The part that fewest locations can give: one of them is in every answer. None when parts need too many."""
        parts = [(self._demand.homes[i] & allowed, 1) for i in bits(missing.pieces)]
        parts += [self._givers(k, units, allowed) for k, units in missing.wants.items()]
        parts.sort(key=lambda part: (part[0].bit_count() - part[1], part[0]))
        used = needed = 0
        for givers, least in parts:
            if givers.bit_count() < least:
                return 0
            if not givers & used:  # parts that share no location add up
                used |= givers
                needed += least
        return parts[0][0] if parts and needed <= parcels else 0

    def _givers(self, key: int, units: int, allowed: int) -> tuple[int, int]:
        """Locations that have a key, and how many of them it takes at least; one too many when all are too few."""
        stock, givers = self._demand.stock, 0
        amounts = []
        for rank in bits(allowed):
            if stock[rank][key]:
                givers |= 1 << rank
                amounts.append(stock[rank][key])
        amounts.sort(reverse=True)
        least = 0
        while units > 0 and least < len(amounts):
            units -= amounts[least]
            least += 1
        return givers, least + (units > 0)

    def _no_better(self, missing: Open, than: int, allowed: int) -> int:
        """Locations that give no more of anything missing."""
        stock, fits = self._demand.stock, self._demand.fits
        other = missing.pieces & ~fits[than]
        short = sorted((stock[than][k], k) for k, units in missing.wants.items() if stock[than][k] < units)
        return sum(
            1 << rank
            for rank in bits(allowed)
            if not fits[rank] & other and all(stock[rank][k] <= most for most, k in short)
        )

    # --- sets of locations ---

    def _holds(self, rest: Rest, ranks: int) -> Cover | None:
        """Whether these locations, all of them together, have the rest."""
        if any(not self._demand.homes[i] & ranks for i in bits(rest.pieces)):
            return None
        stock = [self._demand.stock[rank] for rank in bits(ranks)]
        if any(sum(have[k] for have in stock) < units for k, units in self._demand.wants(rest).items()):
            return None
        packing = Packing(self._demand, self._budget, rest.pieces & self._demand.rivals, ranks)
        return Cover(ranks, packing.homes) if packing.succeeds() else None

    def placed(self, rest: Rest, cover: Cover) -> list[Step]:
        """What each location of a cover gives: pieces at the first one that has them, then loose units likewise."""
        at: dict[int, int] = {}
        for i in bits(rest.pieces):
            rank = cover.homes[i] if i in cover.homes else next(bits(self._demand.homes[i] & cover.ranks))
            at[rank] = at.get(rank, 0) | 1 << i
        steps = []
        for rank in bits(cover.ranks):
            step = self._demand.step(rest, rank, at.get(rank, 0))
            if step.units:
                steps.append(step)
                rest = self._demand.after(rest, step)
        return steps


def _near(hint: int, parcels: int) -> Iterator[int]:
    """An earlier answer where it is small enough, or else what it is without one location."""
    if 0 < hint.bit_count() <= parcels:
        yield hint
    elif hint.bit_count() == parcels + 1:
        yield from (hint & ~(1 << rank) for rank in bits(hint))
