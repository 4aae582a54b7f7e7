"""Everything the service has of a customer, in parts. tenant is uuid text throughout."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from services.kit import database
from services.orders.customers import audited, domain, records
from services.orders.customers.handlers import access, consents, desk, recipients
from services.orders.customers.store import facts
from services.orders.domain import payments as payment_values
from services.orders.domain import sale, stored_value
from services.orders.store import payments, reads
from services.orders.store import stored_value as accounts

PAGE = 100


@dataclass(frozen=True, slots=True)
class Access:
    """What was done with the personal data: exported, merged or erased."""

    customer_id: uuid.UUID
    action: str
    actor: str
    recorded_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Sent:
    """Whom an order is for."""

    order_id: uuid.UUID
    customer_id: uuid.UUID
    recipient: domain.Recipient


@dataclass(frozen=True, slots=True)
class Part:
    """Some of what there is under one name. Parts of a name follow each other."""

    name: str
    items: Sequence[
        domain.Customer
        | domain.Address
        | domain.Consent
        | stored_value.Account
        | sale.Order
        | Sent
        | payment_values.Payment
        | Access
    ]


class Exporting:
    """Exports customers."""

    def __init__(self, at: desk.Desk, sent: recipients.Recipients) -> None:
        self._desk = at
        self._recipients = sent

    async def export(self, write: desk.Write, customer_id: uuid.UUID) -> AsyncIterator[Part]:
        """All parts, in pages: nothing is kept open for a slow reader. NotFound, before the first of them."""

        async def effect(_: records.WriteRecords, session: database.WriteSession) -> desk.Happened:
            family = await consents.family(session, customer_id)
            await facts.put_access(session, family[:1], access.EXPORTED, write.actor)
            return desk.Happened(customer_id, noted=[audited.noted("exported", family[0])])

        await self._desk.write(write, effect)
        tenant = write.tenant
        async with self._desk.reading(tenant) as (kept, session):
            family = await consents.family(session, customer_id)
            found = await kept.of(family, addresses=True)
            rows = await facts.accesses(session, family)
            credit = [account for each in family for account in await accounts.credits_of(session, each, limit=PAGE)]
        noted = [Access(row.customer_id, access.NAMES[row.action], row.actor, row.recorded_at) for row in rows]
        yield Part("customers", [record.customer for record in found])
        yield Part("addresses", [address for record in found for address in record.addresses])
        yield Part("accesses", noted)
        yield Part("store_credit", credit)
        async for entries in self._consents(tenant, family):
            yield Part("consents", entries)
        async for orders in self._orders(tenant, family):
            yield Part("orders", orders)
        async for sent in self._sent(tenant, family):
            yield Part("recipients", sent)
        async for paid in self._payments(tenant, family):
            yield Part("payments", paid)

    async def _consents(self, tenant: str, family: Sequence[uuid.UUID]) -> AsyncIterator[list[domain.Consent]]:
        before: uuid.UUID | None = None
        while True:
            async with self._desk.db.read(tenant) as session:
                page = await facts.consents(session, family, before, PAGE)
            yield page
            if len(page) < PAGE:
                return
            before = page[-1].id

    async def _orders(self, tenant: str, family: Sequence[uuid.UUID]) -> AsyncIterator[list[sale.Order]]:
        after: uuid.UUID | None = None
        while True:
            async with self._desk.db.read(tenant) as session:
                ids = await facts.orders_of(session, family, after, PAGE)
                loaded = [await reads.get(session, tenant, order_id) for order_id in ids]
            yield [order for order in loaded if order is not None]
            if len(ids) < PAGE:
                return
            after = ids[-1]

    async def _sent(self, tenant: str, family: Sequence[uuid.UUID]) -> AsyncIterator[list[Sent]]:
        after: uuid.UUID | None = None
        while True:
            async with self._desk.reading(tenant) as (_, session):
                ids = await facts.orders_of(session, family, after, PAGE)
                found = await self._recipients.of(session, tenant, ids)
            yield [Sent(order_id, customer_id, each) for order_id, (customer_id, each) in found.items()]
            if len(ids) < PAGE:
                return
            after = ids[-1]

    async def _payments(self, tenant: str, family: Sequence[uuid.UUID]) -> AsyncIterator[list[payment_values.Payment]]:
        after: uuid.UUID | None = None
        while True:
            async with self._desk.db.read(tenant) as session:
                ids = await facts.orders_of(session, family, after, PAGE)
                found = [paid for order_id in ids for paid in await payments.of_order(session, order_id)]
            yield found
            if len(ids) < PAGE:
                return
            after = ids[-1]
