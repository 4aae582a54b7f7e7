"""A stream of stock updates: message by message, so that memory and the lanes' queues stay bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from services.inventory.handlers import stock as handlers
from services.inventory.mapping import bulk_lines
from services.inventory.mapping import stock as mapping
from services.kit import errors, idempotency, principal, validation
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

IN_FLIGHT: Final = 64  # lines of a stream that wait at once: half a lane's batch, so that others get in between
METHOD: Final = "StreamStockUpdates/line"


async def answers(
    stock: handlers.StockHandlers, requests: AsyncIterator[pb.StreamStockUpdatesRequest]
) -> AsyncIterator[pb.StreamStockUpdatesResponse]:
    """An answer a message. The next is not read before: what the caller sends ahead waits in its own connection.

    INVALID_REQUEST when the first message has no key, or a later one says what belongs to the whole.
    """
    key, done = "", 0
    async for request in requests:
        if not key:
            key, done = request.request_id, request.skip_lines
            if not key:
                raise validation.invalid("request_id", "is needed in the first message")
        elif request.skip_lines or request.request_id not in ("", key):
            raise validation.invalid("request_id", "it and skip_lines are said in the first message only")
        outcomes = await _apply(stock, key, done, request.lines)
        done += len(request.lines)
        yield bulk_lines.stream_results(outcomes, done)


async def _apply(
    stock: handlers.StockHandlers, key: str, first: int, lines: Sequence[pb.BulkUpdateStockRequest.Line]
) -> list[bulk_lines.BulkResult]:
    """Applies each line by itself; lines of one SKU at a location in their order."""
    limit, caller = asyncio.Semaphore(IN_FLIGHT), principal.current()
    outcomes = [bulk_lines.BulkResult()] * len(lines)

    async def apply(index: int, message: pb.BulkUpdateStockRequest.Line) -> bulk_lines.BulkResult:
        validation.check(message)
        line = bulk_lines.bulk_line(message, caller)
        tenant = mapping.tenant_uuid(caller.tenant_id)
        line_key = idempotency.Key(tenant, caller.subject, METHOD, f"{key}:{first + index}", line.fingerprint)
        return await stock.apply_line(line, line_key)

    async def run(indexes: Sequence[int]) -> None:
        for index in indexes:
            async with limit:
                try:
                    outcomes[index] = await apply(index, lines[index])
                except errors.Error as refusal:
                    outcomes[index] = bulk_lines.refused_line(refusal)

    groups: dict[tuple[str, str], list[int]] = {}
    for index, line in enumerate(lines):
        groups.setdefault((line.location_id, line.sku.lower()), []).append(index)
    async with asyncio.TaskGroup() as tasks:
        for indexes in groups.values():
            tasks.create_task(run(indexes))
    return outcomes
