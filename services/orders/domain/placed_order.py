"""What an order of another channel than a till has beyond a sale: how the customer gets it, groups, payment, history.

Values only. Amounts are counts of the currency's smallest unit; states are numbers of the contract.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.kit import errors
from services.orders.domain import machines


class NotEditable(errors.Error):
    """Work on the order has begun, or it is over."""

    reason = "ORDER_NOT_EDITABLE"

    def __init__(self, state: str) -> None:
        super().__init__(metadata={"state": state})


class OrderBusy(errors.Error):
    """The order is being placed, edited or cancelled by another call."""

    reason = "ORDER_BUSY"


class Capture(enum.IntEnum):
    """When the money is taken; numbers of the contract."""

    PLACEMENT = 1
    FULFILLMENT = 2


class CancelReason(enum.IntEnum):
    """Why an order was cancelled; numbers of the contract."""

    CUSTOMER = 1
    OUT_OF_STOCK = 2
    PAYMENT = 3
    EXPIRED = 4
    FRAUD = 5
    MISTAKE = 6
    OTHER = 7


@dataclass(frozen=True, slots=True)
class Delivery:
    """The order is sent. address_id: of the customer's address, which the order does not keep."""

    address_id: str
    country_code: str
    method: str = ""


@dataclass(frozen=True, slots=True)
class Pickup:
    """The order is collected. at: when the customer wants to come; None: as soon as it is ready."""

    location_id: uuid.UUID
    at: dt.datetime | None = None


Method = Delivery | Pickup


@dataclass(frozen=True, slots=True)
class GroupLine:
    """Units of a group, allocated by a reservation. number: of the order's line, 0 when it is a part of several."""

    number: int
    sku: str
    quantity: int
    reservation_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Parcel:
    """A parcel of a group."""

    id: uuid.UUID
    state: machines.ParcelState
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Group:
    """What one location contributes."""

    id: uuid.UUID
    location_id: uuid.UUID
    state: machines.FulfillmentState
    lines: Sequence[GroupLine]
    parcels: Sequence[Parcel]
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class PaymentSums:
    """Sums over an order's payments: ever authorised, captured, refunded, released."""

    authorised: int = 0
    captured: int = 0
    refunded: int = 0
    voided: int = 0

    @property
    def open(self) -> int:
        """Set aside and neither taken nor released."""
        return self.authorised - self.captured - self.voided

    def due(self, total: int) -> int:
        """What is neither set aside nor taken of a total."""
        return max(0, total - self.open - self.captured + self.refunded)


@dataclass(frozen=True, slots=True)
class Pricing:
    """How the order's amounts were worked out."""

    rounding_mode: int
    tax_level: int
    tax_country: str = ""
    tax_policy_version: int = 0
    price_list: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened. machine 0: none moved. target: the group or parcel; None: the order itself."""

    number: int
    machine: int
    target: uuid.UUID | None
    from_state: str
    to_state: str
    reason: str
    actor: str
    version: int
    at: dt.datetime


@dataclass(slots=True)
class Placed:
    """What an order has that is no sale. number 0: none yet. balance_due_at: of an order with a deposit."""

    number: int
    method: Method
    pricing: Pricing
    capture: Capture
    payment: PaymentSums = PaymentSums()
    groups: Sequence[Group] = ()
    history: Sequence[Entry] = ()
    cancel_reason: int = 0
    cancel_note: str = ""
    valid_until: dt.datetime | None = None
    prices_held: bool = False
    balance_due_at: dt.datetime | None = None
    placed_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None
    external_reference: str = ""
    marketplace: str = ""
    note: str = ""


def fulfillment_state(groups: Sequence[Group]) -> machines.FulfillmentState | None:
    """Of all groups together; None: there are none."""
    return machines.fulfillment_state([group.state for group in groups])


def payment_state(total: int, sums: PaymentSums) -> machines.PaymentState:
    """What has been paid of an order."""
    return machines.payment_state(
        total, authorised=sums.authorised, captured=sums.captured, refunded=sums.refunded, voided=sums.voided
    )
