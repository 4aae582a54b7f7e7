"""What price lists and prices must be, and which of several prices holds."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from services.inventory.domain import catalog
from services.kit import currencies, errors


def _check_time(draft: catalog.PriceListDraft | catalog.PriceDraft, wrong: catalog.Violations) -> None:
    if draft.valid_from and draft.valid_until and draft.valid_until <= draft.valid_from:
        wrong.add("valid_until", "is not after valid_from")


def _check_price_list(draft: catalog.PriceListDraft, path: str) -> None:
    wrong = catalog.Violations(path)
    wrong.check_texts(name=draft.name)
    _check_time(draft, wrong)
    wrong.refuse()


def new_price_list(draft: catalog.PriceListDraft, *, now: dt.datetime, path: str = "price_list") -> catalog.PriceList:
    """The first version of a price list. INVALID_REQUEST; ALREADY_EXISTS for the list that every tenant has."""
    _check_price_list(draft, path)
    if draft.code == catalog.STANDARD:
        raise errors.AlreadyExists("price list", f"the price list {catalog.STANDARD} is there from the beginning")
    return catalog.PriceList(
        code=draft.code,
        name=draft.name,
        valid_from=draft.valid_from,
        valid_until=draft.valid_until,
        restricted=draft.restricted,
        version=1,
        created_at=now,
        updated_at=now,
    )


def edit_price_list(
    price_list: catalog.PriceList,
    changes: Mapping[str, Any],
    *,
    expected_version: int,
    now: dt.datetime,
    path: str = "price_list",
) -> catalog.PriceList:
    """The next version of a price list. VERSION_MISMATCH, INVALID_REQUEST."""
    catalog.check_version(price_list.version, expected_version)
    edited = dataclasses.replace(price_list, **changes, version=price_list.version + 1, updated_at=now)
    _check_price_list(edited, path)
    return edited


def check_price(draft: catalog.PriceDraft, path: str = "price") -> catalog.PriceDraft:
    """The price, if it may be. INVALID_REQUEST names fields below path."""
    wrong = catalog.Violations(path)
    if not currencies.is_known(draft.currency_code):
        wrong.add("amount.currency_code", "is not a currency of ISO 4217")
    _check_time(draft, wrong)
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
        price_list=draft.price_list,
        valid_from=draft.valid_from,
        valid_until=draft.valid_until,
    )


def holds(valid: catalog.PriceListDraft | catalog.PriceDraft, at: dt.datetime) -> bool:
    """Whether a price list or a price is valid at a time: from its beginning until before its end."""
    began = valid.valid_from is None or valid.valid_from <= at
    return began and (valid.valid_until is None or at < valid.valid_until)


def price_at(
    prices: Iterable[catalog.Price],
    *,
    location_id: uuid.UUID,
    currency_code: str,
    at: dt.datetime,
    price_list: catalog.PriceList | None = None,
) -> catalog.Price | None:
    """The price of one SKU that holds at a location, as the contract says at Price.

    The list that is asked for beats the standard one, then the location's own price the general one, then the one that
    began last the others.
    """
    asked = price_list.code if price_list is not None and holds(price_list, at) else catalog.STANDARD
    candidates = [
        price
        for price in prices
        if price.currency_code == currency_code
        and price.location_id in (None, location_id)
        and price.price_list in (asked, catalog.STANDARD)
        and holds(price, at)
    ]
    beginning = dt.datetime.min.replace(tzinfo=dt.UTC)

    def weight(price: catalog.Price) -> tuple[bool, bool, dt.datetime]:
        return price.price_list == asked, price.location_id is not None, price.valid_from or beginning

    return max(candidates, key=weight, default=None)
