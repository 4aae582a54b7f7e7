"""SQL of payments, their operations and their exceptions. Row-level security picks the tenant's rows."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database
from services.orders.domain import payments as domain
from services.orders.domain import sale
from services.orders.tables import order_tender, sales_order
from services.orders.tables_payments import payment, payment_operation
from services.orders.tables_placing import order_saga

Session = sa_asyncio.AsyncConnection
TENANT: Final = sa.text("current_setting('app.tenant_id')::uuid")
NOW: Final = sa.func.clock_timestamp()
DUE_SECONDS: Final = 30.0
"""Who began an operation ends it; others look it up so much later. Longer than a provider is waited for."""
_FIELDS: Final = tuple(field.name for field in dataclasses.fields(domain.Payment))
_OPERATION: Final = tuple(field.name for field in dataclasses.fields(domain.Operation))
_CHANGING: Final = (
    "state", "authorised", "captured", "refunded", "voided", "capturing", "refunding", "by_hand", "voiding",
    "declined_reason", "reference", "version",
)  # fmt: skip
# One process claims an operation at a time, and each attempt waits twice as long for the next.
CLAIM = sa.text("""
UPDATE payment_operation o
SET attempts = o.attempts + 1,
    due_at = clock_timestamp() + least(interval '15 min', interval '5 s' * power(2, least(o.attempts, 10)))
FROM (SELECT tenant_id, id FROM payment_operation
      WHERE progress IN (1, 4) AND due_at <= clock_timestamp() ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED) due
WHERE o.tenant_id = due.tenant_id AND o.id = due.id
RETURNING o.tenant_id, o.id, o.attempts
""")


_OPERATIONS: Final = sa.select(*(payment_operation.c[name] for name in _OPERATION))
_PAYMENTS: Final = sa.select(*(payment.c[name] for name in _FIELDS))
_GET: Final = _PAYMENTS.where(payment.c.id == sa.bindparam("of_payment"))
_GET_LOCKED: Final = _GET.with_for_update()
_INSERT: Final = sa.insert(payment).values(
    tenant_id=TENANT,
    occurred_at=sa.func.coalesce(sa.bindparam("occurred", type_=payment.c.occurred_at.type), NOW),
    created_at=NOW,
    updated_at=NOW,
)
_INSERT_LASTING: Final = _INSERT.values(
    expires_at=NOW + domain.AUTHORISATION_LASTS, look_at=NOW + (domain.AUTHORISATION_LASTS - domain.WARNED_BEFORE)
)
_SAVE: Final = sa.update(payment).where(payment.c.id == sa.bindparam("of_payment")).values(updated_at=NOW)
_OPEN: Final = sa.literal([int(each) for each in domain.OPEN], pg.ARRAY(sa.BigInteger))
_IS_OPEN: Final = payment_operation.c.progress == sa.any_(_OPEN)
_ADD_OPERATION: Final = (
    pg.insert(payment_operation)
    .values(
        tenant_id=TENANT,
        created_at=NOW,
        due_at=NOW + dt.timedelta(seconds=DUE_SECONDS),
        settled_at=sa.case((sa.bindparam("is_open", type_=sa.Boolean), sa.null()), else_=NOW),
    )
    .on_conflict_do_nothing(index_elements=["tenant_id", "kind", "key"])
    .returning(payment_operation.c.id)
)
_ONE: Final = _OPERATIONS.where(payment_operation.c.id == sa.bindparam("of_operation"))
_BY_KEY: Final = _OPERATIONS.where(
    payment_operation.c.kind == sa.bindparam("of_kind"), payment_operation.c.key == sa.bindparam("of_key")
)
_OPEN_OPERATIONS: Final = (
    _OPERATIONS.where(payment_operation.c.payment_id == sa.bindparam("of_payment"), _IS_OPEN)
    .order_by(payment_operation.c.id)
    .limit(500)
)
_SAVE_OPERATION: Final = (
    sa.update(payment_operation)
    .where(payment_operation.c.id == sa.bindparam("of_operation"))
    .values(settled_at=sa.case((sa.bindparam("is_open", type_=sa.Boolean), sa.null()), else_=NOW))
)


async def insert(session: database.WriteSession, made: domain.Payment, *, lasts: bool = False) -> None:
    """A new payment. Times that aren't given are now. lasts: its authorisation has to, as it is taken later."""
    values = {name: getattr(made, name) for name in _FIELDS if name not in ("occurred_at", "created_at", "expires_at")}
    await session.execute(_INSERT_LASTING if lasts else _INSERT, {**values, "occurred": made.occurred_at})


