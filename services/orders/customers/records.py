"""Customers as they are kept: the one place where personal data is sealed before it is stored, and opened after.

Handlers speak of domain.Customer and domain.Address, the store of ciphertexts and digests.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from services.kit import database, errors
from services.orders.customers import crypto, domain, folding, keyring
from services.orders.customers.store import people as store
from services.orders.customers.store import recipients

EMAIL, PHONE, FAMILY_NAME, POSTAL_CODE = 1, 2, 3, 4
FOLDS = {EMAIL: folding.email, PHONE: folding.phone, FAMILY_NAME: folding.name, POSTAL_CODE: folding.postal_code}
_KINDS = {"email": EMAIL, "phone": PHONE, "family_name": FAMILY_NAME}
KIND_NAMES = {**{kind: name for name, kind in _KINDS.items()}, POSTAL_CODE: "postal_code"}


class Moved(Exception):
    """Somebody was merged while we waited for them. Going on to lock others here could deadlock: begin anew."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """A customer with its addresses, and the vault that opened them; None: it is erased.

    audit: of what the audit log says of it; None: nothing yet, or it is erased.
    """

    customer: domain.Customer
    addresses: list[domain.Address]
    vault: crypto.Vault | None
    audit: crypto.AuditVault | None = None

    def opened(self) -> crypto.Vault:
        """The vault. CustomerErased."""
        if self.vault is None:
            raise domain.CustomerErased
        return self.vault


class Records:
    """The customers of one tenant, in one transaction."""

    def __init__(self, session: store.Session, keys: keyring.TenantKeys | None) -> None:
        self._session = session
        self._keys = keys

    @property
    def keys(self) -> keyring.TenantKeys:
        """The tenant's keys."""
        if self._keys is None:
            raise errors.NotFound("customer")  # without keys there is no customer
        return self._keys

    def digests(self, kind: int, value: str) -> dict[int, bytes]:
        """What a value is found by, by version of the key. ValueError when it can't be one of its kind."""
        folded = FOLDS[kind](value)
        return {version: crypto.digest(key, str(kind), folded) for version, key in self.keys.digests.items()}

    async def get(self, customer_id: uuid.UUID, *, addresses: bool = False) -> Record:
        """A customer, or the one that took its place. NotFound."""
        found = await store.resolve(self._session, customer_id)
        if found is None:
            raise errors.NotFound("customer")
        (record,) = await self.of([found], addresses=addresses)
        return record

    async def of(self, ids: Collection[uuid.UUID], *, addresses: bool = False, sealed: bool = False) -> list[Record]:
        """Customers by their very ids, in order of these. sealed: without opening anything."""
        return [self._record(row, sealed) for row in await store.load(self._session, ids, addresses=addresses)]

    def _record(self, row: Any, sealed: bool) -> Record:
        vault = None
        if row.wrapped is not None and not sealed:
            vault = self.keys.vault(row.id, row.key_version, row.tenant_key_version, bytes(row.wrapped))
        opened: dict[str, str] = {}
        if vault is not None:
            opened = {
                name: vault.unseal(name, bytes(closed))
                for name, closed in zip(row.fields or (), row.sealed or (), strict=True)
            }
        customer = domain.Customer(
            id=row.id,
            state=domain.State(row.state),
            merged_into=row.merged_into,
            guest=row.guest,
            locale=row.locale,
            profile=domain.Profile(**{name: opened[name] for name in domain.PROFILE_FIELDS if name in opened}),
            merged_ids=tuple(row.merged_ids),
            created_at=row.created_at,
            updated_at=row.updated_at,
            version=row.version,
        )
        addresses = [_address(name, text) for name, text in sorted(opened.items()) if name.startswith(store.ADDRESS)]
        audit = None if vault is None or row.audit_wrapped is None else vault.unwrap(bytes(row.audit_wrapped))
        return Record(customer, addresses, vault, audit)


