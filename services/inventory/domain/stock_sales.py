"""What a sale, or a transfer that leaves, takes from the stock of a location: it has happened, nothing is refused."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import NamedTuple

from services.inventory.domain import lots, stock_holds, stock_lots
from services.inventory.domain.commands import Origin, Sale, SaleLine
from services.inventory.domain.levels import ExceptionKind, Hold, HoldLine, HoldState, Level, Reason, State, fold

if typing.TYPE_CHECKING:
    from services.inventory.domain import stock

Held = dict[tuple[str, str], tuple[State, int]]
"""Units of the sale's own hold: where they are and how many, by folded SKU and lot."""


class Why(NamedTuple):
    """What the ledger says of units that have left."""

    reason: Reason
    ref: tuple[str, str]
    origin: Origin


def apply(working: stock.Stock, sale: Sale, lines: Sequence[SaleLine]) -> None:
    """Takes units first from the sale's own hold, then from what is there. lines: its own, of plain SKUs."""
    hold = working.holds.get(sale.hold_id) if sale.hold_id else None
    take(working, lines, hold, Why(Reason.SALE, ("sale", sale.order_id), sale.origin))


def take(working: stock.Stock, lines: Sequence[SaleLine], hold: Hold | None, why: Why) -> None:
    """Units have left: of the hold first, then of what is there; what is left of the hold is given back.

    A line that names a lot was looked at: its units are of that lot, whatever the hold's are of.
    """
    held = _use_up(working, hold)
    rest = [(line, _take_held(working, line, held, why)) for line in lines]
    for (key, lot), (source, left) in held.items():
        if left:  # held at the scan, not sold in the end
            back = source, State.SELLABLE, left, Reason.HOLD_RELEASED
            working.move(key, working.levels[key], *back, why.ref, why.origin, lot)
    for line, quantity in rest:
        if quantity:
            _take_free(working, line, quantity, why)


def _use_up(working: stock.Stock, hold: Hold | None) -> Held:
    """Uses up a hold. One that has ended gives nothing."""
    if hold is None:
        return {}
    state = hold.state_at(working.now)
    if state not in (HoldState.ACTIVE, HoldState.CONFIRMED):
        return {}
    source = State.RESERVED if state == HoldState.ACTIVE else State.ALLOCATED
    held: Held = {}
    for line in _first_out(working, hold.lines):
        _, so_far = held.get((line.key, line.lot), (source, 0))
        held[line.key, line.lot] = (source, so_far + line.quantity)
    stock_holds.use_up(working, hold)
    return held


def _first_out(working: stock.Stock, held: Sequence[HoldLine]) -> Sequence[HoldLine]:
    """Lines of a hold in the order in which their units leave: those of lots that end first, then of none."""
    if not any(line.lot for line in held):
        return held
    of = [line for line in held if line.lot]
    of.sort(key=lambda line: lots.turn(working.levels[line.key].lots[line.lot]))
    return [*of, *(line for line in held if not line.lot)]


def _take_held(working: stock.Stock, line: SaleLine, held: Held, why: Why) -> int:
    """Takes a line's units from the hold; answers how many it doesn't have."""
    key, left = fold(line.sku), line.quantity
    for (of, lot), (source, have) in held.items():
        if of == key and line.lot in ("", lot) and (units := min(have, left)):
            _take(working, key, working.levels[key], source, units, why, lot)
            held[of, lot] = (source, have - units)
            left -= units
    return left


def _take_free(working: stock.Stock, line: SaleLine, quantity: int, why: Why) -> None:
    key = fold(line.sku)
    level = working.find(key)
    if level is None:
        working.warn(ExceptionKind.UNKNOWN_SKU, line.sku, quantity, why.ref)
        return
    lot = level.lots.get(line.lot)
    promised = 0
    for state, units, code in stock_lots.gone(working, level, lot, quantity):
        _take(working, key, level, state, units, why, code)
        promised += units if state == State.SELLABLE else 0
    working.warn_if_oversold(level, promised, why.ref)
    if lot is not None and lot.free < 0:
        working.warn(ExceptionKind.LOT_OVERSOLD, level.sku, min(quantity, -lot.free), why.ref, lot.code)


def _take(working: stock.Stock, key: str, level: Level, source: State, units: int, why: Why, lot: str) -> None:
    working.move(key, level, source, State.EXTERNAL, units, why.reason, why.ref, why.origin, lot)
    if lot and why.reason == Reason.SALE:
        stock_lots.tell_if_unfit(working, level, level.lots[lot], units, why.ref, why.origin.occurred_at or working.now)
