"""SQL of what a person has to look at about payments. Row-level security picks the tenant's rows."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database, ids
from services.orders.domain import payment_exceptions as values
from services.orders.domain import payments as domain
from services.orders.store.payments import NOW, TENANT, Session
from services.orders.tables_payments import payment, payment_exception

C = payment_exception.c
_OF_PAYMENT: Final = ("currency_code", "order_id")
_EXCEPTIONS: Final[sa.Select[Any]] = sa.select(
    *(C[field.name] for field in dataclasses.fields(values.Raised) if field.name not in _OF_PAYMENT),
    *(payment.c[name] for name in _OF_PAYMENT),
).join(payment, sa.and_(payment.c.tenant_id == C.tenant_id, payment.c.id == C.payment_id))
LAPSING = sa.text("""
SELECT tenant_id, id FROM payment WHERE look_at <= clock_timestamp() ORDER BY look_at LIMIT :limit
""")
LOOK_AGAIN = sa.text("UPDATE payment SET look_at = :at WHERE id = :id")


async def insert(
    session: database.WriteSession,
    payment_id: uuid.UUID,
    kind: domain.ExceptionKind,
    *,
    operation_id: uuid.UUID | None,
    expected: int,
    found: int,
    code: str,
) -> uuid.UUID | None:
    """Something for a person; its id. None: the same is open already."""
    row = {
        "id": ids.new_uuid(),
        "payment_id": payment_id,
        "operation_id": operation_id,
        "kind": int(kind),
        "expected": expected,
        "found": found,
        "code": code,
        "raised_at": NOW,
        "resolved_by": "",
        "note": "",
    }
    insert_ = pg.insert(payment_exception).values(tenant_id=TENANT, **row).on_conflict_do_nothing()
    made: uuid.UUID | None = (await session.execute(insert_.returning(C.id))).scalar_one_or_none()
    return made


async def end(session: database.WriteSession, exception_id: uuid.UUID) -> bool:
    """Ends an exception; whoever said why stays (say). False: it had ended."""
    update = sa.update(payment_exception).where(C.id == exception_id, C.resolved_at.is_(None)).values(resolved_at=NOW)
    return (await session.execute(update.returning(C.id))).one_or_none() is not None


async def say(
    session: database.WriteSession,
    exception_id: uuid.UUID,
    *,
    by: str,
    note: str,
    finding: values.Finding | None = None,
    reference: str = "",
) -> bool:
    """What somebody found about an exception that is open. False: it had ended."""
    said = {"resolved_by": by, "note": note, "finding": int(finding or 0), "reference": reference}
    update = sa.update(payment_exception).where(C.id == exception_id, C.resolved_at.is_(None)).values(said)
    return (await session.execute(update.returning(C.id))).one_or_none() is not None


async def try_again(session: database.WriteSession, exception_id: uuid.UUID, operation_id: uuid.UUID) -> None:
    """The last attempt is this operation now."""
    update = sa.update(payment_exception).where(C.id == exception_id, C.resolved_at.is_(None))
    await session.execute(update.values(operation_id=operation_id))


async def open_of(
    session: Session, payment_id: uuid.UUID, kind: domain.ExceptionKind, operation_id: uuid.UUID | None = None
) -> list[values.Raised]:
    """What is open of a kind about a payment, or about one operation on it."""
    query = _EXCEPTIONS.where(C.payment_id == payment_id, C.kind == int(kind), C.resolved_at.is_(None))
    if operation_id is not None:
        query = query.where(C.operation_id == operation_id)
    return [_raised(row) for row in await session.execute(query.order_by(C.id))]


async def get(session: Session, exception_id: uuid.UUID) -> values.Raised | None:
    """An exception."""
    rows = await session.execute(_EXCEPTIONS.where(C.id == exception_id))
    return next((_raised(row) for row in rows), None)


async def page(session: Session, *, open_: bool, kind: int, after: uuid.UUID | None, limit: int) -> list[values.Raised]:
    """Exceptions that wait, or that were ended, the oldest first. kind 0: of any."""
    query = _EXCEPTIONS.where(C.resolved_at.is_(None) if open_ else C.resolved_at.is_not(None))
    if kind:
        query = query.where(C.kind == kind)
    if after is not None:
        query = query.where(C.id > after)
    return [_raised(row) for row in await session.execute(query.order_by(C.id).limit(limit))]


def _raised(row: sa.Row[Any]) -> values.Raised:
    read = row._asdict()
    read["kind"] = domain.ExceptionKind(row.kind)
    return values.Raised(**read)


# --- authorisations that don't last for ever ---


async def lapsing(session: database.WorkerSession, limit: int) -> Sequence[Any]:
    """Payments of all tenants that somebody has to look at: tenant_id, id."""
    return (await session.execute(LAPSING, {"limit": limit})).all()


async def look_again(session: database.WriteSession, payment_id: uuid.UUID, at: dt.datetime | None) -> None:
    """When somebody has to look at a payment again; None: never."""
    await session.execute(LOOK_AGAIN, {"id": payment_id, "at": at})


async def now(session: Session) -> dt.datetime:
    """The database's clock."""
    at: dt.datetime = (await session.execute(sa.select(NOW))).scalar_one()
    return at
