"""Whom orders are for, as they are kept: sealed with the key of who ordered, a copy for each order.

An order is sent to where its customer said when it was placed, so later changes of profile or addresses don't reach it;
an erasure of the customer does, as the key is deleted. A customer that was merged keeps its key, and what is under it.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from services.kit import database, errors
from services.orders.customers import crypto, domain, keyring, postal, records
from services.orders.customers.handlers import desk
from services.orders.customers.store import people
from services.orders.customers.store import recipients as store

FINGERPRINT = "place"


@dataclass(frozen=True, slots=True)
class Change:
    """What of a recipient is to be another: one of the customer's addresses, a place, a contact; both checked."""

    address_id: uuid.UUID | None = None
    place: postal.Postal | None = None
    contact: domain.Profile | None = None


class Recipients:
    """Keeps and opens recipients, for one process. tenant is uuid text throughout."""

    def __init__(self, at: desk.Desk) -> None:
        self._desk = at

    async def named(self, tenant: str, customer_id: uuid.UUID, where: postal.Postal | uuid.UUID) -> domain.Recipient:
        """A customer, and a place that was checked or one of their addresses. NotFound (customer, address).

        CustomerErased; InvalidRequest when nobody is named to receive it.
        """
        by_id = isinstance(where, uuid.UUID)
        async with self._desk.reading(tenant) as (kept, _):
            found = await kept.get(customer_id, addresses=by_id)
        found.opened()
        if isinstance(where, postal.Postal):
            return domain.recipient(found.customer.profile, where)
        place = next((each.place() for each in found.addresses if each.id == where), None)
        if place is None:
            raise errors.NotFound("address")
        return domain.recipient(found.customer.profile, place, "content.delivery")

    async def digest(self, tenant: str, place: postal.Postal | domain.Profile) -> bytes:
        """What tells places, or people, apart, and nothing to who hasn't the tenant's key.

        Empty while there are no customers.
        """
        async with self._desk.db.read(tenant) as session:
            keys = await self._desk.ring.find(session, tenant)
        text = json.dumps(dataclasses.asdict(place))
        return b"" if keys is None else crypto.digest(keys.fingerprints, FINGERPRINT, text)[:16]

    async def keep(
        self,
        session: database.WriteSession,
        tenant: str,
        customer_id: uuid.UUID,
        order_id: uuid.UUID,
        recipient: domain.Recipient,
    ) -> None:
        """Keeps whom an order is for, in the caller's transaction, in place of what was kept before. CustomerErased."""
        row = await store.keep_key(session, customer_id)
        if row is None:
            raise domain.CustomerErased
        keys = await self._desk.ring.need(session, tenant)  # after the customer's, as all who change keys
        vault = keys.vault(customer_id, row.key_version, row.tenant_key_version, bytes(row.wrapped))
        await store.put(session, order_id, customer_id, vault.seal(store.field(order_id), _text(recipient)))

    async def change(
        self,
        session: database.WriteSession,
        tenant: str,
        order_id: uuid.UUID,
        customer_id: uuid.UUID | None,
        change: Change,
    ) -> tuple[uuid.UUID, domain.Recipient]:
        """Changes whom an order is for, in the caller's transaction: with whose key it is kept, and what is kept.

        customer_id: who ordered, where nothing was kept yet. InvalidRequest when nobody is known to have ordered, or
        nobody is named to receive it; NotFound (address); CustomerErased.
        """
        kept = (await self.of(session, tenant, [order_id])).get(order_id)
        owner = customer_id if kept is None else kept[0]
        if owner is None:
            raise domain.invalid("order_id", "is of nobody who is known, with whose key it could be kept")
        if await store.keep_key(session, owner) is None:  # from now on nobody changes it
            raise domain.CustomerErased
        record = await records.Records(session, await self._desk.ring.need(session, tenant)).get(owner, addresses=True)
        record.opened()
        before = kept[1] if kept is not None else domain.recipient(record.customer.profile, None)
        place = before.place if change.place is None else change.place
        if change.address_id is not None:
            place = next((each.place() for each in record.addresses if each.id == change.address_id), None)
            if place is None:
                raise errors.NotFound("address")
        known = domain.Profile(
            given_name=before.given_name, family_name=before.family_name, email=before.email, phone=before.phone
        )
        after = domain.recipient(change.contact or known, place)
        await self.keep(session, tenant, owner, order_id, after)
        return owner, after

    async def note_look(self, look: desk.Look, customer_id: uuid.UUID) -> None:
        """Notes, before it is shown, that somebody looks at whom an order of a customer is for."""
        await self._desk.note_look(look, [customer_id])

    @staticmethod
    async def drop(session: database.WriteSession, order_id: uuid.UUID) -> None:
        """Forgets whom an order was for that came to nothing, in the caller's transaction."""
        await store.drop(session, order_id)

    async def of(
        self, session: people.Session, tenant: str, orders: Collection[uuid.UUID]
    ) -> dict[uuid.UUID, tuple[uuid.UUID, domain.Recipient]]:
        """Customers and recipients of those orders that have any. session: sees one moment."""
        keys = await self._desk.ring.find(session, tenant)
        if keys is None:
            return {}
        return {row.order_id: (row.customer_id, _opened(keys, row)) for row in await store.get(session, orders)}


def _opened(keys: keyring.TenantKeys, row: Any) -> domain.Recipient:
    vault = keys.vault(row.customer_id, row.key_version, row.tenant_key_version, bytes(row.wrapped))
    content = json.loads(vault.unseal(store.field(row.order_id), bytes(row.sealed)))
    place = content.pop("place")
    if place is not None:
        place = postal.Postal(**{**place, "lines": tuple(place["lines"])})
    return domain.Recipient(**content, place=place)


def _text(recipient: domain.Recipient) -> str:
    return json.dumps(dataclasses.asdict(recipient), ensure_ascii=False)
