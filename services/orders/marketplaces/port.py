"""What is asked of a marketplace. Values and interfaces only; an adapter answers for one account.

Every method may raise NoAnswer, Throttled, LockedOut and Refused. What changes something there may be asked again after
NoAnswer: the adapter looks first where a second time would be one too many.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.orders.domain.marketplaces import reading, values


class NoAnswer(Exception):
    """No answer, or none that can be understood: nobody knows whether it was done."""


class Throttled(Exception):
    """Asked too often: surely not done. seconds: how long to wait; None: the marketplace didn't say."""

    def __init__(self, seconds: float | None = None) -> None:
        super().__init__(f"{seconds}")
        self.seconds = seconds


class LockedOut(Exception):
    """The credentials are not good, or not any more: surely not done. A person has to connect the account again."""


class Refused(Exception):
    """It won't be done, however often it is asked. code: the marketplace's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


TROUBLES = (NoAnswer, Throttled, LockedOut, Refused)


@dataclass(frozen=True, slots=True, repr=False)
class Buyer:
    """Personal data: kept with the customers, encrypted, and nowhere else; it has no repr. Any of it may be empty."""

    name: str = ""
    email: str = ""
    phone: str = ""
    company: str = ""
    lines: tuple[str, ...] = ()
    city: str = ""
    region: str = ""
    postal_code: str = ""
    country_code: str = ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """An order of a page that is paid. content None: it could not be read, and `unreadable` says why."""

    number: str
    modified_at: dt.datetime
    content: values.Ordered | None
    buyer: Buyer = Buyer()
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Orders of a stretch of time. numbers: of all that were on the page, also those that aren't paid yet.

    total: how many the whole stretch has, when pages are counted from its front; next: empty at the end.
    """

    orders: Sequence[Incoming]
    numbers: Sequence[str]
    next: str
    total: int | None


@dataclass(frozen=True, slots=True)
class Stocked:
    """Listings of a page: what the marketplace has of each SKU."""

    quantities: Mapping[str, int]
    next: str


class Heard(enum.Enum):
    """What became of a quantity."""

    TAKEN = "taken"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a quantity. code: why it was refused."""

    heard: Heard
    code: str = ""


class Marketplace(Protocol):
    """One account at a marketplace."""

    quantity_max: int
    """The most that it takes of a SKU."""
    quantities_max: int
    """SKUs in one call."""
    revisions_max: int
    """How often a day the quantity of a SKU may be changed; 0: as often as one likes."""
    tells: frozenset[values.StatusKind]
    """What it wants to hear of its orders."""

    async def clock(self) -> dt.datetime:
        """What the marketplace takes for now: times of its orders are compared with it, and never with ours."""
        ...

    async def orders(self, window: reading.Window, page: str) -> Page:
        """Orders that were modified in a stretch of time. page: `next` of the page before; empty: the first."""
        ...

    async def listings(self, page: str) -> Stocked:
        """What is listed there."""
        ...

    async def quantity(self, sku: str) -> int | None:
        """What it has of a SKU; None: it isn't listed."""
        ...

    async def set_quantities(self, wanted: Mapping[str, int]) -> Mapping[str, Told]:
        """Sets what it has of up to quantities_max SKUs, each by itself. Refused: all of them are."""
        ...

    async def tell(self, status: values.Status) -> None:
        """Tells it something about an order. Told again, it is told once."""
        ...

    async def close(self) -> None:
        """Closes the client."""
        ...
