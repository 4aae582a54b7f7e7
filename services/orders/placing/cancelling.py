"""Use case: a placed order is cancelled as a whole, as long as no work on it has begun."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Final

from services.kit import database, errors, ids
from services.kit import principal as principals
from services.orders import visible
from services.orders.domain import placed_order, placement, sagas, sale
from services.orders.placing import effects, running
from services.orders.placing import saga as one
from services.orders.placing.effects import Tenant
from services.orders.store import reads
from services.orders.store import sagas as store

METHOD: Final = "tillmesh.orders.v1.OrdersService/CancelOrder"


@dataclass(frozen=True, slots=True)
class Cancel:
    """An order to be cancelled. expected_version 0: whatever it is."""

    order_id: uuid.UUID
    reason: placed_order.CancelReason
    note: str
    expected_version: int
    principal: str
    request_key: str
    fingerprint: bytes
    actor: str


class _Nothing(Exception):
    """It is cancelled already."""


class Cancelling:
    """Cancels orders, for one process."""

    def __init__(self, db: database.Database, made: effects.Effects, runner: running.Runner) -> None:
        self._db = db
        self._effects = made
        self._runner = runner

    async def cancel(self, caller: principals.Principal, tenant: Tenant, command: Cancel) -> sale.Order:
        """The order, cancelled. NotFound, LocationScope, VersionMismatch, NotEditable, OrderBusy.

        OutcomeUnknown: it goes on by itself, and can't be turned back.
        """
        if (earlier := await self._earlier(tenant, command)) is not None:
            return earlier
        saga = _saga(command)

        def decide(order: sale.Order) -> sagas.Plan:
            visible.require(caller, order)
            plan = placement.plan_cancel(order, command.expected_version, command.reason, command.note, command.actor)
            if plan is None:
                raise _Nothing
            return sagas.Plan(releases=plan.reservations, reason=plan.reason, note=plan.note, actor=plan.actor)

        try:
            await self._effects.begin_cancel(tenant, saga, decide)
            await self._runner.run(tenant, saga)
        except effects.Taken:
            raise placed_order.OrderBusy from None
        except _Nothing:
            pass
        except (one.Waiting, store.Superseded):
            raise errors.OutcomeUnknown from None
        return await self._load(tenant, command.order_id)

    async def _earlier(self, tenant: Tenant, command: Cancel) -> sale.Order | None:
        """What the key stands for. IdempotencyKeyReused; InFlight."""
        async with self._db.read(tenant.uuid) as session:
            found = await store.by_key(session, tenant.uuid, command.principal, METHOD, command.request_key)
        if found is None:
            return None
        if found.fingerprint != command.fingerprint:
            raise errors.IdempotencyKeyReused
        if found.succeeded is None:
            raise placement.InFlight
        return await self._load(tenant, found.order_id)

    async def _load(self, tenant: Tenant, order_id: uuid.UUID) -> sale.Order:
        async with self._db.read(tenant.uuid) as session:
            order = await reads.get(session, tenant.uuid, order_id)
        if order is None:
            raise errors.NotFound("order")
        return order


def _saga(command: Cancel) -> sagas.Saga:
    return sagas.Saga(
        id=ids.new_uuid(),
        order_id=command.order_id,
        kind=sagas.Kind.CANCEL,
        step=sagas.Step.UNDO,
        plan=sagas.Plan(),
        deadline_at=dt.datetime.max.replace(tzinfo=dt.UTC),
        principal=command.principal,
        method=METHOD,
        request_key=command.request_key,
        fingerprint=command.fingerprint,
    )
