"""Ends holds, and puts lots aside, of SKUs that nobody asks for: within a second, by the lane: each is a movement."""

from __future__ import annotations

import asyncio

import structlog

from services.inventory.domain import commands
from services.inventory.handlers import settling_lots
from services.inventory.handlers import stock as handlers
from services.inventory.lane import LaneKey, Submission
from services.inventory.mapping import stock as mapping
from services.inventory.store import stock as store
from services.kit import database, errors, idempotency, ids

log = structlog.get_logger()

PERIOD_SECONDS = 0.5  # a hold ends on a whole second and is gone at most so much later
BUCKETS_MAX = 1000  # and as many lots that are over, and that are recalled
NOT_REMEMBERED = idempotency.Key("", "", "", "", b"")


class ExpirySweeper:
    """One task a process. Several processes may sweep: the second finds nothing left."""

    def __init__(self, db: database.Database, stock_lanes: handlers.StockLanes) -> None:
        self._db = db
        self._lanes = stock_lanes

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            try:
                full = await self.sweep() >= BUCKETS_MAX
            except Exception as error:  # noqa: BLE001  # a database that restarts: sweep again when it is back
                log.warning("expiry.sweep_failed", error=type(error).__name__)
                full = False
            await asyncio.sleep(0 if full else PERIOD_SECONDS)

    async def sweep(self) -> int:
        """Ends what is due now, up to BUCKETS_MAX buckets; answers how many SKUs it sent on their way."""
        await settling_lots.settle_left(self._db)
        async with self._db.worker() as session:
            rows = await store.due(session, BUCKETS_MAX)
        await asyncio.gather(*(self._expire(row) for row in rows))
        return sum(len(row.keys) for row in rows)

    async def _expire(self, row: object) -> None:
        tenant_id = ids.encode("ten", row.tenant_id)  # type: ignore[attr-defined]
        location_id = mapping.location_text(row.location_id)  # type: ignore[attr-defined]
        key = LaneKey(str(row.tenant_id), row.location_id, tenant_id, location_id)  # type: ignore[attr-defined]
        command = commands.Expire(tuple(row.keys))  # type: ignore[attr-defined]
        try:
            await self._lanes.submit(key, Submission(command, NOT_REMEMBERED, mapping.Counted, _nothing))
        except errors.Error as refusal:
            log.info("expiry.postponed", location=location_id, reason=refusal.reason)


def _nothing(_working: object, _result: object) -> mapping.Counted:
    return mapping.Counted()
