"""What the docstring of edge/replay/data.py says of the data, seen in the data; needs the extra of ./scripts/replay."""

from __future__ import annotations

import datetime as dt
import importlib.util

import pytest

from edge.replay import data, facts

INSTALLED = all(importlib.util.find_spec(name) for name in (data.PACKAGE, "pyarrow"))
pytestmark = pytest.mark.skipif(
    not INSTALLED, reason="the retailer's data isn't installed; scripts/requirements-replay.lock has it"
)
WEEK = dt.timedelta(weeks=1)


@pytest.mark.parametrize("week", [11, 45])  # clocks are set forward on the last day of week 11, and back in week 45
def test_read_as_utc_each_sale_lies_in_the_week_that_the_data_gives_it(week: int) -> None:
    chosen = data.load(data.Choice(week, 1))
    assert data.monday(week) <= chosen.first_day <= chosen.last_day < data.monday(week) + WEEK
    as_local = [row for row in chosen.rows if row.at.date() >= data.monday(week) + WEEK]
    assert as_local  # read as local times, some would lie in the next week


def test_no_sale_lies_in_the_hour_that_did_not_exist() -> None:
    chosen = data.load(data.Choice(11, 1))
    clocks = [data.local(row.at) for row in chosen.rows]
    assert not [clock for clock in clocks if clock.date() == dt.date(2017, 3, 12) and clock.hour == 2]
    assert dict(facts.count(chosen))["baskets in a missing hour, were the times local"] == 20


def test_the_first_whole_week_is_what_the_readme_says() -> None:
    found = dict(facts.count(data.load(data.Choice(data.FIRST_WHOLE_WEEK, 1))))
    assert (found["stores"], found["baskets"], found["lines"], found["units"]) == (138, 2_919, 31_454, 2_468_022)
    assert found["lines of units missing from the product table"] == 1


def test_shelf_prices_end_in_nine_when_discount_and_match_are_put_back() -> None:
    """The loyalty card's discount and the coupon match are in sales_value already; a manufacturer's coupon is not."""
    rows = [row for row in data.load(data.Choice(2, 1)).rows if row.quantity == 1 and row.coupon_match]
    nines = sum(row.shelf_value % 10 == 9 for row in rows)
    assert nines > 0.85 * len(rows)
    assert sum((row.shelf_value + row.coupon) % 10 == 9 for row in rows) < 0.6 * len(rows)
