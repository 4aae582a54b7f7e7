"""What a price must be, and which of several holds."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable

from services.inventory.domain import catalog
from services.inventory.domain import catalog_currency as currency


def check_price(draft: catalog.PriceDraft, path: str = "price") -> catalog.PriceDraft:
    """The price, if it may be. INVALID_REQUEST names fields below path."""
    wrong = catalog.Violations(path)
    if not currency.is_known(draft.currency_code):
        wrong.add("amount.currency_code", "is not a currency of ISO 4217")
    if draft.valid_from and draft.valid_until and draft.valid_until <= draft.valid_from:
        wrong.add("valid_until", "is not after valid_from")
    wrong.refuse()
    return draft


def new_price(draft: catalog.PriceDraft, *, price_id: uuid.UUID, sku: str) -> catalog.Price:
    """The price of a SKU, as its variant spells it."""
    return catalog.Price(
        id=price_id,
        sku=sku,
        location_id=draft.location_id,
        currency_code=draft.currency_code,
        minor_units=draft.minor_units,
        valid_from=draft.valid_from,
        valid_until=draft.valid_until,
    )


def price_at(
    prices: Iterable[catalog.Price], *, location_id: uuid.UUID, currency_code: str, at: dt.datetime
) -> catalog.Price | None:
    """The price of one SKU that holds at a location: its own beats the general one, then the one that began last."""

    def holds(price: catalog.Price) -> bool:
        began = price.valid_from is None or price.valid_from <= at
        return began and (price.valid_until is None or at < price.valid_until)

    beginning = dt.datetime.min.replace(tzinfo=dt.UTC)
    candidates = [
        price
        for price in prices
        if price.currency_code == currency_code and price.location_id in (None, location_id) and holds(price)
    ]
    return max(candidates, key=lambda each: (each.location_id is not None, each.valid_from or beginning), default=None)
