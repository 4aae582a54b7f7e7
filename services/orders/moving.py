"""Use case: a machine of an order is moved by the name of a state (PATCH /v1/orders/{order_id}/status)."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from services.kit import audit, database, errors, idempotency, ids, outbox
from services.kit import principal as principals
from services.orders import events, visible
from services.orders.domain import machines, placed_order, sale
from services.orders.domain import moving as domain
from services.orders.mapping import messages
from services.orders.store import placing, reads, sagas
from tillmesh.orders.v1 import orders_events_pb2, orders_pb2

Heard = Callable[[str, str], None]
"""Called after a commit with (tenant TypeID, key of an event)."""


@dataclass(frozen=True, slots=True)
class Command:
    """A move that is asked for. expected_version 0: whatever it is."""

    order_id: uuid.UUID
    request: domain.Request
    expected_version: int
    key: idempotency.Key
    tenant_id: str


class Moves:
    """Moves machines of orders, for one process."""

    def __init__(self, db: database.Database, heard: Heard) -> None:
        self._db = db
        self._heard = heard

    async def move(self, caller: principals.Principal, command: Command) -> orders_pb2.Order:
        """NotFound; LocationScope; OrderBusy; VersionMismatch; and what domain.moving.move refuses."""

        async def effect(session: database.WriteSession) -> orders_pb2.Order:
            order = await _locked(session, caller, command)
            at = await placing.now(session)
            moved = domain.move(order, command.request, at)
            return await _keep(session, command, moved)

        message = await idempotency.run(self._db, command.key, orders_pb2.Order, effect)
        self._heard(command.tenant_id, message.id)
        return message


async def _locked(session: database.WriteSession, caller: principals.Principal, command: Command) -> sale.Order:
    tenant = command.key.tenant
    locked = await placing.lock(session, tenant, command.order_id)
    order = await reads.get(session, tenant, command.order_id) if locked else None
    if order is None:
        raise errors.NotFound("order")
    visible.require(caller, order)
    if (group := domain.find_group(order, command.request)) is not None:
        caller.require_location(ids.encode("loc", group.location_id))
    if await sagas.is_live(session, tenant, order.id):
        raise placed_order.OrderBusy
    if order.placed is not None and command.expected_version not in (0, order.version):
        raise errors.VersionMismatch(order.version)
    return order


async def _keep(session: database.WriteSession, command: Command, moved: domain.Moved) -> orders_pb2.Order:
    tenant, order = command.key.tenant, moved.order
    await placing.update(session, tenant, order)
    if (group := moved.group) is not None:
        await placing.put_groups(session, tenant, order, [group])
        await placing.put_parcels(session, tenant, group.id, group.parcels)
    entries = await placing.add_history(session, tenant, order.id, moved.entries)
    await audit.append(session, audit.by(command.key), [_noted(moved)])
    completed = order.state is sale.OrderState.COMPLETED
    kind = orders_events_pb2.OrderCompleted if completed else orders_events_pb2.OrderUpdated
    await outbox.append(session, [events.order_changed(kind, order, entries, command.key.key)])
    return messages.order_to_proto(sale.Shown(order, stock_applied=False))


def _noted(moved: domain.Moved) -> audit.Entry:
    """What was moved, the first by the caller and the others because of it. Why: a note, and no place for names."""
    changes = {}
    for entry in moved.entries:
        machine = machines.Machine(entry.machine).name.lower()
        field = machine if entry.target is None else f"{machine}:{entry.target}"
        changes[field] = audit.Change(entry.from_state, entry.to_state)
    order_id = ids.encode("ord", moved.order.id)
    return audit.Entry(action="moved", resource="order", resource_id=order_id, changes=changes)
