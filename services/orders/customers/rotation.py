"""Rotations of keys, while the service runs: each step is a transaction, and what was killed goes on when called again.

- The root key: a new one in the file, and all keys of tenants under it. No ciphertext of a customer is touched.
- A tenant's key: a new one, and all keys of its customers under it. No personal data is touched.
- Customers' keys: a new one for each customer, and its personal data under it.
- A tenant's key of digests: a new one beside the old, and all digests made with it too, from the opened data; look-ups
  ask both meanwhile, and writers write both. Then the old key goes, and what was made with it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.kit import audit, database, ids, key_file
from services.orders.customers import audited, crypto, keyring, records
from services.orders.customers.store import keys as key_store
from services.orders.customers.store import people as store

BATCH = 200
# A transaction that took the old root key from the file before the new one was there has ended by then.
SETTLED = dt.timedelta(seconds=2 * database.STATEMENT_SECONDS_MAX)
Progress = Callable[[int], None]
OPERATOR = audit.Source(actor="operator", method="scripts/keys")


NAMES = {keyring.WRAPPING: "wrapping", keyring.DIGESTS: "digests", keyring.FINGERPRINTS: "fingerprints"}
ROUNDS = 3
CLEAR_BATCH = 5_000
WAIT_SECONDS_MAX = 60.0


class Busy(Exception):
    """Others kept using the old key; the same command goes on later."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Root keys in the file, the oldest first, and how many tenants have keys under each."""

    ids: list[str]
    tenants: dict[str, int]


