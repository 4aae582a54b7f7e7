"""SQLAlchemy Core tables of marketplaces. Columns as in migrations/versions/0010_marketplaces.py, with the reasons."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.orders.tables import _at, _columns, metadata

_moment = pg.TIMESTAMP(timezone=True)

connection = sa.Table(
    "marketplace_connection",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    *_columns(pg.UUID, "location_id"),
    sa.Column("stock_locations", pg.ARRAY(pg.UUID)),
    *_columns(sa.SmallInteger, "kind", "state"),
    *_columns(sa.BigInteger, "buffer", "version"),
    *_columns(sa.Integer, "failures", "pass_failures"),
    sa.Column("cancel_after", sa.Interval),
    _at("cursor_at"),
    _at("created_at"),
    _at("updated_at"),
    *_columns(_moment, "success_at", "failed_at", "throttled_until", "listed_at", "polled_at"),
    *_columns(sa.Text, "name", "account", "failure", "watch_token"),
)

order = sa.Table(
    "marketplace_order",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("connection_id", pg.UUID, primary_key=True),
    sa.Column("number", sa.Text, primary_key=True),
    *_columns(pg.UUID, "customer_id", "address_id", "order_id"),
    *_columns(sa.SmallInteger, "state", "problem"),
    *_columns(sa.Integer, "attempts"),
    *_columns(sa.BigInteger, "version", "told_version"),
    _at("due_at"),
    _at("modified_at"),
    _at("received_at"),
    _at("updated_at"),
    *_columns(pg.JSONB, "content"),
    *_columns(sa.Text, "detail"),
)

status = sa.Table(
    "marketplace_status",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("connection_id", pg.UUID, primary_key=True),
    sa.Column("number", sa.Text, primary_key=True),
    sa.Column("kind", sa.SmallInteger, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    *_columns(sa.Integer, "attempts"),
    _at("due_at"),
    _at("made_at"),
    *_columns(_moment, "sent_at"),
    *_columns(sa.Text, "refused"),
    *_columns(pg.JSONB, "told"),
)

listing = sa.Table(
    "marketplace_listing",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("connection_id", pg.UUID, primary_key=True),
    sa.Column("sku_key", sa.Text, primary_key=True),
    *_columns(sa.Text, "sku", "failure"),
    *_columns(sa.BigInteger, "wanted", "sent", "quantity", "fence"),
    *_columns(sa.Boolean, "sending", "unsure"),
    *_columns(sa.Integer, "attempts", "revisions"),
    *_columns(sa.Date, "revised_on"),
    _at("due_at"),
    *_columns(_moment, "sent_at"),
)

account = sa.Table(
    "marketplace_account",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("connection_id", pg.UUID, primary_key=True),
    sa.Column("currency_code", sa.Text, primary_key=True),
    *_columns(sa.BigInteger, "seq", "owed"),
)

entry = sa.Table(
    "marketplace_entry",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("connection_id", pg.UUID, primary_key=True),
    sa.Column("currency_code", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    *_columns(sa.SmallInteger, "kind", "from_book", "to_book"),
    *_columns(sa.BigInteger, "amount", "owed_after"),
    *_columns(pg.UUID, "order_id", "payment_id"),
    _at("recorded_at"),
    *_columns(sa.Text, "reference", "actor"),
)
