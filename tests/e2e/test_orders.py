"""An order by curl: worked out, placed, found, moved, cancelled; and what a shop is told when it can't be."""

from __future__ import annotations

from typing import Any

from tests.e2e.stack import Client, eventually

PAID = {"tenders": [{"type": "TENDER_TYPE_CARD", "token": "sim_ok", "minor_units": "2000"}]}


def stocked(admin: Client, units: int = 5) -> tuple[str, str]:
    capabilities = [f"LOCATION_CAPABILITY_{name}" for name in ("SELL", "SHIP_FROM", "PICKUP")]
    location, sku = admin.location(capabilities=capabilities), admin.product()
    amount = {"currency_code": "EUR", "minor_units": "1000"}
    admin.post(f"/v1/variants/{sku}/prices", {"price": {"amount": amount}}, 201)
    admin.stock(location, sku, units)
    return location, sku


def wanted(location: str, sku: str, **more: Any) -> dict[str, Any]:
    content = {
        "location_id": location,
        "lines": [{"code": sku, "quantity": "2"}],
        "delivery": {"country_code": "AT"},
        "sourcing": {"location_ids": [location]},
    }
    return {"content": content, **more}


def test_an_order_is_placed_found_moved_and_told(admin: Client) -> None:
    location, sku = stocked(admin)
    preview = admin.post("/v1/orders/preview", wanted(location, sku))["order"]
    headers = {"idempotency-key": f"key-{sku}"}

    order = admin.post("/v1/orders", wanted(location, sku, payment=PAID), 201, headers=headers)
    again = admin.post("/v1/orders", wanted(location, sku, payment=PAID), 201, headers=headers)

    assert preview["total"] == order["total"] == {"currency_code": "EUR", "minor_units": "2000"}
    assert again["id"] == order["id"]
    assert (order["state"], order["payment"]["state"]) == ("ORDER_STATE_PLACED", "PAYMENT_STATE_PAID")
    level = admin.level(location, sku)
    assert (level["available"], level["allocated"]) == ("3", "2")
    path = f"/v1/orders/{order['id']}"
    moved = admin.call("PATCH", f"{path}/status", {"machine": "MACHINE_FULFILLMENT", "to_state": "PICKING"})
    assert moved.json()["fulfillment_state"] == "FULFILLMENT_STATE_PICKING", moved.text
    stale = {"machine": "MACHINE_FULFILLMENT", "to_state": "OPEN"}
    assert admin.call("PATCH", f"{path}/status", stale, headers={"if-match": '"1"'}).status_code == 412
    assert [entry["to_state"] for entry in admin.get(path)["history"]] == ["PICKING", "OPEN", "PLACED", "PENDING"]
    found = admin.get(f"/v1/orders?filter.number={order['number']}")["orders"]
    assert [each["id"] for each in found] == [order["id"]]


def test_a_cancelled_order_is_back_on_sale(admin: Client) -> None:
    location, sku = stocked(admin)
    order = admin.post("/v1/orders", wanted(location, sku, payment=PAID), 201)

    gone = admin.post(f"/v1/orders/{order['id']}/cancel", {"reason": "CANCEL_REASON_CUSTOMER"})

    assert (gone["state"], gone["payment"]["state"]) == ("ORDER_STATE_CANCELLED", "PAYMENT_STATE_REFUNDED")
    assert admin.level(location, sku)["available"] == "5"
    summary = f"/v1/locations/{location}/sales/summary?business_date_from=2026-01-01&business_date_to=2027-01-01"
    assert admin.get(summary).get("rows", []) == []


def test_an_order_is_edited_cancelled_in_part_and_sent_elsewhere(admin: Client) -> None:
    location, sku = stocked(admin)
    home = {"lines": ["Graben 1"], "city": "Wien", "postal_code": "1010", "country_code": "AT"}
    guest = {"email": f"edit-{sku}@example.com", "family_name": "Quast"}
    order = admin.post("/v1/orders", wanted(location, sku, payment=PAID, guest=guest, address=home), 201)
    path, more = f"/v1/orders/{order['id']}", {"quantities": [{"line_number": 1, "quantity": "4"}]}

    preview = admin.post(f"{path}/edit/preview", {"edit": more})
    unpaid = admin.call("POST", f"{path}/edit", more, headers={"if-match": '"1"'})
    more |= {"tenders": PAID["tenders"], "sourcing": {"location_ids": [location]}, "reason": "by phone"}
    edited = admin.post(f"{path}/edit", more, headers={"if-match": '"1"', "idempotency-key": f"edit-{sku}"})
    stale = admin.call("POST", f"{path}/edit", more, headers={"if-match": '"1"'})
    less = admin.post(f"{path}/cancel", {"lines": [{"line_number": 1, "quantity": "3"}], "note": "too many"})
    moved = admin.call("PATCH", f"{path}/recipient", {"address": {**home, "lines": ["Graben 2"]}})

    assert (preview["due_now"]["minor_units"], preview["order"]["total"]["minor_units"]) == ("2000", "4000")
    assert (unpaid.status_code, unpaid.json()["details"][0]["metadata"]) == (400, {"due": "2000", "tendered": "0"})
    assert (edited["version"], edited["total"]["minor_units"], stale.status_code) == ("2", "4000", 412)
    assert (less["total"]["minor_units"], less["payment"]["refunded"]["minor_units"]) == ("1000", "3000")
    assert (less["lines"][0]["quantity"], less["lines"][0]["canceled_quantity"]) == ("1", "1")
    assert (moved.status_code, moved.json()["version"]) == (200, "4"), moved.text
    assert admin.get(f"{path}/recipient")["address"]["lines"] == ["Graben 2"]
    level = admin.level(location, sku)
    assert (level["available"], level["allocated"]) == ("4", "1")
    said = [entry["reason"] for entry in admin.get(path)["history"] if entry.get("reason")]
    assert said == ["CUSTOMER: too many", "by phone"]


