"""SQLAlchemy Core tables of bundles. Columns as in migrations/versions/0010_bundles.py, which has the reasons."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

metadata = sa.MetaData()


def _table(name: str, *columns: sa.Column[object]) -> sa.Table:
    return sa.Table(name, metadata, sa.Column("tenant_id", pg.UUID, primary_key=True), *columns)


def _content() -> list[sa.Column[object]]:
    return [sa.Column("sku", sa.Text), sa.Column("quantity", sa.BigInteger)]


bundle_set = _table("bundle_set", sa.Column("version", sa.BigInteger))

bundle = _table("bundle", sa.Column("sku_key", sa.Text, primary_key=True), sa.Column("version", sa.BigInteger))

bundle_component = _table(
    "bundle_component",
    sa.Column("bundle_key", sa.Text, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("sku_key", sa.Text),
    *_content(),
)

bundle_part = _table(
    "bundle_part",
    sa.Column("bundle_key", sa.Text, primary_key=True),
    sa.Column("sku_key", sa.Text, primary_key=True),
    *_content(),
)
