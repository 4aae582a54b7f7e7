"""What a person decides about stock is in the audit log with before and after; what moves units is in the ledger alone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from services.inventory.domain import commands, levels
from services.inventory.mapping import stock as mapping
from services.inventory.servicer.lots import LotsServicer
from services.kit import errors, principal
from tests.integration.inventory.replenishment import buying
from tillmesh.common.v1 import money_pb2
from tillmesh.inventory.v1 import (
    catalog_pb2,
    catalog_service_pb2,
    lots_pb2,
    lots_service_pb2,
    replenishment_pb2,
    stock_pb2,
)
from tillmesh.inventory.v1 import replenishment_service_pb2 as pb


async def noted(world: buying.BuyingWorld, resource: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Action, actor and what changed, the oldest first."""
    rows = await world.rows(
        "SELECT action, actor, changes FROM audit_entry WHERE resource = :r ORDER BY recorded_at, id", r=resource
    )
    return [
        (row.action, row.actor, {name: (of["before"], of["after"]) for name, of in json.loads(row.changes).items()})
        for row in rows
    ]


async def set_policy(world: buying.BuyingWorld, location_id: str, sku: str, **parts: Any) -> stock_pb2.StockLevel:
    given = {"safety_stock": None, "backorder_limit": None, "incoming": None, **parts}
    key = world.key(given.pop("request_id", ""))
    command = commands.SetPolicy(commands.Origin(world.caller.subject), sku, **given)
    return await world.handlers.write(location_id, command, key, stock_pb2.StockLevel, mapping.reply_level)


async def test_a_policy_of_stock_is_noted_in_the_lanes_own_transaction(world: buying.BuyingWorld) -> None:
    shop = await world.location(["Red-1", "blue"])
    await set_policy(world, shop, "red-1", safety_stock=3)  # before there is any of it
    await world.adjust(shop, "blue", 5)
    low = commands.Thresholds(sets_low=True, low=4, rearm=None)
    await set_policy(world, shop, "Red-1", safety_stock=5, thresholds=low, request_id="r-1")
    await set_policy(world, shop, "Red-1", safety_stock=5, thresholds=low, request_id="r-1")
    with pytest.raises(errors.VersionMismatch):
        await set_policy(world, shop, "Red-1", safety_stock=7, expected_version=99)

    first, second = await noted(world, "stock_policy")
    assert (first[0], first[1], first[2]["safety_stock"]) == ("updated", "till-1", (0, 3))
    assert second[2] == {"safety_stock": (3, 5), "low_stock_threshold": (None, 4), "rearm_threshold": (None, 5)}
    rows = await world.rows("SELECT resource_id, request_id FROM audit_entry ORDER BY recorded_at")
    assert [row.resource_id for row in rows] == [f"{shop}/Red-1"] * 2
    assert rows[1].request_id == "r-1"


async def test_of_twenty_policies_at_once_beside_sales_each_has_its_entry(world: buying.BuyingWorld) -> None:
    shop = await world.location(["a"])
    await world.adjust(shop, "a", 100)
    await asyncio.gather(
        *(set_policy(world, shop, "a", safety_stock=n) for n in range(1, 21)),
        *(world.adjust(shop, "a", -1) for _ in range(20)),
    )
    found = [changes["safety_stock"] for _, _, changes in await noted(world, "stock_policy")]
    assert sorted(after for _, after in found) == list(range(1, 21))
    by_before = dict(found)
    walked, at = [], 0
    while at in by_before:
        at = by_before[at]
        walked.append(at)
    assert len(walked) == 20  # each begins where the one before ended
    assert (await world.level(shop, "a")).safety_stock == at
    assert len(await world.rows("SELECT 1 FROM audit_entry")) == 20


async def test_what_moves_units_has_no_entries(world: buying.BuyingWorld) -> None:
    shop = await world.location(["a"])
    await world.adjust(shop, "a", 9)
    held = await world.reserve(shop, ("a", 2))
    await world.end(held.id, levels.HoldState.CONFIRMED)
    await world.count(shop, commands.Count("a", 7, None, "x"))
    assert await world.rows("SELECT 1 FROM audit_entry") == []


