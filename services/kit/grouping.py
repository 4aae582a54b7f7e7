"""Many units of work in one transaction: what each costs by itself, a commit and a wait a statement, they share.

A unit of work is a function of a session, as those of `Database.transaction` are, and is written the same way. Units
of one tenant that are there at the same time begin together, send what each asks for in one trip, and are committed
together. What only writes waits for the next question, or for the commit. Each has its own answer: one that raises
leaves no trace, whatever becomes of the others, and one that PostgreSQL refuses is tried again by itself.

Within a transaction locks keep nobody apart: units that may lock the same row have the same key, and are never together.
Work that can't name what it locks before it has read asks for `alone`. Work waits for nothing but its session, and may be
run more than once: what it does elsewhere it does after `run`.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

import psycopg
import sqlalchemy as sa

from services.kit import errors, lanes, pipeline, statements, telemetry

T = TypeVar("T")
Connection = Callable[[], contextlib.AbstractAsyncContextManager[pipeline.LaneConnection]]
Work = Callable[[Any], Coroutine[Any, Any, Any]]
TOGETHER_MAX: Final = 64
_NO_PARAMETERS: Final[frozenset[str]] = frozenset()


class Alone(Exception):
    """Raised by work that has written nothing yet and must not share its transaction: it is run again, by itself."""


class Session:
    """What a unit executes on: the part of SQLAlchemy's AsyncConnection that stores use (statements.Result)."""

    def __init__(self, *, shared: bool) -> None:
        """shared: with other units. wrote: something that it wrote may have been sent."""
        self.shared = shared
        self.wrote = False
        self._writes = False
        self._unsent: list[pipeline.Query] = []

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> statements.Result:
        """Rows, if the statement has any; else it is sent later, and what is wrong with it is known then.

        parameters: of one execution, or of several.
        """
        several: Sequence[Mapping[str, Any]] = parameters if isinstance(parameters, list | tuple) else [parameters or {}]
        made = statements.compiled(statement, frozenset(several[0]) if several[0] else _NO_PARAMETERS)
        self._unsent += [made.bind(each) for each in several]
        self._writes = self._writes or not made.reads
        if made.silent:
            return statements.Result(())
        self.wrote = self._writes
        return statements.Result(list(map(made.row, await _Trip())))

    def take(self) -> list[pipeline.Query]:
        """What is to be sent now."""
        taken, self._unsent = self._unsent, []
        return taken


class _Trip:
    """Suspends a unit until all have said what they ask for, and answers the rows of its last statement."""

    def __await__(self) -> Generator[_Trip, pipeline.Rows, pipeline.Rows]:
        return (yield self)


def alone(session: object) -> None:
    """Leaves a transaction that others share. Alone."""
    if isinstance(session, Session) and session.shared:
        raise Alone


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
    """A unit raised after something of it had been sent."""


class Groups:
    """Runs units of work, for one process."""

    def __init__(self, connection: Connection, name: str, *, together_max: int = TOGETHER_MAX) -> None:
        """connection: borrows one (Database.lane_connection). name: in metrics."""
        self._lanes: lanes.Lanes[_Key, _Submission, Any] = lanes.Lanes(
            name, _Runner(connection), batch_max=together_max, lanes_max=together_max
        )

    def start(self) -> None:
        """Begins to run them, in the running loop."""
        self._lanes.start()

    async def stop(self) -> None:
        """Lets what is queued finish."""
        await self._lanes.stop()

    async def run(self, tenant: str, key: Hashable, work: Callable[[Any], Awaitable[T]]) -> T:
        """What work answers, once it is committed. tenant: uuid text.

        What work raises; OVERLOADED; DEADLINE_EXCEEDED before it began; OUTCOME_UNKNOWN when the connection broke at the
        commit; CONFLICT; UNAVAILABLE.
        """
        submission = _Submission(cast("Work", work), contextvars.copy_context(), telemetry.traceparent())
        outcome = await self._lanes.submit(_Key(tenant, key), submission)
        if isinstance(outcome, _Raised):
            raise outcome.error
        return cast("T", outcome)


class _Runner:
    """lanes.Runner of units."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def run(self, work: Sequence[tuple[_Key, _Submission]]) -> list[Any]:
        """What becomes of each. Those of one key are run one after the other."""
        outcomes: list[Any] = [None] * len(work)
        left = list(range(len(work)))
        with lanes.span("group", [submission.traceparent for _, submission in work]):
            while left:
                first = {work[n][0].of: n for n in reversed(left)}
                wave = sorted(first.values())
                found = await self._together(work[0][0].tenant, [work[n][1] for n in wave])
                for n, outcome in zip(wave, found, strict=True):
                    outcomes[n] = outcome
                left = [n for n in left if n not in wave]
        return outcomes

    async def resolve(self, work: Sequence[tuple[_Key, _Submission]]) -> list[Any]:
        """What was to be done is known to its callers only; they find out by its keys."""
        return [errors.OutcomeUnknown() for _ in work]

    async def _together(self, tenant: str, work: Sequence[_Submission]) -> list[Any]:
        try:
            outcomes = await self._transact(tenant, work, shared=len(work) > 1)
        except psycopg.OperationalError:
            raise
        except (psycopg.Error, _Spoiled):
            outcomes = [_Raised(Alone())] * len(work)
        for n, outcome in enumerate(outcomes):
            if isinstance(outcome, _Raised) and isinstance(outcome.error, Alone):
                outcomes[n] = await self._by_itself(tenant, work[n])
        return outcomes

    async def _by_itself(self, tenant: str, work: _Submission) -> Any:
        try:
            return (await self._transact(tenant, [work], shared=False))[0]
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            return _Raised(error)

    async def _transact(self, tenant: str, work: Sequence[_Submission], *, shared: bool) -> list[Any]:
        """One transaction. CommitLost."""
        async with self._connection() as connection:
            units = [_Unit(each, shared=shared) for each in work]
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
            if any(unit.failed and unit.session.wrote for unit in units) and len(units) > 1:
                raise _Spoiled


class _Unit:
    """A unit that is run, step by step, in the context of who asked for it."""

    def __init__(self, submission: _Submission, *, shared: bool) -> None:
        self.session = Session(shared=shared)
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
