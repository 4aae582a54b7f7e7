"""Runs imports and exports: one process of the service at a time, in turns, so that no job waits for another's end.

A row has a key that follows from its job and number, so it is applied once however often a turn is repeated; a chunk is
counted in one transaction that names the position it began at. A process that dies leaves both as they are, and the
next holder of the lease goes on behind the last chunk that was counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import functools
import itertools
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import IO, Final

import structlog

from services.inventory import bulk_files
from services.inventory.domain import bulk
from services.inventory.domain import catalog_codes as codes
from services.inventory.handlers import catalog as catalog_handlers
from services.inventory.handlers import catalog_import
from services.inventory.handlers import stock as handlers
from services.inventory.mapping import bulk as mapping
from services.inventory.mapping import bulk_lines
from services.inventory.mapping import catalog_requests as catalog_mapping
from services.inventory.mapping import stock as stock_mapping
from services.inventory.store import bulk as store
from services.inventory.store import catalog_products as product_store
from services.kit import clock, database, errors, idempotency, ids, leases, principal, status

log = structlog.get_logger()

LEASE: Final = "bulk"
EVERY_SECONDS: Final = 1.0
TURN_SECONDS: Final = 20.0
CHUNK_ROWS: Final = 500
IN_FLIGHT: Final = 64  # rows of stock at once: half a lane's batch, so that tills get in between
CONNECTIONS: Final = 4  # products, and rows that name a lot: each holds one of the pool that callers use too
TRIES_MAX: Final = 6
EXPORT_ROWS: Final = 500
COUNT_ROWS: Final = 10_000  # of an export: how often its progress is written
KEEP_DAYS: Final = 7
# Rows are remembered for 72 h: a chunk that was interrupted longer ago can't be repeated safely.
INTERRUPTED_MAX: Final = dt.timedelta(hours=48)
TRANSIENT: Final = frozenset({"OVERLOADED", "UNAVAILABLE", "CONFLICT", "OUTCOME_UNKNOWN", "DEADLINE_EXCEEDED"})
SETBACK_SECONDS: Final = 15.0
Apply = Callable[[bulk.Row], Awaitable[None]]
Groups = Mapping[str, Sequence[tuple[bulk.Row, Apply]]]


class Postponed(Exception):
    """A part that is needed doesn't answer: the job goes on in a later turn."""


