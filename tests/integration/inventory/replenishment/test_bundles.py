"""Promises of documents about bundles: they name none, and nothing becomes one that a running document names."""

from __future__ import annotations

import asyncio

import pytest

from services.inventory.domain import bundles
from tests.integration.inventory.replenishment import buying
from tests.integration.inventory.replenishment.buying import pb


async def test_documents_refuse_bundles(world: buying.BuyingWorld) -> None:
    place = await world.location(["set", "a", "b"])
    await world.set_bundle("set", {"a": 2})

    with pytest.raises(bundles.BundleHasNoStock) as refused:
        await world.draft(place, {"b": 5, "SET": 1})
    assert refused.value.metadata == {"sku": "set"}
    with pytest.raises(bundles.BundleHasNoStock):
        await world.opened(place, "b", "set")


async def test_what_a_running_document_names_can_not_become_a_bundle(world: buying.BuyingWorld) -> None:
    place = await world.location(["drafted", "ordered", "counted", "done", "a"])
    await world.draft(place, {"drafted": 5})
    order = await world.placed(place, {"ordered": 5})
    count = await world.opened(place, "counted")
    ended = await world.draft(place, {"done": 5})
    await world.call(pb.CancelPurchaseOrderRequest(purchase_order_id=ended.id, reason="x"))

    for sku in ("drafted", "ordered", "counted"):
        with pytest.raises(bundles.SkuHasStock):
            await world.set_bundle(sku, {"a": 1})
    await world.set_bundle("done", {"a": 1})
    await world.call(pb.CancelPurchaseOrderRequest(purchase_order_id=order.id, reason="x"))
    await world.call(pb.CancelCycleCountRequest(count_id=count.id, reason="x"))
    for sku in ("ordered", "counted"):
        await world.set_bundle(sku, {"a": 1})


async def test_a_sku_is_ordered_or_becomes_a_bundle_and_never_both(world: buying.BuyingWorld) -> None:
    skus = [f"sku-{n}" for n in range(10)]
    place = await world.location([*skus, "a"])
    supplier = await world.supplier()

    async def both(sku: str) -> tuple[object, object]:
        calls = (world.draft(place, {sku: 1}, supplier_id=supplier.id), world.set_bundle(sku, {"a": 1}))
        ordered, made = await asyncio.gather(*calls, return_exceptions=True)
        return ordered, made

    for ordered, made in await asyncio.gather(*map(both, skus)):
        assert isinstance(ordered, bundles.BundleHasNoStock) != isinstance(made, bundles.SkuHasStock)
    named = await world.rows("SELECT sku_key FROM purchase_order_line")
    composed = await world.rows("SELECT bundle_key FROM bundle_part")
    assert sorted([row.sku_key for row in named] + [row.bundle_key for row in composed]) == skus
