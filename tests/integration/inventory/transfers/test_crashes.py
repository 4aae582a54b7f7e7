"""A transfer and the stock of its ends never diverge: kill -9 at each step, and whoever comes by finishes exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from services.inventory.handlers import transfers
from services.kit import database
from tests.integration.inventory.replenishment.buying import APPLIED, PENDING
from tests.integration.inventory.stock import shelf
from tests.integration.inventory.transfers import moving
from tests.integration.inventory.transfers.moving import DRAFT, READY, MovingWorld

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).parent / "transfer_process.py"
DUE = "UPDATE document_effect SET due_at = now() WHERE applied_at IS NULL"
LONG_AGO = """
    UPDATE document_effect SET created_at = now() - interval '4 days', due_at = now() WHERE applied_at IS NULL
"""
FORGOTTEN = "UPDATE idempotency SET key = 'forgotten:' || key WHERE method = 'DocumentEffect'"
LATER = """
    WITH sooner AS (UPDATE hold SET expires_at = expires_at - interval '10 min' RETURNING 1)
    UPDATE hold_bucket SET expires_at = expires_at - interval '10 min'
"""

# Of ten units at the origin six are in the transfer: what each step leaves (on hand, available, allocated, in transit)
# at the origin and the destination, once it is done.
STEPS: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {
    "ready": ({}, (10, 4, 6, 0), (0, 0, 0, 0)),
    "cancel": ({}, (10, 10, 0, 0), (0, 0, 0, 0)),
    "ship": ({"lines": {"a": 5}}, (5, 5, 0, 0), (0, 0, 0, 5)),
    "arrive": ({"lines": {"a": {"accepted": 2, "damaged": 1, "lost": 1}}}, (4, 4, 0, 0), (3, 2, 0, 2)),
    "close": ({}, (4, 4, 0, 0), (0, 0, 0, 0)),
}


USUAL: dict[str, Any] = {"method": "DocumentEffect", "fields": {}, "same_hold_seconds": 0}


async def dies(urls: tuple[str, str], world: MovingWorld, when: str, **given: Any) -> None:
    """A process that does the first part and is killed."""
    told = {"urls": urls, "tenant_id": world.tenant_id, "dies": when, **USUAL, **given}
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}"}
    process = await asyncio.create_subprocess_exec(sys.executable, str(SCRIPT), json.dumps(told), env=env)
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL


async def resume(world: MovingWorld, urls: tuple[str, str]) -> None:
    """Several processes find what is left over at the same time."""
    other = database.Database(*urls)
    await other.open()
    async with moving.MovingWorld(other, tenant_id=world.tenant_id) as second:
        rows = await world.rows("SELECT document_id FROM document_effect WHERE applied_at IS NULL")
        documents = {row.document_id for row in rows}
        finishing = [w.effects.finish(w.tenant_id, d) for d in documents for w in (world, second) for _ in range(4)]
        await asyncio.gather(world.resumer.resume(), second.resumer.resume(), *finishing)
    await other.close()


async def before(world: MovingWorld, step: str, here: str, there: str) -> str:
    """A transfer on which the step is the next."""
    draft = await world.drafted(here, there, {"a": 6})
    if step != "ready":
        await world.ready(draft.id)
    if step in ("arrive", "close"):
        await world.ship(draft.id)
    return draft.id


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("ready", "after"),  # before: test_a_promise_that_was_decided…
        ("cancel", "before"),
        ("ship", "before"),
        ("ship", "after"),
        ("arrive", "before"),
        ("arrive", "after"),
        ("close", "before"),
    ],
)
async def test_a_step_is_in_the_stock_of_both_ends_exactly_once(
    urls: tuple[str, str], world: MovingWorld, step: str, when: str
) -> None:
    fields, origin, destination = STEPS[step]
    here, there = await world.ends(a=10)
    transfer = await before(world, step, here, there)
    at_first = await world.units(here), await world.units(there)

    await dies(urls, world, when, step=step, transfer=transfer, fields=fields)

    seen = await world.transfer(transfer)
    held = (10, 4, 0, 0)  # a transfer that is being made ready has its hold already
    done_before = (held, at_first[1]) if step == "ready" else at_first
    assert seen.stock_effect == PENDING
    assert (await world.units(here), await world.units(there)) == (
        (origin, destination) if when == "after" else done_before
    )
    await world.execute(DUE)
    await resume(world, urls)
    again = await getattr(world, step)(transfer, **fields, request_id="once")

    assert (again.state, again.stock_effect) == (seen.state, APPLIED)
    assert (await world.units(here), await world.units(there)) == (origin, destination)
    assert await world.exceptions(here) == await world.exceptions(there) == []
    assert await world.differences(here, there) == []


# Six units are ready, three of each lot.
LOTS: dict[str, tuple[dict[str, Any], dict[str, dict[str, int]]]] = {
    "ship": (
        {"lines": {shelf.SKU: 5}},
        {"LATE": {"shipped": 2, "outstanding": 2}, "SOON": {"shipped": 3, "outstanding": 3}},
    ),
    "arrive": (
        {"lines": {shelf.SKU: [{"accepted": 3, "lost": 1}, {"lot": "LATE", "accepted": 1}]}},
        {"LATE": {"shipped": 3, "received": 1, "lost": 1, "outstanding": 1}, "SOON": {"shipped": 3, "received": 3}},
    ),
}


@pytest.mark.parametrize(
    ("step", "when", "forgotten"),
    [("ship", "after", True), ("arrive", "before", False), ("arrive", "after", True)],
)
async def test_the_lots_of_a_step_are_known_whoever_was_killed(
    urls: tuple[str, str], world: MovingWorld, step: str, when: str, forgotten: bool
) -> None:
    """Also of a step that the lane has forgotten: the ledger remembers which lots it moved."""
    milk = shelf.Shelf(world)
    here, there = await milk.open(), await world.location()
    for code, ends in (("LATE", 9), ("SOON", 5)):
        await milk.bring(here, 3, code, expires_on=shelf.day(ends))
    draft = await world.drafted(here, there, {shelf.SKU: 6})
    await world.ready(draft.id)
    if step == "arrive":
        await world.ship(draft.id)
    fields, known = LOTS[step]

    await dies(urls, world, when, step=step, transfer=draft.id, fields=fields)
    if forgotten:
        await world.execute(LONG_AGO)
        await world.execute(FORGOTTEN)
    await world.execute(DUE)
    await resume(world, urls)

    assert (await world.transfer(draft.id)).stock_effect == APPLIED
    assert await world.of_lots(draft.id) == known
    on_the_road = {code: of["in_transit"] for code, of in (await milk.on_hand(there)).items() if "in_transit" in of}
    assert on_the_road == {code: of["outstanding"] for code, of in known.items() if "outstanding" in of}
    assert await world.differences(here, there) == []


async def test_a_step_that_the_lane_has_forgotten_is_found_in_the_ledger(
    urls: tuple[str, str], world: MovingWorld
) -> None:
    fields, origin, destination = STEPS["ship"]
    here, there = await world.ends(a=10)
    transfer = await before(world, "ship", here, there)
    await dies(urls, world, "after", step="ship", transfer=transfer, fields=fields)

    await world.execute(LONG_AGO)
    await world.execute(FORGOTTEN)
    await resume(world, urls)

    assert (await world.transfer(transfer)).stock_effect == APPLIED
    assert (await world.units(here), await world.units(there)) == (origin, destination)


async def test_a_hold_that_was_made_for_a_transfer_that_never_got_ready_ends_by_itself(
    urls: tuple[str, str], world: MovingWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    always = 10**10  # seconds: no half minute ends while this runs
    monkeypatch.setattr(transfers, "SAME_HOLD_SECONDS", always)
    here, there = await world.ends(a=10)
    draft = await world.drafted(here, there, {"a": 6})
    given = {"step": "ready", "method": "HoldTransfer", "same_hold_seconds": always}
    await dies(urls, world, "after", transfer=draft.id, **given)
    assert (await world.transfer(draft.id)).state == DRAFT
    assert await world.units(here) == (10, 4, 0, 0)

    ready = await world.ready(draft.id)  # it meets the same hold: there are too few units for two

    assert (ready.state, await world.units(here)) == (READY, (10, 4, 6, 0))
    await world.cancel(draft.id)
    other = await world.drafted(here, there, {"a": 6})
    await dies(urls, world, "after", transfer=other.id, **given)
    await world.execute(LATER)
    assert (await world.adjust(here, "a", 1)).available == 11
    assert await world.differences(here, there) == []


async def test_a_promise_that_was_decided_is_kept_though_nobody_came_to_confirm_its_hold(
    urls: tuple[str, str], world: MovingWorld
) -> None:
    here, there = await world.ends(a=10)
    draft = await world.drafted(here, there, {"a": 6})
    await dies(urls, world, "before", step="ready", transfer=draft.id)
    await world.execute(LATER)
    await world.sell(here, "a", 7)

    await world.execute(DUE)
    await resume(world, urls)

    assert (await world.transfer(draft.id)).stock_effect == APPLIED
    assert await world.units(here) == (3, -3, 6, 0)
    assert [(kind, units) for kind, units, _ in await world.exceptions(here)] == [(1, 3)]
    assert await world.differences(here, there) == []
