"""Promises of StreamStockUpdates, on a real database; tests/e2e/test_bulk_data.py breaks the stream off and goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.inventory.handlers import stock as handlers
from services.inventory.handlers import stock_stream
from services.kit import errors
from tests import worlds
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

Line = pb.BulkUpdateStockRequest.Line


class Counting(handlers.StockHandlers):
    """The same handlers, which note how many writes wait at once."""

    waiting = most = 0

    async def write(self, *given: Any) -> Any:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            return await super().write(*given)
        finally:
            self.waiting -= 1


def counting(world: worlds.StockWorld) -> Counting:
    return Counting(world.db, world.lanes, world.reader)


async def test_few_lines_wait_at_once_and_no_message_is_read_ahead(world: worlds.StockWorld) -> None:
    skus = [f"s{n}" for n in range(300)]
    location_id, stock, read = await world.location(skus), counting(world), 0

    async def requests() -> AsyncIterator[pb.StreamStockUpdatesRequest]:
        nonlocal read
        for _ in range(3):
            read += 1
            lines = [Line(location_id=location_id, sku=sku, delta=1) for sku in skus]
            yield pb.StreamStockUpdatesRequest(request_id="whole", lines=lines)

    answered = []
    async for answer in stock_stream.answers(stock, requests()):
        answered.append(answer.lines_done)
        assert read == len(answered)

    assert answered == [300, 600, 900]
    assert 1 < stock.most <= stock_stream.IN_FLIGHT
    assert {(await world.level(location_id, sku)).on_hand for sku in skus} == {3}


async def test_a_line_that_says_something_else_than_before_is_refused_alone(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])

    async def send(*deltas: int) -> list[pb.StreamStockUpdatesResponse.Result]:
        async def requests() -> AsyncIterator[pb.StreamStockUpdatesRequest]:
            lines = [Line(location_id=location_id, sku="a", delta=delta) for delta in deltas]
            yield pb.StreamStockUpdatesRequest(request_id="whole", lines=lines)

        [answer] = [each async for each in stock_stream.answers(world.handlers, requests())]
        return list(answer.results)

    await send(1, 2, 3)
    again = await send(1, 5, 3)

    assert [result.HasField("error") for result in again] == [False, True, False]
    assert (await world.level(location_id, "a")).on_hand == 6


async def test_a_stream_without_a_key_is_refused(world: worlds.StockWorld) -> None:
    async def requests() -> AsyncIterator[pb.StreamStockUpdatesRequest]:
        yield pb.StreamStockUpdatesRequest()

    with pytest.raises(errors.InvalidRequest):
        await anext(stock_stream.answers(world.handlers, requests()))
