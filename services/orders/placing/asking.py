"""What the use cases share: what a key stands for, the order that a saga brings about, and order numbers."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict

from services.kit import database, errors
from services.orders.domain import placement, sagas, sale
from services.orders.placing import effects, running
from services.orders.placing import saga as one
from services.orders.placing.effects import Tenant
from services.orders.store import reads
from services.orders.store import sagas as store


class Asking:
    """For one process."""

    def __init__(self, db: database.Database, made: effects.Effects, runner: running.Runner) -> None:
        self._db = db
        self._effects = made
        self._runner = runner
        self._numbers: dict[str, list[int]] = {}
        self._taking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def earlier(
        self, tenant: Tenant, principal: str, method: str, key: str, fingerprint: bytes
    ) -> sale.Order | None:
        """The order that a key stands for; None: none. IdempotencyKeyReused; InFlight."""
        if not key:
            return None

        async def look_up(session: database.ReadSession) -> sagas.Earlier | None:
            return await store.by_key(session, tenant.uuid, principal, method, key)

        found = await self._db.read_together(tenant.uuid, look_up)
        if found is None:
            return None
        if found.fingerprint != fingerprint:
            raise errors.IdempotencyKeyReused
        if found.succeeded is None:
            raise placement.InFlight
        return await self.load(tenant, found.order_id)

    async def load(self, tenant: Tenant, order_id: uuid.UUID) -> sale.Order:
        """NotFound."""
        async with self._db.read(tenant.uuid) as session:
            order = await reads.get(session, tenant.uuid, order_id)
        if order is None:
            raise errors.NotFound("order")
        return order

    async def run(self, tenant: Tenant, saga: sagas.Saga, order: sale.Order | None = None) -> sale.Order:
        """The order after its saga; order: before it. OutcomeUnknown: it goes on; else why it came to nothing."""
        try:
            return await self._runner.run(tenant, saga, order)
        except one.Refused as refused:
            refused.error.__cause__ = None  # what Inventory or a provider refused is our own answer
            raise refused.error from None
        except (one.Waiting, store.Superseded):
            raise errors.OutcomeUnknown from None

    async def number(self, tenant: Tenant) -> int:
        """The next of this process's order numbers for the tenant."""
        async with self._taking[tenant.uuid]:
            if not self._numbers.get(tenant.uuid):
                self._numbers[tenant.uuid] = list(reversed(await self._effects.numbers(tenant)))
            return self._numbers[tenant.uuid].pop()
