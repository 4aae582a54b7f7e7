"""SQLAlchemy Core tables of payments. Columns as in migrations/versions/0003_payments.py, which holds the reasons."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.orders.tables import _at, _columns, metadata

payment = sa.Table(
    "payment",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    *_columns(pg.UUID, "order_id", "location_id"),
    *_columns(sa.SmallInteger, "provider", "state", "purpose"),
    *_columns(sa.Boolean, "voiding", "single_capture"),
    *_columns(
        sa.BigInteger,
        "amount",
        "authorised",
        "captured",
        "refunded",
        "voided",
        "capturing",
        "refunding",
        "by_hand",
        "version",
    ),
    *_columns(sa.Text, "currency_code", "method", "reference", "declined_reason", "details", "actor"),
    _at("occurred_at"),
    _at("created_at"),
    _at("updated_at"),
    sa.Column("expires_at", pg.TIMESTAMP(timezone=True)),
    sa.Column("look_at", pg.TIMESTAMP(timezone=True)),
)

payment_operation = sa.Table(
    "payment_operation",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    *_columns(pg.UUID, "payment_id"),
    *_columns(sa.SmallInteger, "kind", "progress"),
    *_columns(sa.Boolean, "final"),
    *_columns(sa.BigInteger, "amount"),
    *_columns(sa.Integer, "attempts"),
    *_columns(sa.Text, "key", "reference", "code", "actor"),
    _at("created_at"),
    _at("due_at"),
    sa.Column("settled_at", pg.TIMESTAMP(timezone=True)),
)

payment_exception = sa.Table(
    "payment_exception",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    *_columns(pg.UUID, "payment_id", "operation_id"),
    *_columns(sa.SmallInteger, "kind", "finding"),
    *_columns(sa.BigInteger, "expected", "found"),
    *_columns(sa.Text, "resolved_by", "note", "code", "reference"),
    _at("raised_at"),
    sa.Column("resolved_at", pg.TIMESTAMP(timezone=True)),
)

stored_value_account = sa.Table(
    "stored_value_account",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    *_columns(pg.UUID, "customer_id"),
    *_columns(sa.SmallInteger, "kind", "state"),
    *_columns(sa.BigInteger, "balance", "held", "seq"),
    *_columns(sa.Text, "currency_code", "last_four"),
    sa.Column("code_digest", sa.LargeBinary),
    _at("created_at"),
    _at("updated_at"),
    sa.Column("expires_at", pg.TIMESTAMP(timezone=True)),
)

stored_value_entry = sa.Table(
    "stored_value_entry",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("account_id", pg.UUID, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    *_columns(pg.UUID, "payment_id"),
    *_columns(sa.SmallInteger, "kind", "from_book", "to_book"),
    *_columns(sa.BigInteger, "amount", "balance_after", "held_after"),
    *_columns(sa.Text, "reason", "actor"),
    _at("recorded_at"),
)
