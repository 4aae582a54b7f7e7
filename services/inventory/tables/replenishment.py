"""SQLAlchemy Core tables of replenishment. Columns and reasons: migrations/versions 0004, 0009 and 0014."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData()


def _tenant() -> sa.Column[object]:
    return sa.Column("tenant_id", pg.UUID, primary_key=True)


def _key(name: str) -> sa.Column[object]:
    return sa.Column(name, pg.UUID, primary_key=True)


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger) for name in names]


def _times(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, pg.TIMESTAMP(timezone=True)) for name in names]


document_number = sa.Table(
    "document_number",
    metadata,
    _tenant(),
    sa.Column("kind", sa.Text, primary_key=True),
    *_numbers("last"),
)

document_effect = sa.Table(
    "document_effect",
    metadata,
    _tenant(),
    _key("document_id"),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", pg.UUID),
    sa.Column("location_id", pg.UUID),
    *_texts("ref_type", "ref_id"),
    sa.Column("command", pg.JSONB(none_as_null=True)),
    sa.Column("elsewhere_id", pg.UUID),
    sa.Column("elsewhere", pg.JSONB(none_as_null=True)),
    sa.Column("attempts", sa.Integer),
    *_times("created_at", "due_at", "applied_at"),
    *_numbers("seq"),
)

supplier = sa.Table(
    "supplier",
    metadata,
    _tenant(),
    _key("id"),
    *_texts("code", "code_key", "name", "currency_code"),
    sa.Column("contact", pg.JSONB),
    sa.Column("default_lead_time_days", sa.Integer),
    sa.Column("inactive", sa.Boolean),
    *_numbers("version"),
    *_times("created_at", "updated_at"),
)

supplier_sku = sa.Table(
    "supplier_sku",
    metadata,
    _tenant(),
    _key("supplier_id"),
    sa.Column("sku_key", sa.Text, primary_key=True),
    *_texts("supplier_sku"),
    *_numbers("cost", "pack_size", "minimum_order_quantity"),
    sa.Column("lead_time_days", sa.Integer),
    sa.Column("discontinued", sa.Boolean),
    *_times("updated_at"),
)

purchase_order = sa.Table(
    "purchase_order",
    metadata,
    _tenant(),
    _key("id"),
    *_numbers("number"),
    sa.Column("supplier_id", pg.UUID),
    sa.Column("location_id", pg.UUID),
    sa.Column("state", sa.SmallInteger),
    sa.Column("over_receipt_basis_points", sa.Integer),
    *_texts("currency_code", "note", "created_by", "end_reason"),
    *_numbers("version"),
    sa.Column("effects", sa.Integer),
    sa.Column("receipts", sa.Integer),
    sa.Column("settled", sa.Boolean),
    *_times("expected_at", "created_at", "updated_at", "ordered_at", "ended_at"),
)

purchase_order_line = sa.Table(
    "purchase_order_line",
    metadata,
    _tenant(),
    _key("order_id"),
    sa.Column("sku_key", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer),
    *_texts("sku", "supplier_sku"),
    *_numbers("ordered", "cost", "received", "damaged", "quality_control", "rejected"),
    *_times("expected_at", "promised_at", "completed_at"),
)

purchase_receipt = sa.Table(
    "purchase_receipt",
    metadata,
    _tenant(),
    _key("order_id"),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", pg.UUID),
    *_texts("delivery_note", "received_by", "terminal"),
    sa.Column("effect", sa.Integer),
    *_times("received_at", "recorded_at"),
)

purchase_receipt_line = sa.Table(
    "purchase_receipt_line",
    metadata,
    _tenant(),
    _key("order_id"),
    sa.Column("receipt", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    *_texts("sku", "lot"),
    *_numbers("accepted", "damaged", "quality_control", "rejected"),
)

cycle_count = sa.Table(
    "cycle_count",
    metadata,
    _tenant(),
    _key("id"),
    *_numbers("number"),
    sa.Column("location_id", pg.UUID),
    sa.Column("state", sa.SmallInteger),
    sa.Column("scope", pg.JSONB),
    *_texts("note", "currency_code", "created_by", "submitted_by", "decided_by", "decision_reason"),
    *_numbers("opened_seq", "version", "seq"),
    sa.Column("effects", sa.Integer),
    sa.Column("settled", sa.Boolean),
    *_times("created_at", "submitted_at", "decided_at", "updated_at"),
    *(sa.Column(name, sa.Integer) for name in ("lines", "lines_counted", "lines_varying")),
    *_numbers("units_over", "units_short", "variance_cost", "variance_value"),
)

cycle_count_line = sa.Table(
    "cycle_count_line",
    metadata,
    _tenant(),
    _key("count_id"),
    sa.Column("sku_key", sa.Text, primary_key=True),
    *_texts("sku", "counted_by"),
    sa.Column("location_id", pg.UUID),
    sa.Column("running", sa.Boolean),
    sa.Column("recount", sa.Boolean),
    sa.Column("superseded", sa.Boolean),
    sa.Column("passes", sa.Integer),
    *_numbers("counted", "on_hand", "seq", "expected", "unit_cost", "unit_price"),
    *_times("counted_at"),
)

cycle_count_pass = sa.Table(
    "cycle_count_pass",
    metadata,
    _tenant(),
    _key("count_id"),
    sa.Column("sku_key", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    *_numbers("counted", "on_hand", "seq"),
    *_texts("counted_by", "terminal"),
    *_times("counted_at", "recorded_at"),
)

transfer = sa.Table(
    "transfer",
    metadata,
    _tenant(),
    _key("id"),
    *_numbers("number"),
    sa.Column("from_location_id", pg.UUID),
    sa.Column("to_location_id", pg.UUID),
    sa.Column("state", sa.SmallInteger),
    *_texts("note", "reference", "created_by", "end_reason"),
    sa.Column("hold_id", pg.UUID),
    *_numbers("version"),
    sa.Column("effects", sa.Integer),
    sa.Column("events", sa.Integer),
    sa.Column("settled", sa.Boolean),
    *_times("expected_at", "created_at", "updated_at", "shipped_at", "ended_at"),
)

transfer_line = sa.Table(
    "transfer_line",
    metadata,
    _tenant(),
    _key("transfer_id"),
    sa.Column("sku_key", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer),
    *_texts("sku"),
    *_numbers("quantity", "shipped", "received", "damaged", "quality_control", "lost", "surplus"),
)

transfer_lot = sa.Table(
    "transfer_lot",
    metadata,
    _tenant(),
    _key("transfer_id"),
    sa.Column("sku_key", sa.Text, primary_key=True),
    sa.Column("lot", sa.Text, primary_key=True),
    *_numbers("shipped", "received", "lost", "mistaken", "surplus"),
)

transfer_event = sa.Table(
    "transfer_event",
    metadata,
    _tenant(),
    _key("transfer_id"),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.SmallInteger),
    *_texts("note", "actor", "terminal"),
    sa.Column("effect", sa.Integer),
    *_times("occurred_at", "recorded_at"),
)

transfer_event_line = sa.Table(
    "transfer_event_line",
    metadata,
    _tenant(),
    _key("transfer_id"),
    sa.Column("event", sa.Integer, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    *_texts("sku", "lot"),
    *_numbers("shipped", "accepted", "damaged", "quality_control", "lost", "surplus"),
)
