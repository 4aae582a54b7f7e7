"""SQL that finds variants: by words and codes (through the definer functions of 0004), and what codes stand for.

The latter travels on the connections of the lanes: prepared, with generic plans.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_spelling as spelling
from services.inventory.store import catalog as common
from services.inventory.store import catalog_locations
from services.inventory.store import catalog_products as products
from services.inventory.tables import catalog as tables
from services.kit import pipeline

#: More matches than this aren't ranked against each other: a query that finds so many needs another word.
CANDIDATES_MAX = 2000
_WITHIN = ":category_from, :category_until, CAST(:features AS tsquery), :candidates, :rows"
_FOUND = {"found_key": sa.Text, "slips": sa.Integer, "score": sa.Float}


def _matches_of(function: str) -> sa.Select[Any]:
    """The statement that reads what a function finds, best first, under the caller's own policy."""
    found = sa.text(f"SELECT found_key, slips, score FROM {function}").columns(**_FOUND).subquery("f")
    return (
        sa.select(
            *products.VARIANT_COLUMNS,
            tables.product.c.name.label("product_name"),
            tables.product.c.category,
            tables.product.c.brand,
            found.c.slips,
        )
        .select_from(found)
        .join(tables.variant, tables.variant.c.sku_key == found.c.found_key)
        .join(tables.product, tables.product.c.id == tables.variant.c.product_id)
        .order_by(found.c.slips, found.c.score.desc(), found.c.found_key)
    )


AS_TYPED = _matches_of(f"""find_variants(
    {_WITHIN}, :sku_from, :sku_until, :code, CAST(:whole AS tsquery), CAST(:unfinished AS tsquery)
)""")
NEAR = _matches_of(f"""find_variants_near(
    {_WITHIN}, CAST(:nearest AS tsquery), CAST(:any AS tsquery), CAST(:typed AS tsquery[]), CAST(:once AS tsquery[])
)""")
# The location's own price and the general one, of the list that is asked for and of the standard one, are a look-up of one
# row each, however many prices a SKU has had.
_PRICE = """
LEFT JOIN LATERAL (
    SELECT x.id, x.minor_units, x.price_list FROM price x
    WHERE x.tenant_id = %(tenant)s::uuid AND x.sku_key = v.sku_key AND x.price_list = {price_list}
      AND x.location_id {place}
      AND x.currency_code = (
          SELECT currency_code FROM location WHERE tenant_id = %(tenant)s::uuid AND id = %(location)s::uuid
      )
      AND x.valid_from <= now() AND x.valid_until > now()
    ORDER BY x.valid_from DESC LIMIT 1
) {name} ON true
"""


class LocationRow(NamedTuple):
    """Columns of a location, as catalog_locations.location_of reads them."""

    id: Any
    code: Any
    name: Any
    type: Any
    timezone: Any
    business_day_cutoff: Any
    currency_code: Any
    capabilities: Any
    address: Any
    closed: Any
    version: Any
    created_at: Any
    updated_at: Any


class ItemRow(NamedTuple):
    """Columns of what a code stands for."""

    by_sku: bool
    code: str
    sku: str
    product_id: uuid.UUID
    name: str
    options: Any
    stock_unit: int
    tax_category: str
    discontinued: bool
    product_name: str
    category: str
    price_id: uuid.UUID | None
    minor_units: int | None
    price_list: str | None
    components: Any


_STANDARD = f"'{values.STANDARD}'"
_ASKED = """(
    SELECT l.code FROM price_list l WHERE l.tenant_id = %(tenant)s::uuid AND l.code = %(price_list)s::text
      AND l.valid_from <= now() AND l.valid_until > now()
)"""
_OWN, _GENERAL = "= %(location)s::uuid", "IS NULL"
_PLACES = {
    "asked_own": _PRICE.format(price_list=_ASKED, place=_OWN, name="asked_own"),
    "asked_general": _PRICE.format(price_list=_ASKED, place=_GENERAL, name="asked_general"),
    "own": _PRICE.format(price_list=_STANDARD, place=_OWN, name="own"),
    "general": _PRICE.format(price_list=_STANDARD, place=_GENERAL, name="general"),
}
_RESOLVE = """
WITH v AS (
    SELECT true AS by_sku, s.sku_key AS code, s.* FROM variant s
    WHERE s.tenant_id = %(tenant)s::uuid AND s.sku_key = ANY(%(skus)s::text[])
    UNION ALL
    SELECT false, b.barcode, s.* FROM barcode b
    JOIN variant s ON s.tenant_id = %(tenant)s::uuid AND s.sku_key = b.sku_key
    WHERE b.tenant_id = %(tenant)s::uuid AND b.barcode = ANY(%(barcodes)s::text[])
)
SELECT v.by_sku, v.code, v.sku, v.product_id, v.name, v.options, v.stock_unit, v.tax_category, v.discontinued,
       p.name AS product_name, p.category, {prices},
       ARRAY(SELECT json_build_array(c.sku, c.quantity) FROM bundle_part c
             WHERE c.tenant_id = %(tenant)s::uuid AND c.bundle_key = v.sku_key ORDER BY c.sku_key) AS components
FROM v JOIN product p ON p.tenant_id = %(tenant)s::uuid AND p.id = v.product_id
{places}
"""


