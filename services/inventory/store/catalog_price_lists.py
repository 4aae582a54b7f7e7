"""SQL of price lists. They are never deleted: prices name them without a foreign key."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa

from services.inventory.domain import catalog as values
from services.inventory.store import catalog as common
from services.inventory.tables import catalog as tables
from services.kit import database, errors

PRICE_LIST = tables.price_list
COLUMNS = (
    PRICE_LIST.c.code,
    PRICE_LIST.c.name,
    PRICE_LIST.c.restricted,
    PRICE_LIST.c.version,
    PRICE_LIST.c.created_at,
    PRICE_LIST.c.updated_at,
    *common.time(PRICE_LIST),
)


async def insert(session: database.WriteSession, price_list: values.PriceList) -> None:
    """Keeps a new price list. ALREADY_EXISTS."""
    taken = errors.AlreadyExists("price list", f"the price list {price_list.code} is there already")
    with common.unique({"price_list_pkey": taken}):
        await session.execute(
            sa.insert(PRICE_LIST).values(tenant_id=common.TENANT, code=price_list.code, **_columns(price_list))
        )


async def update(session: database.WriteSession, price_list: values.PriceList) -> None:
    """Keeps the next version of a price list that is locked."""
    await session.execute(
        sa.update(PRICE_LIST).where(PRICE_LIST.c.code == price_list.code).values(**_columns(price_list))
    )


async def get(session: common.Session, code: str, *, lock: bool = False) -> values.PriceList | None:
    """The price list. lock: nobody else edits it until the end of the transaction."""
    statement = sa.select(*COLUMNS).where(PRICE_LIST.c.code == code)
    found = (await session.execute(statement.with_for_update() if lock else statement)).one_or_none()
    return None if found is None else _price_list(found)


async def page(
    session: common.Session, *, valid_at: dt.datetime | None, after: str | None, limit: int
) -> list[values.PriceList]:
    """Price lists by code."""
    statement = sa.select(*COLUMNS).order_by(PRICE_LIST.c.code).limit(limit)
    if valid_at is not None:
        statement = statement.where(PRICE_LIST.c.valid_from <= valid_at, PRICE_LIST.c.valid_until > valid_at)
    if after is not None:
        statement = statement.where(PRICE_LIST.c.code > after)
    return [_price_list(row) for row in await session.execute(statement)]


def _columns(price_list: values.PriceList) -> dict[str, Any]:
    return {
        "name": price_list.name,
        "valid_from": common.moment(price_list.valid_from, "-infinity"),
        "valid_until": common.moment(price_list.valid_until, "infinity"),
        "restricted": price_list.restricted,
        "version": price_list.version,
        "created_at": price_list.created_at,
        "updated_at": price_list.updated_at,
    }


def _price_list(row: Any) -> values.PriceList:
    return values.PriceList(
        code=row.code,
        name=row.name,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        restricted=row.restricted,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
