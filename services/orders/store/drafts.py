"""SQL of drafts: what they hold, and when they run out."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from services.kit import database, errors
from services.orders.domain import sale
from services.orders.store import placed_reads, reads
from services.orders.tables import sales_order

EXPIRED_MAX: Final = 200
ORDER = sales_order.c
PUT_DUE = sa.text("""
INSERT INTO order_draft_due (tenant_id, order_id, due_at)
VALUES (current_setting('app.tenant_id')::uuid, :order_id, :due_at)
ON CONFLICT (tenant_id, order_id) DO UPDATE SET due_at = excluded.due_at
""")
DROP_DUE = sa.text("DELETE FROM order_draft_due WHERE order_id = CAST(:order_id AS uuid)")
DUE = sa.text("""
SELECT tenant_id, order_id FROM order_draft_due WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Found:
    """A draft, or what was one; content: what was kept of it; at: the database's clock."""

    order: sale.Order
    content: Mapping[str, Any]
    at: dt.datetime


async def load(session: placed_reads.Session, tenant: str, order_id: uuid.UUID) -> Found:
    """NotFound."""
    query = sa.select(ORDER.content, sa.func.clock_timestamp()).where(ORDER.tenant_id == tenant, ORDER.id == order_id)
    row = (await session.execute(query)).one_or_none()
    order = None if row is None else await reads.get(session, tenant, order_id)
    if row is None or order is None:
        raise errors.NotFound("order")
    return Found(order, row[0] or {}, row[1])


async def put_due(session: database.WriteSession, order_id: uuid.UUID, at: dt.datetime) -> None:
    """When somebody has to look whether it has run out."""
    await session.execute(PUT_DUE, {"order_id": order_id, "due_at": at})


async def drop_due(session: database.WriteSession, order_id: uuid.UUID) -> None:
    """Nobody has to look any more."""
    await session.execute(DROP_DUE, {"order_id": order_id})


async def due(session: database.WorkerSession) -> Sequence[Any]:
    """(tenant_id, order_id) of drafts of all tenants to look at."""
    return (await session.execute(DUE, {"limit": EXPIRED_MAX})).all()
