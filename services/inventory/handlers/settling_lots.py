"""Brings what a lot is by now to its units, location by location: its dates, and whether it is recalled.

A lane decides by what stands beside the units it has locked. Units that a lane brings to a location meanwhile are as
the lot says already, or that lane's batch is waited for: so a pass over all heads, a few at a time, misses none.
"""

from __future__ import annotations

import uuid
from typing import Final

from services.inventory.domain import catalog_codes as codes
from services.inventory.store import lots as store
from services.kit import database

HEADS_AT_ONCE: Final = 50  # whose lanes wait for each other's batches, and for one statement
LEFT_SECONDS: Final = 5.0  # what is unsettled for longer was left by a process that is gone, or slow
LEFT_MAX: Final = 100  # of these at a time
_FIRST: Final = uuid.UUID(int=0)


async def settle(db: database.Database, tenant: str, lot_id: uuid.UUID) -> None:
    """Several may do so at once, also for different versions of a lot. Does nothing when all is settled."""
    async with db.read(tenant) as session:
        lot = await store.get(session, lot_id)
    if lot is None or lot.settled:
        return
    after: uuid.UUID | None = _FIRST
    while after is not None:
        after = await settle_some(db, tenant, store.Of(codes.sku_key(lot.sku), lot.code), after)
    async with db.transaction(tenant) as session:
        await store.note_settled(session, lot)


async def settle_some(db: database.Database, tenant: str, of: store.Of, after: uuid.UUID) -> uuid.UUID | None:
    """The locations behind one, as many as are locked together; the last of them, None: there are no more."""
    async with db.transaction(tenant) as session:
        heads = await store.lock_more_heads(session, after, HEADS_AT_ONCE)
        if heads:
            await store.resettle(session, of._replace(locations=heads))
    return heads[-1] if len(heads) == HEADS_AT_ONCE else None


async def settle_left(db: database.Database) -> int:
    """Settles what others left; answers how many lots that were."""
    async with db.worker() as session:
        rows = await store.unsettled(session, LEFT_SECONDS, LEFT_MAX)
    for row in rows:
        await settle(db, str(row.tenant_id), row.id)
    return len(rows)
