"""SQL of whom orders are for: sealed with the key of who ordered, and gone with it. Row-level security picks the tenant."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database

Session = sa_asyncio.AsyncConnection
TENANT = "current_setting('app.tenant_id')::uuid"
# Whoever changes the customer's key, or erases them, locks this row for update first.
KEEP_KEY = sa.text("SELECT 1 FROM customer WHERE id = CAST(:customer AS uuid) FOR KEY SHARE")
LOAD_KEY = sa.text("""
SELECT version AS key_version, tenant_key_version, wrapped FROM customer_key
WHERE customer_id = CAST(:customer AS uuid) FOR SHARE
""")
PUT = sa.text(f"""
INSERT INTO order_recipient (tenant_id, order_id, customer_id, sealed)
VALUES ({TENANT}, CAST(:order_id AS uuid), CAST(:customer AS uuid), CAST(:sealed AS bytea))
ON CONFLICT (tenant_id, order_id) DO UPDATE SET customer_id = excluded.customer_id, sealed = excluded.sealed
""")
DROP = sa.text("DELETE FROM order_recipient WHERE order_id = :order_id")
GET = sa.text("""
SELECT r.order_id, r.customer_id, r.sealed, k.version AS key_version, k.tenant_key_version, k.wrapped
FROM order_recipient r JOIN customer_key k ON k.tenant_id = r.tenant_id AND k.customer_id = r.customer_id
WHERE r.order_id = ANY(CAST(:orders AS uuid[])) ORDER BY r.order_id
""")
OF_CUSTOMER = sa.text("SELECT order_id, sealed FROM order_recipient WHERE customer_id = :customer ORDER BY order_id")
RESEAL = sa.text("""
UPDATE order_recipient r SET sealed = n.sealed
FROM unnest(CAST(:orders AS uuid[]), CAST(:sealed AS bytea[])) n (order_id, sealed)
WHERE r.customer_id = :customer AND r.order_id = n.order_id
""")


def field(order_id: uuid.UUID) -> str:
    """The field that a recipient is sealed as, among those of its customer's key."""
    return f"order:{order_id}"


async def keep_key(session: database.WriteSession, customer: uuid.UUID) -> sa.Row[Any] | None:
    """A customer's key, that nobody changes or deletes until the end of the transaction. None: it is gone."""
    await session.execute(KEEP_KEY, {"customer": customer})
    return (await session.execute(LOAD_KEY, {"customer": customer})).one_or_none()


async def put(session: database.WriteSession, order_id: uuid.UUID, customer: uuid.UUID, sealed: bytes) -> None:
    """Keeps whom an order is for, in place of who it was for before."""
    await session.execute(PUT, {"order_id": order_id, "customer": customer, "sealed": sealed})


async def drop(session: database.WriteSession, order_id: uuid.UUID) -> None:
    """Forgets whom an order was for."""
    await session.execute(DROP, {"order_id": order_id})


async def get(session: Session, orders: Collection[uuid.UUID]) -> Sequence[sa.Row[Any]]:
    """Whom orders are for, with the keys that open it, in order of the orders."""
    return (await session.execute(GET, {"orders": list(orders)})).all()


async def of_customer(session: Session, customer: uuid.UUID) -> Mapping[uuid.UUID, bytes]:
    """All that is sealed with a customer's key, by order."""
    rows = await session.execute(OF_CUSTOMER, {"customer": customer})
    return {row.order_id: bytes(row.sealed) for row in rows}


async def reseal(session: database.WriteSession, customer: uuid.UUID, sealed: Mapping[uuid.UUID, bytes]) -> None:
    """The same under another key of the customer's, who is locked."""
    if sealed:
        given = {"customer": customer, "orders": list(sealed), "sealed": list(sealed.values())}
        await session.execute(RESEAL, given)
