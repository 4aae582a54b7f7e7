"""The key of digests changes while the service runs: whoever could be found is found at every step, by nobody twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa

from services.kit import database, errors
from services.orders.customers import keyring, records, rotation
from services.orders.customers.handlers import desk
from services.orders.customers.store import keys as key_store
from tests.integration.orders.customers.test_rotating import WRITERS, writers
from tests.integration.orders.customers.world import PERSON, World, uuid_of

VERSIONS = "SELECT version FROM tenant_key WHERE purpose = 2 ORDER BY version"
MADE_WITH = "SELECT DISTINCT key_version FROM customer_digest ORDER BY 1"


@pytest.fixture
def rotating(people: World, monkeypatch: pytest.MonkeyPatch) -> rotation.Rotation:
    monkeypatch.setattr(rotation, "BATCH", 4)
    monkeypatch.setattr(rotation, "CLEAR_BATCH", 5)
    return people.parts.rotation


async def digests(people: World) -> set[bytes]:
    return {bytes(row.digest) for row in await people.rows("SELECT digest FROM customer_digest")}


async def is_over(people: World, version: int = 2) -> bool:
    """One key, everything made with it, and nothing under way."""
    return (
        await people.rows(VERSIONS) == [(version,)]
        and await people.rows(MADE_WITH) == [(version,)]
        and await people.rows("SELECT 1 FROM digest_rotation") == []
    )


class Family:
    """People of all kinds: one with an address, one who was merged, one without an e-mail."""

    def __init__(self, people: World) -> None:
        self.people = people

    async def make(self) -> Family:
        self.ann = (await self.people.new(**PERSON)).id
        await self.people.move_in(self.ann, postal_code="8010")
        twin = await self.people.new(family_name="Twin", email="twin@example.com", phone="+43 1 234567")
        await self.people.merge(self.ann, twin.id)
        self.bob = (await self.people.new(family_name="Bob")).id
        return self

    async def check(self) -> None:
        """Each is found by all that they have, and nobody else is."""
        for by in (
            {"email": PERSON["email"]}, {"phone": PERSON["phone"]}, {"family_name": "quastenhuber"}, {"postal_code": "8010"},
            {"email": "twin@example.com"}, {"phone": "+431234567"}, {"family_name": "twin"},
            {"email": PERSON["email"], "postal_code": "8010"},
        ):  # fmt: skip
            assert await self.people.found(**by) == [self.ann], by
        assert await self.people.found(family_name="bob") == [self.bob]
        assert await self.people.guest(email="TWIN@example.com") == self.ann


async def test_all_are_found_by_new_digests_and_none_of_the_old_is_left(
    people: World, rotating: rotation.Rotation
) -> None:
    family = await Family(people).make()
    before = await digests(people)
    assert await rotating.rotate_digests(people.tenant) == len(before)

    assert await is_over(people)
    assert not before & await digests(people)
    await family.check()
    await people.edit(family.bob, email="bob@example.com")
    assert await people.found(email="bob@example.com") == [family.bob]
    assert await rotating.rotate_digests(people.tenant) == len(before) + 1
    assert await is_over(people, 3)
    await family.check()


async def test_a_repeat_from_before_is_known_after(people: World, rotating: rotation.Rotation) -> None:
    """Fingerprints of idempotency keys have a key of their own."""
    made = await people.call("CreateCustomer", customer=PERSON, request_id="r-1")
    await rotating.rotate_digests(people.tenant)
    later = World(people.db, people.keys, people.log, people.tenant_id)
    assert (await later.call("CreateCustomer", customer=PERSON, request_id="r-1")).id == made.id
    with pytest.raises(errors.IdempotencyKeyReused):
        await later.call("CreateCustomer", customer={"family_name": "X"}, request_id="r-1")


async def test_a_tenant_from_before_keeps_its_fingerprints(people: World, rotating: rotation.Rotation) -> None:
    made = await people.call("CreateCustomer", customer=PERSON, request_id="r-1")
    async with people.db.transaction(people.tenant) as session:  # as such a tenant was left
        keys = await people.parts.desk.ring.need(session, people.tenant)
        await session.execute(sa.text("DELETE FROM tenant_key WHERE purpose = 3"))
        old = keyring.TenantKeys(keys.tenant, keys.digests, keys.wrapping, keys.digests[1])
        given = await people.parts.desk._keyed(_key(people, "r-2"))
    people.parts.desk._digest_keys.clear()
    before = World(people.db, people.keys, people.log, people.tenant_id)
    again = await before.call("CreateCustomer", customer={"family_name": "Y"}, request_id="r-3")
    assert (await before.parts.desk._keyed(_key(people, "r-2"))).fingerprint != given.fingerprint
    await before.parts.rotation.rotate_digests(people.tenant)
    later = World(people.db, people.keys, people.log, people.tenant_id)
    assert (await later.call("CreateCustomer", customer={"family_name": "Y"}, request_id="r-3")).id == again.id
    async with people.db.transaction(people.tenant) as session:
        assert (await later.parts.desk.ring.need(session, people.tenant)).fingerprints == old.fingerprints
    assert made.id != again.id


def _key(people: World, request_id: str) -> Any:
    return desk.idempotency.Key(people.tenant, "boss", "m", request_id, b"what was asked")


class Dying(Exception):
    """As good as killed: what isn't committed is gone."""


