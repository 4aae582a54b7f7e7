"""What an order costs: vectors of research (peers.md §3.8) and of other systems, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from services.kit import errors
from services.orders.domain import money, sale
from services.orders.domain.money import Kind, Portion, Rounding, TaxLevel

VAT = (money.TaxRate("VAT", "0.19"),)


def policy(currency: str = "EUR", **changes: Any) -> money.Policy:
    return money.Policy(currency, **changes)


def item(ref: str = "a", quantity: int = 1, unit_price: int = 1000, **rest: Any) -> money.LineRequest:
    return money.LineRequest(ref, quantity, unit_price, **rest)


def extra(kind: Kind, amount: int, ref: str = "x", **rest: Any) -> money.LineRequest:
    return money.LineRequest(ref, 0, amount, kind, **rest)


def off(name: str = "off", refs: frozenset[str] = frozenset(), **portion: int) -> money.DiscountRequest:
    return money.DiscountRequest(name, Portion(**portion), "cmp", refs)


def price(*lines: money.LineRequest, by: money.Policy | None = None, **rest: Any) -> money.PricedOrder:
    return money.price_order(money.PricingRequest(by or policy(), lines, **rest))


@pytest.mark.parametrize(("level", "tax", "total"), [(TaxLevel.LINE, 62, 386), (TaxLevel.UNIT, 63, 387)])
@pytest.mark.parametrize("mode", [Rounding.HALF_EVEN, Rounding.HALF_UP])
def test_tax_is_rounded_for_the_line_or_for_each_unit(level: TaxLevel, tax: int, total: int, mode: Rounding) -> None:
    # commercetools: (1.08*3)*1.19 = 3.8556 -> 3.86, and round(1.08*1.19)*3 = 3.87
    order = price(item(quantity=3, unit_price=108, taxes=VAT), by=policy(tax_level=level, rounding=mode))

    assert (order.net_total, order.tax_total, order.total) == (324, tax, total)


@pytest.mark.parametrize(
    ("level", "amounts"), [(TaxLevel.LINE, [16, 31]), (TaxLevel.UNIT, [15, 30]), (TaxLevel.ORDER, [16, 31])]
)
def test_each_of_several_taxes_is_rounded_for_the_line_or_for_each_unit(level: TaxLevel, amounts: list[int]) -> None:
    # 105 a unit: 5.25 and 10.47 each, 15.75 and 31.42 for three
    taxes = (money.TaxRate("GST", "0.05"), money.TaxRate("QST", "0.09975"))

    order = price(item(quantity=3, unit_price=105, taxes=taxes), by=policy("CAD", tax_level=level))

    assert [tax.amount for tax in order.taxes] == amounts
    assert order.total == 315 + sum(amounts)


@pytest.mark.parametrize(("level", "tax"), [(TaxLevel.LINE, 52), (TaxLevel.UNIT, 51)])
def test_tax_is_taken_out_of_the_line_or_of_each_unit(level: TaxLevel, tax: int) -> None:
    # 108 · 19/119 = 17.24, and 324 · 19/119 = 51.73
    order = price(item(quantity=3, unit_price=108, taxes=VAT), by=policy(tax_inclusive=True, tax_level=level))

    assert (order.total, order.tax_total, order.lines[0].untaxed_amount) == (324, tax, 324 - tax)


def test_an_order_never_comes_to_fractions_of_a_cent() -> None:
    # medusa#14817: totals of 34.116425 against 34.12 charged
    order = price(item(unit_price=2867, taxes=VAT))

    assert (order.tax_total, order.total) == (545, 3412)


@pytest.mark.parametrize(
    ("mode", "tax"),
    [(Rounding.HALF_UP, 3), (Rounding.HALF_EVEN, 2), (Rounding.HALF_DOWN, 2), (Rounding.UP, 3), (Rounding.DOWN, 2)],
)
def test_a_tie_is_rounded_as_the_policy_says(mode: Rounding, tax: int) -> None:
    order = price(item(unit_price=25, taxes=(money.TaxRate("T", "0.1"),)), by=policy(rounding=mode))

    assert order.tax_total == tax


def test_tax_rounded_for_the_order_is_divided_over_its_lines() -> None:
    lines = [item(ref, unit_price=105, taxes=VAT) for ref in "abc"]  # 19.95 each, 59.85 together

    order = price(*lines, by=policy(tax_level=TaxLevel.ORDER, rounding=Rounding.DOWN))

    assert [line.tax_amount for line in order.lines] == [20, 20, 19]
    assert order.taxes == (money.TaxTotal("VAT", "0.19", 315, 59),)


def test_tax_that_prices_contain_is_taken_out_of_them() -> None:
    (line,) = price(item(unit_price=1190, taxes=VAT), by=policy(tax_inclusive=True)).lines

    assert (line.net_amount, line.tax_amount, line.untaxed_amount, line.total_amount) == (1190, 190, 1000, 1190)


def test_several_taxes_of_a_line_each_have_their_amount() -> None:
    taxes = (money.TaxRate("GST", "0.05"), money.TaxRate("QST", "0.09975"))
    exclusive = price(item(unit_price=9999, taxes=taxes), by=policy("CAD"))
    inclusive = price(item(unit_price=11496, taxes=taxes), by=policy("CAD", tax_inclusive=True))

    expected = (sale.Tax("GST", "0.05", 500), sale.Tax("QST", "0.09975", 997))
    assert (exclusive.lines[0].taxes, exclusive.total) == (expected, 11496)
    assert (inclusive.lines[0].taxes, inclusive.total) == (expected, 11496)


@pytest.mark.parametrize(
    ("currency", "unit_price", "tax"), [("JPY", 108, 10), ("EUR", 10800, 1026), ("KWD", 108_000, 10260)]
)
def test_amounts_are_whole_smallest_units_of_any_currency(currency: str, unit_price: int, tax: int) -> None:
    order = price(item(unit_price=unit_price, taxes=(money.TaxRate("T", "0.095"),)), by=policy(currency))

    assert (order.tax_total, order.total) == (tax, unit_price + tax)


def test_a_price_may_be_for_more_than_one_unit() -> None:
    order = price(item(quantity=333, unit_price=199, price_quantity=100))  # grams

    assert (order.total, order.lines[0].unit_price, order.lines[0].price_quantity) == (663, 199, 100)


def test_discounts_are_taken_off_before_tax_the_lines_own_first() -> None:
    lines = [item("a", 2, 1000, taxes=VAT, discounts=(off("own", basis_points=1000),)), item("b", 1, 3000, taxes=VAT)]

    order = price(*lines, discounts=[off("coupon", amount=480)])

    a, b = order.lines
    assert a.discounts == (sale.Discount("own", 200, "cmp"), sale.Discount("coupon", 180, "cmp"))
    assert (a.list_amount, a.discount_amount, a.net_amount, a.tax_amount) == (2000, 380, 1620, 308)
    assert (b.discount_amount, b.net_amount, b.tax_amount) == (300, 2700, 513)
    assert (order.list_total, order.discount_total, order.net_total) == (5000, 680, 4320)


def test_an_orders_discount_spares_shipping_and_lines_that_it_doesnt_name() -> None:
    lines = [item("a"), item("b"), item("c", discountable=False), extra(Kind.SHIPPING, 500)]

    order = price(*lines, discounts=[off(basis_points=1000, refs=frozenset("ac")), off(basis_points=5000)])

    assert [line.net_amount for line in order.lines] == [450, 500, 1000, 500]


def test_a_discount_is_at_most_the_price() -> None:
    order = price(item(taxes=VAT), item("b", unit_price=0), discounts=[off(amount=5000)])

    assert (order.total, order.tax_total, order.discount_total) == (0, 0, 1000)


def test_free_shipping_is_a_discount_on_the_line_of_shipping() -> None:
    shipping = extra(Kind.SHIPPING, 500, taxes=VAT, discounts=(off("free", basis_points=10_000),))

    order = price(item(taxes=VAT), shipping)

    assert (order.lines[1].total_amount, order.total) == (0, 1190)


def test_shipping_and_gift_wrap_are_taxed_lines() -> None:
    order = price(
        item(taxes=VAT), extra(Kind.SHIPPING, 490, "s", taxes=VAT), extra(Kind.GIFT_WRAP, 250, "g", taxes=VAT)
    )

    assert [line.tax_amount for line in order.lines] == [190, 93, 48]
    assert order.taxes == (money.TaxTotal("VAT", "0.19", 1740, 331),)


def test_a_price_set_by_a_person_keeps_the_catalogues_beside_it() -> None:
    override = money.Override(800, "scratched", "usr_1")

    (line,) = price(item(override=override, taxes=VAT)).lines

    assert (line.list_price, line.unit_price, line.override) == (1000, 800, override)
    assert (line.list_amount, line.total_amount) == (800, 952)


@pytest.mark.parametrize(
    ("increment", "cash", "change"), [(5, 385, -2), (10, 390, 3), (1, 387, 0), (0, 387, 0), (100, 400, 13)]
)
def test_cash_rounding_is_a_line_of_its_own(increment: int, cash: int, change: int) -> None:
    order = price(
        item(unit_price=387), by=policy("CHF", cash_increment=increment), tenders=[money.TenderRequest("t", cash=True)]
    )

    assert order.tenders == (money.Tender("t", cash, cash=True),)
    assert (order.total, order.net_total, order.rounding_amount) == (cash, cash, change)
    rounding = [(line.net_amount, line.taxes) for line in order.lines if line.kind is Kind.CASH_ROUNDING]
    assert rounding == ([(change, ())] if change else [])


def test_only_the_cash_part_of_a_split_payment_is_rounded() -> None:
    tenders = [money.TenderRequest("gift", 501), money.TenderRequest("coins", cash=True)]

    order = price(item(), by=policy("CHF", cash_increment=5), tenders=tenders)

    assert [tender.amount for tender in order.tenders] == [501, 500]
    assert (order.total, order.rounding_amount) == (1001, 1)


def test_no_cash_no_rounding() -> None:
    order = price(item(unit_price=387), by=policy("CHF", cash_increment=5), tenders=[money.TenderRequest("card")])

    assert (order.total, order.rounding_amount) == (387, 0)


def test_a_deposit_leaves_a_balance() -> None:
    order = price(item(unit_price=99_999), deposit=Portion(basis_points=3000), tenders=[money.TenderRequest("card")])

    assert (order.deposit_amount, order.balance_amount, order.total) == (30_000, 69_999, 99_999)
    assert order.tenders[0].amount == 30_000


@pytest.mark.parametrize("amounts", [[999], [1001], [1001, None], []])
def test_tenders_that_dont_pay_what_is_due_are_refused(amounts: list[int | None]) -> None:
    tenders = [money.TenderRequest(str(i), amount) for i, amount in enumerate(amounts)]
    if not tenders:
        assert price(item()).tenders == ()
        return
    with pytest.raises(sale.SaleUnbalanced) as refused:
        price(item(), tenders=tenders)
    assert refused.value.metadata == {"due": "1000", "tendered": str(amounts[0])}


def test_two_tenders_cant_both_pay_the_rest() -> None:
    with pytest.raises(errors.InvalidRequest):
        price(item(), tenders=[money.TenderRequest("a"), money.TenderRequest("b")])


def test_money_goes_back_to_tenders_in_their_order() -> None:
    assert money.fill(700, [500, 100, 900]) == (500, 100, 100)
    with pytest.raises(money.RefundTooLarge):
        money.fill(1501, [500, 100, 900])


@pytest.mark.parametrize(
    ("lines", "rest", "field"),
    [
        ([], {}, "lines"),
        ([item(), item()], {}, "lines"),
        ([item("")], {}, "lines[0].ref"),
        ([item(quantity=0)], {}, "lines[0].quantity"),
        ([item(quantity=10**9 + 1)], {}, "lines[0].quantity"),
        ([extra(Kind.CASH_ROUNDING, 1)], {}, "lines[0].kind"),
        ([item(unit_price=-1)], {}, "lines[0].unit_price"),
        ([item(unit_price=10**15 + 1)], {}, "lines[0].unit_price"),
        ([item(price_quantity=0)], {}, "lines[0].price_quantity"),
        ([item(override=money.Override(1, "", "u"))], {}, "lines[0].override.reason"),
        ([item(taxes=(money.TaxRate("T", "1e3"),))], {}, "lines[0].taxes[0].rate"),
        ([item(taxes=(*VAT, *VAT))], {}, "lines[0].taxes"),
        ([item(discounts=(off(amount=-1),))], {}, "lines[0].discounts[0].amount"),
        ([item(discounts=(off(basis_points=10_001),))], {}, "lines[0].discounts[0].basis_points"),
        ([item(discounts=(off(amount=1, basis_points=1),))], {}, "lines[0].discounts[0]"),
        ([item(), extra(Kind.ADJUSTMENT, -1, discounts=(off(amount=1),))], {}, "lines[1].discounts"),
        ([item()], {"discounts": [off(amount=1, refs=frozenset("z"))]}, "discounts[0].refs"),
        ([item()], {"deposit": Portion(basis_points=-1)}, "deposit.basis_points"),
        ([item()], {"tenders": [money.TenderRequest("t", -1)]}, "tenders[0].amount"),
        ([item()], {"by": policy("XXX")}, "policy.currency_code"),
        ([item()], {"by": policy(cash_increment=-1)}, "policy.cash_increment"),
    ],
)
def test_what_is_wrong_with_a_request_is_named(
    lines: list[money.LineRequest], rest: dict[str, Any], field: str
) -> None:
    with pytest.raises(errors.InvalidRequest) as refused:
        price(*lines, **rest)
    assert [violation.field for violation in refused.value.violations] == [field]


@pytest.mark.parametrize(
    "lines",
    [
        [item(quantity=10**9, unit_price=10**15)],
        [item(quantity=2, unit_price=10**15), extra(Kind.ADJUSTMENT, -(10**15))],
        [item(), extra(Kind.ADJUSTMENT, -1001)],
    ],
)
def test_sums_beyond_money_or_below_nothing_are_refused(lines: list[money.LineRequest]) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"sums of an order|more than the order costs"):
        price(*lines)
