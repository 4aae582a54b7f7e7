"""Keys change while the service runs: nobody is refused, nothing is lost, and what was stopped goes on."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer.testing

from services.kit import clock, database, ids, key_file
from services.orders import admin
from services.orders.customers import crypto, rotation
from tests.integration.orders.customers import world
from tests.integration.orders.customers.world import PERSON, World, uuid_of

WRITERS = 20


@pytest.fixture
def people(db: database.Database, tmp_path: Path, keys_file: Path, erasure_log: Path) -> Iterator[World]:
    """With a file of root keys of its own: other tests' tenants must not be rotated along."""
    made = World(db, world.keys_file(tmp_path), erasure_log)
    yield made
    for key in key_file.parse(made.keys.read_text()).values():  # a process of another test needs all there are
        key_file.KeyFile(keys_file).add(key)


@pytest.fixture
def rotating(people: World, monkeypatch: pytest.MonkeyPatch) -> rotation.Rotation:
    """Rotations that know of this tenant only, in small steps."""
    monkeypatch.setattr(rotation, "BATCH", 4)
    made = people.parts.rotation

    async def only(*_: object) -> list[str]:
        return [people.tenant]

    async def roots() -> rotation.Roots:
        rows = await people.rows("SELECT root, count(DISTINCT tenant_id) AS tenants FROM tenant_key GROUP BY root")
        return rotation.Roots(people.parts.desk.ring.roots.ids(), {row.root: row.tenants for row in rows})

    monkeypatch.setattr(made, "tenants", only)
    monkeypatch.setattr(made, "roots", roots)
    return made


async def sealed(people: World) -> dict[str, bytes]:
    rows = await people.rows("SELECT customer_id, field, sealed FROM customer_personal")
    return {f"{row.customer_id} {row.field}": bytes(row.sealed) for row in rows}


async def wrapped(people: World) -> dict[Any, bytes]:
    rows = await people.rows("SELECT customer_id, wrapped FROM customer_key")
    return {row.customer_id: bytes(row.wrapped) for row in rows}


@contextlib.asynccontextmanager
async def writers(people: World, customers: list[str]) -> AsyncIterator[dict[str, int]]:
    """So many that edit, read, search and join without a pause until the block ends, and are never refused.

    The value counts each customer's edits, to compare with what is read in the end.
    """
    edits, running = dict.fromkeys(customers, 0), True

    async def write(n: int) -> None:
        customer_id = customers[n % len(customers)]
        while running:
            count = edits[customer_id] = edits[customer_id] + 1
            await people.edit(customer_id, given_name=f"G{count}")
            assert (await people.get(customer_id)).family_name.startswith("Writer")
            assert await people.found(email=f"w{n % len(customers)}@example.com") == [customer_id]
            if count % 5 == 0:
                await people.new(family_name=f"Newcomer {n} {count}")

    async with asyncio.TaskGroup() as group:
        for n in range(WRITERS):
            group.create_task(write(n))
        yield edits
        running = False


async def some(people: World, count: int = 10) -> list[str]:
    return [(await people.new(family_name=f"Writer {n}", email=f"w{n}@example.com")).id for n in range(count)]


async def test_a_new_root_key_touches_nothing_of_customers(people: World, rotating: rotation.Rotation) -> None:
    made = await people.new()
    fields, keys = await sealed(people), await wrapped(people)
    before = people.parts.desk.ring.roots.ids()
    async with writers(people, await some(people)):
        assert await rotating.rotate_root(clock.now()) == 3

    old, new = people.parts.desk.ring.roots.ids()
    assert [old] == before
    assert (await rotating.roots()).tenants == {new: 1}
    after_fields, after_keys = await sealed(people), await wrapped(people)
    assert {name: after_fields[name] for name in fields} == fields
    assert {name: after_keys[name] for name in keys} == keys
    with pytest.raises(rotation.Busy):
        await rotating.prune_roots(clock.now())
    later = clock.now() + rotation.SETTLED + dt.timedelta(seconds=1)
    assert await rotating.prune_roots(later) == [old]
    assert (await people.get(made.id)).email == PERSON["email"]
    assert await World(people.db, people.keys, people.log, people.tenant_id).found(phone=PERSON["phone"]) == [made.id]


async def test_a_new_root_key_that_was_interrupted_goes_on_with_it(people: World, rotating: rotation.Rotation) -> None:
    await people.new()

    async def killed() -> int:
        raise RuntimeError

    finish = rotating.rewrap_tenants
    rotating.rewrap_tenants = killed  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await rotating.rotate_root(clock.now())
    rotating.rewrap_tenants = finish  # type: ignore[method-assign]
    assert await rotating.rotate_root(clock.now()) == 3
    assert len(people.parts.desk.ring.roots.ids()) == 2
    assert await rotating.rewrap_tenants() == 0


async def test_a_new_key_of_a_tenant_while_twenty_write(people: World, rotating: rotation.Rotation) -> None:
    made = await people.new()
    fields, keys = await sealed(people), await wrapped(people)
    ids_ = await some(people)
    async with writers(people, ids_):
        assert await rotating.rotate_tenant(people.tenant) >= len(ids_) + 1

    assert await people.rows("SELECT purpose, version FROM tenant_key ORDER BY 1") == [(1, 2), (2, 1), (3, 1)]
    assert await people.rows("SELECT DISTINCT tenant_key_version FROM customer_key") == [(2,)]
    after_fields, after_keys = await sealed(people), await wrapped(people)
    assert {name: after_fields[name] for name in fields} == fields
    assert not any(after_keys[name] == keys[name] for name in keys)
    assert (await people.get(made.id)).email == PERSON["email"]