def test_what_can_t_be_placed_says_why_and_leaves_nothing(admin: Client) -> None:
    location, sku = stocked(admin, units=1)
    short = admin.call("POST", "/v1/orders", wanted(location, sku, payment=PAID))
    dear = admin.call("POST", "/v1/orders", wanted(location, sku, payment=PAID, expected_total="1999"))
    admin.stock(location, sku, 5)
    stolen = {"tenders": [{**PAID["tenders"][0], "token": "sim_declined_stolen"}]}
    declined = admin.call("POST", "/v1/orders", wanted(location, sku, payment=stolen))

    assert [each.status_code for each in (short, dear, declined)] == [409, 409, 402], declined.text
    (line,) = next(d for d in short.json()["details"] if d["@type"].endswith("OrderShortage"))["lines"]
    assert (line["line_numbers"], line["shortage"]["sku"], line["shortage"]["available"]) == ([1], sku, "1")
    (change,) = [d for d in dear.json()["details"] if d["@type"].endswith("PriceChange")]
    assert change["total"]["minor_units"] == "2000"
    eventually(lambda: admin.level(location, sku)["available"] == "6")


def test_a_storefront_sells_to_guests(admin: Client) -> None:
    location, sku = stocked(admin)
    guest = {"email": f"guest-{sku}@example.com", "family_name": "Quast"}
    bare = admin.call("POST", "/v1/orders", wanted(location, sku, payment=PAID, guest=guest))
    home = {"lines": ["Graben 1"], "city": "Wien", "postal_code": "1010", "country_code": "AT"}

    order = admin.post("/v1/orders", wanted(location, sku, payment=PAID, guest=guest, address=home), 201)

    assert (bare.status_code, "INVALID_REQUEST" in bare.text) == (400, True)
    sent = admin.get(f"/v1/orders/{order['id']}/recipient")
    assert (sent["email"], sent["address"]["recipient"], sent["address"]["city"]) == (guest["email"], "Quast", "Wien")
    assert "Graben" not in str(admin.get(f"/v1/orders/{order['id']}"))

    listed = admin.get(f"/v1/customers/{order['customer_id']}/orders")["orders"]
    assert [each["id"] for each in listed] == [order["id"]]


def test_a_deposit_is_paid_now_and_the_balance_by_its_day(admin: Client) -> None:
    location, sku = stocked(admin)
    deposit = {"tenders": [{**PAID["tenders"][0], "minor_units": "500"}], "due_now": "500"}
    late = "2031-01-01T00:00:00Z"

    order = admin.post("/v1/orders", wanted(location, sku, payment={**deposit, "balance_due_at": late}), 201)
    found = f"/v1/orders?filter.location_id={location}&filter.balance_due_before=2031-01-02T00:00:00Z"
    owed = admin.get(found)["orders"]
    card = admin.post("/v1/gift-cards", {"amount": {"currency_code": "EUR", "minor_units": "9000"}}, 201)
    balance = {"means": "PAYMENT_MEANS_GIFT_CARD", "token": card["id"], "purpose": "PAYMENT_PURPOSE_BALANCE"}
    amount = {"currency_code": "EUR", "minor_units": "1500"}
    admin.post(f"/v1/orders/{order['id']}/payments", {**balance, "amount": amount, "capture": True}, 201)

    assert (order["payment"]["state"], order["payment"]["balance_due_at"]) == ("PAYMENT_STATE_PARTIALLY_PAID", late)
    assert order["payment"]["due"]["minor_units"] == "1500"
    assert [each["id"] for each in owed] == [order["id"]]
    assert admin.get(f"/v1/orders/{order['id']}")["payment"]["state"] == "PAYMENT_STATE_PAID"
    assert admin.get(found).get("orders", []) == []
    admin.post(f"/v1/orders/{order['id']}/cancel", {})
    liability = admin.get("/v1/stored-value/liability")
    assert admin.get(f"/v1/gift-cards/{card['id']}")["balance"]["minor_units"] == "9000"
    assert all(row.get("differing", 0) in (0, "0") for row in liability.get("rows", []))


def test_what_came_to_nothing_is_not_listed_unless_asked_for(admin: Client) -> None:
    location, sku = stocked(admin, units=1)
    refused = admin.call("POST", "/v1/orders", wanted(location, sku, payment=PAID))
    listed = f"/v1/orders?filter.location_id={location}"

    assert refused.status_code == 409
    assert admin.get(listed).get("orders", []) == []
    [attempt] = eventually(lambda: admin.get(f"{listed}&filter.include_unplaced=true").get("orders"))
    assert attempt["cancel_reason"] == "CANCEL_REASON_OUT_OF_STOCK"
