"""What goes back of an order: the vector of research (peers.md §3.8), fees, coins, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from services.kit import errors
from services.orders.domain import money, sale
from services.orders.domain.money import Kind, Portion, Rounding

NOTHING = money.Refunded()


def line(ref: str = "a", quantity: int = 1, amount: int = 1190, *taxes: int) -> money.PaidLine:
    return money.PaidLine(ref, quantity, amount, tuple(sale.Tax(f"T{i}", "0.1", tax) for i, tax in enumerate(taxes)))


def paid(*lines: money.PaidLine, total: int | None = None, increment: int = 0) -> money.Paid:
    return money.Paid(
        money.Policy("EUR", cash_increment=increment), lines, sum(x.amount for x in lines) if total is None else total
    )


def units(ref: str, quantity: int, amount: int = 0, **rest: Any) -> money.RefundRequest:
    return money.RefundRequest([money.RefundLine(ref, quantity, amount)], **rest)


def amounts(of: money.Paid, *requests: money.RefundRequest) -> list[int]:
    counts, given = NOTHING, []
    for request in requests:
        refund = money.refund(of, counts, request)
        counts = refund.after
        given.append(refund.amount)
    return given


def test_stacked_partial_refunds_never_give_back_more_tax_than_there_was() -> None:
    # polar#13770: net 52, tax 10
    order, counts, steps = paid(line("a", 1, 62, 10)), NOTHING, []
    for amount in (32, 9, 8, 3, 6, 3):
        refund = money.refund(order, counts, money.RefundRequest(amount=amount))
        counts = refund.after
        steps.append((refund.amount - refund.tax_amount, refund.tax_amount))

    assert [tax for _, tax in steps] == [5, 2, 1, 0, 1, 1]
    assert [net for net, _ in steps] == [27, 7, 7, 3, 5, 2]
    assert money.left(order, counts) == 1


@pytest.mark.parametrize("split", [[10], [1] * 10, [3, 4, 3]])
def test_a_full_refund_is_never_a_penny_more_than_the_order(split: list[int]) -> None:
    # woocommerce#64668: 10 of 23.90 with 20 % in them, 25 % off: 179.25 paid, 179.26 to be refunded
    request = money.PricingRequest(
        money.Policy("GBP", tax_inclusive=True),
        [money.LineRequest("a", 10, 2390, taxes=(money.TaxRate("VAT", "0.20"),))],
        discounts=[money.DiscountRequest("coupon", Portion(basis_points=2500))],
    )
    order = money.price_order(request)
    counts, given, tax = NOTHING, 0, 0
    for quantity in split:
        refund = money.refund(money.paid(order), counts, units("a", quantity))
        counts, given, tax = refund.after, given + refund.amount, tax + refund.tax_amount

    assert (order.total, order.tax_total) == (given, tax) == (17925, 2988)


@pytest.mark.parametrize("level", money.TaxLevel)
def test_two_lines_refunded_one_by_one_come_to_their_order(level: money.TaxLevel) -> None:
    # woocommerce#30263: two products of 2.10 with 24 % in them
    lines = [money.LineRequest(ref, 1, 210, taxes=(money.TaxRate("VAT", "0.24"),)) for ref in "ab"]
    order = money.price_order(money.PricingRequest(money.Policy("EUR", tax_inclusive=True, tax_level=level), lines))

    refunds = [units("a", 1), units("b", 1)]

    assert amounts(money.paid(order), *refunds) == [210, 210]
    assert order.tax_total == (81 if level is money.TaxLevel.ORDER else 82)


def test_units_give_back_their_share_and_the_last_one_what_is_left() -> None:
    order = paid(line("a", 3, 100, 16))

    refund = money.refund(order, NOTHING, units("a", 2))

    assert (refund.amount, refund.tax_amount, refund.complete) == (67, 11, False)
    rest = money.refund(order, refund.after, units("a", 1))
    assert (rest.amount, rest.tax_amount, rest.complete) == (33, 5, True)


def test_many_small_refunds_stay_beside_the_exact_amount() -> None:
    counts, given = NOTHING, 0
    order = paid(line("a", 1000, 1400))
    for n in range(1, 1001):
        refund = money.refund(order, counts, units("a", 1))
        counts, given = refund.after, given + refund.amount
        assert abs(given - 1.4 * n) < 1


def test_each_tax_goes_back_whole() -> None:
    order = paid(line("a", 7, 115, 5, 10))
    counts, back = NOTHING, [0, 0]
    for _ in range(7):
        refund = money.refund(order, counts, units("a", 1))
        counts = refund.after
        back = [sum_ + tax.amount for sum_, tax in zip(back, refund.lines[0].taxes, strict=True)]
        assert all(tax.amount >= 0 for tax in refund.lines[0].taxes)

    assert back == [5, 10]


def test_money_for_a_damaged_item_counts_when_it_comes_back_after_all() -> None:
    order = paid(line("a", 2, 2000))

    assert amounts(order, units("a", 0, 500), units("a", 1), units("a", 1)) == [500, 1000, 500]


def test_a_restocking_fee_is_withheld_with_its_tax() -> None:
    order = paid(line("a", 2, 2380, 380), line("s", 0, 490))

    refund = money.refund(order, NOTHING, units("a", 1, fee=Portion(basis_points=1500)))

    assert (refund.amount, refund.fee_amount) == (1190 - 179, 179)
    assert refund.tax_amount == 161  # 380 · 1011 / 2380
    assert money.left(order, refund.after) == 2870 - 1011


def test_a_fee_may_be_given_back_later() -> None:
    order = paid(line("a", 1, 1190, 190))
    first = money.refund(order, NOTHING, units("a", 1, fee=Portion(amount=100)))

    waived = money.refund(order, first.after, money.RefundRequest(amount=100))

    assert (first.amount, waived.amount, waived.fee_amount) == (1090, 100, -100)
    assert (first.tax_amount + waived.tax_amount, waived.complete) == (190, True)


def test_a_fee_is_spread_over_the_units_that_it_is_for() -> None:
    order = paid(line("a", 1, 1000), line("b", 1, 500))
    request = money.RefundRequest([money.RefundLine("a", 1), money.RefundLine("b", 1)], fee=Portion(amount=100))

    assert [of.fee for of in money.refund(order, NOTHING, request).lines] == [67, 33]


def test_a_fee_is_at_most_the_money_of_the_units() -> None:
    refund = money.refund(paid(line()), NOTHING, units("a", 1, fee=Portion(amount=5000)))

    assert (refund.amount, refund.fee_amount, refund.after.of("a").quantity) == (0, 1190, 1)


def test_an_amount_is_spread_over_what_is_left_of_the_lines() -> None:
    order = paid(line("a", 1, 1000), line("b", 1, 500), line("s", 0, 500))
    first = money.refund(order, NOTHING, units("b", 1))

    refund = money.refund(order, first.after, money.RefundRequest(amount=300))

    assert [(of.ref, of.amount) for of in refund.lines] == [("a", 200), ("s", 100)]


def test_shipping_goes_back_as_an_amount() -> None:
    order = paid(line("a", 1, 1000), line("s", 0, 490, 78))

    refund = money.refund(order, NOTHING, units("s", 0, 490))

    assert (refund.amount, refund.tax_amount, refund.complete) == (490, 78, False)


@pytest.mark.parametrize(
    ("price", "increment", "mode", "total"),
    [
        (1002, 5, Rounding.HALF_UP, 1000),
        (1003, 5, Rounding.HALF_UP, 1005),
        (198, 5, Rounding.HALF_UP, 200),  # odoo PR #85277
        (750, 100, Rounding.DOWN, 700),  # odoo#96721: 8.00 went back
    ],
)
@pytest.mark.parametrize("cash", [True, False])
@pytest.mark.parametrize("by_amount", [True, False])
def test_a_full_return_copies_the_rounding_of_cash(
    price: int, increment: int, mode: Rounding, total: int, *, cash: bool, by_amount: bool
) -> None:
    # odoo PR #161564: the refund was rounded again
    request = money.PricingRequest(
        money.Policy("CHF", rounding=mode, cash_increment=increment),
        [money.LineRequest("a", 1, price, taxes=(money.TaxRate("VAT", "0"),))],
        tenders=[money.TenderRequest("t", cash=True)],
    )
    asked = money.RefundRequest(amount=total, cash=cash) if by_amount else units("a", 1, cash=cash)

    refund = money.refund(money.paid(money.price_order(request)), NOTHING, asked)

    assert (refund.amount, refund.rounding_amount, refund.complete) == (total, total - price, True)
    assert refund.lines[0].amount == price


def test_a_sale_by_card_goes_back_unrounded() -> None:
    # odoo PR #247617: 13.01 paid by card, 13.00 credited
    request = money.PricingRequest(
        money.Policy("EUR", cash_increment=5), [money.LineRequest("a", 1, 1301)], tenders=[money.TenderRequest("card")]
    )

    refund = money.refund(money.paid(money.price_order(request)), NOTHING, units("a", 1))

    assert (refund.amount, refund.rounding_amount, refund.complete) == (1301, 0, True)


@pytest.mark.parametrize(("price", "coins"), [(1003, 1000), (1001, 1000), (1005, 1005), (4, 0)])
def test_coins_never_pay_out_more_than_was_paid_and_leave_the_rest_for_another_way(price: int, coins: int) -> None:
    order = paid(line("a", 1, price, 100), increment=5)

    in_coins = money.refund(order, NOTHING, units("a", 1, cash=True))
    rest = money.refund(order, in_coins.after, money.RefundRequest(amount=price - coins))

    assert (in_coins.amount, in_coins.complete, money.left(order, in_coins.after)) == (
        coins,
        coins == price,
        price - coins,
    )
    assert (rest.amount, rest.lines, rest.complete) == (price - coins, (), True)


def test_coins_are_not_rounded_up_beyond_what_was_paid() -> None:
    order = paid(line("a", 1, 1004), increment=5)

    refund = money.refund(order, NOTHING, money.RefundRequest(amount=1003, cash=True))

    assert (refund.amount, money.left(order, refund.after)) == (1000, 4)


def test_the_last_coins_are_what_is_left_whatever_their_own_rounding() -> None:
    policy = money.Policy("SEK", rounding=Rounding.HALF_EVEN, cash_increment=10)
    order = money.Paid(policy, (line("a", 3, 15),), 20)  # half even: 15 is 20, and 5 would be 0

    assert amounts(order, units("a", 2), units("a", 1, cash=True)) == [10, 10]


def test_when_all_the_money_is_back_so_is_all_of_the_tax() -> None:
    order = paid(line("a", 1, 1002, 160), total=1000, increment=5)

    refund = money.refund(order, NOTHING, units("a", 0, 1001))

    assert (refund.amount, refund.tax_amount, refund.complete) == (1000, 160, True)
    with pytest.raises(money.RefundTooLarge) as refused:
        money.refund(order, NOTHING, money.RefundRequest([money.RefundLine("a", 0, 1002)], amount=1))
    assert refused.value.metadata == {"line": "", "asked": "1", "left": "0"}


def test_nothing_asked_for_is_nothing_given() -> None:
    order = paid(line("a", 1, 1003), line("free", 1, 0), increment=5)
    first = money.refund(order, NOTHING, units("a", 1, cash=True))

    for request in (money.RefundRequest(), units("free", 1)):
        nothing = money.refund(order, first.after, request)
        assert (nothing.amount, nothing.complete, money.left(order, nothing.after)) == (0, False, 3)


def test_parts_paid_out_in_coins_come_to_what_was_paid() -> None:
    order = paid(line("a", 6, 612), total=610, increment=5)

    given = amounts(order, *[units("a", 1, cash=True)] * 6)

    assert given == [100, 105, 100, 105, 100, 100]  # of 102, 204, 306 … each rounded
    assert all(amount % 5 == 0 for amount in given)


def test_a_coupon_of_a_till_reduces_what_its_lines_give_back() -> None:
    request = money.PricingRequest(
        money.Policy("EUR", tax_inclusive=True),
        [
            money.LineRequest("a", 2, 1190, taxes=(money.TaxRate("VAT", "0.19"),)),
            money.LineRequest("b", 1, 595, taxes=(money.TaxRate("VAT", "0.190"),)),
            money.LineRequest("c", 0, -595, Kind.ADJUSTMENT, taxes=(money.TaxRate("VAT", "0.19"),)),
        ],
    )
    order = money.paid(money.price_order(request))

    assert [(of.ref, of.amount, of.taxes[0].amount) for of in order.lines] == [("a", 1904, 304), ("b", 476, 76)]
    assert amounts(order, units("a", 2), units("b", 1)) == [1904, 476]


@pytest.mark.parametrize(
    ("request_", "metadata"),
    [
        (units("a", 3), {"line": "a", "asked": "3", "left": "1"}),
        (units("a", 0, 1001), {"line": "a", "asked": "1001", "left": "1000"}),
        (units("a", 1, 1), {"line": "a", "asked": "1", "left": "0"}),
        (money.RefundRequest(amount=1501), {"line": "", "asked": "1501", "left": "1500"}),
        (units("s", 1), {"line": "s", "asked": "1", "left": "0"}),
    ],
)
def test_more_than_is_left_is_refused(request_: money.RefundRequest, metadata: dict[str, str]) -> None:
    order = paid(line("a", 2, 2000), line("s", 0, 500))
    before = money.refund(order, NOTHING, units("a", 1)).after

    with pytest.raises(money.RefundTooLarge) as refused:
        money.refund(order, before, request_)
    assert refused.value.metadata == metadata


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (units("z", 1), "lines[0].ref"),
        (units("a", -1), "lines[0]"),
        (money.RefundRequest([money.RefundLine("a", 1)] * 2), "lines"),
        (money.RefundRequest(amount=-1), "amount"),
        (units("a", 1, fee=Portion(amount=-1)), "fee.amount"),
    ],
)
def test_what_is_wrong_with_a_refund_is_named(request_: money.RefundRequest, field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        money.refund(paid(line()), NOTHING, request_)
    assert [violation.field for violation in refused.value.violations] == [field]
