"""The steps of a transfer that move stock: made ready, shipped, received in parts, closed, cancelled."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inventory.domain import catalog, commands, transitions
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import levels as values
from services.inventory.domain import transfers as domain
from services.inventory.domain.commands import TransitMove as Move
from services.inventory.domain.levels import Reason
from services.inventory.domain.levels import State as StockState
from services.inventory.domain.lots import LotDraft
from services.inventory.domain.transfers import By, EventKind, EventLine, Line, State, Step, Told, Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """What leaves: SKU, units; none named: all that is ready. shipped_at None: now."""

    lines: tuple[tuple[str, int], ...] = ()
    expected_at: dt.datetime | None = None
    shipped_at: dt.datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What came, by what became of it. received_at None: now. lots: SKU, and what is said of a lot of it."""

    lines: tuple[EventLine, ...]
    lots: tuple[tuple[str, LotDraft], ...] = ()
    received_at: dt.datetime | None = None
    note: str = ""


def check_ready(transfer: Transfer, crowded: Collection[str], expected_version: int) -> None:
    """Whether a transfer may be made ready. VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST lists what is wrong.

    crowded: folded SKUs that the destination waits for in too many documents.
    """
    catalog.check_version(transfer.version, expected_version)
    transitions.check(domain.MOVES, transfer.state, State.READY)
    wrong = catalog.Violations("transfer")
    if not transfer.lines:
        wrong.add("lines", "has none")
    for index, line in enumerate(transfer.lines):
        if codes.sku_key(line.sku) in crowded:
            wrong.add(f"lines[{index}].sku", f"is incoming in {values.INCOMING_MAX} open documents of the destination")
    wrong.refuse()


def ready(transfer: Transfer, hold_id: uuid.UUID, crowded: Collection[str], by: By) -> Step:
    """DRAFT to READY: what a hold has is promised. As check_ready."""
    check_ready(transfer, crowded, by.expected_version)
    step = domain.taken(transfer, EventKind.READY, by, {"state": State.READY, "hold_id": hold_id})
    return domain.telling(step, _hold(step, values.HoldState.CONFIRMED, by.origin))


def _hold(step: Step, action: values.HoldState, origin: commands.Origin) -> Told:
    """What becomes of the units at the origin. Sent: those shipped."""
    transfer, event = step.transfer, step.event
    assert transfer.hold_id is not None  # made ready before
    sent = action == values.HoldState.CONSUMED
    lines = tuple((line.sku, line.shipped if sent else line.quantity) for line in transfer.lines)
    command = commands.EndTransferHold(
        origin, transfer.hold_id, action, lines, event.reference(transfer), domain.REF_TYPE
    )
    return Told(transfer.from_location_id, command)


