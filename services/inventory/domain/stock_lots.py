"""What the stock of a location does with lots: which lot units are taken from, and when a lot's time is over.

Functions on the working set of a batch (stock.Stock). Units of a level without lots are of none.
"""

from __future__ import annotations

import datetime as dt
import typing
from collections.abc import Mapping

from services.inventory.domain import lots
from services.inventory.domain.commands import Assign, Count, Origin, Reserve
from services.inventory.domain.levels import Counters, ExceptionKind, Level, LotStock, Reason, State, fold
from services.inventory.domain.stock_errors import QuantityBelowZero
from services.kit import errors

if typing.TYPE_CHECKING:
    from services.inventory.domain import stock

SYSTEM = Origin("system")
RETIRED = {State.EXPIRED: Reason.EXPIRED, State.QUALITY_CONTROL: Reason.RECALL}
Parts = list[tuple[str, int]]
"""(lot code, units); an empty code: of none."""


def named(level: Level, code: str) -> LotStock:
    """A lot that a command names. NOT_FOUND."""
    lot = level.lots.get(code)
    if lot is None:
        raise errors.NotFound("lot")
    return lot


def counted(level: Level, count: Count) -> int:
    """Units on hand of what was counted: a lot, those of no lot, or all of the SKU. NOT_FOUND (lot)."""
    if count.lot:
        return named(level, count.lot).on_hand
    return level.on_hand - sum(lot.on_hand for lot in level.lots.values()) if count.by_lot else level.on_hand


def newer_observation(level: Level, count: Count, observed: dt.datetime) -> dt.datetime | None:
    """When the SKU was observed, if that is newer than a count of it. Lots that were counted together have one time."""
    at = level.observed_at
    if at is None or at < observed or (at == observed and count.by_lot):
        return None
    return at


def promise(working: stock.Stock, level: Level, command: Reserve) -> int:
    """Units that may be held for a channel. Safety stock may consist of units that don't live long enough for it."""
    may = level.available
    if level.lots:
        short_lived = lots.short_lived(level.lots.values(), _until(working, level, command.channel))
        may = min(may, level.free - short_lived)
    return may + (level.backorder_limit if command.for_sale else 0)


def for_channel(working: stock.Stock, level: Level, quantity: int, channel: str) -> Parts:
    """Which units are held for a channel."""
    if not level.lots:
        return [("", quantity)]
    return lots.take(level.lots.values(), quantity, State.SELLABLE, _until(working, level, channel))


def _until(working: stock.Stock, level: Level, channel: str) -> dt.datetime:
    return working.now + working.policies.get(fold(level.sku), lots.NO_POLICY).life(channel)


def first_out(working: stock.Stock, level: Level, state: int, quantity: int) -> Parts:
    """Which units leave a state when nobody says of which lot they are."""
    if not level.lots or state == State.EXTERNAL:
        return [("", quantity)]
    return lots.take(level.lots.values(), quantity, state, working.now)


def back_to_sale(working: stock.Stock, level: Level, state: int, quantity: int) -> Parts:
    """Which units of an unsellable state can be sold again. LOT_NOT_SELLABLE: only those of lots that can't."""
    fit = [lot for lot in level.lots.values() if lot.lives_until(working.now)]
    parts = lots.take(fit, quantity, state, working.now)
    unfit = sum(lot.in_state(state) for lot in level.lots.values())
    of_none = level.in_state(state) - unfit
    if parts[-1][0] == "" and parts[-1][1] > of_none:
        lot = next(lot for lot in level.lots.values() if lot.in_state(state) and lot not in fit)
        raise lots.LotNotSellable(level.sku, lot.code)
    return parts


def gone(working: stock.Stock, level: Level, lot: LotStock | None, quantity: int) -> list[tuple[State, int, str]]:
    """Which units those are that have left: (state, units, lot code). lot None: nobody looked."""
    if lot is None:
        return [(State.SELLABLE, units, code) for code, units in first_out(working, level, State.SELLABLE, quantity)]
    return [(state, units, lot.code) for state, units in of_named(working, lot, quantity)]


