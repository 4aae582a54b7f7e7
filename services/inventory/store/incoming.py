"""SQL of what documents of all kinds have a location wait for."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import levels, purchase_orders, transfers
from services.inventory.store import catalog as common
from services.inventory.tables import replenishment as tables

ORDER, ORDER_LINE = tables.purchase_order, tables.purchase_order_line
TRANSFER, TRANSFER_LINE = tables.transfer, tables.transfer_line


async def crowded(session: common.Session, location: uuid.UUID, keys: Collection[str]) -> frozenset[str]:
    """Folded SKUs that the location waits for in as many open documents as may be."""
    wanted = sa.any_(sa.cast(list(keys), pg.ARRAY(sa.Text)))
    ordered = (
        sa.select(ORDER_LINE.c.sku_key)
        .join(ORDER, sa.and_(ORDER.c.tenant_id == ORDER_LINE.c.tenant_id, ORDER.c.id == ORDER_LINE.c.order_id))
        .where(
            ORDER_LINE.c.sku_key == wanted,
            ORDER_LINE.c.completed_at.is_(None),
            ORDER.c.location_id == location,
            ORDER.c.state == _in(purchase_orders.UNDER_WAY),
        )
    )
    line = TRANSFER_LINE.c
    left = sa.or_(TRANSFER.c.state == transfers.State.READY, line.received - line.surplus + line.lost < line.shipped)
    sent = (
        sa.select(line.sku_key)
        .join(TRANSFER, sa.and_(TRANSFER.c.tenant_id == line.tenant_id, TRANSFER.c.id == line.transfer_id))
        .where(
            line.sku_key == wanted,
            left,
            TRANSFER.c.to_location_id == location,
            TRANSFER.c.state == _in(transfers.UNDER_WAY),
        )
    )
    each = sa.union_all(ordered, sent).subquery()
    full = sa.select(each.c.sku_key).group_by(each.c.sku_key).having(sa.func.count() >= levels.INCOMING_MAX)
    return frozenset((await session.execute(full)).scalars())


def _in(states: Collection[int]) -> Any:
    return sa.any_(sa.cast(sorted(states), pg.ARRAY(sa.SmallInteger)))
