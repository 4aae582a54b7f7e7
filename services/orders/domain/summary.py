"""What sales can be summed by, and which questions make sense."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from services.kit import errors

DAYS_MAX = 366  # a leap year: more belongs to a data warehouse


class Dimension(enum.IntEnum):
    """What to sum by; numbers of the contract."""

    BUSINESS_DATE = 1
    HOUR = 2
    SKU = 3
    CATEGORY = 4
    TENDER = 5
    CAMPAIGN = 6


class Source(enum.Enum):
    """What is counted: whole orders, their lines, or their tenders."""

    ORDERS = "orders"
    LINES = "lines"
    TENDERS = "tenders"


_WITH_TENDER = frozenset({Dimension.TENDER, Dimension.BUSINESS_DATE, Dimension.HOUR, Dimension.CAMPAIGN})
_OF_LINES = frozenset({Dimension.SKU, Dimension.CATEGORY})


@dataclass(frozen=True, slots=True)
class Question:
    """A summary that was asked for and can be answered. The range is inclusive."""

    since: dt.date
    until: dt.date
    dimensions: tuple[Dimension, ...]
    source: Source


@dataclass(frozen=True, slots=True)
class Row:
    """Sums of one combination. key has a value a dimension, in the order asked for; sums are exact."""

    key: tuple[str | int, ...]
    currency_code: str
    sales: int
    lines: int
    units: int
    net_amount: int
    tax_amount: int
    discount_amount: int


def ask(since: dt.date, until: dt.date, dimensions: Sequence[Dimension]) -> Question:
    """Checks a question. InvalidRequest says what is wrong with it."""
    broken: list[errors.FieldViolation] = []
    if until < since:
        broken.append(errors.FieldViolation("business_date_to", "lies before business_date_from"))
    elif (until - since).days > DAYS_MAX:
        broken.append(errors.FieldViolation("business_date_to", f"is more than {DAYS_MAX} days after the first"))
    asked = frozenset(dimensions)
    if Dimension.TENDER in asked and not asked <= _WITH_TENDER:
        broken.append(errors.FieldViolation("group_by", "TENDER goes with BUSINESS_DATE, HOUR and CAMPAIGN only"))
    if broken:
        raise errors.InvalidRequest(violations=broken)
    source = Source.TENDERS if Dimension.TENDER in asked else Source.LINES if asked & _OF_LINES else Source.ORDERS
    return Question(since, until, tuple(dimensions), source)
