"""SQL of what marketplaces owe: an account for each connection and currency, and its entries."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database
from services.orders.domain.marketplaces import ledger as domain
from services.orders.store.marketplaces.connections import NOW, TENANT, Session
from services.orders.tables_marketplaces import account, entry

A, E = account.c, entry.c


async def post(
    session: database.WriteSession,
    connection_id: uuid.UUID,
    kind: domain.EntryKind,
    currency_code: str,
    amount: int,
    **facts: Any,
) -> domain.Entry:
    """Appends an entry, under the account's lock. facts: order_id, payment_id, reference, actor."""
    key = {"tenant_id": TENANT, "connection_id": connection_id, "currency_code": currency_code}
    await session.execute(pg.insert(account).values(**key, seq=0, owed=0).on_conflict_do_nothing())
    at = (A.connection_id == connection_id, A.currency_code == currency_code)
    before = (await session.execute(sa.select(A.seq, A.owed).where(*at).with_for_update())).one()
    seq, owed = before.seq + 1, domain.owed(before.owed, kind, amount)
    source, target = domain.MOVES[kind]
    row = {
        **key,
        "seq": seq,
        "kind": int(kind),
        "from_book": int(source),
        "to_book": int(target),
        "amount": amount,
        "owed_after": owed,
        **facts,
    }
    made = (await session.execute(sa.insert(entry).values(**row, recorded_at=NOW).returning(*E))).one()
    await session.execute(sa.update(account).where(*at).values(seq=seq, owed=owed))
    return _entry(made)


async def owed(session: Session, connection_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, int]]:
    """What each connection owes, by currency."""
    found: dict[uuid.UUID, dict[str, int]] = {}
    query = sa.select(A.connection_id, A.currency_code, A.owed).where(A.connection_id.in_(connection_ids))
    for row in await session.execute(query.order_by(A.currency_code)):
        found.setdefault(row.connection_id, {})[row.currency_code] = row.owed
    return found


async def page(
    session: Session, connection_id: uuid.UUID, currency_code: str, *, before: int | None, limit: int
) -> list[domain.Entry]:
    """Entries, the newest first."""
    query = sa.select(*E).where(E.connection_id == connection_id, E.currency_code == currency_code)
    if before is not None:
        query = query.where(E.seq < before)
    return [_entry(row) for row in await session.execute(query.order_by(E.seq.desc()).limit(limit))]


def _entry(row: sa.Row[Any]) -> domain.Entry:
    return domain.Entry(
        seq=row.seq,
        kind=domain.EntryKind(row.kind),
        currency_code=row.currency_code,
        amount=row.amount,
        owed_after=row.owed_after,
        order_id=row.order_id,
        payment_id=row.payment_id,
        reference=row.reference,
        actor=row.actor,
        recorded_at=row.recorded_at,
    )
