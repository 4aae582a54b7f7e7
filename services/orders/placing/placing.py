"""Use cases: an order is placed, or only worked out."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import Final, Protocol

from services.kit import database, errors, ids
from services.kit import principal as principals
from services.orders import catalogue, visible
from services.orders.customers import domain as people
from services.orders.customers.handlers import desk
from services.orders.customers.store import people as people_store
from services.orders.domain import placed_order, placement, sagas, sale
from services.orders.placing import effects, running
from services.orders.placing import saga as one
from services.orders.placing.effects import Tenant
from services.orders.store import reads, taxes
from services.orders.store import sagas as store

METHOD: Final = "tillmesh.orders.v1.OrdersService/PlaceOrder"


class Items(Protocol):
    """Who says what is sold, at which price. Asked each time: what an order costs is never guessed."""

    async def resolve(self, location_id: str, codes: list[str], price_list: str) -> catalogue.Resolution:
        """For the tenant of the rpc that is being handled. NotFound: no such location or price list."""
        ...


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who hasn't registered."""

    write: desk.Write
    draft: people.Draft


@dataclass(frozen=True, slots=True)
class Place:
    """An order to be placed. fingerprint: of the request, but for who the customer is. expected_total None: any."""

    content: placement.Content
    payment: placement.Payment
    expected_total: int | None
    guest: Guest | None
    principal: str
    request_key: str
    fingerprint: bytes
    actor: str


