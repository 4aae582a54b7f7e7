"""kill -9 before and after every effect: no order is lost, no unit stays held, nobody pays twice or for nothing."""

from __future__ import annotations

import ast
import asyncio
import multiprocessing
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.kit import errors
from services.orders import editing, placing
from services.orders.domain import sale
from services.orders.editing import effects as edit_effects
from services.orders.placing import effects
from tests.integration.orders.placing import crash_process
from tests.integration.orders.placing.crash_process import Scenario
from tests.integration.orders.placing.shop import LATE, PRICE, Shop
from tests.integration.orders.placing.test_tenders import issued, left

PAID = Scenario(("sim_ok", "sim_twice"))
REFUSED = Scenario(("sim_ok", "sim_capture_declined_late"))
CANCELLED = Scenario(("sim_ok", "sim_ok"), cancels=True)
DRAFTED = Scenario(("sim_ok", "sim_ok"), drafts=True)
DRAFT_REFUSED = Scenario(("sim_ok", "sim_capture_declined_late"), drafts=True)
SILENT = Scenario(("sim_ok", "sim_never"), resumes=True)
# Which life has an effect in it. What is missing here fails test_every_effect_has_a_life.
LIVES = {
    **dict.fromkeys(("guest", "numbers", "begin", "hold", "authorise", "confirm", "capture", "place"), PAID),
    **dict.fromkeys(("advance", "void", "refund", "release", "abandon"), REFUSED),
    **dict.fromkeys(("begin_cancel", "cancel"), CANCELLED),
    "begin_draft": DRAFTED,
    **dict.fromkeys(("postpone", "claim"), SILENT),
}


@pytest.fixture(scope="module")
def forks() -> Iterator[Any]:
    """Processes that begin with everything loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([crash_process.__name__])
    yield context


async def dies(forks: Any, shop: Shop, location: uuid.UUID, life: Scenario, at: str) -> None:
    given = (shop.place, uuid.UUID(shop.tenant.uuid), location, life, at)
    process = forks.Process(target=crash_process.die, args=given)
    process.start()
    await asyncio.to_thread(process.join, 60)
    assert process.exitcode == -signal.SIGKILL, f"{at} was never reached"


async def ready(shop: Shop) -> uuid.UUID:
    location = await shop.location()
    await shop.product("lip")
    await shop.stock(location, "lip", 10)
    return location


async def check(shop: Shop, location: uuid.UUID) -> list[sale.OrderState]:
    """Units and money are exactly those of the orders that are placed. Answers the orders' states."""
    states = [sale.OrderState(row.state) for row in await shop.rows("SELECT state FROM sales_order ORDER BY id")]
    ends = {sale.OrderState.PLACED, sale.OrderState.CANCELLED, sale.OrderState.EXPIRED, sale.OrderState.DRAFT}
    assert set(states) <= ends
    placed = states.count(sale.OrderState.PLACED)
    assert await shop.units(location, "lip") == (10 - 2 * placed, 0, 2 * placed)
    books = shop.books()
    assert (sum(open_ for open_, _, _ in books), sum(kept for _, kept, _ in books)) == (0, 2 * PRICE * placed)
    sent = await shop.rows("SELECT o.state FROM order_recipient r JOIN sales_order o ON o.id = r.order_id")
    assert {row.state for row in sent} <= {sale.OrderState.PLACED, sale.OrderState.CANCELLED}
    told = await shop.rows("SELECT key, seq_to FROM outbox WHERE type LIKE '%.Order%' ORDER BY key, seq_to")
    versions = await shop.rows("SELECT version FROM sales_order ORDER BY id")
    assert len(told) == sum(row.version for row in versions)
    return states


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("effect", effects.EFFECTS)
async def test_a_process_that_dies_leaves_nothing_open(forks: Any, shop: Shop, effect: str, when: str) -> None:
    location, life = await ready(shop), LIVES[effect]
    await dies(forks, shop, location, life, f"{effect}:{when}")

    await shop.resume(LATE if life is SILENT else "UPDATE order_saga SET due_at = now() WHERE finished_at IS NULL")

    states = await check(shop, location)
    if life is not PAID or f"{effect}:{when}" == "begin_cancel:before":
        return
    try:
        again = await shop.order(life.command(shop, location))
    except errors.Error as refusal:
        pytest.fail(f"refused afterwards: {refusal.reason}")
    assert again.state is sale.OrderState.PLACED
    assert (await check(shop, location)).count(sale.OrderState.PLACED) == 1
    assert len(states) <= 1, "the key is of one order"


@pytest.mark.parametrize("at", ["refund:before", "refund:after", "release:before", "release:after"])
async def test_a_cancellation_that_dies_is_brought_to_its_end(forks: Any, shop: Shop, at: str) -> None:
    location = await ready(shop)
    await dies(forks, shop, location, CANCELLED, at)

    await shop.resume()

    assert await check(shop, location) == [sale.OrderState.CANCELLED]


