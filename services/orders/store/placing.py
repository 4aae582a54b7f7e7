"""SQL that writes orders which are no sales: their rows, lines, groups, tenders and history."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database
from services.orders.domain import placed_order, sale
from services.orders.domain.placed_order import Delivery, Placed
from services.orders.store import lines
from services.orders.tables import order_line, order_tender, sales_order
from services.orders.tables_placing import (
    order_group,
    order_group_line,
    order_history,
    order_number,
    order_parcel,
)

ORDER = sales_order.c
NOW = sa.func.clock_timestamp()
DELIVERY: Final = 1
PICKUP: Final = 2
NUMBERS_AT_ONCE: Final = 50
FIRST_NUMBER: Final = 100_000
_OF_ORDER: Final = (ORDER.tenant_id == sa.bindparam("of_tenant"), ORDER.id == sa.bindparam("of_order"))
_INSERT: Final = sa.insert(sales_order)
_INSERT_LINES: Final = sa.insert(order_line)
_INSERT_TENDERS: Final = sa.insert(order_tender)
_INSERT_HISTORY: Final = sa.insert(order_history)
_UPDATE: Final = sa.update(sales_order).where(*_OF_ORDER)
_LOCK: Final = sa.select(ORDER.state, ORDER.version, ORDER.channel).where(*_OF_ORDER).with_for_update()
_NOW: Final = sa.select(NOW)
_COUNT: Final = tuple(
    sa.update(table).where(
        table.c.tenant_id == sa.bindparam("of_tenant"),
        table.c.location_id == sa.bindparam("of_location"),
        table.c.business_date == sa.bindparam("of_date"),
        table.c.order_id == sa.bindparam("of_order"),
    )
    for table in (order_line, order_tender)
)
_LAST_ENTRY: Final = sa.select(sa.func.coalesce(sa.func.max(order_history.c.number), 0)).where(
    order_history.c.tenant_id == sa.bindparam("of_tenant"), order_history.c.order_id == sa.bindparam("of_order")
)


def _put(table: sa.Table, key: Sequence[str], *changing: str) -> pg.Insert:
    """Rows as they are now, whether they are new or not."""
    made = pg.insert(table)
    return made.on_conflict_do_update(index_elements=key, set_={name: made.excluded[name] for name in changing})


_PUT_GROUPS: Final = _put(order_group, ["tenant_id", "id"], "state", "updated_at")
_PUT_GROUP_LINES: Final = _put(
    order_group_line, ["tenant_id", "group_id", "reservation_id", "line_number", "sku"], "quantity"
)
_PUT_PARCELS: Final = _put(order_parcel, ["tenant_id", "id"], "state", "updated_at")


@dataclass(frozen=True, slots=True)
class Locked:
    """What is decided by under the lock of an order."""

    state: sale.OrderState
    version: int
    channel: sale.Channel


async def take_numbers(session: database.WriteSession, tenant: str) -> range:
    """A block of order numbers. What isn't used of it is a gap."""
    first = pg.insert(order_number).values(tenant_id=tenant, last=FIRST_NUMBER + NUMBERS_AT_ONCE)
    raised = {"last": order_number.c.last + NUMBERS_AT_ONCE}
    taken = first.on_conflict_do_update(constraint="order_number_pkey", set_=raised).returning(order_number.c.last)
    last: int = (await session.execute(taken)).scalar_one()
    return range(last - NUMBERS_AT_ONCE + 1, last + 1)


async def insert(
    session: database.WriteSession, tenant: str, order: sale.Order, content: Mapping[str, Any] | None
) -> None:
    """A new order with its lines, which are counted once it is placed."""
    values = {
        "tenant_id": tenant,
        "id": order.id,
        "seq": 0,
        # Unique, as a till's ids are; nobody sees them.
        "terminal_id": "",
        "client_sale_id": f"order:{order.id}",
        "fingerprint": b"",
        "content": content,
        **_columns(order),
    }
    await session.execute(_INSERT, values)
    await _insert_lines(session, tenant, order, counted=False)


async def update(
    session: database.WriteSession,
    tenant: str,
    order: sale.Order,
    *,
    content: Mapping[str, Any] | None = None,
    drop_content: bool = False,
) -> None:
    """The order as it is now, under its lock or its saga; not its lines."""
    values = _columns(order)
    if content is not None or drop_content:
        values["content"] = content
    await session.execute(_UPDATE, {**values, "of_tenant": tenant, "of_order": order.id})


