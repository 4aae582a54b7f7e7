"""Use case: a placed order is cancelled as a whole, as long as no work on it has begun."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Final

from services.kit import audit, ids
from services.kit import principal as principals
from services.orders import visible
from services.orders.domain import placed_order, placement, sagas, sale
from services.orders.placing import asking, effects
from services.orders.placing.effects import Tenant

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

    def __init__(self, made: effects.Effects, asked: asking.Asking) -> None:
        self._effects = made
        self._asking = asked

    async def cancel(self, caller: principals.Principal, tenant: Tenant, command: Cancel) -> sale.Order:
        """The order, cancelled. NotFound, LocationScope, VersionMismatch, NotEditable, OrderBusy.

        OutcomeUnknown: it goes on by itself, and can't be turned back.
        """
        earlier = await self._asking.earlier(
            tenant, command.principal, METHOD, command.request_key, command.fingerprint
        )
        if earlier is not None:
            return earlier
        saga = _saga(command)

        def decide(order: sale.Order) -> sagas.Plan:
            visible.require(caller, order)
            plan = placement.plan_cancel(order, command.expected_version, command.reason, command.note, command.actor)
            if plan is None:
                raise _Nothing
            return sagas.Plan(releases=plan.reservations, reason=plan.reason, note=plan.note, actor=plan.actor)

        try:
            source = audit.of(caller, METHOD, command.request_key)
            await self._effects.begin_cancel(tenant, saga, decide, source)
        except effects.Taken:
            raise placed_order.OrderBusy from None
        except _Nothing:
            return await self._asking.load(tenant, command.order_id)
        return await self._asking.run(tenant, saga)


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
