"""What can be asked of the stock of a location."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.inventory.domain.bundles import Bundles
from services.inventory.domain.levels import Counters, HoldState, Incoming, fold
from services.kit import errors


class EventAhead(errors.Error):
    """An event came before one that it follows. Its consumer waits; no caller ever sees this."""

    reason = "CONFLICT"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked, and when it happened there; None: now."""

    actor: str
    terminal: str = ""
    occurred_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Reserve:
    """Holds all lines or nothing. first_line: number of the first one, in a hold that lies at several locations."""

    origin: Origin
    hold_id: uuid.UUID
    lines: tuple[tuple[str, int], ...]
    """SKU as the caller spells it, quantity."""
    ttl_seconds: float
    order_ref: str = ""
    first_line: int = 1
    for_sale: bool = True
    """False: for another location. Then it may be closed, and nothing is promised that isn't there."""
    channel: str = ""
    """What it is for, which says how long lots must live yet; empty: any may be held that may be sold."""


@dataclass(frozen=True, slots=True)
class EndHold:
    """Confirms, releases or extends a hold. keys: the folded SKUs of its lines, which never change."""

    origin: Origin
    hold_id: uuid.UUID
    keys: tuple[str, ...]
    action: HoldState
    """CONFIRMED or RELEASED; ACTIVE extends."""
    ttl_seconds: float = 0


@dataclass(frozen=True, slots=True)
class ReduceHold:
    """Gives a part of a hold back, or of what was allocated: all lines or none."""

    origin: Origin
    hold_id: uuid.UUID
    lines: tuple[tuple[str, int], ...]
    """Plain SKUs as the hold lists them, and units; none: nothing here."""


@dataclass(frozen=True, slots=True)
class Adjust:
    """Adds or removes units."""

    origin: Origin
    sku: str
    delta: int
    reason: int
    reference: str = ""
    ref_type: str = "reference"
    lot: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """What was counted of a SKU, or of a lot of it. expected None: forced, or the newest observation wins.

    by_lot: without a lot, it was counted of those units that are of none.
    """

    sku: str
    on_hand: int
    expected: int | None
    newest_wins: bool = False
    lot: str = ""
    by_lot: bool = False


@dataclass(frozen=True, slots=True)
class SetCounts:
    """Sets what was counted, all lines or none."""

    origin: Origin
    counts: tuple[Count, ...]
    reason: int
    reference: str = ""
    ref_type: str = "count"


@dataclass(frozen=True, slots=True)
class Move:
    """Moves units between states that are on hand."""

    origin: Origin
    sku: str
    from_state: int
    to_state: int
    quantity: int
    reason: int
    reference: str = ""
    lot: str = ""


@dataclass(frozen=True, slots=True)
class Assign:
    """Says that free units are of another lot; an empty code: of none."""

    origin: Origin
    sku: str
    from_lot: str
    to_lot: str
    quantity: int
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What to do with a level's thresholds. None within: clear it, or for rearm the default."""

    sets_low: bool
    low: int | None
    rearm: int | None


@dataclass(frozen=True, slots=True)
class SetPolicy:
    """Edits what governs availability; None leaves a part."""

    origin: Origin
    sku: str
    safety_stock: int | None
    backorder_limit: int | None
    incoming: tuple[Incoming, ...] | None
    expected_version: int = 0
    thresholds: Thresholds | None = None


@dataclass(frozen=True, slots=True)
class Expire:
    """Lets what is due on these SKUs end. The batch does that before anything else, so nothing is left to decide."""

    keys: tuple[str, ...]


class SaleLine(NamedTuple):
    """Units of a SKU that were sold. lot: as it was scanned; empty: nobody looked."""

    sku: str
    quantity: int
    lot: str = ""


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale that has happened. hold_keys: folded SKUs of the reservation it uses up."""

    order_id: str
    lines: tuple[SaleLine, ...]
    origin: Origin
    hold_id: uuid.UUID | None = None
    hold_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplySales:
    """The sales of one event, applied once: the consumer's cursor of the key moves in the same transaction."""

    consumer: str
    epoch: int
    seq_from: int
    seq_to: int
    sales: tuple[Sale, ...]


class Receipt(NamedTuple):
    """Units that come in, and the state they enter."""

    sku: str
    state: int
    quantity: int
    lot: str = ""


@dataclass(frozen=True, slots=True)
class ReceiveStock:
    """Takes units in, several SKUs into several states, all or none. What was expected of them shrinks by as much."""

    origin: Origin
    lines: tuple[Receipt, ...]
    reason: int
    ref_type: str
    reference: str
    expected_under: str
    """Reference of the incoming entries that shrink."""


@dataclass(frozen=True, slots=True)
class ExpectStock:
    """Sets what is incoming under one reference, a quantity and a time a SKU; entries of other references stay."""

    reference: str
    lines: tuple[tuple[str, int, dt.datetime | None], ...]
    """SKU, quantity, when; 0 units: nothing is expected any more."""


