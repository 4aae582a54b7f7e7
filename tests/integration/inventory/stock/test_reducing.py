"""A part of a reservation is given back: all of it or nothing, at all its locations, whoever else is there."""

from __future__ import annotations

import pytest

from services.inventory.domain import levels as values
from services.inventory.domain import stock_errors
from services.kit import errors, ids
from tests import worlds
from tests.integration.inventory.stock.shelf import SKU, Shelf, day, parts
from tests.integration.inventory.stock.test_lane import balanced, outcomes
from tests.integration.inventory.stock.test_spread import shops
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2

ACTIVE, CONFIRMED, RELEASED = values.HoldState.ACTIVE, values.HoldState.CONFIRMED, values.HoldState.RELEASED


@pytest.fixture
def shelf(world: worlds.StockWorld) -> Shelf:
    return Shelf(world)


async def reduce(
    world: worlds.StockWorld, held: stock_pb2.Reservation, *lines: tuple[str, str, int], **key: str
) -> stock_pb2.Reservation:
    """lines: location (empty: the only one), SKU, units."""
    asked = [pb.ReduceReservationRequest.Line(location_id=at, sku=sku, quantity=units) for at, sku, units in lines]
    return await world.handlers.reduce_hold(ids.decode("rsv", held.id), asked, world.key(**key), stock_pb2.Reservation)


def lines_of(reservation: stock_pb2.Reservation) -> list[tuple[str, str, int]]:
    return [(line.location_id, line.sku, line.quantity) for line in reservation.lines]


@pytest.mark.parametrize(("confirmed", "state"), [(False, "reserved"), (True, "allocated")])
async def test_units_go_back_on_sale_from_where_they_are(world: worlds.StockWorld, confirmed: bool, state: str) -> None:
    one, two = await shops(world, 2, 10)
    held = await world.reserve_spread({one: [("a", 4), ("b", 1)], two: [("a", 3)]})
    if confirmed:
        await world.end(held.id, CONFIRMED)

    left = await reduce(world, held, (one, "A", 3), (two, "a", 3))

    assert lines_of(left) == [(one, "a", 1), (one, "b", 1)]
    assert left.state == (CONFIRMED if confirmed else ACTIVE)
    levels = [await world.level(at, "a") for at in (one, two)]
    assert [(getattr(level, state), level.available) for level in levels] == [(1, 9), (0, 10)]
    shown = await world.handlers.get_hold(ids.decode("rsv", held.id))
    assert [line.quantity for _, part in shown.parts for line in part.lines] == [1, 1]
    await world.end(held.id, RELEASED)
    for at in (one, two):
        assert (await world.level(at, "a")).available == 10
        await balanced(world, at)
    assert await Shelf(world).proof() == []


async def test_more_than_there_is_anywhere_gives_nothing_back(world: worlds.StockWorld) -> None:
    one, two = await shops(world, 2, 5)
    held = await world.reserve_spread({one: [("a", 2)], two: [("a", 3)]})

    with pytest.raises(stock_errors.QuantityBelowZero) as refused:
        await reduce(world, held, (one, "a", 1), (two, "a", 2), (two, "A", 2))
    with pytest.raises(errors.InvalidRequest):
        await reduce(world, held, ("", "a", 1))  # it lies at two
    with pytest.raises(stock_errors.QuantityBelowZero):
        await reduce(world, held, (one, "b", 1))

    assert refused.value.metadata == {"sku": "a", "state": "RESERVED", "quantity": "3"}
    assert [(await world.level(at, "a")).reserved for at in (one, two)] == [2, 3]


async def test_the_same_key_gives_back_once_and_what_has_ended_gives_nothing(world: worlds.StockWorld) -> None:
    (one,) = await shops(world, 1, 5)
    held = await world.reserve(one, ("a", 4))

    first = await reduce(world, held, ("", "a", 3), request_id="once")
    again = await reduce(world, held, ("", "a", 3), request_id="once")

    assert again == first
    assert (await world.level(one, "a")).reserved == 1
    await world.end(held.id, RELEASED)
    with pytest.raises(stock_errors.ReservationEnded):
        await reduce(world, held, ("", "a", 1))


async def test_of_which_nothing_is_left_it_may_still_be_confirmed_and_released(world: worlds.StockWorld) -> None:
    one, two = await shops(world, 2, 5)
    held = await world.reserve_spread({one: [("a", 2)], two: [("a", 3)]})

    await reduce(world, held, (one, "a", 2))

    confirmed = await world.end(held.id, CONFIRMED)
    assert (confirmed.state, lines_of(confirmed)) == (CONFIRMED, [(two, "a", 3)])
    await reduce(world, held, (two, "a", 3))
    assert (await world.end(held.id, RELEASED)).state == RELEASED
    assert [(await world.level(at, "a")).available for at in (one, two)] == [5, 5]


async def test_lots_go_back_as_if_fewer_had_been_held(shelf: Shelf) -> None:
    at = await shelf.open()
    await shelf.bring(at, 2, "SOON", expires_on=day(9))
    await shelf.bring(at, 2, "LATE", expires_on=day(60))
    await shelf.bring(at, 2)
    held = await shelf.hold(at, 6)

    request = pb.ReduceReservationRequest(reservation_id=held.id, lines=[{"sku": SKU, "quantity": 3}])
    left = await shelf.stock.ReduceReservation(request, None)  # type: ignore[arg-type]  # no context

    assert sorted(parts(left)) == [("LATE", 1), ("SOON", 2)]
    assert await shelf.on_hand(at) == {
        "SOON": {"on_hand": 2, "reserved": 2},
        "LATE": {"on_hand": 2, "reserved": 1, "free": 1},
        "": {"on_hand": 2, "free": 2},
    }
    assert await shelf.proof() == []


async def test_recalled_units_go_back_first_and_are_put_aside(shelf: Shelf) -> None:
    at = await shelf.open()
    lot = await shelf.lot("SOON", expires_on=day(9))
    await shelf.bring(at, 2, "SOON")
    await shelf.bring(at, 2, "LATE", expires_on=day(60))
    held = await shelf.hold(at, 4)
    await shelf.world.end(held.id, CONFIRMED)
    await shelf.recall(lot)

    left = await reduce(shelf.world, held, ("", SKU, 3))

    assert parts(left) == [("LATE", 1)]
    assert (await shelf.on_hand(at))["SOON"] == {"on_hand": 2, "quality_control": 2}
    assert await shelf.proof() == []


async def test_racers_on_one_reservation_give_back_what_it_has_and_no_more(world: worlds.StockWorld) -> None:
    one, two = await shops(world, 2, 30)
    held = await world.reserve_spread({one: [("a", 7)], two: [("a", 9)]})

    calls = [reduce(world, held, (one, "a", 1), (two, "a", 1)) for _ in range(20)]
    results = await outcomes(*calls, world.end(held.id, CONFIRMED))

    won = [each for each in results[:20] if isinstance(each, stock_pb2.Reservation)]
    assert len(won) == 7
    assert {type(each) for each in results[:20]} == {stock_pb2.Reservation, stock_errors.QuantityBelowZero}
    shown = await world.handlers.get_hold(ids.decode("rsv", held.id))
    assert [line.quantity for _, part in shown.parts for line in part.lines] == [2]
    for at in (one, two):
        await balanced(world, at)
    assert await Shelf(world).proof() == []