class DyingDatabase:
    """A database whose user dies before or after its nth transaction is committed."""

    def __init__(self, db: database.Database, nth: int, *, committed: bool) -> None:
        self._db, self._left, self._committed = db, nth, committed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    @contextlib.asynccontextmanager
    async def transaction(self, tenant: str) -> AsyncIterator[database.WriteSession]:
        self._left -= 1
        async with self._db.transaction(tenant) as session:
            yield session
            if self._left == 0 and not self._committed:
                raise Dying
        if self._left == 0:
            raise Dying


@pytest.mark.parametrize("committed", [False, True], ids=["before its commit", "after its commit"])
async def test_killed_at_any_of_its_transactions_it_goes_on_and_everybody_is_found_meanwhile(
    people: World, rotating: rotation.Rotation, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    monkeypatch.setattr(rotation, "BATCH", 1)
    family, version = await Family(people).make(), 1
    for nth in itertools.count(1):
        rotating._db = DyingDatabase(people.db, nth, committed=committed)  # type: ignore[assignment]
        try:
            await rotating.rotate_digests(people.tenant)
        except Dying:
            await family.check()
            newcomer = await people.new(family_name="Newcomer", email=f"n{nth}@example.com", phone="")
            assert await people.found(email=f"n{nth}@example.com") == [newcomer.id]
            with pytest.raises(errors.AlreadyExists):
                await people.new(family_name="Other", email="twin@example.com")
            rotating._db = people.db
            await rotating.rotate_digests(people.tenant)
            await people.call("EraseCustomer", customer_id=newcomer.id)
        version = (await people.rows(VERSIONS))[0].version
        assert await is_over(people, version)
        if rotating._db is not people.db:
            break  # it had fewer transactions than that
    assert nth > 8
    assert version > 8
    await family.check()


async def test_while_twenty_write_nobody_is_refused_or_lost(people: World, rotating: rotation.Rotation) -> None:
    family = await Family(people).make()
    ids_ = [(await people.new(family_name=f"Writer {n}", email=f"w{n}@example.com")).id for n in range(10)]
    async with writers(people, ids_) as edits:
        await rotating.rotate_digests(people.tenant)
    assert await is_over(people)
    await family.check()
    assert min(edits.values()) > 0
    for n, customer_id in enumerate(ids_):
        assert await people.found(email=f"w{n}@example.com") == [customer_id]


async def test_an_email_has_one_customer_while_keys_change(people: World, rotating: rotation.Rotation) -> None:
    """Twenty take the same e-mails, as registrations, guests and edits, while the key is rotated."""
    others = [(await people.new(family_name=f"O{n}", email="", phone="")).id for n in range(5)]
    done = asyncio.Event()

    async def take(n: int) -> None:
        for email in (f"e{m}@example.com" for m in itertools.count()):
            if done.is_set():
                return
            act: Any = [
                lambda email=email: people.new(family_name="New", email=email),
                lambda email=email: people.guest(email=email),
                lambda email=email: people.edit(others[n % 5], email=email),
            ][n % 3]
            with contextlib.suppress(errors.AlreadyExists, errors.Conflict):
                await act()

    taking = [asyncio.create_task(take(n)) for n in range(WRITERS)]
    try:
        await rotating.rotate_digests(people.tenant)
    finally:
        done.set()
        await asyncio.gather(*taking)
    assert await is_over(people)
    async with people.parts.desk.reading(people.tenant) as (kept, session):
        everybody = await kept.of([row.id for row in (await session.execute(sa.text("SELECT id FROM customer"))).all()])
    emails = [record.customer.profile.email for record in everybody if record.customer.profile.email]
    assert len(emails) == len(set(emails)) > 0
    for email in emails[:: max(1, len(emails) // 10)]:
        assert len(await people.found(email=email)) == 1


async def test_who_has_read_the_old_keys_alone_writes_nothing_with_them(people: World) -> None:
    """It begins anew instead: else their digests would be lost with the old key."""
    made = await people.new(**PERSON)
    async with people.db.transaction(people.tenant) as session:
        kept = records.WriteRecords(session, people.parts.desk.ring, people.tenant)
        await kept.take_keys()
        before = await kept.get(uuid_of(made.id), addresses=True)
        await people.parts.rotation._begin_digests(people.tenant)  # by another
        changed = records.dataclasses.replace(before.customer.profile, phone="+43 1 234567")
        with pytest.raises(records.Moved):
            await kept.save(before, records.dataclasses.replace(before.customer, profile=changed))
        assert not await key_store.have_ended(session, await key_store.latest(session))
        await session.rollback()


async def test_a_rotation_waits_for_whoever_began_before_it(
    people: World, rotating: rotation.Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await people.new(**PERSON)
    monkeypatch.setattr(rotation, "WAIT_SECONDS_MAX", 0.3)
    async with people.db.transaction(people.tenant) as session:
        await people.parts.desk.ring.need(session, people.tenant)
        with pytest.raises(rotation.Busy):
            await rotating.rotate_digests(people.tenant)
    assert await people.found(email=PERSON["email"]) == [made.id]
    monkeypatch.undo()
    await rotating.rotate_digests(people.tenant)
    assert await is_over(people)


async def test_somebody_who_cannot_be_read_is_named_and_holds_the_old_key(
    people: World, rotating: rotation.Rotation
) -> None:
    made, other = await people.new(**PERSON), await people.new(family_name="Other", email="o@example.com", phone="")
    async with people.db.transaction(people.tenant) as session:
        tamper = "UPDATE customer_personal SET sealed = '\\x00' WHERE customer_id = :id AND field = 'email'"
        assert (await session.execute(sa.text(tamper), {"id": uuid_of(made.id)})).rowcount == 1
    with pytest.raises(rotation.Busy, match=made.id):
        await rotating.rotate_digests(people.tenant)
    assert await people.found(email="o@example.com") == [other.id]
    await people.call("EraseCustomer", customer_id=made.id)
    await rotating.rotate_digests(people.tenant)
    assert await is_over(people)
    assert await people.found(email="o@example.com") == [other.id]


async def test_a_rotation_is_noted(people: World, rotating: rotation.Rotation) -> None:
    await people.new(**PERSON)
    await rotating.rotate_digests(people.tenant)
    rows = await people.rows(
        "SELECT action, resource_id, actor FROM audit_entry WHERE resource = 'tenant_key' ORDER BY recorded_at"
    )
    assert rows == [("rotated", "digests", "operator"), ("removed", "digests", "operator")]
