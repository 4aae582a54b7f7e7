"""SQL of products, variants and barcodes. Many rows at once where a caller may send many."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_features as features
from services.inventory.domain import catalog_products as products
from services.inventory.store import catalog as common
from services.inventory.store import catalog_words, lot_rows
from services.inventory.tables import bundles
from services.inventory.tables import catalog as tables
from services.kit import database

PRODUCT, VARIANT, BARCODE = tables.product, tables.variant, tables.barcode
COMPONENT = bundles.bundle_component

TAKEN = sa.text("""
SELECT 'code' AS kind, code_key AS key FROM product WHERE code_key = ANY(CAST(:codes AS text[]))
UNION ALL SELECT 'SKU', sku_key FROM variant WHERE sku_key = ANY(CAST(:skus AS text[]))
UNION ALL SELECT 'barcode', barcode FROM barcode WHERE barcode = ANY(CAST(:barcodes AS text[]))
""")
# Rows of all three are inserted in the order of their unique keys, and the tables always in this order, so that two
# imports of the same goods wait for each other but never in a circle.
INSERT_PRODUCTS = sa.text("""
INSERT INTO product (tenant_id, id, code, code_key, name, description, brand, category, category_key, axes, attributes,
                     version, created_at, updated_at)
SELECT current_setting('app.tenant_id')::uuid, r.*
FROM json_to_recordset(CAST(:rows AS json)) AS r (
    id uuid, code text, code_key text, name text, description text, brand text, category text, category_key text,
    axes jsonb, attributes jsonb, version bigint, created_at timestamptz, updated_at timestamptz
) ORDER BY r.code_key ON CONFLICT DO NOTHING
""")
INSERT_VARIANTS = sa.text("""
INSERT INTO variant (tenant_id, sku_key, sku, product_id, position, name, options, stock_unit, package, lead_time_days,
                     tax_category, discontinued, attributes, version, category_key, words, lot_policy)
SELECT current_setting('app.tenant_id')::uuid, r.*
FROM json_to_recordset(CAST(:rows AS json)) AS r (
    sku_key text, sku text, product_id uuid, position int, name text, options jsonb, stock_unit smallint, package int[],
    lead_time_days int, tax_category text, discontinued boolean, attributes jsonb, version bigint, category_key text,
    words tsvector, lot_policy jsonb
) ORDER BY r.sku_key ON CONFLICT DO NOTHING
""")
INSERT_BARCODES = sa.text("""
INSERT INTO barcode (tenant_id, barcode, sku_key, position)
SELECT current_setting('app.tenant_id')::uuid, r.*
FROM json_to_recordset(CAST(:rows AS json)) AS r (barcode text, sku_key text, position int)
ORDER BY r.barcode ON CONFLICT DO NOTHING
""")
# What follows from an edit of the product: the words of all its variants and, when its axes are set, their options.
REINDEX_VARIANTS = sa.text("""
UPDATE variant v SET category_key = r.category_key, words = r.words, options = r.options, version = r.version
FROM json_to_recordset(CAST(:rows AS json)) AS r
    (sku_key text, category_key text, words tsvector, options jsonb, version bigint)
