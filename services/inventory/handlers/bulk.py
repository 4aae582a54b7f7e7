"""Use cases of imports and exports: jobs are made, fed, read and stopped here; bulk_worker.py runs them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping

from services.inventory import bulk_files
from services.inventory.domain import bulk
from services.inventory.mapping import bulk as mapping
from services.inventory.mapping import stock as stock_mapping
from services.inventory.store import bulk as store
from services.inventory.store import catalog_prices as price_store
from services.kit import database, errors, idempotency, ids, principal

RESOURCE: Mapping[str, str] = {bulk.IMPORT: "import", bulk.EXPORT: "export"}
PRODUCTS_SCOPE = "catalog:write"
REFUSALS_A_READ = 1000


class BulkJobs:
    """Jobs of the tenants of the callers."""

    def __init__(self, db: database.Database, files: bulk_files.Store) -> None:
        self._db = db
        self._files = files

    async def create(
        self,
        direction: str,
        kind: bulk.Kind,
        form: bulk.Format,
        key: idempotency.Key,
        location: uuid.UUID | None = None,
    ) -> mapping.Job:
        """Begins a job. ROLE_REQUIRED, SCOPE_REQUIRED (products); OVERLOADED; NOT_FOUND (location)."""
        caller = principal.current()
        _admit(caller, kind)

        async def effect(session: database.WriteSession) -> mapping.Job:
            if location is not None and not await price_store.has_location(session, location):
                raise errors.NotFound("location")
            if await store.count_open(session) >= bulk.OPEN_MAX:
                raise errors.Overloaded(f"{bulk.OPEN_MAX} imports and exports have not ended yet")
            state = bulk.State.AWAITING_FILE if direction == bulk.IMPORT else bulk.State.QUEUED
            new = {
                "id": ids.new_uuid(),
                "direction": direction,
                "kind": int(kind),
                "format": int(form),
                "state": int(state),
                "location_id": location,
                "subject": caller.subject,
                "actor": caller.actor or caller.subject,
                "locations": sorted(caller.locations),
            }
            return mapping.job_to_proto(await store.insert(session, new))

        return await idempotency.run(self._db, key, mapping.Job, effect)

    async def upload(self, job_id: uuid.UUID, part: int, data: bytes, *, last: bool) -> bulk.Job:
        """Keeps a part, and queues the import with the last. NOT_FOUND, JOB_ENDED, IMPORT_INCOMPLETE."""
        job = await self.get(bulk.IMPORT, job_id)
        if job.state is not bulk.State.AWAITING_FILE:
            if last and part == job.parts:
                return job  # the answer to it was lost
            raise bulk.JobEnded(metadata={"state": job.state.name})
        await self._files.put(bulk_files.part_name(job, part), data)
        if not last:
            return job
        size = await self._size(job, part)
        async with self._db.transaction(job.tenant) as session:
            locked = await store.find(session, job.id, bulk.IMPORT, lock=True)
            if locked is None or locked.state is not bulk.State.AWAITING_FILE:
                raise bulk.JobEnded(metadata={"state": job.state.name if locked is None else locked.state.name})
            queued = await store.set_state(session, locked, bulk.State.QUEUED, parts=part, size_bytes=size)
        return queued or locked

    async def _size(self, job: bulk.Job, parts: int) -> int:
        total = 0
        for number in range(1, parts + 1):
            size = await self._files.size(bulk_files.part_name(job, number))
            if size is None:
                raise bulk.ImportIncomplete(metadata={"part": str(number)})
            total += size
        return total

    async def get(self, direction: str, job_id: uuid.UUID) -> bulk.Job:
        """A job that the caller may see. NOT_FOUND, LOCATION_SCOPE, ROLE_REQUIRED, SCOPE_REQUIRED."""
        caller = principal.current()
        async with self._db.read(stock_mapping.tenant_uuid(caller.tenant_id)) as session:
            job = await store.find(session, job_id, direction)
        if job is None:
            raise errors.NotFound(RESOURCE[direction])
        if not caller.all_locations and caller.subject != job.subject:
            raise errors.LocationScope
        _admit(caller, job.kind)
        return job

    async def page(self, direction: str, after: uuid.UUID | None, limit: int) -> list[bulk.Job]:
        """Jobs, newest first: all, or the caller's own where the token doesn't cover all locations."""
        caller = principal.current()
        subject = None if caller.all_locations else caller.subject
        async with self._db.read(stock_mapping.tenant_uuid(caller.tenant_id)) as session:
            return await store.page(session, direction, subject, after, limit)

    async def cancel(self, direction: str, job_id: uuid.UUID) -> bulk.Job:
        """Stops a job. NOT_FOUND, JOB_ENDED."""
        job = await self.get(direction, job_id)
        async with self._db.transaction(job.tenant) as session:
            stopped = await store.set_state(session, job, bulk.State.CANCELLED)
        now = stopped or await self.get(direction, job_id)
        if now.state is not bulk.State.CANCELLED:
            raise bulk.JobEnded(metadata={"state": now.state.name})
        return now

    async def refusals(self, job_id: uuid.UUID, after: int, limit: int) -> list[bulk.Refusal]:
        """Refused rows of an import behind row `after`. NOT_FOUND."""
        job = await self.get(bulk.IMPORT, job_id)
        async with self._db.read(job.tenant) as session:
            return await store.refusals(session, job_id, after, limit)

    async def all_refusals(self, job_id: uuid.UUID) -> AsyncIterator[list[bulk.Refusal]]:
        """All refused rows of an import, in batches. NOT_FOUND."""
        after = 0
        while batch := await self.refusals(job_id, after, REFUSALS_A_READ):
            yield batch
            after = batch[-1].row

    async def download(self, job_id: uuid.UUID) -> tuple[bulk.Job, AsyncIterator[bytes]]:
        """The file of an export. NOT_FOUND, JOB_NOT_READY."""
        job = await self.get(bulk.EXPORT, job_id)
        name = bulk_files.file_name(job)
        if job.state is not bulk.State.SUCCEEDED or await self._files.size(name) is None:
            raise bulk.JobNotReady(metadata={"state": job.state.name})
        return job, self._files.chunks(name)


def _admit(caller: principal.Principal, kind: bulk.Kind) -> None:
    """Who may work with products: the same as with the rpcs of the catalogue."""
    if kind is not bulk.Kind.PRODUCTS:
        return
    if "admin" not in caller.roles:
        raise errors.RoleRequired
    if PRODUCTS_SCOPE not in caller.scopes:
        raise errors.ScopeRequired(metadata={"scope": PRODUCTS_SCOPE})
