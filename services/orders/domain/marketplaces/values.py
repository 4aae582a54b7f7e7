"""What there is: connections, orders of marketplaces, what is told back. Amounts count the currency's smallest unit."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass

from services.kit import errors

PAYOUT_DAYS_MAX = 366


class Kind(enum.IntEnum):
    """Which marketplace; numbers of the contract."""

    EBAY = 1


class ConnectionState(enum.IntEnum):
    """Whether a connection works; numbers of the contract."""

    ACTIVE = 1
    PAUSED = 2


class State(enum.IntEnum):
    """What became of a marketplace's order here; numbers of the contract."""

    RECEIVED = 1  # to be placed
    PLACED = 2
    HELD = 3  # it can't be placed: a person decides
    REJECTED = 4  # decided: the marketplace is told
    CANCELLED = 5  # there and here, or there before it was placed here
    COMPLETED = 6  # nothing is left to be told


#: From these nothing leads on.
ENDED = frozenset({State.CANCELLED, State.COMPLETED})


class Problem(enum.IntEnum):
    """What a person has to look at; numbers of the contract. What to do stands there."""

    NONE = 0
    SKU_UNKNOWN = 1
    OUT_OF_STOCK = 2
    CURRENCY_DIFFERS = 3
    AMOUNTS_DIFFER = 4
    REFUSED = 5  # by a rule of ours; the detail is its reason
    UNREADABLE = 6
    CANCEL_REQUESTED = 7  # the buyer asks for it
    CANCELLED_THERE = 8  # and work on it has begun here
    CHANGED_THERE = 9  # after it was placed here
    STATUS_REFUSED = 10  # the marketplace won't hear what we tell of it


class Cancel(enum.IntEnum):
    """What the marketplace says of a cancellation."""

    NONE = 0
    REQUESTED = 1
    DONE = 2


class StatusKind(enum.IntEnum):
    """What a marketplace is told of its order; numbers of the contract."""

    ACCEPTED = 1
    CANCELLED = 2
    SHIPPED = 3


class CancelWhy(enum.IntEnum):
    """Why an order can't be had, as marketplaces ask; numbers of the contract."""

    OUT_OF_STOCK = 1
    BUYER_ASKED = 2
    ADDRESS = 3


class CurrencyDiffers(errors.Error):
    """The order is in another currency than the location where it is sold."""

    reason = "CURRENCY_MISMATCH"

    def __init__(self, expected: str) -> None:
        super().__init__(metadata={"expected": expected})


class AmountsDiffer(Exception):
    """The parts of an order don't add up to what the marketplace says it comes to."""

    def __init__(self, parts: int, total: int) -> None:
        super().__init__(f"{parts} and {total}")
        self.parts = parts
        self.total = total


class Ended(errors.Error):
    """Nothing can be done any more with this order of a marketplace."""

    reason = "ILLEGAL_TRANSITION"

    def __init__(self, state: State, to: State) -> None:
        allowed = " ".join(each.name for each in (State.RECEIVED, State.REJECTED) if state is State.HELD)
        super().__init__(metadata={"from": state.name, "to": to.name, "allowed": allowed})


@dataclass(frozen=True, slots=True)
class Part:
    """A tax, by its name."""

    name: str
    amount: int


@dataclass(frozen=True, slots=True)
class Line:
    """Units of a listing. ref: the marketplace's id of the line; net_amount: after discounts, without added taxes.

    taxes: added to it, and ours to remit. collected: what the marketplace took from the buyer and remits itself
    (a facilitator's tax): no part of what it owes us.
    """

    ref: str
    sku: str
    title: str
    quantity: int
    net_amount: int
    discount: int = 0
    taxes: tuple[Part, ...] = ()
    collected: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order as a marketplace tells it, without anything about the buyer but the country that it goes to.

    total: what it comes to for the seller: lines, shipping, the taxes that are ours to remit, and what was changed
    afterwards (adjustment, which may be negative).
    """

    number: str
    ordered_at: dt.datetime
    modified_at: dt.datetime
    currency_code: str
    lines: tuple[Line, ...]
    shipping: int
    total: int
    country_code: str
    adjustment: int = 0
    paid_at: dt.datetime | None = None
    shipping_service: str = ""
    cancel: Cancel = Cancel.NONE

    def same_goods(self, other: Ordered) -> bool:
        """Whether the same is ordered for the same money."""
        return (self.lines, self.shipping, self.adjustment) == (other.lines, other.shipping, other.adjustment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A tenant's account at a marketplace. name: unique in the tenant; account: of the secrets (configured.py).

    location_id: where its orders count as sold; stock_locations: whose stock is offered, and sent from. buffer: units
    of each SKU that are not offered. cancel_after: how long an order that can't be placed waits for a person; None:
    for ever.
    cursor_at: all that the marketplace modified before is here.
    """

    id: uuid.UUID
    kind: Kind
    name: str
    account: str
    state: ConnectionState
    location_id: uuid.UUID
    stock_locations: tuple[uuid.UUID, ...]
    buffer: int
    cancel_after: dt.timedelta | None
    cursor_at: dt.datetime
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    version: int = 1
    watch_token: str = ""
    health: Health | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How a connection works. failure: the last one, empty after a success; failures: in a row."""

    success_at: dt.datetime | None = None
    failed_at: dt.datetime | None = None
    failure: str = ""
    failures: int = 0
    throttled_until: dt.datetime | None = None
    listed_at: dt.datetime | None = None
    problems: int = 0
    waiting: int = 0
    unsent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A marketplace's order as it is kept here. content None: it could not be read. detail: of the problem."""

    connection_id: uuid.UUID
    number: str
    state: State
    content: Ordered | None
    modified_at: dt.datetime
    customer_id: uuid.UUID | None = None
    address_id: uuid.UUID | None = None
    order_id: uuid.UUID | None = None
    problem: Problem = Problem.NONE
    detail: str = ""
    attempts: int = 0
    received_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Shipment:
    """A package. lines: (the marketplace's id of a line, units); carrier and tracking are there both or neither."""

    lines: tuple[tuple[str, int], ...]
    shipped_at: dt.datetime
    carrier: str = ""
    tracking: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Something that a marketplace is told of its order. key: of the package; empty of what happens once."""

    number: str
    kind: StatusKind
    key: str = ""
    why: CancelWhy = CancelWhy.OUT_OF_STOCK
    paid_at: dt.datetime | None = None
    shipment: Shipment | None = None
    attempts: int = 0
