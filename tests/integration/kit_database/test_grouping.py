"""Units of work in one transaction: each has its own answer, and one that fails leaves its neighbours alone."""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database, errors, lanes
from services.mesh import postgres
from tests import worlds

metadata = sa.MetaData()
note = sa.Table(
    "grouped_note",
    metadata,
    sa.Column("tenant_id", pg.UUID, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("small", sa.SmallInteger),
    sa.Column("number", sa.Integer),
    sa.Column("large", sa.BigInteger),
    sa.Column("yes", sa.Boolean),
    sa.Column("text", sa.Text),
    sa.Column("octets", sa.LargeBinary),
    sa.Column("document", pg.JSONB(none_as_null=True)),
    sa.Column("day", sa.Date),
    sa.Column("at", pg.TIMESTAMP(timezone=True)),
)
INSERT = sa.insert(note)
ADD = (
    sa.update(note)
    .where(note.c.id == sa.bindparam("of"))
    .values(number=note.c.number + sa.bindparam("by", type_=sa.Integer))
    .returning(note.c.number)
)
NUMBER = sa.select(note.c.number).where(note.c.id == sa.bindparam("of"))
LOCKED = NUMBER.with_for_update()
SET = sa.update(note).where(note.c.id == sa.bindparam("of"))
Work = Callable[[database.WriteSession], Awaitable[Any]]
who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@pytest.fixture
async def db(cluster: postgres.Cluster) -> AsyncIterator[database.Database]:
    urls = worlds.migrated(cluster)
    with psycopg.connect(cluster.url("tillmesh_inventory"), autocommit=True) as admin:
        admin.execute("DROP TABLE IF EXISTS grouped_note")
        admin.execute(str(sa.schema.CreateTable(note).compile(dialect=pg.dialect())))  # type: ignore[no-untyped-call]
        admin.execute("GRANT ALL ON grouped_note TO inventory_app")
    opened = database.Database(*urls)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def tenant() -> str:
    return str(uuid.uuid4())


def row(tenant: str, number: int = 0) -> dict[str, Any]:
    return {"tenant_id": tenant, "id": uuid.uuid4(), "number": number}


async def made(db: database.Database, tenant: str, number: int = 0) -> uuid.UUID:
    new = row(tenant, number)

    async def work(session: database.WriteSession) -> None:
        await session.execute(INSERT, new)

    await db.together(tenant, new["id"], work)
    found: uuid.UUID = new["id"]
    return found


async def number_of(db: database.Database, tenant: str, of: uuid.UUID) -> int | None:
    async with db.read(tenant) as session:
        return (await session.execute(NUMBER, {"of": of})).scalar_one_or_none()


async def all_of(db: database.Database, tenant: str, *works: Work) -> list[Any]:
    """Several at once, after one that makes them wait for each other."""
    return await asyncio.gather(*(db.together(tenant, object(), work) for work in works), return_exceptions=True)


async def test_every_kind_of_value_comes_back_as_it_was_written(db: database.Database, tenant: str) -> None:
    values = {
        **row(tenant, -70_000),
        "small": -3,
        "large": 2**60,
        "yes": True,
        "text": "Grüße",
        "octets": b"\x00\xff",
        "document": {"a": [1, None]},
        "day": dt.date(1999, 2, 28),
        "at": dt.datetime(2026, 11, 25, 22, 0, 0, 123456, tzinfo=dt.UTC),
    }

    async def work(session: database.WriteSession) -> Any:
        await session.execute(INSERT, values)
        return (await session.execute(sa.select(note).where(note.c.id == values["id"]))).one()

    found = await db.together(tenant, 1, work)

    assert found._asdict() == {**values, "tenant_id": uuid.UUID(tenant)}


async def test_null_is_null_of_every_kind(db: database.Database, tenant: str) -> None:
    values: dict[str, Any] = {**dict.fromkeys(note.c.keys()), "tenant_id": tenant, "id": uuid.uuid4()}

    async def work(session: database.WriteSession) -> int:
        await session.execute(INSERT, values)
        nulls = sa.select(sa.func.num_nulls(*note.c)).where(note.c.id == values["id"])
        return int((await session.execute(nulls)).scalar_one())

    assert await db.together(tenant, 1, work) == len(note.c) - 2


async def test_units_share_transactions_and_each_has_its_answer(db: database.Database, tenant: str) -> None:
    counters = [await made(db, tenant, number) for number in range(40)]
    batches = lanes.BATCH_SIZE.labels("group")
    before = batches._sum.get(), sum(bucket.get() for bucket in batches._buckets)

    def add(of: uuid.UUID) -> Work:
        async def work(session: database.WriteSession) -> tuple[int, int]:
            xid = (await session.execute(sa.select(sa.func.txid_current()))).scalar_one()
            return (await session.execute(ADD, {"of": of, "by": 100})).scalar_one(), xid

        return work

    answers = await all_of(db, tenant, *map(add, counters))

    assert [number for number, _ in answers] == [100 + number for number in range(40)]
    assert len({xid for _, xid in answers}) < 10, "they shared transactions"
    units, transactions = batches._sum.get() - before[0], sum(b.get() for b in batches._buckets) - before[1]
    assert units == 40
    assert transactions < 10


async def test_one_that_raises_leaves_no_trace_and_the_others_theirs(db: database.Database, tenant: str) -> None:
    counters = [await made(db, tenant) for _ in range(9)]

    def work_of(n: int) -> Work:
        async def work(session: database.WriteSession) -> int:
            number = (await session.execute(ADD, {"of": counters[n], "by": 1})).scalar_one()
            if n % 3 == 0:
                raise errors.NotFound(f"{n}")
            await session.execute(SET, {"of": counters[n], "text": "late"})
            if n % 3 == 1:
                raise ValueError(n)
            return int(number)

        return work

    answers = await all_of(db, tenant, *map(work_of, range(9)))

    assert [type(answer) for answer in answers] == [errors.NotFound, ValueError, int] * 3
    assert [await number_of(db, tenant, of) for of in counters] == [0, 0, 1] * 3


async def test_one_that_postgresql_refuses_hears_so_and_the_others_are_done(db: database.Database, tenant: str) -> None:
    taken = await made(db, tenant)
    fresh = [row(tenant, n) for n in range(6)]

    def insert(values: dict[str, Any]) -> Work:
        async def work(session: database.WriteSession) -> str:
            await session.execute(INSERT, values)
            return "done"

        return work

    answers = await all_of(db, tenant, *map(insert, [*fresh, {**row(tenant), "id": taken}]))

    assert answers[:-1] == ["done"] * 6
    assert isinstance(answers[-1], psycopg.errors.UniqueViolation)
    assert [await number_of(db, tenant, each["id"]) for each in fresh] == list(range(6))


async def test_units_of_one_key_never_see_each_other_half_done(db: database.Database, tenant: str) -> None:
    """In one transaction a lock keeps nobody apart: two that read, then write, would both begin from the same number."""
    counter = await made(db, tenant)

    async def work(session: database.WriteSession) -> None:
        number = (await session.execute(LOCKED, {"of": counter})).scalar_one()
        await session.execute(SET, {"of": counter, "number": number + 1})

    await asyncio.gather(*(db.together(tenant, counter, work) for _ in range(30)))

    assert await number_of(db, tenant, counter) == 30


async def test_a_unit_runs_in_the_context_of_who_asked(db: database.Database, tenant: str) -> None:
    async def work(session: database.WriteSession) -> str:
        await session.execute(sa.select(sa.literal(1, sa.Integer)))
        return who.get()

    async def ask(name: str) -> str:
        who.set(name)
        return await db.together(tenant, name, work)

    names = [f"caller {n}" for n in range(8)]
    assert await asyncio.gather(*map(ask, names)) == names


async def test_a_unit_may_wait_for_nothing_else(db: database.Database, tenant: str) -> None:
    async def work(_session: database.WriteSession) -> None:
        await asyncio.sleep(0)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TypeError, match="waits for nothing but its session"):
        await asyncio.wait_for(db.together(tenant, 1, work), 5)


