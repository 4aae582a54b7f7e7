"""Any sequence of edits and cancellations in part: lines, money, groups and the stock tell the same, after every step."""

from __future__ import annotations

import random
import uuid

import pytest

from services.kit import errors
from services.orders.domain import money, placement, sale
from services.orders.domain import payments as paying
from tests.integration.orders.placing.shop import Shop, command, edit
from tests.integration.orders.placing.test_editing import loaded, units_of

SKUS = ("lip", "blush", "kohl")
DUO = {"lip": 1, "blush": 2}
STEPS = 12


async def ready(shop: Shop) -> list[uuid.UUID]:
    """Three SKUs and a bundle of two at two locations, too few for everything."""
    places = [await shop.location() for _ in range(2)]
    await shop.product(*SKUS, "duo")
    await shop.bundle("duo", **DUO)
    for place in places:
        for sku, units in zip(SKUS, (6, 9, 4), strict=True):
            await shop.stock(place, sku, units)
    await shop.tax(placement.TaxPolicy("AT", tax_inclusive=False, rates=(("", money.TaxRate("VAT", "0.19")),)))
    return places


async def holds(shop: Shop, places: list[uuid.UUID], order: sale.Order) -> None:
    items = [line for line in order.lines if line.kind is sale.LineKind.ITEM]
    assert order.total == sum(line.net_amount + line.tax_amount for line in order.lines)
    for line in items:
        assert line.unit_price is not None
        assert line.net_amount == line.unit_price * line.quantity - line.discount_amount
    wanted = [
        (line.number, sku, count * line.quantity)
        for line in items
        for sku, count in line.components or ((line.sku, 1),)
        if line.quantity
    ]
    assert units_of(order) == sorted(wanted)
    levels = [await shop.level(place, sku) for place in places for sku in SKUS]
    assert sum(level.allocated for level in levels) == sum(units for _, _, units in wanted)
    assert sum(level.reserved for level in levels) == 0
    assert order.placed is not None
    paid = order.placed.payment
    assert sum(tender.amount for tender in order.tenders) == paid.captured - paid.refunded == order.total
    assert sum(kept for _, kept, _ in shop.books()) == order.total


@pytest.mark.parametrize("seed", range(3))
async def test_lines_money_groups_and_stock_tell_the_same_after_every_step(shop: Shop, seed: int) -> None:
    chance, places = random.Random(seed), await ready(shop)
    discounts = (sale.Discount("spring", 333, ""),)
    total = 4363  # 3,667 and the tax of each line
    order = await shop.order(
        command(places[0], ("lip", 2), ("duo", 1), ("kohl", 1), discounts=discounts, tokens={"sim_ok": total})
    )
    for _ in range(STEPS):
        items = [line for line in order.lines if line.kind is sale.LineKind.ITEM]
        having = [line for line in items if line.quantity]
        before = order
        try:
            if chance.random() < 0.35 and sum(line.quantity for line in having) > 1:
                line = chance.choice(having)
                order = await shop.cancel_units(order, {line.number: 1})
            else:
                quantities = {line.number: chance.randint(0, 4) for line in chance.sample(items, min(2, len(items)))}
                add = [(chance.choice((*SKUS, "duo")), chance.randint(1, 2))] if chance.random() < 0.4 else []
                asked = edit(order, quantities, add=add)
                worked = await shop.desk.editing.preview(shop.caller(), shop.tenant, asked)
                token = chance.choice(("sim_ok", "sim_twice", "sim_declined_stolen", "sim_capture_declined_late"))
                tokens = {token: worked.due} if worked.due else {}
                order = await shop.edit(edit(order, quantities, add=add, tokens=tokens))
        except (placement.InsufficientStock, paying.Declined, errors.InvalidRequest):
            order = await loaded(shop, order)
            assert order.version == before.version
        await holds(shop, places, order)
    versions = [
        row.seq_to for row in await shop.rows("SELECT seq_to FROM outbox WHERE type LIKE '%.Order%' ORDER BY 1")
    ]
    assert versions == list(range(1, order.version + 1))
    assert order.version > 3
    await shop.cancel(order)
    assert [await shop.units(place, sku) for place in places for sku in SKUS] == [(6, 0, 0), (9, 0, 0), (4, 0, 0)] * 2
    assert sum(kept for _, kept, _ in shop.books()) == 0