class BulkWorker:
    """The jobs of all tenants."""

    def __init__(
        self,
        db: database.Database,
        files: bulk_files.Store,
        stock: handlers.StockHandlers,
        ping: catalog_handlers.Ping,
    ) -> None:
        self._db = db
        self._files = files
        self._stock = stock
        self._writer = catalog_handlers.Writer(db, ping)
        self._setbacks: dict[uuid.UUID, float] = {}
        self._connections = asyncio.Semaphore(CONNECTIONS)

    async def run(self, *, ttl_seconds: float = leases.TTL_SECONDS) -> None:
        """Works until cancelled, while this process holds the lease."""

        async def job(_lease: leases.Lease) -> None:
            while await self.turn():
                pass
            await self.forget_aged()

        await leases.run_alone(self._db, LEASE, job, every_seconds=EVERY_SECONDS, ttl_seconds=ttl_seconds)

    async def turn(self) -> bool:
        """Works on the job whose turn it is; False when there is none."""
        now = time.monotonic()
        self._setbacks = {job_id: until for job_id, until in self._setbacks.items() if until > now}
        async with self._db.worker() as session:
            job = await store.next_job(session, self._setbacks)
        if job is None:
            return False
        try:
            await asyncio.create_task(
                self._work(job), name=f"bulk {job.id}"
            )  # a task of its own: its caller is another
        except bulk.BadFile as problem:
            await self._end(job, bulk.State.FAILED, message=str(problem)[:500])
        except FileNotFoundError:
            await self._end(job, bulk.State.FAILED, message="its file is no longer there")
        except Exception as error:  # the job stays where it is: others go first, then it is tried again
            self._setbacks[job.id] = now + SETBACK_SECONDS
            log.warning("bulk.postponed", job=str(job.id), error=type(error).__name__, exc_info=error)
        return True

    async def _work(self, job: bulk.Job) -> None:
        principal.enter(_caller(job))
        if job.state is bulk.State.RUNNING and clock.now() - job.updated_at > INTERRUPTED_MAX:
            raise bulk.BadFile("it was interrupted for longer than its rows are remembered; import the rest anew")
        if job.direction == bulk.EXPORT:
            await self._export(job)
        else:
            await self._import(job)

    async def _end(self, job: bulk.Job, state: bulk.State, *, message: str = "", **file: int) -> None:
        async with self._db.transaction(job.tenant) as session:
            ended = await store.set_state(session, job, state, message=message, **file)
        if ended is not None:
            log.info("bulk.ended", job=str(job.id), state=state.name, rows=ended.position, refused=ended.refused)

    async def forget_aged(self) -> None:
        """Removes jobs, and files, that are kept no longer."""
        async with self._db.worker() as session:
            aged = await store.aged(session, KEEP_DAYS)
        for job in aged:
            parts = [bulk_files.part_name(job, number + 1) for number in range(job.parts or bulk.PARTS_MAX)]
            await self._files.delete([bulk_files.file_name(job)] if job.direction == bulk.EXPORT else parts)
            async with self._db.worker() as session:
                await store.forget(session, job)

    # --- imports ---

    async def _import(self, job: bulk.Job) -> None:
        until = time.monotonic() + TURN_SECONDS
        parts = [bulk_files.part_name(job, number + 1) for number in range(job.parts)]
        async with self._files.on_disk(parts) as file:
            if file.seek(0, 2) != job.size_bytes:
                raise bulk.BadFile("a part was replaced while the import was queued; import the rest anew")
            file.seek(0)
            with contextlib.closing(bulk_files.read(file, job.kind, job.format, job.position)) as rows:
                while time.monotonic() < until:
                    chunk, problem = await asyncio.to_thread(_take, rows)
                    if chunk:
                        counted = await self._chunk(job, chunk)
                        if counted is None:
                            return  # stopped, or another process runs it
                        job = counted
                    if problem is not None:
                        raise problem
                    if not chunk:
                        await self._end(job, job.outcome)
                        return

    async def _chunk(self, job: bulk.Job, chunk: Sequence[bulk.Row]) -> bulk.Job | None:
        refusals: list[bulk.Refusal] = []
        groups = await self._groups(job, chunk)
        at_once = CONNECTIONS if job.kind is bulk.Kind.PRODUCTS else IN_FLIGHT
        limit = asyncio.Semaphore(at_once)

        async def run(rows: Sequence[tuple[bulk.Row, Apply]]) -> None:
            for row, apply in rows:  # what concerns the same SKU happens in the order of the file
                async with limit:
                    try:
                        await _insist(apply, row)
                    except errors.Error as refusal:
                        refusals.append(mapping.refused(row, refusal))

        async with asyncio.TaskGroup() as tasks:
            for rows in groups.values():
                tasks.create_task(run(rows))
        refusals.sort(key=lambda each: each.row)
        async with self._db.transaction(job.tenant) as session:
            return await store.advance(session, job, chunk[-1].number, len(chunk) - len(refusals), refusals)

    async def _groups(self, job: bulk.Job, chunk: Sequence[bulk.Row]) -> Groups:
        """The rows of a chunk and what to do with each, by what must be kept in order."""
        groups: dict[str, list[tuple[bulk.Row, Apply]]] = {}
        if job.kind is bulk.Kind.PRODUCTS:
            for row in chunk:
                code = row.texts.get("product_code") or row.texts.get("sku", "")
                groups.setdefault(codes.sku_key(code), []).append((row, functools.partial(self._put_product, job)))
            return groups
        locations = await self._locations(job, chunk)
        for row in chunk:
            apply = functools.partial(self._put_stock, job, locations)
            groups.setdefault(codes.sku_key(row.texts.get("sku", "")), []).append((row, apply))
        return groups

    async def _locations(self, job: bulk.Job, chunk: Sequence[bulk.Row]) -> Mapping[str, str]:
        """Ids of the locations that the rows name by code."""
        named = {codes.sku_key(row.texts.get("location", "").strip()) for row in chunk}
        async with self._db.read(job.tenant) as session:
            found = await store.locations_by_code(session, sorted(key for key in named if "\0" not in key))
        return {key: stock_mapping.location_text(value) for key, value in found.items()}

    async def _put_stock(self, job: bulk.Job, locations: Mapping[str, str], row: bulk.Row) -> None:
        message, caller = mapping.stock_line(row, locations), principal.current()
        caller.require_location(message.location_id)
        line = bulk_lines.bulk_line(message, caller, by_lot=bulk.BY_LOT in row.texts)
        key = _key(job, row, line.fingerprint)
        async with self._connections if line.lot is not None else contextlib.nullcontext():
            await self._stock.apply_line(line, key)

    async def _put_product(self, job: bulk.Job, row: bulk.Row) -> None:
        request, prices = mapping.product_request(row)
        given = {mapping.PRODUCT_FIELDS[name] for name in row.texts if name in mapping.PRODUCT_FIELDS}
        wanted = catalog_import.Row(
            catalog_mapping.product_draft(request.product),
            given,
            {mapping.VARIANT_FIELDS[name] for name in row.texts if name in mapping.VARIANT_FIELDS},
            [catalog_mapping.price_draft(price) for price in prices],
        )
        key = _key(job, row, idempotency.fingerprint(request))
        tenant_id = principal.current().tenant_id
        write: catalog_handlers.Write[None, mapping.Job] = catalog_handlers.Write(
            tenant_id, key, mapping.Job, lambda _: mapping.Job()
        )
        await catalog_import.put(self._writer, write, wanted)

    # --- exports ---

    async def _export(self, job: bulk.Job) -> None:
        """Writes the whole file in one turn, as of one moment; repeated from the start by another process."""
        begun = await self._count(job, 0)
        if begun is None:
            return
        with tempfile.TemporaryFile() as file:
            done = await self._write(begun, file)
            if done is None:
                return
            size = file.seek(0, 2)
            file.seek(0)
            await self._files.put_file(bulk_files.file_name(job), file)
        await self._end(done, bulk.State.SUCCEEDED, size_bytes=size)

    async def _write(self, job: bulk.Job, file: IO[bytes]) -> bulk.Job | None:
        """Fills the file; None when the job was stopped."""
        writer = bulk_files.writer(file, job.kind, job.format)
        rows_written, counted = 0, job
        async with self._db.read(job.tenant, snapshot=True) as session:
            batches = _stock_rows(session, job) if job.kind is bulk.Kind.STOCK else _product_rows(session)
            async for rows in batches:
                writer.write(rows)
                rows_written += len(rows)
                if rows_written - counted.position >= COUNT_ROWS:
                    still = await self._count(counted, rows_written)
                    if still is None:
                        return None
                    counted = still
        writer.close()
        return await self._count(counted, rows_written)

    async def _count(self, job: bulk.Job, rows: int) -> bulk.Job | None:
        async with self._db.transaction(job.tenant) as session:
            return await store.advance(session, job, rows, 0, ())


