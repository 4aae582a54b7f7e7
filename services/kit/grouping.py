"""Many units of work in one transaction: what each costs by itself, a commit and a wait a statement, they share.

A unit of work is a function of a session, as those of `Database.transaction` are, and is written the same way. Units
of one tenant that are there at the same time begin together, send what each asks for in one trip, and are committed
together. What only writes waits for the next question, or for the commit. Each has its own answer: one that raises
leaves no trace, whatever becomes of the others, and one that PostgreSQL refuses is tried again by itself.

Locks keep nobody apart within a transaction: units that may lock the same row have one key, and are never together.
Work waits for nothing but its session, and may be run more than once: what it does elsewhere it does after `run`.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import psycopg
import psycopg_pool
import sqlalchemy as sa

from services.kit import errors, lanes, pipeline, statements, telemetry

T = TypeVar("T")
Connection = Callable[[], contextlib.AbstractAsyncContextManager[pipeline.LaneConnection]]
Work = Callable[[Any], Coroutine[Any, Any, Any]]
TOGETHER_MAX: Final = 64


class Session:
    """What a unit executes on: the part of SQLAlchemy's AsyncConnection that stores use (statements.Result)."""

    def __init__(self, *, reads: bool) -> None:
        """reads: only. wrote: something that it wrote may have been sent."""
        self._reads = reads
        self.wrote = False
        self._writes = False
        self._unsent: list[pipeline.Query] = []

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> statements.Result:
        """Rows, if the statement has any; else it is sent later, and what is wrong with it is known then.

        parameters: of one execution, or of several.
        """
        several: Sequence[Mapping[str, Any]] = parameters if isinstance(parameters, list) else [parameters or {}]
        made = statements.compiled(statement, frozenset(several[0]))
        if self._reads and not made.reads:
            raise TypeError("this session is for reading")
        self._unsent += [made.bind(each) for each in several]
        self._writes = self._writes or not made.reads
        if made.silent:
            return statements.Result(())
        self.wrote = self._writes
        return made.result(await _Trip())

    def take(self) -> list[pipeline.Query]:
        """What is to be sent now."""
        taken, self._unsent = self._unsent, []
        return taken


class _Trip:
    """Suspends a unit until all have said what they ask for, and answers the rows of its last statement."""

    def __await__(self) -> Generator[_Trip, pipeline.Rows, pipeline.Rows]:
        return (yield self)


@dataclass(frozen=True, slots=True)
class _Key:
    tenant: str
    of: Hashable


@dataclass(frozen=True, slots=True)
class _Submission:
    work: Work
    context: contextvars.Context
    traceparent: str


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