class Rotation:
    """What an operator may do with keys."""

    def __init__(self, db: database.Database, ring: keyring.Keyring) -> None:
        self._db = db
        self._ring = ring

    async def tenants(self) -> list[str]:
        """Tenants (uuid text) that have customers."""
        async with self._db.worker() as session:
            return [str(tenant) for tenant in await key_store.tenants(session)]

    async def roots(self) -> Roots:
        """Which root keys there are, and which are in use."""
        async with self._db.worker() as session:
            return Roots(self._ring.roots.ids(), await key_store.roots(session))

    async def missing(self) -> list[str]:
        """Root keys that the database needs and the file lacks."""
        found = await self.roots()
        return [root for root in found.tenants if root not in found.ids]

    # --- root key ---

    async def rotate_root(self, now: dt.datetime) -> int:
        """A new root key, unless some tenants' keys are not under the newest yet; then all under it: how many keys."""
        newest = self._ring.roots.newest().id
        if set((await self.roots()).tenants) <= {newest}:
            self._ring.roots.add(key_file.new("root", now))
        return await self.rewrap_tenants()

    async def rewrap_tenants(self) -> int:
        """All keys of all tenants under the newest root key: how many were changed."""
        done, newest = 0, self._ring.roots.newest().id
        for tenant in await self.tenants():
            async with self._db.transaction(tenant) as session:
                old = [row for row in await key_store.tenant_keys(session) if row.root != newest]
                for row in old:
                    await key_store.rewrap_tenant_key(session, row, self._ring.rewrapped(tenant, row))
                noted = [_noted("rewrapped", "tenant_key", _name(row), "root", row.root, newest) for row in old]
                await audit.append(session, OPERATOR, noted)
                done += len(old)
        return done

    async def prune_roots(self, now: dt.datetime) -> list[str]:
        """Takes root keys out of the file that nothing is under any more: which. Busy right after a rotation."""
        keys = self._ring.roots
        if now - keys.newest().created_at < SETTLED:
            raise Busy(f"the newest root key is younger than {SETTLED.total_seconds():.0f} s")
        used = (await self.roots()).tenants
        gone = [key for key in keys.ids()[:-1] if key not in used]
        for key in gone:
            keys.remove(key)
        return gone

    # --- a tenant's key ---

    async def rotate_tenant(self, tenant: str, progress: Progress = lambda _: None) -> int:
        """A new key of the tenant, unless a rotation is unfinished; then all its customers' keys under it: how many.

        Busy when customers kept coming under the old one.
        """
        async with self._db.transaction(tenant) as session:
            keys = await self._ring.need(session, tenant)
            if len(keys.wrapping) == 1:
                row = self._ring.new_tenant_key(tenant, keyring.WRAPPING, keys.newest + 1)
                await key_store.put_tenant_key(session, row)
                entry = _noted("rotated", "tenant_key", _name(row), "version", keys.newest, row.version)
                await audit.append(session, OPERATOR, [entry])
        done = 0
        for _ in range(10):  # a transaction that began before the new key was there may use the old one once more
            while some := await self._rewrap_some(tenant):
                done += some
                progress(done)
            if await self._drop_old(tenant):
                return done
        raise Busy("customers were made under the old key all the time")

    async def _rewrap_some(self, tenant: str) -> int:
        async with self._db.transaction(tenant) as session:
            keys = await self._ring.need(session, tenant)
            rows = await key_store.old_wrapped(session, keys.newest, BATCH)
            wrapped = {
                row.customer: keys.wrap(keys.vault(row.customer, row.version, row.tenant_key_version, row.wrapped))
                for row in rows
            }
            await key_store.rewrap(session, keys.newest, wrapped)
            return len(rows)

    async def _drop_old(self, tenant: str) -> bool:
        """Deletes old keys of the tenant. False: something was put under one meanwhile."""
        try:
            async with self._db.transaction(tenant) as session:
                keys = await self._ring.find(session, tenant)
                if keys is None:
                    return True
                if await key_store.drop_tenant_keys(session, keys.newest):
                    versions = min(keys.wrapping), None
                    entry = _noted("removed", "tenant_key", NAMES[keyring.WRAPPING], "version", *versions)
                    await audit.append(session, OPERATOR, [entry])
                left = await self._ring.find(session, tenant)
                return left is not None and len(left.wrapping) == 1
        except key_store.KeyInUse:
            return False

    # --- customers' keys ---

    async def rotate_customers(self, tenant: str, progress: Progress = lambda _: None) -> int:
        """A new key for each customer of the tenant that had one when this began: how many."""
        async with self._db.transaction(tenant) as session:
            if await key_store.begin_rotation(session):
                await audit.append(session, OPERATOR, [_noted("rotating", "customer_keys", "")])
        done = 0
        while True:
            async with self._db.read(tenant) as session:
                under_way = await key_store.rotation(session)
                if under_way is None:
                    return done  # another command has finished it
                began_at, reached = under_way
                found = await key_store.keys_made_before(session, began_at, reached, BATCH)
            for customer in found:
                done += await self._change_key(tenant, customer)
            if not found:
                async with self._db.transaction(tenant) as session:
                    await key_store.end_rotation(session)
                    await audit.append(session, OPERATOR, [_noted("rotated", "customer_keys", "")])
                return done
            async with self._db.transaction(tenant) as session:
                await key_store.reach(session, found[-1])
            progress(done)

    async def rotate_customer(self, tenant: str, customer: uuid.UUID) -> int:
        """A new key for one customer. 0: it has none, being erased, or isn't there."""
        return await self._change_key(tenant, customer, alone=True)

    # --- digests ---

    async def rotate_digests(self, tenant: str, progress: Progress = lambda _: None) -> int:
        """A new key of digests, unless a rotation is unfinished; then all digests made with it: how many.

        Busy when a transaction of somebody's doesn't end, or a customer's data can't be read.
        """
        to = await self._begin_digests(tenant)
        await self._settled()  # whoever read one key alone, and may have written with it, has ended
        done = await self._renew_all(tenant, to, progress)
        async with self._db.transaction(tenant) as session:
            if await key_store.drop_digest_keys(session, to):
                entry = _noted("removed", "tenant_key", NAMES[keyring.DIGESTS], "version", to - 1)
                await audit.append(session, OPERATOR, [entry])
        await self._settled()  # nobody writes with the old key any more
        await self._clear_digests(tenant, to)
        return done

    async def _begin_digests(self, tenant: str) -> int:
        async with self._db.transaction(tenant) as session:
            keys = await self._ring.need(session, tenant)
            under_way = await key_store.digest_rotation(session)
            if under_way is not None:
                return under_way.to_version
            newest = max(keys.digests)
            if await key_store.begin_digest_rotation(session, newest + 1):
                await key_store.put_tenant_key(session, self._ring.new_tenant_key(tenant, keyring.DIGESTS, newest + 1))
                entry = _noted("rotated", "tenant_key", NAMES[keyring.DIGESTS], "version", newest, newest + 1)
                await audit.append(session, OPERATOR, [entry])
            return newest + 1

    async def _settled(self) -> None:
        """Returns when every transaction that is under way now has ended, whatever it is about. Busy."""
        async with self._db.worker() as session:
            latest = await key_store.latest(session)
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                while True:
                    async with self._db.worker() as session:
                        if await key_store.have_ended(session, latest):
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Busy(f"a transaction of the database has been open for {WAIT_SECONDS_MAX:.0f} s") from None

    async def _renew_all(self, tenant: str, to: int, progress: Progress) -> int:
        done, left = 0, None
        for _ in range(ROUNDS):
            while some := await self._next_with_old_digests(tenant, to):
                for customer in some:
                    done += await self._renew_digests(tenant, customer)
                async with self._db.transaction(tenant) as session:
                    await key_store.reach_digests(session, to, some[-1])
                progress(done)
            async with self._db.read(tenant) as session:
                left = await store.not_renewed(session, to)
            if left is None:
                return done
            async with self._db.transaction(tenant) as session:
                await key_store.reach_digests(session, to, None)
        assert left is not None  # else it had returned
        raise Busy(_unreadable(left))

    async def _next_with_old_digests(self, tenant: str, to: int) -> list[uuid.UUID]:
        """The next customers; none when all are done, or another command has finished this rotation."""
        async with self._db.read(tenant) as session:
            under_way = await key_store.digest_rotation(session)
            if under_way is None or under_way.to_version != to or under_way.dropped:
                return []
            return await store.with_old_digests(session, to, under_way.reached, BATCH)

    async def _renew_digests(self, tenant: str, customer: uuid.UUID) -> int:
        async with self._db.transaction(tenant) as session:
            kept = records.WriteRecords(session, self._ring, tenant)
            await store.lock(session, [customer])
            await kept.take_keys()
            try:
                return await kept.renew_digests([customer])
            except crypto.Unreadable:
                raise Busy(_unreadable(customer)) from None
            except records.Moved:
                raise Busy("another command has changed the keys meanwhile") from None

    async def _clear_digests(self, tenant: str, to: int) -> None:
        while True:
            async with self._db.transaction(tenant) as session:
                if not await store.clear_digests(session, to, CLEAR_BATCH):
                    await key_store.end_digest_rotation(session, to)
                    return

    async def _change_key(self, tenant: str, customer: uuid.UUID, *, alone: bool = False) -> int:
        """alone: not as one of all, which are noted together."""
        async with self._db.transaction(tenant) as session:
            kept = records.WriteRecords(session, self._ring, tenant)
            await store.lock(session, [customer])
            await kept.take_keys()
            found = await kept.of([customer], addresses=True)
            if not found or found[0].vault is None:
                return 0
            await kept.change_key(found[0])
            if alone:
                await audit.append(session, OPERATOR, [audited.noted("key_rotated", customer)])
            return 1


def _noted(
    action: str, resource: str, resource_id: str, field: str = "", before: str | int | None = None, after: Any = None
) -> audit.Entry:
    changes = {field: audit.Change(before, after)} if field else {}
    return audit.Entry(action=action, resource=resource, resource_id=resource_id, changes=changes)


def _unreadable(customer: uuid.UUID) -> str:
    return f"digests of the customer {ids.encode('cus', customer)} can't be made anew from its data"


def _name(row: key_store.KeyRow) -> str:
    return NAMES[row.purpose]
