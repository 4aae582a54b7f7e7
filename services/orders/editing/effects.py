"""Effects of edits, each once, under the name of its failpoint. What holds, pays and takes back is placing's.

Tests end the process before and after each of EFFECTS, and refuse an effect that isn't one of them.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

from services.kit import audit, database, deadline, errors, failpoints, ids
from services.orders import events
from services.orders.domain import editing, machines, moving, placement, sagas, sale
from services.orders.domain import payments as money
from services.orders.placing import effects, port
from services.orders.placing.effects import SECONDS, Taken, Tenant
from services.orders.store import edits, placing, reads
from services.orders.store import payments as payment_store
from services.orders.store import sagas as saga_store
from tillmesh.orders.v1 import orders_events_pb2 as pb

EFFECTS: Final = ("begin_edit", "reduce", "edit", "revert")
Decide = Callable[[sale.Order, Sequence[money.Payment]], tuple[sagas.Step, sagas.Plan]]
"""What is to be done with an order as it is under its lock, with its payments, and the step to begin with."""


class EditEffects(effects.Effects):
    """All effects of placing, cancelling and editing, for one process."""

    async def begin_edit(self, tenant: Tenant, saga: sagas.Saga, decide: Decide) -> sale.Order:
        """Keeps the saga of an order that is to be changed. NotFound; Taken; what decide raises."""
        return await failpoints.effect("begin_edit", self._begin_edit(tenant, saga, decide))

    async def _begin_edit(self, tenant: Tenant, saga: sagas.Saga, decide: Decide) -> sale.Order:
        async with self._db.transaction(tenant.uuid) as session:
            await placing.lock(session, tenant.uuid, saga.order_id)
            order = await _found(session, tenant, saga.order_id)
            if await saga_store.is_live(session, tenant.uuid, saga.order_id):
                raise Taken  # before anything is decided: what it says of the order is about to change
            saga.step, saga.plan = decide(order, await payment_store.of_order(session, order.id))
            if not await saga_store.begin(session, tenant.uuid, saga):
                raise Taken
            return order

    async def own_payments(self, tenant: Tenant, saga: sagas.Saga) -> Sequence[money.Payment]:
        """A read: what this saga's tenders have become. One that was never asked for is none."""
        deadline.enter(SECONDS)
        found = []
        async with self._db.read(tenant.uuid) as session:
            for number in range(len(saga.plan.tenders)):
                key = saga.key(f"authorise:{number}")
                operation = await payment_store.by_key(session, money.Kind.AUTHORISE, key)
                if operation is not None:
                    payment = await payment_store.get(session, operation.payment_id)
                    assert payment is not None  # its operation is there
                    found.append(payment)
        return found

    async def reduce(self, saga: sagas.Saga, reservation_id: uuid.UUID, held: Sequence[placement.Held]) -> None:
        """Puts units back on sale. HoldEnded; Fewer."""
        deadline.enter(SECONDS)
        work = self._stock.reduce(reservation_id, held, saga.key(f"reduce:{reservation_id}"))
        await failpoints.effect("reduce", work)

    async def edit(self, tenant: Tenant, saga: sagas.Saga, reservation: port.Reservation | None) -> sale.Order:
        """The order is as it was to become, its saga over, and all are told. saga_store.Superseded."""
        deadline.enter(SECONDS)
        return await failpoints.effect("edit", self._edit(tenant, saga, reservation))

    async def _edit(self, tenant: Tenant, saga: sagas.Saga, reservation: port.Reservation | None) -> sale.Order:
        async with self._db.transaction(tenant.uuid) as session:
            await placing.lock(session, tenant.uuid, saga.order_id)  # before the saga, as who begins another does
            edited = saga.plan.edit
            assert edited is not None
            at = await saga_store.finish(session, tenant.uuid, saga, succeeded=True)
            before = await _found(session, tenant, saga.order_id)
            assert before.placed is not None
            regrouped = editing.regroup(
                before.placed.groups,
                edited,
                () if reservation is None else reservation.held,
                reservation_id=None if reservation is None else reservation.id,
                at=at,
                new_id=[ids.new_uuid() for _ in (() if reservation is None else reservation.held)],
            )
            paid = await payment_store.of_order(session, before.id)
            order = editing.changed(before, edited)
            assert order.placed is not None
            order = dataclasses.replace(
                order,
                tenders=editing.tendered(before.tenders, paid, before.currency_code),
                version=before.version + 1,
                placed=dataclasses.replace(order.placed, groups=regrouped.groups, updated_at=at),
            )
            moved: list[tuple[machines.Move[Any], uuid.UUID | None]] = list(regrouped.moved)
            kind: type[events.OrderEvent] = pb.OrderUpdated
            if moving.is_done(order):
                moved.append((machines.ORDER.move(order.state, sale.OrderState.COMPLETED, machines.By.SYSTEM), None))
                order, kind = dataclasses.replace(order, state=sale.OrderState.COMPLETED), pb.OrderCompleted
            entries = editing.told(edited, moved, order.version, at)
            await placing.replace_lines(session, tenant.uuid, before, order, counted=True)
            await placing.put_groups(session, tenant.uuid, order, regrouped.changed)
            await edits.put_tenders(session, tenant.uuid, before, order)
            order = await self._tell(session, tenant, kind, order, entries, saga)
            source = audit.Source(actor=edited.actor, method=saga.method, request_id=saga.request_key)
            await audit.append(session, source, [_noted(before, order)])
        self._heard(tenant.id, ids.encode("ord", order.id))
        return order

    async def revert(self, tenant: Tenant, saga: sagas.Saga) -> None:
        """The edit came to nothing: its saga is over, and the order as it was. saga_store.Superseded."""
        deadline.enter(SECONDS)
        await failpoints.effect("revert", self._revert(tenant, saga))

    async def _revert(self, tenant: Tenant, saga: sagas.Saga) -> None:
        async with self._db.transaction(tenant.uuid) as session:
            await placing.lock(session, tenant.uuid, saga.order_id)  # before the saga, as who begins another does
            await saga_store.finish(session, tenant.uuid, saga, succeeded=False)


def _noted(before: sale.Order, after: sale.Order) -> audit.Entry:
    order_id = ids.encode("ord", after.id)
    changes = audit.changes(_units(before), _units(after))
    return audit.Entry(action="edited", resource="order", resource_id=order_id, changes=changes)


def _units(order: sale.Order) -> dict[str, int]:
    """What an edit is about: units of lines, and what it all comes to."""
    return {"total": order.total, **{f"line:{line.number}": line.quantity for line in order.lines}}


async def _found(session: database.WriteSession, tenant: Tenant, order_id: uuid.UUID) -> sale.Order:
    order = await reads.get(session, tenant.uuid, order_id)
    if order is None:
        raise errors.NotFound("order")
    return order
