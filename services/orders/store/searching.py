"""Searches over a tenant's orders, newest first, in pages by (occurred_at, id). No totals."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database
from services.orders.domain import sale as domain
from services.orders.store import reads
from services.orders.tables import sales_order
from services.orders.tables_placing import order_group

ORDER = sales_order.c
GROUP = order_group.c


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep; None, 0 and empty: everything. within: only what is sold or fulfilled at one of these locations."""

    number: int = 0
    customer_ids: tuple[uuid.UUID, ...] = ()
    state: int = 0
    location_id: uuid.UUID | None = None
    fulfillment_location_id: uuid.UUID | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    channel: int = 0
    external_reference: str = ""
    within: tuple[uuid.UUID, ...] | None = None


async def find(
    session: database.ReadSession, tenant: str, keep: Filter, *, after: reads.Position | None, limit: int
) -> list[domain.Order]:
    """Orders after a position, whole."""
    rows = (await session.execute(query(tenant, keep, after=after, limit=limit))).all()
    return await reads.with_parts(session, tenant, rows)


def query(tenant: str, keep: Filter, *, after: reads.Position | None, limit: int) -> sa.Select[Any]:
    """Rows of sales_order. Who names a location has been asked whether it is one of theirs."""
    conditions = _conditions(tenant, keep, after)
    if keep.fulfillment_location_id is not None:
        return _at_groups(tenant, keep.fulfillment_location_id, conditions, after, limit)
    if keep.within is None or keep.location_id is not None:
        return _newest(sa.select(sales_order).where(*conditions), limit)
    return _covered(tenant, keep.within, conditions, after, limit)


def _newest(found: sa.Select[Any], limit: int) -> sa.Select[Any]:
    return found.order_by(ORDER.occurred_at.desc(), ORDER.id.desc()).limit(limit)


def _conditions(tenant: str, keep: Filter, after: reads.Position | None) -> list[sa.ColumnElement[bool]]:
    conditions = [ORDER.tenant_id == tenant]
    if keep.number:
        conditions.append(ORDER.number == keep.number)
    if len(keep.customer_ids) == 1:
        conditions.append(ORDER.customer_id == keep.customer_ids[0])
    elif keep.customer_ids:  # one who was merged: their orders are few, and sorted
        conditions.append(ORDER.customer_id.in_(keep.customer_ids))
    if keep.state:
        conditions.append(ORDER.state == keep.state)
        if keep.state != domain.OrderState.COMPLETED:
            conditions.append(ORDER.state != int(domain.OrderState.COMPLETED))  # says that the partial index serves
    if keep.location_id is not None:
        conditions.append(ORDER.location_id == keep.location_id)
    if keep.since is not None:
        conditions.append(ORDER.occurred_at >= keep.since)
    if keep.until is not None:
        conditions.append(ORDER.occurred_at < keep.until)
    if keep.channel:
        conditions.append(ORDER.channel == keep.channel)
    if keep.external_reference:
        conditions += [ORDER.external_reference == keep.external_reference, ORDER.external_reference != ""]
    if after is not None:
        conditions.append(_before(ORDER.occurred_at, ORDER.id, after))
    return conditions


def _before(at: sa.Column[Any], order_id: sa.Column[Any], after: reads.Position) -> sa.ColumnElement[bool]:
    there = sa.tuple_(sa.literal(after.occurred_at, at.type), sa.literal(after.order_id, order_id.type))
    return sa.tuple_(at, order_id) < there


def _group_ids(tenant: str, location: Any, after: reads.Position | None) -> tuple[sa.ColumnElement[bool], ...]:
    conditions = (GROUP.tenant_id == tenant, GROUP.location_id == location)
    if after is None:
        return conditions
    return (*conditions, _before(GROUP.occurred_at, GROUP.order_id, after))


def _at_groups(
    tenant: str,
    location: uuid.UUID,
    conditions: list[sa.ColumnElement[bool]],
    after: reads.Position | None,
    limit: int,
) -> sa.Select[Any]:
    """Orders that have a group at a location: walked in the groups' order, which is the orders'."""
    joined = sa.select(sales_order).join(
        order_group, sa.and_(GROUP.tenant_id == ORDER.tenant_id, GROUP.order_id == ORDER.id)
    )
    here = joined.where(*_group_ids(tenant, location, after), *conditions)
    return here.order_by(GROUP.occurred_at.desc(), GROUP.order_id.desc()).limit(limit)


def _covered(
    tenant: str,
    locations: Sequence[uuid.UUID],
    conditions: list[sa.ColumnElement[bool]],
    after: reads.Position | None,
    limit: int,
) -> sa.Select[Any]:
    """Orders that are sold at one of the locations or have a group there: a page of each, of which the newest."""
    wanted = sa.cast(sa.literal(list(locations), pg.ARRAY(GROUP.location_id.type)), pg.ARRAY(GROUP.location_id.type))
    place = sa.func.unnest(wanted).table_valued(sa.column("id", GROUP.location_id.type)).render_derived(name="place")
    own = sa.select(ORDER.id, ORDER.occurred_at).where(ORDER.location_id == place.c.id, *conditions)
    sold = own.order_by(ORDER.occurred_at.desc(), ORDER.id.desc()).limit(limit).lateral("sold")
    joined = sa.select(ORDER.id, ORDER.occurred_at).join(
        order_group, sa.and_(GROUP.tenant_id == ORDER.tenant_id, GROUP.order_id == ORDER.id)
    )
    here = joined.where(*_group_ids(tenant, place.c.id, after), *conditions)
    served = here.order_by(GROUP.occurred_at.desc(), GROUP.order_id.desc()).limit(limit).lateral("served")
    both = sa.union(
        sa.select(sold.c.id).select_from(place).join(sold, sa.true()),
        sa.select(served.c.id).select_from(place).join(served, sa.true()),
    ).subquery("both_ways")
    found = sa.select(sales_order).where(ORDER.tenant_id == tenant, ORDER.id.in_(sa.select(both.c.id)))
    return _newest(found, limit)
