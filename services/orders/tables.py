"""SQLAlchemy Core tables. Columns as in migrations/versions/0002_sales.py, which also holds the reasons."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData()
JSON = pg.JSONB(none_as_null=True)


def _columns(kind: type[sa.types.TypeEngine[Any]] | sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name in names]


def _at(name: str) -> sa.Column[Any]:
    return sa.Column(name, pg.TIMESTAMP(timezone=True), nullable=False)


sales_order = sa.Table(
    "sales_order",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    *_columns(pg.UUID, "location_id", "customer_id", "reservation_id"),
    *_columns(sa.BigInteger, "seq", "unit_count", "net_total", "tax_total", "discount_total", "total", "version"),
    *_columns(sa.SmallInteger, "channel", "state", "business_hour"),
    *_columns(sa.Boolean, "tax_inclusive", "clock_skewed"),
    *_columns(sa.Text, "currency_code", "campaign_id", "terminal_id", "client_sale_id", "actor"),
    sa.Column("line_count", sa.Integer),
    sa.Column("business_date", sa.Date),
    sa.Column("fingerprint", sa.LargeBinary),
    _at("occurred_at"),
    _at("recorded_at"),
    # Of orders that are no sales: migrations/versions/0005_orders.py.
    *_columns(sa.BigInteger, "number", "tax_policy_version"),
    *_columns(sa.SmallInteger, "method", "rounding_mode", "tax_level", "capture", "cancel_reason"),
    *_columns(pg.UUID, "pickup_location_id"),
    *_columns(pg.TIMESTAMP(timezone=True), "pickup_at", "valid_until", "placed_at", "updated_at", "balance_due_at"),
    *_columns(sa.Text, "address_id", "country_code", "delivery_method", "tax_country", "price_list", "cancel_note"),
    *_columns(sa.Text, "external_reference", "marketplace", "note"),
    *_columns(sa.Boolean, "prices_held"),
    *_columns(JSON, "content"),
)


def _part(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """What an order has several of: keyed by location and day first, so that a summary reads one range."""
    return sa.Table(
        name,
        metadata,
        sa.Column("tenant_id", pg.UUID, primary_key=True),
        sa.Column("location_id", pg.UUID, primary_key=True),
        sa.Column("business_date", sa.Date, primary_key=True),
        sa.Column("order_id", pg.UUID, primary_key=True),
        sa.Column("number", sa.SmallInteger, primary_key=True),
        *_columns(sa.SmallInteger, "business_hour"),
        *_columns(sa.Text, "currency_code", "campaign_id"),
        *_columns(sa.Boolean, "counted"),
        *columns,
    )


order_line = _part(
    "order_line",
    *_columns(sa.SmallInteger, "kind"),
    *_columns(sa.Boolean, "unresolved"),
    *_columns(pg.UUID, "id", "product_id"),
    *_columns(sa.BigInteger, "quantity", "unit_price", "net_amount", "tax_amount", "discount_amount"),
    *_columns(sa.BigInteger, "canceled_quantity"),
    *_columns(sa.Text, "sku", "name", "category", "price_id", "tax_category", "lot"),
    *_columns(JSON, "taxes", "discounts", "components", "ordered"),
)

order_tender = _part(
    "order_tender",
    *_columns(sa.SmallInteger, "type"),
    *_columns(sa.BigInteger, "amount"),
    *_columns(sa.Text, "details"),
)

location_snapshot = sa.Table(
    "location_snapshot",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("location_id", pg.UUID, primary_key=True),
    *_columns(sa.Text, "timezone", "currency_code"),
    sa.Column("cutoff_minutes", sa.SmallInteger),
    sa.Column("sells", sa.Boolean),
    _at("resolved_at"),
)
