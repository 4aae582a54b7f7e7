"""Trips on a real connection: binary parameters arrive as what they are, errors and breaks leave nothing behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.kit import binary, database, pipeline
from services.mesh import postgres
from tests import worlds

TENANT = str(uuid.UUID(int=7))
ONE = pipeline.Statement("SELECT 1")
BROKEN = pipeline.Statement("SELECT 1 / $1::bigint")
WHO = pipeline.Statement("SELECT current_setting('app.tenant_id', true)")
ANY_TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
MOMENTS = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(dt.UTC))
BIGINTS = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    "text": ANY_TEXT,
    "bigint": BIGINTS,
    "uuid": st.uuids(),
    "timestamptz": MOMENTS,
    "date": st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31)),
    "boolean": st.booleans(),
    "bytea": st.binary(),
}
NULLABLE = {"text", "bigint", "uuid", "timestamptz", "bytea"}


@pytest.fixture(scope="session")
def url(cluster: postgres.Cluster) -> str:
    return worlds.migrated(cluster)[0]


@pytest.fixture
async def connection(url: str) -> AsyncIterator[pipeline.LaneConnection]:
    async with await pipeline.LaneConnection.connect(url, autocommit=True, options=database.LANE_OPTIONS) as made:
        yield made


@pytest.mark.parametrize("kind", VALUES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_value_comes_back_as_it_was_sent(url: str, kind: str, data: st.DataObject) -> None:
    element = st.none() | VALUES[kind] if kind in NULLABLE else VALUES[kind]
    one = data.draw(VALUES[kind])
    many = data.draw(st.lists(element, max_size=40))
    echo = pipeline.Named(f"SELECT %(one)s::{kind}, %(many)s::{kind}[], %(none)s::{kind}")

    async def ask() -> pipeline.Rows:
        async with await pipeline.LaneConnection.connect(url, autocommit=True) as made:
            return (await made.ask("", echo.bind({"one": one, "many": many, "none": None})))[0]

    ((sent, list_, none),) = asyncio.run(ask())

    assert (sent, list_, none) == (one, many, None)


async def test_json_documents_are_jsonb(connection: pipeline.LaneConnection) -> None:
    echo = pipeline.Named("SELECT %(one)s::jsonb, %(many)s::jsonb[]")
    ((one, many),) = (await connection.ask("", echo.bind({"one": '{"a": [1]}', "many": ["[]", None, '"x"']})))[0]
    assert (one, many) == ({"a": [1]}, [[], None, "x"])


async def test_a_tenant_is_entered_for_the_trip_or_the_transaction_and_no_longer(
    connection: pipeline.LaneConnection,
) -> None:
    assert await connection.ask(TENANT, (WHO, ())) == [[(TENANT,)]]
    assert (await connection.ask("", (WHO, ())))[0][0][0] in (None, "")

    assert await connection.begin(TENANT, (WHO, ())) == [[(TENANT,)]]
    assert await connection.proceed((WHO, ())) == [[(TENANT,)]]
    assert await connection.commit_with((WHO, ())) == [[(TENANT,)]]
    assert (await connection.ask("", (WHO, ())))[0][0][0] in (None, "")


async def test_an_error_in_the_middle_is_told_and_a_rollback_repairs_the_connection(
    connection: pipeline.LaneConnection,
) -> None:
    await connection.begin(TENANT)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await connection.proceed((ONE, ()), (BROKEN, (binary.number(0),)), (WHO, ()))
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await connection.proceed((ONE, ()))
    await connection.rollback()

    assert await connection.ask(TENANT, (BROKEN, (binary.number(1),)), (WHO, ())) == [[(1,)], [(TENANT,)]]


async def test_a_statement_that_failed_to_prepare_can_be_corrected_by_another(
    connection: pipeline.LaneConnection,
) -> None:
    missing = pipeline.Statement("SELECT * FROM no_such_table")
    for _ in range(2):  # it isn't taken for prepared the second time
        with pytest.raises(psycopg.errors.UndefinedTable):
            await connection.ask("", (missing, ()))
    assert await connection.ask("", (ONE, ())) == [[(1,)]]


async def test_a_caller_that_goes_away_leaves_no_answers_for_the_next(connection: pipeline.LaneConnection) -> None:
    sleep = pipeline.Statement("SELECT 'late', pg_sleep(1)::text")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connection.ask("", (sleep, ()))
    assert connection.closed  # rather than handed on with an answer under way


async def test_a_server_that_goes_away_is_an_operational_error(connection: pipeline.LaneConnection, url: str) -> None:
    pid = connection.info.backend_pid
    waiting = asyncio.create_task(connection.ask("", (pipeline.Statement("SELECT pg_sleep(10)::text"), ())))
    await asyncio.sleep(0.1)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(psycopg.OperationalError):
        await waiting
    assert connection.broken


async def test_a_request_larger_than_the_sockets_buffer_gets_through(connection: pipeline.LaneConnection) -> None:
    size = pipeline.Statement("SELECT octet_length($1::bytea), $1::bytea")
    large = bytes(range(256)) * 40_000
    answers = await connection.ask("", (size, (large,)), (size, (large,)))
    assert answers == [[(len(large), large)]] * 2


async def test_the_pool_replaces_what_broke(url: str) -> None:
    db = database.Database(url, url, lane_connections=1)
    await db.open()
    try:
        with pytest.raises(psycopg.OperationalError):
            async with db.lane_connection() as connection:
                connection.pgconn.finish()
                await connection.ask("", (ONE, ()))
        async with asyncio.timeout(10), db.lane_connection() as connection:
            assert await connection.ask("", (ONE, ())) == [[(1,)]]
    finally:
        await db.close()


async def test_a_rollback_leaves_what_was_prepared(url: str) -> None:
    """psycopg's own rollback throws all prepared statements of the session away, ours included."""
    db = database.Database(url, url, lane_connections=1)
    await db.open()
    try:
        for _ in range(2):
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with db.lane_connection() as connection:
                    await connection.begin(TENANT, (BROKEN, (binary.number(0),)))
            async with db.lane_connection() as connection:
                await connection.execute("SELECT 1")
                assert await connection.ask(TENANT, (ONE, ()), (BROKEN, (binary.number(1),))) == [[(1,)], [(1,)]]
    finally:
        await db.close()
