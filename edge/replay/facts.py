"""What is odd about a slice of the data, counted: each of these is a case that the replay must get right."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from edge.replay import data
from edge.replay.data import Row

#: Quantities from here on are fuel, in thousandths of a gallon.
FUEL_UNITS: Final = 1000

_LINES: Final[tuple[tuple[str, Callable[[Row], bool]], ...]] = (
    ("lines without units", lambda row: not row.quantity),
    ("… with a value", lambda row: not row.quantity and row.value != 0),
    ("… with a coupon", lambda row: not row.quantity and row.coupon != 0),
    ("… with nothing at all", lambda row: not (row.quantity or row.shelf_value or row.coupon)),
    ("lines with units and a coupon", lambda row: row.quantity > 0 and row.coupon != 0),
    (f"lines of {FUEL_UNITS:,} units and more (fuel)", lambda row: row.quantity >= FUEL_UNITS),
    ("lines without whole cents a unit", lambda row: row.quantity > 0 and row.value % row.quantity != 0),
    ("lines of units that cost nothing", lambda row: row.quantity > 0 and not row.value),
)


def count(chosen: data.Slice) -> list[tuple[str, int]]:
    """Facts in the order in which a person reads them, each with its number."""
    rows = chosen.rows
    totals: defaultdict[int, int] = defaultdict(int)
    times: dict[int, dt.datetime] = {}
    for row in rows:
        totals[row.basket_id] += row.paid
        times[row.basket_id] = row.at
    unknown = [row for row in rows if row.product_id not in chosen.products]
    return [
        ("stores", len({row.store_id for row in rows})),
        ("baskets", len(totals)),
        ("lines", len(rows)),
        ("products", len({row.product_id for row in rows})),
        ("units", sum(row.quantity for row in rows)),
        *((name, sum(map(matches, rows))) for name, matches in _LINES),
        ("lines of units missing from the product table", sum(row.quantity > 0 for row in unknown)),
        ("other lines missing from the product table", sum(not row.quantity for row in unknown)),
        ("baskets that cost nothing", sum(not total for total in totals.values())),
        ("baskets that give money back", sum(total < 0 for total in totals.values())),
        ("baskets in an hour that came twice", sum(map(_came_twice, times.values()))),
        ("baskets in a missing hour, were the times local", sum(map(_would_be_missing, times.values()))),
    ]


def _came_twice(at: dt.datetime) -> bool:
    """The store's clock shows this time once before and once after it was set back."""
    clock = data.local(at)
    return clock.utcoffset() != clock.replace(fold=1 - clock.fold).utcoffset()


def _would_be_missing(at: dt.datetime) -> bool:
    """The timestamp's own digits are a time that the store's clock never showed."""
    clock = at.replace(tzinfo=data.ZONE)
    return data.local(clock.astimezone(dt.UTC)).replace(tzinfo=None) != at.replace(tzinfo=None)
