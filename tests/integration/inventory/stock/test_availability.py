"""Promises of reads over many levels: availability of SKUs at locations, low stock, what is available by a date."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from services.inventory.domain import commands, stock_errors
from services.inventory.domain import levels as values
from services.inventory.mapping import availability
from services.inventory.mapping import stock as mapping
from services.inventory.store import availability as store
from services.inventory.store import stock as stock_store
from services.kit import database, errors, principal
from tests import worlds
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2

TOMORROW = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
Request = pb.BatchGetAvailabilityRequest


async def asked(world: worlds.StockWorld, **fields: Any) -> pb.BatchGetAvailabilityResponse:
    request = Request(**fields)
    return availability.response(await world.handlers.availability(availability.wanted(request)), request)


def cells(answer: pb.BatchGetAvailabilityResponse, numbers: str = "available") -> dict[tuple[str, str], int]:
    return {
        (row.sku, location): number
        for row in answer.rows
        for location, number in zip(answer.location_ids, getattr(row, numbers), strict=True)
    }


async def deliver(world: worlds.StockWorld, location_id: str, sku: str, *due: tuple[int, dt.datetime]) -> None:
    incoming = tuple(values.Incoming(quantity, eta, "") for quantity, eta in due)
    command = commands.SetPolicy(world.origin, sku, None, None, incoming, None)
    await world.handlers.write(location_id, command, world.key(), stock_pb2.StockLevel, mapping.reply_level)


async def run_out(world: worlds.StockWorld, location_id: str) -> None:
    """Lets every hold of a location have run out a moment ago, with no sweeper running."""
    async with world.db.transaction(world.tenant) as session:
        await session.execute(
            sa.text("UPDATE hold_bucket SET expires_at = now() - interval '1 s' WHERE location_id = :location"),
            {"location": mapping.location_uuid(location_id)},
        )


async def test_availability_of_skus_at_locations_is_what_each_level_says(world: worlds.StockWorld) -> None:
    skus = ["Alpha", "beta", "gamma"]
    places = [await world.location(() if n else skus) for n in range(4)]
    for n, place in enumerate(places[:3]):
        await world.adjust(place, "alpha", 10 + n)
        await world.adjust(place, "beta", 20 + n)
        await world.reserve(place, ("beta", n + 1))

    answer = await asked(world, skus=["BETA", "alpha", "gamma", "Alpha"], location_ids=places, include_on_hand=True)

    assert [row.sku for row in answer.rows] == ["beta", "Alpha", "gamma"]
    assert list(answer.location_ids) == sorted(places)
    for (sku, place), number in cells(answer).items():
        assert number == (await world.level(place, sku)).available
    for (sku, place), number in cells(answer, "on_hand").items():
        assert number == (await world.level(place, sku)).on_hand
    assert [(row.total_available, row.total_on_hand) for row in answer.rows] == [(57, 63), (33, 33), (0, 0)]


async def test_a_hold_that_ran_out_is_available_in_every_read(world: worlds.StockWorld) -> None:
    place = await world.location(["a"])
    await world.adjust(place, "a", 10)
    await world.reserve(place, ("a", 4))
    await run_out(world, place)

    answer = await asked(world, skus=["a"], location_ids=[place])
    [listed] = await world.handlers.list_levels(
        place, prefix="", at_most=None, at_least=None, order_by="available", after=None, limit=10
    )
    by_sku, sums = await world.handlers.list_sku("a", None, 10)

    assert cells(answer) == {("a", place): 10}
    assert (await world.level(place, "a")).available == listed.level.available == by_sku[0].level.available == 10
    assert sums[4] == answer.rows[0].total_available == 10


async def test_a_shortage_in_one_shop_takes_nothing_from_another(world: worlds.StockWorld) -> None:
    first, second = await world.location(["a"]), await world.location()
    await world.adjust(first, "a", 5)
    await world.adjust(second, "a", 3)
    await world.reserve(second, ("a", 3))
    await world.count(second, commands.Count("a", 1, 3))

    answer = await asked(world, skus=["a"], location_ids=[first, second])

    assert cells(answer) == {("a", first): 5, ("a", second): -2}
    assert answer.rows[0].total_available == 5


async def test_by_a_date_what_is_expected_until_then_is_there(world: worlds.StockWorld) -> None:
    place = await world.location(["a"])
    await world.adjust(place, "a", 2)
    late, later = TOMORROW - dt.timedelta(days=9), TOMORROW + dt.timedelta(days=9)
    await deliver(world, place, "a", (1, late), (10, TOMORROW), (100, later))
    request = Request(skus=["a"], location_ids=[place])
    request.at.FromDatetime(TOMORROW)

    answer = availability.response(await world.handlers.availability(availability.wanted(request)), request)
    level = mapping.level_at(place, await world.level(place, "a"), TOMORROW)

    assert cells(answer) == {("a", place): 2}
    assert cells(answer, "expected_available") == {("a", place): 13}
    assert (answer.rows[0].total_expected_available, level.available, level.expected_available) == (13, 2, 13)
    assert not mapping.level_at(place, await world.level(place, "a"), None).HasField("expected_available")


async def test_a_filter_keeps_locations_of_its_type_and_capability(world: worlds.StockWorld) -> None:
    shop, warehouse, closed = await world.location(["a"]), await world.location(), await world.location()
    async with world.db.transaction(world.tenant) as session:
        for place, change in ((warehouse, "type = 2, capabilities = '{1}'"), (closed, "closed = true")):
            statement = sa.text(f"UPDATE location SET {change} WHERE id = :location")  # the test's own
            await session.execute(statement, {"location": mapping.location_uuid(place)})

    assert list((await asked(world, skus=["a"])).location_ids) == sorted([shop, warehouse])
    assert list((await asked(world, skus=["a"], filter={"type": 1})).location_ids) == [shop]
    assert list((await asked(world, skus=["a"], filter={"capability": 1})).location_ids) == [warehouse]
    assert list((await asked(world, skus=["a"], location_ids=[closed])).location_ids) == [closed]


async def test_a_caller_reads_only_the_locations_of_the_token(world: worlds.StockWorld) -> None:
    mine, _other = await world.location(["a"]), await world.location()
    everywhere = world.caller
    principal.enter(principal.Principal("till", world.tenant_id, everywhere.roles, frozenset(), frozenset({mine}), 2e9))

    answer = await asked(world, skus=["a"])

    assert list(answer.location_ids) == [mine]


async def test_another_tenants_stock_is_never_in_the_matrix(world: worlds.StockWorld) -> None:
    place = await world.location(["a"])
    await world.adjust(place, "a", 1)
    async with worlds.StockWorld(world.db) as other:
        theirs = await other.location(["a"])

        assert list((await asked(other, skus=["a"])).location_ids) == [theirs]
        with pytest.raises(errors.NotFound):
            await asked(other, skus=["a"], location_ids=[place])


async def test_what_is_not_there_is_named(world: worlds.StockWorld) -> None:
    place = await world.location(["a"])
    with pytest.raises(stock_errors.SkuNotFound) as refused:
        await asked(world, skus=["a", "nobody"], location_ids=[place])
    assert refused.value.metadata == {"sku": "nobody"}


async def test_more_locations_than_a_call_may_read_are_refused(
    world: worlds.StockWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOCATIONS_MAX", 2)
    for n in range(3):
        await world.location(() if n else ["a"])
    with pytest.raises(errors.InvalidRequest):
        await asked(world, skus=["a"])


@pytest.mark.parametrize("order_by", ["available", "available desc"])
async def test_low_stock_comes_page_by_page_each_level_once(world: worlds.StockWorld, order_by: str) -> None:
    skus = [f"s{n:02d}" for n in range(23)]
    place = await world.location(skus)
    for n, sku in enumerate(skus):
        await world.adjust(place, sku, 1 + n * 7 % 5)
    read: list[Any] = []
    while True:
        after = (read[-1].sort_available, read[-1].level.sku) if read else None
        page = await world.handlers.list_levels(
            place, prefix="", at_most=4, at_least=None, order_by=order_by, after=after, limit=4
        )
        if not page:
            break
        read += page

    found = [(placed.level.available, placed.level.sku) for placed in read]
    expected = sorted((1 + n * 7 % 5, sku) for n, sku in enumerate(skus) if 1 + n * 7 % 5 <= 4)
    assert found == (expected[::-1] if order_by.endswith("desc") else expected)


async def test_low_stock_deep_in_a_location_is_read_without_sorting_it(world: worlds.StockWorld) -> None:
    async with world.db.read(world.tenant) as session:
        await session.execute(sa.text("SET LOCAL enable_sort = off"))  # of a table with few rows, sorting costs nothing
        plan = await session.execute(
            sa.text(
                """EXPLAIN SELECT sku FROM stock_level WHERE location_id = '00000000-0000-0000-0000-000000000000'
                   AND available <= 9 AND (available, sku_key) > (3, 'x') ORDER BY available, sku_key LIMIT 50"""
            )
        )
    text = "\n".join(row[0] for row in plan)
    assert "Sort" not in text


async def test_looking_for_what_is_due_reads_no_hold_that_is_not(db: database.Database) -> None:
    async with db.worker() as session:
        await session.execute(sa.text("SET LOCAL enable_seqscan = off"))  # a table without rows is always scanned
        plan = await session.execute(sa.text(f"EXPLAIN {stock_store.DUE.text}"), {"limit": 1000})
        text = "\n".join(row[0] for row in plan)
    assert "Index Cond: (expires_at <=" in text