def of_named(working: stock.Stock, lot: LotStock, quantity: int) -> list[tuple[State, int]]:
    """From which states units of a lot are taken: what is free, then what was put aside, then free ones below zero."""
    aside = lot.retired_to(working.now)
    put_aside = 0
    if aside is not None:
        put_aside = min(lot.in_state(aside), quantity - max(0, min(lot.free, quantity)))
    parts = [(State.SELLABLE, quantity - put_aside)] if quantity > put_aside else []
    return [*parts, (aside, put_aside)] if aside is not None and put_aside else parts


def there(working: stock.Stock, lot: LotStock) -> int:
    """Units of a lot that may be removed: fit to sell, promised or not, and those put aside as its time is over."""
    aside = lot.retired_to(working.now)
    return lot.in_state(State.SELLABLE) + (lot.in_state(aside) if aside is not None else 0)


def retire(working: stock.Stock, key: str, level: Level, lot: LotStock) -> None:
    """Puts aside what of a lot nobody was promised and may not be sold."""
    aside = lot.retired_to(working.now)
    if aside is not None and lot.free > 0:
        working.move(
            key, level, State.SELLABLE, aside, lot.free, RETIRED[aside], ("lot", lot.code), SYSTEM, lot.code
        )  # fmt: skip


def tell_if_unfit(
    working: stock.Stock, level: Level, lot: LotStock, units: int, ref: tuple[str, str], at: dt.datetime
) -> None:
    """Tells a person of a sale that should not have been. at: when it was rung up."""
    if lot.recalled_at is not None and lot.recalled_at <= at:
        working.warn(ExceptionKind.RECALLED_LOT_SOLD, level.sku, units, ref, lot.code)
    elif lot.sell_until is not None and lot.sell_until <= at:
        working.warn(ExceptionKind.EXPIRED_LOT_SOLD, level.sku, units, ref, lot.code)


def assign(working: stock.Stock, command: Assign) -> Level:
    """Units are of another lot than was thought. QUANTITY_BELOW_ZERO, NOT_FOUND (lot)."""
    level = working.level(command.sku)
    key, ref = fold(level.sku), ("reference", command.reference)
    target = named(level, command.to_lot) if command.to_lot else None
    if command.from_lot:
        source = named(level, command.from_lot)
        aside = source.retired_to(working.now)
        have = max(source.free, 0) + (source.in_state(aside) if aside is not None else 0)
        parts = of_named(working, source, command.quantity)
    else:
        have = level.free - sum(lot.free for lot in level.lots.values())
        parts = [(State.SELLABLE, command.quantity)]
    if have < command.quantity:
        raise QuantityBelowZero(level.sku, State.SELLABLE, have)
    for state, units in parts:
        working.move(
            key, level, state, State.EXTERNAL, units, Reason.CORRECTION, ref, command.origin, command.from_lot
        )  # fmt: skip
    code = target.code if target is not None else ""
    working.move(
        key, level, State.EXTERNAL, State.SELLABLE, command.quantity, Reason.CORRECTION, ref, command.origin, code
    )
    return level


def notice(level: Level) -> None:
    """Keeps what the database says of a level's having lots true."""
    has_lots = any(not lot.is_empty for lot in level.lots.values())
    if has_lots != level.has_lots:
        level.has_lots = has_lots
        level.policy_changed = True


def rebuild(working: stock.Stock, key: str, level: Level, sums: Mapping[tuple[str, str], Counters]) -> bool:
    """Sets a level's lots to what the ledger says. Whether one was wrong."""
    wrong = False
    for code, lot in level.lots.items():
        right = LotStock(level.sku, *sums.get((key, code), Counters()))
        for movement in (m for step in working.steps for m in step.movements if fold(m.sku) == key and m.lot == code):
            right.move(movement.from_state, movement.to_state, movement.quantity)
        for name in Counters._fields:
            if getattr(lot, name) != getattr(right, name):
                setattr(lot, name, getattr(right, name))
                working.touched_lots[key, code] = lot
                wrong = True
    return wrong
