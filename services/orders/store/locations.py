"""What Inventory last said of locations, so that sales go on while it doesn't answer."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from services.kit import database
from services.orders.domain import sale as domain
from services.orders.tables import location_snapshot


async def load(session: database.ReadSession, tenant: str, location: uuid.UUID) -> domain.Store | None:
    """The snapshot of a location; None when it was never seen."""
    c = location_snapshot.c
    query = sa.select(c.timezone, c.cutoff_minutes, c.currency_code, c.sells)
    found = (await session.execute(query.where(c.tenant_id == tenant, c.location_id == location))).one_or_none()
    return None if found is None else domain.Store(*found)


async def save(session: database.WriteSession, tenant: str, location: uuid.UUID, store: domain.Store) -> None:
    """Keeps a snapshot."""
    values = {
        "timezone": store.timezone,
        "cutoff_minutes": store.cutoff_minutes,
        "currency_code": store.currency_code,
        "sells": store.sells,
        "resolved_at": sa.func.clock_timestamp(),
    }
    insert = pg.insert(location_snapshot).values(tenant_id=tenant, location_id=location, **values)
    await session.execute(insert.on_conflict_do_update(index_elements=["tenant_id", "location_id"], set_=values))