class WriteRecords(Records):
    """The same, to change them."""

    def __init__(self, session: database.WriteSession, ring: keyring.Keyring, tenant: str) -> None:
        """tenant: uuid text."""
        super().__init__(session, None)
        self._write = session
        self._ring = ring
        self._tenant = tenant

    async def take_keys(self) -> None:
        """Reads the tenant's keys, and makes them if there are none. Again after a lock: they may have been rotated."""
        self._keys = await self._ring.need(self._write, self._tenant)

    async def locked(self, customer_id: uuid.UUID) -> Record:
        """A customer, or the one that took its place, with addresses, to be changed by nobody else. NotFound, Moved."""
        found = await store.resolve(self._write, customer_id)
        if found is None:
            raise errors.NotFound("customer")
        await store.lock(self._write, [found])
        await self.take_keys()
        await self.renew_digests([found])
        (record,) = await self.of([found], addresses=True)
        if record.customer.merged_into is not None:
            raise Moved
        return record

    async def locked_family(self, ids: Collection[uuid.UUID], *, sealed: bool = False) -> dict[uuid.UUID, Record]:
        """Customers with all that were merged into them or that they were merged into, locked in the order of ids.

        sealed: without opening anything. Moved.
        """
        wanted = await store.family(self._write, ids)
        await store.lock(self._write, wanted)
        if await store.family(self._write, ids) != wanted:
            raise Moved
        await self.take_keys()
        if not sealed:
            await self.renew_digests(wanted)
        found = await self.of(wanted, addresses=True, sealed=sealed)
        return {record.customer.id: record for record in found}

    async def add(self, customer: domain.Customer) -> Record | None:
        """A new customer with new keys. None: somebody else has the e-mail, and the transaction can't go on."""
        vault = self.keys.new_vault(customer.id)
        audit = self._new_audit_vault(customer.id)
        await store.insert(self._write, customer)
        await self._put_key(vault, audit)
        added = await self._put_profile(vault, domain.Profile(), customer.profile)
        return Record(customer, [], vault, audit) if added else None

    async def audit_vault(self, record: Record) -> crypto.AuditVault:
        """What seals the audit log's values of a customer that is locked, made if there is none. CustomerErased."""
        if record.audit is not None:
            return record.audit
        made = self._new_audit_vault(record.customer.id)
        await store.put_audit_key(self._write, record.customer.id, record.opened().wrap(made))
        return made

    def _new_audit_vault(self, customer: uuid.UUID) -> crypto.AuditVault:
        return crypto.AuditVault(self._tenant, customer, crypto.new_key())

    async def _put_key(self, vault: crypto.Vault, audit: crypto.AuditVault | None) -> None:
        kept = store.Key(
            customer=vault.customer,
            version=vault.version,
            tenant_key_version=self.keys.newest,
            wrapped=self.keys.wrap(vault),
            audit_wrapped=None if audit is None else vault.wrap(audit),
        )
        await store.put_key(self._write, kept)

    async def save(self, before: Record, customer: domain.Customer) -> bool:
        """The next version of a customer that is locked. False: as for `add`."""
        await store.update(self._write, customer)
        return await self._put_profile(before.opened(), before.customer.profile, customer.profile)

    async def _put_profile(self, vault: crypto.Vault, before: domain.Profile, after: domain.Profile) -> bool:
        old, new = dataclasses.asdict(before), dataclasses.asdict(after)
        changed = {name: text for name, text in new.items() if text != old[name]}
        await self._put(vault, {name: text for name, text in changed.items() if text})
        await store.drop_fields(self._write, vault.customer, [name for name, text in changed.items() if not text])
        digests = [
            digest
            for name, kind in _KINDS.items()
            if changed.get(name)
            for digest in self._digests(kind, changed[name], vault.customer, name)
        ]
        return await self._put_digests(vault.customer, list(changed), digests)

    def _digests(self, kind: int, value: str, owner: uuid.UUID, field: str) -> list[store.Digest]:
        """What finds somebody by a value, by all keys; none for one of which nothing is left to compare."""
        if not FOLDS[kind](value):
            return []
        made = self.digests(kind, value)
        return [store.Digest(kind, version, digest, owner, field) for version, digest in made.items()]

    async def _put_digests(self, customer: uuid.UUID, fields: Collection[str], digests: Sequence[store.Digest]) -> bool:
        try:
            return await store.put_digests(self._write, customer, fields, digests, sorted(self.keys.digests))
        except store.KeysChanged:
            raise Moved from None

    async def renew_digests(self, customers: Collection[uuid.UUID]) -> int:
        """While keys of digests are rotated: makes those of customers that are locked with the newest too. How many.

        Whoever is about to write does it as well: two customers must not get hold of one e-mail by different keys, and
        a merge must not take digests along to where the rotation has been. Moved.
        """
        newest = max(self.keys.digests)
        if newest == min(self.keys.digests):
            return 0
        old = await store.old_digests(self._write, customers, newest)
        texts = await self._texts({each.owner for each in old})
        made: dict[uuid.UUID, list[store.Digest]] = {}
        for each in old:
            if (value := texts.get((each.owner, each.field))) is not None:
                digest = self.digests(each.kind, value)[newest]
                made.setdefault(each.customer, []).append(
                    store.Digest(each.kind, newest, digest, each.owner, each.field)
                )
        for customer, digests in made.items():
            try:
                await store.add_digests(self._write, customer, digests, sorted(self.keys.digests))
            except store.KeysChanged:
                raise Moved from None
        return sum(map(len, made.values()))

    async def _texts(self, owners: Collection[uuid.UUID]) -> dict[tuple[uuid.UUID, str], str]:
        """What is looked for of customers, by whose it is and field."""
        texts: dict[tuple[uuid.UUID, str], str] = {}
        for record in await self.of(owners, addresses=True) if owners else ():
            texts |= {(record.customer.id, name): getattr(record.customer.profile, name) for name in _KINDS}
            texts |= {(record.customer.id, _field(each)): each.postal_code for each in record.addresses}
        return texts

    async def save_addresses(self, before: Record, after: Sequence[domain.Address]) -> None:
        """The addresses of a customer that is locked."""
        vault, old = before.opened(), {each.id: each for each in before.addresses}
        changed = {_field(each): each for each in after if old.get(each.id) != each}
        gone = [_field(each) for each in before.addresses if each.id not in {kept.id for kept in after}]
        await self._put(vault, {name: _text(each) for name, each in changed.items()})
        await store.drop_fields(self._write, vault.customer, gone)
        digests = [
            digest
            for name, each in changed.items()
            for digest in self._digests(POSTAL_CODE, each.postal_code, vault.customer, name)
        ]
        if changed or gone:
            await self._put_digests(vault.customer, [*changed, *gone], digests)

    async def clear_addresses(self, record: Record) -> None:
        """Forgets addresses that have moved to another customer; what they are found by has moved with them."""
        await store.drop_fields(self._write, record.customer.id, [_field(each) for each in record.addresses])

    async def change_key(self, record: Record) -> None:
        """A new key for a customer that is locked, and everything under it."""
        old = record.opened()
        vault = self.keys.new_vault(old.customer, old.version + 1)
        await self._put_key(vault, record.audit)
        profile = {name: text for name, text in dataclasses.asdict(record.customer.profile).items() if text}
        await self._put(vault, {**profile, **{_field(each): _text(each) for each in record.addresses}})
        resealed = {
            order_id: vault.seal(recipients.field(order_id), old.unseal(recipients.field(order_id), sealed))
            for order_id, sealed in (await recipients.of_customer(self._write, vault.customer)).items()
        }
        await recipients.reseal(self._write, vault.customer, resealed)

    async def _put(self, vault: crypto.Vault, texts: Mapping[str, str]) -> None:
        sealed = {name: vault.seal(name, text) for name, text in texts.items()}
        await store.put_fields(self._write, vault.customer, sealed)


def _field(address: domain.Address) -> str:
    return f"{store.ADDRESS}{address.id}"


def _text(address: domain.Address) -> str:
    content = dataclasses.asdict(address)
    del content["id"]
    return json.dumps(content, ensure_ascii=False)


def _address(field: str, text: str) -> domain.Address:
    content = json.loads(text)
    content["lines"] = tuple(content["lines"])
    return domain.Address(id=uuid.UUID(field.removeprefix(store.ADDRESS)), **content)
