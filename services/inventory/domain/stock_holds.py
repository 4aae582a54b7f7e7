"""Holds on the stock of a location: made whole or not at all, extended, confirmed, reduced, released, used up.

Functions on the working set of a batch (stock.Stock).
"""

from __future__ import annotations

import datetime as dt
import typing
from collections.abc import Iterable, Iterator, Sequence

from services.inventory.domain import lots, stock_lots
from services.inventory.domain.bundles import RESERVED_MAX
from services.inventory.domain.commands import EndHold, Origin, ReduceHold, Reserve
from services.inventory.domain.levels import (
    Hold,
    HoldLine,
    HoldState,
    Level,
    Reason,
    Shortage,
    State,
    ceil_second,
    fold,
)
from services.inventory.domain.stock_errors import (
    InsufficientStock,
    LocationNotCapable,
    QuantityBelowZero,
    ReservationEnded,
)
from services.kit import errors

if typing.TYPE_CHECKING:
    from services.inventory.domain import stock


def shortages(working: stock.Stock, command: Reserve) -> list[Shortage]:
    """Every line of a reservation that can't be had in full. SKU_NOT_FOUND; LOCATION_NOT_CAPABLE."""
    if working.closed and command.for_sale:
        raise LocationNotCapable("SELL")
    lines, short = _added_up(command.lines), []
    if command.for_sale and has_bundle(working, lines):
        return _shortages_of_bundles(working, lines, command)
    for sku, quantity in lines:
        level = working.level(sku)
        promise = stock_lots.promise(working, level, command)
        if promise < quantity:
            eta = min((i.eta for i in level.incoming), default=None)
            short.append(Shortage(sku, working.location_id, quantity, max(promise, 0), eta))
    return short


def has_bundle(working: stock.Stock, lines: Iterable[tuple[str, int]]) -> bool:
    """Whether one of the lines (SKU, units) is of a bundle."""
    return bool(working.bundles.version) and any(sku in working.bundles for sku, _ in lines)


def _shortages_of_bundles(working: stock.Stock, lines: Sequence[tuple[str, int]], command: Reserve) -> list[Shortage]:
    """The same where a bundle is among the lines: what they ask of each plain SKU is added up first."""
    demands = working.bundles.demands(lines)
    if len(demands) > RESERVED_MAX:
        raise errors.InvalidRequest(f"the lines come to more than {RESERVED_MAX} plain SKUs")
    levels = {demand.key: working.level(demand.sku) for demand in demands}
    promises = {key: stock_lots.promise(working, level, command) for key, level in levels.items()}
    shortage = working.bundles.shortage(lines, promises)
    if shortage is None:
        return []
    units = {fold(each.sku): each for each in shortage.components}
    return [
        Shortage(
            line.sku,
            working.location_id,
            line.requested,
            line.available,
            _expected([levels[fold(sku)] for sku in line.components]),
            together=line.alone >= line.requested,
            components=tuple(units[fold(sku)]._replace(sku=levels[fold(sku)].sku) for sku in line.components),
        )
        for line in shortage.lines
    ]


def reserve(working: stock.Stock, command: Reserve, until: dt.datetime | None = None) -> Hold:
    """Holds all lines or nothing. INSUFFICIENT_STOCK lists every line that is short. until: None: by the ttl."""
    if short := shortages(working, command):
        raise InsufficientStock(lines=short)
    hold = Hold(
        command.hold_id,
        tuple(
            HoldLine(fold(sku), working.level(sku).sku, units, number, lot)
            for number, (sku, quantity) in enumerate(_plain(working, command.lines), command.first_line)
            for lot, units in stock_lots.for_channel(working, working.level(sku), quantity, command.channel)
        ),
        HoldState.ACTIVE,
        until or ends_at(working, command.ttl_seconds),
        command.order_ref,
        working.now,
        working.step.seq,
        fresh=True,
    )
    ref = ("reservation", working.hold_text(hold.id))
    for line in hold.lines:
        states = State.SELLABLE, State.RESERVED
        level = working.levels[line.key]
        working.move(line.key, level, *states, line.quantity, Reason.HOLD, ref, command.origin, line.lot)
        working.bucket(line, hold.expires_at)
    working.holds[hold.id] = hold
    working.new_holds.append(hold)
    return hold


