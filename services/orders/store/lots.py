"""SQL of recalls: whose orders are. Row-level security picks the tenant's rows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from services.kit import database

BUYERS = sa.text("""
SELECT o.id, coalesce(c.merged_into, o.customer_id) AS customer_id, o.channel, o.terminal_id, o.client_sale_id
FROM sales_order o LEFT JOIN customer c ON c.tenant_id = o.tenant_id AND c.id = o.customer_id
WHERE o.id = ANY (CAST(:orders AS uuid[]))
""")


class Buyer(NamedTuple):
    """Whose an order is, and how a store finds its receipt. customer None: nobody said."""

    customer: uuid.UUID | None
    channel: int
    terminal_id: str
    client_sale_id: str


async def buyers(session: database.ReadSession, orders: Sequence[uuid.UUID]) -> Mapping[uuid.UUID, Buyer]:
    """By order."""
    found = await session.execute(BUYERS, {"orders": list(orders)})
    return {row.id: Buyer(row.customer_id, row.channel, row.terminal_id, row.client_sale_id) for row in found}
