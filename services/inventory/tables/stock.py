"""SQLAlchemy Core tables of stock. Columns as in migrations/versions/0003 and 0011, which also hold the reasons."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData()


def _key() -> list[sa.Column[object]]:
    return [sa.Column("tenant_id", pg.UUID, primary_key=True), sa.Column("location_id", pg.UUID, primary_key=True)]


def _at(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, pg.TIMESTAMP(timezone=True), nullable=nullable)


stock_head = sa.Table(
    "stock_head",
    metadata,
    *_key(),
    *(sa.Column(name, sa.BigInteger) for name in ("seq", "epoch", "bundles")),
)

stock_level = sa.Table(
    "stock_level",
    metadata,
    *_key(),
    sa.Column("sku_key", sa.Text, primary_key=True),
    sa.Column("sku", sa.Text),
    *(
        sa.Column(name, sa.BigInteger)
        for name in (
            "on_hand", "reserved", "allocated", "damaged", "quality_control", "expired", "in_transit", "safety_stock",
            "backorder_limit", "available", "version", "low_stock_threshold", "rearm_threshold",
        )
    ),
    sa.Column("alert", sa.SmallInteger),
    sa.Column("has_lots", sa.Boolean),
    sa.Column("incoming", pg.JSONB),
    _at("observed_at", nullable=True),
    _at("updated_at"),
)  # fmt: skip

ledger = sa.Table(
    "ledger",
    metadata,
    *_key(),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("sku", sa.Text),
    sa.Column("lot", sa.Text),
    sa.Column("from_state", sa.SmallInteger),
    sa.Column("to_state", sa.SmallInteger),
    sa.Column("quantity", sa.BigInteger),
    sa.Column("reason", sa.SmallInteger),
    *(sa.Column(name, sa.Text) for name in ("ref_type", "ref_id", "actor", "terminal")),
    _at("occurred_at"),
    _at("recorded_at"),
)

hold = sa.Table(
    "hold",
    metadata,
    *_key(),
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("lot", sa.Text, primary_key=True),
    sa.Column("sku", sa.Text),
    sa.Column("quantity", sa.BigInteger),
    sa.Column("state", sa.SmallInteger),
    sa.Column("order_ref", sa.Text),
    _at("expires_at"),
    _at("created_at"),
    sa.Column("created_seq", sa.BigInteger),
)

hold_bucket = sa.Table(
    "hold_bucket",
    metadata,
    *_key(),
    sa.Column("sku_key", sa.Text, primary_key=True),
    sa.Column("expires_at", pg.TIMESTAMP(timezone=True), primary_key=True),
    sa.Column("quantity", sa.BigInteger),
)

stock_exception = sa.Table(
    "stock_exception",
    metadata,
    *_key(),
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("kind", sa.SmallInteger),
    sa.Column("sku", sa.Text),
    sa.Column("quantity", sa.BigInteger),
    sa.Column("ref_type", sa.Text),
    sa.Column("ref_id", sa.Text),
    _at("recorded_at"),
    _at("resolved_at", nullable=True),
    sa.Column("resolution", sa.Text),
    sa.Column("lot", sa.Text),
)

stock_lot = sa.Table(
    "stock_lot",
    metadata,
    *_key(),
    sa.Column("sku_key", sa.Text, primary_key=True),
    sa.Column("lot", sa.Text, primary_key=True),
    *(
        sa.Column(name, sa.BigInteger)
        for name in ("on_hand", "reserved", "allocated", "damaged", "quality_control", "expired", "in_transit", "free")
    ),
    _at("sell_until", nullable=True),
    _at("recalled_at", nullable=True),
)