def ship(transfer: Transfer, shipment: Shipment, by: By) -> Step:
    """READY to IN_TRANSIT. VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""
    catalog.check_version(transfer.version, by.expected_version)
    state = transitions.check(domain.MOVES, transfer.state, State.IN_TRANSIT)
    expected_at = shipment.expected_at or transfer.expected_at
    units = _shipped(transfer, shipment, expected_at)
    origin = by.at(shipment.shipped_at)
    lines = tuple(dataclasses.replace(x, shipped=units[codes.sku_key(x.sku)]) for x in transfer.lines)
    changes = {"state": state, "lines": lines, "expected_at": expected_at, "shipped_at": origin.occurred_at}
    told = tuple(EventLine(sku=x.sku, shipped=x.shipped) for x in lines if x.shipped)
    step = domain.taken(
        transfer, EventKind.SHIPPED, by, changes, lines=told, note=shipment.note, occurred_at=origin.occurred_at
    )
    moves = [Move(x.sku, StockState.EXTERNAL, StockState.IN_TRANSIT, x.shipped, Reason.TRANSFER_IN) for x in told]
    sent = _hold(step, values.HoldState.CONSUMED, origin)
    return domain.telling(step, sent, _transit(step, moves, [x.sku for x in told], origin))


def _shipped(transfer: Transfer, shipment: Shipment, expected_at: dt.datetime | None) -> Mapping[str, int]:
    """Units that leave, by folded SKU, of every line. INVALID_REQUEST."""
    wrong = catalog.Violations("")
    wrong.check_texts(note=shipment.note)
    ready = {codes.sku_key(line.sku): line.quantity for line in transfer.lines}
    keys = [codes.sku_key(sku) for sku, _ in shipment.lines]
    for index in catalog.duplicates(keys):
        wrong.add(f"lines[{index}].sku", "has a line already")
    _check_known(wrong, keys, ready)
    for index, (key, (_, units)) in enumerate(zip(keys, shipment.lines, strict=True)):
        if units > ready.get(key, units):
            wrong.add(f"lines[{index}].quantity", f"is more than the {ready[key]} that are ready")
    if expected_at is None:
        wrong.add("expected_at", "is needed to ship")
    if keys and not any(units for _, units in shipment.lines):
        wrong.add("lines", "has no unit")
    wrong.refuse()
    named = {key: units for key, (_, units) in zip(keys, shipment.lines, strict=True)}
    return dict.fromkeys(ready, 0) | named if named else ready


def _check_known(wrong: catalog.Violations, keys: Sequence[str], known: Collection[str]) -> None:
    for index, key in enumerate(keys):
        if key not in known:
            wrong.add(f"lines[{index}].sku", "is not in the transfer")


def receive(transfer: Transfer, receipt: Receipt, by: By) -> Step:
    """To PARTIALLY_RECEIVED or RECEIVED. VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""
    catalog.check_version(transfer.version, by.expected_version)
    transitions.check(domain.MOVES, transfer.state, State.PARTIALLY_RECEIVED)
    came = _came(transfer, receipt)
    lines = tuple(_add(line, came) for line in transfer.lines)
    origin = by.at(receipt.received_at)
    step = domain.taken(
        transfer,
        EventKind.RECEIVED,
        by,
        {"lines": lines, **_state(transfer, lines, by)},
        lines=came,
        note=receipt.note,
        occurred_at=origin.occurred_at,
    )
    return domain.telling(step, _transit(step, _moves(came), {line.sku for line in came}, origin))


def _came(transfer: Transfer, receipt: Receipt) -> tuple[EventLine, ...]:
    """What came, in the transfer's spelling, with its surplus. INVALID_REQUEST.

    Lines that name a lot come first: who looked says more than who counted.
    """
    wrong = catalog.Violations("")
    wrong.check_texts(note=receipt.note)
    known = {codes.sku_key(line.sku): line for line in transfer.lines}
    keys = [codes.sku_key(line.sku) for line in receipt.lines]
    for index in catalog.duplicates([(key, line.lot) for key, line in zip(keys, receipt.lines, strict=True)]):
        wrong.add(f"lines[{index}].sku", "has a line already")
    _check_known(wrong, keys, known)
    wrong.refuse()
    left = {key: line.outstanding for key, line in known.items()}
    surplus: dict[int, int] = {}
    in_turn = sorted(range(len(keys)), key=lambda index: not receipt.lines[index].lot)
    for index in in_turn:
        received = receipt.lines[index].received
        surplus[index] = max(received - left[keys[index]], 0)
        left[keys[index]] -= received - surplus[index]
    for index, line in enumerate(receipt.lines):
        if line.lost > left[keys[index]]:
            wrong.add(f"lines[{index}].lost", f"is more than the {left[keys[index]]} that are still in transit")
        left[keys[index]] = max(left[keys[index]] - line.lost, 0)
    wrong.refuse()
    return tuple(
        dataclasses.replace(line, sku=known[key].sku, surplus=surplus[index])
        for index, (key, line) in enumerate(zip(keys, receipt.lines, strict=True))
    )


def _add(line: Line, came: Sequence[EventLine]) -> Line:
    of_it = [of for of in came if of.sku == line.sku]
    counted = ("received", "damaged", "quality_control", "lost", "surplus")
    sums = {name: getattr(line, name) + sum(getattr(of, name) for of in of_it) for name in counted}
    return dataclasses.replace(line, **sums) if of_it else line


