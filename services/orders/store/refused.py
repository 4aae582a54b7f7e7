"""SQL of placements that were refused: when they were, and how they are forgotten. Row-level security picks the tenant's
rows, and lets nothing be deleted that was ever placed or had money (migration 0017).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from services.kit import database

AT_ONCE: Final = 50
"""Sagas that are due wait meanwhile."""
NOTE = sa.text("""
INSERT INTO order_refused (tenant_id, order_id, refused_at)
VALUES (current_setting('app.tenant_id')::uuid, :order_id, clock_timestamp()) ON CONFLICT DO NOTHING
""")
DUE = sa.text("""
SELECT tenant_id, order_id FROM order_refused
WHERE refused_at < (SELECT clock_timestamp()) - make_interval(days => :days) ORDER BY refused_at LIMIT :limit
""")
KEEP = sa.text("DELETE FROM order_refused WHERE order_id = :order_id")
# Declined payments moved nothing; of any other somebody may still want to know.
HAS_MONEY = sa.text("""
SELECT EXISTS (SELECT FROM payment p WHERE p.order_id = :order_id AND (p.state <> 2 OR p.authorised > 0 OR EXISTS (
    SELECT FROM payment_exception x WHERE x.tenant_id = p.tenant_id AND x.payment_id = p.id AND x.resolved_at IS NULL)))
""")
_PAYMENTS = "SELECT id FROM payment WHERE order_id = :order_id"
FORGET = [
    sa.text(f"DELETE FROM payment_exception WHERE payment_id IN ({_PAYMENTS})"),
    sa.text(f"DELETE FROM payment_operation WHERE payment_id IN ({_PAYMENTS})"),
    sa.text("DELETE FROM payment WHERE order_id = :order_id"),
    sa.text("DELETE FROM order_history WHERE order_id = :order_id"),
    sa.text("""
    DELETE FROM order_line l USING sales_order o
    WHERE o.id = :order_id AND l.tenant_id = o.tenant_id AND l.location_id = o.location_id
        AND l.business_date = o.business_date AND l.order_id = o.id
    """),
    sa.text("DELETE FROM sales_order WHERE id = :order_id"),
    KEEP,
]


async def note(session: database.WriteSession, order_id: uuid.UUID) -> None:
    """A placement was refused now."""
    await session.execute(NOTE, {"order_id": order_id})


async def due(session: database.WorkerSession, days: int) -> Sequence[Any]:
    """(tenant_id, order_id) of what was refused so many days ago, of all tenants, the oldest first."""
    return (await session.execute(DUE, {"days": days, "limit": AT_ONCE})).all()


async def has_money(session: database.WriteSession, order_id: uuid.UUID) -> bool:
    """Whether money was ever set aside for it, or a person still has to look at it."""
    return bool((await session.execute(HAS_MONEY, {"order_id": order_id})).scalar_one())


async def keep(session: database.WriteSession, order_id: uuid.UUID) -> None:
    """It stays for ever."""
    await session.execute(KEEP, {"order_id": order_id})


async def forget(session: database.WriteSession, order_id: uuid.UUID) -> None:
    """Deletes all there is of it."""
    for statement in FORGET:
        await session.execute(statement, {"order_id": order_id})
