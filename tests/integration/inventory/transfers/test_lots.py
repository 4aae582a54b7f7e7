"""Units stay of their lots on the road, each in the transfer that it left in."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
import sqlalchemy as sa

from services.inventory.domain import commands, lots
from services.inventory.mapping import stock as stock_mapping
from tests.integration.inventory.stock import shelf
from tests.integration.inventory.transfers.moving import RECEIVED, MovingWorld
from tillmesh.inventory.v1 import lots_pb2, stock_pb2
from tillmesh.inventory.v1 import transfers_service_pb2 as pb


async def test_units_of_lots_leave_by_lot_and_no_unit_is_lost(world: MovingWorld) -> None:
    milk = shelf.Shelf(world)
    here, there = await milk.open(), await world.location()
    await milk.bring(here, 2, "L1", expires_on=shelf.day(5))
    await milk.bring(here, 2, "L2", expires_on=shelf.day(9))
    draft = await world.drafted(here, there, {shelf.SKU: 4})
    await world.ready(draft.id)

    await world.ship(draft.id, {shelf.SKU: 3})
    done = await world.arrive(draft.id, {shelf.SKU: {"accepted": 2, "lost": 1}})

    assert done.state == RECEIVED
    out = await world.rows("SELECT lot, quantity FROM ledger WHERE reason = 19 ORDER BY lot")
    assert [tuple(row) for row in out] == [("L1", 2), ("L2", 1)]
    assert await milk.on_hand(there) == {"L1": {"on_hand": 2, "free": 2}}
    assert (await world.units(here, shelf.SKU), await world.units(there, shelf.SKU)) == ((1, 1, 0, 0), (2, 2, 0, 0))
    assert await world.differences(here, there) == []


async def test_units_stay_of_their_lots_on_the_road_and_end_at_the_midnight_of_where_they_go(
    world: MovingWorld,
) -> None:
    here, there = await world.ends(a=1)
    async with world.db.transaction(world.tenant) as session:
        policy = 'UPDATE variant SET lot_policy = \'{"sell_past_best_before": false, "minimum_life_days": {}}\''
        await session.execute(sa.text(policy))
        zone = "UPDATE location SET timezone = 'Asia/Tokyo' WHERE id = :id"
        await session.execute(sa.text(zone), {"id": stock_mapping.location_uuid(there)})
    for code, ends in (("SOON", "2031-03-04"), ("LATE", "2031-05-06")):
        draft = lots.LotDraft(code=code, expires_on=dt.date.fromisoformat(ends))
        await world.handlers.known_lots.code("a", draft)
        command = commands.Adjust(world.origin, "a", 4, reason=1, lot=code)
        await world.handlers.write(here, command, world.key(), stock_pb2.StockLevel, stock_mapping.reply_level)

    async def shelf(location_id: str) -> dict[str, tuple[int, int, int]]:
        query = "SELECT lot, on_hand, in_transit, damaged FROM stock_lot WHERE location_id = :l ORDER BY lot"
        rows = await world.rows(query, l=str(stock_mapping.location_uuid(location_id)))
        return {row[0]: tuple(row[1:]) for row in rows}

    sent = await world.sent(here, there, {"a": 7})
    assert await shelf(here) == {"LATE": (1, 0, 0)}
    assert await shelf(there) == {"LATE": (0, 3, 0), "SOON": (0, 4, 0)}
    until = "SELECT lot, sell_until FROM stock_lot WHERE location_id = :l ORDER BY lot"
    ends = dict(await world.rows(until, l=str(stock_mapping.location_uuid(there))))  # type: ignore[arg-type]  # pairs
    assert ends["SOON"] == dt.datetime(2031, 3, 4, 15, tzinfo=dt.UTC)
    assert await world.differences(here, there) == []

    await world.arrive(sent.id, {"a": {"accepted": 3, "damaged": 2}})
    assert await shelf(there) == {"LATE": (1, 2, 1), "SOON": (4, 0, 1)}
    await world.close(sent.id)
    assert await shelf(there) == {"LATE": (1, 0, 1), "SOON": (4, 0, 1)}
    assert await world.units(there) == (5, 3, 0, 0)
    held = await world.reserve(there, ("a", 3))
    assert [(line.lot, line.quantity) for line in held.lines] == [("SOON", 3)]
    assert await world.differences(here, there) == []


async def test_units_of_no_lot_travel_as_such_beside_lots(world: MovingWorld) -> None:
    here, there = await world.ends(a=5)
    async with world.db.transaction(world.tenant) as session:
        policy = 'UPDATE variant SET lot_policy = \'{"sell_past_best_before": false, "minimum_life_days": {}}\''
        await session.execute(sa.text(policy))
    await world.handlers.known_lots.code("a", lots.LotDraft(code="L"))
    command = commands.Adjust(world.origin, "a", 2, reason=1, lot="L")
    await world.handlers.write(here, command, world.key(), stock_pb2.StockLevel, stock_mapping.reply_level)

    sent = await world.sent(here, there, {"a": 6})
    await world.arrive(sent.id, {"a": 8})  # two more than were sent

    assert await world.units(there) == (8, 8, 0, 0)
    assert await world.rows("SELECT lot, on_hand FROM stock_lot") == [("L", 2)]
    assert await world.differences(here, there) == []


async def on_the_road(world: MovingWorld, milk: shelf.Shelf) -> tuple[str, str, str]:
    """Two transfers to one place, the first with the lot that ends later: (destination, first, second)."""
    here, there = await milk.open(), await world.location()
    sent = []
    for code, ends in (("LATE", 9), ("SOON", 5)):
        await milk.bring(here, 4, code, expires_on=shelf.day(ends))
        sent.append((await world.sent(here, there, {shelf.SKU: 4})).id)
    return there, *sent


async def test_what_comes_of_one_of_two_transfers_is_of_the_lot_that_left_in_it(world: MovingWorld) -> None:
    milk = shelf.Shelf(world)
    there, first, second = await on_the_road(world, milk)
    assert await world.of_lots(first) == {"LATE": {"shipped": 4, "outstanding": 4}}

    await world.arrive(first, {shelf.SKU: {"accepted": 2, "lost": 1}})

    assert await milk.on_hand(there) == {
        "LATE": {"on_hand": 2, "free": 2, "in_transit": 1},
        "SOON": {"in_transit": 4},
    }
    assert await world.of_lots(first) == {"LATE": {"shipped": 4, "received": 2, "lost": 1, "outstanding": 1}}
    await world.close(second)
    await world.arrive(first, {shelf.SKU: 1})
    assert await world.of_lots(second) == {"SOON": {"shipped": 4, "lost": 4}}
    assert await milk.on_hand(there) == {"LATE": {"on_hand": 3, "free": 3}}
    assert await world.differences(there) == []


async def test_a_receiver_names_the_lots_and_what_was_taken_for_another_is_told(world: MovingWorld) -> None:
    """Four of LATE were sent, and two of them turn out to be of a third lot."""
    milk = shelf.Shelf(world)
    there, first, _ = await on_the_road(world, milk)

    seen = [{"lot": "LATE", "accepted": 1}, {"lot": "NEW", "accepted": 1, "damaged": 1}, {"accepted": 2}]
    done = await world.arrive(first, {shelf.SKU: seen})

    assert (done.state, done.lines[0].surplus) == (RECEIVED, 1)
    assert await world.of_lots(first) == {
        "LATE": {"shipped": 4, "received": 2, "mistaken": 2},
        "NEW": {"received": 2, "surplus": 2},
    }
    assert await milk.on_hand(there) == {
        "": {"on_hand": 1, "free": 1},
        "LATE": {"on_hand": 2, "free": 2},
        "NEW": {"on_hand": 2, "damaged": 1, "free": 1},
        "SOON": {"in_transit": 4},
    }
    lines = (await world.happened(first))[-1].lines
    assert [(line.lot, line.accepted, line.surplus) for line in lines] == [("LATE", 1, 0), ("NEW", 1, 0), ("", 2, 1)]
    assert await world.differences(there) == []


async def test_a_lot_that_is_not_kept_or_not_as_said_is_refused_and_nothing_comes(world: MovingWorld) -> None:
    milk = shelf.Shelf(world)
    there, first, _ = await on_the_road(world, milk)
    plain = await world.ends(a=1)
    sent = await world.sent(*plain, {"a": 1})
    other = lots_pb2.LotInput(code="LATE", expires_on=shelf.day(3))
    wrong = pb.ReceiveTransferRequest.Line(sku=shelf.SKU, accepted=1, lot=other)

    with pytest.raises(lots.LotMismatch):
        await world.call(pb.ReceiveTransferRequest(transfer_id=first, lines=[wrong]))
    with pytest.raises(lots.LotsNotKept):
        await world.arrive(sent.id, {"a": {"lot": "L", "accepted": 1}})

    assert await world.units(there, shelf.SKU) == (0, 0, 0, 8)


async def test_20_receivers_of_two_transfers_at_once_leave_every_lot_in_its_own(world: MovingWorld) -> None:
    milk = shelf.Shelf(world)
    there, first, second = await on_the_road(world, milk)

    calls = [world.arrive(transfer, {shelf.SKU: 1}) for transfer in (first, second) for _ in range(10)]
    answers = await asyncio.gather(*calls, return_exceptions=True)

    assert sum(not isinstance(answer, BaseException) for answer in answers) == 8
    assert await world.of_lots(first) == {"LATE": {"shipped": 4, "received": 4}}
    assert await world.of_lots(second) == {"SOON": {"shipped": 4, "received": 4}}
    assert await milk.on_hand(there) == {code: {"on_hand": 4, "free": 4} for code in ("LATE", "SOON")}
    assert await world.differences(there) == []


async def test_what_was_on_the_road_before_lots_were_kept_comes_as_whatever_lot_is_on_the_road(
    world: MovingWorld,
) -> None:
    milk = shelf.Shelf(world)
    there, first, _ = await on_the_road(world, milk)
    await world.execute("UPDATE transfer_lot SET shipped = 0")

    await world.arrive(first, {shelf.SKU: 4})

    assert await world.of_lots(first) == {"LATE": {}, "SOON": {"shipped": 4, "received": 4}}
    assert await milk.on_hand(there) == {"LATE": {"in_transit": 4}, "SOON": {"on_hand": 4, "free": 4}}
    assert await world.differences(there) == []
