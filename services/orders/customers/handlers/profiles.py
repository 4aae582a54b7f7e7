"""Use cases of profiles and addresses. tenant is uuid text throughout."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.kit import database, errors, ids
from services.kit import events as kit_events
from services.orders.customers import domain, events, records
from services.orders.customers.handlers import desk
from services.orders.customers.store import people as store

Happened = tuple[uuid.UUID, Sequence[kit_events.Event]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """New values of some fields of a profile. expected_version 0: whatever it is."""

    customer_id: uuid.UUID
    changes: Mapping[str, str]
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which customers. after: the last one before."""

    state: domain.State
    guest: bool | None
    after: uuid.UUID | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Values by kind (records.EMAIL, …), all of which must match; after: the last one before."""

    wanted: Sequence[tuple[int, str]]
    after: uuid.UUID | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressEdit:
    """What is done to an address of a customer. expected_version: the customer's; 0: whatever it is."""

    customer_id: uuid.UUID
    expected_version: int


class Profiles:
    """Profiles and addresses of customers."""

    def __init__(self, at: desk.Desk) -> None:
        self._desk = at

    async def create(self, write: desk.Write, draft: domain.Draft) -> domain.Customer:
        """A new customer, or the guest with this e-mail, who registers. InvalidRequest, AlreadyExists (email)."""

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> Happened:
            known = await self._by_email(kept, session, domain.checked(draft.profile).email)
            if known is None:
                return await self._add(kept, session, draft, guest=False)
            before = await kept.locked(known)
            customer = domain.register(before.customer, draft, now=await store.now(session))
            if not await kept.save(before, customer):
                raise desk.Taken
            return customer.id, [events.updated(customer)]

        return await self.get(write.tenant, await self._desk.write(write, effect))

    async def guest(self, write: desk.Write, draft: domain.Draft) -> uuid.UUID:
        """For orders of those who haven't registered: the customer with the draft's e-mail, or a new guest.

        In a transaction of its own, and safe to repeat: whoever is found is left as it is. InvalidRequest.
        """
        if not draft.profile.email:
            raise domain.invalid("email", "is needed to know a guest by")

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> Happened:
            known = await self._by_email(kept, session, domain.checked(draft.profile).email)
            return (known, []) if known is not None else await self._add(kept, session, draft, guest=True)

        return await self._desk.write(write, effect)

    async def _by_email(
        self, kept: records.WriteRecords, session: database.WriteSession, email: str
    ) -> uuid.UUID | None:
        return await store.owner_of_email(session, kept.digest(records.EMAIL, email)) if email else None

    async def _add(
        self, kept: records.WriteRecords, session: database.WriteSession, draft: domain.Draft, *, guest: bool
    ) -> Happened:
        now = await store.now(session)
        customer = domain.new_customer(draft, customer_id=ids.new_uuid(), guest=guest, now=now)
        if not await kept.add(customer):
            raise desk.Taken  # by a transaction that was faster
        return customer.id, [events.created(customer)]

    async def update(self, write: desk.Write, edit: Edit) -> domain.Customer:
        """NotFound, VersionMismatch, CustomerErased, InvalidRequest, AlreadyExists (email)."""

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> Happened:
            before = await kept.locked(edit.customer_id)
            now = await store.now(session)
            customer = domain.edit(before.customer, edit.changes, expected_version=edit.expected_version, now=now)
            if not await kept.save(before, customer):
                raise errors.AlreadyExists("email")
            return customer.id, [events.updated(customer)]

        return await self.get(write.tenant, await self._desk.write(write, effect))

    async def get(self, tenant: str, customer_id: uuid.UUID) -> domain.Customer:
        """A customer, or the one that took its place. NotFound."""
        async with self._desk.reading(tenant) as (kept, _):
            return (await kept.get(customer_id)).customer

    async def page(self, tenant: str, query: Query) -> list[domain.Customer]:
        """One more than the limit, when there are more."""
        async with self._desk.reading(tenant) as (kept, session):
            found = await store.page(session, query.state, query.guest, query.after, query.limit + 1)
            return [record.customer for record in await kept.of(found)]

    async def search(self, tenant: str, search: Search) -> list[domain.Customer]:
        """One more than the limit, when there are more. Whatever can't be anybody's finds nobody."""
        async with self._desk.reading(tenant) as (kept, session):
            try:
                digests = [(kind, kept.digest(kind, value)) for kind, value in search.wanted]
            except (ValueError, errors.NotFound):  # no such value, or a tenant without customers
                return []
            found = await store.search(session, digests, search.after, search.limit + 1)
            return [record.customer for record in await kept.of(found)]

    # --- addresses ---

    async def addresses(self, tenant: str, customer_id: uuid.UUID) -> list[domain.Address]:
        """All of a customer. NotFound."""
        async with self._desk.reading(tenant) as (kept, _):
            return (await kept.get(customer_id, addresses=True)).addresses

    async def put_address(
        self, write: desk.Write, edit: AddressEdit, address: domain.Address, *, new: bool
    ) -> domain.Address:
        """Adds an address or replaces the one with its id. NotFound, CustomerLimit, CustomerErased, VersionMismatch."""
        checked = domain.checked_address(address)

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> Happened:
            before = await kept.locked(edit.customer_id)
            domain.check_open(before.customer, edit.expected_version)
            if not new and address.id not in {each.id for each in before.addresses}:
                raise errors.NotFound("address")
            await kept.save_addresses(before, domain.put_address(before.addresses, checked))
            customer = domain.touched(before.customer, await store.now(session))
            await store.update(session, customer)
            return checked.id, [events.updated(customer)]

        address_id = await self._desk.write(write, effect)
        found = [each for each in await self.addresses(write.tenant, edit.customer_id) if each.id == address_id]
        if not found:
            raise errors.NotFound("address")  # a repeat, after it was removed
        return found[0]

    async def drop_address(self, write: desk.Write, edit: AddressEdit, address_id: uuid.UUID) -> domain.Customer:
        """NotFound, CustomerErased, VersionMismatch."""

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> Happened:
            before = await kept.locked(edit.customer_id)
            domain.check_open(before.customer, edit.expected_version)
            await kept.save_addresses(before, domain.drop_address(before.addresses, address_id))
            customer = domain.touched(before.customer, await store.now(session))
            await store.update(session, customer)
            return customer.id, [events.updated(customer)]

        return await self.get(write.tenant, await self._desk.write(write, effect))