def _state(transfer: Transfer, lines: Sequence[Line], by: By) -> Mapping[str, Any]:
    over = not any(line.outstanding for line in lines)
    state = transitions.check(domain.MOVES, transfer.state, State.RECEIVED if over else State.PARTIALLY_RECEIVED)
    return {"state": state, "ended_at": by.now} if over else {"state": state}


def _moves(lines: Sequence[EventLine]) -> list[Move]:
    """What came, then what is lost; of each, first what somebody has seen the lot of."""
    in_turn = sorted(lines, key=lambda line: not line.lot)
    lost = [
        Move(line.sku, StockState.IN_TRANSIT, StockState.EXTERNAL, line.lost, Reason.LOST_IN_TRANSIT, line.lot)
        for line in in_turn
        if line.lost
    ]
    return [*(move for line in in_turn for move in _arrivals(line)), *lost]


def _arrivals(line: EventLine) -> list[Move]:
    """Out of transit as far as units were sent; what came beyond that comes from outside."""
    moves: list[Move] = []
    sent = line.received - line.surplus
    for state, units in (
        (StockState.SELLABLE, line.accepted),
        (StockState.DAMAGED, line.damaged),
        (StockState.QUALITY_CONTROL, line.quality_control),
    ):
        from_transit = min(units, sent)
        sent -= from_transit
        if from_transit:
            moves.append(
                Move(line.sku, StockState.IN_TRANSIT, state, from_transit, Reason.TRANSFER_RECEIVED, line.lot)
            )  # fmt: skip
        if units > from_transit:
            moves.append(Move(line.sku, StockState.EXTERNAL, state, units - from_transit, Reason.TRANSFER_IN, line.lot))
    return moves


def _transit(step: Step, moves: Sequence[Move], skus: Collection[str], origin: commands.Origin) -> Told:
    """What happens at the destination. skus: those whose expectation is set anew."""
    transfer = step.transfer
    expected = [(x.sku, x.outstanding, transfer.expected_at) for x in transfer.lines if x.sku in skus]
    reference = step.event.reference(transfer)
    leaves = any(move.target == StockState.IN_TRANSIT for move in moves)
    sent_from = transfer.from_location_id if leaves else None
    command = commands.MoveInTransit(
        origin, tuple(moves), reference, domain.REF_TYPE, tuple(expected), transfer.name, sent_from
    )
    return Told(transfer.to_location_id, command)


def close(transfer: Transfer, reason: str, by: By) -> Step:
    """What is still in transit is lost. VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""
    catalog.check_version(transfer.version, by.expected_version)
    state = transitions.check(domain.MOVES, transfer.state, State.RECEIVED)
    gone = tuple(EventLine(sku=line.sku, lost=line.outstanding) for line in transfer.lines if line.outstanding)
    lines = tuple(dataclasses.replace(line, lost=line.lost + line.outstanding) for line in transfer.lines)
    step = _ended(transfer, EventKind.CLOSED, state, reason, by, lines=lines, gone=gone)
    return domain.telling(step, _transit(step, _moves(gone), {line.sku for line in gone}, by.origin))


def cancel(transfer: Transfer, reason: str, by: By) -> Step:
    """DRAFT or READY to CANCELLED. VERSION_MISMATCH, ILLEGAL_TRANSITION, INVALID_REQUEST."""
    catalog.check_version(transfer.version, by.expected_version)
    state = transitions.check(domain.MOVES, transfer.state, State.CANCELLED)
    step = _ended(transfer, EventKind.CANCELLED, state, reason, by, lines=transfer.lines)
    if transfer.state == State.DRAFT:
        return step
    return domain.telling(step, _hold(step, values.HoldState.RELEASED, by.origin))


def _ended(
    transfer: Transfer,
    kind: EventKind,
    state: State,
    reason: str,
    by: By,
    *,
    lines: tuple[Line, ...],
    gone: tuple[EventLine, ...] = (),
) -> Step:
    wrong = catalog.Violations("")
    wrong.check_texts(reason=reason)
    wrong.refuse()
    changes = {"state": state, "lines": lines, "end_reason": reason, "ended_at": by.now}
    return domain.taken(transfer, kind, by, changes, lines=gone, note=reason)
