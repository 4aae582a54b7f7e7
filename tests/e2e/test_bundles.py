"""Bundles over REST: defined, watched, reserved, sourced and sold as what they consist of."""

from __future__ import annotations

import itertools
import os
from typing import Any

from tests.e2e.stack import Client, Till, eventually

_numbers = itertools.count(1)


def available(client: Client, location: str, *skus: str) -> list[int]:
    return [int(client.level(location, sku)["available"]) for sku in skus]


def define(client: Client, sku: str, components: dict[str, int]) -> dict[str, Any]:
    body = {"components": [{"sku": component, "quantity": quantity} for component, quantity in components.items()]}
    answer = client.call("PUT", f"/v1/variants/{sku}/bundle", body)
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def applied(client: Client, order: str) -> bool:
    return bool(client.get(f"/v1/orders/{order}")["stock_effect"] == "STOCK_EFFECT_APPLIED")


def test_a_bundle_lives_from_its_definition_to_its_sale(admin: Client) -> None:
    name = f"{os.getpid()}-{next(_numbers)}"
    red, blue, pair, gift = (admin.product(f"{kind}-{name}") for kind in ("red", "blue", "pair", "gift"))
    shop = admin.location()
    admin.stock(shop, red, 20)
    admin.stock(shop, blue, 9)
    assert define(admin, pair, {red: 2, blue: 1})["components"] == [
        {"sku": red, "quantity": "2"}, {"sku": blue, "quantity": "1"},
    ]  # fmt: skip
    define(admin, gift, {pair: 1, blue: 2})
    assert available(admin, shop, pair, gift) == [9, 3]
    assert admin.level(shop, pair)["bundle"]
    refused = admin.call("POST", f"/v1/locations/{shop}/inventory/{gift}/adjust", {
        "delta": "1", "reason": "MOVEMENT_REASON_RECEIVED"})  # fmt: skip
    assert (refused.status_code, refused.json()["details"][0]["reason"]) == (409, "BUNDLE_HAS_NO_STOCK")
    till = Till(admin, shop)
    till.start()
    assert till.ready.wait(20)
    assert int(till.levels[gift]["available"]) == 3

    held = admin.post(f"/v1/locations/{shop}/inventory/{gift}/reserve", {"quantity": "2"}, 201)
    assert [(line["sku"], line["quantity"]) for line in held["lines"]] == [(blue, "6"), (red, "4")]
    eventually(lambda: int(till.levels[gift]["available"]) == 1 and int(till.levels[pair]["available"]) == 3)
    short = admin.call("POST", "/v1/reservations/source", {
        "lines": [{"sku": gift, "quantity": "1"}, {"sku": pair, "quantity": "1"}], "location_ids": [shop]})  # fmt: skip
    assert short.status_code == 409
    lines = [line for detail in short.json()["details"] for line in detail.get("lines", [])]
    assert [line["components"] for line in lines] == [[{"sku": blue, "requested": "4", "available": "3"}]] * 2

    sale = admin.sale(shop, gift, f"s-{name}", quantity=2, reservation_id=held["id"]).json()
    assert sale["lines"][0]["components"] == [{"sku": blue, "quantity": "3"}, {"sku": red, "quantity": "2"}]
    define(admin, gift, {red: 1})
    eventually(lambda: applied(admin, sale["id"]))
    assert [int(admin.level(shop, sku)["on_hand"]) for sku in (red, blue)] == [16, 3]
    assert available(admin, shop, red, blue, pair, gift) == [16, 3, 3, 16]
    eventually(lambda: int(till.levels[gift]["available"]) == 16)
    till.stop()
    found = admin.post("/v1/inventory/availability", {"skus": [gift, pair], "location_ids": [shop]})
    assert [(row["sku"], row["available"]) for row in found["rows"]] == [(gift, ["16"]), (pair, ["3"])]
