"""What is done with an event: the protocol, the effect that is one transaction, and which errors may pass."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import grpc
import psycopg
import psycopg_pool
import sqlalchemy.exc

from services.kit import database, errors, events
from services.kit.inbox import positions
from tillmesh.common.v1 import event_pb2

Handler = Callable[[database.WriteSession, event_pb2.EventEnvelope], Awaitable[None]]
"""Applies an event in the session's transaction, under row-level security of the event's tenant. No other network."""

_TRANSIENT_REASONS: Final = frozenset(
    {
        "CONFLICT",
        "UNAVAILABLE",
        "OVERLOADED",
        "OUTCOME_UNKNOWN",
        "DEADLINE_EXCEEDED",
        "DRAINING",
        "IDEMPOTENCY_IN_FLIGHT",
        "VERSION_MISMATCH",
    }
)
_TRANSIENT_CODES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)
# Classes of SQLSTATE: connection, rollback (serialization, deadlock), resources, operator (shutdown, timeout), system.
_TRANSIENT_SQLSTATES: Final = ("08", "40", "53", "57", "58")
_LOCK_NOT_AVAILABLE: Final = "55P03"


class Outcome(enum.Enum):
    """What became of an event."""

    APPLIED = "applied"
    ALREADY = "already"
    AHEAD = "ahead"


class Transient(Exception):
    """Base of a consumer's own reasons to try an event again later without counting it as poison."""


class Effect(Protocol):
    """What a consumer does with an event. The cursor check belongs inside, in the transaction of the effect."""

    async def apply(self, envelope: event_pb2.EventEnvelope) -> Outcome:
        """Applies the event if it is next, and moves the cursor. Raises when it can't; then nothing was done."""
        ...


class SessionEffect:
    """Cursor check, handler and cursor in one transaction of the service's database."""

    def __init__(self, db: database.Database, service: str, consumer: str, handler: Handler) -> None:
        self._database = db
        self._service = service
        self._consumer = consumer
        self._handler = handler

    async def apply(self, envelope: event_pb2.EventEnvelope) -> Outcome:
        """See Effect."""
        tenant = events.tenant_uuid(envelope.tenant_id)
        async with self._database.worker() as worker:
            session = await database.become_app(worker, self._service, tenant)
            decision = positions.decide(await positions.lock(session, self._consumer, envelope.key), envelope)
            if decision is positions.Decision.APPLY:
                await self._handler(session, envelope)
                await positions.advance(session, self._consumer, envelope)
        return outcome(decision)


def outcome(decision: positions.Decision) -> Outcome:
    """What a lane answers after it did what was decided."""
    if decision is positions.Decision.APPLY:
        return Outcome.APPLIED
    return Outcome.ALREADY if decision is positions.Decision.ALREADY else Outcome.AHEAD


def is_transient(error: BaseException) -> bool:
    """Whether the same event may succeed later with nothing changed: concurrent work, or a part that is down."""
    if isinstance(error, errors.Error):
        return error.reason in _TRANSIENT_REASONS
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code() in _TRANSIENT_CODES
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        if error.connection_invalidated:
            return True
        return error.orig is not None and is_transient(error.orig)
    if isinstance(error, psycopg.Error):
        if error.sqlstate is None:
            return isinstance(error, psycopg.OperationalError)
        return error.sqlstate.startswith(_TRANSIENT_SQLSTATES) or error.sqlstate == _LOCK_NOT_AVAILABLE
    return isinstance(error, (Transient, TimeoutError, OSError, sqlalchemy.exc.TimeoutError, psycopg_pool.PoolTimeout))