class Placing:
    """Places orders, for one process."""

    def __init__(self, db: database.Database, items: Items, made: effects.Effects, runner: running.Runner) -> None:
        self._db = db
        self._items = items
        self._effects = made
        self._runner = runner
        self._numbers: dict[str, list[int]] = {}
        self._taking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def preview(self, caller: principals.Principal, tenant: Tenant, command: Place) -> sale.Order:
        """What the order would come to. All that `place` refuses before it holds anything."""
        _refuse_staff_fields(caller, command)
        quote, store = await self._quote(tenant, command)
        at = dt.datetime.now(dt.UTC)
        return self._order(command, quote, store, uuid.UUID(int=0), 0, at)

    async def place(self, caller: principals.Principal, tenant: Tenant, command: Place) -> sale.Order:
        """The order, placed. See PlaceOrder for what is refused; OutcomeUnknown: it goes on by itself."""
        _refuse_staff_fields(caller, command)
        command = await self._with_customer(tenant, command)
        if (earlier := await self._earlier(tenant, command)) is not None:
            return earlier
        quote, store_ = await self._quote(tenant, command)
        placement.check_payment(command.payment, quote.sums.total)
        saga = _saga(command, quote)
        number = await self._number(tenant)

        def build(at: dt.datetime) -> sale.Order:
            return self._order(command, quote, store_, saga.order_id, number, at)

        try:
            await self._effects.begin(tenant, saga, build)
        except effects.Taken:
            if (earlier := await self._earlier(tenant, command)) is not None:
                return earlier
            raise errors.Conflict from None  # the other has just come to nothing
        try:
            await self._runner.run(tenant, saga)
        except one.Refused as refused:
            raise _told(refused.error) from None
        except (one.Waiting, store.Superseded):
            raise errors.OutcomeUnknown from None
        return await self._load(tenant, saga.order_id)

    async def _with_customer(self, tenant: Tenant, command: Place) -> Place:
        """The command with the customer that is meant. NotFound."""
        customer = command.content.customer_id
        if command.guest is not None:
            customer = await self._effects.guest(command.guest.write, command.guest.draft)
        elif customer is not None:
            async with self._db.read(tenant.uuid) as session:
                customer = await people_store.resolve(session, customer)
            if customer is None:
                raise errors.NotFound("customer")
        fingerprint = command.fingerprint + (b"" if customer is None else customer.bytes)
        content = dataclasses.replace(command.content, customer_id=customer)
        return dataclasses.replace(command, content=content, fingerprint=fingerprint)

    async def _earlier(self, tenant: Tenant, command: Place) -> sale.Order | None:
        """What the key stands for. IdempotencyKeyReused; InFlight."""
        if not command.request_key:
            return None
        async with self._db.read(tenant.uuid) as session:
            found = await store.by_key(session, tenant.uuid, command.principal, METHOD, command.request_key)
        if found is None:
            return None
        if found.fingerprint != command.fingerprint:
            raise errors.IdempotencyKeyReused
        if found.succeeded is None:
            raise placement.InFlight
        return await self._load(tenant, found.order_id)

    async def _quote(self, tenant: Tenant, command: Place) -> tuple[placement.Quote, sale.Store]:
        """What it costs. SkuNotFound, ItemNotSold, LocationNotCapable, PriceChanged, NotFound (location)."""
        content = command.content
        codes = list(dict.fromkeys(line.code for line in content.lines))
        found = await self._items.resolve(ids.encode("loc", content.location_id), codes, content.price_list)
        country = await self._country(content, found.store)
        async with self._db.read(tenant.uuid) as session:
            policy = await taxes.get(session, tenant.uuid, country) if country else None
        quote = placement.price(
            content,
            found.items,
            found.store,
            policy or placement.TaxPolicy(""),
            line_ids=[ids.new_uuid() for _ in (*content.lines, *content.charges)],
            actor=command.actor,
        )
        placement.expect_total(quote, command.expected_total)
        return quote, found.store

    async def _country(self, content: placement.Content, store_: sale.Store) -> str:
        """Whose taxes apply: of where it goes, or of where it is collected. NotFound (location)."""
        match content.method:
            case placed_order.Delivery(country_code=country):
                return country or store_.country_code
            case placed_order.Pickup(location_id=location) if location != content.location_id:
                return (await self._items.resolve(ids.encode("loc", location), [], "")).store.country_code
        return store_.country_code

    async def _number(self, tenant: Tenant) -> int:
        """The next of this process's numbers for the tenant."""
        async with self._taking[tenant.uuid]:
            if not self._numbers.get(tenant.uuid):
                self._numbers[tenant.uuid] = list(reversed(await self._effects.numbers(tenant)))
            return self._numbers[tenant.uuid].pop()

    async def _load(self, tenant: Tenant, order_id: uuid.UUID) -> sale.Order:
        async with self._db.read(tenant.uuid) as session:
            order = await reads.get(session, tenant.uuid, order_id)
        if order is None:
            raise errors.NotFound("order")
        return order

    @staticmethod
    def _order(
        command: Place, quote: placement.Quote, store_: sale.Store, order_id: uuid.UUID, number: int, at: dt.datetime
    ) -> sale.Order:
        return placement.order_of(
            command.content,
            quote,
            store_,
            order_id=order_id,
            number=number,
            state=sale.OrderState.PENDING,
            capture=command.payment.capture,
            actor=command.actor,
            at=at,
            version=0,  # what is PENDING is no version yet, and nobody is told of it
        )


def _refuse_staff_fields(caller: principals.Principal, command: Place) -> None:
    if not visible.is_staff(caller) and (path := placement.staff_fields(command.content, command.payment)):
        raise placement.StaffOnly(path)


def _saga(command: Place, quote: placement.Quote) -> sagas.Saga:
    method = command.content.method
    pickup_at = method.location_id if isinstance(method, placed_order.Pickup) else None
    lines = placement.hold_lines(command.content, quote.lines)
    return sagas.Saga(
        id=ids.new_uuid(),
        order_id=ids.new_uuid(),
        kind=sagas.Kind.PLACE,
        step=sagas.Step.HOLD,
        plan=sagas.Plan(
            hold=sagas.HoldSpec(lines, pickup_at, command.content.sourcing, command.content.channel.name.lower()),
            tenders=command.payment.tenders,
            capture=command.payment.capture,
        ),
        deadline_at=dt.datetime.max.replace(tzinfo=dt.UTC),  # the database's clock sets it
        principal=command.principal,
        method=METHOD,
        request_key=command.request_key,
        fingerprint=command.fingerprint,
    )


def _told(error: errors.Error) -> errors.Error:
    """What Inventory or a provider refused is our own answer."""
    error.__cause__ = None
    return error
