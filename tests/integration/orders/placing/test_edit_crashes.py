"""kill -9 before and after every effect of an edit: the order ends wholly changed or wholly as it was, its units and money too."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest

from services.orders.domain import placed_order, sale
from services.orders.editing import effects
from tests.integration.orders.placing.crash_process import Scenario
from tests.integration.orders.placing.shop import DUE, LATE, PRICE, Shop
from tests.integration.orders.placing.test_crashes import dies, forks

__all__ = ["forks"]

PLACED = ("sim_ok", "sim_twice")
EDITED = Scenario(PLACED, edit=("sim_twice", "sim_ok"))
REFUSED = Scenario(PLACED, edit=("sim_ok", "sim_capture_declined_late"))
LOWERED = Scenario(PLACED, lowers=True)
RELEASED = dataclasses.replace(LOWERED, capture=placed_order.Capture.FULFILLMENT)
LIVES = {
    **dict.fromkeys(("begin_edit", "hold", "authorise", "confirm", "capture", "advance", "reduce", "edit"), EDITED),
    **dict.fromkeys(("void", "refund", "release", "revert"), REFUSED),
}
# After an effect is before the next one: what comes before is tried for those only that placing doesn't have.
AT = [
    *((f"{effect}:after", life) for effect, life in LIVES.items()),
    *((f"{effect}:before", LIVES[effect]) for effect in effects.EFFECTS),
    ("refund:after", LOWERED),
    ("void:after", RELEASED),
]


async def ready(shop: Shop) -> uuid.UUID:
    location = await shop.location()
    await shop.product("lip", "blush")
    await shop.stock(location, "lip", 10)
    await shop.stock(location, "blush", 10)
    return location


async def check(shop: Shop, location: uuid.UUID, life: Scenario) -> bool:
    """Lines, units and money are those of one state or of the other. Answers whether the order is changed."""
    [order] = await shop.rows("SELECT state, version, total, unit_count FROM sales_order")
    assert order.state == sale.OrderState.PLACED
    changed = order.version == 2
    added = 1 + len(life.edit) if life.edit else 0
    lip, blush = (1, added) if changed else (2, 0)
    assert (order.version, order.total, order.unit_count) == (1 + changed, (lip + blush) * PRICE, lip + blush)
    assert await shop.units(location, "lip") == (10 - lip, 0, lip)
    assert await shop.units(location, "blush") == (10 - blush, 0, blush)
    books = shop.books()
    taken, aside = sum(kept for _, kept, _ in books), sum(open_ for open_, _, _ in books)
    assert (aside, taken) == ((order.total, 0) if life is RELEASED else (0, order.total))
    assert await shop.rows("SELECT 1 FROM order_saga WHERE finished_at IS NULL") == []
    told = await shop.rows("SELECT seq_to FROM outbox WHERE type LIKE '%.Order%' ORDER BY seq_to")
    assert [row.seq_to for row in told] == list(range(1, order.version + 1))
    tendered = await shop.rows("SELECT sum(amount) FROM order_tender WHERE counted")
    assert tendered[0][0] == order.total
    return changed


@pytest.mark.parametrize(("at", "life"), AT, ids=[f"{at}-{'lowered' if life.lowers else 'edited'}" for at, life in AT])
async def test_an_edit_that_dies_is_done_or_leaves_the_order_as_it_was(
    forks: Any, shop: Shop, at: str, life: Scenario
) -> None:
    location = await ready(shop)
    await dies(forks, shop, location, life, at)

    await shop.resume(DUE)

    changed = await check(shop, location, life)
    assert changed == (life is not REFUSED and at != "begin_edit:before")
    if life is not REFUSED:
        [order] = await shop.rows("SELECT id FROM sales_order")
        again = await shop.edit(life.edited(await shop.desk.drafting._asking.load(shop.tenant, order.id)))
        assert (again.version, await check(shop, location, life)) == (2, True)


@pytest.mark.parametrize("at", ["hold:after", "authorise:after", "confirm:after", "capture:after"])
async def test_who_is_resumed_after_the_deadline_goes_on_only_with_money_taken(forks: Any, shop: Shop, at: str) -> None:
    location = await ready(shop)
    await dies(forks, shop, location, EDITED, at)

    await shop.resume(LATE)

    assert await check(shop, location, EDITED) == (at == "capture:after")


def test_every_effect_of_edits_has_a_life_in_which_it_is_killed() -> None:
    assert set(effects.EFFECTS) <= set(LIVES)
