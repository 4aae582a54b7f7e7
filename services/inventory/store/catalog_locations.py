"""SQL of locations."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_products as products
from services.inventory.store import bundle_definitions
from services.inventory.store import catalog as common
from services.inventory.tables import catalog as tables
from services.inventory.tables import stock
from services.kit import database

LOCATION = tables.location


async def insert(session: database.WriteSession, location: values.Location) -> None:
    """Keeps a new location and the head of its stock. ALREADY_EXISTS when its code is taken."""
    statement = pg.insert(LOCATION).values(tenant_id=common.TENANT, id=location.id, **_columns(location))
    made = await session.execute(statement.on_conflict_do_nothing(constraint="location_code").returning(LOCATION.c.id))
    if made.first() is None:
        raise products.already_exists("code", location.code)
    bundles = await bundle_definitions.lock(session)  # or it could miss those that are set meanwhile
    head = {"tenant_id": common.TENANT, "location_id": location.id, "bundles": bundles}
    await session.execute(sa.insert(stock.stock_head).values(**head))


async def update(session: database.WriteSession, location: values.Location) -> None:
    """Keeps the next version of a location that is locked. ALREADY_EXISTS when its code is taken."""
    taken = {"location_code": products.already_exists("code", location.code)}
    with common.unique(taken):
        await session.execute(sa.update(LOCATION).where(LOCATION.c.id == location.id).values(**_columns(location)))


async def get(session: common.Session, location_id: uuid.UUID, *, lock: bool = False) -> values.Location | None:
    """The location. lock: nobody else edits it until the end of the transaction."""
    statement = sa.select(LOCATION).where(LOCATION.c.id == location_id)
    found = (await session.execute(statement.with_for_update(key_share=True) if lock else statement)).one_or_none()
    return None if found is None else location_of(found)


async def page(
    session: common.Session,
    *,
    within: Collection[uuid.UUID] | None,
    kind: int,
    code: str,
    capability: int,
    after: str | None,
    limit: int,
) -> list[values.Location]:
    """Locations by code. within: only these; None: all. kind, capability 0; code empty: any. after: a folded code."""
    statement = sa.select(LOCATION).order_by(LOCATION.c.code_key).limit(limit)
    if within is not None:
        statement = statement.where(LOCATION.c.id == sa.any_(sa.cast(list(within), pg.ARRAY(pg.UUID))))
    if kind:
        statement = statement.where(LOCATION.c.type == kind)
    if code:
        statement = statement.where(LOCATION.c.code_key == codes.sku_key(code))
    if capability:
        statement = statement.where(sa.literal(capability, sa.SmallInteger) == sa.any_(LOCATION.c.capabilities))
    if after is not None:
        statement = statement.where(LOCATION.c.code_key > after)
    return [location_of(found) for found in await session.execute(statement)]


def _columns(location: values.Location) -> dict[str, Any]:
    return {
        "code": location.code,
        "code_key": codes.sku_key(location.code),
        "name": location.name,
        "type": location.type,
        "timezone": location.timezone,
        "business_day_cutoff": location.business_day_cutoff,
        "currency_code": location.currency_code,
        "capabilities": list(location.capabilities),
        "address": None if location.address is None else dataclasses.asdict(location.address),
        "closed": location.closed,
        "version": location.version,
        "created_at": location.created_at,
        "updated_at": location.updated_at,
    }


def location_of(row: Any) -> values.Location:
    """A location from a row with all columns."""
    return values.Location(
        id=row.id,
        code=row.code,
        name=row.name,
        type=row.type,
        timezone=row.timezone,
        business_day_cutoff=row.business_day_cutoff,
        currency_code=row.currency_code,
        capabilities=tuple(row.capabilities),
        address=None if row.address is None else _address(row.address),
        closed=row.closed,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _address(kept: Mapping[str, Any]) -> values.Address:
    point = kept.get("coordinates")
    return values.Address(**{**kept, "lines": tuple(kept["lines"]), "coordinates": tuple(point) if point else None})
