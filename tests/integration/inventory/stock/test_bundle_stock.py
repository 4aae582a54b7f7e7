"""Promises of the lane where bundles are reserved and sold: their components are, and are never promised twice."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping

import pytest

from services.inventory.domain import bundles, commands, stock_errors, stock_holds
from services.inventory.domain import levels as values
from services.inventory.mapping import stock as mapping
from services.kit import database, errors, ids, pipeline
from tests import worlds
from tests.integration.inventory.stock.shelf import SKU, Shelf, day
from tests.integration.inventory.stock.test_bundle_definitions import stocked, told
from tests.integration.inventory.stock.test_lane import balanced, outcomes
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2

SETS: Mapping[str, Mapping[str, int]] = {
    "set": {"red": 2, "blue": 1},
    "duo": {"blue": 1, "green": 1},
    "gift": {"set": 1, "duo": 2},
}


def plain(defined: Mapping[str, Mapping[str, int]], sku: str, times: int = 1) -> Counter[str]:
    """What a SKU consists of in the end."""
    if sku not in defined:
        return Counter({sku: times})
    parts: Counter[str] = Counter()
    for component, quantity in defined[sku].items():
        parts += plain(defined, component, quantity * times)
    return parts


async def assorted(world: worlds.StockWorld, **units: int) -> str:
    """A location with red, blue and green, and the bundles of SETS."""
    await world.variants(["red", "blue", "green", "pen", *SETS])
    for sku, components in SETS.items():
        await world.set_bundle(sku, components)
    return await stocked(world, **units)


@pytest.fixture
async def second(urls: tuple[str, str], world: worlds.StockWorld) -> AsyncIterator[worlds.StockWorld]:
    """Another process's lanes on the same stock."""
    other = database.Database(*urls)
    await other.open()
    async with worlds.StockWorld(other, tenant_id=world.tenant_id) as made:
        yield made
    await other.close()


def lines(held: stock_pb2.Reservation) -> dict[str, int]:
    return {line.sku: line.quantity for line in held.lines}


async def available(world: worlds.StockWorld, location_id: str, *skus: str) -> list[int]:
    return [(await world.level(location_id, sku)).available for sku in skus]


async def sell(world: worlds.StockWorld, location_id: str, *sold: tuple[str, int], hold: str = "") -> None:
    """Applies a sale, as the consumer of Orders' events does."""
    [(seq,)] = await world.rows("SELECT coalesce(max(seq), 0) FROM inbox_cursor")
    sale = commands.Sale(
        order_id=ids.new("ord"), lines=tuple(commands.SaleLine(*line) for line in sold), origin=world.origin,
        hold_id=ids.decode("rsv", hold) if hold else None, hold_keys=("red", "blue", "green", "cup", SKU.lower()) if hold else (),
    )  # fmt: skip
    event = commands.ApplySales("orders", 1, seq + 1, seq + 1, (sale,))
    await world.handlers.write(
        location_id, event, world.key(), pb.GetAppliedPositionResponse, lambda *_: pb.GetAppliedPositionResponse()
    )


async def test_a_reservation_of_bundles_holds_their_components(world: worlds.StockWorld) -> None:
    place = await assorted(world, red=10, blue=10, green=10)

    held = await world.reserve(place, ("GIFT", 2), ("blue", 1), ("set", 1))

    assert [(line.sku, line.quantity) for line in held.lines] == [("blue", 8), ("green", 4), ("red", 6)]
    assert await available(world, place, "red", "blue", "green", "set", "duo", "gift") == [4, 2, 6, 2, 2, 0]
    await world.end(held.id, values.HoldState.RELEASED)
    assert await available(world, place, "red", "blue", "green", "set", "duo", "gift") == [10, 10, 10, 5, 10, 3]
    await balanced(world, place)


