"""Statements that travel together: one send, one wait, all answers. What lanes and reads speak to PostgreSQL.

psycopg's own pipeline waits for the socket statement by statement, with a reader added and removed each time: half of a
batch's processor time went there. Here a trip is one libpq pipeline with one wait at its end. Connecting, TLS, errors,
results and the pool stay psycopg's.

Parameters are bytes (services/kit/binary.py), answers are rows of Python values; every statement is prepared once a
connection. psycopg must not prepare statements of its own there (prepare_threshold=None): what it thinks out of date it
deallocates, and ours along with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg import adapt, pq

from services.kit import binary

TRIP_SECONDS_MAX: Final = 15.0  # statement_timeout ends a statement before; this is for a server that is gone
_OK: Final = frozenset({pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY})
_FATAL: Final = pq.ExecStatus.FATAL_ERROR
_SYNC: Final = pq.ExecStatus.PIPELINE_SYNC
_ROWS: Final = pq.ExecStatus.TUPLES_OK
_BAD: Final = pq.ConnStatus.BAD
_BINARY: Final = pq.Format.BINARY


class Statement:
    """SQL with parameters $1, $2, …, each of the type of its cast or its column.

    columns: names of what it answers, once it has answered a row.
    """

    __slots__ = ("columns", "name", "sql")

    def __init__(self, sql: str) -> None:
        self.columns: tuple[str, ...] = ()
        self.sql = sql.encode()
        self.name = b"p" + hashlib.blake2s(self.sql, digest_size=10).hexdigest().encode()


Query = tuple[Statement, Sequence[bytes | None]]
_NAMED: Final = re.compile(r"%\((\w+)\)s::(\w+(?:\[\])?)")


class Named:
    """SQL with parameters `%(name)s::type`, each with its cast: what one is sent as can be read beside its use."""

    __slots__ = ("_parameters", "statement")

    def __init__(self, sql: str) -> None:
        kinds = dict(_NAMED.findall(sql))
        numbers = {name: f"${number}::{kind}" for number, (name, kind) in enumerate(kinds.items(), 1)}
        self.statement = Statement(_NAMED.sub(lambda found: numbers[found[1]], sql))
        self._parameters = [(name, binary.ENCODERS[kind]) for name, kind in kinds.items()]

    def bind(self, values: Mapping[str, Any]) -> Query:
        """The statement with its parameters. KeyError when one is missing."""
        return self.statement, [
            None if (value := values[name]) is None else encode(value) for name, encode in self._parameters
        ]


Rows = list[tuple[Any, ...]]

_BEGIN: Final = Statement("BEGIN")
_COMMIT: Final = Statement("COMMIT")
_ROLLBACK: Final = Statement("ROLLBACK")
_ENTER: Final = Statement("SELECT set_config('app.tenant_id', $1, true)")


class LaneConnection(psycopg.AsyncConnection[Any]):
    """A connection whose work is done in trips. After an error in a transaction, roll back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._known: set[bytes] = set()

    async def begin(self, tenant: str, *queries: Query) -> list[Rows]:
        """Begins a tenant's (uuid text) transaction and asks."""
        return (await self._trip([(_BEGIN, ()), (_ENTER, (tenant.encode(),)), *queries]))[2:]

    async def proceed(self, *queries: Query) -> list[Rows]:
        """Asks within the transaction that `begin` began."""
        return await self._trip(queries)

    async def commit_with(self, *queries: Query) -> list[Rows]:
        """Asks and ends the transaction, in one trip."""
        return (await self._trip([*queries, (_COMMIT, ())]))[:-1]

    async def ask(self, tenant: str, *queries: Query) -> list[Rows]:
        """Asks in a transaction that is as long as the trip. An empty tenant enters none, as workers do."""
        if not tenant:
            return await self._trip(queries)
        return (await self._trip([(_ENTER, (tenant.encode(),)), *queries]))[1:]

    async def rollback(self) -> None:
        """Ends a transaction without its effects. psycopg's own would throw away all prepared statements with it."""
        await self._trip([(_ROLLBACK, ())])

    async def _trip(self, queries: Sequence[Query]) -> list[Rows]:
        pgconn = self.pgconn
        pgconn.enter_pipeline_mode()
        try:
            new = self._send(queries)
            results = await _Answers(pgconn).wait()
            pgconn.exit_pipeline_mode()
        except BaseException:
            # Cancelled, late or broken: what is still on its way would be taken for the next trip's answers.
            pgconn.finish()
            raise
        return self._read(queries, results, new)

    def _send(self, queries: Sequence[Query]) -> dict[int, bytes]:
        """Sends all. Answers position in the results -> name, of what is prepared on the way."""
        pgconn, known = self.pgconn, self._known
        new: dict[int, bytes] = {}
        position = 0
        for statement, parameters in queries:
            if statement.name not in known and statement.name not in new.values():
                pgconn.send_prepare(statement.name, statement.sql)
                new[position] = statement.name
                position += 1
            formats = [_BINARY] * len(parameters) if parameters else None
            pgconn.send_query_prepared(statement.name, parameters or None, formats, _BINARY)
            position += 1
        pgconn.pipeline_sync()
        return new

    def _read(self, queries: Sequence[Query], results: Sequence[pq.abc.PGresult], new: dict[int, bytes]) -> list[Rows]:
        answers: list[Rows] = []
        for position, result in enumerate(results):
            if result.status not in _OK:
                raise psycopg.errors.error_from_result(result, encoding="utf-8")
            if position in new:
                self._known.add(new[position])
            elif result.status == _ROWS and result.ntuples:
                statement = queries[len(answers)][0]
                if not statement.columns:
                    names = [result.fname(number) or b"" for number in range(result.nfields)]
                    statement.columns = tuple(name.decode() for name in names)
                transformer = adapt.Transformer.from_context(self)
                transformer.set_pgresult(result)
                answers.append(transformer.load_rows(0, result.ntuples, tuple))
            else:
                answers.append([])
        return answers


