"""The catalogue over REST: what a shop's pages and tills ask for, with filters in the query."""

from __future__ import annotations

from tests.e2e.stack import Client


def test_a_product_with_axes_is_filtered_searched_with_a_slip_and_priced_by_list(admin: Client) -> None:
    location = admin.location()
    product = admin.post("/v1/products", {"product": {
        "name": "Obsidian Nightstand",
        "axes": [{"name": "wood", "values": ["Oak", "Ash"]}],
        "attributes": [{"name": "finish", "text": "matte"}, {"name": "drawers", "number": 2}],
        "variants": [
            {"sku": "OBS-OAK", "options": [{"axis": "wood", "value": "oak"}]},
            {"sku": "OBS-ASH", "options": [{"axis": "wood", "value": "ash"}]},
        ],
    }}, 201)  # fmt: skip
    path = f"/v1/products/{product['id']}"

    def skus(path: str, **query: str | list[str]) -> list[str]:
        answer = admin.get(path, params=query)
        variants = answer["variants"] if "variants" in answer else [each["variant"] for each in answer["matches"]]
        return [variant["sku"] for variant in variants]

    assert skus(f"{path}/variants", **{"filter.options": ["wood=Ash", "wood=Birch"]}) == ["OBS-ASH"]
    assert skus("/v1/products/search", query="obisdian", attributes="wood=oak") == ["OBS-OAK"]
    assert skus("/v1/products/search", query="nightstnad obsi", attributes=["finish=matte", "drawers=2.0"]) == [
        "OBS-ASH",
        "OBS-OAK",
    ]
    found = admin.get("/v1/products", params={"filter.attributes": ["finish=matte", "drawers=2"]})
    assert [each["id"] for each in found["products"]] == [product["id"]]

    twice = admin.call(
        "POST", f"{path}/variants", {"variant": {"sku": "OBS-2", "options": [{"axis": "wood", "value": "OAK"}]}}
    )
    assert (twice.status_code, twice.json()["details"][0]["metadata"]) == (409, {"resource": "options"})
    axes = [*product["axes"], {"name": "size", "default_value": "M"}]
    widened = admin.call("PUT", f"{path}/axes", {"axes": axes, "expected_version": product["version"]})
    assert [each["options"][1]["value"] for each in widened.json()["variants"]] == ["M", "M"]

    admin.post("/v1/price-lists", {"price_list": {"code": "trade", "name": "Trade", "restricted": True}}, 201)
    for price_list, cents in (("", "9900"), ("trade", "7900")):
        amount = {"currency_code": "EUR", "minor_units": cents}
        admin.post("/v1/variants/OBS-OAK/prices", {"price": {"amount": amount, "price_list": price_list}}, 201)
    for price_list, cents in (("standard", "9900"), ("trade", "7900")):
        scan = {"codes": ["OBS-OAK"], "price_list": price_list}
        item = admin.post(f"/v1/locations/{location}/items/resolve", scan)["results"][0]["item"]
        assert (item["price"]["minor_units"], item["price_list"]) == (cents, price_list)
    listed = admin.get("/v1/variants/OBS-OAK/prices", params={"price_list": "trade"})["prices"]
    assert [each["amount"]["minor_units"] for each in listed] == ["7900"]