def _caller(job: bulk.Job) -> principal.Principal:
    """Who asked for the job, with no more than was theirs then."""
    return principal.Principal(
        subject=job.subject,
        tenant_id=ids.encode("ten", uuid.UUID(job.tenant)),
        roles=frozenset(),
        scopes=frozenset(),
        locations=frozenset(job.locations),
        expires_at=float("inf"),
        actor=job.actor,
    )


def _key(job: bulk.Job, row: bulk.Row, fingerprint: bytes) -> idempotency.Key:
    return idempotency.Key(job.tenant, job.subject, "Import/row", f"{job.id}:{row.number}", fingerprint)


def _take(rows: Iterator[bulk.Row]) -> tuple[list[bulk.Row], bulk.BadFile | None]:
    """The next chunk, and what keeps the file from being read behind it."""
    chunk: list[bulk.Row] = []
    try:
        chunk.extend(itertools.islice(rows, CHUNK_ROWS))
    except bulk.BadFile as problem:
        return chunk, problem
    return chunk, None


async def _insist(apply: Apply, row: bulk.Row) -> None:
    """Applies a row; again while what refuses it will pass. Postponed when it doesn't."""
    for attempt in range(TRIES_MAX):
        try:
            await apply(row)
        except Exception as error:  # a defect refuses its row and no other
            known = status.from_exception(error, method="Import")
            if known.reason not in TRANSIENT:
                raise known from error
            await asyncio.sleep(0.05 * 4**attempt if attempt < TRIES_MAX - 1 else 0)
        else:
            return
    raise Postponed


async def _stock_rows(session: database.ReadSession, job: bulk.Job) -> AsyncIterator[list[dict[str, str]]]:
    only = None if "*" in job.locations else [stock_mapping.location_uuid(text) for text in job.locations]
    only = only if job.location_id is None else [job.location_id]
    async for levels in store.levels(session, only, EXPORT_ROWS):
        lots = await store.lots_of(session, levels)
        yield [
            row
            for level in levels
            for row in mapping.stock_rows(level, lots.get((level.location_id, level.sku_key), ()))
        ]


async def _product_rows(session: database.ReadSession) -> AsyncIterator[list[dict[str, str]]]:
    after: uuid.UUID | None = None
    while page := await product_store.page(session, category="", brand="", having=None, after=after, limit=EXPORT_ROWS):
        after = page[-1].id
        keys = [variant.sku_key for product in page for variant in product.variants]
        prices = await store.general_prices(session, keys)
        yield [row for product in page for row in mapping.product_rows(product, prices)]
