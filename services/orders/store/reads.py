"""Reads of orders: one by id, a location's in pages. Searches are in store/searching.py, sums in store/summary.py."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.kit import database
from services.orders.domain import placed_order
from services.orders.domain import sale as domain
from services.orders.store import lines as line_json
from services.orders.store import looking, placed_reads
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
#: Parts of a filter, asked of an order `o`.
CONDITIONS = {
    "location": "o.location_id = CAST(:location AS uuid)",
    "since": "o.business_date >= CAST(:since AS date)",
    "begins": "o.occurred_at >= CAST(:begins AS timestamptz)",
    "until": "o.business_date <= CAST(:until AS date)",
    "ends": "o.occurred_at < CAST(:ends AS timestamptz)",
    "terminal": "o.terminal_id = :terminal",
    "client_sale": "o.client_sale_id = :client_sale",
    "customer": "o.customer_id = CAST(:customer AS uuid)",
    "campaign": "o.campaign_id = :campaign",
}
TIMES = ("begins", "ends")  # what bounds the range of an index


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep of a location's orders; None and empty: everything. Days are inclusive."""

    since: dt.date | None = None
    until: dt.date | None = None
    terminal_id: str = ""
    client_sale_id: str = ""
    customer_id: uuid.UUID | None = None
    campaign_id: str = ""


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
    after: looking.Position | None,
    limit: int,
) -> looking.Found:
    """Orders of a location by occurred_at and id, after a position."""
    given = {"tenant": tenant, "location": location, **_asked(keep)}
    way = _way(given)
    page = await looking.page(session, [way], given, after=after, limit=limit, newest_first=newest_first)
    return looking.Found(await with_parts(session, tenant, page.rows), page.next)


def _way(given: Mapping[str, Any]) -> looking.Way:
    """Of a customer by the customer's orders, else by the location's; one sale of a till by its id."""
    served: tuple[str, ...] = ("location",)
    if "terminal" in given and "client_sale" in given:
        served = ("terminal", "client_sale")
    elif "customer" in given:
        served = ("customer",)
    where = [CONDITIONS[name] for name in (*served, *TIMES) if name in given]
    kept = [condition for name, condition in CONDITIONS.items() if name in given and name not in (*served, *TIMES)]
    states = f"o.state IN ({', '.join(map(str, SOLD))})"
    held = served == ("location",) and not kept  # the index has the state too
    most = looking.ENTRIES_MAX if held else looking.ROWS_MAX
    return looking.Way([looking.Entries(where, [states, *kept])], most=most)


def within(since: dt.date | None, until: dt.date | None) -> list[sa.ColumnElement[bool]]:
    """Orders of a range of business days; occurred_at is bounded too, since that is what the index is by."""
    c = sales_order.c
    conditions: list[sa.ColumnElement[bool]] = []
    if since is not None:
        conditions += [c.business_date >= since, c.occurred_at >= _begins(since)]
    if until is not None:
        conditions += [c.business_date <= until, c.occurred_at < _ends(until)]
    return conditions


def _begins(day: dt.date) -> dt.datetime:
    return _midnight(day, -DAY_BEGINS_EARLY)


def _ends(day: dt.date) -> dt.datetime:
    return _midnight(day, DAY_ENDS_LATE)


def _midnight(day: dt.date, margin: dt.timedelta) -> dt.datetime:
    midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
    try:
        return midnight + margin
    except OverflowError:  # the first and the last days of the calendar
        return midnight


def _asked(keep: Filter) -> dict[str, Any]:
    """What a filter names, by the names of its conditions."""
    asked = {
        "since": keep.since,
        "begins": None if keep.since is None else _begins(keep.since),
        "until": keep.until,
        "ends": None if keep.until is None else _ends(keep.until),
        "terminal": keep.terminal_id,
        "client_sale": keep.client_sale_id,
        "customer": keep.customer_id,
        "campaign": keep.campaign_id,
    }
    return {name: value for name, value in asked.items() if value not in (None, "")}


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
        ordered=line_json.ordered_of_json(row.ordered),
    )
