"""A sale: what a till says of it, and the order that becomes of it. Amounts are counts of the currency's smallest unit.

Values only; booking.py makes the one of the other. What is made for every sale is not frozen, because frozen
dataclasses take three times as long to make; nothing changes it all the same.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.kit import errors

if TYPE_CHECKING:
    from services.orders.domain import placed_order  # which knows the machines, and those our states

AMOUNT_MAX = 10**15  # of Money, in the contract
Components = tuple[tuple[str, int], ...]
"""(SKU, units of it in one unit) of a bundle; empty for a plain SKU."""


class LineKind(enum.IntEnum):
    """What a line is; numbers of the contract."""

    ITEM = 1
    ADJUSTMENT = 2
    SHIPPING = 3
    GIFT_WRAP = 4
    CASH_ROUNDING = 5


class TenderType(enum.IntEnum):
    """Means of payment; numbers of the contract."""

    CASH = 1
    CARD = 2
    GIFT_CARD = 3
    STORE_CREDIT = 4
    OTHER = 5
    MARKETPLACE = 6


class Channel(enum.IntEnum):
    """Where an order comes from; numbers of the contract."""

    POS = 1
    WEB = 2
    PHONE = 3
    MARKETPLACE = 4


class OrderState(enum.IntEnum):
    """State of an order; numbers of the contract."""

    DRAFT = 1
    PENDING = 2
    PLACED = 3
    COMPLETED = 4
    CANCELLED = 5
    EXPIRED = 6


class SaleUnbalanced(errors.Error):
    """The tenders don't add up to the total."""

    reason = "SALE_UNBALANCED"

    def __init__(self, due: int, tendered: int) -> None:
        super().__init__(metadata={"due": str(due), "tendered": str(tendered)})


class CurrencyMismatch(errors.Error):
    """The currency is not the location's."""

    reason = "CURRENCY_MISMATCH"

    def __init__(self, expected: str) -> None:
        super().__init__(metadata={"expected": expected})


class SaleIdReused(errors.Error):
    """The till used this client_sale_id for another sale."""

    reason = "SALE_ID_REUSED"

    def __init__(self, order_id: str) -> None:
        super().__init__(metadata={"order_id": order_id})


class LocationNotCapable(errors.Error):
    """The location is closed or doesn't sell."""

    reason = "LOCATION_NOT_CAPABLE"

    def __init__(self) -> None:
        super().__init__(metadata={"capability": "SELL"})


@dataclass(frozen=True, slots=True)
class Tax:
    """A tax on a line. rate is a decimal string."""

    name: str
    rate: str
    amount: int


@dataclass(frozen=True, slots=True)
class Discount:
    """Already taken off the line's net amount."""

    name: str
    amount: int
    campaign_id: str


@dataclass(slots=True)
class SaleLine:
    """A line as the till sends it. code is a SKU or a barcode; empty on some adjustments."""

    kind: LineKind
    code: str
    quantity: int
    unit_price: int | None
    net_amount: int
    taxes: tuple[Tax, ...]
    discounts: tuple[Discount, ...]
    name: str
    lot: str = ""


@dataclass(frozen=True, slots=True)
class Tender:
    """A payment, change already deducted."""

    type: TenderType
    amount: int
    currency_code: str
    details: str


@dataclass(slots=True)
class Sale:
    """A sale as the till sends it. occurred_at None: now. currency_code empty: the location's."""

    location_id: uuid.UUID
    terminal_id: str
    client_sale_id: str
    occurred_at: dt.datetime | None
    currency_code: str
    tax_inclusive: bool
    lines: tuple[SaleLine, ...]
    tenders: tuple[Tender, ...]
    customer_id: uuid.UUID | None
    campaign_id: str
    reservation_id: uuid.UUID | None
    actor: str


@dataclass(frozen=True, slots=True)
class Store:
    """What a sale needs to know of its location. sells is false when it is closed or has no tills."""

    timezone: str
    cutoff_minutes: int
    currency_code: str
    sells: bool
    country_code: str = ""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scanned code says of the lot beside its item. Dates as YYYY-MM-DD; empty: none."""

    lot: str
    expires_on: str = ""
    best_before_on: str = ""
    produced_on: str = ""


@dataclass(frozen=True, slots=True)
class Misread:
    """A code that can't be what was scanned; problem says why."""

    problem: str


@dataclass(frozen=True, slots=True)
class Item:
    """What the catalogue said a code stands for, at the time of the sale. price: of one unit; None: there is none."""

    sku: str
    product_id: uuid.UUID | None
    name: str
    category: str
    price_id: str
    price: int | None = None
    tax_category: str = ""
    discontinued: bool = False
    components: Components = ()
    scanned: Scanned | None = None


@dataclass(frozen=True, slots=True)
class Ordered:
    """A line as it was ordered, which its amounts follow from whatever becomes of its units."""

    quantity: int
    discounts: tuple[Discount, ...]


@dataclass(slots=True)
class OrderLine:
    """A line of an order, with all that must not change afterwards. tax and discount are sums."""

    id: uuid.UUID
    number: int
    kind: LineKind
    sku: str
    quantity: int
    unit_price: int | None
    net_amount: int
    taxes: tuple[Tax, ...]
    discounts: tuple[Discount, ...]
    tax_amount: int
    discount_amount: int
    name: str
    category: str
    product_id: uuid.UUID | None
    price_id: str
    unresolved: bool
    tax_category: str = ""
    canceled_quantity: int = 0
    components: Components = ()
    lot: str = ""
    """As the till named or scanned it."""
    ordered: Ordered | None = None
    """Where its units have changed since it was ordered."""
    scanned: Scanned | None = None
    """For the event alone; it is not kept."""

    @property
    def counts(self) -> bool:
        """Whether there is anything of it: an item that was removed is still a line, of no units."""
        return self.kind is not LineKind.ITEM or self.quantity > 0


@dataclass(slots=True)
class Order:
    """An order. seq is its place among the location's sales; 0 of other orders. placed: what only those have."""

    id: uuid.UUID
    seq: int
    channel: Channel
    state: OrderState
    location_id: uuid.UUID
    terminal_id: str
    client_sale_id: str
    currency_code: str
    tax_inclusive: bool
    lines: Sequence[OrderLine]
    tenders: Sequence[Tender]
    net_total: int
    tax_total: int
    discount_total: int
    total: int
    customer_id: uuid.UUID | None
    campaign_id: str
    reservation_id: uuid.UUID | None
    business_date: dt.date
    business_hour: int
    occurred_at: dt.datetime
    recorded_at: dt.datetime
    clock_skewed: bool
    actor: str
    version: int = 1
    placed: placed_order.Placed | None = None


@dataclass(slots=True)
class Shown:
    """An order, and whether its stock has been reduced."""

    order: Order
    stock_applied: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of a sale's lines; total is what was to be paid."""

    net: int
    tax: int
    discount: int
    total: int
