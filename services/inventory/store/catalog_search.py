"""SQL that finds variants: by words and codes (through the definer function of 0002), and what codes stand for.

The latter is raw psycopg on the connections of the lanes: prepared, with generic plans.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from psycopg import rows

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_codes as codes
from services.inventory.store import catalog as common
from services.inventory.store import catalog_locations
from services.inventory.store import catalog_products as products
from services.inventory.tables import catalog as tables
from services.kit import database

#: More matches than this aren't ranked against each other: a query that finds so many needs another word.
CANDIDATES_MAX = 2000
_FUNCTION = sa.text("""
SELECT found_key, score FROM search_variants(
    :sku_from, :sku_until, :code, CAST(:whole AS tsquery), CAST(:unfinished AS tsquery),
    :category_from, :category_until, :candidates, :rows
)
""").columns(found_key=sa.Text, score=sa.Float)
_FOUND = _FUNCTION.subquery("f")
SEARCH = (
    sa.select(
        *products.VARIANT_COLUMNS,
        tables.product.c.name.label("product_name"),
        tables.product.c.category,
        tables.product.c.brand,
    )
    .select_from(_FOUND)
    .join(tables.variant, tables.variant.c.sku_key == _FOUND.c.found_key)
    .join(tables.product, tables.product.c.id == tables.variant.c.product_id)
    .order_by(_FOUND.c.score.desc(), _FOUND.c.found_key)
)
# The price of the location and the general one are two look-ups of one row each, however many prices a SKU has had.
_PRICE = """
LEFT JOIN LATERAL (
    SELECT x.id, x.minor_units FROM price x
    WHERE x.tenant_id = %(tenant)s::uuid AND x.sku_key = v.sku_key AND x.location_id {place}
      AND x.currency_code = (
          SELECT currency_code FROM location WHERE tenant_id = %(tenant)s::uuid AND id = %(location)s
      )
      AND x.valid_from <= now() AND x.valid_until > now()
    ORDER BY x.valid_from DESC LIMIT 1
) {name} ON true
"""
RESOLVE = f"""
WITH v AS (
    SELECT true AS by_sku, s.sku_key AS code, s.* FROM variant s
    WHERE s.tenant_id = %(tenant)s::uuid AND s.sku_key = ANY(%(skus)s::text[])
    UNION ALL
    SELECT false, b.barcode, s.* FROM barcode b
    JOIN variant s ON s.tenant_id = %(tenant)s::uuid AND s.sku_key = b.sku_key
    WHERE b.tenant_id = %(tenant)s::uuid AND b.barcode = ANY(%(barcodes)s::text[])
)
SELECT v.by_sku, v.code, v.sku, v.product_id, v.name, v.options, v.stock_unit, v.tax_category, v.discontinued,
       p.name AS product_name, p.category,
       coalesce(own.id, general.id) AS price_id, coalesce(own.minor_units, general.minor_units) AS minor_units
FROM v JOIN product p ON p.tenant_id = %(tenant)s::uuid AND p.id = v.product_id
{_PRICE.format(place="= %(location)s", name="own")}
{_PRICE.format(place="IS NULL", name="general")}
"""
LOCATION = "SELECT * FROM location WHERE tenant_id = %(tenant)s::uuid AND id = %(location)s"
ENTER = "SELECT set_config('app.tenant_id', %(tenant)s, true)"


async def search(session: common.Session, tenant: str, query: str, category: str, limit: int) -> list[values.Match]:
    """The best matches of a query, best first. category: only it and all below; empty: any."""
    wanted = codes.search(tenant, query)
    within = codes.category_range(category)
    parameters = {
        "sku_from": wanted.skus.start if wanted.skus else None,
        "sku_until": wanted.skus.end if wanted.skus else None,
        "code": wanted.barcode,
        "whole": wanted.words,
        "unfinished": wanted.unfinished,
        "category_from": within.start if within else None,
        "category_until": within.end if within else None,
        "candidates": CANDIDATES_MAX,
        "rows": limit,
    }
    return [
        values.Match(products.variant_of(row), row.product_name, row.category, row.brand)
        for row in await session.execute(SEARCH, parameters)
    ]


async def resolve(
    connection: database.LaneConnection, tenant: str, location_id: uuid.UUID, asked: Sequence[str]
) -> tuple[values.Location | None, list[values.Item | None]]:
    """The location, and what each code stands for there now: a SKU before a barcode, None for unknown ones.

    One round trip, because every sale waits for it.
    """
    known = [code for code in asked if codes.is_code(code)]
    parameters = {
        "tenant": tenant,
        "location": location_id,
        "skus": [codes.sku_key(code) for code in known],
        "barcodes": [codes.barcode_key(code) for code in known],
    }
    place = connection.cursor(row_factory=rows.namedtuple_row)
    found = connection.cursor(row_factory=rows.namedtuple_row)
    async with connection.pipeline():
        await connection.execute(ENTER, parameters, prepare=True)
        await place.execute(LOCATION, parameters, prepare=True)
        await found.execute(RESOLVE, parameters, prepare=True)
    location = await place.fetchone()
    by_sku: dict[str, values.Item] = {}
    by_barcode: dict[str, values.Item] = {}
    matches: list[Any] = await found.fetchall()
    for row in matches:
        (by_sku if row.by_sku else by_barcode)[row.code] = _item(row)
    items = [by_sku.get(codes.sku_key(code)) or by_barcode.get(codes.barcode_key(code)) for code in asked]
    return (None if location is None else catalog_locations.location_of(location)), items


def _item(row: Any) -> values.Item:
    return values.Item(
        sku=row.sku,
        product_id=row.product_id,
        name=", ".join(filter(None, (row.product_name, row.name))),
        category=row.category,
        tax_category=row.tax_category,
        stock_unit=row.stock_unit,
        options=tuple((axis, value) for axis, value in row.options),
        discontinued=row.discontinued,
        price_id=row.price_id,
        minor_units=row.minor_units,
    )
