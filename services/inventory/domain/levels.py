"""What stock is made of: states, levels, movements, holds. Values only; stock.py says what may happen to them."""

from __future__ import annotations

import datetime as dt
import enum
import math
import types
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

INCOMING_MAX: Final = 50
"""Open documents of one SKU that a location may wait for: each is an entry of its level, which every sale reads."""


class State(enum.IntEnum):
    """Where units are. SELLABLE has no counter: it is what on_hand leaves."""

    EXTERNAL = 1
    SELLABLE = 2
    RESERVED = 3
    ALLOCATED = 4
    DAMAGED = 5
    QUALITY_CONTROL = 6
    EXPIRED = 7
    IN_TRANSIT = 8
    """On their way to the location: a counter of its level, but neither on hand nor available."""


class Reason(enum.IntEnum):
    """Why units moved, as in tillmesh.inventory.v1.MovementReason (those that the domain decides by itself)."""

    RECEIVED = 1
    SALE = 2
    CORRECTION = 4
    CYCLE_COUNT = 5
    EXPIRED = 10
    RECALL = 11
    HOLD = 14
    HOLD_RELEASED = 15
    HOLD_EXPIRED = 16
    HOLD_CONFIRMED = 17
    TRANSFER_OUT = 19
    TRANSFER_IN = 20
    TRANSFER_RECEIVED = 21
    LOST_IN_TRANSIT = 22


class HoldState(enum.IntEnum):
    """State of a reservation."""

    ACTIVE = 1
    CONFIRMED = 2
    RELEASED = 3
    EXPIRED = 4
    CONSUMED = 5


class ExceptionKind(enum.IntEnum):
    """What a person has to look at."""

    OVERSOLD = 1
    UNKNOWN_SKU = 2
    LEVEL_REBUILT = 3
    EXPIRED_LOT_SOLD = 4
    RECALLED_LOT_SOLD = 5
    LOT_OVERSOLD = 6


class AlertKind(enum.IntEnum):
    """What a level's thresholds tell, the most urgent first. NONE and the three after it are also a level's state."""

    NONE = 0
    OVERSOLD = 1
    OUT_OF_STOCK = 2
    LOW_STOCK = 3
    BACK_IN_STOCK = 4


class Alert(NamedTuple):
    """A level crossed a threshold."""

    kind: AlertKind
    sku: str
    available: int
    threshold: int


class Shortage(NamedTuple):
    """A line that can't be had in full."""

    sku: str
    location_id: str
    requested: int
    available: int
    next_available_at: dt.datetime | None
    alternatives: tuple[tuple[str, int], ...] = ()
    """Other locations that have units of it."""
    together: bool = False
    """It could be had by itself, but not along with the other lines that are short."""
    components: tuple[ShortUnits, ...] = ()
    """Of a bundle, and of what shares a plain SKU with one: the plain SKUs that are short."""


class ShortUnits(NamedTuple):
    """A plain SKU of which there are not enough."""

    sku: str
    requested: int
    available: int


class Stale(NamedTuple):
    """A count whose expectation doesn't hold."""

    sku: str
    expected_on_hand: int
    on_hand: int


class Incoming(NamedTuple):
    """Units that are expected."""

    quantity: int
    eta: dt.datetime
    reference: str


class Movement(NamedTuple):
    """A line of the ledger."""

    seq: int
    line: int
    sku: str
    from_state: int
    to_state: int
    quantity: int
    reason: int
    ref_type: str
    ref_id: str
    actor: str
    terminal: str
    occurred_at: dt.datetime
    lot: str = ""
    """Its code; empty: units of no lot."""


@dataclass(slots=True)
class Units:
    """Units of a SKU at the location by state: all (Level), or those of a lot (LotStock). Only Stock changes them."""

    sku: str
    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0
    damaged: int = 0
    quality_control: int = 0
    expired: int = 0
    in_transit: int = 0

    @property
    def unsellable(self) -> int:
        """Units that are there and can't be sold."""
        return self.damaged + self.quality_control + self.expired

    @property
    def free(self) -> int:
        """Units that nobody was promised. Below zero: oversold."""
        return self.on_hand - self.reserved - self.allocated - self.damaged - self.quality_control - self.expired

    def move(self, source: int, target: int, quantity: int) -> None:
        """Double entry: takes from one state, adds to another. What comes from outside, or off the road, is on hand."""
        self._add(source, -quantity)
        self._add(target, quantity)

    def _add(self, state: int, quantity: int) -> None:
        if state == State.EXTERNAL:
            self.on_hand -= quantity
        elif state == State.RESERVED:
            self.reserved += quantity
        elif state == State.ALLOCATED:
            self.allocated += quantity
        elif state == State.DAMAGED:
            self.damaged += quantity
        elif state == State.QUALITY_CONTROL:
            self.quality_control += quantity
        elif state == State.EXPIRED:
            self.expired += quantity
        elif state == State.IN_TRANSIT:
            self.in_transit += quantity
            self.on_hand -= quantity

    def in_state(self, state: int) -> int:
        """Units in a state that the location has; SELLABLE counts what is physically fit to sell, promised or not."""
        if state == State.SELLABLE:
            return self.on_hand - self.unsellable
        return int(getattr(self, State(state).name.lower()))


