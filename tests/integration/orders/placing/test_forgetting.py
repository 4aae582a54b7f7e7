"""Attempts at orders that came to nothing are forgotten after a while; what had money, or was placed, never is."""

from __future__ import annotations

import uuid

import pytest

from services.orders.domain import payments as paying
from services.orders.domain import placement, sale
from services.orders.forgetting import Forgetting
from tests.integration.orders.placing.shop import PRICE, Shop, command
from tests.integration.orders.placing.test_drafts import Clerk

TABLES = ("sales_order", "order_line", "order_history", "payment", "payment_operation", "order_refused")


@pytest.fixture
async def here(shop: Shop) -> uuid.UUID:
    location = await shop.location()
    await shop.product("lip")
    await shop.stock(location, "lip", 5)
    return location


async def a_month_later(shop: Shop) -> None:
    """What was refused was refused 31 days ago, and whoever forgets comes by."""
    refused = [row.order_id for row in await shop.rows("SELECT order_id FROM order_refused")]
    await shop.execute("DELETE FROM order_refused")
    for order_id in refused:
        await shop.execute(
            f"INSERT INTO order_refused VALUES ('{shop.tenant.uuid}', '{order_id}', now() - interval '31 days')"
        )
    assert await Forgetting(shop.db, 0).forget() == 0
    while await Forgetting(shop.db, 30).forget():
        pass


async def counts(shop: Shop) -> list[int]:
    return [(await shop.rows(f"SELECT count(*)::int AS n FROM {table}"))[0].n for table in TABLES]


async def refuse(shop: Shop, here: uuid.UUID, kind: type[Exception], units: int = 1, **tokens: int) -> None:
    with pytest.raises(kind):
        await shop.order(command(here, ("lip", units), tokens=tokens or {"sim_ok": units * PRICE}))


async def test_what_never_was_an_order_is_forgotten(shop: Shop, here: uuid.UUID) -> None:
    await refuse(shop, here, placement.InsufficientStock, 6)
    await refuse(shop, here, paying.Declined, sim_declined_stolen=PRICE)
    assert await Forgetting(shop.db, 30).forget() == 0
    assert (await counts(shop))[0] == 2

    await a_month_later(shop)

    assert await counts(shop) == [0] * len(TABLES)
    [event] = await shop.rows("SELECT count(*)::int AS n FROM outbox WHERE type LIKE '%OrderCancelled'")
    assert event.n == 2


async def test_what_had_money_or_was_placed_stays(shop: Shop, here: uuid.UUID) -> None:
    order = await shop.order(command(here, ("lip", 1)))
    await shop.cancel(order)
    await refuse(shop, here, paying.Declined, 2, sim_ok=PRICE, sim_declined_stolen=PRICE)
    before = await counts(shop)

    await a_month_later(shop)

    assert (await counts(shop))[:-1] == before[:-1]
    assert await shop.rows("SELECT 1 FROM order_refused") == []


async def test_a_draft_that_could_not_be_placed_is_still_a_draft(shop: Shop, here: uuid.UUID) -> None:
    clerk = Clerk(shop, here)
    draft = await clerk.create()
    with pytest.raises(paying.Declined):
        await clerk.place(draft, PRICE, "sim_declined_stolen")

    await a_month_later(shop)

    assert [row.state for row in await shop.rows("SELECT state FROM sales_order")] == [sale.OrderState.DRAFT]


@pytest.mark.parametrize("table", ["sales_order", "order_history", "payment", "payment_operation"])
async def test_the_database_itself_lets_nothing_else_go(shop: Shop, here: uuid.UUID, table: str) -> None:
    """Whoever has the service's own role deletes nothing that was placed or moved money."""
    await shop.order(command(here, ("lip", 1)))
    before = await counts(shop)

    await shop.execute(f"DELETE FROM {table}")

    assert await counts(shop) == before
