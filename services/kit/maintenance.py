"""Hourly upkeep of a service's database: partitions made ahead, old ones dropped. What is kept how long: `schema`."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
import structlog

from services.kit import database, leases

log = structlog.get_logger()

LEASE_NAME: Final = "maintenance"
EVERY_SECONDS: Final = 3600.0


async def maintain(db: database.Database) -> int:
    """Makes partitions that are missing and drops what has aged. Returns how many were made."""
    async with db.worker() as session:
        # A sale holds locks for milliseconds; an upkeep that waits longer would make all later sales wait behind it.
        await session.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
        return int((await session.execute(sa.text("SELECT maintain_partitions()"))).scalar_one())


async def run(db: database.Database) -> None:
    """Maintains now and every hour, in one process of the service at a time, until cancelled."""

    async def job(_lease: leases.Lease) -> None:
        made = await maintain(db)
        if made:
            log.info("partitions.made", count=made)

    await leases.run_alone(db, LEASE_NAME, job, every_seconds=EVERY_SECONDS)