class _Spoiled(Exception):
    """A unit raised after something of it had been sent. error: what it raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Groups:
    """Runs units of work, for one process."""

    def __init__(self, connection: Connection, name: str, *, reads: bool = False) -> None:
        """connection: borrows one (Database.lane_connection). name: in metrics. reads: units write nothing."""
        self._lanes: lanes.Lanes[_Key, _Submission, Any] = lanes.Lanes(
            name, _Runner(connection, reads=reads), batch_max=TOGETHER_MAX, lanes_max=TOGETHER_MAX
        )

    def start(self) -> None:
        """Begins to run them, in the running loop."""
        self._lanes.start()

    async def stop(self) -> None:
        """Lets what is queued finish."""
        await self._lanes.stop()

    async def run(self, tenant: str, key: Hashable, work: Callable[[Any], Awaitable[T]]) -> T:
        """What work answers, once it is committed. tenant: uuid text.

        What work raises; OVERLOADED; DEADLINE_EXCEEDED before it began; CONFLICT; UNAVAILABLE; OUTCOME_UNKNOWN when the
        connection broke at the commit.
        """
        submission = _Submission(cast("Work", work), contextvars.copy_context(), telemetry.traceparent())
        outcome = await self._lanes.submit(_Key(tenant, key), submission)
        if isinstance(outcome, _Raised):
            raise outcome.error
        return cast("T", outcome)


class _Runner:
    """lanes.Runner of units."""

    def __init__(self, connection: Connection, *, reads: bool) -> None:
        self._connection = connection
        self._reads = reads

    async def run(self, work: Sequence[tuple[_Key, _Submission]]) -> list[Any]:
        """What becomes of each: one transaction for the first of each key, and after it one for each of the others."""
        tenant = work[0][0].tenant
        first = set({key.of: n for n, (key, _) in reversed(list(enumerate(work)))}.values())
        with lanes.span("group", [submission.traceparent for _, submission in work]):
            found = await self._together(tenant, [work[n][1] for n in sorted(first)])
            outcomes = dict(zip(sorted(first), found, strict=True))
            for n, (_, submission) in enumerate(work):
                if n not in first:
                    outcomes[n] = await self._by_itself(tenant, submission)
        return [outcomes[n] for n in range(len(work))]

    async def resolve(self, work: Sequence[tuple[_Key, _Submission]]) -> list[Any]:
        """What was to be done is known to its callers only; they find out by its keys."""
        return [errors.OutcomeUnknown() for _ in work]

    async def _together(self, tenant: str, work: Sequence[_Submission]) -> list[Any]:
        """OperationalError, CommitLost: as a whole, and before anything else was committed."""
        try:
            return await self._transact(tenant, work)
        except psycopg.OperationalError:
            raise
        except (psycopg.Error, _Spoiled):
            return [await self._by_itself(tenant, each) for each in work]

    async def _by_itself(self, tenant: str, work: _Submission) -> Any:
        """What becomes of one. Nothing is raised: others of its batch may be committed already."""
        try:
            return (await self._transact(tenant, [work]))[0]
        except _Spoiled as spoiled:
            return _Raised(spoiled.error)
        except lanes.CommitLost:
            return errors.OutcomeUnknown()
        except psycopg.errors.TransactionRollback:
            return errors.Conflict()
        except (psycopg.OperationalError, psycopg_pool.PoolTimeout):
            return errors.Unavailable()
        except psycopg.Error as error:
            return _Raised(error)

    async def _transact(self, tenant: str, work: Sequence[_Submission]) -> list[Any]:
        """One transaction. CommitLost."""
        async with self._connection() as connection:
            units = [_Unit(each, reads=self._reads) for each in work]
            try:
                await self._drive(connection, tenant, units)
                writes = [query for unit in units if not unit.failed for query in unit.session.take()]
                await _commit(connection, writes)
            finally:
                for unit in units:
                    unit.close()
            return [unit.outcome for unit in units]

    @staticmethod
    async def _drive(connection: pipeline.LaneConnection, tenant: str, units: Sequence[_Unit]) -> None:
        """Runs units until none asks for anything more."""
        asking, begun = [unit for unit in units if unit.go_on(None)], False
        while asking or not begun:
            parts = [unit.session.take() for unit in asking]
            queries = [query for part in parts for query in part]
            found = await (connection.proceed(*queries) if begun else connection.begin(tenant, *queries))
            begun, at, still = True, 0, []
            for unit, part in zip(asking, parts, strict=True):
                at += len(part)
                if unit.go_on(found[at - 1]):
                    still.append(unit)
            asking = still
            for unit in units:
                if isinstance(unit.outcome, _Raised) and unit.session.wrote:
                    raise _Spoiled(unit.outcome.error)


class _Unit:
    """A unit that is run, step by step, in the context of who asked for it."""

    def __init__(self, submission: _Submission, *, reads: bool) -> None:
        self.session = Session(reads=reads)
        self.outcome: Any = None
        self._context = submission.context.copy()
        self._coroutine = submission.work(self.session)

    @property
    def failed(self) -> bool:
        """Whether it raised."""
        return isinstance(self.outcome, _Raised)

    def go_on(self, rows: pipeline.Rows | None) -> bool:
        """Runs it up to the next thing that it asks for; False when it has ended."""
        try:
            asked = self._context.run(self._coroutine.send, rows)
        except StopIteration as ended:
            self.outcome = ended.value
            return False
        except Exception as error:  # noqa: BLE001  # told to the one who asked
            self.outcome = _Raised(error)
            return False
        if not isinstance(asked, _Trip):
            self._coroutine.close()
            self.outcome = _Raised(TypeError("a unit of work waits for nothing but its session"))
            return False
        return True

    def close(self) -> None:
        """Ends it where it is."""
        self._coroutine.close()


async def _commit(connection: pipeline.LaneConnection, writes: Sequence[pipeline.Query]) -> None:
    try:
        await connection.commit_with(*writes)
    except psycopg.OperationalError as error:
        if connection.broken:
            raise lanes.CommitLost from error
        raise
