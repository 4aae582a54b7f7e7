"""Promises of a stock stream about bundles: each change of a component tells them, and so does a definition."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from services.inventory import lane
from services.inventory.domain import commands
from services.inventory.handlers import stock as handlers
from services.inventory.mapping import stock as mapping
from services.inventory.watch import source
from tests.integration.inventory.watch.tills import Frame, Shop, Till
from tillmesh.inventory.v1 import stock_pb2
from tillmesh.inventory.v1.inventory_events_pb2 import StockChanged


async def assorted(shop: Shop) -> str:
    location_id = await shop.location(["red", "blue", "green", "set", "gift", "far"])
    for sku, units in (("red", 10), ("blue", 4)):
        await shop.adjust(location_id, sku, units)
    await shop.set_bundle("set", {"red": 2, "blue": 1})
    await shop.set_bundle("gift", {"set": 2})
    await shop.set_bundle("far", {"green": 1})
    return location_id


def shown(till: Till) -> dict[str, int]:
    return {sku: level.available for sku, level in till.levels.items()}


def changed(frame: Frame) -> dict[str, int]:
    return {change.level.sku: change.level.available for change in frame.changes.changes}


async def test_a_snapshot_has_the_bundles_of_which_there_is_a_component(shop: Shop) -> None:
    location_id = await assorted(shop)
    till = await Till(shop, shop.watch(), location_id).connect()
    await till.snapshot()

    assert shown(till) == {"red": 10, "blue": 4, "set": 4, "gift": 2}
    assert [sku for sku, level in till.levels.items() if level.bundle] == ["gift", "set"]
    assert till.frames[-1].snapshot_chunk.seq == await shop.head(location_id)


async def test_each_change_of_a_component_tells_its_bundles(shop: Shop) -> None:
    location_id = await assorted(shop)
    till = await Till(shop, shop.watch(), location_id).connect()
    await till.snapshot()

    await shop.adjust(location_id, "red", -5)
    assert changed(await till.next()) == {"red": 5, "set": 2, "gift": 1}
    await shop.reserve(location_id, ("gift", 1))
    assert changed(await till.next()) == {"red": 1, "blue": 2, "set": 0, "gift": 0}
    await shop.adjust(location_id, "green", 7)
    assert changed(await till.next()) == {"green": 7, "far": 7}


async def test_a_filter_of_a_bundle_tells_that_bundle_only(shop: Shop) -> None:
    location_id = await assorted(shop)
    till = await Till(shop, shop.watch(), location_id).connect(skus=("SET",))
    await till.snapshot()
    assert shown(till) == {"set": 4}

    await shop.adjust(location_id, "green", 1)
    await shop.adjust(location_id, "blue", -1)
    assert changed(await till.until(lambda frame: bool(frame.changes.changes))) == {"set": 3}


async def test_a_definition_is_told_without_a_change_of_stock(shop: Shop) -> None:
    location_id = await assorted(shop)
    till = await Till(shop, shop.watch(poll_seconds=0.05), location_id).connect()
    await till.snapshot()

    await shop.set_bundle("set", {"blue": 4})
    assert changed(await till.until(lambda frame: bool(frame.changes.changes))) == {"set": 1, "gift": 0}
    await shop.set_bundle("gift", {})
    assert changed(await till.until(lambda frame: bool(frame.changes.changes))) == {"gift": 0}
    assert not till.levels["gift"].bundle


@pytest.mark.parametrize("per_statement", [1, 2, 3])
async def test_a_snapshot_of_very_many_bundles_has_each_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, per_statement: int
) -> None:
    monkeypatch.setattr(source.bundles, "LISTED_MAX", per_statement)
    location_id = await assorted(shop)
    await shop.adjust(location_id, "green", 1)
    till = await Till(shop, shop.watch(), location_id).connect()

    await till.snapshot()

    assert shown(till) == {"red": 10, "blue": 4, "green": 1, "set": 4, "gift": 2, "far": 1}
    came = [level.sku for frame in till.frames for level in frame.snapshot_chunk.levels]
    assert len(came) == 6
    assert [frame.snapshot_chunk.last for frame in till.frames] == [False] * (len(till.frames) - 1) + [True]


BUNDLES, COMMANDS = (
    100,
    60,
)  # as many bundles as a component may be in, and more levels of them than an event tells one by one
MANY = """
INSERT INTO bundle_set VALUES (:tenant, 1) ON CONFLICT (tenant_id) DO UPDATE SET version = 1;
INSERT INTO bundle SELECT :tenant, 'b' || n, 1 FROM generate_series(1, :count) n;
INSERT INTO bundle_component SELECT :tenant, 'b' || n, 0, 'c', 'c', n FROM generate_series(1, :count) n;
INSERT INTO bundle_part SELECT :tenant, 'b' || n, 'c', 'c', n FROM generate_series(1, :count) n;
UPDATE stock_head SET bundles = 1;
"""


async def test_what_an_event_can_not_tell_one_by_one_it_tells_at_its_end(shop: Shop) -> None:
    """60 commands of one batch change 100 bundles each: 5,000 levels come with their commands, 100 with the last one."""
    names = [f"b{n}" for n in range(1, BUNDLES + 1)]
    location_id = await shop.location(["c", *names])
    async with shop.db.transaction(shop.tenant) as session:
        for statement in MANY.strip().split(";\n"):
            await session.execute(sa.text(statement), {"tenant": shop.tenant, "count": BUNDLES})
    await shop.adjust(location_id, "c", 1000)
    every = await Till(shop, shop.watch(), location_id).connect()
    one = await Till(shop, shop.watch(), location_id).connect(skus=("b100",))
    behind = await Till(shop, shop.watch(), location_id).connect()
    for till in (every, one, behind):
        await till.snapshot()
    await behind.leave()

    at = handlers.lane_key(shop.tenant_id, location_id)
    takes = commands.Adjust(shop.origin, "c", -9, reason=1)
    batch = [lane.Submission(takes, shop.key(), stock_pb2.StockLevel, mapping.reply_level) for _ in range(COMMANDS)]
    answers = await shop.runner.run([(at, submission) for submission in batch])
    assert not [answer for answer in answers if isinstance(answer, Exception)]

    head = await shop.head(location_id)
    later = await Till(shop, shop.watch(), location_id).connect(token=behind.token)
    for till in (every, one, later):
        await till.reach(head)
    left = 1000 - 9 * COMMANDS
    right = {name: left // n for n, name in enumerate(names, 1)}
    assert shown(every) == {"c": left, **right}
    assert shown(one) == {"b100": right["b100"]}
    assert {sku: units for sku, units in shown(later).items() if sku != "c"} == right
    [(data,)] = await shop.rows("SELECT data FROM outbox WHERE seq_to = :seq AND key = :key", seq=head, key=location_id)
    told = [sum(level.bundle for level in change.levels) for change in StockChanged.FromString(data).changes]
    assert told == [BUNDLES] * 50 + [0] * 9 + [BUNDLES]
