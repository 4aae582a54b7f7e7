"""SQL of listings: rows are locked by SKU, changed by domain/marketplaces/listings.py, and written back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database
from services.orders.domain.marketplaces.listings import NEVER, Listing
from services.orders.store.marketplaces.connections import NOW, TENANT, Session
from services.orders.tables_marketplaces import listing

C = listing.c
_FIELDS: Final = tuple(field.name for field in dataclasses.fields(Listing))
_SAVE: Final = (
    sa.update(listing)
    .where(C.connection_id == sa.bindparam("of"), C.sku_key == sa.bindparam("key"))
    .values({name: sa.bindparam(f"n_{name}") for name in _FIELDS if name != "sku"})
)
Change = Callable[[Listing, dt.datetime], Listing]


async def changed(
    session: database.WriteSession, connection_id: uuid.UUID, skus: Iterable[str], change: Change
) -> list[Listing]:
    """Applies change to those of the SKUs that are listed, under their locks; answers them as they are now."""
    keys = sorted({sku.lower() for sku in skus})
    query = _of(connection_id).where(C.sku_key.in_(keys)).order_by(C.sku_key).with_for_update()
    return await _apply(session, connection_id, query, change)


async def all_changed(session: database.WriteSession, connection_id: uuid.UUID, change: Change, after: str) -> str:
    """Applies change to up to 500 listings after a SKU; answers the last, empty at the end."""
    query = _of(connection_id).where(C.sku_key > after).order_by(C.sku_key).limit(500).with_for_update()
    done = await _apply(session, connection_id, query, change)
    return done[-1].sku.lower() if len(done) == 500 else ""


async def claim_due(
    session: database.WriteSession, connection_id: uuid.UUID, limit: int, claim: Change
) -> list[tuple[Listing, Listing]]:
    """What is due, claimed: (before, after)."""
    query = _of(connection_id).where(C.due_at <= NOW, C.due_at < NEVER).order_by(C.due_at).limit(limit)
    before = [_listing(row) for row in await session.execute(query.with_for_update(skip_locked=True))]
    if not before:
        return []
    now = await moment(session)
    claimed = [(each, claim(each, now)) for each in before]
    await save(session, connection_id, [after for _, after in claimed])
    return claimed


async def _apply(
    session: database.WriteSession, connection_id: uuid.UUID, query: sa.Select[Any], change: Change
) -> list[Listing]:
    before = [_listing(row) for row in await session.execute(query)]
    if not before:
        return []
    now = await moment(session)
    after = [change(each, now) for each in before]
    await save(session, connection_id, [new for old, new in zip(before, after, strict=True) if old != new])
    return after


async def save(session: database.WriteSession, connection_id: uuid.UUID, rows: Sequence[Listing]) -> None:
    """Rows that are locked."""
    if rows:
        given = [
            {
                "of": connection_id,
                "key": row.sku.lower(),
                **{f"n_{name}": getattr(row, name) for name in _FIELDS if name != "sku"},
            }
            for row in rows
        ]
        await session.execute(_SAVE, given)


async def add(session: database.WriteSession, connection_id: uuid.UUID, found: Mapping[str, int]) -> None:
    """SKUs that are listed there and weren't known, with what the marketplace has of each: due at once."""
    now = await moment(session)
    rows = [
        {
            "tenant_id": TENANT,
            "connection_id": connection_id,
            "sku_key": sku.lower(),
            **_row(Listing(sku=sku, quantity=quantity, due_at=now)),
        }
        for sku, quantity in found.items()
    ]
    if rows:
        await session.execute(pg.insert(listing).values(rows).on_conflict_do_nothing())


async def drop_missing(session: database.WriteSession, connection_id: uuid.UUID, found: Iterable[str]) -> None:
    """Listings that the marketplace has no more."""
    there = sa.cast([sku.lower() for sku in found], pg.ARRAY(sa.Text))
    gone = sa.delete(listing).where(C.connection_id == connection_id, sa.not_(C.sku_key == sa.any_(there)))
    await session.execute(gone)


async def moment(session: Session) -> dt.datetime:
    """The database's clock."""
    at: dt.datetime = (await session.execute(sa.select(NOW))).scalar_one()
    return at


async def page(session: Session, connection_id: uuid.UUID, *, failing: bool, after: str, limit: int) -> list[Listing]:
    """By SKU. failing: only those that the marketplace refused, or was silent about."""
    query = _of(connection_id).where(C.sku_key > after.lower())
    if failing:
        query = query.where(C.failure != "")
    return [_listing(row) for row in await session.execute(query.order_by(C.sku_key).limit(limit))]


def _of(connection_id: uuid.UUID) -> sa.Select[Any]:
    return sa.select(*(C[name] for name in _FIELDS)).where(C.connection_id == connection_id)


def _row(made: Listing) -> dict[str, Any]:
    return {name: getattr(made, name) for name in _FIELDS}


def _listing(row: sa.Row[Any]) -> Listing:
    return Listing(**row._asdict())
