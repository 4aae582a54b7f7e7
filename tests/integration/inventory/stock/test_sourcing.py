"""Sourcing with its reservation in one step, on real stock. Which plan is the best is proven in tests/property."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from services.inventory.domain import stock_errors
from services.inventory.domain.sourcing import Asked, Rule, Splitting
from services.inventory.handlers.sourcing import SourcingHandlers, Wanted
from services.inventory.mapping import stock as mapping
from services.kit import database, errors, principal
from tests import worlds
from tests.integration.inventory.stock.test_lane import balanced, outcomes
from tillmesh.inventory.v1 import stock_pb2

VIENNA, KREMS, GRAZ, SALZBURG = (48.21, 16.37), (48.41, 15.61), (47.07, 15.44), (47.81, 13.05)


async def place(world: worlds.StockWorld, at: tuple[float, float], *capabilities: int, **units: int) -> str:
    location_id = await world.location()
    address = {"lines": [], "city": "", "region": "", "postal_code": "", "country_code": "AT", "coordinates": at}
    async with world.db.transaction(world.tenant) as session:
        await session.execute(
            sa.text("UPDATE location SET capabilities = :can, address = CAST(:address AS jsonb) WHERE id = :id"),
            {
                "can": list(capabilities or (1, 2, 3)),
                "address": json.dumps(address),
                "id": mapping.location_uuid(location_id),
            },
        )
    for sku, count in units.items():
        await world.adjust(location_id, sku, count)
    return location_id


async def source(world: worlds.StockWorld, *lines: tuple[str, int], **wish: Any) -> stock_pb2.Reservation:
    request_id = wish.pop("request_id", "")
    asked = {
        "rule": Rule.NEAREST, "splitting": Splitting.LINES, "destination": VIENNA, "pickup_at": None, "within": (),
        "parcels_max": 16, "ttl_seconds": 900.0, "order_ref": "",
    } | wish  # fmt: skip
    wanted = Wanted(lines=tuple(Asked(sku, units, "") for sku, units in lines), **asked)
    return await SourcingHandlers(world.db, world.handlers).reserve(wanted, world.key(request_id))


def parcels(reservation: stock_pb2.Reservation) -> list[tuple[str, str, int]]:
    return [(line.location_id, line.sku, line.quantity) for line in reservation.lines]


async def test_the_nearest_location_that_has_everything_serves_it_alone(world: worlds.StockWorld) -> None:
    await world.variants(["a", "b"])
    await place(world, KREMS, a=5)  # nearer than Salzburg, but without b
    graz = await place(world, GRAZ, a=5, b=5)
    await place(world, SALZBURG, a=5, b=5)

    held = await source(world, ("A", 2), ("b", 1))

    assert parcels(held) == [(graz, "a", 2), (graz, "b", 1)]
    assert held.location_id == graz


async def test_a_split_is_reserved_everywhere_or_nowhere(world: worlds.StockWorld) -> None:
    await world.variants(["a", "b"])
    krems, graz = await place(world, KREMS, a=5), await place(world, GRAZ, a=3, b=4)

    held = await source(world, ("a", 5), ("b", 4))

    assert parcels(held) == [(krems, "a", 5), (graz, "b", 4)]
    with pytest.raises(stock_errors.InsufficientStock):
        await source(world, ("a", 3), ("b", 1))
    for location_id in (krems, graz):
        await balanced(world, location_id)


async def test_a_shortage_names_the_line_what_there_is_and_where(world: worlds.StockWorld) -> None:
    await world.variants(["a", "b"])
    krems, graz = await place(world, KREMS, a=5), await place(world, GRAZ, a=3, b=4)

    with pytest.raises(stock_errors.InsufficientStock) as refused:
        await source(world, ("a", 6), ("b", 1))

    (line,) = refused.value.lines
    assert (line.sku, line.requested, line.available) == ("a", 6, 5)
    assert line.alternatives == ((krems, 5), (graz, 3))


async def test_units_may_be_divided_when_allowed_and_parcels_are_bounded(world: worlds.StockWorld) -> None:
    await world.variants(["a"])
    krems, graz = await place(world, KREMS, a=5), await place(world, GRAZ, a=3)

    with pytest.raises(stock_errors.InsufficientStock):
        await source(world, ("a", 7), splitting=Splitting.UNITS, parcels_max=1)
    assert parcels(await source(world, ("a", 7), splitting=Splitting.UNITS)) == [(krems, "a", 5), (graz, "a", 2)]


async def test_pickup_comes_from_its_location_alone_and_only_where_orders_are_handed_over(
    world: worlds.StockWorld,
) -> None:
    await world.variants(["a"])
    await place(world, VIENNA, a=5)
    graz, warehouse = await place(world, GRAZ, a=3), await place(world, KREMS, 3, a=9)

    assert parcels(await source(world, ("a", 3), pickup_at=mapping.location_uuid(graz)))[0][0] == graz
    with pytest.raises(stock_errors.InsufficientStock):
        await source(world, ("a", 1), pickup_at=mapping.location_uuid(graz))
    with pytest.raises(stock_errors.InsufficientStock):
        await source(world, ("a", 1), pickup_at=mapping.location_uuid(warehouse))


async def test_a_location_that_is_named_and_not_there_is_said(world: worlds.StockWorld) -> None:
    await world.variants(["a"])
    here, nowhere = mapping.location_uuid(await place(world, KREMS, a=5)), uuid.uuid4()
    with pytest.raises(errors.NotFound):
        await source(world, ("a", 1), within=(here, nowhere))
    with pytest.raises(errors.NotFound):
        await source(world, ("a", 1), pickup_at=nowhere)


async def test_only_locations_that_the_token_covers_are_considered(world: worlds.StockWorld) -> None:
    await world.variants(["a"])
    await place(world, VIENNA, a=5)
    graz = await place(world, GRAZ, a=5)
    caller = world.caller
    principal.enter(
        principal.Principal(
            caller.subject, caller.tenant_id, caller.roles, caller.scopes, frozenset({graz}), caller.expires_at
        )
    )
    assert parcels(await source(world, ("a", 1))) == [(graz, "a", 1)]


async def test_a_sku_that_no_variant_has_is_said(world: worlds.StockWorld) -> None:
    with pytest.raises(stock_errors.SkuNotFound):
        await source(world, ("nothing", 1))


async def test_the_same_key_is_the_same_reservation_even_when_nothing_is_left(world: worlds.StockWorld) -> None:
    await world.variants(["a"])
    await place(world, KREMS, a=5)
    request_id = uuid.uuid4().hex
    first = await source(world, ("a", 5), request_id=request_id)
    assert await source(world, ("a", 5), request_id=request_id) == first


async def test_what_has_run_out_can_be_sourced_and_backorders_count(world: worlds.StockWorld) -> None:
    await world.variants(["a"])
    krems = await place(world, KREMS, a=1)
    async with world.db.transaction(world.tenant) as session:
        await session.execute(
            sa.text("UPDATE stock_level SET backorder_limit = 2 WHERE location_id = :id"),
            {"id": mapping.location_uuid(krems)},
        )
    assert parcels(await source(world, ("a", 3))) == [(krems, "a", 3)]
    with pytest.raises(stock_errors.InsufficientStock):
        await source(world, ("a", 1))


async def test_racing_buyers_get_what_there_is_and_no_more(db: database.Database) -> None:
    """200 buyers for 7 units over 3 locations, in two processes' lanes."""
    async with worlds.StockWorld(db) as first, worlds.StockWorld(db, tenant_id=first.tenant_id) as second:
        await first.variants(["a"])
        made = [await place(first, at, a=units) for at, units in ((KREMS, 4), (GRAZ, 2), (SALZBURG, 1))]

        results = await outcomes(
            *(source(world, ("a", 1), splitting=Splitting.UNITS) for _ in range(100) for world in (first, second))
        )

        sold = [r for r in results if isinstance(r, stock_pb2.Reservation)]
        assert len(sold) == 7
        assert all(isinstance(r, stock_pb2.Reservation | stock_errors.InsufficientStock) for r in results)
        for location_id in made:
            await balanced(first, location_id)
        assert [(await first.level(at, "a")).available for at in made] == [0, 0, 0]


