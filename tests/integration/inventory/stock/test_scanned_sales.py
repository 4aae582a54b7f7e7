"""Sales whose lot was scanned, as their event tells them: they take units of that lot, which becomes known if nobody knew it."""

from __future__ import annotations

import datetime as dt

import pytest

from services.inventory import consumers
from services.kit import clock, ids
from services.kit.inbox import Outcome
from tests import worlds
from tests.integration.inventory.stock.shelf import SKU, Shelf, day
from tillmesh.common.v1 import event_pb2
from tillmesh.orders.v1 import orders_events_pb2

EXPIRED_LOT_SOLD, LOT_OVERSOLD = 4, 6
Line = orders_events_pb2.SalesRecorded.Line
Scanned = orders_events_pb2.SalesRecorded.ScannedLot


@pytest.fixture
def shelf(world: worlds.StockWorld) -> Shelf:
    return Shelf(world)


def told(shelf: Shelf, location_id: str, *lines: Line) -> event_pb2.EventEnvelope:
    """The event of a location's first sale."""
    sold = orders_events_pb2.SalesRecorded(location_id=location_id)
    now = clock.timestamp(dt.datetime.now(dt.UTC))
    sold.sales.add(seq=1, order_id=ids.new("ord"), actor="till", lines=lines, occurred_at=now)
    return event_pb2.EventEnvelope(
        id=ids.new("evt"),
        type=sold.DESCRIPTOR.full_name,
        tenant_id=shelf.world.tenant_id,
        key=location_id,
        epoch=1,
        seq_from=1,
        seq_to=1,
        data=sold.SerializeToString(),
    )


async def exceptions(shelf: Shelf) -> list[tuple[int, str, int]]:
    rows = await shelf.world.rows("SELECT kind, lot, quantity FROM stock_exception ORDER BY kind")
    return [tuple(row) for row in rows]


async def test_a_scanned_lot_is_taken_once_and_one_that_nobody_brought_in_becomes_known(shelf: Shelf) -> None:
    here = await shelf.open()
    await shelf.bring(here, 5, "FIRST", expires_on=day(3))
    await shelf.bring(here, 5, "KNOWN", expires_on=day(9))
    effect = consumers.SalesEffect(shelf.world.db, shelf.world.lanes)
    event = told(
        shelf,
        here,
        Line(sku=SKU, quantity=2, lot="KNOWN", scanned=Scanned(expires_on=day(8))),  # brought in with another date
        Line(sku=SKU, quantity=1, lot="OLD", scanned=Scanned(expires_on=day(-3), best_before_on=day(-4))),
        Line(sku=SKU, quantity=1, lot="TYPED"),
        Line(sku=SKU, quantity=1, lot="WRONG", scanned=Scanned(expires_on=day(1), produced_on=day(2))),
        Line(sku="nowhere", quantity=1, lot="OLD", scanned=Scanned()),
    )

    assert [await effect.apply(event) for _ in range(2)] == [Outcome.APPLIED] * 2  # the second from memory

    assert {lot: units["on_hand"] for lot, units in (await shelf.on_hand(here)).items()} == {
        "FIRST": 3, "KNOWN": 3, "OLD": -1,
    }  # fmt: skip
    assert await exceptions(shelf) == [(2, "", 1), (EXPIRED_LOT_SOLD, "OLD", 1), (LOT_OVERSOLD, "OLD", 1)]
    (known,) = await shelf.world.rows("SELECT expires_on, best_before_on FROM lot WHERE code = 'OLD'")
    assert [each.isoformat() for each in known] == [day(-3), day(-4)]
    assert await shelf.world.rows("SELECT code FROM lot WHERE code IN ('TYPED', 'WRONG')") == []
    assert await shelf.proof() == []


async def test_a_scanned_lot_of_what_is_not_kept_by_lots_takes_units_of_none(shelf: Shelf) -> None:
    here = await shelf.world.location(["plain"])
    await shelf.world.adjust(here, "plain", 5)
    effect = consumers.SalesEffect(shelf.world.db, shelf.world.lanes)

    await effect.apply(told(shelf, here, Line(sku="plain", quantity=2, lot="L", scanned=Scanned())))

    assert (await shelf.world.level(here, "plain")).on_hand == 3
    assert await exceptions(shelf) == []