def _resolve(*places: str) -> pipeline.Named:
    """The statement that looks for a price in these places, in order."""
    first = {
        column: f"coalesce({', '.join(f'{place}.{column}' for place in places)})"
        for column in ("id", "minor_units", "price_list")
    }
    prices = f"{first['id']} AS price_id, {first['minor_units']} AS minor_units, {first['price_list']} AS price_list"
    return pipeline.Named(_RESOLVE.format(prices=prices, places="".join(_PLACES[place] for place in places)))


RESOLVE = _resolve("own", "general")
RESOLVE_LISTED = _resolve("asked_own", "asked_general", "own", "general")
PRICE_LIST = pipeline.Named(
    "SELECT restricted FROM price_list WHERE tenant_id = %(tenant)s::uuid AND code = %(price_list)s::text"
)
LOCATION = pipeline.Named(f"""
SELECT {", ".join(LocationRow._fields)} FROM location WHERE tenant_id = %(tenant)s::uuid AND id = %(location)s::uuid
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """What every match has: a category or one below it (empty: any), features (text of a tsquery). limit: of matches."""

    category: str
    features: str | None
    limit: int

    def parameters(self) -> dict[str, Any]:
        """Of the functions."""
        bounds = codes.category_range(self.category)
        return {
            "category_from": bounds and bounds.start,
            "category_until": bounds and bounds.end,
            "features": self.features,
            "candidates": CANDIDATES_MAX,
            "rows": self.limit,
        }


async def as_typed(session: common.Session, wanted: codes.Search, within: Within) -> list[values.Match]:
    """What has the code or all words of a query as they were typed, best first."""
    parameters = {
        "sku_from": wanted.skus and wanted.skus.start,
        "sku_until": wanted.skus and wanted.skus.end,
        "code": wanted.barcode,
        "whole": wanted.words,
        "unfinished": wanted.unfinished,
    }
    return await _matches(session, AS_TYPED, {**parameters, **within.parameters()})


async def near(session: common.Session, guess: spelling.Guess, within: Within) -> list[values.Match]:
    """What has all words of a query, or known words near them, those with the fewest slips first."""
    parameters = {"nearest": guess.nearest, "any": guess.any, "typed": list(guess.typed), "once": list(guess.once)}
    return await _matches(session, NEAR, {**parameters, **within.parameters()})


async def _matches(
    session: common.Session, statement: sa.Select[Any], parameters: dict[str, Any]
) -> list[values.Match]:
    return [
        values.Match(products.variant_of(row), row.product_name, row.category, row.brand, row.slips)
        for row in await session.execute(statement, parameters)
    ]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What codes stand for at a location, None for unknown ones. listed: the list that was asked for is there for them."""

    location: values.Location | None
    listed: bool
    items: list[values.Item | None]


async def resolve(
    connection: pipeline.LaneConnection,
    tenant: str,
    location_id: uuid.UUID,
    asked: Sequence[str],
    *,
    price_list: str,
    restricted: bool,
) -> Resolved:
    """The location, and what each code stands for there now: a SKU before a barcode.

    price_list: whose prices come before the standard ones. restricted: whether restricted lists are there for the caller.
    One round trip, because every sale waits for it.
    """
    other = price_list != values.STANDARD
    known = [code for code in asked if codes.is_code(code)]
    parameters = {
        "tenant": uuid.UUID(tenant),
        "location": location_id,
        "skus": [codes.sku_key(code) for code in known],
        "barcodes": [codes.barcode_key(code) for code in known],
        "price_list": price_list,
    }
    statements = [LOCATION, RESOLVE_LISTED, PRICE_LIST] if other else [LOCATION, RESOLVE]
    place, found, *listed = await connection.ask(tenant, *(statement.bind(parameters) for statement in statements))
    by_sku: dict[str, values.Item] = {}
    by_barcode: dict[str, values.Item] = {}
    for row in map(ItemRow._make, found):
        (by_sku if row.by_sku else by_barcode)[row.code] = _item(row)
    kept = listed[0][0] if other and listed[0] else None
    return Resolved(
        location=catalog_locations.location_of(LocationRow(*place[0])) if place else None,
        listed=not other or (kept is not None and (restricted or not kept[0])),
        items=[by_sku.get(codes.sku_key(code)) or by_barcode.get(codes.barcode_key(code)) for code in asked],
    )


def _item(row: ItemRow) -> values.Item:
    return values.Item(
        sku=row.sku,
        product_id=row.product_id,
        name=", ".join(filter(None, (row.product_name, row.name))),
        category=row.category,
        tax_category=row.tax_category,
        stock_unit=row.stock_unit,
        options=products.pairs(row.options),
        discontinued=row.discontinued,
        price_id=row.price_id,
        minor_units=row.minor_units,
        price_list=row.price_list,
        components=products.pairs(row.components),
    )