async def test_suppliers_and_their_lists(world: buying.BuyingWorld) -> None:
    await world.variants(["a"])
    supplier = await world.supplier("acme")
    request = pb.UpdateSupplierRequest(supplier=replenishment_pb2.Supplier(id=supplier.id, name="Acme Ltd"))
    request.update_mask.paths.append("name")
    await world.call(request)
    await world.listed(supplier.id, replenishment_pb2.SupplierSku(sku="a"))

    created, updated, listed = await noted(world, "supplier")
    assert (created[0], created[1], created[2]["name"]) == ("created", "boss", (None, "Acme"))
    assert updated[2] == {"name": ("Acme", "Acme Ltd")}
    assert listed == ("list_taken_in", "boss", {"lines": (None, 1), "kept": (None, 1)})


async def test_who_approves_a_count(world: buying.BuyingWorld) -> None:
    shop = await world.location(["a"])
    await world.adjust(shop, "a", 5)
    count = await world.opened(shop, "a")
    await world.counted(count.id, a=4)
    await world.submitted(count.id)
    await world.approved(count.id)

    found = await noted(world, "cycle_count")
    assert [(action, actor) for action, actor, _ in found] == [("submitted", "ann"), ("approved", "meg")]
    assert found[1][2]["state"] == ("COUNTED", "APPROVED")


async def test_bundles_lot_policies_locations_and_prices(world: buying.BuyingWorld) -> None:
    await world.variants(["set", "part"])
    await world.set_bundle("set", {"part": 2})
    variant = catalog_service_pb2.UpdateVariantRequest(
        variant=catalog_pb2.Variant(sku="part", lot_policy=catalog_pb2.LotPolicy(sell_past_best_before=True))
    )
    variant.update_mask.paths.append("lot_policy")
    await world.ask_catalog(variant)
    location = await world.ask_catalog(
        catalog_service_pb2.CreateLocationRequest(
            location=catalog_pb2.Location(code="L-1", name="Linz", type=1, timezone="UTC", currency_code="EUR")
        )
    )
    edit = catalog_service_pb2.UpdateLocationRequest(location=catalog_pb2.Location(id=location.id, name="Graz"))
    edit.update_mask.paths.append("name")
    await world.ask_catalog(edit)
    amount = money_pb2.Money(currency_code="EUR", minor_units=100)
    await world.ask_catalog(catalog_service_pb2.SetPriceRequest(sku="part", price=catalog_pb2.Price(amount=amount)))

    bundle, policy = await noted(world, "variant")
    assert (bundle[0], bundle[1], bundle[2]) == ("bundle_set", "boss", {"components": ([], [["part", 2]])})
    assert policy[2]["lot_policy"][1]["sell_past_best_before"] is True
    created, updated = await noted(world, "location")
    assert (created[2]["name"], updated[2]) == ((None, "Linz"), {"name": ("Linz", "Graz")})
    [(action, _, changes)] = await noted(world, "price")
    assert (action, changes["minor_units"][1]) == ("set", 100)


async def test_lots_and_their_recalls(world: buying.BuyingWorld) -> None:
    await world.location(["milk"])
    await world.execute(
        """UPDATE variant SET lot_policy = '{"sell_past_best_before": false, "minimum_life_days": {}}'"""
    )
    servicer = LotsServicer(world.db, world.handlers)
    principal.enter(world.staff())
    lot = await servicer.CreateLot(
        lots_service_pb2.CreateLotRequest(sku="milk", lot=lots_pb2.LotInput(code="L1", expires_on="2040-01-31")), None
    )
    for _ in range(2):
        await servicer.RecallLot(lots_service_pb2.RecallLotRequest(lot_id=lot.id, reason="glass"), None)
    await servicer.LiftRecall(lots_service_pb2.LiftRecallRequest(lot_id=lot.id), None)

    found = await noted(world, "lot")
    assert [action for action, _, _ in found] == ["created", "recalled", "recall_lifted"]
    assert found[0][2]["code"] == (None, "L1")
    assert "glass" in json.dumps(found[1][2])
