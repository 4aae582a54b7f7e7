"""Use cases of profiles and addresses. tenant is uuid text throughout."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.kit import database, errors, ids
from services.orders.customers import audited, domain, events, records
from services.orders.customers.handlers import desk
from services.orders.customers.store import people as store


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

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> desk.Happened:
            known = await self._by_email(kept, session, domain.checked(draft.profile).email)
            if known is None:
                return await self._add(kept, session, draft, guest=False)
            before = await kept.locked(known)
            customer = domain.register(before.customer, draft, now=await store.now(session))
            if not await kept.save(before, customer):
                raise desk.Taken
            entry = audited.changed("registered", await kept.audit_vault(before), before.customer, customer)
            return desk.Happened(customer.id, [events.updated(customer)], [entry])

        return await self.get(write.tenant, await self._desk.write(write, effect))

    async def guest(self, write: desk.Write, draft: domain.Draft) -> uuid.UUID:
        """For orders of those who haven't registered: the customer with the draft's e-mail, or a new guest.

        In a transaction of its own, and safe to repeat: whoever is found is left as it is. InvalidRequest.
        """
        if not draft.profile.email:
            raise domain.invalid("email", "is needed to know a guest by")

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> desk.Happened:
            known = await self._by_email(kept, session, domain.checked(draft.profile).email)
            return desk.Happened(known) if known is not None else await self._add(kept, session, draft, guest=True)

        return await self._desk.write(write, effect)

    async def _by_email(
        self, kept: records.WriteRecords, session: database.WriteSession, email: str
    ) -> uuid.UUID | None:
        if not email:
            return None
        found = await store.owners_of_email(session, kept.digests(records.EMAIL, email).values())
        return found[0] if found else None

    async def _add(
        self, kept: records.WriteRecords, session: database.WriteSession, draft: domain.Draft, *, guest: bool
    ) -> desk.Happened:
        now = await store.now(session)
        customer = domain.new_customer(draft, customer_id=ids.new_uuid(), guest=guest, now=now)
        if (made := await kept.add(customer)) is None:
            raise desk.Taken  # by a transaction that was faster
        entry = audited.changed("created", made.audit, None, customer)
        return desk.Happened(customer.id, [events.created(customer)], [entry])

    async def update(self, write: desk.Write, edit: Edit) -> domain.Customer:
        """NotFound, VersionMismatch, CustomerErased, InvalidRequest, AlreadyExists (email)."""

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> desk.Happened:
            before = await kept.locked(edit.customer_id)
            now = await store.now(session)
            customer = domain.edit(before.customer, edit.changes, expected_version=edit.expected_version, now=now)
            if not await kept.save(before, customer):
                raise errors.AlreadyExists("email")
            entry = audited.changed("updated", await kept.audit_vault(before), before.customer, customer)
            return desk.Happened(customer.id, [events.updated(customer)], [entry])

        return await self.get(write.tenant, await self._desk.write(write, effect))

    async def get(self, tenant: str, customer_id: uuid.UUID) -> domain.Customer:
        """A customer, or the one that took its place. NotFound."""
        async with self._desk.reading(tenant) as (kept, _):
            return (await kept.get(customer_id)).customer

    async def look_at(self, look: desk.Look, customer_id: uuid.UUID) -> domain.Customer:
        """The same for a caller whose look is noted. NotFound."""
        found = await self.get(look.tenant, customer_id)
        await self._desk.note_look(look, [found.id])
        return found

    async def page(self, look: desk.Look, query: Query) -> list[domain.Customer]:
        """One more than the limit, when there are more."""
        async with self._desk.reading(look.tenant) as (kept, session):
            found = await store.page(session, query.state, query.guest, query.after, query.limit + 1)
            customers = [record.customer for record in await kept.of(found)]
        await self._desk.note_look(look, [each.id for each in customers[: query.limit]])
        return customers

    async def search(self, look: desk.Look, search: Search) -> list[domain.Customer]:
        """One more than the limit, when there are more. Whatever can't be anybody's finds nobody."""
        found = await self._found(look.tenant, search)
        searched = [records.KIND_NAMES[kind] for kind, _ in search.wanted]
        await self._desk.note_look(look, [each.id for each in found[: search.limit]], searched)
        return found

    async def _found(self, tenant: str, search: Search) -> list[domain.Customer]:
        async with self._desk.reading(tenant) as (kept, session):
            try:
                digests = [(kind, kept.digests(kind, value).values()) for kind, value in search.wanted]
            except (ValueError, errors.NotFound):  # no such value, or a tenant without customers
                return []
            found = await store.search(session, digests, search.after, search.limit + 1)
            return [record.customer for record in await kept.of(found)]

    # --- addresses ---

    async def addresses(self, tenant: str, customer_id: uuid.UUID) -> list[domain.Address]:
        """All of a customer. NotFound."""
        async with self._desk.reading(tenant) as (kept, _):
            return (await kept.get(customer_id, addresses=True)).addresses

    async def look_at_addresses(self, look: desk.Look, customer_id: uuid.UUID) -> list[domain.Address]:
        """The same for a caller whose look is noted. NotFound."""
        found = await self.addresses(look.tenant, customer_id)
        await self._desk.note_look(look, [customer_id])
        return found

    async def put_address(
        self, write: desk.Write, edit: AddressEdit, address: domain.Address, *, new: bool
    ) -> domain.Address:
        """Adds an address or replaces the one with its id. NotFound, CustomerLimit, CustomerErased, VersionMismatch."""
        checked = domain.checked_address(address)

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> desk.Happened:
            before = await kept.locked(edit.customer_id)
            domain.check_open(before.customer, edit.expected_version)
            if not new and address.id not in {each.id for each in before.addresses}:
                raise errors.NotFound("address")
            return await _with_addresses(
                kept, session, before, domain.put_address(before.addresses, checked), checked.id
            )

        address_id = await self._desk.write(write, effect)
        found = [each for each in await self.addresses(write.tenant, edit.customer_id) if each.id == address_id]
        if not found:
            raise errors.NotFound("address")  # a repeat, after it was removed
        return found[0]

    async def drop_address(self, write: desk.Write, edit: AddressEdit, address_id: uuid.UUID) -> domain.Customer:
        """NotFound, CustomerErased, VersionMismatch."""

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> desk.Happened:
            before = await kept.locked(edit.customer_id)
            domain.check_open(before.customer, edit.expected_version)
            left = domain.drop_address(before.addresses, address_id)
            return await _with_addresses(kept, session, before, left, before.customer.id)

        return await self.get(write.tenant, await self._desk.write(write, effect))


async def _with_addresses(
    kept: records.WriteRecords,
    session: database.WriteSession,
    before: records.Record,
    after: Sequence[domain.Address],
    about: uuid.UUID,
) -> desk.Happened:
    """Keeps the addresses of a customer that is locked. about: whom or what the answer is about."""
    await kept.save_addresses(before, after)
    customer = domain.touched(before.customer, await store.now(session))
    await store.update(session, customer)
    vault = await kept.audit_vault(before)
    entry = audited.changed("updated", vault, before.customer, customer, (before.addresses, after))
    return desk.Happened(about, [events.updated(customer)], [entry])
