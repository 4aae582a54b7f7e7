"""What documents do to the stock of a location: deliveries come in, units are expected, counts are corrected, transfers
leave, travel and arrive.

Documents were decided on before they come here, so nothing of this is refused for what the stock says by now. What
else may happen to stock is in stock.py.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence

from services.inventory.domain import lots, stock, stock_holds, stock_sales
from services.inventory.domain.commands import (
    ApplyVariances,
    Document,
    Done,
    EndHold,
    EndTransferHold,
    ExpectStock,
    LotMove,
    MoveInTransit,
    ReceiveStock,
    SaleLine,
    TransitMove,
    keys_of,
)
from services.inventory.domain.levels import (
    ExceptionKind,
    Hold,
    HoldState,
    Incoming,
    Level,
    Reason,
    State,
    fold,
)
from services.inventory.domain.stock_errors import SkuNotFound


def apply(working: stock.Stock, command: Document) -> Done:
    """Does it, in one step."""
    match command:
        case ReceiveStock():
            _receive(working, command)
        case ExpectStock():
            _expect(working, command)
        case ApplyVariances():
            return Done(superseded=_apply_variances(working, command))
        case EndTransferHold():
            _end_transfer_hold(working, command)
            return Done(lots=_lot_moves(working, command))
        case MoveInTransit():
            _move_in_transit(working, command)
            return Done(lots=_lot_moves(working, command))
    return Done()


def _lot_moves(working: stock.Stock, command: EndTransferHold | MoveInTransit) -> list[LotMove]:
    """Units of lots that the transfer itself moved. What is put aside as it comes refers to its lot."""
    return [
        LotMove(moved.sku, moved.lot, moved.from_state, moved.to_state, moved.quantity, moved.reason)
        for moved in working.step.movements
        if moved.lot and (moved.ref_type, moved.ref_id) == (command.ref_type, command.reference)
    ]


def check(working: stock.Stock, command: Document) -> None:
    """Whether all its SKUs are known, before a part of it is done somewhere. SKU_NOT_FOUND."""
    for key in keys_of(command, working.bundles):
        if working.find(key) is None:
            raise SkuNotFound(key)


def _receive(working: stock.Stock, command: ReceiveStock) -> None:
    levels = [working.level(sku) for sku, *_ in command.lines]  # all of them are known before one is touched
    came: dict[str, int] = {}
    ref = (command.ref_type, command.reference)
    for level, (_, state, quantity, lot) in zip(levels, command.lines, strict=True):
        key = fold(level.sku)
        working.move(key, level, State.EXTERNAL, state, quantity, command.reason, ref, command.origin, lot)
        came[key] = came.get(key, 0) + quantity
    for key, quantity in came.items():
        level = working.levels[key]
        entries = [i for i in level.incoming if i.reference == command.expected_under]
        _replace(working, level, command.expected_under, _less(entries, quantity))


def _less(entries: Sequence[Incoming], quantity: int) -> list[Incoming]:
    """What is still expected, the earliest entries used up first."""
    left = []
    for entry in sorted(entries, key=lambda each: each.eta):
        used = min(entry.quantity, quantity)
        quantity -= used
        if entry.quantity > used:
            left.append(entry._replace(quantity=entry.quantity - used))
    return left


def _expect(working: stock.Stock, command: ExpectStock) -> None:
    _set_expected(working, command.lines, command.reference)


def _set_expected(working: stock.Stock, lines: Sequence[tuple[str, int, dt.datetime | None]], reference: str) -> None:
    levels = [working.level(sku) for sku, *_ in lines]
    for level, (_, quantity, eta) in zip(levels, lines, strict=True):
        wanted = [Incoming(quantity, eta, reference)] if quantity and eta is not None else []
        _replace(working, level, reference, wanted)


def _replace(working: stock.Stock, level: Level, reference: str, wanted: Sequence[Incoming]) -> None:
    others = [entry for entry in level.incoming if entry.reference != reference]
    incoming = tuple(sorted((*others, *wanted), key=lambda entry: entry.eta))
    if incoming != level.incoming:
        level.incoming = incoming
        level.policy_changed = True
        working.step.touched[fold(level.sku)] = level


def _apply_variances(working: stock.Stock, command: ApplyVariances) -> list[str]:
    """Units appear in, or vanish from, what can be sold; below zero too, since what is gone is gone."""
    levels = [working.level(sku) for sku, *_ in command.lines]
    ref = (command.ref_type, command.reference)
    superseded = []
    for level, (_, delta, counted_at) in zip(levels, command.lines, strict=True):
        if level.observed_at is not None and level.observed_at > counted_at:
            superseded.append(level.sku)
            continue
        source, target = (State.EXTERNAL, State.SELLABLE) if delta > 0 else (State.SELLABLE, State.EXTERNAL)
        # A variance is as old as its count: a count of the same SKU that was taken later has it in what it expects.
        origin = dataclasses.replace(command.origin, occurred_at=counted_at)
        working.move_first_out(fold(level.sku), level, source, target, abs(delta), Reason.CYCLE_COUNT, ref, origin)
        if delta < 0 and level.free < 0:
            working.warn(ExceptionKind.OVERSOLD, level.sku, min(-delta, -level.free), ref)
        level.observed_at = counted_at
        level.policy_changed = True
    return superseded


def _end_transfer_hold(working: stock.Stock, command: EndTransferHold) -> None:
    """What was promised leaves whatever became of its hold meanwhile: a person may have given that back."""
    hold = working.holds.get(command.hold_id)
    state = hold.state_at(working.now) if hold is not None else None
    if command.action == HoldState.CONSUMED:
        ref = (command.ref_type, command.reference)
        lines = [SaleLine(*line) for line in command.lines if line[1]]
        stock_sales.take(working, lines, hold, stock_sales.Why(Reason.TRANSFER_OUT, ref, command.origin))
    elif command.action == HoldState.RELEASED and state not in (HoldState.ACTIVE, HoldState.CONFIRMED):
        return
    elif state != HoldState.ACTIVE and command.action == HoldState.CONFIRMED:
        if hold is not None and state != HoldState.CONFIRMED:
            _promise_again(working, command, hold)
    else:
        stock_holds.end_hold(
            working, EndHold(command.origin, command.hold_id, tuple(keys_of(command, working.bundles)), command.action)
        )


def _promise_again(working: stock.Stock, command: EndTransferHold, hold: Hold) -> None:
    """Nobody came in time to confirm the hold, and what it held may be gone: it is promised all the same."""
    ref = (command.ref_type, command.reference)
    for line in hold.lines:
        level = working.levels[line.key]
        working.move(
            line.key, level, State.SELLABLE, State.ALLOCATED, line.quantity, Reason.HOLD_CONFIRMED, ref, command.origin,
            line.lot,
        )  # fmt: skip
        if level.free < 0:
            working.warn(ExceptionKind.OVERSOLD, level.sku, min(line.quantity, -level.free), ref)
    hold.state = HoldState.CONFIRMED
    working.changed_holds[hold.id] = hold


def _move_in_transit(working: stock.Stock, command: MoveInTransit) -> None:
    check(working, command)
    own = {key: dict(units) for key, units in command.lots.items()}
    for move in command.moves:
        level = working.level(move.sku)
        of_sku = own.get(fold(move.sku), {})
        if move.source == State.IN_TRANSIT:
            _arrive(working, command, level, move, of_sku)
        elif move.target == State.IN_TRANSIT:
            _set_out(working, command, level, move, of_sku)
        else:
            _move(working, command, level, move, move.lot)
    _set_expected(working, command.expected, command.expected_under)


def _move(working: stock.Stock, command: MoveInTransit, level: Level, move: TransitMove, lot: str) -> None:
    ref = (command.ref_type, command.reference)
    working.move(
        fold(level.sku), level, move.source, move.target, move.quantity, move.reason, ref, command.origin, lot
    )  # fmt: skip


def _set_out(
    working: stock.Stock, command: MoveInTransit, level: Level, move: TransitMove, left: Mapping[str, int]
) -> None:
    """left: units of lots that have left the origin."""
    of_none = move.quantity
    for lot, units in left.items():
        if lot in level.lots:
            _move(working, command, level, move._replace(quantity=units), lot)
            of_none -= units
    if of_none:
        _move(working, command, level, move._replace(quantity=of_none), "")


def _arrive(working: stock.Stock, command: MoveInTransit, level: Level, move: TransitMove, own: dict[str, int]) -> None:
    """Units come, or are lost. What was sent as of one lot and is seen to be of another has been mistaken for it."""
    for lot, units in _off_the_road(level, move, own):
        if move.lot in ("", lot) or move.target == State.EXTERNAL:
            _move(working, command, level, move._replace(quantity=units), lot)
            continue
        seen = move._replace(quantity=units, reason=Reason.CORRECTION)
        _move(working, command, level, seen._replace(target=State.EXTERNAL), lot)
        _move(working, command, level, seen._replace(source=State.EXTERNAL), move.lot)


def _off_the_road(level: Level, move: TransitMove, own: dict[str, int]) -> list[tuple[str, int]]:
    """Which units of a transfer these are: (lot code, units), and what of them it has no more (own).

    Of the lot that was seen, then of those that end first, then of none. The last resort is for transfers that were on
    the road before their lots were kept: units of whatever lot is in transit to here.
    """
    first = sorted(lots.in_order(level.lots.values()), key=lambda lot: lot.code != move.lot)
    of_none = level.in_transit - sum(lot.in_transit for lot in first)
    sources = [
        *((lot.code, min(own.get(lot.code, 0), lot.in_transit)) for lot in first),
        ("", of_none),
        *((lot.code, lot.in_transit - min(own.get(lot.code, 0), lot.in_transit)) for lot in first),
    ]
    taken: dict[str, int] = {}
    left = move.quantity
    for code, there in sources:
        units = min(there, left)
        if units > 0:
            taken[code] = taken.get(code, 0) + units
            left -= units
    if left:
        taken[""] = taken.get("", 0) + left
    for code, units in taken.items():
        own[code] = max(own.get(code, 0) - units, 0)
    return list(taken.items())