async def test_what_is_not_known_before_it_runs_is_refused(db: database.Database, tenant: str) -> None:
    async def several(session: database.WriteSession) -> None:
        await session.execute(sa.select(note.c.id).where(note.c.number.in_([1, 2])))

    async def missing(session: database.WriteSession) -> None:
        await session.execute(NUMBER, {})

    with pytest.raises(TypeError, match="ANY"):
        await db.together(tenant, 1, several)
    with pytest.raises(KeyError, match="of"):
        await db.together(tenant, 1, missing)


async def test_what_reads_together_writes_nothing(db: database.Database, tenant: str) -> None:
    counter = await made(db, tenant, 7)

    async def writes(session: database.ReadSession) -> None:
        await session.execute(ADD, {"of": counter, "by": 1})

    async def reads(session: database.ReadSession) -> int:
        return int((await session.execute(NUMBER, {"of": counter})).scalar_one())

    with pytest.raises(TypeError, match="reading"):
        await db.read_together(tenant, writes)
    assert await asyncio.gather(*(db.read_together(tenant, reads) for _ in range(9))) == [7] * 9


async def test_a_connection_that_breaks_before_the_commit_is_replaced(db: database.Database, tenant: str) -> None:
    counter, ended = await made(db, tenant), 0

    async def work(session: database.WriteSession) -> int:
        nonlocal ended
        number = (await session.execute(ADD, {"of": counter, "by": 1})).scalar_one()
        if not ended:
            ended += 1
            await session.execute(sa.select(sa.func.pg_terminate_backend(sa.func.pg_backend_pid())))
        return int(number)

    assert await db.together(tenant, counter, work) == 1
    assert (ended, await number_of(db, tenant, counter)) == (1, 1)
