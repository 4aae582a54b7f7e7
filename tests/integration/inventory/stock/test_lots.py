"""Stock by lot through the lane: which lot goes first, what is told of it, and that it all adds up."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator

import pytest

from services.inventory.domain import levels as values
from services.inventory.domain import lots, stock_errors
from services.inventory.handlers import stock_stream
from services.inventory.store import lane as lane_store
from services.kit import errors
from tests import worlds
from tests.integration.inventory.stock import shelf as shelves
from tests.integration.inventory.stock.shelf import SKU, Shelf, day, parts
from tillmesh.inventory.v1 import inventory_service_pb2 as stock_rpc
from tillmesh.inventory.v1 import lots_pb2
from tillmesh.inventory.v1 import lots_service_pb2 as pb


@pytest.fixture
def shelf(world: worlds.StockWorld) -> Shelf:
    return Shelf(world)


async def test_units_come_with_a_lot_that_is_made_when_it_is_new(shelf: Shelf) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "L1", expires_on=day(9))
    await shelf.bring(location_id, 2, "L1")  # what is known needn't be said again
    await shelf.bring(location_id, 4)
    with pytest.raises(lots.LotMismatch):
        await shelf.bring(location_id, 1, "L1", expires_on=day(8))

    assert await shelf.on_hand(location_id) == {"L1": {"on_hand": 7, "free": 7}, "": {"on_hand": 4, "free": 4}}
    found = await shelf.lots.ListLots(pb.ListLotsRequest(sku="MILK"), None)  # type: ignore[arg-type]
    assert [(lot.code, lot.sku, lot.expires_on, lot.version) for lot in found.lots] == [("L1", SKU, day(9), 1)]
    assert await shelf.proof() == []


async def test_a_sku_without_a_policy_has_no_lots(shelf: Shelf, world: worlds.StockWorld) -> None:
    location_id = await world.location([SKU])
    with pytest.raises(lots.LotsNotKept):
        await shelf.bring(location_id, 1, "L1")
    with pytest.raises(lots.LotsNotKept):
        await shelf.lot("L1")
    with pytest.raises(stock_errors.SkuNotFound):
        await shelf.lots.CreateLot(pb.CreateLotRequest(sku="x", lot=lots_pb2.LotInput(code="L")), None)  # type: ignore[arg-type]


async def test_the_code_of_a_lot_is_taken_once(shelf: Shelf) -> None:
    await shelf.open()
    made = await shelf.lot("L1", expires_on=day(2))
    with pytest.raises(errors.AlreadyExists):
        await shelf.lot("L1")
    assert await shelf.lots.GetLot(pb.GetLotRequest(lot_id=made.id), None) == made  # type: ignore[arg-type]


async def test_a_scanned_code_must_be_of_the_sku(shelf: Shelf) -> None:
    location_id = await shelf.open()
    lot = lots_pb2.LotInput(scanned="(01)09506000134352(10)L1")
    request = stock_rpc.AdjustStockRequest(location_id=location_id, sku=SKU, delta=1, reason=1, lot=lot)
    with pytest.raises(errors.InvalidRequest):
        await shelf.stock.AdjustStock(request, None)  # type: ignore[arg-type]


async def test_the_first_to_expire_goes_first_and_a_channel_gets_what_lives_long_enough(shelf: Shelf) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 3, "LATE", expires_on=day(30))
    await shelf.bring(location_id, 3, "SOON", expires_on=day(2))
    await shelf.bring(location_id, 2, "EVER")
    await shelf.bring(location_id, 1)

    assert parts(await shelf.hold(location_id, 2, "web")) == [("LATE", 2)]
    assert parts(await shelf.hold(location_id, 4, "till")) == [("SOON", 3), ("LATE", 1)]
    assert parts(await shelf.hold(location_id, 3, "web")) == [("EVER", 2), ("", 1)]
    with pytest.raises(stock_errors.InsufficientStock):
        await shelf.hold(location_id, 1)
    assert await shelf.proof() == []


async def test_a_shortage_says_what_the_channel_may_have(shelf: Shelf) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "SOON", expires_on=day(2))
    await shelf.bring(location_id, 2, "LATE", expires_on=day(30))
    with pytest.raises(stock_errors.InsufficientStock) as short:
        await shelf.hold(location_id, 3, "web")
    assert [(line.requested, line.available) for line in short.value.lines] == [(3, 2)]
    assert parts(await shelf.hold(location_id, 7, "till")) == [("SOON", 5), ("LATE", 2)]


async def test_what_is_held_confirmed_and_given_back_stays_of_its_lot(shelf: Shelf, world: worlds.StockWorld) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "A", expires_on=day(5))
    await shelf.bring(location_id, 5, "B", expires_on=day(6))
    held = await shelf.hold(location_id, 7)
    await world.end(held.id, values.HoldState.CONFIRMED)
    assert await shelf.on_hand(location_id) == {
        "A": {"on_hand": 5, "allocated": 5}, "B": {"on_hand": 5, "allocated": 2, "free": 3},
    }  # fmt: skip
    await world.end(held.id, values.HoldState.RELEASED)
    assert {code: units["free"] for code, units in (await shelf.on_hand(location_id)).items()} == {"A": 5, "B": 5}
    again = await world.handlers.get_hold(held_id(held.id))
    assert [(line.lot, line.quantity) for _, part in again.parts for line in part.lines] == [("A", 5), ("B", 2)]
    assert await shelf.proof() == []


def held_id(text: str) -> object:
    return shelves.stock_mapping.hold_uuid(text)


async def test_a_hold_that_runs_out_gives_its_units_back_to_their_lots(shelf: Shelf) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "A", expires_on=day(5))
    await shelf.bring(location_id, 5)
    await shelf.hold(location_id, 7, seconds=1)
    await asyncio.sleep(2.1)  # the database's clock decides
    read = await shelf.on_hand(location_id)  # before any batch came by
    assert read == {"A": {"on_hand": 5, "free": 5}, "": {"on_hand": 5, "free": 5}}
    assert parts(await shelf.hold(location_id, 6)) == [("A", 5), ("", 1)]
    assert await shelf.proof() == []


async def test_a_sale_takes_what_it_held_else_the_lot_it_names_else_the_first_to_expire(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "A", expires_on=day(5))
    await shelf.bring(location_id, 5, "B", expires_on=day(6))
    held = await shelf.hold(location_id, 2)
    await shelf.sell(location_id, "ord_1", (3, ""), hold_id=held.id)
    assert (await shelf.on_hand(location_id))["A"] == {"on_hand": 2, "free": 2}
    held = await shelf.hold(location_id, 2)
    await shelf.sell(location_id, "ord_2", (4, "B"), hold_id=held.id)  # what was scanned is what has left
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 2, "free": 2}, "B": {"on_hand": 1, "free": 1}}
    await shelf.sell(location_id, "ord_3", (5, ""))
    assert await shelf.on_hand(location_id) == {"": {"on_hand": -2, "free": -2}}
    assert await shelf.proof() == []
    kinds = await world.rows("SELECT kind, quantity FROM stock_exception")
    assert kinds == [(values.ExceptionKind.OVERSOLD, 2)]


async def test_a_sale_of_a_lot_that_has_fewer_units_takes_it_below_zero_and_tells(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 1, "A", expires_on=day(5))
    await shelf.bring(location_id, 9)
    await shelf.sell(location_id, "ord_1", (3, "A"))
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": -2, "free": -2}, "": {"on_hand": 9, "free": 9}}
    [told] = await world.rows("SELECT kind, quantity, lot, ref_id FROM stock_exception")
    assert told == (values.ExceptionKind.LOT_OVERSOLD, 2, "A", "ord_1")
    assign = pb.AssignLotRequest(location_id=location_id, sku=SKU, lot=lots_pb2.LotInput(code="A"), quantity=2)
    level = await shelf.lots.AssignLot(assign, None)  # type: ignore[arg-type]
    assert level.on_hand == 7
    assert await shelf.on_hand(location_id) == {"": {"on_hand": 7, "free": 7}}
    assert await shelf.proof() == []


async def test_counts_and_moves_may_name_a_lot(shelf: Shelf, world: worlds.StockWorld) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "A", expires_on=day(5))
    await shelf.bring(location_id, 5, "B", expires_on=day(6))
    count = stock_rpc.SetStockCountsRequest.Count(sku=SKU, on_hand=3, expected_on_hand=5, lot="B")
    request = stock_rpc.SetStockCountsRequest(location_id=location_id, counts=[count])
    answer = await shelf.stock.SetStockCounts(request, None)  # type: ignore[arg-type]
    assert answer.levels[0].on_hand == 8
    move = stock_rpc.MoveStockRequest(
        location_id=location_id, sku=SKU, from_state=2, to_state=5, quantity=2, reason=6, lot="B"
    )
    await shelf.stock.MoveStock(move, None)  # type: ignore[arg-type]
    assert await shelf.on_hand(location_id) == {
        "A": {"on_hand": 5, "free": 5}, "B": {"on_hand": 3, "damaged": 2, "free": 1},
    }  # fmt: skip
    move.lot = "C"
    with pytest.raises(errors.NotFound):
        await shelf.stock.MoveStock(move, None)  # type: ignore[arg-type]
    movements = await world.rows("SELECT lot, quantity, from_state, to_state FROM ledger WHERE lot = 'B' ORDER BY seq")
    assert movements == [("B", 5, 1, 2), ("B", 2, 2, 1), ("B", 2, 2, 5)]


async def test_bulk_lines_and_those_of_a_stream_name_the_lot_of_a_delta_or_a_count(shelf: Shelf) -> None:
    location_id = await shelf.open()
    line = stock_rpc.BulkUpdateStockRequest.Line
    named = {"location_id": location_id, "sku": SKU, "lot": lots_pb2.LotInput(code="A", best_before_on=day(7))}
    lines = [
        line(**named, delta=4),
        line(location_id=location_id, sku=SKU, delta=1),
        line(**named, on_hand=9, expected_on_hand=5),
        line(**named, on_hand=2, expected_on_hand=4),
    ]

    streamed = stock_rpc.StreamStockUpdatesRequest(request_id="s", lines=lines)
    (told,) = [answer async for answer in stock_stream.answers(shelf.world.handlers, _stream(streamed))]
    assert [result.status for result in told.results] == [1, 1, 2, 1]
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 2, "free": 2}, "": {"on_hand": 1, "free": 1}}

    answer = await shelf.stock.BulkUpdateStock(stock_rpc.BulkUpdateStockRequest(lines=lines[:1]), None)  # type: ignore[arg-type]
    assert answer.applied == 1
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 6, "free": 6}, "": {"on_hand": 1, "free": 1}}


async def _stream(*messages: stock_rpc.StreamStockUpdatesRequest) -> AsyncIterator[stock_rpc.StreamStockUpdatesRequest]:
    for message in messages:
        yield message


async def test_lists_of_lots_are_paged(shelf: Shelf) -> None:
    location_id = await shelf.open()
    for number in range(5):
        await shelf.bring(location_id, 1, f"L{number}", expires_on=day(number + 1))
    await shelf.bring(location_id, 1)
    seen: list[str] = []
    request = pb.ListStockLotsRequest(location_id=location_id, sku=SKU, page_size=2)
    while True:
        answer = await shelf.lots.ListStockLots(request, None)  # type: ignore[arg-type]
        assert len(answer.lots) <= 2
        seen += [lot.lot for lot in answer.lots]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert seen == ["L0", "L1", "L2", "L3", "L4", ""]
    listed = pb.ListLotsRequest(sku=SKU, page_size=3)
    first = await shelf.lots.ListLots(listed, None)  # type: ignore[arg-type]
    listed.page_token = first.next_page_token
    second = await shelf.lots.ListLots(listed, None)  # type: ignore[arg-type]
    assert [lot.code for lot in (*first.lots, *second.lots)] == ["L4", "L3", "L2", "L1", "L0"]


async def test_forty_callers_never_get_a_unit_of_a_lot_twice(shelf: Shelf) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 30, "A", expires_on=day(2))
    await shelf.bring(location_id, 25, "B", expires_on=day(20))
    await shelf.bring(location_id, 5)

    async def take(number: int) -> list[tuple[str, int]]:
        try:
            return parts(await shelf.hold(location_id, 2, "web" if number % 2 else "till"))
        except stock_errors.InsufficientStock:
            return []

    taken = [part for held in await asyncio.gather(*map(take, range(40))) for part in held]
    units: collections.Counter[str] = collections.Counter()
    for code, quantity in taken:
        units[code] += quantity
    assert units == {"A": 30, "B": 25, "": 5}
    assert await shelf.proof() == []


async def test_a_sku_without_lots_asks_the_database_nothing_more(
    world: worlds.StockWorld, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside one with lots in the same location: as many statements and round trips as ever."""
    location_id = await shelf.open()
    await world.variants(["Plain"])
    await shelf.bring(location_id, 5, "A", expires_on=day(2))
    await shelf.hold(location_id, 1)
    await world.adjust(location_id, "Plain", 5)
    asked: list[set[object]] = []
    real = lane_store._queries

    def queries(*given: object) -> dict[object, object]:
        found = real(*given)  # type: ignore[arg-type]
        asked.append({what[0] if isinstance(what, tuple) else what for what in found})
        return found  # type: ignore[return-value]

    later: list[object] = []
    real_later = lane_store._later

    def see_later(*given: object) -> object:
        found = real_later(*given)  # type: ignore[arg-type]
        later.append(found)
        return found

    monkeypatch.setattr(lane_store, "_queries", queries)
    monkeypatch.setattr(lane_store, "_later", see_later)
    await world.reserve(location_id, ("Plain", 1))
    assert (asked, later) == ([{"heads", "levels", "clock"}], [{}])
    await shelf.hold(location_id, 1)  # one with lots: in the same trip, as they are known
    assert (asked[1], later[1]) == ({"heads", "levels", "clock", "lots", "lot_buckets", "policies"}, {})


async def test_a_process_that_never_saw_the_lots_finds_them(shelf: Shelf, world: worlds.StockWorld) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "A", expires_on=day(2))
    async with worlds.StockWorld(world.db, tenant_id=world.tenant_id) as another:
        held = await another.reserve(location_id, (SKU, 2))
        assert parts(held) == [("A", 2)]
        await another.end(held.id, values.HoldState.RELEASED)
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 5, "free": 5}}
    assert await shelf.proof() == []


async def test_lots_that_were_tampered_with_are_found_and_set_right(
    shelf: Shelf, world: worlds.StockWorld, cluster: object
) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "A", expires_on=day(2))
    await shelf.bring(location_id, 5, "B", expires_on=day(2))
    await shelf.hold(location_id, 6)
    async with world.db.transaction(world.tenant) as session:
        await session.execute(shelves.sa.text("UPDATE stock_lot SET on_hand = on_hand + 2 WHERE lot = 'B'"))
    found = await shelf.proof()
    assert [(each.what, each.expected, each.found) for each in found] == [("on_hand of lot B", 5, 7)]
    proving = shelves.ledger.Ledger(world.db)
    [where] = await proving.locations(location_id=location_id)
    assert await proving.rebuild(where, found) == 1
    assert await shelf.proof() == []
