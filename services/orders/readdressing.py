"""Use case: a placed order goes elsewhere, or is for somebody else (PATCH /v1/orders/{order_id}/recipient)."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from services.kit import audit, database, errors, idempotency, ids, outbox
from services.kit import principal as principals
from services.orders import events, visible
from services.orders.customers import audited, postal
from services.orders.customers import domain as people
from services.orders.customers.handlers import recipients
from services.orders.domain import editing, placed_order, sale
from services.orders.mapping import messages
from services.orders.store import placing, reads, sagas
from tillmesh.orders.v1 import orders_events_pb2, orders_pb2

Heard = Callable[[str, str], None]
"""Called after a commit with (tenant TypeID, key of an event)."""


@dataclass(frozen=True, slots=True)
class Command:
    """Where an order is to go (one of its customer's addresses, or a place), and whom it is for; None leaves these.

    expected_version 0: whatever it is. key: its fingerprint tells nothing personal apart.
    """

    order_id: uuid.UUID
    address_id: uuid.UUID | None
    place: postal.Postal | None
    contact: people.Profile | None
    reason: str
    expected_version: int
    key: idempotency.Key
    tenant_id: str
    actor: str


class Readdressing:
    """Changes whom orders are for and where they go, for one process."""

    def __init__(self, db: database.Database, known: recipients.Recipients, heard: Heard) -> None:
        self._db = db
        self._recipients = known
        self._heard = heard

    async def change(self, caller: principals.Principal, command: Command) -> orders_pb2.Order:
        """The order, a version later. See UpdateOrderRecipient for what is refused."""
        place = None if command.place is None else people.checked_place(command.place)
        contact = None if command.contact is None else people.checked(command.contact, "contact")
        command = dataclasses.replace(command, place=place, contact=contact, key=await self._keyed(command))

        async def effect(session: database.WriteSession) -> orders_pb2.Order:
            order = await _locked(session, caller, command)
            customer, place = await self._keep(session, command, order)
            return await _write(session, command, order, customer, place)

        message = await idempotency.run(self._db, command.key, orders_pb2.Order, effect)
        self._heard(command.tenant_id, message.id)
        return message

    async def _keyed(self, command: Command) -> idempotency.Key:
        """What is personal tells requests apart by a digest only."""
        tenant, told = command.key.tenant, command.key.fingerprint
        for personal in (command.place, command.contact):
            if personal is not None:
                told += await self._recipients.digest(tenant, personal)
        return dataclasses.replace(command.key, fingerprint=told)

    async def _keep(
        self, session: database.WriteSession, command: Command, order: sale.Order
    ) -> tuple[uuid.UUID, postal.Postal | None]:
        change = recipients.Change(command.address_id, command.place, command.contact)
        customer, known = await self._recipients.change(
            session, command.key.tenant, order.id, order.customer_id, change
        )
        return customer, known.place


async def _locked(session: database.WriteSession, caller: principals.Principal, command: Command) -> sale.Order:
    tenant = command.key.tenant
    locked = await placing.lock(session, tenant, command.order_id)
    order = await reads.get(session, tenant, command.order_id) if locked else None
    if order is None:
        raise errors.NotFound("order")
    visible.require(caller, order)
    if await sagas.is_live(session, tenant, order.id):
        raise placed_order.OrderBusy
    editing.require_editable(order, command.expected_version)
    assert order.placed is not None  # it is editable
    editing.require_here(order.placed.groups)
    goes_elsewhere = command.place is not None or command.address_id is not None
    if goes_elsewhere and not isinstance(order.placed.method, placed_order.Delivery):
        raise people.invalid("address", "is for an order that is sent")
    return order


async def _write(
    session: database.WriteSession,
    command: Command,
    order: sale.Order,
    customer: uuid.UUID,
    place: postal.Postal | None,
) -> orders_pb2.Order:
    """InvalidRequest for a place in another country than that whose taxes the order bears."""
    tenant, at = command.key.tenant, await placing.now(session)
    after = _readdressed(order, command, place, at)
    await placing.update(session, tenant, after)
    entry = placed_order.Entry(0, 0, None, "", "", command.reason, command.actor, after.version, at)
    entries = await placing.add_history(session, tenant, order.id, [entry])
    about = {"order_recipient": audit.Change(None, ids.encode("ord", order.id))}
    await audit.append(session, audit.by(command.key), [audited.noted("readdressed", customer, about)])
    kind = orders_events_pb2.OrderUpdated
    await outbox.append(session, [events.order_changed(kind, after, entries, command.key.key)])
    return messages.order_to_proto(sale.Shown(after, stock_applied=False))


def _readdressed(order: sale.Order, command: Command, place: postal.Postal | None, at: dt.datetime) -> sale.Order:
    placed = order.placed
    assert placed is not None  # it is editable
    method = placed.method
    if place is not None and isinstance(method, placed_order.Delivery):
        if place.country_code != (method.country_code or placed.pricing.tax_country or place.country_code):
            raise people.invalid("address.country_code", "is not the country whose taxes the order bears")
        if command.place is not None or command.address_id is not None:
            named = "" if command.address_id is None else ids.encode("adr", command.address_id)
            method = dataclasses.replace(method, address_id=named)
    placed = dataclasses.replace(placed, method=method, updated_at=at)
    return dataclasses.replace(order, version=order.version + 1, placed=placed)
