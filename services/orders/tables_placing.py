"""SQLAlchemy Core tables of placed orders. Columns as in migrations/versions/0005_orders.py, with the reasons."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.orders.tables import JSON, _at, _columns, metadata

order_group = sa.Table(
    "order_group",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    *_columns(pg.UUID, "order_id", "location_id"),
    *_columns(sa.SmallInteger, "state"),
    _at("occurred_at"),
    _at("updated_at"),
)

order_group_line = sa.Table(
    "order_group_line",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("group_id", pg.UUID, primary_key=True),
    sa.Column("reservation_id", pg.UUID, primary_key=True),
    sa.Column("line_number", sa.SmallInteger, primary_key=True),
    sa.Column("sku", sa.Text, primary_key=True),
    *_columns(sa.BigInteger, "quantity"),
)

order_parcel = sa.Table(
    "order_parcel",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    *_columns(pg.UUID, "group_id"),
    *_columns(sa.SmallInteger, "state"),
    _at("updated_at"),
)

order_history = sa.Table(
    "order_history",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("order_id", pg.UUID, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    *_columns(sa.SmallInteger, "machine"),
    *_columns(sa.BigInteger, "version"),
    *_columns(pg.UUID, "target_id"),
    *_columns(sa.Text, "from_state", "to_state", "reason", "actor"),
    _at("at"),
)

order_saga = sa.Table(
    "order_saga",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    *_columns(pg.UUID, "order_id", "reservation_id"),
    *_columns(sa.SmallInteger, "kind", "step", "round"),
    *_columns(sa.Boolean, "succeeded"),
    *_columns(sa.BigInteger, "fence"),
    *_columns(sa.Integer, "attempts"),
    *_columns(sa.Text, "principal", "method", "request_key", "failure", "failure_code"),
    *_columns(sa.LargeBinary, "fingerprint"),
    *_columns(JSON, "plan"),
    _at("due_at"),
    _at("deadline_at"),
    _at("created_at"),
    sa.Column("finished_at", pg.TIMESTAMP(timezone=True)),
)

order_number = sa.Table(
    "order_number",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    *_columns(sa.BigInteger, "last"),
)

tax_policy = sa.Table(
    "tax_policy",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("country_code", sa.Text, primary_key=True),
    *_columns(sa.Boolean, "tax_inclusive"),
    *_columns(sa.SmallInteger, "rounding_level", "rounding_mode"),
    *_columns(sa.BigInteger, "version"),
    _at("updated_at"),
    *_columns(pg.JSONB, "rates"),
)