async def get(session: Session, payment_id: uuid.UUID, *, lock: bool = False) -> domain.Payment | None:
    """A payment; locked, it is the first lock that an operation takes."""
    row = (await session.execute(_GET_LOCKED if lock else _GET, {"of_payment": payment_id})).one_or_none()
    return None if row is None else _payment(row)


async def by_reference(session: Session, provider: domain.Provider, reference: str) -> domain.Payment | None:
    """The payment that a provider calls so."""
    query = _PAYMENTS.where(payment.c.provider == int(provider), payment.c.reference == reference)
    row = (await session.execute(query)).one_or_none()
    return None if row is None else _payment(row)


async def of_order(
    session: Session,
    order_id: uuid.UUID,
    *,
    places: Sequence[uuid.UUID] | None = None,
    after: uuid.UUID | None = None,
    limit: int = 500,
) -> list[domain.Payment]:
    """Payments of an order, the oldest first. places: only those that were made there."""
    query = _PAYMENTS.where(payment.c.order_id == order_id)
    if places is not None:
        query = query.where(payment.c.location_id.in_(places))
    if after is not None:
        query = query.where(payment.c.id > after)
    return [_payment(row) for row in await session.execute(query.order_by(payment.c.id).limit(limit))]


async def save(session: database.WriteSession, changed: domain.Payment) -> None:
    """What operations change of a payment that is locked."""
    values = {name: getattr(changed, name) for name in _CHANGING}
    await session.execute(_SAVE, {**values, "of_payment": changed.id})


def _payment(row: sa.Row[Any]) -> domain.Payment:
    values = row._asdict()
    values["provider"] = domain.Provider(row.provider)
    values["state"] = domain.State(row.state)
    return domain.Payment(**values)


# --- operations ---


async def add_operation(session: database.WriteSession, made: domain.Operation) -> bool:
    """A new operation; False when its kind and key are taken: waits for who is taking them."""
    values = {name: getattr(made, name) for name in _OPERATION if name not in ("created_at", "settled_at")}
    added = await session.execute(_ADD_OPERATION, {**values, "is_open": made.progress in domain.OPEN})
    return added.one_or_none() is not None


async def operation(session: Session, operation_id: uuid.UUID) -> domain.Operation | None:
    """An operation."""
    return _first(await session.execute(_ONE, {"of_operation": operation_id}))


async def by_key(session: Session, kind: domain.Kind, key: str) -> domain.Operation | None:
    """The operation that a caller's key stands for."""
    return _first(await session.execute(_BY_KEY, {"of_kind": int(kind), "of_key": key}))


async def operations(session: Session, payment_id: uuid.UUID, limit: int = 500) -> list[domain.Operation]:
    """Operations of a payment, the oldest first."""
    c = payment_operation.c
    query = _OPERATIONS.where(c.payment_id == payment_id).order_by(c.id).limit(limit)
    return [_operation(row) for row in await session.execute(query)]


async def last_operation(session: Session, payment_id: uuid.UUID) -> domain.Operation:
    """The newest operation of a payment; each has one."""
    c = payment_operation.c
    query = _OPERATIONS.where(c.payment_id == payment_id)
    return _operation((await session.execute(query.order_by(c.id.desc()).limit(1))).one())


async def open_operations(session: Session, payment_id: uuid.UUID) -> list[domain.Operation]:
    """Those whose outcome isn't known, the oldest first. At most 500: an amount that is set aside has to end first."""
    return [_operation(row) for row in await session.execute(_OPEN_OPERATIONS, {"of_payment": payment_id})]


