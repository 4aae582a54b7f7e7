"""SQLAlchemy Core tables of the catalogue. Columns and reasons as in migrations/versions/0002, 0004 and 0011."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData()


def _tenant() -> sa.Column[object]:
    return sa.Column("tenant_id", pg.UUID, primary_key=True)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text) for name in names]


def _at(name: str) -> sa.Column[object]:
    return sa.Column(name, pg.TIMESTAMP(timezone=True))


location = sa.Table(
    "location",
    metadata,
    _tenant(),
    sa.Column("id", pg.UUID, primary_key=True),
    *_texts("code", "code_key", "name", "timezone", "business_day_cutoff", "currency_code"),
    sa.Column("type", sa.SmallInteger),
    sa.Column("capabilities", pg.ARRAY(sa.SmallInteger)),
    sa.Column("address", pg.JSONB(none_as_null=True)),
    sa.Column("closed", sa.Boolean),
    sa.Column("version", sa.BigInteger),
    _at("created_at"),
    _at("updated_at"),
)

product = sa.Table(
    "product",
    metadata,
    _tenant(),
    sa.Column("id", pg.UUID, primary_key=True),
    *_texts("code", "code_key", "name", "description", "brand", "category", "category_key"),
    sa.Column("axes", pg.JSONB),
    sa.Column("attributes", pg.JSONB),
    sa.Column("version", sa.BigInteger),
    _at("created_at"),
    _at("updated_at"),
)

variant = sa.Table(
    "variant",
    metadata,
    _tenant(),
    sa.Column("sku_key", sa.Text, primary_key=True),
    *_texts("sku", "name", "tax_category", "category_key"),
    sa.Column("product_id", pg.UUID),
    sa.Column("position", sa.Integer),
    sa.Column("options", pg.JSONB),
    sa.Column("stock_unit", sa.SmallInteger),
    sa.Column("package", pg.ARRAY(sa.Integer)),
    sa.Column("lead_time_days", sa.Integer),
    sa.Column("discontinued", sa.Boolean),
    sa.Column("attributes", pg.JSONB),
    sa.Column("lot_policy", pg.JSONB(none_as_null=True)),
    sa.Column("version", sa.BigInteger),
    sa.Column("words", pg.TSVECTOR),
)

lot = sa.Table(
    "lot",
    metadata,
    _tenant(),
    sa.Column("sku_key", sa.Text, primary_key=True),
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("id", pg.UUID),
    *(sa.Column(name, sa.Date) for name in ("expires_on", "best_before_on", "produced_on")),
    _at("recalled_at"),
    *_texts("recall_reason"),
    sa.Column("version", sa.BigInteger),
    _at("created_at"),
    _at("updated_at"),
    sa.Column("settled", sa.Boolean),
)

barcode = sa.Table(
    "barcode",
    metadata,
    _tenant(),
    sa.Column("barcode", sa.Text, primary_key=True),
    sa.Column("sku_key", sa.Text),
    sa.Column("position", sa.Integer),
)

price_list = sa.Table(
    "price_list",
    metadata,
    _tenant(),
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("name", sa.Text),
    _at("valid_from"),
    _at("valid_until"),
    sa.Column("restricted", sa.Boolean),
    sa.Column("version", sa.BigInteger),
    _at("created_at"),
    _at("updated_at"),
)

price = sa.Table(
    "price",
    metadata,
    _tenant(),
    sa.Column("id", pg.UUID, primary_key=True),
    *_texts("sku_key", "price_list"),
    sa.Column("location_id", pg.UUID, nullable=True),
    sa.Column("currency_code", sa.Text),
    sa.Column("minor_units", sa.BigInteger),
    _at("valid_from"),
    _at("valid_until"),
)
