"""Use cases of drafts: orders that are still being put together, and offers whose prices hold. No units are held."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.kit import database, errors, events, idempotency, ids, outbox
from services.kit import principal as principals
from services.orders import events as order_events
from services.orders import visible
from services.orders.domain import machines, placed_order, placement, sale
from services.orders.mapping import messages
from services.orders.placing import asking, effects, pricing
from services.orders.placing.effects import Tenant
from services.orders.placing.placing import ContentOf
from services.orders.store import drafts as store
from services.orders.store import placing as order_store
from services.orders.store import sagas
from tillmesh.orders.v1 import orders_events_pb2 as pb
from tillmesh.orders.v1 import orders_pb2

DRAFT_TTL: Final = dt.timedelta(days=30)
QUOTE_TTL: Final = dt.timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Create:
    """A draft to be kept. kept: content as JSON."""

    content: placement.Content
    kept: Mapping[str, Any]
    ttl: dt.timedelta
    key: idempotency.Key
    actor: str


@dataclass(frozen=True, slots=True)
class Update:
    """A draft's new content. expected_version 0: whatever it is."""

    order_id: uuid.UUID
    content: placement.Content
    kept: Mapping[str, Any]
    expected_version: int
    key: idempotency.Key
    actor: str


@dataclass(frozen=True, slots=True)
class Quote:
    """Prices to be held."""

    order_id: uuid.UUID
    ttl: dt.timedelta
    expected_version: int
    key: idempotency.Key
    actor: str


class Drafting:
    """Keeps drafts, for one process."""

    def __init__(
        self,
        db: database.Database,
        prices: pricing.Pricing,
        asked: asking.Asking,
        content_of: ContentOf,
        heard: effects.Heard,
    ) -> None:
        self._db = db
        self._prices = prices
        self._asking = asked
        self._content_of = content_of
        self._heard = heard

    async def create(self, tenant: Tenant, command: Create) -> orders_pb2.Order:
        """What PreviewOrder refuses."""
        priced = await self._prices.price(tenant, command.content, command.actor)
        number = await self._asking.number(tenant)

        async def effect(session: database.WriteSession) -> orders_pb2.Order:
            at = await order_store.now(session)
            order = _draft(command.content, priced, ids.new_uuid(), number, command.actor, at)
            order = _valid(order, at + command.ttl, held=False)
            await order_store.insert(session, tenant.uuid, order, command.kept)
            await store.put_due(session, order.id, at + command.ttl)
            told = _entry(machines.ORDER.begin(order.state), order, command.actor, at)
            return await _tell(session, tenant, order, [told], command.key)

        return await self._write(tenant, command.key, effect)

    async def update(self, caller: principals.Principal, tenant: Tenant, command: Update) -> orders_pb2.Order:
        """NotFound, LocationScope, NotEditable, VersionMismatch, OrderBusy; what PreviewOrder refuses."""
        await self._seen(caller, tenant, command.order_id, command.expected_version)
        priced = await self._prices.price(tenant, command.content, command.actor)

        async def effect(session: database.WriteSession) -> orders_pb2.Order:
            found = await _locked(session, caller, tenant, command.order_id, command.expected_version)
            before = found.order
            assert before.placed is not None
            if before.location_id != command.content.location_id:
                violation = errors.FieldViolation("content.location_id", "stays the same")
                raise errors.InvalidRequest(violations=[violation])
            order = _draft(
                command.content, priced, before.id, before.placed.number, command.actor, found.at, before.version + 1
            )
            order = _valid(order, before.placed.valid_until, held=False)
            return await _change(session, tenant, before, order, command.kept, command.key, command.actor)

        return await self._write(tenant, command.key, effect)

    async def quote(self, caller: principals.Principal, tenant: Tenant, command: Quote) -> orders_pb2.Order:
        """NotFound, LocationScope, NotEditable, VersionMismatch, OrderBusy; what PreviewOrder refuses."""
        seen = await self._seen(caller, tenant, command.order_id, command.expected_version)
        content = self._content_of(seen.content)
        priced = await self._prices.price(tenant, content, command.actor)

        async def effect(session: database.WriteSession) -> orders_pb2.Order:
            found = await _locked(session, caller, tenant, command.order_id, seen.order.version)
            before = found.order
            assert before.placed is not None
            until = found.at + command.ttl
            order = _draft(
                content, priced, before.id, before.placed.number, command.actor, found.at, before.version + 1
            )
            await store.put_due(session, order.id, until)
            return await _change(
                session, tenant, before, _valid(order, until, held=True), None, command.key, command.actor
            )

        return await self._write(tenant, command.key, effect)

    async def _seen(
        self, caller: principals.Principal, tenant: Tenant, order_id: uuid.UUID, expected_version: int
    ) -> store.Found:
        """The draft before its lock: whom it is none of their business learns nothing from prices."""
        async with self._db.read(tenant.uuid) as session:
            seen = await store.load(session, tenant.uuid, order_id)
        visible.require(caller, seen.order)
        placement.require_draft(seen.order, expected_version, seen.at)
        return seen

    async def expire(self) -> int:
        """Ends drafts whose time has run out; answers how many it looked at."""
        async with self._db.worker() as session:
            rows = await store.due(session)
        for row in rows:
            tenant = Tenant(str(row.tenant_id), events.tenant_text(row.tenant_id))
            await self._expire(tenant, row.order_id)
        return len(rows)

    async def _expire(self, tenant: Tenant, order_id: uuid.UUID) -> None:
        async with self._db.transaction(tenant.uuid) as session:
            await order_store.lock(session, tenant.uuid, order_id)
            found = await store.load(session, tenant.uuid, order_id)
            before = found.order
            assert before.placed is not None
            if before.state is sale.OrderState.PENDING:
                return  # it is being placed: looked at again
            await store.drop_due(session, order_id)
            if before.state is not sale.OrderState.DRAFT:
                return
            reason = int(placed_order.CancelReason.EXPIRED)
            placed = dataclasses.replace(before.placed, cancel_reason=reason, updated_at=found.at)
            order = dataclasses.replace(
                before, state=sale.OrderState.EXPIRED, version=before.version + 1, placed=placed
            )
            moved = machines.ORDER.move(before.state, order.state, machines.By.SYSTEM)
            await order_store.update(session, tenant.uuid, order, drop_content=True)
            told = _entry(moved, order, effects.ACTOR, found.at)
            numbered = await order_store.add_history(session, tenant.uuid, order_id, [told])
            await outbox.append(session, [order_events.order_changed(pb.OrderCancelled, order, numbered, "")])
        self._heard(tenant.id, ids.encode("ord", order_id))

    async def _write(self, tenant: Tenant, key: idempotency.Key, effect: Any) -> orders_pb2.Order:
        message = await idempotency.run(self._db, key, orders_pb2.Order, effect)
        self._heard(tenant.id, message.id)
        return message


