"""Suppliers and what they deliver: values, their rules, and how a list of rows is taken in line by line."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.inventory.domain import catalog, stock_errors
from services.inventory.domain import catalog_codes as codes
from services.kit import currencies, errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How a supplier is reached in business."""

    name: str = ""
    email: str = ""
    phone: str = ""
    website: str = ""
    address: catalog.Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplierDraft:
    """What a caller says of a supplier."""

    code: str
    name: str
    currency_code: str
    contact: Contact = field(default_factory=Contact)
    default_lead_time_days: int = 0
    inactive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplier(SupplierDraft):
    """Somebody who delivers goods."""

    id: uuid.UUID
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SupplierSku:
    """A row of a supplier's list. cost: smallest units of its currency; None: not known, or as the supplier has it."""

    sku: str
    supplier_sku: str = ""
    cost: int | None = None
    pack_size: int = 1
    minimum_order_quantity: int = 0
    lead_time_days: int | None = None
    discontinued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A row as it is kept, and of whose list."""

    supplier_id: uuid.UUID
    currency_code: str
    row: SupplierSku
    updated_at: dt.datetime


class LineStatus(enum.IntEnum):
    """How a line of a list went; numbers of the contract."""

    APPLIED = 1
    UNCHANGED = 2
    REFUSED = 3


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a list: the fields that it sets, or why it can't be read. number: what it is reported by."""

    number: int
    sku: str
    changes: Mapping[str, Any]
    refusal: errors.Error | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a line."""

    number: int
    sku: str
    status: LineStatus
    refusal: errors.Error | None = None


def check_supplier(draft: SupplierDraft, path: str = "supplier") -> None:
    """INVALID_REQUEST names fields below path."""
    wrong = catalog.Violations(path)
    contact = draft.contact
    place = contact.address
    texts = (contact.name, contact.email, contact.phone, contact.website)
    parts = () if place is None else (*place.lines, place.city, place.region, place.postal_code)
    wrong.check_texts(name=draft.name, contact="".join((*texts, *parts)))
    if not currencies.is_known(draft.currency_code):
        wrong.add("currency_code", "is not a currency of ISO 4217")
    wrong.refuse()


def new_supplier(draft: SupplierDraft, *, supplier_id: uuid.UUID, now: dt.datetime) -> Supplier:
    """The first version of a supplier. INVALID_REQUEST."""
    check_supplier(draft)
    return Supplier(
        id=supplier_id,
        code=draft.code,
        name=draft.name,
        currency_code=draft.currency_code,
        contact=draft.contact,
        default_lead_time_days=draft.default_lead_time_days,
        inactive=draft.inactive,
        version=1,
        created_at=now,
        updated_at=now,
    )


def edit_supplier(
    supplier: Supplier, changes: Mapping[str, Any], *, expected_version: int, now: dt.datetime
) -> Supplier:
    """The next version of a supplier. VERSION_MISMATCH, INVALID_REQUEST."""
    catalog.check_version(supplier.version, expected_version)
    edited = dataclasses.replace(supplier, **changes)
    check_supplier(edited)
    return dataclasses.replace(edited, version=supplier.version + 1, updated_at=now)


def take_in(
    lines: Sequence[Line], known: Mapping[str, SupplierSku], spellings: Mapping[str, str]
) -> tuple[list[Outcome], list[SupplierSku]]:
    """What becomes of each line, and the rows to keep. known rows and the catalogue's spellings by folded SKU."""
    outcomes: list[Outcome] = []
    kept: list[SupplierSku] = []
    first: dict[str, int] = {}
    for line in lines:
        key = codes.sku_key(line.sku)
        refusal = line.refusal or _refusal(line, key, first, spellings)
        if refusal is not None:
            outcomes.append(Outcome(line.number, line.sku, LineStatus.REFUSED, refusal))
            continue
        first[key] = line.number
        before = known.get(key)
        row = dataclasses.replace(before or SupplierSku(sku=spellings[key]), **line.changes)
        if row == before:
            outcomes.append(Outcome(line.number, line.sku, LineStatus.UNCHANGED))
            continue
        kept.append(row)
        outcomes.append(Outcome(line.number, line.sku, LineStatus.APPLIED))
    return outcomes, kept


def _refusal(line: Line, key: str, first: Mapping[str, int], spellings: Mapping[str, str]) -> errors.Error | None:
    if key in first:
        return line_refusal("sku", f"stands in line {first[key]} already")
    if key not in spellings:
        return stock_errors.SkuNotFound(line.sku)
    return None


def line_refusal(column: str, description: str) -> errors.InvalidRequest:
    """Why a line can't be taken."""
    return errors.InvalidRequest(violations=[errors.FieldViolation(column, description)])


def lead_time(supplier: Supplier, row: SupplierSku | None) -> dt.timedelta:
    """From an order to its delivery."""
    days = supplier.default_lead_time_days if row is None or row.lead_time_days is None else row.lead_time_days
    return dt.timedelta(days=days)