def _plain(working: stock.Stock, lines: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """What lines ask of plain SKUs, one line a SKU."""
    if has_bundle(working, lines):
        return [(demand.sku, demand.quantity) for demand in working.bundles.demands(lines)]
    return _added_up(lines)


OfHold = Reserve | EndHold | ReduceHold
"""What is done to a hold at each of its locations."""


def check(working: stock.Stock, command: OfHold) -> list[Shortage]:
    """Whether a part of something larger can be done here: what is short; refusals of other kinds are raised."""
    match command:
        case Reserve():
            return shortages(working, command)
        case EndHold():
            check_end(working, command)
        case ReduceHold():
            check_reduction(working, command)
    return []


def hold(working: stock.Stock, command: OfHold, until: dt.datetime) -> Hold:
    """Does a part of something larger."""
    match command:
        case Reserve():
            return reserve(working, command, until)
        case EndHold():
            return end_hold(working, command, until)
        case ReduceHold():
            return reduce_hold(working, command)


def ends_at(working: stock.Stock, ttl_seconds: float) -> dt.datetime:
    """When a hold of so long ends."""
    return ceil_second(working.now + dt.timedelta(seconds=ttl_seconds))


def check_end(working: stock.Stock, command: EndHold) -> tuple[Hold, HoldState]:
    """The hold that a command may end, and its state now. RESERVATION_ENDED when it is not active any more."""
    hold = working.holds.get(command.hold_id)
    if hold is None:
        raise errors.NotFound("reservation")
    state = hold.state_at(working.now)
    giving_back = command.action == HoldState.RELEASED and state in (HoldState.RELEASED, HoldState.CONFIRMED)
    if state != HoldState.ACTIVE and not giving_back:
        raise ReservationEnded(state)
    return hold, state


def end_hold(working: stock.Stock, command: EndHold, until: dt.datetime | None = None) -> Hold:
    """Confirms, releases or extends (until: None: by the ttl). RESERVATION_ENDED when it is not active any more."""
    hold, state = check_end(working, command)
    if state == HoldState.RELEASED:
        return hold
    source = State.ALLOCATED if state == HoldState.CONFIRMED else State.RESERVED
    if command.action == HoldState.ACTIVE:
        _extend(working, hold, until or ends_at(working, command.ttl_seconds))
    elif command.action == HoldState.CONFIRMED:
        _end(working, hold, source, State.ALLOCATED, HoldState.CONFIRMED, Reason.HOLD_CONFIRMED, command.origin)
    else:
        _end(working, hold, source, State.SELLABLE, HoldState.RELEASED, Reason.HOLD_RELEASED, command.origin)
    return hold


def check_reduction(working: stock.Stock, command: ReduceHold) -> tuple[Hold, State]:
    """The hold that may be reduced, and where its units are. RESERVATION_ENDED; QUANTITY_BELOW_ZERO: it has fewer."""
    hold = working.holds.get(command.hold_id)
    if hold is None:
        raise errors.NotFound("reservation")
    state = hold.state_at(working.now)
    if state not in (HoldState.ACTIVE, HoldState.CONFIRMED):
        raise ReservationEnded(state)
    source = State.ALLOCATED if state == HoldState.CONFIRMED else State.RESERVED
    for sku, quantity in _added_up(command.lines):
        there = sum(line.quantity for line in hold.lines if line.key == fold(sku))
        if there < quantity:
            raise QuantityBelowZero(sku, source, there)
    return hold, source


def reduce_hold(working: stock.Stock, command: ReduceHold) -> Hold:
    """Gives units back, as if the hold had been made for fewer. RESERVATION_ENDED; QUANTITY_BELOW_ZERO: it has fewer.

    Of which nothing is left it stays in its state, and holds nothing.
    """
    hold, source = check_reduction(working, command)
    ref = ("reservation", working.hold_text(hold.id))
    left = list(hold.lines)
    for sku, quantity in command.lines:
        level = working.levels[fold(sku)]
        for line, units in _last_in(working, level, left, quantity):
            working.move(
                line.key, level, source, State.SELLABLE, units, Reason.HOLD_RELEASED, ref, command.origin, line.lot
            )
            if source == State.RESERVED:
                working.bucket(line._replace(quantity=units), hold.expires_at, -1)
            left[left.index(line)] = line._replace(quantity=line.quantity - units)
    if command.lines:
        hold.gone += tuple(line for line in left if not line.quantity)
        hold.lines = tuple(line for line in left if line.quantity)
        hold.resized = True
        working.changed_holds[hold.id] = hold
    return hold


def _last_in(
    working: stock.Stock, level: Level, lines: Sequence[HoldLine], quantity: int
) -> Iterator[tuple[HoldLine, int]]:
    """Which units of a SKU go back: those of lots that can't be sold any more, then what would have been taken last."""
    order = {lot.code: place for place, lot in enumerate(lots.in_order(level.lots.values()))}
    unfit = {code for code, lot in level.lots.items() if not lot.lives_until(working.now)}
    own = [line for line in lines if line.key == fold(level.sku) and line.quantity]
    own.sort(key=lambda line: (line.lot not in unfit, -order.get(line.lot, len(order)), -line.number))
    for line in own:
        units = min(line.quantity, quantity)
        if units:
            yield line, units
        quantity -= units


def _extend(working: stock.Stock, hold: Hold, until: dt.datetime) -> None:
    if until > hold.expires_at:
        for line in hold.lines:
            working.bucket(line, hold.expires_at, -1)
            working.bucket(line, until)
        hold.expires_at = until
        working.changed_holds[hold.id] = hold


def _end(
    working: stock.Stock, hold: Hold, source: State, target: State, state: HoldState, reason: Reason, origin: Origin
) -> None:
    ref = ("reservation", working.hold_text(hold.id))
    for line in hold.lines:
        level = working.levels[line.key]
        working.move(line.key, level, source, target, line.quantity, reason, ref, origin, line.lot)
        if source == State.RESERVED:
            working.bucket(line, hold.expires_at, -1)
    hold.state = state
    working.changed_holds[hold.id] = hold


def use_up(working: stock.Stock, hold: Hold) -> None:
    """Ends a hold whose units a sale, or a transfer, takes or gives back itworking."""
    if hold.state == HoldState.ACTIVE:
        for line in hold.lines:
            working.bucket(line, hold.expires_at, -1)
    hold.state = HoldState.CONSUMED
    working.changed_holds[hold.id] = hold


def _expected(levels: Sequence[Level]) -> dt.datetime | None:
    """When there is something of each to come; None when there isn't."""
    first = [min((i.eta for i in level.incoming), default=None) for level in levels]
    known = [eta for eta in first if eta is not None]
    return max(known) if len(known) == len(first) else None


def _added_up(lines: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """One line a SKU, in the spelling and at the place of its first one."""
    if len(lines) == 1:
        return list(lines)
    sums: dict[str, tuple[str, int]] = {}
    for sku, quantity in lines:
        spelling, so_far = sums.get(fold(sku), (sku, 0))
        sums[fold(sku)] = (spelling, so_far + quantity)
    return list(sums.values())
