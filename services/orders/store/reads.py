"""Reads of orders: one by id, a location's in pages. Searches are in store/searching.py, sums in store/summary.py."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.kit import database
from services.orders.domain import placed_order
from services.orders.domain import sale as domain
from services.orders.store import placed_reads
from services.orders.tables import order_line, order_tender, sales_order

# A business day begins at most 24 h after midnight of a clock that is at most 14 h ahead of or 12 h behind UTC.
DAY_BEGINS_EARLY = dt.timedelta(days=1)
DAY_ENDS_LATE = dt.timedelta(days=3)

# The parts of some orders: by the whole key, or an order of a customer would cost all days of the location.
_OWNERS = """
    unnest(CAST(:places AS uuid[]), CAST(:dates AS date[]), CAST(:orders AS uuid[])) u (location_id, business_date, order_id)
"""
# What counts as sold: a draft, and what was never placed or is cancelled, doesn't.
SOLD = (int(domain.OrderState.PLACED), int(domain.OrderState.COMPLETED))


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep of a location's orders; None and empty: everything. Days are inclusive."""

    since: dt.date | None = None
    until: dt.date | None = None
    terminal_id: str = ""
    client_sale_id: str = ""
    customer_id: uuid.UUID | None = None
    campaign_id: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """Place of an order in a list."""

    occurred_at: dt.datetime
    order_id: uuid.UUID


async def get(session: placed_reads.Session, tenant: str, order_id: uuid.UUID) -> domain.Order | None:
    """An order of the tenant (uuid text)."""
    query = sa.select(sales_order).where(sales_order.c.tenant_id == tenant, sales_order.c.id == order_id)
    rows = (await session.execute(query)).all()
    found = await with_parts(session, tenant, rows)
    return found[0] if found else None


async def sold_at(
    session: database.ReadSession,
    tenant: str,
    location: uuid.UUID,
    keep: Filter,
    *,
    newest_first: bool,
    after: Position | None,
    limit: int,
) -> list[domain.Order]:
    """Orders of a location by occurred_at and id, after a position."""
    c = sales_order.c
    query = sa.select(sales_order).where(
        c.tenant_id == tenant, c.location_id == location, c.state.in_(SOLD), *_conditions(keep)
    )
    if after is not None:
        here = sa.tuple_(c.occurred_at, c.id)
        there = sa.tuple_(sa.literal(after.occurred_at, c.occurred_at.type), sa.literal(after.order_id, c.id.type))
        query = query.where(here < there if newest_first else here > there)
    order = (c.occurred_at.desc(), c.id.desc()) if newest_first else (c.occurred_at, c.id)
    rows = (await session.execute(query.order_by(*order).limit(limit))).all()
    return await with_parts(session, tenant, rows)


def within(since: dt.date | None, until: dt.date | None) -> list[sa.ColumnElement[bool]]:
    """Orders of a range of business days; occurred_at is bounded too, since that is what the index is by."""
    c = sales_order.c
    conditions: list[sa.ColumnElement[bool]] = []
    if since is not None:
        conditions += [c.business_date >= since, c.occurred_at >= _midnight(since, -DAY_BEGINS_EARLY)]
    if until is not None:
        conditions += [c.business_date <= until, c.occurred_at < _midnight(until, DAY_ENDS_LATE)]
    return conditions


def _midnight(day: dt.date, margin: dt.timedelta) -> dt.datetime:
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    try:
        return midnight + margin
    except OverflowError:  # the first and the last days of the calendar
        return midnight


def _conditions(keep: Filter) -> list[sa.ColumnElement[bool]]:
    c = sales_order.c
    conditions = within(keep.since, keep.until)
    for column, wanted in (
        (c.terminal_id, keep.terminal_id),
        (c.client_sale_id, keep.client_sale_id),
        (c.customer_id, keep.customer_id),
        (c.campaign_id, keep.campaign_id),
    ):
        if wanted:
            conditions.append(column == wanted)
    return conditions


async def with_parts(session: placed_reads.Session, tenant: str, rows: Sequence[sa.Row[Any]]) -> list[domain.Order]:
    """Orders, whole."""
    if not rows:
        return []
    given = {
        "tenant": tenant,
        "places": [row.location_id for row in rows],
        "dates": [row.business_date for row in rows],
        "orders": [row.id for row in rows],
    }
    lines: dict[uuid.UUID, list[domain.OrderLine]] = defaultdict(list)
    for row in await session.execute(_parts(order_line), given):
        lines[row.order_id].append(_line(row))
    tenders: dict[uuid.UUID, list[domain.Tender]] = defaultdict(list)
    for row in await session.execute(_parts(order_tender), given):
        tender = domain.Tender(domain.TenderType(row.type), row.amount, row.currency_code, row.details)
        tenders[row.order_id].append(tender)
    placed = await placed_reads.parts(session, tenant, [row for row in rows if row.channel != domain.Channel.POS])
    return [_order(row, lines[row.id], tenders[row.id], placed.get(row.id)) for row in rows]


def _parts(table: sa.Table) -> sa.TextClause:
    # LATERAL with ORDER BY: each order's parts come from the primary key, whatever the planner knows of the table.
    return sa.text(f"""
        SELECT p.* FROM {_OWNERS}, LATERAL (
            SELECT * FROM {table.name} t
            WHERE t.tenant_id = CAST(:tenant AS uuid) AND t.location_id = u.location_id
                AND t.business_date = u.business_date AND t.order_id = u.order_id
            ORDER BY t.number LIMIT 1000
        ) p
    """)


def _order(
    row: sa.Row[Any],
    lines: list[domain.OrderLine],
    tenders: list[domain.Tender],
    placed: placed_order.Placed | None,
) -> domain.Order:
    return domain.Order(
        id=row.id,
        seq=row.seq,
        channel=domain.Channel(row.channel),
        state=domain.OrderState(row.state),
        location_id=row.location_id,
        terminal_id=row.terminal_id,
        client_sale_id=row.client_sale_id if placed is None else "",
        currency_code=row.currency_code,
        tax_inclusive=row.tax_inclusive,
        lines=lines,
        tenders=tenders,
        net_total=row.net_total,
        tax_total=row.tax_total,
        discount_total=row.discount_total,
        total=row.total,
        customer_id=row.customer_id,
        campaign_id=row.campaign_id,
        reservation_id=row.reservation_id,
        business_date=row.business_date,
        business_hour=row.business_hour,
        occurred_at=row.occurred_at,
        recorded_at=row.recorded_at,
        clock_skewed=row.clock_skewed,
        actor=row.actor,
        version=row.version,
        placed=placed,
    )


def _line(row: sa.Row[Any]) -> domain.OrderLine:
    return domain.OrderLine(
        id=row.id,
        number=row.number,
        kind=domain.LineKind(row.kind),
        sku=row.sku,
        quantity=row.quantity,
        unit_price=row.unit_price,
        net_amount=row.net_amount,
        taxes=tuple(domain.Tax(tax["name"], tax["rate"], tax["amount"]) for tax in row.taxes or ()),
        discounts=tuple(domain.Discount(d["name"], d["amount"], d["campaign_id"]) for d in row.discounts or ()),
        tax_amount=row.tax_amount,
        discount_amount=row.discount_amount,
        name=row.name,
        category=row.category,
        product_id=row.product_id,
        price_id=row.price_id,
        unresolved=row.unresolved,
        tax_category=row.tax_category,
        canceled_quantity=row.canceled_quantity,
        components=tuple((sku, quantity) for sku, quantity in row.components or ()),
        lot=row.lot,
    )
