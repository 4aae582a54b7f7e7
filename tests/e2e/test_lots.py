"""Lots over REST: brought in by a scan, sold first expired first, recalled, and traced to the customers who have them."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from typing import Any

from tests.e2e.stack import Client, eventually

_numbers = itertools.count(1)
GTIN = "09506000134352"
SOON = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=5)


def bring(client: Client, location: str, sku: str, delta: int, lot: dict[str, Any]) -> dict[str, Any]:
    path = f"/v1/locations/{location}/inventory/{sku}/adjust"
    body = {"delta": str(delta), "reason": "MOVEMENT_REASON_RECEIVED", "lot": lot}
    answer: dict[str, Any] = client.post(path, body)
    return answer


def shelf(client: Client, location: str, sku: str) -> dict[str, int]:
    found = client.get(f"/v1/locations/{location}/inventory/{sku}/lots")["lots"]
    return {lot.get("lot", ""): int(lot.get("free", 0)) for lot in found}


def customer(client: Client, name: str) -> str:
    made: str = client.post("/v1/customers", {"customer": {"family_name": name}}, 201)["id"]
    return made


def test_a_recalled_lot_is_traced_to_the_customers_who_bought_it(admin: Client) -> None:
    name = f"{os.getpid()}-{next(_numbers)}"
    sku, old, fresh = f"milk-{name}", f"OLD{next(_numbers)}", f"NEW{next(_numbers)}"
    variant = {"sku": sku, "barcodes": [GTIN], "lot_policy": {"minimum_life_days": {"web": 30}}}
    admin.post("/v1/products", {"product": {"name": "Milk", "variants": [variant]}}, 201)
    shops = [admin.location() for _ in range(3)]
    scanned = f"01{GTIN}17{SOON:%y%m%d}10{old}"
    for shop in shops:
        bring(admin, shop, sku, 10, {"scanned": scanned})
        bring(admin, shop, sku, 10, {"code": fresh, "expires_on": "2049-12-31"})
    [found] = admin.post(f"/v1/locations/{shops[0]}/items/resolve", {"codes": [scanned]})["results"]
    assert (found["item"]["sku"], found["item"]["scanned"]["lot"]) == (sku, old)
    held = admin.post(f"/v1/locations/{shops[0]}/inventory/{sku}/reserve", {"quantity": "1", "channel": "web"}, 201)
    assert [line["lot"] for line in held["lines"]] == [fresh]

    ann, bob, other = (customer(admin, f"{who}-{name}") for who in ("ann", "bob", "other"))
    line = {"code": sku, "quantity": "2", "net_amount": "200"}
    sales = [
        admin.sale(shops[0], sku, f"a-{name}", 3, customer_id=ann),  # takes what ends first
        admin.sale(shops[1], sku, f"b-{name}", lines=[{**line, "code": scanned}], customer_id=bob),
        admin.sale(shops[1], sku, f"c-{name}", lines=[{**line, "lot": fresh}], customer_id=other),
        admin.sale(shops[2], sku, f"d-{name}", 1),
    ]
    orders = [answer.json()["id"] for answer in sales]
    assert [sales[1].json()["lines"][0][field] for field in ("sku", "lot")] == [sku, old]
    bad = admin.sale(shops[1], sku, f"x-{name}", lines=[{**line, "code": f"https://id.gs1.org/01/{GTIN}/10"}])
    assert bad.status_code == 400
    assert "lines[0].code" in bad.text
    eventually(lambda: [shelf(admin, shop, sku).get(old) for shop in shops] == [7, 8, 9])
    lot = next(each for each in admin.get(f"/v1/variants/{sku}/lots")["lots"] if each["code"] == old)
    assert lot["expires_on"] == SOON.isoformat()
    admin.post(f"/v1/customers/{ann}/merge", {"source_customer_id": bob})

    admin.post(f"/v1/lots/{lot['id']}/recall", {"reason": "glass"})
    assert [int(admin.level(shop, sku)["available"]) for shop in shops] == [9, 8, 10]
    after = admin.sale(shops[2], sku, f"e-{name}", lines=[{**line, "lot": old}]).json()["id"]  # it was in a basket

    def kinds() -> list[str]:
        return [each["kind"] for each in admin.get(f"/v1/locations/{shops[2]}/exceptions")["exceptions"]]

    eventually(lambda: kinds() == ["STOCK_EXCEPTION_KIND_RECALLED_LOT_SOLD"])
    where = {each["location_id"]: each for each in admin.get(f"/v1/lots/{lot['id']}/stock")["stock"]}
    assert {shop: int(where[shop]["quality_control"]) for shop in shops} == dict(zip(shops, (7, 8, 7), strict=True))
    pages = []
    token = ""
    while True:
        page = admin.get(f"/v1/lots/{lot['id']}/orders?page_size=3&page_token={token}")
        pages += page["orders"]
        token = page.get("next_page_token", "")
        if not token:
            break
    bought = {each["order_id"]: (each.get("customer_id", ""), int(each["quantity"])) for each in pages}
    assert bought == {orders[0]: (ann, 3), orders[1]: (ann, 2), orders[3]: ("", 1), after: ("", 2)}
    receipts = {each["order_id"]: (each["client_sale_id"], each["location_id"]) for each in pages}
    assert receipts[orders[3]] == (f"d-{name}", shops[2])
    manager = admin.call("GET", f"/v1/lots/lot_{'0' * 26}/orders")
    assert (manager.status_code, manager.json()["details"][0]["reason"]) == (404, "NOT_FOUND")
