"""What is odd about a slice of the data, counted: each of these is a case that the replay must get right."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Sequence

from edge.replay import data
from edge.replay.data import Row

#: Quantities from here on are fuel, in thousandths of a gallon.
FUEL_UNITS = 1000


def count(chosen: data.Slice) -> list[tuple[str, int]]:
    """Facts in the order in which a person reads them, each with its number."""
    rows = chosen.rows
    totals: defaultdict[int, int] = defaultdict(int)
    for row in rows:
        totals[row.basket_id] += row.paid
    known = chosen.products.keys()

    def lines(matches: Callable[[Row], bool]) -> int:
        return sum(map(matches, rows))

    return [
        ("stores", len({row.store_id for row in rows})),
        ("baskets", len(totals)),
        ("lines", len(rows)),
        ("products", len({row.product_id for row in rows})),
        ("units", sum(row.quantity for row in rows)),
        ("lines without units", lines(lambda row: not row.quantity)),
        ("… with a value", lines(lambda row: not row.quantity and row.value != 0)),
        ("… with a coupon", lines(lambda row: not row.quantity and row.coupon != 0)),
        ("… with nothing at all", lines(lambda row: not (row.quantity or row.shelf_value or row.coupon))),
        ("lines with units and a coupon", lines(lambda row: row.quantity > 0 and row.coupon != 0)),
        (f"lines of {FUEL_UNITS:,} units and more (fuel)", lines(lambda row: row.quantity >= FUEL_UNITS)),
        ("lines without whole cents a unit", lines(lambda row: row.quantity > 0 and row.value % row.quantity != 0)),
        ("lines of units that cost nothing", lines(lambda row: row.quantity > 0 and not row.value)),
        ("lines of units missing from the product table", lines(lambda row: row.quantity > 0 and row.product_id not in known)),  # fmt: skip
        ("other lines missing from the product table", lines(lambda row: not row.quantity and row.product_id not in known)),  # fmt: skip
        ("baskets that cost nothing", sum(not total for total in totals.values())),
        ("baskets that give money back", sum(total < 0 for total in totals.values())),
        ("baskets in an hour that came twice", _baskets(rows, _is_doubled)),
        ("baskets in a missing hour, were the times local", _baskets(rows, _would_be_missing)),
    ]


def _baskets(rows: Sequence[Row], matches: Callable[[dt.datetime], bool]) -> int:
    return len({row.basket_id for row in rows if matches(row.at)})


def _is_doubled(at: dt.datetime) -> bool:
    """The store's clock shows this time once before and once after it was set back."""
    clock = data.local(at)
    return clock.utcoffset() != clock.replace(fold=1 - clock.fold).utcoffset() and not _skipped(clock)


def _would_be_missing(at: dt.datetime) -> bool:
    """The timestamp's digits are a time that the store's clock never showed."""
    return _skipped(at.replace(tzinfo=data.ZONE))


def _skipped(clock: dt.datetime) -> bool:
    back = clock.astimezone(dt.UTC).astimezone(data.ZONE)
    return back.replace(tzinfo=None) != clock.replace(tzinfo=None)
