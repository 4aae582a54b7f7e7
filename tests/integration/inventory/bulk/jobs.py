"""Builders: jobs with their files, and the worker of one process."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.inventory import bulk_files, bulk_worker
from services.inventory.domain import bulk
from services.inventory.handlers import bulk as bulk_handlers
from services.kit import database, ids
from tests import worlds


class BulkWorld(worlds.StockWorld):
    """A tenant whose admin imports and exports."""

    def __init__(self, db: database.Database, folder: Path, **options: Any) -> None:
        super().__init__(db, **options)
        self.files = bulk_files.Store("", folder)
        self.jobs = bulk_handlers.BulkJobs(db, self.files)
        self.worker = bulk_worker.BulkWorker(db, self.files, self.handlers, lambda _tenant, _key: None)
        self.caller = dataclasses.replace(
            self.caller, roles=frozenset({"admin"}), scopes=frozenset({"catalog:write", "inventory:write"})
        )

    async def begin(
        self, data: bytes, kind: bulk.Kind = bulk.Kind.STOCK, form: bulk.Format = bulk.Format.CSV, parts: int = 1
    ) -> uuid.UUID:
        """Uploads a file in parts; the import is queued."""
        made = await self.jobs.create(bulk.IMPORT, kind, form, self.key())
        job_id = ids.decode("imp", made.id)
        size = -(-len(data) // parts)
        for number in range(parts):
            chunk = data[number * size : (number + 1) * size]
            await self.jobs.upload(job_id, number + 1, chunk, last=number == parts - 1)
        return job_id

    async def work(self) -> None:
        """Turns until there is nothing to do."""
        while await self.worker.turn():
            pass

    async def imported(self, data: bytes, kind: bulk.Kind = bulk.Kind.STOCK, **options: Any) -> bulk.Job:
        """An import, run to its end."""
        job_id = await self.begin(data, kind, **options)
        await self.work()
        return await self.jobs.get(bulk.IMPORT, job_id)

    async def exported(self, kind: bulk.Kind, form: bulk.Format = bulk.Format.CSV) -> bytes:
        """The file of an export."""
        made = await self.jobs.create(bulk.EXPORT, kind, form, self.key())
        await self.work()
        _, chunks = await self.jobs.download(ids.decode("exp", made.id))
        return b"".join([chunk async for chunk in chunks])

    async def backdate(self, job_id: uuid.UUID, column: str, days: int, state: bulk.State | None = None) -> None:
        """Lets time pass for a job."""
        query = f"UPDATE bulk_job SET {column} = now() - CAST(:ago AS interval), state = coalesce(:state, state) WHERE id = :id"
        async with self.db.transaction(self.tenant) as session:
            await session.execute(sa.text(query), {"ago": f"{days} days", "state": state, "id": job_id})

    async def told(self, job: bulk.Job) -> list[tuple[int, int, str]]:
        """(row, line, reason) of what an import refused."""
        return [(each.row, each.line, each.reason) for each in await self.jobs.refusals(job.id, 0, 1000)]


def stock_csv(location_id: str, *changes: tuple[str, int], column: str = "delta") -> bytes:
    """A file of changes of (sku, quantity)."""
    lines = [f"location,sku,{column}", *(f"{location_id},{sku},{quantity}" for sku, quantity in changes)]
    return ("\n".join(lines) + "\n").encode()
