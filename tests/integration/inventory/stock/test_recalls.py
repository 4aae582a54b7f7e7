"""A recall holds everywhere, whoever is killed on the way: kill -9 before, amid and after its pass over the locations."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from pathlib import Path

import pytest

from services.inventory.handlers import settling_lots
from services.inventory.mapping import stock as stock_mapping
from services.inventory.store import lots as lot_store
from services.kit import database, errors
from tests import worlds
from tests.integration.inventory.stock.shelf import SKU, Shelf, day
from tillmesh.inventory.v1 import lots_pb2
from tillmesh.inventory.v1 import lots_service_pb2 as pb

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).parent / "recall_process.py"


@pytest.fixture
def shelf(world: worlds.StockWorld) -> Shelf:
    return Shelf(world)


async def killed(urls: tuple[str, str], shelf: Shelf, lot: lots_pb2.Lot, dies_after: int) -> bool:
    """A process that recalls a lot and is killed; whether it had answered."""
    told = {"urls": urls, "tenant_id": shelf.world.tenant_id, "lot": lot.id, "dies_after": dies_after}
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), json.dumps(told), env=env, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == -signal.SIGKILL
    return said == b"answered\n"


async def in_places(shelf: Shelf, count: int) -> tuple[list[str], lots_pb2.Lot]:
    """Locations with five units of a lot and one of none each, in the order of locks."""
    places = [await shelf.open(), *[await shelf.world.location() for _ in range(count - 1)]]
    lot = await shelf.lot("BAD", expires_on=day(90))
    for place in places:
        await shelf.bring(place, 5, "BAD")
        await shelf.bring(place, 1)
    return sorted(places, key=stock_mapping.location_uuid), lot


async def available(shelf: Shelf, places: list[str]) -> list[int]:
    return [(await shelf.world.level(place, SKU)).available for place in places]


@pytest.mark.parametrize(
    ("dies_after", "at_once"), [(0, [6, 6, 6]), (2, [1, 1, 6]), (-1, [1, 1, 1])], ids=["marked", "amid", "answered"]
)
async def test_every_unit_of_a_recalled_lot_leaves_availability_whatever_dies(
    shelf: Shelf, urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch, dies_after: int, at_once: list[int]
) -> None:
    places, lot = await in_places(shelf, 3)
    held = await shelf.hold(places[2], 2)

    answered = await killed(urls, shelf, lot, dies_after)

    assert answered == (dies_after < 0)
    assert await available(shelf, places) == [*at_once[:2], max(at_once[2] - 2, 1)]
    [known] = (await shelf.lots.ListLots(pb.ListLotsRequest(sku=SKU), None)).lots  # type: ignore[arg-type]
    assert known.HasField("recalled_at")
    monkeypatch.setattr(settling_lots, "LEFT_SECONDS", 0.0)
    async with worlds.StockWorld(shelf.world.db, tenant_id=shelf.world.tenant_id) as another:
        sweepers = [Shelf(another).sweeper, shelf.sweeper]
        await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers * 2))

    assert await available(shelf, places) == [1, 1, 1]
    await shelf.sweeper.sweep()
    moved = await shelf.world.rows("SELECT location_id, sum(quantity) FROM ledger WHERE reason = 11 GROUP BY 1")
    assert {stock_mapping.location_text(row[0]): row[1] for row in moved} == dict(zip(places, (5, 5, 3), strict=True))
    assert [(line.lot, line.quantity) for line in held.lines] == [("BAD", 2)]
    assert await shelf.world.rows("SELECT settled FROM lot") == [(True,)]
    again = await shelf.recall(lot, request_id="once")
    assert again.version == known.version == 2
    assert await shelf.proof() == []


async def test_a_repeat_of_a_recall_that_was_cut_off_brings_it_to_its_end(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling_lots, "HEADS_AT_ONCE", 2)
    places, lot = await in_places(shelf, 5)
    settle_some = settling_lots.settle_some

    async def cut_off(db: database.Database, tenant: str, of: lot_store.Of, after: uuid.UUID) -> uuid.UUID | None:
        if after.int:
            raise errors.Unavailable
        return await settle_some(db, tenant, of, after)

    with monkeypatch.context() as patched:
        patched.setattr(settling_lots, "settle_some", cut_off)
        with pytest.raises(errors.Unavailable):
            await shelf.recall(lot, request_id="once")
    assert await available(shelf, places) == [1, 1, 6, 6, 6]

    await shelf.recall(lot, request_id="once")

    assert await available(shelf, places) == [1] * 5
    assert await shelf.world.rows("SELECT settled FROM lot") == [(True,)]


async def test_units_that_come_while_a_recall_is_under_way_are_recalled_where_they_come(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 bring units of the lot to locations that never had it, on both sides of the recall's pass."""
    monkeypatch.setattr(settling_lots, "HEADS_AT_ONCE", 1)
    places, lot = await in_places(shelf, 2)
    new = [await shelf.world.location() for _ in range(10)]

    await asyncio.gather(shelf.recall(lot), *(shelf.bring(place, 3, "BAD") for place in new * 2))

    assert await available(shelf, [*places, *new]) == [1, 1, *[0] * 10]
    wrong = "SELECT count(*) FROM stock_lot s JOIN lot d ON d.code = s.lot WHERE s.recalled_at IS DISTINCT FROM d.recalled_at"
    assert await shelf.world.rows(wrong) == [(0,)]
    assert await shelf.proof() == []


async def test_changes_of_a_lot_at_once_leave_every_location_with_the_newest(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling_lots, "HEADS_AT_ONCE", 2)
    places, lot = await in_places(shelf, 5)

    await asyncio.gather(*(shelf.redate(lot, expires_on=day(10 + n)) for n in range(20)))

    [newest] = (await shelf.lots.ListLots(pb.ListLotsRequest(sku=SKU), None)).lots  # type: ignore[arg-type]
    ends = {row[0] for row in await shelf.world.rows("SELECT sell_until FROM stock_lot")}
    assert newest.version == 21
    async with shelf.world.db.transaction(shelf.world.tenant) as session:
        await lot_store.lock_heads(session)
        await lot_store.resettle(session, lot_store.Of(SKU.lower(), "BAD"))
    assert ends == {row[0] for row in await shelf.world.rows("SELECT sell_until FROM stock_lot")}
    assert len(ends) == 1
    assert await shelf.world.rows("SELECT settled FROM lot") == [(True,)]
    assert len(places) == 5