@pytest.mark.parametrize("at", ["hold:after", "authorise:after", "confirm:after", "capture:after"])
async def test_who_is_resumed_after_the_deadline_ends_without_units_and_money_or_with_both(
    forks: Any, shop: Shop, at: str
) -> None:
    location = await ready(shop)
    await dies(forks, shop, location, PAID, at)

    await shop.resume(LATE)

    states = await check(shop, location)
    assert states == [sale.OrderState.PLACED if at == "capture:after" else sale.OrderState.EXPIRED]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("effect", ["authorise", "capture", "place", "void", "refund"])
async def test_a_gift_card_beside_a_card_is_charged_for_what_is_placed_and_nothing_else(
    forks: Any, shop: Shop, effect: str, when: str
) -> None:
    """Of a refusal, the gift card comes first (taken, and given back) or last (set aside, and released)."""
    location = await ready(shop)
    card = await issued(shop, PRICE)
    refused = effect in ("void", "refund")
    tokens = {"void": ("sim_capture_declined_late", card), "refund": (card, "sim_capture_declined_late")}
    await dies(forks, shop, location, Scenario(tokens.get(effect, (card, "sim_ok"))), f"{effect}:{when}")

    await shop.resume()

    [state] = [sale.OrderState(row.state) for row in await shop.rows("SELECT state FROM sales_order")]
    assert state is (sale.OrderState.CANCELLED if refused else sale.OrderState.PLACED)
    assert await shop.units(location, "lip") == ((10, 0, 0) if refused else (8, 0, 2))
    assert await left(shop, card) == ((PRICE, 0) if refused else (0, 0))
    assert sum(kept for _, kept, _ in shop.books()) == (0 if refused else PRICE)
    entries = await shop.rows("SELECT sum(amount)::int AS held FROM stored_value_entry WHERE kind = 2")
    assert [row.held for row in entries] == [PRICE]


@pytest.mark.parametrize("at", ["begin_draft:after", "capture:after", "abandon:before", "abandon:after"])
async def test_a_draft_whose_placement_dies_is_placed_or_a_draft(forks: Any, shop: Shop, at: str) -> None:
    location = await ready(shop)
    life = DRAFT_REFUSED if at.startswith("abandon") else DRAFTED
    await dies(forks, shop, location, life, at)

    await shop.resume()

    placed = sale.OrderState.DRAFT if life is DRAFT_REFUSED else sale.OrderState.PLACED
    assert await check(shop, location) == [placed]


# --- no effect without a failpoint ---

FOLDERS = {"placing": Path(placing.__file__).parent, "editing": Path(editing.__file__).parent}
REGISTRIES = {"placing": effects.EFFECTS, "editing": edit_effects.EFFECTS}
OTHERS = [
    (folder, path.name) for folder, at in FOLDERS.items() for path in at.glob("*.py") if path.name != "effects.py"
]
EFFECTFUL = {"_stock", "_payments", "_customers"}


def test_every_effect_has_a_life_in_which_it_is_killed() -> None:
    assert set(LIVES) == set(effects.EFFECTS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_has_an_effect_is_in_the_registry_and_under_its_failpoint(folder: str) -> None:
    """Calls of ports, and transactions, are arguments of failpoints.effect, or in what is called only there."""
    tree = ast.parse((FOLDERS[folder] / "effects.py").read_text())
    wrapped = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node.func) == "failpoints.effect"
    ]
    names = [node.args[0].value for node in wrapped if isinstance(node.args[0], ast.Constant)]
    assert sorted(names) == sorted(REGISTRIES[folder])

    (cls,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name.endswith("Effects")]
    methods = {node.name: node for node in cls.body if isinstance(node, ast.AsyncFunctionDef)}
    private = {name for name in methods if name.startswith("_")}
    for name, method in methods.items():
        covered = {id(inner) for node in ast.walk(method) if node in wrapped for inner in ast.walk(node)}
        assigned = {
            target.id: node.value
            for node in ast.walk(method)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        used = {node.id for each in wrapped for node in ast.walk(each) if isinstance(node, ast.Name)}
        covered |= {id(inner) for var, value in assigned.items() if var in used for inner in ast.walk(value)}
        for node in ast.walk(method):
            if not isinstance(node, ast.Call) or id(node) in covered:
                continue
            called = _name(node.func)
            if called.startswith("self._") and called.split(".")[1] in EFFECTFUL:
                pytest.fail(f"{name}: {called} is under no failpoint")
            if called in {"self._db.transaction", "self._db.together", "self._db.worker"}:
                assert name in private, f"{name}: a transaction under no failpoint"
            if called.startswith("self._") and called.removeprefix("self.") in private and name not in private:
                pytest.fail(f"{name}: {called} is under no failpoint")


@pytest.mark.parametrize(("folder", "module"), sorted(OTHERS))
def test_the_other_modules_have_no_effects(folder: str, module: str) -> None:
    tree = ast.parse((FOLDERS[folder] / module).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _name(node.func)
            assert not called.endswith((".transaction", ".together", ".worker")), f"{module}: {called}"
            assert EFFECTFUL.isdisjoint(called.split(".")), f"{module}: {called}"


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
