"""Whether pieces that compete for stock fit into a set of locations together: bin packing, exact within its limits."""

from __future__ import annotations

from services.inventory.domain.sourcing.budget import Budget
from services.inventory.domain.sourcing.demand import Demand, bits

TRIES_MAX = 2_000
"""Pieces placed in one set of locations. Nearly always the first try of each piece is right."""
HASTY_TRIES = 2
"""A piece, when the budget is spent: about what it takes without going back."""


class Packing:
    """Places pieces one by one, largest first, at the first location that has them, and goes back where none has."""

    def __init__(self, demand: Demand, budget: Budget, pieces: int, ranks: int) -> None:
        self._demand = demand
        self._budget = budget
        self._order = sorted(bits(pieces), key=lambda i: (-demand.pieces[i].units, i))
        self._left = {rank: list(demand.stock[rank]) for rank in bits(ranks)} if pieces else {}
        self._tries = 0
        self.homes: dict[int, int] = {}

    def succeeds(self, at: int = 0) -> bool:
        """Places the pieces from a position on; of equal pieces, later ones never go before earlier ones."""
        if at == len(self._order):
            return True
        if self._stops():
            return False
        piece = self._order[at]
        need = self._demand.pieces[piece].need
        before = self._order[at - 1] if at else piece
        first = self.homes[before] if at and self._demand.pieces[before].need == need else 0
        for rank, have in self._left.items():
            if rank < first or any(have[k] < units for k, units in need):
                continue
            self.homes[piece] = rank
            for k, units in need:
                have[k] -= units
            if self.succeeds(at + 1):
                return True
            for k, units in need:
                have[k] += units
        return False

    def _stops(self) -> bool:
        self._tries += 1
        self._budget.charge(len(self._left))
        if self._tries > TRIES_MAX or (self._budget.spent and self._tries > HASTY_TRIES * len(self._order)):
            self._budget.proven = False
            return True
        return False
