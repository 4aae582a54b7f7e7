"""How a sale becomes an order: sums, tenders, currencies, times; and what is refused."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit import errors
from services.orders.domain import booking, summary
from services.orders.domain import sale as domain
from tests.integration.orders.world import LIPSTICK, NOON, VIENNA, line, sale
from tillmesh.orders.v1 import orders_pb2
from tillmesh.orders.v1 import orders_service_pb2 as pb

SHOP = uuid.UUID(int=1)
AMOUNTS = st.integers(0, 10**11)
TAXES = st.lists(st.builds(domain.Tax, st.just("VAT"), st.just("0.19"), st.integers(-(10**9), 10**9)), max_size=3)
DISCOUNTS = st.lists(st.builds(domain.Discount, st.just("x"), AMOUNTS, st.just("")), max_size=3)
ITEMS = st.builds(
    lambda quantity, net, taxes, discounts: line(
        "LIP-1", quantity, net, taxes=tuple(taxes), discounts=tuple(discounts)
    ),
    st.integers(1, 10**9),
    AMOUNTS,
    TAXES,
    DISCOUNTS,
)
ADJUSTMENTS = st.builds(lambda net: line("", 0, net, kind=domain.LineKind.ADJUSTMENT), st.integers(-(10**11), 10**11))


def book(of: domain.Sale, *, at: dt.datetime = NOON, store: domain.Store = VIENNA) -> domain.Order:
    numbers = [uuid.UUID(int=n) for n in range(len(of.lines))]
    return booking.book(of, {"LIP-1": LIPSTICK}, store, seq=1, order_id=uuid.UUID(int=9), line_ids=numbers, at=at)


@given(lines=st.lists(ITEMS | ADJUSTMENTS, min_size=1, max_size=20), inclusive=st.booleans())
def test_totals_are_the_sums_of_lines_and_tenders_pay_them(lines: list[domain.SaleLine], *, inclusive: bool) -> None:
    order = book(sale(SHOP, "s", *lines, tax_inclusive=inclusive))

    net = sum(x.net_amount for x in lines)
    tax = sum(t.amount for x in lines for t in x.taxes)
    assert (order.net_total, order.tax_total) == (net, tax)
    assert order.discount_total == sum(d.amount for x in lines for d in x.discounts)
    assert order.total == (net if inclusive else net + tax)
    assert order.tenders == (domain.Tender(domain.TenderType.CASH, order.total, "EUR", ""),)
    assert [x.number for x in order.lines] == list(range(1, len(lines) + 1))


@given(paid=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=5), due=st.integers(0, 10**9))
def test_tenders_that_are_given_add_up_or_the_sale_is_refused(paid: list[int], due: int) -> None:
    tenders = tuple(domain.Tender(domain.TenderType.CARD, amount, "EUR", "") for amount in paid)
    of = sale(SHOP, "s", line(net_amount=due), tenders=tenders)
    if sum(paid) == due:
        assert book(of).tenders == tenders
    else:
        with pytest.raises(domain.SaleUnbalanced) as refusal:
            book(of)
        assert refusal.value.metadata == {"due": str(due), "tendered": str(sum(paid))}


@pytest.mark.parametrize("inclusive", [True, False])
def test_sums_beyond_money_are_refused(*, inclusive: bool) -> None:
    half = domain.AMOUNT_MAX // 2 + 1
    with pytest.raises(errors.InvalidRequest):
        book(sale(SHOP, "s", line(net_amount=half), line(net_amount=half), tax_inclusive=inclusive))
    taxes = (domain.Tax("t", "1", half),) * 2
    with pytest.raises(errors.InvalidRequest):
        book(sale(SHOP, "s", line(taxes=taxes), tax_inclusive=inclusive))


@pytest.mark.parametrize(
    "given", [{"currency_code": "USD"}, {"tenders": (domain.Tender(domain.TenderType.CASH, 1000, "USD", ""),)}]
)
def test_another_currency_than_the_locations_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(domain.CurrencyMismatch) as refusal:
        book(sale(SHOP, "s", **given))
    assert refusal.value.metadata == {"expected": "EUR"}


def test_a_till_that_is_more_than_five_minutes_ahead_is_flagged_and_not_refused() -> None:
    five = dt.timedelta(minutes=5)
    assert not book(sale(SHOP, "s", occurred_at=NOON + five)).clock_skewed
    assert book(sale(SHOP, "s", occurred_at=NOON + five + dt.timedelta(microseconds=1))).clock_skewed
    assert not book(sale(SHOP, "s", occurred_at=NOON - dt.timedelta(days=400))).clock_skewed


@pytest.mark.parametrize("at", [dt.datetime.min, dt.datetime.max])
def test_a_time_at_the_end_of_the_calendar_is_refused(at: dt.datetime) -> None:
    store = domain.Store("Pacific/Kiritimati" if at.year > 2000 else "Pacific/Niue", 0, "EUR", sells=True)
    with pytest.raises(errors.InvalidRequest):
        book(sale(SHOP, "s", occurred_at=at.replace(tzinfo=dt.UTC)), store=store)


def test_an_unknown_item_is_sold_as_the_till_called_it() -> None:
    (sold,) = book(sale(SHOP, "s", line("NEW-1", name="Blue thing"))).lines
    assert (sold.sku, sold.name, sold.category, sold.product_id, sold.unresolved) == (
        "NEW-1",
        "Blue thing",
        "",
        None,
        True,
    )


def test_an_adjustment_keeps_its_own_name_and_is_nobodys_exception() -> None:
    coupon = line("LIP-1", 0, -100, kind=domain.LineKind.ADJUSTMENT, name="Coupon")
    unknown = line("C-7", 0, -1, kind=domain.LineKind.ADJUSTMENT)
    lines = book(sale(SHOP, "s", line(), coupon, unknown)).lines
    assert [(x.name, x.category, x.unresolved) for x in lines] == [
        ("Lipstick, red", "Face/Lipstick", False),
        ("Coupon", "Face/Lipstick", False),
        ("", "", False),
    ]


def test_the_numbers_of_the_domain_are_the_contracts() -> None:
    for ours, theirs, prefix in (
        (domain.LineKind, orders_pb2.LineKind, "LINE_KIND_"),
        (domain.TenderType, orders_pb2.TenderType, "TENDER_TYPE_"),
        (domain.Channel, orders_pb2.Channel, "CHANNEL_"),
        (domain.OrderState, orders_pb2.OrderState, "ORDER_STATE_"),
        (summary.Dimension, pb.SalesDimension, "SALES_DIMENSION_"),
    ):
        declared = {name.removeprefix(prefix): number for name, number in theirs.items() if number}
        assert {member.name: member.value for member in ours} == declared


DAY = dt.date(2026, 1, 1)


@pytest.mark.parametrize(
    ("until", "dimensions", "field"),
    [
        (DAY - dt.timedelta(days=1), [], "business_date_to"),
        (DAY + dt.timedelta(days=367), [], "business_date_to"),
        (DAY, [summary.Dimension.TENDER, summary.Dimension.SKU], "group_by"),
        (DAY, [summary.Dimension.CATEGORY, summary.Dimension.TENDER], "group_by"),
    ],
)
def test_questions_that_make_no_sense_are_refused(
    until: dt.date, dimensions: list[summary.Dimension], field: str
) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        summary.ask(DAY, until, dimensions)
    assert [violation.field for violation in refusal.value.violations] == [field]


def test_a_year_may_be_asked_for_and_tenders_by_day_hour_and_campaign() -> None:
    d = summary.Dimension
    assert summary.ask(DAY, DAY + dt.timedelta(days=366), [d.BUSINESS_DATE, d.HOUR]).source is summary.Source.ORDERS
    assert summary.ask(DAY, DAY, [d.TENDER, d.HOUR, d.CAMPAIGN]).source is summary.Source.TENDERS
    assert summary.ask(DAY, DAY, [d.BUSINESS_DATE, d.SKU]).source is summary.Source.LINES


def test_bundles_of_a_sale_come_to_at_most_2_000_components() -> None:
    box = domain.Item("BOX", None, "Box", "", "", components=tuple((f"part-{n}", 1) for n in range(100)))

    def booked(count: int) -> domain.Order:
        of = sale(SHOP, "s", *[line("box")] * count)
        numbers = [uuid.UUID(int=n) for n in range(count)]
        return booking.book(of, {"box": box}, VIENNA, seq=1, order_id=SHOP, line_ids=numbers, at=NOON)

    assert len(booked(20).lines) == 20
    with pytest.raises(errors.InvalidRequest):
        booked(21)


MILK = domain.Item("MILK", None, "Milk", "Food", "", scanned=domain.Scanned("L1", "2026-12-31"))


def scanned(*lines: domain.SaleLine) -> domain.Order:
    items = {"milk": MILK, "bad": domain.Misread("(17) has six digits")}
    numbers = [uuid.UUID(int=n) for n in range(len(lines))]
    of = sale(SHOP, "s", *lines)
    return booking.book(of, items, VIENNA, seq=1, order_id=uuid.UUID(int=9), line_ids=numbers, at=NOON)


def test_a_scanned_code_names_the_lot_that_the_line_keeps() -> None:
    order = scanned(line("milk"), line("milk", lot="L1"), line("other", lot="L2"))
    assert [(x.sku, x.lot, x.unresolved) for x in order.lines] == [
        ("MILK", "L1", False), ("MILK", "L1", False), ("other", "L2", True),
    ]  # fmt: skip


def test_a_code_that_was_scanned_badly_is_named_and_so_is_a_lot_that_is_another() -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        scanned(line("milk"), line("bad"), line("milk", lot="L2"), line("bad", 0, kind=domain.LineKind.ADJUSTMENT))
    assert [violation.field for violation in refused.value.violations] == ["lines[1].code", "lines[2].lot"]
