"""Lines of orders as JSON: those that are kept in the plan of an edit, and what a line was when it was ordered."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from services.orders.domain import sale


def ordered_to_json(ordered: sale.Ordered) -> dict[str, Any]:
    return {"quantity": ordered.quantity, "discounts": discounts_to_json(ordered.discounts)}


def ordered_of_json(kept: Mapping[str, Any] | None) -> sale.Ordered | None:
    return None if kept is None else sale.Ordered(kept["quantity"], discounts_of_json(kept["discounts"]))


def discounts_to_json(discounts: Iterable[sale.Discount]) -> list[dict[str, Any]]:
    return [{"name": each.name, "amount": each.amount, "campaign_id": each.campaign_id} for each in discounts]


def discounts_of_json(kept: Iterable[Mapping[str, Any]]) -> tuple[sale.Discount, ...]:
    return tuple(sale.Discount(each["name"], each["amount"], each["campaign_id"]) for each in kept)


def to_json(line: sale.OrderLine) -> dict[str, Any]:
    """A line, whole."""
    return {
        "id": str(line.id),
        "number": line.number,
        "kind": int(line.kind),
        "sku": line.sku,
        "quantity": line.quantity,
        "unit_price": line.unit_price,
        "net_amount": line.net_amount,
        "taxes": [[tax.name, tax.rate, tax.amount] for tax in line.taxes],
        "discounts": discounts_to_json(line.discounts),
        "tax_amount": line.tax_amount,
        "discount_amount": line.discount_amount,
        "name": line.name,
        "category": line.category,
        "product_id": None if line.product_id is None else str(line.product_id),
        "price_id": line.price_id,
        "unresolved": line.unresolved,
        "tax_category": line.tax_category,
        "canceled_quantity": line.canceled_quantity,
        "components": line.components,
        "lot": line.lot,
        "ordered": None if line.ordered is None else ordered_to_json(line.ordered),
    }


def of_json(kept: Mapping[str, Any]) -> sale.OrderLine:
    """The line again."""
    changed = {
        "id": uuid.UUID(kept["id"]),
        "kind": sale.LineKind(kept["kind"]),
        "taxes": tuple(sale.Tax(*tax) for tax in kept["taxes"]),
        "discounts": discounts_of_json(kept["discounts"]),
        "product_id": None if kept["product_id"] is None else uuid.UUID(kept["product_id"]),
        "components": tuple((sku, count) for sku, count in kept["components"]),
        "ordered": ordered_of_json(kept["ordered"]),
    }
    return sale.OrderLine(**{**kept, **changed})
