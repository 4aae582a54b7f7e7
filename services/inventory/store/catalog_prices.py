"""SQL of prices."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_codes as codes
from services.inventory.store import catalog as common
from services.inventory.tables import catalog as tables
from services.kit import database

PRICE, PRICE_LIST = tables.price, tables.price_list
COLUMNS = (
    PRICE.c.id,
    PRICE.c.location_id,
    PRICE.c.currency_code,
    PRICE.c.minor_units,
    PRICE.c.price_list,
    *common.time(PRICE),
)


async def spelling(session: common.Session, sku: str) -> str | None:
    """The SKU as its variant spells it."""
    statement = sa.select(tables.variant.c.sku).where(tables.variant.c.sku_key == codes.sku_key(sku))
    return (await session.execute(statement)).scalar_one_or_none()


async def has_location(session: common.Session, location_id: uuid.UUID) -> bool:
    """Whether there is such a location."""
    statement = sa.select(tables.location.c.id).where(tables.location.c.id == location_id)
    return (await session.execute(statement)).first() is not None


async def put(session: database.WriteSession, price: values.Price) -> values.Price:
    """Keeps a price, in place of one with the same SKU, list, location, currency and beginning, whose id it then has."""
    statement = pg.insert(PRICE).values(
        tenant_id=common.TENANT,
        id=price.id,
        sku_key=codes.sku_key(price.sku),
        location_id=price.location_id,
        currency_code=price.currency_code,
        minor_units=price.minor_units,
        price_list=price.price_list,
        valid_from=common.moment(price.valid_from, "-infinity"),
        valid_until=common.moment(price.valid_until, "infinity"),
    )
    replaced = {"minor_units": statement.excluded.minor_units, "valid_until": statement.excluded.valid_until}
    upsert = statement.on_conflict_do_update(constraint="price_start", set_=replaced).returning(*COLUMNS)
    return _price((await session.execute(upsert)).one(), price.sku)


async def page(
    session: common.Session,
    sku: str,
    *,
    at_location: uuid.UUID | None,
    within: Collection[uuid.UUID] | None,
    price_list: str,
    restricted: bool,
    valid_at: dt.datetime | None,
    after: tuple[dt.datetime | None, uuid.UUID] | None,
    limit: int,
) -> list[values.Price]:
    """Prices of a SKU (as its variant spells it), those that begin last first.

    at_location: only those that apply there. within: only general ones and those of these locations; None: all.
    price_list: only those of it; empty: of all. restricted: those of restricted lists too.
    """
    statement = sa.select(*COLUMNS).where(PRICE.c.sku_key == codes.sku_key(sku))
    statement = statement.order_by(PRICE.c.valid_from.desc(), PRICE.c.id.desc()).limit(limit)
    general = PRICE.c.location_id.is_(None)
    if at_location is not None:
        statement = statement.where(general | (PRICE.c.location_id == at_location))
    if within is not None:
        covered = sa.any_(sa.cast(list(within), pg.ARRAY(pg.UUID)))
        statement = statement.where(general | (PRICE.c.location_id == covered))
    if price_list:
        statement = statement.where(PRICE.c.price_list == price_list)
    if not restricted:
        statement = statement.where(~_of_a_list(PRICE_LIST.c.restricted))
    if valid_at is not None:
        over = (PRICE_LIST.c.valid_from > valid_at) | (PRICE_LIST.c.valid_until <= valid_at)
        statement = statement.where(PRICE.c.valid_from <= valid_at, PRICE.c.valid_until > valid_at, ~_of_a_list(over))
    if after is not None:
        last = sa.tuple_(common.moment(after[0], "-infinity"), sa.cast(after[1], pg.UUID))
        statement = statement.where(sa.tuple_(PRICE.c.valid_from, PRICE.c.id) < last)
    return [_price(row, sku) for row in await session.execute(statement)]


def _of_a_list(which: sa.ColumnElement[bool]) -> sa.Exists:
    """Whether a price is of a list that is such; the list that every tenant has is none."""
    return sa.exists().where(PRICE_LIST.c.code == PRICE.c.price_list, which)


def _price(row: Any, sku: str) -> values.Price:
    return values.Price(
        id=row.id,
        sku=sku,
        location_id=row.location_id,
        currency_code=row.currency_code,
        minor_units=row.minor_units,
        price_list=row.price_list,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )
