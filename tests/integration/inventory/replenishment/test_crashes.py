"""A document and the stock never diverge: kill -9 between the steps, and whoever comes by finishes exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from services.kit import database
from tests.integration.inventory.replenishment import buying
from tests.integration.inventory.replenishment.buying import APPLIED, PENDING
from tillmesh.inventory.v1 import replenishment_service_pb2 as pb

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).parent / "document_process.py"
DUE = "UPDATE document_effect SET due_at = now() WHERE applied_at IS NULL"
LONG_AGO = "UPDATE document_effect SET created_at = now() - interval '4 days', due_at = now() WHERE applied_at IS NULL"
FORGOTTEN = "UPDATE idempotency SET key = 'forgotten:' || key WHERE method = 'DocumentEffect'"


async def dies(urls: tuple[str, str], world: buying.BuyingWorld, when: str, **given: Any) -> None:
    """A process that does the first part and is killed."""
    told = {"urls": urls, "tenant_id": world.tenant_id, "dies": when, "order": "", "count": "", **given}
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}"}
    process = await asyncio.create_subprocess_exec(sys.executable, str(SCRIPT), json.dumps(told), env=env)
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL


async def resume(world: buying.BuyingWorld, urls: tuple[str, str]) -> None:
    """Several processes find what is left over at the same time."""
    other = database.Database(*urls)
    await other.open()
    async with buying.BuyingWorld(other, tenant_id=world.tenant_id) as second:
        rows = await world.rows("SELECT document_id FROM document_effect WHERE applied_at IS NULL")
        documents = {row.document_id for row in rows}
        finishing = [w.effects.finish(w.tenant_id, d) for d in documents for w in (world, second) for _ in range(4)]
        await asyncio.gather(world.resumer.resume(), second.resumer.resume(), *finishing)
    await other.close()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("age", ["at once", "after the lane's memory"])
async def test_a_receipt_is_in_the_stock_exactly_once(
    urls: tuple[str, str], world: buying.BuyingWorld, when: str, age: str
) -> None:
    location_id = await world.location(["a", "b"])
    order = await world.placed(location_id, {"a": 10, "b": 2})
    lines = {"a": {"accepted": 4, "damaged": 2}, "b": 2}

    await dies(urls, world, when, order=order.id, lines=lines)

    [receipt] = (await world.call(pb.ListPurchaseReceiptsRequest(purchase_order_id=order.id))).receipts
    seen = await world.order(order.id)
    assert (receipt.stock_effect, seen.stock_effect, seen.lines[0].received) == (PENDING, PENDING, 6)
    assert (await world.level(location_id, "a")).on_hand == (6 if when == "after" else 0)
    await world.execute(DUE if age == "at once" else LONG_AGO)
    if age != "at once":
        await world.execute(FORGOTTEN)

    await resume(world, urls)
    again = await world.receive(order.id, lines, request_id="truck")

    reference = (1, "purchase_order", "PO-000001/1")
    moves = [("a", 1, 2, 4, *reference), ("a", 1, 5, 2, *reference), ("b", 1, 2, 2, *reference)]
    assert await world.ledger(location_id) == moves
    assert (again.id, again.stock_effect) == (receipt.id, APPLIED)
    assert await world.incoming(location_id, "a") == [(4, order.number)]
    [(seq,)] = await world.rows("SELECT DISTINCT seq FROM ledger WHERE ref_id = 'PO-000001/1'")
    assert again.seq == seq


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_approved_count_is_in_the_stock_exactly_once(
    urls: tuple[str, str], world: buying.BuyingWorld, when: str
) -> None:
    location_id = await world.location(["a", "b"])
    await world.adjust(location_id, "a", 10)
    await world.adjust(location_id, "b", 10)
    count = await world.opened(location_id, "a", "b")
    await world.counted(count.id, a=7, b=12)
    await world.submitted(count.id)

    await dies(urls, world, when, count=count.id)

    assert (await world.call(pb.GetCycleCountRequest(count_id=count.id))).stock_effect == PENDING
    await world.execute(DUE)
    await resume(world, urls)

    after = await world.call(pb.GetCycleCountRequest(count_id=count.id))
    assert (after.stock_effect, after.seq) == (APPLIED, 3)
    assert [(await world.level(location_id, sku)).on_hand for sku in ("a", "b")] == [7, 12]
    assert len(await world.ledger(location_id)) == 4
    await world.opened(location_id, "a", "b")  # the SKUs may be counted again


async def test_the_task_of_a_running_process_finishes_what_is_due(
    urls: tuple[str, str], world: buying.BuyingWorld
) -> None:
    location_id = await world.location(["a"])
    order = await world.placed(location_id, {"a": 10})
    await dies(urls, world, "before", order=order.id, lines={"a": 10})
    await world.execute(DUE)

    task = asyncio.create_task(world.resumer.run())
    async with asyncio.timeout(60):  # another test's process may still hold the lease, for 15 seconds
        while (await world.order(order.id)).stock_effect != APPLIED:
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert (await world.level(location_id, "a")).on_hand == 10


async def test_what_is_not_due_is_left_to_who_kept_it(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a"])
    order = await world.placed(location_id, {"a": 2})
    await world.receive(order.id, {"a": 1})

    assert await world.resumer.resume() == 0
    assert await world.rows("SELECT 1 FROM document_effect WHERE applied_at IS NULL OR attempts > 0") == []


async def test_a_step_that_fails_is_tried_again_later_and_does_not_stop_others(world: buying.BuyingWorld) -> None:
    """A step that no lane can do, before one that any can."""
    location_id = await world.location(["a"])
    broken, whole = await world.placed(location_id, {"a": 2}), await world.placed(location_id, {"a": 3})
    again = """
        UPDATE document_effect SET applied_at = NULL, due_at = now(),
            command = jsonb_build_object('kind', CAST(:kind AS text), 'reference', ref_id, 'lines', '[["a", 1, null]]'::jsonb)
        WHERE ref_id = :number
    """
    await world.execute(again, number=broken.number, kind="never heard of")
    await world.execute(again, number=whole.number, kind="expect")

    assert await world.resumer.resume() == 2

    pending = await world.rows(
        "SELECT ref_id, attempts, due_at > now() AS later FROM document_effect WHERE applied_at IS NULL"
    )
    assert [tuple(row) for row in pending] == [(broken.number, 1, True)]
    assert await world.resumer.resume() == 0
