"""SQL of gift cards and store credit. An account is locked before it is changed, after the payment it is changed for."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database
from services.orders.domain import stored_value as domain
from services.orders.store.payments import NOW, TENANT, Session
from services.orders.tables_payments import stored_value_account, stored_value_entry

ACCOUNT: Final = stored_value_account.c
ENTRY: Final = stored_value_entry.c
_FIELDS: Final = tuple(field.name for field in dataclasses.fields(domain.Account))
_ENTRY: Final = tuple(field.name for field in dataclasses.fields(domain.Entry))
_DUE = sa.text("""
SELECT tenant_id, id FROM stored_value_account
WHERE state = 1 AND expires_at <= clock_timestamp() ORDER BY expires_at LIMIT :limit
""")
# What the entries say against what the accounts say, and what is owed, by kind and currency.
_LIABILITY = sa.text("""
SELECT a.kind, a.currency_code, count(*) AS accounts, sum(a.balance)::bigint AS balance, sum(a.held)::bigint AS held,
       sum(e.issued)::bigint AS issued, sum(e.redeemed)::bigint AS redeemed, sum(e.written_off)::bigint AS written_off,
       count(*) FILTER (WHERE a.balance <> e.available + e.held OR a.held <> e.held OR a.seq <> e.entries) AS differing
FROM stored_value_account a
CROSS JOIN LATERAL (
    SELECT count(*) AS entries,
           coalesce(sum(amount * ((to_book = 2)::int - (from_book = 2)::int)), 0) AS available,
           coalesce(sum(amount * ((to_book = 3)::int - (from_book = 3)::int)), 0) AS held,
           coalesce(sum(amount * ((from_book = 1)::int - (to_book = 1)::int)), 0) AS issued,
           coalesce(sum(amount * ((to_book = 4)::int - (from_book = 4)::int)), 0) AS redeemed,
           coalesce(sum(amount * ((to_book = 5)::int - (from_book = 5)::int)), 0) AS written_off
    FROM stored_value_entry e WHERE e.tenant_id = a.tenant_id AND e.account_id = a.id
) e
GROUP BY a.kind, a.currency_code ORDER BY a.kind, a.currency_code
""")


async def now(session: Session) -> dt.datetime:
    """The database's clock. Read it after the locks."""
    at: dt.datetime = (await session.execute(sa.select(NOW))).scalar_one()
    return at


async def insert(
    session: database.WriteSession, made: domain.Account, code_digest: bytes | None
) -> domain.Account | None:
    """A new account without entries; None when the code, or the customer's credit in this currency, is there."""
    values = {name: getattr(made, name) for name in _FIELDS if name != "created_at"}
    times = {"created_at": NOW, "updated_at": NOW}
    insert_ = pg.insert(stored_value_account).values(tenant_id=TENANT, code_digest=code_digest, **values, **times)
    row = (await session.execute(insert_.on_conflict_do_nothing().returning(ACCOUNT.created_at))).one_or_none()
    return None if row is None else dataclasses.replace(made, created_at=row.created_at)


async def get(session: Session, account_id: uuid.UUID, *, lock: bool = False) -> domain.Account | None:
    """An account."""
    return await _one(session, ACCOUNT.id == account_id, lock=lock)


async def by_code(session: Session, code_digest: bytes) -> domain.Account | None:
    """The gift card with this code."""
    return await _one(session, ACCOUNT.code_digest == code_digest)


async def credit_of(
    session: Session, customer_id: uuid.UUID, currency_code: str, *, lock: bool = False
) -> domain.Account | None:
    """A customer's store credit in a currency."""
    is_credit = ACCOUNT.kind == int(domain.AccountKind.STORE_CREDIT)
    of = sa.and_(is_credit, ACCOUNT.customer_id == customer_id, ACCOUNT.currency_code == currency_code)
    return await _one(session, of, lock=lock)


async def credits_of(
    session: Session, customer_id: uuid.UUID, *, after: str = "", limit: int = 100
) -> list[domain.Account]:
    """A customer's store credit, one account a currency; after: currencies behind it."""
    is_credit = ACCOUNT.kind == int(domain.AccountKind.STORE_CREDIT)
    query = sa.select(*(ACCOUNT[name] for name in _FIELDS)).where(is_credit, ACCOUNT.customer_id == customer_id)
    query = query.where(ACCOUNT.currency_code > after)
    return [_account(row) for row in await session.execute(query.order_by(ACCOUNT.currency_code).limit(limit))]