WHERE v.sku_key = r.sku_key
""")
#: Of a page of products with a feature, so many variants are looked at before the index is asked: 5 ms.
WALK_MAX = 5000
HAVING = sa.text("""
SELECT id FROM products_having(
    :category_from, :category_until, CAST(:features AS tsquery), :brand, CAST(:after AS uuid), :walk, :rows
) AS found (id)
""").columns(id=pg.UUID)
_BARCODES = (
    sa.select(BARCODE.c.barcode)
    .where(BARCODE.c.tenant_id == VARIANT.c.tenant_id, BARCODE.c.sku_key == VARIANT.c.sku_key)
    .order_by(BARCODE.c.position)
    .correlate(VARIANT)
    .scalar_subquery()
)
_COMPONENTS = (
    sa.select(sa.func.json_build_array(COMPONENT.c.sku, COMPONENT.c.quantity))
    .where(COMPONENT.c.tenant_id == VARIANT.c.tenant_id, COMPONENT.c.bundle_key == VARIANT.c.sku_key)
    .order_by(COMPONENT.c.position)
    .correlate(VARIANT)
    .scalar_subquery()
)
VARIANT_COLUMNS = (
    VARIANT.c.sku,
    VARIANT.c.product_id,
    VARIANT.c.name,
    VARIANT.c.options,
    VARIANT.c.stock_unit,
    VARIANT.c.package,
    VARIANT.c.lead_time_days,
    VARIANT.c.tax_category,
    VARIANT.c.discontinued,
    VARIANT.c.attributes,
    VARIANT.c.lot_policy,
    VARIANT.c.version,
    sa.func.array(_BARCODES).label("barcodes"),
    sa.func.array(_COMPONENTS).label("components"),
)


async def taken(session: database.WriteSession, drafts: Iterable[values.ProductDraft]) -> products.Taken:
    """Which codes, SKUs and barcodes of the drafts are in use."""
    wanted: dict[str, list[str]] = {"codes": [], "skus": [], "barcodes": []}
    for draft in drafts:
        wanted["codes"].append(codes.sku_key(draft.code))
        wanted["skus"] += [codes.sku_key(variant.sku) for variant in draft.variants]
        wanted["barcodes"] += [barcode for variant in draft.variants for barcode in variant.barcodes]
    found: dict[str, set[str]] = defaultdict(set)
    for row in await session.execute(TAKEN, wanted):
        found[row.kind].add(row.key)
    return products.Taken(frozenset(found["code"]), frozenset(found["SKU"]), frozenset(found["barcode"]))


async def insert(session: database.WriteSession, tenant: str, new: Sequence[values.Product]) -> bool:
    """Keeps new products with all that is theirs. False, and nothing kept, when a key was taken meanwhile."""
    savepoint = await session.begin_nested()
    variants = [row for product in new for row in _variant_rows(tenant, product, product.variants)]
    barcodes = [row for product in new for variant in product.variants for row in _barcode_rows(variant)]
    for statement, records in (
        (INSERT_PRODUCTS, [_product_row(product) for product in new]),
        (INSERT_VARIANTS, variants),
        (INSERT_BARCODES, barcodes),
    ):
        made = await session.execute(statement, {"rows": common.rows(records)})
        if made.rowcount != len(records):
            await savepoint.rollback()
            return False
    await savepoint.commit()
    await catalog_words.learn(
        session, tenant, _words(_texts(product, variant) for product in new for variant in product.variants)
    )
    return True


async def insert_variant(
    session: database.WriteSession, tenant: str, product: values.Product, variant: values.Variant
) -> None:
    """Keeps a new variant of a product that is locked. ALREADY_EXISTS names the SKU or the barcode that is taken."""
    records = _variant_rows(tenant, product, [variant], first=len(product.variants))
    made = await session.execute(INSERT_VARIANTS, {"rows": common.rows(records)})
    if made.rowcount == 0:
        raise products.already_exists("SKU", variant.sku)
    await _insert_barcodes(session, variant, _barcode_rows(variant))
    await catalog_words.learn(session, tenant, _words([_texts(product, variant)]))


async def update_variant(
    session: database.WriteSession, tenant: str, product: values.Product, variant: values.Variant
) -> None:
    """Keeps the next version of a variant of a product that is locked. ALREADY_EXISTS names a barcode that is taken."""
    record = _variant_rows(tenant, product, [variant])[0]
    kept = (
        "name", "options", "package", "lead_time_days", "tax_category", "discontinued", "attributes", "version", "words",
        "lot_policy",
    )  # fmt: skip
    statement = sa.update(VARIANT).where(VARIANT.c.sku_key == variant.sku_key)
    package = None if variant.package is None else list(variant.package)  # the driver takes a tuple for a row
    await session.execute(statement.values({**{name: record[name] for name in kept}, "package": package}))
    await session.execute(sa.delete(BARCODE).where(BARCODE.c.sku_key == variant.sku_key))
    await _insert_barcodes(session, variant, _barcode_rows(variant))
    await catalog_words.learn(session, tenant, _words([_texts(product, variant)]))


async def _insert_barcodes(
    session: database.WriteSession, variant: values.Variant, records: list[dict[str, Any]]
) -> None:
    made = await session.execute(INSERT_BARCODES, {"rows": common.rows(records)})
    if made.rowcount == len(records):
        return
    statement = sa.select(BARCODE.c.barcode).where(
        BARCODE.c.barcode.in_(variant.barcodes), BARCODE.c.sku_key != variant.sku_key
    )
    raise products.already_exists("barcode", (await session.execute(statement)).scalars().first() or "")


async def update(
    session: database.WriteSession, tenant: str, product: values.Product, *, reindex: bool = False
) -> None:
    """Keeps the next version of a product that is locked. reindex: something changed that its variants are found by."""
    columns = _product_row(product)
    statement = sa.update(PRODUCT).where(PRODUCT.c.id == columns.pop("id"))
    await session.execute(statement.values(**columns))
    if reindex:
        records = _variant_rows(tenant, product, product.variants)
        kept = ("sku_key", "category_key", "words", "options", "version")
        indexed = [{name: row[name] for name in kept} for row in records]
        await session.execute(REINDEX_VARIANTS, {"rows": common.rows(indexed)})
        await catalog_words.learn(session, tenant, _words(_texts(product, variant) for variant in product.variants))


async def product_of(session: common.Session, sku: str) -> uuid.UUID | None:
    """Which product a SKU belongs to. It never moves to another."""
    statement = sa.select(VARIANT.c.product_id).where(VARIANT.c.sku_key == codes.sku_key(sku))
    return (await session.execute(statement)).scalar_one_or_none()


async def get(session: common.Session, product_id: uuid.UUID, *, lock: bool = False) -> values.Product | None:
    """The product with its variants. lock: nobody else edits either until the end of the transaction."""
    statement = sa.select(PRODUCT).where(PRODUCT.c.id == product_id)
    found = (await session.execute(statement.with_for_update(key_share=True) if lock else statement)).all()
    return next(iter(await _with_variants(session, found)), None)


async def get_variant(session: common.Session, sku: str) -> values.Variant | None:
    """The variant."""
    statement = sa.select(*VARIANT_COLUMNS).where(VARIANT.c.sku_key == codes.sku_key(sku))
    found = (await session.execute(statement)).one_or_none()
    return None if found is None else variant_of(found)


async def page(
    session: common.Session, *, category: str, brand: str, having: str | None, after: uuid.UUID | None, limit: int
) -> list[values.Product]:
    """Products in the order they were made. category: it and all below; empty: any. having: features, as text of a tsquery."""
    statement = sa.select(PRODUCT).order_by(PRODUCT.c.id).limit(limit)
    if (within := codes.category_range(category)) is not None:
        key = PRODUCT.c.category_key
        statement = statement.where(key >= within.start, key < within.end)
    if brand:
        statement = statement.where(PRODUCT.c.brand == brand)
    if after is not None:
        statement = statement.where(PRODUCT.c.id > after)
    if having is not None:
        parameters = {
            "category_from": within and within.start,
            "category_until": within and within.end,
            "features": having,
            "brand": brand or None,
            "after": after or uuid.UUID(int=0),
            "walk": WALK_MAX,
            "rows": limit,
        }
        found = HAVING.bindparams(**parameters).subquery("found")
        statement = statement.where(PRODUCT.c.id.in_(sa.select(found.c.id)))
    return await _with_variants(session, (await session.execute(statement)).all())


async def _with_variants(session: common.Session, found: Sequence[sa.Row[Any]]) -> list[values.Product]:
    wanted = sa.any_(sa.cast([row.id for row in found], pg.ARRAY(pg.UUID)))
    statement = sa.select(*VARIANT_COLUMNS).where(VARIANT.c.product_id == wanted).order_by(VARIANT.c.position)
    variants: dict[uuid.UUID, list[values.Variant]] = defaultdict(list)
    for row in await session.execute(statement):
        variants[row.product_id].append(variant_of(row))
    return [
        values.Product(
            id=row.id,
            code=row.code,
            name=row.name,
            description=row.description,
            brand=row.brand,
            category=row.category,
            axes=tuple(values.Axis(name, tuple(allowed), default) for name, allowed, default in row.axes),
            attributes=pairs(row.attributes),
            variants=tuple(variants[row.id]),
            version=row.version,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in found
    ]


def pairs(kept: Sequence[Sequence[Any]]) -> tuple[tuple[str, Any], ...]:
    """Options or attributes from their JSON."""
    return tuple((name, value) for name, value in kept)


def variant_of(row: Any) -> values.Variant:
    """A variant from a row that has VARIANT_COLUMNS."""
    return values.Variant(
        sku=row.sku,
        product_id=row.product_id,
        name=row.name,
        options=pairs(row.options),
        barcodes=tuple(row.barcodes),
        stock_unit=row.stock_unit,
        package=None if row.package is None else tuple(row.package),
        lead_time_days=row.lead_time_days,
        tax_category=row.tax_category,
        discontinued=row.discontinued,
        attributes=pairs(row.attributes),
        lot_policy=None if row.lot_policy is None else lot_rows.policy_of(row.lot_policy),
        version=row.version,
        components=pairs(row.components),
    )


def _product_row(product: values.Product) -> dict[str, Any]:
    return {
        "id": product.id,
        "code": product.code,
        "code_key": codes.sku_key(product.code),
        "name": product.name,
        "description": product.description,
        "brand": product.brand,
        "category": product.category,
        "category_key": codes.category_key(product.category),
        "axes": [(axis.name, axis.values, axis.default) for axis in product.axes],
        "attributes": product.attributes,
        "version": product.version,
        "created_at": product.created_at,
        "updated_at": product.updated_at,
    }


def _texts(product: values.Product, variant: values.Variant) -> codes.Texts:
    """What a variant is found by."""
    return codes.Texts(
        names=(product.name, variant.name),
        features=(product.brand, *(value for _, value in variant.options)),
        category=product.category,
        details=tuple(text for _, text in (*product.attributes, *variant.attributes) if isinstance(text, str)),
    )


def _words(found_by: Iterable[codes.Texts]) -> set[str]:
    """The words of variants, each once."""
    texts = {text for each in found_by for _, given in each.weighed() for text in given}
    return {word for text in texts for word in codes.words(text)}


def _variant_rows(
    tenant: str, product: values.Product, variants: Sequence[values.Variant], first: int = 0
) -> list[dict[str, Any]]:
    category_key = codes.category_key(product.category)
    return [
        {
            "sku_key": variant.sku_key,
            "sku": variant.sku,
            "product_id": product.id,
            "position": position,
            "name": variant.name,
            "options": variant.options,
            "stock_unit": variant.stock_unit,
            "package": variant.package,
            "lead_time_days": variant.lead_time_days,
            "tax_category": variant.tax_category,
            "discontinued": variant.discontinued,
            "attributes": variant.attributes,
            "version": variant.version,
            "category_key": category_key,
            "words": codes.document(
                tenant,
                _texts(product, variant),
                (features.lexeme(tenant, each) for each in sorted(features.features(product.attributes, variant))),
            ),
            "lot_policy": lot_rows.policy_json(variant.lot_policy),
        }
        for position, variant in enumerate(variants, first)
    ]


def _barcode_rows(variant: values.Variant) -> list[dict[str, Any]]:
    key = variant.sku_key
    return [{"barcode": code, "sku_key": key, "position": n} for n, code in enumerate(variant.barcodes)]