async def test_lines_that_share_a_component_are_never_promised_the_same_unit(world: worlds.StockWorld) -> None:
    place = await assorted(world, red=10, blue=4, green=10)

    with pytest.raises(stock_errors.InsufficientStock) as refused:
        await world.reserve(place, ("set", 2), ("duo", 2), ("blue", 1), ("pen", 1))

    assert [(line.sku, line.requested, line.available, line.together) for line in refused.value.lines] == [
        ("set", 2, 1, True), ("duo", 2, 1, True), ("blue", 1, 0, True), ("pen", 1, 0, False),
    ]  # fmt: skip
    assert {line.sku: line.components for line in refused.value.lines} == {
        **dict.fromkeys(("set", "duo", "blue"), (values.ShortUnits("blue", 5, 4),)),
        "pen": (values.ShortUnits("pen", 1, 0),),
    }
    held = await world.reserve(place, ("set", 2), ("duo", 2))
    assert lines(held) == {"blue": 4, "green": 2, "red": 4}


async def test_a_shortage_of_a_bundle_says_when_its_short_components_come(world: worlds.StockWorld) -> None:
    place = await assorted(world, red=1, blue=1)
    coming = {sku: dt.datetime(2031, 1, day, tzinfo=dt.UTC) for sku, day in (("red", 5), ("green", 9))}
    for sku, eta in coming.items():
        command = commands.SetPolicy(world.origin, sku, None, None, (values.Incoming(5, eta, "po"),), None)
        await world.handlers.write(place, command, world.key(), stock_pb2.StockLevel, mapping.reply_level)

    with pytest.raises(stock_errors.InsufficientStock) as refused:
        await world.reserve(place, ("set", 1), ("gift", 1))

    found = {line.sku: line.next_available_at for line in refused.value.lines}
    assert found == {"set": None, "gift": None}  # nothing is said of blue, which is short beside the other line
    with pytest.raises(stock_errors.InsufficientStock) as refused:
        await world.reserve(place, ("set", 1))
    assert [line.next_available_at for line in refused.value.lines] == [coming["red"]]


async def test_what_changes_stock_refuses_a_bundle(world: worlds.StockWorld) -> None:
    place = await assorted(world, red=10)

    refused = await outcomes(
        world.adjust(place, "SET", 1),
        world.count(place, commands.Count("red", 3, None), commands.Count("set", 1, None)),
        *(
            world.handlers.write(place, command, world.key(), stock_pb2.StockLevel, mapping.reply_level)
            for command in (
                commands.Move(world.origin, "set", 2, 5, 1, 6),
                commands.SetPolicy(world.origin, "set", 1, None, None, None),
            )
        ),
    )

    assert [type(each) for each in refused] == [bundles.BundleHasNoStock] * 4
    assert refused[0].metadata == {"sku": "SET"}
    assert await world.rows("SELECT sku, on_hand FROM stock_level") == [("red", 10)]
    await balanced(world, place)


