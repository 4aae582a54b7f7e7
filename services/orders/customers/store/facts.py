"""SQL of what outlives an erasure: consents, what was done with personal data, orders, and how far the log is applied.

Row-level security picks the tenant in every statement; only inserts name it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database
from services.orders.customers import domain

Session = sa_asyncio.AsyncConnection
TENANT = "current_setting('app.tenant_id')::uuid"
PUT_CONSENT = sa.text(f"""
INSERT INTO customer_consent (tenant_id, customer_id, id, purpose, channel, decision, source, text_version, occurred_at,
    recorded_at, actor)
VALUES ({TENANT}, :customer_id, :id, :purpose, :channel, :decision, :source, :text_version, :occurred_at, :recorded_at, :actor)
""")
CONSENTS = sa.text("""
SELECT * FROM customer_consent
WHERE customer_id = ANY(CAST(:ids AS uuid[])) AND (CAST(:before AS uuid) IS NULL OR id < :before)
ORDER BY id DESC LIMIT :limit
""")
CONSENT = sa.text("SELECT * FROM customer_consent WHERE id = :id AND customer_id = ANY(CAST(:ids AS uuid[]))")
# A device's clock that runs ahead must not make an old decision the last one.
CURRENT = sa.text("""
SELECT DISTINCT ON (purpose, channel) * FROM customer_consent WHERE customer_id = ANY(CAST(:ids AS uuid[]))
ORDER BY purpose, channel, least(occurred_at, recorded_at) DESC, id DESC
""")
DECIDED = sa.text(
    "SELECT DISTINCT purpose, channel FROM customer_consent WHERE customer_id = ANY(CAST(:ids AS uuid[]))"
)
PUT_ACCESS = sa.text(f"""
INSERT INTO customer_access (tenant_id, customer_id, id, action, actor)
SELECT {TENANT}, c.customer, gen_random_uuid(), :action, :actor FROM unnest(CAST(:ids AS uuid[])) c (customer)
""")
ACCESSES = sa.text("""
SELECT customer_id, action, actor, recorded_at FROM customer_access WHERE customer_id = ANY(CAST(:ids AS uuid[]))
ORDER BY recorded_at LIMIT 10000
""")
ORDERS_OF = sa.text("""
SELECT id FROM sales_order
WHERE customer_id = ANY(CAST(:ids AS uuid[])) AND (CAST(:after AS uuid) IS NULL OR id > :after) ORDER BY id LIMIT :limit
""")


# --- consents and accesses ---


async def put_consent(session: database.WriteSession, consent: domain.Consent) -> None:
    """Adds to the ledger."""
    names = domain.Consent.__dataclass_fields__
    await session.execute(PUT_CONSENT, {name: getattr(consent, name) for name in names})


def _consent(row: sa.Row[Any]) -> domain.Consent:
    return domain.Consent(**{name: getattr(row, name) for name in domain.Consent.__dataclass_fields__})


async def consents(
    session: Session, ids: Collection[uuid.UUID], before: uuid.UUID | None, limit: int
) -> list[domain.Consent]:
    """The ledger of customers, the newest first, before an entry."""
    rows = await session.execute(CONSENTS, {"ids": list(ids), "before": before, "limit": limit})
    return [_consent(row) for row in rows]


async def consent(session: Session, ids: Collection[uuid.UUID], consent_id: uuid.UUID) -> domain.Consent | None:
    """One entry."""
    row = (await session.execute(CONSENT, {"ids": list(ids), "id": consent_id})).one_or_none()
    return None if row is None else _consent(row)


async def current(session: Session, ids: Collection[uuid.UUID]) -> list[domain.Consent]:
    """The latest decision of each purpose and channel."""
    return [_consent(row) for row in await session.execute(CURRENT, {"ids": list(ids)})]


async def decided(session: Session, ids: Collection[uuid.UUID]) -> set[tuple[str, int]]:
    """What was decided on: purposes and channels."""
    return {(row.purpose, row.channel) for row in await session.execute(DECIDED, {"ids": list(ids)})}


async def put_access(session: database.WriteSession, ids: Collection[uuid.UUID], action: int, actor: str) -> None:
    """Notes who did what with the personal data."""
    await session.execute(PUT_ACCESS, {"ids": list(ids), "action": action, "actor": actor})


async def accesses(session: Session, ids: Collection[uuid.UUID]) -> Sequence[sa.Row[Any]]:
    """What was done, the oldest first, at most 10,000."""
    return (await session.execute(ACCESSES, {"ids": list(ids)})).all()


async def orders_of(
    session: Session, ids: Collection[uuid.UUID], after: uuid.UUID | None, limit: int
) -> list[uuid.UUID]:
    """Ids of the orders of customers, in order."""
    return list((await session.execute(ORDERS_OF, {"ids": list(ids), "after": after, "limit": limit})).scalars())


# --- erasures ---

POSITION = sa.text("SELECT seq, hash FROM erasure_position")
LOCK_POSITION = sa.text("SELECT seq, hash FROM erasure_position FOR UPDATE")
MOVE_POSITION = sa.text("UPDATE erasure_position SET seq = :seq, hash = :hash")
OPEN_AMONG = sa.text(
    "SELECT id FROM customer WHERE id = ANY(CAST(:ids AS uuid[])) AND state <> 3 ORDER BY id FOR UPDATE"
)


async def position(session: Session, *, locked: bool = False) -> tuple[int, str]:
    """How far the erasure log is applied. locked: nobody else erases until the end of the transaction."""
    row = (await session.execute(LOCK_POSITION if locked else POSITION)).one()
    return row.seq, row.hash


async def move_position(session: database.WriteSession, seq: int, hash_: str) -> None:
    """Notes how far the erasure log is applied."""
    await session.execute(MOVE_POSITION, {"seq": seq, "hash": hash_})


async def not_erased(session: database.WriteSession, ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """Those of the customers that aren't erased, locked."""
    return list((await session.execute(OPEN_AMONG, {"ids": list(ids)})).scalars())