async def test_new_keys_of_customers_while_twenty_write(people: World, rotating: rotation.Rotation) -> None:
    made = await people.new()
    await people.move_in(made.id)
    fields, ids_ = await sealed(people), await some(people)
    async with writers(people, ids_) as edits:
        assert await rotating.rotate_customers(people.tenant) >= len(ids_) + 1

    after = await sealed(people)
    assert not any(after[name] == fields[name] for name in fields)
    shown = await people.get(made.id)
    assert (shown.email, shown.birthday, len(await people.addresses(made.id))) == (
        PERSON["email"],
        PERSON["birthday"],
        1,
    )
    for customer_id in ids_:
        versions = [version for version, _ in await people.told(customer_id)]
        assert versions == list(range(1, edits[customer_id] + 2))  # no edit was lost, and a rotation is none
    rows = await people.rows("SELECT version FROM customer_key WHERE customer_id = :id", id=uuid_of(made.id))
    assert rows == [(2,)]
    assert await people.rows("SELECT 1 FROM key_rotation") == []


async def test_what_was_stopped_goes_on_where_it_was(people: World, rotating: rotation.Rotation) -> None:
    made = await some(people, 10)
    changed: list[Any] = []

    async def change(tenant: str, customer: Any) -> int:
        if len(changed) == 6:
            raise RuntimeError  # as good as killed: what is not committed is gone
        changed.append(customer)
        return await type(rotating)._change_key(rotating, tenant, customer)

    rotating._change_key = change  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await rotating.rotate_customers(people.tenant)
    first = list(changed)
    changed.clear()
    await people.new(family_name="Came later")
    done = await rotating.rotate_customers(people.tenant)
    assert done == len(changed)
    assert {*first, *changed} == {uuid_of(each) for each in made}
    rows = await people.rows("SELECT version, count(*) FROM customer_key GROUP BY version ORDER BY version")
    assert rows == [(1, 1), (2, 10)]  # each once; who came later has a young key


async def test_a_ciphertext_moved_to_another_customer_or_field_is_not_read(people: World) -> None:
    ann, bob = await people.new(given_name="Ann", family_name="A"), await people.new(given_name="Bob", family_name="B")
    given = {"ann": uuid_of(ann.id), "bob": uuid_of(bob.id)}
    for update in (
        "UPDATE customer_personal SET field = 'birthday' WHERE customer_id = :ann AND field = 'given_name'",
        """UPDATE customer_personal b SET sealed = a.sealed FROM customer_personal a
           WHERE b.customer_id = :bob AND a.customer_id = :ann AND a.field = b.field AND b.field = 'family_name'""",
        """UPDATE customer_key b SET wrapped = a.wrapped FROM customer_key a
           WHERE b.customer_id = :bob AND a.customer_id = :ann""",
    ):
        async with people.db.transaction(people.tenant) as session:
            assert (await session.execute(sa.text(update), given)).rowcount == 1
    for each in (ann, bob):
        with pytest.raises(crypto.Unreadable):
            await people.get(each.id)
    erased = await people.call("EraseCustomer", customer_id=bob.id)  # what can't be read can be erased
    assert erased.email == ""


def test_the_commands_rotate_what_they_say(
    urls: tuple[str, str, str], tmp_path: Path, keys_file: Path, erasure_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("DATABASE_URL", urls[0]), ("WORKER_DATABASE_URL", urls[1]), ("KEYS_FILE", keys_file), ("ERASURE_LOG", erasure_log),
    ):  # fmt: skip
        monkeypatch.setenv(f"TILLMESH_ORDERS_{name}", str(value))
    tenant_id = ids.new("ten")

    async def with_people(act: Any) -> Any:
        opened = database.Database(urls[0], urls[1])
        await opened.open()
        try:
            return await act(World(opened, keys_file, erasure_log, tenant_id))
        finally:
            await opened.close()

    def run(*command: str) -> tuple[int, str]:
        result = typer.testing.CliRunner().invoke(admin.app, ["keys", *command])
        assert not isinstance(result.exception, Exception), result.exception
        return result.exit_code, result.output

    made = asyncio.run(with_people(lambda people: people.new()))
    assert run("rotate", "tenant", "--tenant", tenant_id) == (
        0,
        f"{tenant_id}: 1 …\n{tenant_id}: 1 keys of customers wrapped anew\n",
    )
    assert run("rotate", "customers", "--tenant", tenant_id) == (
        0,
        f"{tenant_id}: 1 …\n{tenant_id}: 1 customers under a new key\n",
    )
    assert run("rotate", "customers", "--tenant", tenant_id, "--customer", made.id) == (
        0,
        "1 customers under a new key\n",
    )
    assert run("rotate", "digests", "--tenant", tenant_id) == (
        0,
        f"{tenant_id}: 3 …\n{tenant_id}: 3 digests made anew\n",
    )
    assert run("rotate", "customers", "--tenant", tenant_id, "--customer", ids.new("cus"))[0] == 1
    assert run("rotate", "customers", "--customer", made.id)[0] == 2
    assert run("rotate", "tenant", "--tenant", "nonsense")[0] == 2
    assert asyncio.run(with_people(lambda people: people.get(made.id))).email == PERSON["email"]
    code, said = run("show")
    assert code == 0
    assert [line.partition(":")[0] for line in said.splitlines()] == key_file.KeyFile(keys_file).ids()
    monkeypatch.setenv("TILLMESH_ORDERS_KEYS_FILE", str(tmp_path / "none"))
    code, said = run("rotate", "tenant", "--tenant", tenant_id)
    assert code == 1
    assert "can't be read" in said
