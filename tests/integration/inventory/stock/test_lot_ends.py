"""Lots that may not be sold any more: their time is over at a location, or they are recalled."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from services.inventory.domain import levels as values
from services.inventory.domain import lots, stock_errors
from services.inventory.mapping import availability
from services.inventory.mapping import stock as stock_mapping
from services.inventory.store import lots as lot_store
from services.kit import errors, principal
from tests import worlds
from tests.integration.inventory.stock import shelf as shelves
from tests.integration.inventory.stock.shelf import SKU, Shelf, day, parts
from tillmesh.inventory.v1 import inventory_service_pb2 as stock_rpc
from tillmesh.inventory.v1 import lots_pb2
from tillmesh.inventory.v1 import lots_service_pb2 as pb


@pytest.fixture
def shelf(world: worlds.StockWorld) -> Shelf:
    return Shelf(world)


async def reads(world: worlds.StockWorld, location_id: str) -> dict[str, int]:
    """What each kind of read says is available."""
    level = await world.level(location_id, SKU)
    [placed] = await world.handlers.list_levels(
        location_id, prefix="", at_most=None, at_least=None, order_by="sku", after=None, limit=9
    )
    _, sums = await world.handlers.list_sku(SKU, None, 9)
    request = stock_rpc.BatchGetAvailabilityRequest(skus=[SKU], location_ids=[location_id])
    matrix = availability.response(await world.handlers.availability(availability.wanted(request)), request)
    return {
        "read": level.available, "list": placed.level.available, "sum": sums[4], "cells": matrix.rows[0].available[0],
    }  # fmt: skip


async def test_no_read_shows_a_lot_whose_time_is_over_and_the_next_batch_puts_it_aside(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "A", expires_on=day(3))
    await shelf.bring(location_id, 2)
    [lot] = (await shelf.lots.ListLots(pb.ListLotsRequest(sku=SKU), None)).lots  # type: ignore[arg-type]
    await shelf.redate(lot, expires_on=day(-2))

    assert await reads(world, location_id) == {"read": 2, "list": 2, "sum": 2, "cells": 2}
    level = await world.level(location_id, SKU)
    assert (level.on_hand, level.expired) == (7, 5)
    assert (await shelf.on_hand(location_id))["A"] == {"on_hand": 5, "expired": 5}
    assert await world.rows("SELECT 1 FROM ledger WHERE reason = 10") == []
    with pytest.raises(stock_errors.InsufficientStock):
        await shelf.hold(location_id, 3)
    moved = "SELECT lot, quantity, from_state, to_state, ref_type, ref_id, actor FROM ledger WHERE reason = 10"
    assert await world.rows(moved) == [("A", 5, 2, 7, "lot", "A", "system")]
    assert await reads(world, location_id) == {"read": 2, "list": 2, "sum": 2, "cells": 2}
    assert await shelf.proof() == []


async def test_the_sweeper_puts_aside_lots_that_nobody_asks_for(shelf: Shelf, world: worlds.StockWorld) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "A", expires_on=day(-2))  # comes too late already: put aside as it comes
    assert await world.rows("SELECT quantity FROM ledger WHERE reason = 10") == [(5,)]
    await shelf.bring(location_id, 4, "B", best_before_on=day(3))
    lot = (await shelf.lots.ListLots(pb.ListLotsRequest(sku=SKU), None)).lots[0]  # type: ignore[arg-type]
    await shelf.redate(lot, best_before_on=day(-2))
    await shelf.sweeper.sweep()
    assert await world.rows("SELECT lot, quantity FROM ledger WHERE reason = 10 ORDER BY seq") == [("A", 5), ("B", 4)]
    due = await world.rows("SELECT count(*) FROM stock_lot WHERE free > 0 AND sell_until < now()")
    assert due == [(0,)]
    assert await shelf.proof() == []


async def test_units_that_are_held_when_their_lot_ends_are_put_aside_when_they_are_given_back(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 9, "A", expires_on=day(3))
    sold, released, left = [await shelf.hold(location_id, n, seconds=2) for n in (1, 2, 3)]
    [lot] = (await shelf.lots.ListLots(pb.ListLotsRequest(sku=SKU), None)).lots  # type: ignore[arg-type]
    await world.end(sold.id, values.HoldState.ACTIVE)
    await world.end(released.id, values.HoldState.CONFIRMED)
    await shelf.redate(lot, expires_on=day(-2))
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 9, "reserved": 4, "allocated": 2, "expired": 3}}
    await world.end(released.id, values.HoldState.RELEASED)
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 9, "reserved": 4, "expired": 5}}
    await asyncio.sleep(3.1)  # the third hold runs out by the database's clock
    assert left.lines[0].lot == "A"
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 9, "reserved": 1, "expired": 8}}
    await shelf.sweeper.sweep()
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 9, "reserved": 1, "expired": 8}}
    await shelf.sell(location_id, "ord_1", (1, ""), hold_id=sold.id)
    [told] = await world.rows("SELECT kind, lot, quantity, ref_id FROM stock_exception")
    assert told == (values.ExceptionKind.EXPIRED_LOT_SOLD, "A", 1, "ord_1")
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 8, "expired": 8}}
    assert await shelf.proof() == []


async def test_each_location_has_its_own_midnight_and_a_new_zone_is_followed(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    vienna = await shelf.open()
    havana = await world.location()
    await shelf.relocate(vienna, "Europe/Vienna")
    await shelf.bring(vienna, 1, "A", expires_on="2031-10-25")
    await shelf.bring(havana, 1, "A")
    await shelf.relocate(havana, "America/Havana")
    query = "SELECT location_id, sell_until FROM stock_lot"

    async def ends() -> dict[str, dt.datetime]:
        return {stock_mapping.location_text(row[0]): row[1] for row in await world.rows(query)}

    summer, winter = dt.datetime(2031, 10, 25, 22, tzinfo=dt.UTC), dt.datetime(2031, 10, 26, 23, tzinfo=dt.UTC)
    assert await ends() == {vienna: summer, havana: dt.datetime(2031, 10, 26, 4, tzinfo=dt.UTC)}
    [lot] = (await shelf.lots.ListLots(pb.ListLotsRequest(sku=SKU), None)).lots  # type: ignore[arg-type]
    await shelf.redate(lot, expires_on="2031-10-26")  # clocks are put back on this day: it has 25 hours
    assert (await ends())[vienna] == winter
    await shelf.relocate(vienna, "Asia/Tokyo")
    assert (await ends())[vienna] == dt.datetime(2031, 10, 26, 15, tzinfo=dt.UTC)


async def test_the_policy_says_whether_a_lot_is_sold_past_best_before(shelf: Shelf, world: worlds.StockWorld) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 3, "A", best_before_on=day(9), expires_on=day(40))
    until = "SELECT sell_until::date FROM stock_lot"
    midnight = shelves.TODAY + dt.timedelta(days=10)
    assert await world.rows(until) == [(midnight,)]
    await shelf.set_policy(sell_past_best_before=True, minimum_life_days={"web": 35})
    assert await world.rows(until) == [(shelves.TODAY + dt.timedelta(days=41),)]
    assert parts(await shelf.hold(location_id, 1, "web")) == [("A", 1)]
    await shelf.set_policy(minimum_life_days={"web": 35})
    with pytest.raises(stock_errors.InsufficientStock):
        await shelf.hold(location_id, 1, "web")


async def test_what_was_put_aside_comes_back_only_when_the_lot_may_be_sold_again(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    location_id = await shelf.open()
    await shelf.bring(location_id, 3, "A", expires_on=day(-2))
    back = stock_rpc.MoveStockRequest(location_id=location_id, sku=SKU, from_state=7, to_state=2, quantity=3, reason=6)
    with pytest.raises(lots.LotNotSellable):
        await shelf.stock.MoveStock(back, None)  # type: ignore[arg-type]
    [lot] = (await shelf.lots.ListLots(pb.ListLotsRequest(sku=SKU), None)).lots  # type: ignore[arg-type]
    await shelf.redate(lot, expires_on=day(5))
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 3, "expired": 3}}
    await shelf.stock.MoveStock(back, None)  # type: ignore[arg-type]
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 3, "free": 3}}
    with pytest.raises(errors.VersionMismatch):
        request = pb.UpdateLotRequest(lot_id=lot.id, expires_on=day(6), expected_version=1)
        request.update_mask.paths.append("expires_on")
        await shelf.lots.UpdateLot(request, None)  # type: ignore[arg-type]
    assert await shelf.proof() == []


# --- recalls ---


async def sales_of(shelf: Shelf, lot: lots_pb2.Lot, size: int = 2) -> list[tuple[str, str, int]]:
    found = []
    request = pb.ListLotSalesRequest(lot_id=lot.id, page_size=size)
    while True:
        answer = await shelf.lots.ListLotSales(request, None)  # type: ignore[arg-type]
        assert len(answer.sales) <= size
        found += [(sale.order_id, sale.location_id, sale.quantity) for sale in answer.sales]
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


async def test_a_recall_over_three_locations_finds_what_is_there_and_who_was_sold_some(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    places = [await shelf.open(), await world.location(), await world.location()]
    lot = await shelf.lot("BAD", expires_on=day(30))
    for place in places:
        await shelf.bring(place, 10, "BAD")
        await shelf.bring(place, 10, "GOOD", expires_on=day(60))
    await shelf.sell(places[0], "ord_1", (4, ""))
    await shelf.sell(places[1], "ord_2", (1, "BAD"), (1, ""))
    await shelf.sell(places[2], "ord_3", (2, "GOOD"))
    held = await shelf.hold(places[2], 3)

    recalled = await shelf.recall(lot, "glass splinters")
    assert (recalled.recall_reason, recalled.version) == ("glass splinters", 2)
    assert [(await reads(world, place))["read"] for place in places] == [10, 10, 8]  # before anything has moved
    await shelf.sell(places[0], "ord_4", (1, "BAD"))  # it was in a basket already
    await shelf.sweeper.sweep()

    stock = await shelf.lots.ListLotStock(pb.ListLotStockRequest(lot_id=lot.id), None)  # type: ignore[arg-type]
    there = {of.location_id: shelves.counters(of) for of in stock.stock}
    assert there == {
        places[0]: {"on_hand": 5, "quality_control": 5},
        places[1]: {"on_hand": 8, "quality_control": 8},
        places[2]: {"on_hand": 10, "reserved": 3, "quality_control": 7},
    }
    assert all(of.recalled for of in stock.stock)
    assert sorted(await sales_of(shelf, lot)) == [
        ("ord_1", places[0], 4), ("ord_2", places[1], 2), ("ord_4", places[0], 1),
    ]  # fmt: skip
    assert (await sales_of(shelf, lot, 500))[0][0] == "ord_4"  # the latest first
    told = await world.rows("SELECT kind, lot, quantity, ref_id FROM stock_exception")
    assert told == [(values.ExceptionKind.RECALLED_LOT_SOLD, "BAD", 1, "ord_4")]
    await world.end(held.id, values.HoldState.RELEASED)
    assert (await shelf.on_hand(places[2]))["BAD"] == {"on_hand": 10, "quality_control": 10}
    assert (await shelf.recall(lot, "again")) == recalled
    assert await shelf.proof() == []


async def test_a_callers_token_bounds_what_they_see_of_a_lot(shelf: Shelf, world: worlds.StockWorld) -> None:
    places = [await shelf.open(), await world.location()]
    lot = await shelf.lot("A")
    for number, place in enumerate(places):
        await shelf.bring(place, 5, "A")
        await shelf.sell(place, f"ord_{number}", (1, ""))
    mine = principal.Principal("m", world.tenant_id, frozenset(), frozenset(), frozenset({places[1]}), 2e9)
    principal.enter(mine)
    stock = await shelf.lots.ListLotStock(pb.ListLotStockRequest(lot_id=lot.id), None)  # type: ignore[arg-type]
    assert [of.location_id for of in stock.stock] == [places[1]]
    assert await sales_of(shelf, lot) == [("ord_1", places[1], 1)]


async def test_what_a_killed_process_left_of_a_recall_another_puts_aside(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    """The mark is all that a recall has to do by itself: whoever sweeps finds what is left, each unit once."""
    places = [await shelf.open(), await world.location(), await world.location()]
    lot = await shelf.lot("BAD")
    for place in places:
        await shelf.bring(place, 5, "BAD")
    await shelf.recall(lot)
    await shelf.bring(places[0], 1)  # one location's lane came by, then the process was gone
    async with worlds.StockWorld(world.db, tenant_id=world.tenant_id) as another:
        sweepers = [Shelf(another).sweeper, shelf.sweeper]
        await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers * 3))
    moved = await world.rows("SELECT location_id, sum(quantity) FROM ledger WHERE reason = 11 GROUP BY 1")
    assert {stock_mapping.location_text(row[0]): row[1] for row in moved} == dict.fromkeys(places, 5)
    assert await shelf.proof() == []


async def test_nobody_gets_a_unit_of_a_lot_after_its_recall_was_answered(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    location_id = await shelf.open()
    lot = await shelf.lot("BAD", expires_on=day(9))
    await shelf.bring(location_id, 400, "BAD")
    await shelf.bring(location_id, 400)
    recalled = asyncio.Event()
    held: dict[str, bool] = {}

    async def call(number: int) -> None:
        for _ in range(8):
            after = recalled.is_set()
            reservation = await shelf.hold(location_id, 1)
            held[reservation.id] = after and parts(reservation)[0][0] == "BAD"

    callers = [asyncio.create_task(call(number)) for number in range(30)]
    await shelf.recall(lot)
    recalled.set()
    await asyncio.gather(*callers)
    assert len(held) == 240
    assert not any(held.values())
    assert await shelf.proof() == []
    stock = (await shelf.on_hand(location_id))["BAD"]
    assert stock["reserved"] + stock["quality_control"] == 400
    assert "free" not in stock


async def test_a_recall_that_is_lifted_leaves_units_in_quality_control_until_they_are_moved(
    shelf: Shelf, world: worlds.StockWorld
) -> None:
    location_id = await shelf.open()
    lot = await shelf.lot("A")
    await shelf.bring(location_id, 3, "A")
    await shelf.recall(lot)
    await shelf.sweeper.sweep()
    back = stock_rpc.MoveStockRequest(
        location_id=location_id, sku=SKU, from_state=6, to_state=2, quantity=2, reason=6, lot="A"
    )
    with pytest.raises(lots.LotNotSellable):
        await shelf.stock.MoveStock(back, None)  # type: ignore[arg-type]
    lifted = await shelf.lots.LiftRecall(pb.LiftRecallRequest(lot_id=lot.id, expected_version=2), None)  # type: ignore[arg-type]
    assert (lifted.HasField("recalled_at"), lifted.recall_reason) == (False, "")
    assert (await reads(world, location_id))["read"] == 0
    await shelf.stock.MoveStock(back, None)  # type: ignore[arg-type]
    assert await shelf.on_hand(location_id) == {"A": {"on_hand": 3, "quality_control": 1, "free": 2}}
    assert await shelf.proof() == []


async def test_the_look_up_of_a_lots_sales_uses_its_index(shelf: Shelf, world: worlds.StockWorld) -> None:
    """Also under row-level security, and when the ledger is large."""
    location_id = await shelf.open()
    await shelf.bring(location_id, 5, "A")
    async with world.db.read(world.tenant) as session:
        await session.execute(shelves.sa.text("SET LOCAL enable_seqscan = off"))
        given = {
            "code": "A",
            "sku": SKU,
            "within": None,
            "limit": 5,
            "recorded_at": None,
            "location": None,
            "seq": None,
        }
        sales = shelves.sa.text(f"EXPLAIN {lot_store.SALES.text}")
        plan = "\n".join(row[0] for row in await session.execute(sales, given))
    assert "lot" in plan
    assert "Index Cond: ((tenant_id = " in plan
