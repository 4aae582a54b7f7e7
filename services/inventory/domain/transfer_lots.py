"""What becomes of the lots of a transfer: which units of each were sent, came, are lost, or were mistaken for it.

Which lots leave is decided by the stock of the origin as they leave: a transfer learns it from what its steps moved.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.inventory.domain.commands import LotMove
from services.inventory.domain.levels import Reason, State, fold
from services.inventory.domain.transfers import LotUnits


def sums(moves: Iterable[LotMove]) -> dict[tuple[str, str], LotUnits]:
    """What moves add to the units of lots, by folded SKU and code. What is given back at the origin was never sent."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for move in moves:
        counted = counts.setdefault((fold(move.sku), move.lot), {})
        for name in _counted(move):
            counted[name] = counted.get(name, 0) + move.quantity
    return {of: LotUnits(lot=of[1], **counted) for of, counted in counts.items() if counted}


def _counted(move: LotMove) -> tuple[str, ...]:
    match move.reason:
        case Reason.TRANSFER_OUT:
            return ("shipped",)
        case Reason.LOST_IN_TRANSIT:
            return ("lost",)
        case Reason.TRANSFER_RECEIVED:
            return ("received",)
        case Reason.CORRECTION if move.source == State.IN_TRANSIT:
            return ("mistaken",)
        case Reason.CORRECTION | Reason.TRANSFER_IN:
            return ("received", "surplus")
        case _:
            return ()
