"""Builders: rows of the data, and slices of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from edge.replay import data

MONDAY_NOON = dt.datetime(2017, 1, 2, 17, tzinfo=dt.UTC)  # in New York
CHOICE = data.Choice(2, 1)


def row(**fields: Any) -> data.Row:
    """A line of one unit at a dollar."""
    usual = {
        "store_id": 367,
        "basket_id": 1,
        "product_id": 10,
        "quantity": 1,
        "value": 100,
        "card_discount": 0,
        "coupon": 0,
        "coupon_match": 0,
        "week": 2,
        "at": MONDAY_NOON,
    }
    return data.Row(**{**usual, **fields})


def product(number: int = 10, **fields: str) -> data.ProductRow:
    usual = {
        "department": "GROCERY",
        "brand": "National",
        "category": "COOKIES/CONES",
        "kind": "CONES",
        "package_size": "6 CT",
    }
    return data.ProductRow(number, **{**usual, **fields})


PRODUCTS = {number: product(number) for number in (10, 11, 12)}


def cut(rows: Sequence[data.Row], **choice: int) -> data.Slice:
    return data.cut(rows, PRODUCTS, data.Choice(2, 1, **choice))
