"""Attempts at orders that came to nothing are forgotten after a while: nobody ever had them, and no money moved."""

from __future__ import annotations

import uuid

import structlog

from services.kit import database
from services.orders.store import refused as store

log = structlog.get_logger()


class Forgetting:
    """Forgets refused placements, for one process. days 0: never."""

    def __init__(self, db: database.Database, days: int) -> None:
        self._db = db
        self._days = days

    async def forget(self) -> int:
        """Forgets some of those whose time has come; answers how many it looked at."""
        if not self._days:
            return 0
        async with self._db.worker() as session:
            rows = await store.due(session, self._days)
        for row in rows:
            await self._forget(str(row.tenant_id), row.order_id)
        return len(rows)

    async def _forget(self, tenant: str, order_id: uuid.UUID) -> None:
        async with self._db.transaction(tenant) as session:
            if await store.has_money(session, order_id):
                await store.keep(session, order_id)  # for ever: it is evidence
            else:
                await store.forget(session, order_id)
