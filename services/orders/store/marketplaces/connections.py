"""SQL of connections: which there are, how far they have read, how they are."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database, errors
from services.orders.domain.marketplaces import listings, values
from services.orders.tables_marketplaces import connection, listing, order, status

Session = sa_asyncio.AsyncConnection
TENANT: Final = sa.text("current_setting('app.tenant_id')::uuid")
NOW: Final = sa.func.clock_timestamp()
C = connection.c
UNIQUE: Final = ("marketplace_connection_name", "marketplace_connection_account")
WAITING: Final[list[sa.ColumnElement[Any]]] = [sa.literal_column("1"), sa.literal_column("4")]
"""RECEIVED and REJECTED, as the partial index has them."""


@dataclass(frozen=True, slots=True)
class Active:
    """A connection that works, of any tenant (uuid)."""

    tenant: uuid.UUID
    id: uuid.UUID


async def add(session: database.WriteSession, made: values.Connection) -> values.Connection:
    """A new connection. AlreadyExists (its name, or its account)."""
    row = {
        "id": made.id,
        "kind": int(made.kind),
        "name": made.name,
        "account": made.account,
        "state": int(made.state),
        "location_id": made.location_id,
        "stock_locations": list(made.stock_locations),
        "buffer": made.buffer,
        "cancel_after": made.cancel_after,
        "cursor_at": made.cursor_at,
        "version": made.version,
    }
    insert = sa.insert(connection).values(tenant_id=TENANT, **row, created_at=NOW, updated_at=NOW)
    try:
        found = (await session.execute(insert.returning(*C))).one()
    except sqlalchemy.exc.IntegrityError as error:
        if any(index in str(error.orig) for index in UNIQUE):
            raise errors.AlreadyExists("marketplace_connection") from None
        raise
    return _connection(found)


async def get(session: Session, connection_id: uuid.UUID, *, lock: bool = False) -> values.Connection | None:
    """A connection, without how it is."""
    query: sa.Select[Any] = sa.select(*C).where(C.id == connection_id)
    row = (await session.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _connection(row)


async def shown(
    session: Session,
    *,
    ids: Sequence[uuid.UUID] | None = None,
    places: Sequence[uuid.UUID] | None = None,
    after: str = "",
    limit: int = 1,
) -> list[values.Connection]:
    """Connections with how they are, by name. places: only those whose orders are sold there."""
    query: sa.Select[Any] = sa.select(*C, *_counts()).where(C.name > after)
    if ids is not None:
        query = query.where(C.id.in_(ids))
    if places is not None:
        query = query.where(C.location_id.in_(places))
    return [_connection(row, shown=True) for row in await session.execute(query.order_by(C.name).limit(limit))]


def _counts() -> tuple[sa.Label[int], ...]:
    """What waits: for a person, to be placed or rejected, to be sent."""
    mine = order.c.connection_id == C.id
    problems = sa.select(sa.func.count()).where(mine, order.c.problem != sa.literal_column("0")).scalar_subquery()
    waiting = sa.select(sa.func.count()).where(mine, order.c.state.in_(WAITING)).scalar_subquery()
    unsent = sa.select(sa.func.count()).where(status.c.connection_id == C.id, status.c.sent_at.is_(None))
    stale = sa.select(sa.func.count()).where(listing.c.connection_id == C.id, listing.c.due_at < listings.NEVER)
    total = unsent.scalar_subquery() + stale.scalar_subquery()
    return problems.label("problems"), waiting.label("waiting"), total.label("unsent")


async def move(session: database.WriteSession, connection_id: uuid.UUID, state: values.ConnectionState) -> None:
    """Pauses or resumes, a version later."""
    changed = {"state": int(state), "version": C.version + 1, "updated_at": NOW}
    await session.execute(sa.update(connection).where(C.id == connection_id).values(changed))


async def active(session: database.WorkerSession, limit: int) -> list[Active]:
    """Connections of all tenants that work."""
    query = sa.select(C.tenant_id, C.id).where(C.state == int(values.ConnectionState.ACTIVE)).order_by(C.id)
    return [Active(row.tenant_id, row.id) for row in await session.execute(query.limit(limit))]


# --- what the process that has its lease notes ---


@dataclass(frozen=True, slots=True)
class Turn:
    """A connection at the beginning of a turn, and what is due of it by the database's clock."""

    of: values.Connection
    now: dt.datetime
    polled_at: dt.datetime | None
    pass_failures: int


async def turn(session: Session, connection_id: uuid.UUID) -> Turn | None:
    """None: there is none."""
    query: sa.Select[Any] = sa.select(*C, NOW.label("now")).where(C.id == connection_id)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else Turn(_connection(row, health=True), row.now, row.polled_at, row.pass_failures)


async def polled(
    session: database.WriteSession, connection_id: uuid.UUID, cursor_at: dt.datetime | None, failures: int
) -> None:
    """A pass over a stretch ended. cursor_at: its end, when it was complete; it never goes back."""
    noted: dict[str, Any] = {"polled_at": NOW, "pass_failures": failures}
    if cursor_at is not None:
        noted["cursor_at"] = sa.func.greatest(C.cursor_at, cursor_at)
    await session.execute(sa.update(connection).where(C.id == connection_id).values(noted))


async def worked(session: database.WriteSession, connection_id: uuid.UUID) -> None:
    """The marketplace answered."""
    noted = {"success_at": NOW, "failure": "", "failures": 0, "throttled_until": None}
    await session.execute(sa.update(connection).where(C.id == connection_id).values(noted))


async def fell_silent(
    session: database.WriteSession, connection_id: uuid.UUID, failure: str, wait: dt.timedelta
) -> None:
    """It didn't answer, or not as it should: it is left alone for a while."""
    noted = {
        "failed_at": NOW,
        "failure": failure,
        "failures": C.failures + 1,
        "throttled_until": NOW + wait,
    }
    await session.execute(sa.update(connection).where(C.id == connection_id).values(noted))


async def listed(session: database.WriteSession, connection_id: uuid.UUID) -> None:
    """All listings were read."""
    await session.execute(sa.update(connection).where(C.id == connection_id).values(listed_at=NOW))


async def watched(session: database.WriteSession, connection_id: uuid.UUID, token: str) -> None:
    """Up to this token, changes of the stock are noted."""
    await session.execute(sa.update(connection).where(C.id == connection_id).values(watch_token=token))


def _connection(row: sa.Row[Any], *, shown: bool = False, health: bool = False) -> values.Connection:
    told = None
    if shown or health:
        told = values.Health(
            success_at=row.success_at,
            failed_at=row.failed_at,
            failure=row.failure,
            failures=row.failures,
            throttled_until=row.throttled_until,
            listed_at=row.listed_at,
            problems=row.problems if shown else 0,
            waiting=row.waiting if shown else 0,
            unsent=row.unsent if shown else 0,
        )
    return values.Connection(
        id=row.id,
        kind=values.Kind(row.kind),
        name=row.name,
        account=row.account,
        state=values.ConnectionState(row.state),
        location_id=row.location_id,
        stock_locations=tuple(row.stock_locations),
        buffer=row.buffer,
        cancel_after=row.cancel_after,
        cursor_at=row.cursor_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        version=row.version,
        watch_token=row.watch_token,
        health=told,
    )
