"""What is asked for: lines, charges, how the customer gets it, and how it is paid."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from services.orders.domain import sale
from services.orders.domain.placed_order import Capture, Method


@dataclass(frozen=True, slots=True)
class ContentLine:
    """Units of an item as they are asked for. unit_price: instead of the catalogue's. group: what stays together."""

    code: str
    quantity: int
    expected_unit_price: int | None = None
    unit_price: int | None = None
    discounts: tuple[sale.Discount, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount beside the items."""

    kind: sale.LineKind
    name: str
    amount: int
    tax_category: str = ""


@dataclass(frozen=True, slots=True)
class Sourcing:
    """Where units may come from; numbers of Inventory's contract, 0: its defaults. destination: degrees north, east."""

    rule: int = 0
    split: int = 0
    destination: tuple[float, float] | None = None
    location_ids: tuple[str, ...] = ()
    parcels_max: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """What is ordered."""

    location_id: uuid.UUID
    channel: sale.Channel
    lines: tuple[ContentLine, ...]
    method: Method
    charges: tuple[Charge, ...] = ()
    discounts: tuple[sale.Discount, ...] = ()
    customer_id: uuid.UUID | None = None
    campaign_id: str = ""
    price_list: str = ""
    sourcing: Sourcing = Sourcing()
    external_reference: str = ""
    marketplace: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class TenderSpec:
    """A means of payment. type: one of the contract's; token: what its provider calls it."""

    type: sale.TenderType
    token: str
    amount: int


@dataclass(frozen=True, slots=True)
class Payment:
    """How an order is to be paid. due_now None: all of it. balance_due_at: until when the rest is; None: not said."""

    tenders: tuple[TenderSpec, ...] = ()
    capture: Capture = Capture.PLACEMENT
    due_now: int | None = None
    balance_due_at: dt.datetime | None = None


def staff_fields(content: Content, payment: Payment) -> str:
    """The first field that only staff may set, as a path; empty: none is set."""
    for number, line in enumerate(content.lines):
        if line.unit_price is not None or line.discounts:
            return f"content.lines[{number}]"
    set_here = {
        "content.charges": content.charges,
        "content.discounts": content.discounts,
        "content.price_list": content.price_list,
        "content.external_reference": content.external_reference,
        "content.marketplace": content.marketplace,
        "content.note": content.note,
        "content.channel": content.channel is not sale.Channel.WEB,
        "payment.due_now": payment.due_now is not None,
        "payment.balance_due_at": payment.balance_due_at is not None,
    }
    return next((path for path, value in set_here.items() if value), "")
