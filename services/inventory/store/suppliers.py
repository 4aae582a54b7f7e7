"""SQL of suppliers and their lists."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import catalog, suppliers
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_products as products
from services.inventory.store import catalog as common
from services.inventory.tables import catalog as catalog_tables
from services.inventory.tables import replenishment as tables
from services.kit import database

SUPPLIER, LISTED, VARIANT = tables.supplier, tables.supplier_sku, catalog_tables.variant
# Rows are taken in the order of their key, so that two lists of the same supplier wait for each other in one direction.
PUT = sa.text("""
INSERT INTO supplier_sku (tenant_id, supplier_id, sku_key, supplier_sku, cost, pack_size, minimum_order_quantity,
                          lead_time_days, discontinued, updated_at)
SELECT current_setting('app.tenant_id')::uuid, CAST(:supplier AS uuid), r.*, clock_timestamp()
FROM json_to_recordset(CAST(:rows AS json)) AS r (
    sku_key text, supplier_sku text, cost bigint, pack_size bigint, minimum_order_quantity bigint, lead_time_days int,
    discontinued boolean
) ORDER BY r.sku_key
ON CONFLICT (tenant_id, supplier_id, sku_key) DO UPDATE SET supplier_sku = excluded.supplier_sku, cost = excluded.cost,
    pack_size = excluded.pack_size, minimum_order_quantity = excluded.minimum_order_quantity,
    lead_time_days = excluded.lead_time_days, discontinued = excluded.discontinued, updated_at = excluded.updated_at
""")


async def insert(session: database.WriteSession, supplier: suppliers.Supplier) -> None:
    """Keeps a new supplier. ALREADY_EXISTS when its code is taken."""
    statement = pg.insert(SUPPLIER).values(tenant_id=common.TENANT, id=supplier.id, **_columns(supplier))
    made = await session.execute(statement.on_conflict_do_nothing(constraint="supplier_code").returning(SUPPLIER.c.id))
    if made.first() is None:
        raise products.already_exists("code", supplier.code)


async def update(session: database.WriteSession, supplier: suppliers.Supplier) -> None:
    """Keeps the next version of a supplier that is locked. ALREADY_EXISTS when its code is taken."""
    with common.unique({"supplier_code": products.already_exists("code", supplier.code)}):
        await session.execute(sa.update(SUPPLIER).where(SUPPLIER.c.id == supplier.id).values(**_columns(supplier)))


async def get(session: common.Session, supplier_id: uuid.UUID, *, lock: bool = False) -> suppliers.Supplier | None:
    """The supplier. lock: nobody else edits it or its list until the end of the transaction."""
    statement = sa.select(SUPPLIER).where(SUPPLIER.c.id == supplier_id)
    found = (await session.execute(statement.with_for_update(key_share=True) if lock else statement)).one_or_none()
    return None if found is None else _supplier(found)


async def page(
    session: common.Session, *, query: str, inactive: bool, after: str | None, limit: int
) -> list[suppliers.Supplier]:
    """Suppliers by code. query: beginning of a code, or part of a name; after: a folded code."""
    statement = sa.select(SUPPLIER).order_by(SUPPLIER.c.code_key).limit(limit)
    if query:
        key = codes.sku_key(query)
        named = sa.func.strpos(sa.func.lower(SUPPLIER.c.name), key) > 0  # a brand has hundreds: reading them is enough
        statement = statement.where(sa.or_(sa.func.starts_with(SUPPLIER.c.code_key, key), named))
    if not inactive:
        statement = statement.where(~SUPPLIER.c.inactive)
    if after is not None:
        statement = statement.where(SUPPLIER.c.code_key > after)
    return [_supplier(row) for row in await session.execute(statement)]


async def rows_of(
    session: common.Session, supplier_id: uuid.UUID, keys: Collection[str]
) -> dict[str, suppliers.SupplierSku]:
    """Rows of a supplier's list, by folded SKU."""
    statement = _listed().where(LISTED.c.supplier_id == supplier_id, LISTED.c.sku_key == _any(keys))
    return {row.sku_key: _row(row) for row in await session.execute(statement)}


async def spellings(session: common.Session, keys: Collection[str]) -> dict[str, str]:
    """How the catalogue spells folded SKUs, of those that it has."""
    statement = sa.select(VARIANT.c.sku_key, VARIANT.c.sku).where(VARIANT.c.sku_key == _any(keys))
    return {row.sku_key: row.sku for row in await session.execute(statement)}


async def put(session: database.WriteSession, supplier_id: uuid.UUID, rows: Sequence[suppliers.SupplierSku]) -> None:
    """Keeps rows of a supplier that is locked, in place of those with the same SKU."""
    records = [
        {
            "sku_key": codes.sku_key(row.sku),
            "supplier_sku": row.supplier_sku,
            "cost": row.cost,
            "pack_size": row.pack_size,
            "minimum_order_quantity": row.minimum_order_quantity,
            "lead_time_days": row.lead_time_days,
            "discontinued": row.discontinued,
        }
        for row in rows
    ]
    if records:
        await session.execute(PUT, {"supplier": supplier_id, "rows": common.rows(records)})


async def list_skus(
    session: common.Session, supplier_id: uuid.UUID, *, prefix: str, discontinued: bool, after: str | None, limit: int
) -> list[suppliers.Listed]:
    """A supplier's list, by SKU. after: a folded SKU."""
    statement = _listed().where(LISTED.c.supplier_id == supplier_id).order_by(LISTED.c.sku_key).limit(limit)
    if prefix:
        begin = codes.prefix_range(codes.sku_key(prefix))
        statement = statement.where(LISTED.c.sku_key >= begin.start, LISTED.c.sku_key < begin.end)
    if not discontinued:
        statement = statement.where(~LISTED.c.discontinued)
    if after is not None:
        statement = statement.where(LISTED.c.sku_key > after)
    return await _lists(session, statement)