async def replace_lines(
    session: database.WriteSession, tenant: str, before: sale.Order, order: sale.Order, *, counted: bool
) -> None:
    """Other lines, or the same of another day: the day is a part of their key."""
    await session.execute(sa.delete(order_line).where(*_parts_of(order_line, tenant, before)))
    await _insert_lines(session, tenant, order, counted=counted)


async def count_lines(session: database.WriteSession, tenant: str, order: sale.Order, *, counted: bool) -> None:
    """Whether summaries add the order up."""
    of = {"of_tenant": tenant, "of_location": order.location_id, "of_date": order.business_date, "of_order": order.id}
    for update_ in _COUNT:
        await session.execute(update_, {**of, "counted": counted})


async def now(session: database.WriteSession) -> dt.datetime:
    """The database's clock; after the locks, it is the moment of the change."""
    at: dt.datetime = (await session.execute(_NOW)).scalar_one()
    return at


async def lock(session: database.WriteSession, tenant: str, order_id: uuid.UUID) -> Locked | None:
    """Locks an order; None: there is none."""
    row = (await session.execute(_LOCK, {"of_tenant": tenant, "of_order": order_id})).one_or_none()
    return None if row is None else Locked(sale.OrderState(row.state), row.version, sale.Channel(row.channel))


async def insert_tenders(session: database.WriteSession, tenant: str, order: sale.Order) -> None:
    """What an order was paid with, for summaries."""
    rows = [
        {
            "tenant_id": tenant,
            "location_id": order.location_id,
            "business_date": order.business_date,
            "order_id": order.id,
            "number": number,
            "business_hour": order.business_hour,
            "currency_code": order.currency_code,
            "campaign_id": order.campaign_id,
            "type": int(tender.type),
            "amount": tender.amount,
            "details": tender.details,
        }
        for number, tender in enumerate(order.tenders, start=1)
    ]
    if rows:
        await session.execute(_INSERT_TENDERS, rows)


async def put_groups(
    session: database.WriteSession, tenant: str, order: sale.Order, groups: Sequence[placed_order.Group]
) -> None:
    """Groups with their lines, as they are now; units that are no more have the quantity 0."""
    if not groups:
        return
    rows = [
        {
            "tenant_id": tenant,
            "id": group.id,
            "order_id": order.id,
            "location_id": group.location_id,
            "state": int(group.state),
            "occurred_at": order.occurred_at,
            "updated_at": group.updated_at,
        }
        for group in groups
    ]
    await session.execute(_PUT_GROUPS, rows)
    lines = [
        {
            "tenant_id": tenant,
            "group_id": group.id,
            "reservation_id": line.reservation_id,
            "line_number": line.number,
            "sku": line.sku,
            "quantity": line.quantity,
        }
        for group in groups
        for line in group.lines
    ]
    if lines:
        await session.execute(_PUT_GROUP_LINES, lines)


async def put_parcels(
    session: database.WriteSession, tenant: str, group_id: uuid.UUID, parcels: Sequence[placed_order.Parcel]
) -> None:
    """Parcels of a group as they are now."""
    if not parcels:
        return
    rows = [
        {
            "tenant_id": tenant,
            "id": parcel.id,
            "group_id": group_id,
            "state": int(parcel.state),
            "updated_at": parcel.updated_at,
        }
        for parcel in parcels
    ]
    await session.execute(_PUT_PARCELS, rows)


async def add_history(
    session: database.WriteSession, tenant: str, order_id: uuid.UUID, entries: Sequence[placed_order.Entry]
) -> tuple[placed_order.Entry, ...]:
    """Appends to an order's history, under its lock or its saga; answers the entries with their numbers."""
    last: int = (await session.execute(_LAST_ENTRY, {"of_tenant": tenant, "of_order": order_id})).scalar_one()
    return await _insert_history(session, tenant, order_id, entries, last)


async def start_history(
    session: database.WriteSession, tenant: str, order_id: uuid.UUID, entries: Sequence[placed_order.Entry]
) -> tuple[placed_order.Entry, ...]:
    """The same for an order that was made just now."""
    return await _insert_history(session, tenant, order_id, entries, 0)


async def _insert_history(
    session: database.WriteSession,
    tenant: str,
    order_id: uuid.UUID,
    entries: Sequence[placed_order.Entry],
    last: int,
) -> tuple[placed_order.Entry, ...]:
    numbered = tuple(
        placed_order.Entry(number, e.machine, e.target, e.from_state, e.to_state, e.reason, e.actor, e.version, e.at)
        for number, e in enumerate(entries, start=last + 1)
    )
    rows = [
        {
            "tenant_id": tenant,
            "order_id": order_id,
            "number": entry.number,
            "machine": entry.machine,
            "version": entry.version,
            "at": entry.at,
            "target_id": entry.target,
            "from_state": entry.from_state,
            "to_state": entry.to_state,
            "reason": entry.reason,
            "actor": entry.actor,
        }
        for entry in numbered
    ]
    if rows:
        await session.execute(_INSERT_HISTORY, rows)
    return numbered