class _Answers:
    """Waits until all results of a pipeline are there."""

    __slots__ = ("_done", "_pgconn", "_results")

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        self._results: list[pq.abc.PGresult] = []
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> list[pq.abc.PGresult]:
        """The results in order; after an error, those that follow it say ABORTED. OperationalError: connection lost."""
        loop, socket = asyncio.get_running_loop(), self._pgconn.socket
        unsent = bool(self._pgconn.flush())
        loop.add_reader(socket, self._readable)
        if unsent:
            loop.add_writer(socket, self._writable)
        timer = loop.call_later(TRIP_SECONDS_MAX, self._late)
        try:
            await self._done
        finally:
            timer.cancel()
            loop.remove_reader(socket)
            if unsent:
                loop.remove_writer(socket)
        return self._results

    def _readable(self) -> None:
        try:
            self._pgconn.consume_input()
            if self._collect() and not self._done.done():
                self._done.set_result(None)
        except Exception as error:  # noqa: BLE001  # told to the one who waits
            self._fail(error)

    def _collect(self) -> bool:
        pgconn = self._pgconn
        while not pgconn.is_busy():
            result = pgconn.get_result()
            if result is None:  # the end of one statement's results
                if pgconn.status == _BAD:
                    raise psycopg.OperationalError("the connection was lost")
                continue
            if result.status == _SYNC:
                return True
            self._results.append(result)
            if result.status == _FATAL and pgconn.status == _BAD:
                raise psycopg.OperationalError("the connection was lost")
        return False

    def _writable(self) -> None:
        try:
            if not self._pgconn.flush():
                asyncio.get_running_loop().remove_writer(self._pgconn.socket)
        except Exception as error:  # noqa: BLE001  # told to the one who waits
            self._fail(error)

    def _late(self) -> None:
        self._fail(psycopg.OperationalError(f"PostgreSQL didn't answer within {TRIP_SECONDS_MAX:g} s"))

    def _fail(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)
