"""Sums of sales, computed by PostgreSQL as exact numerics over one range of one location."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.kit import database
from services.orders.domain import summary as domain
from services.orders.domain.summary import Dimension, Source
from services.orders.store import reads
from services.orders.tables import order_line, order_tender, sales_order

# Key of a row in a page token: the values of the dimensions (dates as text), then the currency.
Key = Sequence[str | int]

_TABLES = {Source.ORDERS: sales_order, Source.LINES: order_line, Source.TENDERS: order_tender}
_COLUMNS = {
    Dimension.BUSINESS_DATE: "business_date",
    Dimension.HOUR: "business_hour",
    Dimension.SKU: "sku",
    Dimension.CATEGORY: "category",
    Dimension.TENDER: "type",
    Dimension.CAMPAIGN: "campaign_id",
}


async def sums(
    session: database.ReadSession,
    tenant: str,
    location: uuid.UUID,
    question: domain.Question,
    *,
    after: Key | None,
    limit: int,
) -> list[domain.Row]:
    """Rows in the order of the dimensions, then of the currency, after a key."""
    c = _TABLES[question.source].c
    keys = [*(c[_COLUMNS[dimension]] for dimension in question.dimensions), c.currency_code]
    query = (
        sa.select(*keys, *_measures(question.source))
        .where(c.tenant_id == tenant, c.location_id == location, *_range(question))
        .group_by(*keys)
        .order_by(*keys)
        .limit(limit)
    )
    if after is not None:
        query = query.where(sa.tuple_(*keys) > sa.tuple_(*_literals(keys, after)))
    return [_row(row, len(keys)) for row in await session.execute(query)]


def _range(question: domain.Question) -> list[sa.ColumnElement[bool]]:
    if question.source is Source.ORDERS:
        return [*reads.within(question.since, question.until), sales_order.c.state.in_(reads.SOLD)]
    c = _TABLES[question.source].c
    return [c.business_date.between(question.since, question.until), c.counted]


def _measures(source: Source) -> list[sa.ColumnElement[Any]]:
    """sales, lines, units, net, tax, discount. Tenders have amounts only."""
    nothing = sa.literal(0)
    if source is Source.ORDERS:
        c = sales_order.c
        counts = [sa.func.count(), sa.func.sum(c.line_count), sa.func.sum(c.unit_count)]
        return [*counts, sa.func.sum(c.net_total), sa.func.sum(c.tax_total), sa.func.sum(c.discount_total)]
    if source is Source.LINES:
        c = order_line.c
        counts = [sa.func.count(c.order_id.distinct()), sa.func.count(), sa.func.sum(c.quantity)]
        return [*counts, sa.func.sum(c.net_amount), sa.func.sum(c.tax_amount), sa.func.sum(c.discount_amount)]
    c = order_tender.c
    return [sa.func.count(c.order_id.distinct()), nothing, nothing, sa.func.sum(c.amount), nothing, nothing]


def _literals(keys: Sequence[sa.ColumnElement[Any]], after: Key) -> list[sa.ColumnElement[Any]]:
    values = [
        dt.date.fromisoformat(str(value)) if isinstance(column.type, sa.Date) else value
        for column, value in zip(keys, after, strict=True)
    ]
    return [sa.literal(value, column.type) for column, value in zip(keys, values, strict=True)]


def _row(row: sa.Row[Any], width: int) -> domain.Row:
    *key, currency = (value.isoformat() if isinstance(value, dt.date) else value for value in row[:width])
    return domain.Row(tuple(key), currency, *(int(value) for value in row[width:]))
