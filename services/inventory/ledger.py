"""Proves that stock is what its ledger says, and sets levels to it where it isn't. For operators: see admin.py.

Proving locks nothing and may run at any time. Rebuilding takes the lane's locks, in the lane's order, and is a command
of the location like any other: it takes a position, is told in StockChanged, and leaves an exception for a person.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from services.inventory import lane
from services.inventory.domain import commands, stock
from services.inventory.domain import levels as values
from services.inventory.mapping import stock as mapping
from services.inventory.store import lane as store
from services.inventory.store import lane_writes, proof
from services.kit import database, ids


class Where(NamedTuple):
    """A location. tenant: uuid text."""

    tenant: str
    location: uuid.UUID

    @property
    def key(self) -> lane.LaneKey:
        """Its lane."""
        tenant_id = ids.encode("ten", uuid.UUID(self.tenant))
        return lane.LaneKey(self.tenant, self.location, tenant_id, mapping.location_text(self.location))


class Ledger:
    """The proof over one service's database."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    async def locations(self, tenant_id: str = "", location_id: str = "") -> list[Where]:
        """All locations, a tenant's, or one (TypeIDs). ValueError when an id isn't one."""
        tenant = mapping.tenant_uuid(tenant_id) if tenant_id else None
        location = mapping.location_uuid(location_id) if location_id else None
        async with self._db.worker() as session:
            return [Where(str(row[0]), row[1]) for row in await proof.locations(session, tenant, location)]

    async def verify(self, where: Where) -> list[proof.Difference]:
        """What doesn't add up at a location, in one moment of it."""
        async with self._db.read(where.tenant, snapshot=True) as session:
            return await proof.differences(session, where.location, where.key.location_id)

    async def rebuild(self, where: Where, found: Sequence[proof.Difference]) -> int:
        """Sets the levels that were found wrong to the ledger; how many of them still were.

        The ledger is added up before anything is locked; under the locks only what was written since is added.
        """
        keys = sorted({difference.sku for difference in found if difference.is_level})
        if not keys:
            return 0
        async with self._db.read(where.tenant, snapshot=True) as session:
            seq, before = await proof.moved(session, where.location, keys)
        async with self._db.lane_connection() as connection:
            named = {of for of in before if of[1]}
            zeros = values.Counters()
            asked = commands.Rebuild(dict.fromkeys(keys, zeros), dict.fromkeys(named, zeros))
            plan = lane.needs([(where.key, asked)])
            loaded = await store.load(connection, where.tenant, plan, [], stock.NO_BUNDLES)
            since = await proof.moved_since(connection, where.tenant, where.location, seq, keys)
            place = lane.Place(where.key, loaded.places[where.location], loaded.bundles)
            moved = {of: _sum(before.get(of), since.get(of)) for of in (*before, *since)}
            sums = {key: _sum(*(units for (of, _), units in moved.items() if of == key)) for key in keys}
            place.apply(commands.Rebuild(sums, {of: units for of, units in moved.items() if of[1]}))
            place.finish()
            working = place.working
            if working.steps:
                writes = lane_writes.Writes(where.tenant, working.now)
                place.write(writes, [])
                await lane_writes.write(connection, where.tenant, writes, [], [], working.now)
        raised = [x.kind for step in working.steps for x in step.exceptions]
        return raised.count(values.ExceptionKind.LEVEL_REBUILT)


def _sum(*parts: values.Counters | None) -> values.Counters:
    return values.Counters(
        *map(sum, zip(values.Counters(), *(part or values.Counters() for part in parts), strict=True))
    )
