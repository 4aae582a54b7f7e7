"""Promises of thresholds, on a real database: what events tell, and what the list of a location says."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import sqlalchemy as sa

from services.inventory import sweeper
from services.inventory.domain import alerts, commands
from services.inventory.domain import levels as values
from services.inventory.mapping import stock as mapping
from tests import worlds
from tillmesh.inventory.v1 import inventory_events_pb2 as events_pb
from tillmesh.inventory.v1 import stock_pb2

Kind = values.AlertKind


async def watch(
    world: worlds.StockWorld, location_id: str, sku: str, low: int | None, rearm: int | None = None, **policy: Any
) -> stock_pb2.StockLevel:
    of = commands.Thresholds(True, low, rearm)
    parts = {"safety_stock": None, "backorder_limit": None, "incoming": None, **policy}
    command = commands.SetPolicy(world.origin, sku, **parts, thresholds=of)
    return await world.handlers.write(location_id, command, world.key(), stock_pb2.StockLevel, mapping.reply_level)


async def told(world: worlds.StockWorld, location_id: str) -> list[tuple[str, int, int, int]]:
    """Alerts of a location's events, in order: SKU, kind, available, threshold."""
    rows = await world.rows("SELECT data FROM outbox WHERE key = :key ORDER BY seq_to", key=location_id)
    changes = [change for row in rows for change in events_pb.StockChanged.FromString(row.data).changes]
    return [(a.sku, a.kind, a.available, a.threshold) for change in changes for a in change.alerts]


async def listed(world: worlds.StockWorld, location_id: str, kind: int = 0) -> list[tuple[str, int, int]]:
    page = await world.handlers.list_alerts(location_id, kind=kind, after=None, limit=100)
    return [(a.sku, a.kind, a.available) for a in map(mapping.level_alert, page)]


async def test_events_tell_each_crossing_once(world: worlds.StockWorld) -> None:
    location_id = await world.location(["Red-1"])
    await world.adjust(location_id, "Red-1", 20)
    level = await watch(world, location_id, "red-1", 10)
    assert (level.low_stock_threshold, level.rearm_threshold) == (10, 12)

    for delta in (-10, 2, -2, -10, 12, -3, 4, -13, 20):  # 10 low, 12, 10, 0 out, 12, 9, 13 back, 0 out, 20 back
        await world.adjust(location_id, "Red-1", delta)

    assert await told(world, location_id) == [
        ("Red-1", Kind.LOW_STOCK, 10, 10),
        ("Red-1", Kind.OUT_OF_STOCK, 0, 10),
        ("Red-1", Kind.BACK_IN_STOCK, 13, 10),
        ("Red-1", Kind.OUT_OF_STOCK, 0, 10),
        ("Red-1", Kind.BACK_IN_STOCK, 20, 10),
    ]


async def test_a_hold_that_runs_out_brings_stock_back(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 5)
    await watch(world, location_id, "a", 1)
    held = await world.reserve(location_id, ("a", 5), ttl=1)
    assert await listed(world, location_id) == [("a", Kind.OUT_OF_STOCK, 0)]
    ends = held.expires_at.ToDatetime().timestamp()

    expiry = sweeper.ExpirySweeper(world.db, world.lanes)
    while await listed(world, location_id):
        assert time.time() < ends + 10
        await expiry.sweep()
        await asyncio.sleep(0.05)

    assert [kind for _, kind, *_ in await told(world, location_id)] == [Kind.OUT_OF_STOCK, Kind.BACK_IN_STOCK]


async def test_a_sale_of_more_than_there_is_is_oversold(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a", "b"])
    for sku in ("a", "b"):
        await world.adjust(location_id, sku, 3)
    await watch(world, location_id, "a", 1)
    await watch(world, location_id, "b", 1, backorder_limit=2, safety_stock=2)

    sale = commands.Sale("ord", (commands.SaleLine("a", 4), commands.SaleLine("b", 5)), world.origin)
    command = commands.ApplySales("inventory", 1, 1, 1, (sale,))
    await world.handlers.write(location_id, command, world.key(), mapping.Counted, lambda *_: mapping.Counted())

    # What may be promised beyond what is there is no oversell, and safety stock is there.
    assert await told(world, location_id) == [("b", Kind.LOW_STOCK, 1, 1), ("a", Kind.OVERSOLD, -1, 1),
                                              ("b", Kind.OUT_OF_STOCK, -4, 1)]  # fmt: skip


async def test_clearing_a_threshold_ends_its_alert_silently(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await watch(world, location_id, "a", 3)
    assert await listed(world, location_id) == [("a", Kind.OUT_OF_STOCK, 0)]

    level = await watch(world, location_id, "a", None)

    assert not level.HasField("low_stock_threshold")
    assert not level.HasField("rearm_threshold")
    assert await listed(world, location_id) == []
    await world.adjust(location_id, "a", 50)
    assert len(await told(world, location_id)) == 1


async def test_a_re_arm_point_below_the_threshold_is_refused(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    with pytest.raises(alerts.InvalidThresholds):
        await watch(world, location_id, "a", 5, 4)
    with pytest.raises(alerts.InvalidThresholds):
        await watch(world, location_id, "a", None, 4)
    assert (
        await world.rows("SELECT 1 FROM stock_level WHERE location_id = :l", l=mapping.location_uuid(location_id)) == []
    )


async def test_the_list_is_by_urgency_in_pages_and_of_one_kind_if_asked(world: worlds.StockWorld) -> None:
    stock = {"low-1": 2, "low-2": 1, "out": 0, "fine": 50, "unwatched": 0}
    location_id = await world.location(list(stock))
    for sku, quantity in stock.items():
        if quantity:
            await world.adjust(location_id, sku, quantity)
        if sku != "unwatched":
            await watch(world, location_id, sku, 3)

    everything = await listed(world, location_id)
    assert everything == [("out", 2, 0), ("low-1", 3, 2), ("low-2", 3, 1)]
    assert await listed(world, location_id, Kind.LOW_STOCK) == everything[1:]
    after, pages = None, []
    while page := await world.handlers.list_alerts(location_id, kind=0, after=after, limit=1):
        pages.append(page[0].sku)
        after = (page[0].alert, values.fold(page[0].sku))
    assert pages == ["out", "low-1", "low-2"]


async def test_the_list_reads_only_what_has_an_alert(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    at = str(mapping.location_uuid(location_id))
    async with world.db.transaction(world.tenant) as session:
        await session.execute(
            sa.text("""INSERT INTO stock_level (tenant_id, location_id, sku_key, sku, version, updated_at, alert,
                           low_stock_threshold, rearm_threshold)
                       SELECT :tenant, :location, 's' || n, 's' || n, 1, now(), CASE WHEN n % 500 = 0 THEN 3 ELSE 0 END, 1, 2
                       FROM generate_series(1, 25000) n"""),
            {"tenant": world.tenant, "location": at},
        )
    query = """EXPLAIN (ANALYZE, FORMAT JSON) SELECT sku FROM stock_level WHERE location_id = :location AND alert > 0
               AND (alert, sku_key) > (2, 's') ORDER BY alert, sku_key LIMIT 51"""
    [(plan,)] = await world.rows(query, location=at)

    assert "stock_level_alert" in str(plan)
    assert "Sort" not in str(plan)
    assert len(await listed(world, location_id)) == 50