async def test_a_bundle_comes_whole_from_one_location_and_competes_for_its_components(world: worlds.StockWorld) -> None:
    await world.variants(["set", "a", "b"])
    await world.set_bundle("set", {"a": 2, "b": 1})
    krems, graz = await place(world, KREMS, a=3, b=1), await place(world, GRAZ, a=4, b=2)

    held = await source(world, ("SET", 2), ("a", 3), splitting=Splitting.UNITS)

    assert parcels(held) == [(krems, "a", 3), (graz, "a", 4), (graz, "b", 2)]
    for location_id in (krems, graz):
        await balanced(world, location_id)


async def test_a_shortage_of_a_bundle_says_where_there_are_some_and_what_is_short(world: worlds.StockWorld) -> None:
    await world.variants(["set", "a", "B"])
    await world.set_bundle("set", {"a": 2, "b": 1})
    krems, graz = await place(world, KREMS, a=8, B=1), await place(world, GRAZ, a=4, B=2)

    with pytest.raises(stock_errors.InsufficientStock) as refused:
        await source(world, ("set", 3), splitting=Splitting.UNITS)

    (line,) = refused.value.lines
    assert (line.sku, line.requested, line.available, line.together) == ("set", 3, 2, False)
    assert line.alternatives == ((graz, 2), (krems, 1))
    assert line.components == (("B", 3, 2),)


async def test_racing_sources_of_bundles_and_components_take_exactly_what_is_there(world: worlds.StockWorld) -> None:
    await world.variants(["set", "duo", "a", "b"])
    await world.set_bundle("set", {"a": 2, "b": 1})
    await world.set_bundle("duo", {"b": 2})
    made = [await place(world, at, a=10, b=6) for at in (KREMS, GRAZ, SALZBURG)]
    asked = [("set", 1), ("duo", 1), ("a", 1), ("b", 1)] * 10

    results = await outcomes(*(source(world, line) for line in asked))

    won = [line[0] for line, result in zip(asked, results, strict=True) if isinstance(result, stock_pb2.Reservation)]
    lost = [result for result in results if not isinstance(result, stock_pb2.Reservation)]
    assert all(isinstance(each, stock_errors.InsufficientStock) for each in lost)
    left = {sku: sum([(await world.level(at, sku)).available for at in made]) for sku in ("a", "b")}
    assert left["a"] == 30 - 2 * won.count("set") - won.count("a")
    assert left["b"] == 18 - won.count("set") - 2 * won.count("duo") - won.count("b")
    for location_id in made:
        assert min([(await world.level(location_id, sku)).available for sku in ("a", "b")]) >= 0
        await balanced(world, location_id)