async def hand_over(session: database.WriteSession, source: uuid.UUID, target: uuid.UUID) -> None:
    """Store credit of a customer becomes another's, but for currencies in which that one has an account."""
    is_credit = ACCOUNT.kind == int(domain.AccountKind.STORE_CREDIT)
    theirs = sa.select(ACCOUNT.currency_code).where(is_credit, ACCOUNT.customer_id == target)
    update = sa.update(stored_value_account).where(is_credit, ACCOUNT.customer_id == source)
    await session.execute(update.where(ACCOUNT.currency_code.not_in(theirs)).values(customer_id=target, updated_at=NOW))


async def cards(session: Session, *, before: uuid.UUID | None, limit: int) -> list[domain.Account]:
    """Gift cards, the newest first."""
    is_card = ACCOUNT.kind == int(domain.AccountKind.GIFT_CARD)
    query = sa.select(*(ACCOUNT[name] for name in _FIELDS)).where(is_card)
    if before is not None:
        query = query.where(ACCOUNT.id < before)
    return [_account(row) for row in await session.execute(query.order_by(ACCOUNT.id.desc()).limit(limit))]


async def set_code(session: database.WriteSession, account_id: uuid.UUID, code_digest: bytes, last_four: str) -> None:
    """Another code of a card that is locked."""
    update = sa.update(stored_value_account).where(ACCOUNT.id == account_id)
    await session.execute(update.values(code_digest=code_digest, last_four=last_four, updated_at=NOW))


async def save(
    session: database.WriteSession,
    account: domain.Account,
    entries: Sequence[domain.Entry],
    *,
    payment_id: uuid.UUID | None = None,
    reason: str = "",
    actor: str = "",
) -> None:
    """An account that is locked, after entries that were added to it."""
    values = {name: getattr(account, name) for name in ("state", "balance", "held", "seq", "expires_at")}
    update = sa.update(stored_value_account).where(ACCOUNT.id == account.id)
    await session.execute(update.values(**values, updated_at=NOW))
    told = {"tenant_id": TENANT, "account_id": account.id, "recorded_at": NOW}
    for entry in entries:  # two at most
        moved = {name: getattr(entry, name) for name in _ENTRY if name not in ("recorded_at", "payment_id")}
        moved |= {"payment_id": payment_id, "reason": reason, "actor": actor}
        await session.execute(sa.insert(stored_value_entry).values(**told, **moved))


async def entries(session: Session, account_id: uuid.UUID, *, before: int | None, limit: int) -> list[domain.Entry]:
    """Entries of an account, the newest first."""
    query = sa.select(*(ENTRY[name] for name in _ENTRY)).where(ENTRY.account_id == account_id)
    if before is not None:
        query = query.where(ENTRY.seq < before)
    rows = await session.execute(query.order_by(ENTRY.seq.desc()).limit(limit))
    return [_entry(row) for row in rows]


async def liability(session: Session) -> Sequence[Any]:
    """What is owed by kind and currency, and how many accounts don't agree with their entries."""
    return (await session.execute(_LIABILITY)).all()


async def due(session: database.WorkerSession, limit: int) -> Sequence[Any]:
    """Accounts of all tenants whose time has come: tenant_id, id."""
    return (await session.execute(_DUE, {"limit": limit})).all()


async def _one(session: Session, condition: sa.ColumnElement[bool], *, lock: bool = False) -> domain.Account | None:
    query = sa.select(*(ACCOUNT[name] for name in _FIELDS)).where(condition)
    row = (await session.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _account(row)


def _account(row: sa.Row[Any]) -> domain.Account:
    values = row._asdict()
    values["kind"] = domain.AccountKind(row.kind)
    values["state"] = domain.AccountState(row.state)
    return domain.Account(**values)


def _entry(row: sa.Row[Any]) -> domain.Entry:
    values = row._asdict()
    values |= {
        "kind": domain.EntryKind(row.kind),
        "from_book": domain.Book(row.from_book),
        "to_book": domain.Book(row.to_book),
    }
    return domain.Entry(**values)
