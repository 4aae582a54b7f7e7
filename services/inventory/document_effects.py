"""Brings what documents decided into the stock: each step exactly once, in the document's order, whoever is killed.

A document and its step are kept in one transaction. The step is then done by the lane of the location, under a key of
its own, and noted as done in a second transaction. A process that ends in between leaves a step that another finds when
it is due, and does again: the lane answers what it answered before, or, when it may have forgotten, the ledger does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import prometheus_client
import structlog

from services.inventory.domain import commands, cycle_counts, purchase_orders, transfers
from services.inventory.handlers import stock as handlers
from services.inventory.lane import Submission
from services.inventory.mapping import stock as mapping
from services.inventory.store import cycle_counts as count_store
from services.inventory.store import document_effects as store
from services.inventory.store import purchase_orders as order_store
from services.inventory.store import transfers as transfer_store
from services.kit import database, idempotency, ids, leases, telemetry
from tillmesh.inventory.v1 import document_effect_pb2

log = structlog.get_logger()

LEASE_NAME: Final = "documents"
EVERY_SECONDS: Final = 2.0
DOCUMENTS_MAX: Final = 200
CONCURRENCY: Final = 8
RESUMED = prometheus_client.Counter(
    "tillmesh_document_effects_resumed_total", "Documents whose step into the stock was left over."
)
Result = document_effect_pb2.DocumentEffectResult
Settle = Callable[[database.WriteSession, uuid.UUID, store.Applied], Awaitable[None]]
"""Notes in a document that a step of it is done."""
SETTLE: Mapping[str, Settle] = {
    purchase_orders.REF_TYPE: order_store.settle,
    cycle_counts.REF_TYPE: count_store.settle,
    transfers.REF_TYPE: transfer_store.settle,
}


class Effects:
    """Does the steps of documents."""

    def __init__(self, db: database.Database, stock_lanes: handlers.StockLanes) -> None:
        self._db = db
        self._lanes = stock_lanes

    async def attempt(self, tenant_id: str, document_id: uuid.UUID) -> bool:
        """finish, but what gets in the way is only logged: the document is kept, and its steps will be done."""
        try:
            await self.finish(tenant_id, document_id)
        except Exception as error:  # noqa: BLE001  # a full lane, a database that restarts, no time left
            log.warning("document.postponed", document=str(document_id), error=type(error).__name__)
            return False
        return True

    async def finish(self, tenant_id: str, document_id: uuid.UUID) -> None:
        """Does what is left of a document's steps. Several may do so at once. Raises what gets in the way."""
        tenant = mapping.tenant_uuid(tenant_id)
        while (effect := await self._next(tenant, document_id)) is not None:
            result = await self._remembered(tenant, effect) or await self._apply(tenant_id, effect)
            async with self._db.transaction(tenant) as session:
                if await store.settle(session, effect, result.seq):
                    await SETTLE[effect.ref_type](session, document_id, _applied(effect, result))

    async def _next(self, tenant: str, document_id: uuid.UUID) -> store.Effect | None:
        """The next step. An arrival is told what its transfer has on the road, now that all before it is done."""
        async with self._db.read(tenant) as session:
            effect = await store.next_pending(session, document_id)
            if effect is None or not isinstance(command := effect.command, commands.MoveInTransit):
                return effect
            lots = await transfer_store.lots_on_the_road(session, document_id)
            return dataclasses.replace(effect, command=dataclasses.replace(command, lots=lots))

    async def _remembered(self, tenant: str, effect: store.Effect) -> Result | None:
        """What the ledger knows of a step that is too old for the lane's memory. What is expected may be set twice."""
        if not effect.old or isinstance(effect.command, commands.ExpectStock):
            return None
        async with self._db.read(tenant) as session:
            found = await store.evidence(session, effect)
        if found is None:
            return None
        variances = effect.command.lines if isinstance(effect.command, commands.ApplyVariances) else ()
        superseded = [sku for sku, *_ in variances if sku not in found.skus]
        return _result(found.seq, commands.Done(superseded, found.lots))

    async def _apply(self, tenant_id: str, effect: store.Effect) -> Result:
        lane_key = handlers.lane_key(tenant_id, mapping.location_text(effect.location))
        key = idempotency.Key(lane_key.tenant, "svc:inventory", "DocumentEffect", f"doc:{effect.id}", b"")
        elsewhere = []
        if (second := effect.elsewhere) is not None:
            there = handlers.lane_key(tenant_id, mapping.location_text(second.location))
            elsewhere.append((there, second.command))
        submission = Submission(
            effect.command, key, Result, _answer, telemetry.traceparent(), elsewhere=tuple(elsewhere)
        )
        return await self._lanes.submit(lane_key, submission)  # type: ignore[return-value]  # the submission says so


def _answer(working: object, done: commands.Done) -> Result:
    return _result(working.seq, done)  # type: ignore[attr-defined]  # a stock.Stock


def _result(seq: int, done: commands.Done) -> Result:
    lots = [
        Result.LotMove(
            sku=move.sku,
            lot=move.lot,
            from_state=move.source,
            to_state=move.target,
            quantity=move.quantity,
            reason=move.reason,
        )
        for move in done.lots
    ]
    return Result(seq=seq, superseded_skus=done.superseded, lots=lots)


def _applied(effect: store.Effect, result: Result) -> store.Applied:
    lots = [
        commands.LotMove(move.sku, move.lot, move.from_state, move.to_state, move.quantity, move.reason)
        for move in result.lots
    ]
    return store.Applied(effect.number, result.seq, result.superseded_skus, lots)


class Resumer:
    """Does the steps that a crash, or a busy moment, left over. In one process at a time."""

    def __init__(self, db: database.Database, effects: Effects) -> None:
        self._db = db
        self._effects = effects

    async def run(self) -> None:
        """Looks for steps that are due, until cancelled."""

        async def job(_lease: leases.Lease) -> None:
            while await self.resume() == DOCUMENTS_MAX:
                pass  # what was claimed isn't due again for a while, so this ends

        await leases.run_alone(self._db, LEASE_NAME, job, every_seconds=EVERY_SECONDS)

    async def resume(self) -> int:
        """Does what is due now, up to DOCUMENTS_MAX steps; answers how many it found."""
        async with self._db.worker() as session:
            rows = await store.claim_due(session, DOCUMENTS_MAX)
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one(tenant: uuid.UUID, document_id: uuid.UUID) -> None:
            async with slots:
                if await self._effects.attempt(ids.encode("ten", tenant), document_id):
                    RESUMED.inc()

        await asyncio.gather(*(one(*document) for document in {tuple(row) for row in rows}))
        return len(rows)