def _parts_of(table: sa.Table, tenant: str, order: sale.Order) -> tuple[sa.ColumnElement[bool], ...]:
    c = table.c
    return (
        c.tenant_id == tenant,
        c.location_id == order.location_id,
        c.business_date == order.business_date,
        c.order_id == order.id,
    )


def _columns(order: sale.Order) -> dict[str, Any]:
    placed = order.placed
    assert placed is not None
    return {
        "location_id": order.location_id,
        "channel": int(order.channel),
        "state": int(order.state),
        "tax_inclusive": order.tax_inclusive,
        "clock_skewed": order.clock_skewed,
        "business_hour": order.business_hour,
        "business_date": order.business_date,
        "line_count": sum(line.counts for line in order.lines),
        "unit_count": sum(line.quantity for line in order.lines),
        "net_total": order.net_total,
        "tax_total": order.tax_total,
        "discount_total": order.discount_total,
        "total": order.total,
        "occurred_at": order.occurred_at,
        "recorded_at": order.recorded_at,
        "version": order.version,
        "customer_id": order.customer_id,
        "reservation_id": order.reservation_id,
        "currency_code": order.currency_code,
        "campaign_id": order.campaign_id,
        "actor": order.actor,
        **_placed_columns(placed),
    }


def _placed_columns(placed: Placed) -> dict[str, Any]:
    method = placed.method
    sent = isinstance(method, Delivery)
    return {
        "number": placed.number or None,
        "method": DELIVERY if sent else PICKUP,
        "address_id": method.address_id if isinstance(method, Delivery) else "",
        "country_code": method.country_code if isinstance(method, Delivery) else "",
        "delivery_method": method.method if isinstance(method, Delivery) else "",
        "pickup_location_id": None if isinstance(method, Delivery) else method.location_id,
        "pickup_at": None if isinstance(method, Delivery) else method.at,
        "rounding_mode": placed.pricing.rounding_mode,
        "tax_level": placed.pricing.tax_level,
        "tax_country": placed.pricing.tax_country,
        "tax_policy_version": placed.pricing.tax_policy_version,
        "price_list": placed.pricing.price_list,
        "capture": int(placed.capture),
        "balance_due_at": placed.balance_due_at,
        "cancel_reason": placed.cancel_reason,
        "cancel_note": placed.cancel_note,
        "valid_until": placed.valid_until,
        "prices_held": placed.prices_held,
        "placed_at": placed.placed_at,
        "updated_at": placed.updated_at,
        "external_reference": placed.external_reference,
        "marketplace": placed.marketplace,
        "note": placed.note,
    }


async def _insert_lines(session: database.WriteSession, tenant: str, order: sale.Order, *, counted: bool) -> None:
    rows = [_line_row(tenant, order, line, counted=counted) for line in order.lines]
    await session.execute(_INSERT_LINES, rows)


def _line_row(tenant: str, order: sale.Order, line: sale.OrderLine, *, counted: bool) -> dict[str, Any]:
    return {
        "tenant_id": tenant,
        "location_id": order.location_id,
        "business_date": order.business_date,
        "order_id": order.id,
        "number": line.number,
        "business_hour": order.business_hour,
        "currency_code": order.currency_code,
        "campaign_id": order.campaign_id,
        "counted": counted and line.counts,
        "kind": int(line.kind),
        "unresolved": line.unresolved,
        "id": line.id,
        "product_id": line.product_id,
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "net_amount": line.net_amount,
        "tax_amount": line.tax_amount,
        "discount_amount": line.discount_amount,
        "canceled_quantity": line.canceled_quantity,
        "sku": line.sku,
        "name": line.name,
        "category": line.category,
        "price_id": line.price_id,
        "tax_category": line.tax_category,
        "taxes": [{"name": t.name, "rate": t.rate, "amount": t.amount} for t in line.taxes] or None,
        "discounts": [{"name": d.name, "amount": d.amount, "campaign_id": d.campaign_id} for d in line.discounts]
        or None,
        "components": line.components or None,
        "ordered": None if line.ordered is None else lines.ordered_to_json(line.ordered),
    }