@dataclass(frozen=True, slots=True)
class ApplyVariances:
    """Adds what a count found to be different, as deltas, unless a later observation is in the stock already."""

    origin: Origin
    lines: tuple[tuple[str, int, dt.datetime], ...]
    """SKU, difference, when it was counted."""
    reference: str
    ref_type: str = "count"


@dataclass(frozen=True, slots=True)
class EndTransferHold:
    """Turns the hold of a transfer into what became of it, at the origin."""

    origin: Origin
    hold_id: uuid.UUID
    action: HoldState
    """CONFIRMED: promised; CONSUMED: sent; RELEASED: given back."""
    lines: tuple[tuple[str, int], ...]
    """Every SKU of the hold. Sent: so many units of it; what is left of the hold is given back."""
    reference: str
    ref_type: str


class TransitMove(NamedTuple):
    """Units into, or out of, transit. lot: what they were seen to be of, at their arrival; empty: nobody looked."""

    sku: str
    source: int
    target: int
    quantity: int
    reason: int
    lot: str = ""


@dataclass(frozen=True, slots=True)
class MoveInTransit:
    """Moves units of a transfer into, or out of, transit at the destination; what is expected there is set anew."""

    origin: Origin
    moves: tuple[TransitMove, ...]
    reference: str
    ref_type: str
    expected: tuple[tuple[str, int, dt.datetime | None], ...]
    """SKU, quantity, when, of what is still on its way."""
    expected_under: str
    sent_from: uuid.UUID | None = None
    """Where units that are sent now leave, in the same transaction: they are of the lots that leave there."""
    lots: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    """Lots by folded SKU (code, units): of what is sent, once it has left; of what arrives, those that its transfer
    still has on the road. Units beyond them are of none."""


class LotMove(NamedTuple):
    """Units of a lot that a transfer moved."""

    sku: str
    lot: str
    source: int
    target: int
    quantity: int
    reason: int


class Done(NamedTuple):
    """What a document did. superseded: SKUs of variances that a later observation has overtaken."""

    superseded: Sequence[str] = ()
    lots: Sequence[LotMove] = ()


Document = ReceiveStock | ExpectStock | ApplyVariances | EndTransferHold | MoveInTransit
"""What documents do to the stock (stock_documents.py). None of them is ever refused: a document is a fact."""
Spreadable = Reserve | EndHold | ReduceHold | Document
"""What may be done at several locations at once: parts of one hold, or of one document."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Sets levels and their lots to what the ledger says, over all that is committed: by folded SKU, and by lot."""

    sums: Mapping[str, Counters]
    lot_sums: Mapping[tuple[str, str], Counters] = field(default_factory=dict)


Command = (
    Assign
    | Rebuild
    | Reserve
    | EndHold
    | ReduceHold
    | Adjust
    | SetCounts
    | Move
    | SetPolicy
    | Expire
    | ApplySales
    | Document
)


def keys_of(command: Command, bundles: Bundles) -> Iterable[str]:
    """Folded SKUs whose levels a command needs: of bundles, those of what they come to."""
    match command:
        case Reserve():
            return bundles.keys(command.lines)
        case EndHold() | Expire():
            return command.keys
        case Rebuild():
            return command.sums
        case SetCounts():
            return [fold(count.sku) for count in command.counts]
        case ApplySales():
            sold = [(line.sku, line.quantity) for sale in command.sales for line in sale.lines]
            return [*bundles.keys(sold), *(key for sale in command.sales for key in sale.hold_keys)]
        case MoveInTransit():
            return [fold(line[0]) for line in command.moves] + [fold(line[0]) for line in command.expected]
        case ReduceHold() | ReceiveStock() | ExpectStock() | ApplyVariances() | EndTransferHold():
            return [fold(sku) for sku, *_ in command.lines]
        case _:
            return (fold(command.sku),)


def holds_of(command: Command) -> Sequence[uuid.UUID]:
    """Holds that a command needs."""
    match command:
        case EndHold() | ReduceHold() | EndTransferHold():
            return (command.hold_id,)
        case ApplySales():
            return [sale.hold_id for sale in command.sales if sale.hold_id]
        case _:
            return ()


def lots_of(command: Command) -> Iterable[tuple[str, str]]:
    """Lots that a command names: folded SKU, code."""
    match command:
        case Adjust() | Move():
            return [(fold(command.sku), command.lot)] if command.lot else ()
        case Assign():
            return [(fold(command.sku), code) for code in (command.from_lot, command.to_lot) if code]
        case SetCounts():
            return [(fold(count.sku), count.lot) for count in command.counts if count.lot]
        case ReceiveStock():
            return [(fold(line.sku), line.lot) for line in command.lines if line.lot]
        case MoveInTransit():
            return [(fold(move.sku), move.lot) for move in command.moves if move.lot]
        case ApplySales():
            return [(fold(line.sku), line.lot) for sale in command.sales for line in sale.lines if line.lot]
        case Rebuild():
            return command.lot_sums
        case _:
            return ()
