"""Use cases: an order is placed, or only worked out; a draft is placed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.kit import database, errors, ids
from services.kit import principal as principals
from services.orders import visible
from services.orders.customers import postal
from services.orders.domain import placed_order, placement, sagas, sale
from services.orders.placing import addressing, asking, effects, pricing
from services.orders.placing.effects import Tenant
from services.orders.store import drafts

PLACE: Final = "tillmesh.orders.v1.OrdersService/PlaceOrder"
PLACE_DRAFT: Final = "tillmesh.orders.v1.OrdersService/PlaceDraftOrder"
ContentOf = Callable[[Mapping[str, Any]], placement.Content]
"""The content of a draft, of what was kept of it."""


@dataclass(frozen=True, slots=True)
class Place:
    """An order to be placed. fingerprint: of the request, but for what is personal. expected_total None: any.

    place: where it goes, as told, when that is none of the customer's addresses.
    """

    content: placement.Content
    payment: placement.Payment
    expected_total: int | None
    guest: addressing.Guest | None
    principal: str
    request_key: str
    fingerprint: bytes
    actor: str
    place: postal.Postal | None = None


@dataclass(frozen=True, slots=True)
class PlaceDraft:
    """A draft to be placed. expected_version 0: whatever it is. place: as of Place."""

    order_id: uuid.UUID
    payment: placement.Payment
    expected_total: int | None
    expected_version: int
    principal: str
    request_key: str
    fingerprint: bytes
    actor: str
    place: postal.Postal | None = None


class Placing:
    """Places orders, for one process."""

    def __init__(
        self,
        db: database.Database,
        prices: pricing.Pricing,
        made: effects.Effects,
        asked: asking.Asking,
        addresses: addressing.Addressing,
        content_of: ContentOf,
    ) -> None:
        self._db = db
        self._prices = prices
        self._effects = made
        self._addresses = addresses
        self._asking = asked
        self._content_of = content_of

    async def preview(self, caller: principals.Principal, tenant: Tenant, command: Place) -> sale.Order:
        """What the order would come to. All that `place` refuses before it holds anything."""
        _refuse_staff_fields(caller, command)
        priced = await self._prices.price(tenant, command.content, command.actor, command.expected_total)
        saga = saga_of(command, PLACE, uuid.UUID(int=0), command.content, priced.quote)
        return pending(command, command.content, priced, saga, 0, dt.datetime.now(dt.UTC))

    async def place(self, caller: principals.Principal, tenant: Tenant, command: Place) -> sale.Order:
        """The order, placed. See PlaceOrder for what is refused; OutcomeUnknown: it goes on by itself."""
        _refuse_staff_fields(caller, command)
        needed = not visible.is_staff(caller)
        buyer = await self._addresses.buyer(tenant, command.content, command.guest, command.place, needed=needed)
        command = dataclasses.replace(command, fingerprint=command.fingerprint + buyer.fingerprint)
        if (earlier := await self._earlier(tenant, command, PLACE)) is not None:
            return earlier
        content, sent_to = await self._addresses.address(tenant, command.content, buyer)
        command = dataclasses.replace(command, content=content)
        priced = await self._prices.price(tenant, command.content, command.actor, command.expected_total)
        placement.check_payment(command.payment, priced.quote.sums.total)
        saga = saga_of(command, PLACE, ids.new_uuid(), command.content, priced.quote)
        number = await self._asking.number(tenant)

        def build(at: dt.datetime) -> sale.Order:
            return pending(command, command.content, priced, saga, number, at)

        try:
            order = await self._effects.begin(tenant, saga, build, sent_to)
        except effects.Taken:
            if (earlier := await self._earlier(tenant, command, PLACE)) is not None:
                return earlier
            raise errors.Conflict from None  # the other has just come to nothing
        return await self._asking.run(tenant, saga, order)

    async def place_draft(self, caller: principals.Principal, tenant: Tenant, command: PlaceDraft) -> sale.Order:
        """The draft, placed; what is refused leaves it a draft. As `place`; NotFound, LocationScope, NotEditable, …"""
        fingerprint = command.fingerprint + await self._addresses.fingerprint(tenant, command.place)
        command = dataclasses.replace(command, fingerprint=fingerprint)
        if (earlier := await self._earlier(tenant, command, PLACE_DRAFT)) is not None:
            return earlier
        async with self._db.read(tenant.uuid) as session:
            found = await drafts.load(session, tenant.uuid, command.order_id)
        visible.require(caller, found.order)
        placement.require_draft(found.order, command.expected_version, found.at)
        content = self._content_of(found.content)
        buyer = await self._addresses.buyer(tenant, content, None, command.place, needed=not visible.is_staff(caller))
        content, sent_to = await self._addresses.address(tenant, content, buyer)
        if found.order.placed is not None and found.order.placed.prices_held:
            priced = await self._prices.held(content, found.order, command.expected_total)
        else:
            priced = await self._prices.price(tenant, content, command.actor, command.expected_total)
        placement.check_payment(command.payment, priced.quote.sums.total)
        saga = saga_of(command, PLACE_DRAFT, command.order_id, content, priced.quote)

        def build(draft: sale.Order, at: dt.datetime) -> sale.Order:
            placement.require_draft(draft, found.order.version, at)
            assert draft.placed is not None
            begun = pending(command, content, priced, saga, draft.placed.number, at)
            return placement.still_a_draft(begun, draft)

        try:
            order = await self._effects.begin_draft(tenant, saga, build, sent_to)
        except effects.Taken:
            if (earlier := await self._earlier(tenant, command, PLACE_DRAFT)) is not None:
                return earlier
            raise placed_order.OrderBusy from None
        return await self._asking.run(tenant, saga, order)

    async def _earlier(self, tenant: Tenant, command: Place | PlaceDraft, method: str) -> sale.Order | None:
        return await self._asking.earlier(tenant, command.principal, method, command.request_key, command.fingerprint)


def _refuse_staff_fields(caller: principals.Principal, command: Place) -> None:
    if not visible.is_staff(caller) and (path := placement.staff_fields(command.content, command.payment)):
        raise placement.StaffOnly(path)


def pending(
    command: Place | PlaceDraft,
    content: placement.Content,
    priced: pricing.Priced,
    saga: sagas.Saga,
    number: int,
    at: dt.datetime,
) -> sale.Order:
    """The order before its saga has run."""
    return placement.order_of(
        content,
        priced.quote,
        priced.store,
        order_id=saga.order_id,
        number=number,
        state=sale.OrderState.PENDING,
        capture=command.payment.capture,
        balance_due_at=command.payment.balance_due_at,
        actor=command.actor,
        at=at,
        version=0,  # what is PENDING is no version yet, and nobody is told of it
    )


def saga_of(
    command: Place | PlaceDraft, method: str, order_id: uuid.UUID, content: placement.Content, quote: placement.Quote
) -> sagas.Saga:
    """The saga that places it."""
    how = content.method
    pickup_at = how.location_id if isinstance(how, placed_order.Pickup) else None
    lines = placement.hold_lines(content, quote.lines)
    return sagas.Saga(
        id=ids.new_uuid(),
        order_id=order_id,
        kind=sagas.Kind.PLACE,
        step=sagas.Step.HOLD,
        plan=sagas.Plan(
            hold=sagas.HoldSpec(lines, pickup_at, content.sourcing, content.channel.name.lower()),
            tenders=command.payment.tenders,
            capture=command.payment.capture,
        ),
        deadline_at=dt.datetime.max.replace(tzinfo=dt.UTC),  # the database's clock sets it
        principal=command.principal,
        method=method,
        request_key=command.request_key,
        fingerprint=command.fingerprint,
    )