async def save_operation(session: database.WriteSession, changed: domain.Operation) -> None:
    """Progress of an operation whose payment is locked."""
    values = {
        "progress": int(changed.progress),
        "reference": changed.reference,
        "code": changed.code,
        "is_open": changed.progress in domain.OPEN,
        "of_operation": changed.id,
    }
    await session.execute(_SAVE_OPERATION, values)


async def postpone(session: database.WriteSession, operation_id: uuid.UUID, seconds: float) -> None:
    """No answer: it is looked up so much later, unless the resumer is at it. What was settled meanwhile stays."""
    c = payment_operation.c
    pending = c.progress.in_([int(domain.Progress.PENDING), int(domain.Progress.UNKNOWN)])
    soon = sa.case((c.attempts == 0, NOW + dt.timedelta(seconds=seconds)), else_=c.due_at)
    values = {"progress": int(domain.Progress.UNKNOWN), "due_at": soon}
    await session.execute(sa.update(payment_operation).where(c.id == operation_id, pending).values(**values))


async def claim_due(session: database.WorkerSession, limit: int) -> Sequence[Any]:
    """Operations of all tenants that nobody has ended in time: tenant_id, id, attempts."""
    return (await session.execute(CLAIM, {"limit": limit})).all()


def _first(rows: sa.CursorResult[Any]) -> domain.Operation | None:
    row = rows.one_or_none()
    return None if row is None else _operation(row)


def _operation(row: sa.Row[Any]) -> domain.Operation:
    values = row._asdict()
    values["kind"] = domain.Kind(row.kind)
    values["progress"] = domain.Progress(row.progress)
    return domain.Operation(**values)


# --- what is left to pay of an order ---


async def lock_due(session: database.WriteSession, order_id: uuid.UUID) -> domain.Due | None:
    """What an order still costs, locked against other payments; None: there is no such order.

    What is being authorised counts as paid. Tenders of a sale at a till are payments that were made there; other
    orders have payments only.
    """
    c, p, t = sales_order.c, payment.c, order_tender.c
    columns = (c.state, c.channel, c.currency_code, c.total, c.location_id, c.business_date)
    row = (await session.execute(sa.select(*columns).where(c.id == order_id).with_for_update())).one_or_none()
    if row is None:
        return None
    stands = sa.case((p.state == int(domain.State.PENDING), p.amount), else_=p.authorised - p.voided - p.refunded)
    paid = await _sum(session, stands, p.order_id == order_id)
    taken = await _sum(session, p.captured + p.capturing - p.refunded, p.order_id == order_id)
    if row.channel == int(sale.Channel.POS):
        at = sa.and_(t.location_id == row.location_id, t.business_date == row.business_date, t.order_id == order_id)
        at_till = await _sum(session, t.amount, at)
        paid, taken = paid + at_till, taken + at_till
    live = sa.select(order_saga.c.id).where(order_saga.c.order_id == order_id, order_saga.c.finished_at.is_(None))
    busy = (await session.execute(live.limit(1))).one_or_none() is not None
    state = sale.OrderState(row.state)
    return domain.Due(state, row.currency_code, row.total - paid, busy, row.total - taken)


async def _sum(session: Session, amount: sa.ColumnElement[int], where: sa.ColumnElement[bool]) -> int:
    return int((await session.execute(sa.select(sa.func.coalesce(sa.func.sum(amount), 0)).where(where))).scalar_one())


async def has_order(session: Session, order_id: uuid.UUID) -> bool:
    """Whether the tenant has this order."""
    query = sa.select(sales_order.c.id).where(sales_order.c.id == order_id)
    return (await session.execute(query)).one_or_none() is not None


async def customer_of(session: Session, order_id: uuid.UUID) -> uuid.UUID | None:
    """Whose order it is, if that is known."""
    query = sa.select(sales_order.c.customer_id).where(sales_order.c.id == order_id)
    customer: uuid.UUID | None = (await session.execute(query)).scalar_one_or_none()
    return customer
