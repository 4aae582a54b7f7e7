"""Reads of what orders have that are no sales: groups, parcels, payment sums, history."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.kit import database
from services.orders.domain import machines
from services.orders.domain import placed_order as domain
from services.orders.store import placing
from services.orders.tables_placing import order_history

Session = database.ReadSession | database.WriteSession


def _of_each(select: str) -> sa.TextClause:
    """Rows of each of some ids (`k.id`): one look-up by key each, whatever the planner knows, and one text for any number."""
    return sa.text(f"SELECT p.* FROM unnest(CAST(:ids AS uuid[])) k (id), LATERAL ({select}) p")


SUMS = _of_each("""
    SELECT k.id, sum(authorised), sum(captured), sum(refunded), sum(voided) FROM payment
    WHERE tenant_id = CAST(:tenant AS uuid) AND order_id = k.id HAVING count(*) > 0
""")
# Groups with their lines and parcels in arrays: three statements cost a read of one order more than all of their rows.
GROUPS = _of_each("""
    SELECT g.*, line_numbers, skus, quantities, reservations, parcels, parcel_states, parcel_times
    FROM order_group g, LATERAL (
        SELECT array_agg(line_number) AS line_numbers, array_agg(sku) AS skus, array_agg(quantity) AS quantities,
            array_agg(reservation_id) AS reservations
        FROM (SELECT * FROM order_group_line WHERE tenant_id = CAST(:tenant AS uuid) AND group_id = g.id AND quantity > 0
              ORDER BY line_number, sku) l
    ) l, LATERAL (
        SELECT array_agg(id) AS parcels, array_agg(state) AS parcel_states, array_agg(updated_at) AS parcel_times
        FROM (SELECT * FROM order_parcel WHERE tenant_id = CAST(:tenant AS uuid) AND group_id = g.id ORDER BY id) p
    ) p WHERE g.tenant_id = CAST(:tenant AS uuid) AND g.order_id = k.id ORDER BY g.id
""")


async def parts(session: Session, tenant: str, rows: Sequence[sa.Row[Any]]) -> dict[uuid.UUID, domain.Placed]:
    """What the orders of rows of sales_order have, by order."""
    if not rows:
        return {}
    orders = [row.id for row in rows]
    groups = await _groups(session, tenant, orders)
    sums = await payment_sums(session, tenant, orders)
    return {row.id: _placed(row, groups.get(row.id, ()), sums.get(row.id, domain.PaymentSums())) for row in rows}


async def payment_sums(
    session: Session, tenant: str, orders: Sequence[uuid.UUID]
) -> Mapping[uuid.UUID, domain.PaymentSums]:
    """Sums over the payments of orders; what is not there has none."""
    rows = await session.execute(SUMS, {"tenant": tenant, "ids": list(orders)})
    return {row[0]: domain.PaymentSums(*(int(each) for each in row[1:])) for row in rows}


async def history(
    session: Session, tenant: str, order_id: uuid.UUID, *, before: int | None, limit: int
) -> list[domain.Entry]:
    """What happened to an order, newest first; before: numbers below it."""
    h = order_history.c
    query = sa.select(order_history).where(h.tenant_id == tenant, h.order_id == order_id)
    if before is not None:
        query = query.where(h.number < before)
    rows = await session.execute(query.order_by(h.number.desc()).limit(limit))
    return [_entry(row) for row in rows]


async def _groups(
    session: Session, tenant: str, orders: Sequence[uuid.UUID]
) -> Mapping[uuid.UUID, Sequence[domain.Group]]:
    groups: dict[uuid.UUID, list[domain.Group]] = defaultdict(list)
    for row in await session.execute(GROUPS, {"tenant": tenant, "ids": list(orders)}):
        lines = _rows(row.line_numbers, row.skus, row.quantities, row.reservations)
        parcels = _rows(row.parcels, row.parcel_states, row.parcel_times)
        group = domain.Group(
            row.id,
            row.location_id,
            machines.FulfillmentState(row.state),
            tuple(domain.GroupLine(*line) for line in lines),
            tuple(domain.Parcel(parcel, machines.ParcelState(state), at) for parcel, state, at in parcels),
            row.updated_at,
        )
        groups[row.order_id].append(group)
    return groups


def _rows(*columns: list[Any] | None) -> Iterable[tuple[Any, ...]]:
    """Of columns that came as arrays; of no rows there are none."""
    return zip(*(column or () for column in columns), strict=True)


def _placed(row: sa.Row[Any], groups: Sequence[domain.Group], sums: domain.PaymentSums) -> domain.Placed:
    method: domain.Method
    if row.method == placing.DELIVERY:
        method = domain.Delivery(row.address_id, row.country_code, row.delivery_method)
    else:
        method = domain.Pickup(row.pickup_location_id, row.pickup_at)
    return domain.Placed(
        number=row.number or 0,
        method=method,
        pricing=domain.Pricing(
            row.rounding_mode, row.tax_level, row.tax_country, row.tax_policy_version, row.price_list
        ),
        capture=domain.Capture(row.capture),
        balance_due_at=row.balance_due_at,
        payment=sums,
        groups=tuple(groups),
        cancel_reason=row.cancel_reason,
        cancel_note=row.cancel_note,
        valid_until=row.valid_until,
        prices_held=row.prices_held,
        placed_at=row.placed_at,
        updated_at=row.updated_at,
        external_reference=row.external_reference,
        marketplace=row.marketplace,
        note=row.note,
    )


def _entry(row: sa.Row[Any]) -> domain.Entry:
    return domain.Entry(
        row.number,
        row.machine,
        row.target_id,
        row.from_state,
        row.to_state,
        row.reason,
        row.actor,
        row.version,
        row.at,
    )
