"""Values of the catalogue: locations, products, variants, prices. Drafts are what a caller says; the rest is kept.

Their rules are in catalog_locations, catalog_products, catalog_options (axes), catalog_features (attributes, filters)
and catalog_prices; codes and words in catalog_codes, slips of typing in catalog_spelling.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import lots
from services.kit import errors

T = TypeVar("T")
EACH = 1

STANDARD = "standard"  # the price list that every tenant has and that is always valid

Options: TypeAlias = tuple[tuple[str, str], ...]
"""(axis, value) pairs."""
AttributeValue: TypeAlias = str | float | bool
Attributes: TypeAlias = tuple[tuple[str, AttributeValue], ...]
"""(name, value) pairs."""
Components: TypeAlias = tuple[tuple[str, int], ...]
"""(SKU, units) pairs."""


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address."""

    lines: tuple[str, ...]
    city: str
    region: str
    postal_code: str
    country_code: str
    coordinates: tuple[float, float] | None = None
    """Degrees north and east."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationDraft:
    """What a caller says of a location. type and capabilities are numbers of the contract."""

    code: str
    name: str
    type: int
    timezone: str
    currency_code: str
    business_day_cutoff: str = ""
    capabilities: tuple[int, ...] = ()
    address: Address | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Location(LocationDraft):
    """A place that holds stock. business_day_cutoff is `HH:MM` local time."""

    id: uuid.UUID
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Axis:
    """By what variants of a product differ. values: what is allowed, none: any. default: "" when each names one."""

    name: str
    values: tuple[str, ...] = ()
    default: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantDraft:
    """What a caller says of a variant. package: length, width, height in mm and weight in g."""

    sku: str
    name: str = ""
    options: Options = ()
    barcodes: tuple[str, ...] = ()
    stock_unit: int = EACH
    package: tuple[int, int, int, int] | None = None
    lead_time_days: int = 0
    tax_category: str = ""
    discontinued: bool = False
    attributes: Attributes = ()
    lot_policy: lots.Policy | None = None
    """None: its stock isn't kept by lots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(VariantDraft):
    """A thing that can be stocked and sold."""

    product_id: uuid.UUID
    version: int
    components: Components = ()
    """What it consists of, if it is a bundle."""

    @property
    def sku_key(self) -> str:
        """What its SKU is compared by."""
        return codes.sku_key(self.sku)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductDraft:
    """What a caller says of a product."""

    code: str
    name: str
    description: str = ""
    brand: str = ""
    category: str = ""
    axes: tuple[Axis, ...] = ()
    attributes: Attributes = ()
    variants: tuple[VariantDraft, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product and its variants, in the order they were added."""

    id: uuid.UUID
    code: str
    name: str
    description: str
    brand: str
    category: str
    axes: tuple[Axis, ...]
    attributes: Attributes
    variants: tuple[Variant, ...]
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceListDraft:
    """What a caller says of a price list. No valid_from: always was; no valid_until: no end."""

    code: str
    name: str
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None
    restricted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList(PriceListDraft):
    """A named list of prices, valid for [valid_from, valid_until). restricted: not there for the public."""

    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceDraft:
    """What a caller says of a price. No location_id: everywhere; no valid_from: always was; no valid_until: no end."""

    currency_code: str
    minor_units: int
    price_list: str = STANDARD
    location_id: uuid.UUID | None = None
    valid_from: dt.datetime | None = None
    valid_until: dt.datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(PriceDraft):
    """A price of a SKU, for [valid_from, valid_until)."""

    id: uuid.UUID
    sku: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A variant as a till or an order needs it, with the price that holds at the location."""

    sku: str
    product_id: uuid.UUID
    name: str
    category: str
    tax_category: str
    stock_unit: int
    options: Options
    discontinued: bool
    price_id: uuid.UUID | None
    minor_units: int | None
    price_list: str | None
    components: Components = ()
    """Of a bundle: the plain SKUs of one unit."""


@dataclass(frozen=True, slots=True)
class Match:
    """A variant that a search found, its product's name, category and brand, and how many slips were forgiven."""

    variant: Variant
    product_name: str
    category: str
    brand: str
    slips: int = 0


class Violations:
    """Collects what is wrong, so that a caller hears all of it at once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._found: list[errors.FieldViolation] = []

    def add(self, field: str, description: str) -> None:
        self._found.append(errors.FieldViolation(".".join(filter(None, (self._path, field))), description))

    def check_texts(self, **texts: str) -> None:
        """The database keeps every character but NUL."""
        for field, text in texts.items():
            if "\0" in text:
                self.add(field, "has a NUL character")

    def refuse(self) -> None:
        """InvalidRequest, if anything is."""
        if self._found:
            raise errors.InvalidRequest(violations=self._found)


def check_version(current: int, expected: int) -> None:
    """VERSION_MISMATCH when the caller read another version; 0 means whatever it is."""
    if expected not in (0, current):
        raise errors.VersionMismatch(current)


def duplicates(values: Sequence[T]) -> list[int]:
    """Positions of values that stood earlier already."""
    if len(values) < 2 or len(set(values)) == len(values):
        return []
    return [index for index, value in enumerate(values) if value in values[:index]]
