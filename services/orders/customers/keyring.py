"""The keys of a tenant, unwrapped for one transaction, and the vaults of its customers.

Read from the database in each transaction, so that no process goes on with a key that was rotated away; what was
unwrapped before is remembered by its ciphertext.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from services.kit import database, key_file
from services.orders.customers import crypto
from services.orders.customers.store import keys as key_store
from services.orders.customers.store import people as store

WRAPPING, DIGESTS, FINGERPRINTS = 1, 2, 3
READS_MAX = 3
UNWRAPPED_MAX = 10_000


@dataclass(frozen=True, slots=True, repr=False)
class TenantKeys:
    """Keys of a tenant (uuid text). wrapping, digests: by version; two of digests while they are rotated."""

    tenant: str
    digests: Mapping[int, bytes]
    wrapping: Mapping[int, bytes]
    fingerprints: bytes

    @property
    def newest(self) -> int:
        """Version of the key that wraps."""
        return max(self.wrapping)

    def wrap(self, vault: crypto.Vault) -> bytes:
        """A customer's key under the newest key."""
        return crypto.seal(self.wrapping[self.newest], vault.key, _customer(self.tenant, vault.customer, vault.version))

    def vault(self, customer: uuid.UUID, version: int, tenant_key_version: int, wrapped: bytes) -> crypto.Vault:
        """What opens a customer's fields. crypto.Unreadable."""
        key = self.wrapping.get(tenant_key_version)
        if key is None:
            raise crypto.Unreadable("the tenant's key is gone")
        return crypto.Vault(
            self.tenant, customer, version, crypto.unseal(key, wrapped, _customer(self.tenant, customer, version))
        )

    def new_vault(self, customer: uuid.UUID, version: int = 1) -> crypto.Vault:
        """A new key of a customer."""
        return crypto.Vault(self.tenant, customer, version, crypto.new_key())


def _customer(tenant: str, customer: uuid.UUID, version: int) -> bytes:
    return crypto.bound("customer key", tenant, customer, version)


class Keyring:
    """Finds and makes the keys of tenants."""

    def __init__(self, roots: key_file.KeyFile) -> None:
        self.roots = roots
        self._unwrap = functools.lru_cache(maxsize=UNWRAPPED_MAX)(self._unwrapped)

    async def find(self, session: store.Session, tenant: str) -> TenantKeys | None:
        """The tenant's keys; None: it has no customers yet. crypto.Unreadable, key_file.NoKey."""
        return self._open(tenant, await key_store.tenant_keys(session))

    def _open(self, tenant: str, rows: list[key_store.KeyRow]) -> TenantKeys | None:
        if not rows:
            return None
        keys = {(row.purpose, row.version): self._unwrap(tenant, row) for row in rows}
        digests = {version: key for (purpose, version), key in keys.items() if purpose == DIGESTS}
        wrapping = {version: key for (purpose, version), key in keys.items() if purpose == WRAPPING}
        # Tenants from before fingerprints had a key of their own: theirs were made with the first of digests.
        fingerprints = keys.get((FINGERPRINTS, 1)) or digests[min(digests)]
        return TenantKeys(tenant, digests, wrapping, fingerprints)

    async def need(self, session: database.WriteSession, tenant: str) -> TenantKeys:
        """The tenant's keys, made now if it has none. None that wraps goes away before the transaction ends."""
        for _ in range(READS_MAX):
            rows = await key_store.tenant_keys(session, kept=True)
            there = {row.purpose for row in rows}
            if there == {WRAPPING, DIGESTS, FINGERPRINTS}:
                found = self._open(tenant, rows)
                assert found is not None  # there are rows
                return found
            if not there or there == {WRAPPING, DIGESTS}:  # else one was exchanged while we waited for it: read again
                await self._make(session, tenant, rows)
        raise crypto.Unreadable("the tenant's keys were not kept")

    async def _make(self, session: database.WriteSession, tenant: str, rows: list[key_store.KeyRow]) -> None:
        """The keys that a tenant lacks, in one order: two first customers at once must not wait for each other."""
        if not rows:
            for purpose in (WRAPPING, DIGESTS, FINGERPRINTS):
                await key_store.put_tenant_key(session, self.new_tenant_key(tenant, purpose, 1))
            return
        before = self._open(tenant, rows)
        assert before is not None  # there are rows
        await key_store.put_tenant_key(session, self._wrapped(tenant, FINGERPRINTS, 1, before.fingerprints))

    def new_tenant_key(self, tenant: str, purpose: int, version: int) -> key_store.KeyRow:
        """A random key, wrapped with the newest root key."""
        return self._wrapped(tenant, purpose, version, crypto.new_key())

    def rewrapped(self, tenant: str, row: key_store.KeyRow) -> key_store.KeyRow:
        """The same key under the newest root key."""
        return self._wrapped(tenant, row.purpose, row.version, self._unwrap(tenant, row))

    def _wrapped(self, tenant: str, purpose: int, version: int, key: bytes) -> key_store.KeyRow:
        root = self.roots.newest()
        sealed = crypto.seal(root.key, key, _tenant(tenant, purpose, version))
        return key_store.KeyRow(purpose, version, root.id, sealed)

    def _unwrapped(self, tenant: str, row: key_store.KeyRow) -> bytes:
        root = self.roots.get(row.root)
        return crypto.unseal(root.key, row.wrapped, _tenant(tenant, row.purpose, row.version))


def _tenant(tenant: str, purpose: int, version: int) -> bytes:
    return crypto.bound("tenant key", tenant, purpose, version)
