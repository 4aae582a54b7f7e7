from __future__ import annotations

import datetime as dt

import pytest

from edge.replay import data, facts
from tests.unit.edge.replay.rows import MONDAY_NOON, PRODUCTS, cut, row

DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("dollars", "expected"),
    [(0.0, 0), (0.29, 29), (1.1, 110), (840.0, 84_000), (1.776357e-15, 0), (5.779999999999999, 578)],
)
def test_amounts_become_exact_cents(dollars: float, expected: int) -> None:
    assert data.cents(dollars) == expected


def test_an_amount_that_is_no_whole_cents_is_refused() -> None:
    with pytest.raises(data.DataError, match="no whole cents"):
        data.cents(0.125)


def test_sales_are_in_order_of_time_and_a_basket_stays_together() -> None:
    later, first, also = row(basket_id=1, at=MONDAY_NOON + DAY), row(basket_id=3), row(basket_id=2, product_id=11)
    chosen = cut([later, first, also, row(basket_id=3, product_id=12)])
    assert [[line.basket_id for line in basket] for basket in chosen.baskets()] == [[2], [3, 3], [1]]


def test_the_busiest_stores_are_those_with_most_baskets() -> None:
    rows = [row(store_id=1, basket_id=1, product_id=p) for p in (10, 11, 12)]
    rows += [row(store_id=2, basket_id=b) for b in (2, 3)] + [row(store_id=3, basket_id=b) for b in (4, 5)]
    assert list(cut(rows, stores=2).stores) == [2, 3]
    assert list(cut(rows, stores=1).stores) == [2]
    assert list(cut(rows).stores) == [1, 2, 3]


def test_a_day_is_sold_but_the_whole_week_is_stocked() -> None:
    chosen = cut([row(quantity=2), row(basket_id=2, quantity=3, at=MONDAY_NOON + DAY)], days=1)
    assert [line.basket_id for line in chosen.rows] == [1]
    assert (chosen.first_day, chosen.last_day) == (dt.date(2017, 1, 2), dt.date(2017, 1, 2))
    assert chosen.supply == {(367, 2): {10: 5}}


def test_a_day_ends_at_midnight_in_new_york() -> None:
    before, after = dt.datetime(2017, 1, 3, 4, 59, tzinfo=dt.UTC), dt.datetime(2017, 1, 3, 5, 0, tzinfo=dt.UTC)
    chosen = cut([row(), row(basket_id=2, at=before), row(basket_id=3, at=after)], days=1)
    assert [line.basket_id for line in chosen.rows] == [1, 2]


def test_only_products_that_are_sold_and_known_are_in_the_slice() -> None:
    assert list(cut([row(), row(basket_id=2, product_id=99)]).products) == [10]


def test_a_slice_without_sales_is_refused() -> None:
    with pytest.raises(data.DataError, match="no sale"):
        data.cut([], PRODUCTS, data.Choice(2, 1))


def test_weeks_that_the_year_does_not_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_folder", lambda: None)
    with pytest.raises(data.DataError, match="53 to 54"):
        data.load(data.Choice(53, 2))


def test_the_hour_that_did_not_exist_and_the_one_that_came_twice_are_counted() -> None:
    def at(*digits: int) -> dt.datetime:
        return dt.datetime(2017, *digits, tzinfo=dt.UTC)

    missing, twice = [at(3, 12, 2, 30)], [at(11, 5, 5, 30), at(11, 5, 6, 30)]
    usual = [at(3, 12, 1, 59), at(3, 12, 3), at(3, 12, 7), at(11, 5, 4, 59), at(11, 5, 7), at(11, 5, 1, 30)]
    rows = [row(basket_id=number, at=when) for number, when in enumerate(missing + twice + usual, 1)]
    found = dict(facts.count(cut(rows)))
    assert found["baskets in a missing hour, were the times local"] == 1
    assert found["baskets in an hour that came twice"] == 2


def test_oddities_are_counted() -> None:
    rows = [
        row(quantity=0, value=0),
        row(product_id=11, quantity=0, value=5, coupon=7),
        row(product_id=12, quantity=8725, value=2006),
        row(basket_id=2, quantity=1, value=100, coupon=150),
        row(basket_id=3, product_id=99, quantity=1, value=0),
        row(basket_id=3, product_id=98, quantity=0, value=0),
    ]
    found = {name: number for name, number in facts.count(cut(rows)) if number}
    assert found == {
        "stores": 1,
        "baskets": 3,
        "lines": 6,
        "products": 5,
        "units": 8727,
        "lines without units": 3,
        "… with a value": 1,
        "… with a coupon": 1,
        "… with nothing at all": 2,
        "lines with units and a coupon": 1,
        "lines of 1,000 units and more (fuel)": 1,
        "lines without whole cents a unit": 1,
        "lines of units that cost nothing": 1,
        "lines of units missing from the product table": 1,
        "other lines missing from the product table": 1,
        "baskets that cost nothing": 1,
        "baskets that give money back": 1,
    }
