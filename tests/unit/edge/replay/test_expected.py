from __future__ import annotations

import datetime as dt

from edge.replay import expected
from tests.unit.edge.replay.rows import MONDAY_NOON, cut, row


def test_a_day_sums_what_customers_paid_and_what_was_taken_off() -> None:
    rows = [
        row(value=100, card_discount=20, coupon=30, coupon_match=5),
        row(product_id=11, quantity=0, value=7, coupon=2),
        row(basket_id=2, quantity=3, value=200),
    ]
    store = expected.of(cut(rows))[367]
    assert {key: sums.figures() for key, sums in store.days.items()} == {("2017-01-02",): (2, 4, 4, 275, 25)}


def test_hours_are_those_of_the_stores_clock() -> None:
    rows = [row(), row(basket_id=2, at=MONDAY_NOON + dt.timedelta(hours=12))]
    store = expected.of(cut(rows))[367]
    assert [*store.hours] == [("2017-01-02", 12), ("2017-01-03", 0)]


def test_units_of_known_items_leave_the_stock_and_of_unknown_ones_become_exceptions() -> None:
    rows = [row(quantity=2), row(basket_id=2, quantity=3), row(basket_id=3, product_id=99, quantity=4)]
    rows += [row(basket_id=3, product_id=98, quantity=0), row(basket_id=4, product_id=11, quantity=0)]
    store = expected.of(cut(rows))[367]
    assert store.sold == {("2017-01-02", 10): 5}
    assert store.unknown == {(3, 99): 4}


def test_a_store_without_sales_on_the_chosen_days_expects_nothing() -> None:
    rows = [row(), row(store_id=9, basket_id=2, at=MONDAY_NOON + dt.timedelta(days=1))]
    assert not expected.of(cut(rows, days=1))[9].days
