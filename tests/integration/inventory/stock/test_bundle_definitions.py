"""Promises of bundles: what may become one, what is read of it, and what a change of it tells."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from services.inventory.domain import bundles, commands, stock_errors
from services.inventory.domain import levels as values
from services.inventory.mapping import availability
from services.inventory.mapping import stock as mapping
from services.kit import errors, principal
from tests import worlds
from tillmesh.inventory.v1 import catalog_pb2, inventory_events_pb2, stock_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as catalog
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

TOMORROW = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)


def contents(message: catalog_pb2.Variant | catalog_pb2.ItemSnapshot) -> dict[str, int]:
    return {each.sku: each.quantity for each in message.components}


async def stocked(world: worlds.StockWorld, **units: int) -> str:
    """A location with units of SKUs."""
    location = await world.location()
    for sku, quantity in units.items():
        await world.adjust(location, sku, quantity)
    return location


async def deliver(world: worlds.StockWorld, location_id: str, sku: str, quantity: int) -> None:
    incoming = (values.Incoming(quantity, TOMORROW - dt.timedelta(hours=1), "po"),)
    command = commands.SetPolicy(world.origin, sku, None, None, incoming, None)
    await world.handlers.write(location_id, command, world.key(), stock_pb2.StockLevel, mapping.reply_level)


async def told(world: worlds.StockWorld, location_id: str) -> list[inventory_events_pb2.StockChanged.Change]:
    """All changes of a location, as its events tell them."""
    rows = await world.rows("SELECT data FROM outbox WHERE key = :key ORDER BY seq_to", key=location_id)
    changes = [each for row in rows for each in inventory_events_pb2.StockChanged.FromString(row.data).changes]
    assert [each.seq for each in changes] == list(range(1, len(changes) + 1))
    return changes


async def cell(world: worlds.StockWorld, sku: str, location_id: str, at: dt.datetime | None = None) -> Any:
    request = pb.BatchGetAvailabilityRequest(skus=[sku], location_ids=[location_id], at=at)
    answer = availability.response(await world.handlers.availability(availability.wanted(request)), request)
    [row] = answer.rows
    return row.available[0], row.total_available, *row.expected_available


# --- the definition ---


async def test_what_a_bundle_consists_of_is_read_with_its_variant(world: worlds.StockWorld) -> None:
    await world.variants(["Gift", "set", "Red", "blue"])

    await world.set_bundle("SET", {"red": 2, "BLUE": 1})
    made = await world.set_bundle("gift", {"Set": 3, "blue": 5}, expected_version=1)

    assert (made.sku, made.version, contents(made)) == ("Gift", 2, {"set": 3, "blue": 5})
    assert await world.ask_catalog(catalog.GetVariantRequest(sku="gift")) == made
    product = await world.ask_catalog(catalog.GetProductRequest(product_id=made.product_id))
    assert {v.sku: contents(v) for v in product.variants} == {
        "Gift": {"set": 3, "blue": 5}, "set": {"Red": 2, "blue": 1}, "Red": {}, "blue": {},
    }  # fmt: skip
    listed = await world.ask_catalog(catalog.ListVariantsRequest(product_id=made.product_id))
    assert list(listed.variants) == list(product.variants)


async def test_an_item_snapshot_has_the_plain_skus_of_a_nested_bundle(world: worlds.StockWorld) -> None:
    location = await world.location(["gift", "set", "red", "blue"])
    await world.set_bundle("set", {"red": 2, "blue": 1})
    await world.set_bundle("gift", {"set": 3, "blue": 5})

    request = catalog.BatchResolveItemsRequest(location_id=location, codes=["gift", "red"])
    gift, red = (each.item for each in (await world.ask_catalog(request)).results)

    assert (contents(gift), contents(red)) == ({"blue": 8, "red": 6}, {})


async def test_a_bundle_that_would_break_a_rule_is_refused(world: worlds.StockWorld) -> None:
    await world.variants(["hamper", "gift", "set", "red"])
    await world.set_bundle("set", {"red": 2})
    await world.set_bundle("gift", {"set": 1})

    for sku, components in (("hamper", {"gift": 1}), ("set", {"gift": 1}), ("red", {"hamper": 1}), ("set", {"SET": 1})):
        with pytest.raises(errors.InvalidRequest):
            await world.set_bundle(sku, components)
    with pytest.raises(stock_errors.SkuNotFound):
        await world.set_bundle("hamper", {"green": 1})
    with pytest.raises(stock_errors.SkuNotFound):
        await world.set_bundle("box", {"red": 1})
    with pytest.raises(errors.VersionMismatch):
        await world.set_bundle("gift", {"red": 1}, expected_version=1)
    assert contents(await world.ask_catalog(catalog.GetVariantRequest(sku="gift"))) == {"set": 1}


async def test_a_repeated_request_defines_once(world: worlds.StockWorld) -> None:
    await world.variants(["set", "red"])
    first = await world.set_bundle("set", {"red": 2}, request_id="once")
    assert await world.set_bundle("set", {"red": 2}, request_id="once") == first
    with pytest.raises(errors.IdempotencyKeyReused):
        await world.set_bundle("set", {"red": 3}, request_id="once")


async def test_a_sku_with_stock_can_not_become_a_bundle(world: worlds.StockWorld) -> None:
    location = await world.location(["here", "coming", "owed", "red", "gone"])
    await world.adjust(location, "here", 1)
    await deliver(world, location, "coming", 1)
    await world.adjust(location, "owed", 1)
    await world.reserve(location, ("owed", 1))
    await world.adjust(location, "gone", 1)
    await world.adjust(location, "gone", -1)

    for sku in ("here", "coming", "owed"):
        with pytest.raises(bundles.SkuHasStock):
            await world.set_bundle(sku, {"red": 1})
    assert contents(await world.set_bundle("gone", {"red": 1})) == {"red": 1}


async def test_definitions_at_once_are_all_kept(world: worlds.StockWorld) -> None:
    location = await world.location(["red", *(f"set-{n}" for n in range(20))])
    await world.adjust(location, "red", 100)

    await asyncio.gather(*(world.set_bundle(f"set-{n}", {"red": n + 1}) for n in range(20)))

    assert [(await world.level(location, f"set-{n}")).available for n in range(20)] == [
        100 // (n + 1) for n in range(20)
    ]
    assert (await world.rows("SELECT version FROM bundle_set")) == [(20,)]
    assert (await world.rows("SELECT DISTINCT bundles FROM stock_head")) == [(20,)]
    await told(world, location)


# --- reads ---


async def test_a_bundle_is_available_as_often_as_its_scarcest_component(world: worlds.StockWorld) -> None:
    await world.variants(["gift", "Set", "red", "blue"])
    full, poor, empty = await stocked(world, red=9, blue=20), await stocked(world, red=1, blue=3), await stocked(world)
    await world.set_bundle("SET", {"red": 2, "blue": 1})
    await world.set_bundle("gift", {"set": 1, "blue": 6})
    await world.reserve(full, ("red", 2))

    for place, sets, gifts in ((full, 3, 2), (poor, 0, 0), (empty, 0, 0)):
        for sku, number in (("Set", sets), ("gift", gifts)):
            level = await world.level(place, sku)
            assert (level.sku, level.available) == (sku, number)
            assert (await cell(world, sku, place))[0] == number
    page, sums = await world.handlers.list_sku("set", None, 10)
    assert [(mapping.location_text(each.location), each.level.available) for each in page] == sorted(
        [(full, 3), (poor, 0)]
    )
    assert sums == (0, 0, 0, 0, 3, 0, 2)
    message = mapping.any_level(full, page[0].level)
    assert message.bundle
    assert (message.on_hand, message.reserved) == (0, 0)


async def test_holds_of_components_that_ran_out_are_available_again_in_every_read(world: worlds.StockWorld) -> None:
    await world.variants(["set", "red"])
    place = await stocked(world, red=6)
    await world.set_bundle("set", {"red": 2})
    await world.reserve(place, ("red", 3))
    assert (await world.level(place, "set")).available == 1
    async with world.db.transaction(world.tenant) as session:
        await session.execute(worlds.sa.text("UPDATE hold_bucket SET expires_at = now() - interval '1 s'"))

    assert (await world.level(place, "set")).available == 3
    assert (await cell(world, "set", place))[:2] == (3, 3)
    page, sums = await world.handlers.list_sku("set", None, 10)
    assert (page[0].level.available, sums[4]) == (3, 3)


async def test_what_is_expected_of_a_bundle_follows_from_its_components(world: worlds.StockWorld) -> None:
    await world.variants(["set", "red", "blue"])
    place = await stocked(world, red=1, blue=5)
    await world.set_bundle("set", {"red": 2, "blue": 1})
    await deliver(world, place, "red", 6)

    assert (await world.level(place, "set")).expected_by(TOMORROW) == 3
    assert (await world.level(place, "set")).expected_by(TOMORROW - dt.timedelta(days=1)) == 0
    assert await cell(world, "set", place, TOMORROW) == (0, 0, 3)


async def test_a_bundle_is_listed_and_summed_only_where_the_caller_may_see(world: worlds.StockWorld) -> None:
    await world.variants(["set", "red"])
    mine, _ = await stocked(world, red=4), await stocked(world, red=8)
    await world.set_bundle("set", {"red": 2})
    principal.enter(
        principal.Principal("me", world.tenant_id, frozenset({"associate"}), frozenset(), frozenset({mine}), 2e9)
    )

    page, sums = await world.handlers.list_sku("set", None, 10)

    assert [mapping.location_text(each.location) for each in page] == [mine]
    assert (sums[4], sums[6]) == (2, 1)


# --- what a change tells ---


async def test_a_definition_is_told_at_each_location_that_has_something_of_it(world: worlds.StockWorld) -> None:
    await world.variants(["gift", "set", "red", "blue"])
    place, other = await stocked(world, red=9), await stocked(world, blue=1)
    await world.set_bundle("set", {"red": 2})
    await world.set_bundle("gift", {"set": 2, "blue": 1})

    await world.set_bundle("set", {"red": 3})

    at_place = [{each.sku: each.available for each in change.levels} for change in await told(world, place)]
    assert at_place == [{"red": 9}, {"set": 4}, {"gift": 0}, {"set": 3, "gift": 0}]
    at_other = [{each.sku: each.available for each in change.levels} for change in await told(world, other)]
    assert at_other == [{"blue": 1}, {"gift": 0}, {"gift": 0, "set": 0}]
    assert all(each.bundle for each in (await told(world, place))[-1].levels)


async def test_the_version_of_what_is_told_rises_whatever_a_sku_becomes(world: worlds.StockWorld) -> None:
    await world.variants(["set", "red", "blue"])
    place = await stocked(world, red=9, set=1)
    await world.adjust(place, "set", -1)
    await world.set_bundle("set", {"red": 2})
    await world.set_bundle("set", {"blue": 2})
    await world.set_bundle("set", {"red": 4, "blue": 1})
    await world.set_bundle("set", {})
    await world.adjust(place, "set", 3)
    await world.adjust(place, "set", -3)
    await world.set_bundle("set", {"red": 3})

    levels = [level for change in await told(world, place) for level in change.levels if level.sku == "set"]

    assert [(level.bundle, level.available) for level in levels] == [
        (False, 1), (False, 0), (True, 4), (True, 0), (True, 0), (False, 0), (False, 3), (False, 0), (True, 3),
    ]  # fmt: skip
    assert [level.version for level in levels] == sorted({level.version for level in levels})
    read = mapping.any_level(place, await world.level(place, "set"))
    assert read == levels[-1]


async def test_a_new_location_starts_with_the_bundles_in_force(world: worlds.StockWorld) -> None:
    await world.variants(["set", "red"])
    await world.set_bundle("set", {"red": 2})
    location = catalog_pb2.Location(
        code="new", name="New", type=catalog_pb2.LOCATION_TYPE_STORE, timezone="UTC", currency_code="EUR"
    )
    made = await world.ask_catalog(catalog.CreateLocationRequest(location=location))

    assert await world.rows("SELECT bundles FROM stock_head") == [(1,)]
    assert (await world.level(made.id, "set")).available == 0