@dataclass(slots=True)
class LotStock(Units):
    """The units of a lot of a SKU."""

    code: str = ""
    sell_until: dt.datetime | None = None
    """Not sellable from then on; None: never."""
    recalled_at: dt.datetime | None = None

    def retired_to(self, now: dt.datetime) -> State | None:
        """Where its units belong that nobody was promised; None: it may be sold."""
        if self.recalled_at is not None:
            return State.QUALITY_CONTROL
        return State.EXPIRED if self.sell_until is not None and self.sell_until <= now else None

    def lives_until(self, until: dt.datetime) -> bool:
        """Whether it can be sold until then."""
        return self.recalled_at is None and (self.sell_until is None or self.sell_until > until)

    def takable(self, state: int, until: dt.datetime) -> int:
        """Units that may be taken from a state; of SELLABLE only free ones, if the lot can be sold until then."""
        if state == State.SELLABLE:
            return self.free if self.lives_until(until) else 0
        return self.in_state(state)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is there any more, in any state."""
        return not any(getattr(self, name) for name in Counters._fields)


_NO_LOTS: Mapping[str, LotStock] = types.MappingProxyType({})


def _no_lots() -> Mapping[str, LotStock]:
    return _NO_LOTS


@dataclass(slots=True)
class Level(Units):
    """The stock of a SKU at the location."""

    safety_stock: int = 0
    backorder_limit: int = 0
    incoming: tuple[Incoming, ...] = ()
    version: int = 0
    observed_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    fresh: bool = False
    """Not in the database yet."""
    policy_changed: bool = False
    low_stock_threshold: int | None = None
    """At or below it available is low. None: nobody wants to be told."""
    rearm_threshold: int | None = None
    """Above it an alert is over."""
    alert: int = AlertKind.NONE
    """The worst that was raised since available was last above rearm_threshold."""
    has_lots: bool = False
    """Some of its units are of lots, as the database has it."""
    lots: Mapping[str, LotStock] = field(default_factory=_no_lots)
    """Its lots by code, where they were asked for: those with units, and those that a command names."""

    @property
    def available(self) -> int:
        """The one formula; store/ has it in SQL and tests hold them equal."""
        return self.free - self.safety_stock

    def expected_by(self, at: dt.datetime) -> int:
        """What is available and what is to come until then. A delivery that is late is still expected."""
        return self.available + sum(delivery.quantity for delivery in self.incoming if delivery.eta <= at)


class HoldLine(NamedTuple):
    """Units of a SKU in a hold, of one lot or of none. number: among the lines of the hold, over all its locations."""

    key: str
    sku: str
    quantity: int
    number: int
    lot: str = ""


@dataclass(slots=True)
class Hold:
    """A reservation, as far as it lies at one location."""

    id: uuid.UUID
    lines: tuple[HoldLine, ...]
    state: HoldState
    expires_at: dt.datetime
    order_ref: str
    created_at: dt.datetime
    created_seq: int
    fresh: bool = False
    gone: tuple[HoldLine, ...] = ()
    """Lines of which nothing is left: they were given back one by one, not with the hold."""
    resized: bool = False
    """Its lines are not those in the database."""

    def state_at(self, now: dt.datetime) -> HoldState:
        """ACTIVE becomes EXPIRED by the clock alone: no row is touched when a hold runs out."""
        return HoldState.EXPIRED if self.state == HoldState.ACTIVE and self.expires_at <= now else self.state


class Counters(NamedTuple):
    """The units of a SKU by state, as the ledger adds up. In the order of a level's own."""

    on_hand: int = 0
    reserved: int = 0
    allocated: int = 0
    damaged: int = 0
    quality_control: int = 0
    expired: int = 0
    in_transit: int = 0


class RaisedException(NamedTuple):
    """An exception for a person."""

    id: uuid.UUID
    kind: ExceptionKind
    sku: str
    quantity: int
    ref_type: str
    ref_id: str
    lot: str = ""


@dataclass(slots=True)
class Step:
    """What one command did."""

    seq: int
    touched: dict[str, Level] = field(default_factory=dict)
    movements: list[Movement] = field(default_factory=list)
    exceptions: list[RaisedException] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)


def fold(sku: str) -> str:
    """The form in which SKUs are compared."""
    return sku.lower()


def ceil_second(at: dt.datetime) -> dt.datetime:
    """The next whole second: holds that end within a second share a bucket."""
    return at if not at.microsecond else at.replace(microsecond=0) + dt.timedelta(seconds=1)


def ttl_remaining(expires_at: dt.datetime, now: dt.datetime) -> float:
    """Seconds left, at least 0, in whole milliseconds."""
    return max(0.0, math.floor((expires_at - now).total_seconds() * 1000) / 1000)