async def _locked(
    session: database.WriteSession,
    caller: principals.Principal,
    tenant: Tenant,
    order_id: uuid.UUID,
    expected_version: int,
) -> store.Found:
    await order_store.lock(session, tenant.uuid, order_id)
    found = await store.load(session, tenant.uuid, order_id)
    visible.require(caller, found.order)
    if await sagas.is_live(session, tenant.uuid, order_id):
        raise placed_order.OrderBusy
    placement.require_draft(found.order, expected_version, found.at)
    return found


async def _change(
    session: database.WriteSession,
    tenant: Tenant,
    before: sale.Order,
    order: sale.Order,
    kept: Mapping[str, Any] | None,
    key: idempotency.Key,
    actor: str,
) -> orders_pb2.Order:
    """Writes a draft that was changed."""
    assert order.placed is not None
    assert order.placed.updated_at is not None
    await order_store.update(session, tenant.uuid, order, content=kept)
    await order_store.replace_lines(session, tenant.uuid, before, order, counted=False)
    told = placed_order.Entry(0, 0, None, "", "", "", actor, order.version, order.placed.updated_at)
    return await _tell(session, tenant, order, [told], key)


async def _tell(
    session: database.WriteSession,
    tenant: Tenant,
    order: sale.Order,
    entries: list[placed_order.Entry],
    key: idempotency.Key,
) -> orders_pb2.Order:
    numbered = await order_store.add_history(session, tenant.uuid, order.id, entries)
    await outbox.append(session, [order_events.order_changed(pb.OrderDrafted, order, numbered, key.key)])
    return messages.order_to_proto(sale.Shown(order, stock_applied=False))


def _draft(
    content: placement.Content,
    priced: pricing.Priced,
    order_id: uuid.UUID,
    number: int,
    actor: str,
    at: dt.datetime,
    version: int = 1,
) -> sale.Order:
    return placement.order_of(
        content,
        priced.quote,
        priced.store,
        order_id=order_id,
        number=number,
        state=sale.OrderState.DRAFT,
        capture=placed_order.Capture.PLACEMENT,
        actor=actor,
        at=at,
        version=version,
    )


def _valid(order: sale.Order, until: dt.datetime | None, *, held: bool) -> sale.Order:
    assert order.placed is not None
    placed = dataclasses.replace(order.placed, valid_until=until, prices_held=held)
    return dataclasses.replace(order, placed=placed)


def _entry(moved: machines.Move[sale.OrderState], order: sale.Order, actor: str, at: dt.datetime) -> placed_order.Entry:
    before = "" if moved.from_state is None else moved.from_state.name
    return placed_order.Entry(0, int(moved.machine), None, before, moved.to_state.name, "", actor, order.version, at)