async def suppliers_of(
    session: common.Session, key: str, *, after: uuid.UUID | None, limit: int
) -> list[suppliers.Listed]:
    """Who delivers a folded SKU, by supplier."""
    statement = _listed().where(LISTED.c.sku_key == key).order_by(LISTED.c.supplier_id).limit(limit)
    if after is not None:
        statement = statement.where(LISTED.c.supplier_id > after)
    return await _lists(session, statement)


def _listed() -> sa.Select[Any]:
    return (
        sa.select(LISTED, VARIANT.c.sku, SUPPLIER.c.currency_code)
        .join(VARIANT, sa.and_(VARIANT.c.tenant_id == LISTED.c.tenant_id, VARIANT.c.sku_key == LISTED.c.sku_key))
        .join(SUPPLIER, sa.and_(SUPPLIER.c.tenant_id == LISTED.c.tenant_id, SUPPLIER.c.id == LISTED.c.supplier_id))
    )


def _any(keys: Collection[str]) -> sa.CollectionAggregate[Any]:
    return sa.any_(sa.cast(list(keys), pg.ARRAY(sa.Text)))


async def _lists(session: common.Session, statement: sa.Select[Any]) -> list[suppliers.Listed]:
    return [
        suppliers.Listed(
            supplier_id=row.supplier_id, currency_code=row.currency_code, row=_row(row), updated_at=row.updated_at
        )
        for row in await session.execute(statement)
    ]


def _row(row: Any) -> suppliers.SupplierSku:
    return suppliers.SupplierSku(
        sku=row.sku,
        supplier_sku=row.supplier_sku,
        cost=row.cost,
        pack_size=row.pack_size,
        minimum_order_quantity=row.minimum_order_quantity,
        lead_time_days=row.lead_time_days,
        discontinued=row.discontinued,
    )


def _columns(supplier: suppliers.Supplier) -> dict[str, Any]:
    return {
        "code": supplier.code,
        "code_key": codes.sku_key(supplier.code),
        "name": supplier.name,
        "contact": dataclasses.asdict(supplier.contact),
        "currency_code": supplier.currency_code,
        "default_lead_time_days": supplier.default_lead_time_days,
        "inactive": supplier.inactive,
        "version": supplier.version,
        "created_at": supplier.created_at,
        "updated_at": supplier.updated_at,
    }


def _supplier(row: Any) -> suppliers.Supplier:
    address = row.contact["address"]
    place = None if address is None else catalog.Address(**{**address, "lines": tuple(address["lines"])})
    return suppliers.Supplier(
        id=row.id,
        code=row.code,
        name=row.name,
        currency_code=row.currency_code,
        contact=suppliers.Contact(**{**row.contact, "address": place}),
        default_lead_time_days=row.default_lead_time_days,
        inactive=row.inactive,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


# --- performance ---

# One row: counts and sums over the orders of a period. A line is due when its order has ended, it is complete, or its
# promised date has passed.
PERFORMANCE = sa.text("""
WITH chosen AS (
    SELECT id, state, ordered_at FROM purchase_order
    WHERE supplier_id = CAST(:supplier AS uuid) AND ordered_at >= :from_at AND ordered_at < :until_at
      AND (CAST(:within AS uuid[]) IS NULL OR location_id = ANY (CAST(:within AS uuid[])))
), line AS (
    SELECT l.ordered, l.received, l.damaged, l.rejected, l.promised_at, l.completed_at, o.ordered_at,
           o.state IN (4, 5) OR l.completed_at IS NOT NULL OR l.promised_at <= clock_timestamp() AS due
    FROM chosen o JOIN purchase_order_line l ON l.order_id = o.id WHERE o.state <> 6
)
SELECT (SELECT count(*) FILTER (WHERE state <> 6) FROM chosen) AS orders,
       (SELECT count(*) FILTER (WHERE state = 6) FROM chosen) AS orders_cancelled,
       count(*) AS lines,
       count(*) FILTER (WHERE due) AS lines_due,
       count(*) FILTER (WHERE due AND completed_at <= promised_at) AS lines_on_time,
       coalesce(sum(ordered) FILTER (WHERE due), 0)::bigint AS units_due,
       coalesce(sum(least(received - damaged, ordered)) FILTER (WHERE due), 0)::bigint AS units_filled,
       coalesce(sum(damaged), 0)::bigint AS units_damaged,
       coalesce(sum(rejected), 0)::bigint AS units_rejected,
       round(avg(greatest(extract(epoch FROM completed_at - ordered_at), 0))
             FILTER (WHERE completed_at IS NOT NULL) / 86400, 2)::text AS mean_lead_time_days
FROM line
""")


async def performance(
    session: common.Session,
    supplier_id: uuid.UUID,
    *,
    from_at: dt.datetime,
    until_at: dt.datetime,
    within: Collection[uuid.UUID] | None,
) -> Any:
    """Sums over a supplier's orders (columns as PERFORMANCE names them). within: only these locations; None: all."""
    locations = None if within is None else list(within)
    given = {"supplier": supplier_id, "from_at": from_at, "until_at": until_at, "within": locations}
    return (await session.execute(PERFORMANCE, given)).one()
