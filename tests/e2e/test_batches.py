"""Calls of many lines over REST: one that breaks a rule is refused by itself, in the shape of every error."""

from __future__ import annotations

from typing import Any

from tests.e2e.stack import Client


def refusal(result: dict[str, Any]) -> tuple[int, str, list[str]]:
    """Code, reason and wrong fields of a line."""
    info, bad = result["error"]["details"]
    return result["error"]["code"], info["reason"], [violation["field"] for violation in bad["field_violations"]]


def test_a_broken_line_of_a_bulk_update_doesn_t_stop_the_others_and_a_repeat_says_the_same(admin: Client) -> None:
    location, sku = admin.location(), admin.product()
    line = {"location_id": location, "sku": sku, "delta": 5}
    body = {"lines": [line, {**line, "sku": "not a sku", "delta": 0}, line]}
    headers = {"idempotency-key": f"bulk-{location}"}

    answer = admin.post("/v1/inventory/bulk-update", body, headers=headers)

    assert (answer["applied"], answer["refused"]) == (2, 1)
    assert refusal(answer["results"][1]) == (3, "INVALID_REQUEST", ["sku", "delta"])
    assert admin.post("/v1/inventory/bulk-update", body, headers=headers) == answer
    assert admin.level(location, sku)["on_hand"] == "10"


def test_a_broken_product_of_a_batch_doesn_t_stop_the_others_and_a_repeat_says_the_same(admin: Client) -> None:
    sku = f"BATCH-{admin.location()}"
    good, broken = {"name": "A thing", "variants": [{"sku": sku}]}, {"name": "", "variants": [{"sku": "!"}]}
    body = {"products": [broken, good], "request_id": sku}

    answer = admin.post("/v1/products/batch-create", body)

    assert refusal(answer["results"][0]) == (3, "INVALID_REQUEST", ["name", "variants[0].sku"])
    assert answer["results"][1]["product"]["variants"][0]["sku"] == sku
    assert admin.post("/v1/products/batch-create", body) == answer


def test_too_many_lines_refuse_the_call(admin: Client) -> None:
    line = {"location_id": admin.location(), "sku": admin.product(), "delta": 5}
    answer = admin.post("/v1/inventory/bulk-update", {"lines": [line] * 1001}, status=400)
    assert refusal({"error": answer}) == (3, "INVALID_REQUEST", ["lines"])