async def test_a_reservation_that_comes_to_very_many_skus_is_refused(
    world: worlds.StockWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await assorted(world, red=10, blue=10, green=10)
    monkeypatch.setattr(stock_holds, "RESERVED_MAX", 2)

    with pytest.raises(errors.InvalidRequest):
        await world.reserve(place, ("set", 1), ("duo", 1))
    assert lines(await world.reserve(place, ("set", 1), ("blue", 1))) == {"red": 2, "blue": 2}


async def test_a_sale_of_a_bundle_takes_its_components_and_those_it_held(world: worlds.StockWorld) -> None:
    place = await assorted(world, red=10, blue=10, green=10)
    held = await world.reserve(place, ("set", 2))

    await sell(world, place, ("set", 1), ("duo", 3), hold=held.id)
    await sell(world, place, ("gift", 2), ("red", 1))

    level = {sku: await world.level(place, sku) for sku in ("red", "blue", "green")}
    assert {sku: (each.on_hand, each.reserved) for sku, each in level.items()} == {
        "red": (3, 0), "blue": (0, 0), "green": (3, 0),
    }  # fmt: skip
    await balanced(world, place)


async def test_a_reservation_stays_what_it_was_when_its_bundle_changes(world: worlds.StockWorld) -> None:
    place = await assorted(world, red=10, blue=10, green=10)
    held = await world.reserve(place, ("set", 2))

    await world.set_bundle("set", {"green": 5})

    assert lines(await world.end(held.id, values.HoldState.CONFIRMED)) == {"red": 4, "blue": 2}
    assert await available(world, place, "red", "blue", "green", "set") == [6, 8, 10, 2]
    assert lines(await world.reserve(place, ("set", 1))) == {"green": 5}
    await balanced(world, place)


async def test_bundles_are_reserved_over_several_locations(world: worlds.StockWorld) -> None:
    one = await assorted(world, red=4, blue=4, green=4)
    two = await stocked(world, red=1, blue=9, green=9)

    held = await world.reserve_spread({one: [("set", 2)], two: [("duo", 1), ("blue", 1)]})
    assert [(line.location_id, line.sku, line.quantity) for line in held.lines] == [
        (one, "blue", 2), (one, "red", 4), (two, "blue", 2), (two, "green", 1),
    ]  # fmt: skip
    with pytest.raises(stock_errors.InsufficientStock) as refused:
        await world.reserve_spread({one: [("duo", 1)], two: [("set", 1)]})
    assert [line[:4] for line in refused.value.lines] == [("set", two, 1, 0)]
    for place in (one, two):
        await balanced(world, place)


async def test_a_process_decides_by_the_bundles_in_force_whatever_it_has_seen(
    world: worlds.StockWorld, second: worlds.StockWorld
) -> None:
    place = await assorted(world, red=100, blue=100, green=100)
    for n in range(1, 6):
        await world.set_bundle("set", {"red": n})
        for process in (second, world):
            assert lines(await process.reserve(place, ("set", 1))) == {"red": n}
    await world.set_bundle("set", {})
    for process in (second, world):
        with pytest.raises(stock_errors.InsufficientStock):
            await process.reserve(place, ("set", 1))
    await world.adjust(place, "set", 3)
    assert lines(await second.reserve(place, ("set", 3))) == {"set": 3}


async def test_only_a_change_of_bundles_costs_a_batch_a_round_trip(
    world: worlds.StockWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.variants(["red", "set"])
    place = await stocked(world, red=9)
    trips = []
    real = pipeline.LaneConnection.proceed

    async def counted(self: pipeline.LaneConnection, *queries: pipeline.Query) -> list[pipeline.Rows]:
        trips.append(len(queries))
        return await real(self, *queries)

    monkeypatch.setattr(pipeline.LaneConnection, "proceed", counted)
    await world.adjust(place, "red", 1)
    assert trips == []
    await world.set_bundle("set", {"red": 2})
    await world.reserve(place, ("set", 1))
    assert len(trips) == 2  # what changed, and what the batch needs then
    await world.reserve(place, ("set", 1))
    await world.adjust(place, "red", 1)
    assert len(trips) == 2


# --- races ---


async def test_80_racers_for_bundles_and_their_components_take_exactly_what_is_there(
    world: worlds.StockWorld, second: worlds.StockWorld
) -> None:
    place = await assorted(world, red=40, blue=30, green=20)
    wanted = ["set", "duo", "gift", "red", "blue", "green"]
    chance = random.Random(5)
    asked = [(chance.choice(wanted), chance.randint(1, 2)) for _ in range(80)]

    results = await outcomes(*((world, second)[n % 2].reserve(place, line) for n, line in enumerate(asked)))

    won = [line for line, result in zip(asked, results, strict=True) if isinstance(result, stock_pb2.Reservation)]
    lost = [result for result in results if not isinstance(result, stock_pb2.Reservation)]
    assert won
    assert lost
    assert all(isinstance(each, stock_errors.InsufficientStock) for each in lost)
    taken: Counter[str] = Counter()
    for sku, quantity in won:
        taken += plain(SETS, sku, quantity)
    left = await available(world, place, "red", "blue", "green")
    assert left == [40 - taken["red"], 30 - taken["blue"], 20 - taken["green"]]
    assert min(left) >= 0
    assert 0 in left
    await balanced(world, place)


async def test_equal_racers_for_one_bundle_get_it_as_often_as_it_was_available(
    world: worlds.StockWorld, second: worlds.StockWorld
) -> None:
    place = await assorted(world, red=25, blue=100, green=100)
    assert await available(world, place, "set") == [12]

    results = await outcomes(*(process.reserve(place, ("set", 1)) for _ in range(20) for process in (world, second)))

    assert sum(isinstance(each, stock_pb2.Reservation) for each in results) == 12
    assert await available(world, place, "set", "red", "blue") == [0, 1, 88]
    await balanced(world, place)


async def test_what_is_told_of_bundles_is_the_formula_at_every_position(
    world: worlds.StockWorld, second: worlds.StockWorld
) -> None:
    """Redefinitions race reservations, releases and deliveries of two processes; the log alone is judged."""
    place = await assorted(world, red=60, blue=60, green=60)
    chance = random.Random(11)
    choices = {"set": [{"red": 2, "blue": 1}, {"red": 1, "green": 3}, {"blue": 2}], "duo": [{"green": 1}, {"blue": 4}]}
    in_force = {3: dict(SETS)}  # the tenant's definitions, by version

    async def redefine() -> None:
        for version in range(4, 16):
            sku = chance.choice(list(choices))
            in_force[version] = {**in_force[version - 1], sku: chance.choice(choices[sku])}
            await world.set_bundle(sku, in_force[version][sku])

    async def buy(process: worlds.StockWorld) -> None:
        for _ in range(6):
            sku = chance.choice(["set", "duo", "gift", "red", "blue"])
            try:
                held = await process.reserve(place, (sku, chance.randint(1, 3)), ("blue", 1))
            except stock_errors.InsufficientStock:
                await process.adjust(place, chance.choice(["red", "blue", "green"]), 9)
                continue
            if chance.random() < 0.5:
                await process.end(held.id, values.HoldState.RELEASED)

    await asyncio.gather(redefine(), *(buy(process) for _ in range(10) for process in (world, second)))

    shown: dict[str, stock_pb2.StockLevel] = {}
    for change in await told(world, place):
        for level in change.levels:
            assert level.sku not in shown or level.version > shown[level.sku].version
            shown[level.sku] = level
        has = {sku: level.available for sku, level in shown.items() if not level.bundle}
        assert min(has.values()) >= 0
        for sku, level in shown.items():
            if level.bundle:
                parts = plain(in_force[max(level.version >> bundles.VERSION_BITS, 3)], sku)
                assert level.available == min(has.get(part, 0) // units for part, units in parts.items())
    assert shown.keys() == {"red", "blue", "green", *SETS}
    for sku, level in shown.items():
        assert level == mapping.any_level(place, await world.level(place, sku))
    await balanced(world, place)


async def test_a_bundle_takes_of_its_component_the_lot_that_ends_first(world: worlds.StockWorld) -> None:
    shelf = Shelf(world)
    place = await shelf.open()
    await world.variants(["tray", "cup"])
    await world.set_bundle("tray", {SKU: 2, "cup": 1})
    await world.adjust(place, "cup", 9)
    await shelf.bring(place, 4, "LATE", expires_on=day(30))
    await shelf.bring(place, 3, "SOON", expires_on=day(2))

    assert await available(world, place, "tray") == [3]
    held = await world.reserve(place, ("tray", 2))
    assert [(line.sku, line.lot, line.quantity) for line in held.lines] == [
        ("cup", "", 2), (SKU, "SOON", 3), (SKU, "LATE", 1),
    ]  # fmt: skip
    await sell(world, place, ("tray", 2), hold=held.id)
    assert {code: units["on_hand"] for code, units in (await shelf.on_hand(place)).items()} == {"LATE": 3}
    assert await available(world, place, "tray") == [1]
    levels = [level for change in await told(world, place) for level in change.levels if level.bundle]
    assert levels[-1] == mapping.any_level(place, await world.level(place, "tray"))
    assert await shelf.proof() == []
