"""Whatever is priced, paid and refunded adds up to the smallest unit, in currencies of 0, 2 and 3 decimals."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from services.kit import currencies, errors
from services.orders.domain import money
from services.orders.domain.money import Kind, Portion, Rounding, TaxLevel

RATES = ["0", "0.05", "0.07", "0.09975", "0.19", "0.25", "1.5", "0.33333333"]
TAXES = st.lists(
    st.builds(money.TaxRate, st.sampled_from("GHV"), st.sampled_from(RATES)), max_size=2, unique_by=lambda tax: tax.name
).map(tuple)
PORTIONS = st.builds(Portion, amount=st.integers(0, 5000)) | st.builds(Portion, basis_points=st.integers(0, 10_000))
DISCOUNTS = st.lists(st.builds(money.DiscountRequest, st.just("off"), PORTIONS), max_size=2).map(tuple)
POLICIES = st.builds(
    money.Policy,
    st.sampled_from(["JPY", "EUR", "CHF", "KWD"]),
    st.booleans(),
    st.sampled_from(Rounding),
    st.sampled_from(TaxLevel),
    st.sampled_from([0, 1, 5, 10, 50]),
)
COINS = money.TenderRequest("coins", cash=True)


@st.composite
def pricing_requests(draw: st.DrawFn) -> money.PricingRequest:
    count = draw(st.integers(1, 6))
    lines = []
    for n in range(count):
        kind = draw(st.sampled_from([Kind.ITEM, Kind.ITEM, Kind.SHIPPING, Kind.GIFT_WRAP, Kind.ADJUSTMENT]))
        lines.append(
            money.LineRequest(
                ref=f"l{n}",
                quantity=draw(st.integers(1, 40)) if kind is Kind.ITEM else 0,
                unit_price=draw(st.integers(-200 if kind is Kind.ADJUSTMENT else 0, 20_000)),
                kind=kind,
                price_quantity=draw(st.sampled_from([1, 1, 1, 100])) if kind is Kind.ITEM else 1,
                taxes=draw(TAXES),
                discounts=draw(DISCOUNTS) if kind is not Kind.ADJUSTMENT else (),
            )
        )
    tenders: list[money.TenderRequest] = draw(
        st.sampled_from([[], [money.TenderRequest("card")], [COINS], [money.TenderRequest("gift", 0), COINS]])
    )
    deposit = draw(st.none() | PORTIONS)
    return money.PricingRequest(draw(POLICIES), lines, draw(DISCOUNTS), tenders, deposit)


def priced(request: money.PricingRequest) -> money.PricedOrder | None:
    """None: the adjustments took more than the order costs."""
    try:
        return money.price_order(request)
    except errors.InvalidRequest as refused:
        assert not refused.violations
        return None


def bound(mode: Rounding) -> Fraction:
    """How far a rounded amount may lie from the exact one."""
    return Fraction(1) if mode in (Rounding.UP, Rounding.DOWN) else Fraction(1, 2)


@given(request=pricing_requests())
def test_lines_discounts_taxes_and_tenders_balance(request: money.PricingRequest) -> None:
    if (order := priced(request)) is None:
        return
    for line in order.lines:
        assert line.list_amount - line.discount_amount == line.net_amount
        assert sum(discount.amount for discount in line.discounts) == line.discount_amount
        assert sum(tax.amount for tax in line.taxes) == line.tax_amount
        assert line.untaxed_amount + line.tax_amount == line.total_amount
        assert line.net_amount == (line.total_amount if request.policy.tax_inclusive else line.untaxed_amount)
        assert line.kind in (Kind.ADJUSTMENT, Kind.CASH_ROUNDING) or 0 <= line.net_amount <= line.list_amount
    assert order.list_total - order.discount_total == order.net_total
    assert order.total == order.net_total + (0 if request.policy.tax_inclusive else order.tax_total)
    assert order.total == sum(line.total_amount for line in order.lines)
    assert order.tax_total == sum(tax.amount for tax in order.taxes)
    assert order.total == order.deposit_amount + order.balance_amount
    if request.tenders:
        assert sum(tender.amount for tender in order.tenders) == order.deposit_amount
        if order.tenders[-1].cash and request.policy.cash_increment:
            assert order.tenders[-1].amount % request.policy.cash_increment == 0


@given(request=pricing_requests())
def test_taxes_lie_within_the_bound_of_the_rounding(request: money.PricingRequest) -> None:
    if (order := priced(request)) is None:
        return
    near, inclusive = bound(request.policy.rounding), request.policy.tax_inclusive
    exact_totals: dict[str, Fraction] = Counter()  # type: ignore[assignment]
    for line in order.lines:
        rates = [Fraction(tax.rate) for tax in line.taxes]
        base = line.net_amount / (1 + sum(rates)) if inclusive else Fraction(line.net_amount)
        for tax, rate in zip(line.taxes, rates, strict=True):
            exact_totals[f"{tax.name} {tax.rate}"] += base * rate
            error = abs(tax.amount - base * rate)
            match request.policy.tax_level:
                case TaxLevel.LINE:
                    assert error <= near
                case TaxLevel.UNIT:
                    assert error <= near * (line.quantity or 1)
                case TaxLevel.ORDER:
                    assert error < 1
    if request.policy.tax_level is TaxLevel.ORDER:
        assert {f"{tax.name} {tax.rate}" for tax in order.taxes} == set(exact_totals)
        for tax in order.taxes:
            assert abs(tax.amount - exact_totals[f"{tax.name} {tax.rate}"]) <= near


@given(
    amount=st.integers(0, 10**12),
    rate=st.sampled_from(RATES),
    mode=st.sampled_from(Rounding),
    level=st.sampled_from([TaxLevel.LINE, TaxLevel.ORDER]),
)
def test_prices_with_and_without_tax_agree(amount: int, rate: str, mode: Rounding, level: TaxLevel) -> None:
    def price(unit_price: int, *, inclusive: bool) -> money.PricedLine:
        line = money.LineRequest("a", 1, unit_price, taxes=(money.TaxRate("V", rate),))
        policy = money.Policy("EUR", tax_inclusive=inclusive, rounding=mode, tax_level=level)
        return money.price_order(money.PricingRequest(policy, [line])).lines[0]

    without = price(amount, inclusive=False)
    within = price(without.total_amount, inclusive=True)

    assert within.total_amount == without.total_amount
    # Each is at most `bound` from the exact tax, and the second one's exact tax at most `bound` from the first's.
    assert abs(within.tax_amount - without.tax_amount) < 2 * bound(mode)


def test_the_currencies_tested_have_0_2_and_3_decimals() -> None:
    assert [currencies.EXPONENTS[code] for code in ("JPY", "EUR", "CHF", "KWD")] == [0, 2, 2, 3]


@st.composite
def refund_requests(draw: st.DrawFn, order: money.Paid, counts: money.Refunded) -> money.RefundRequest:
    """Asks for at most what is left, or for a little more."""
    lines = []
    for line in draw(st.lists(st.sampled_from(order.lines), max_size=3, unique_by=lambda line: line.ref)):
        units = line.quantity - counts.of(line.ref).quantity
        quantity = draw(st.integers(0, units))
        lines.append(money.RefundLine(line.ref, quantity, draw(st.integers(0, 1 + line.amount // 3))))
    amount = draw(st.just(0) | st.integers(0, 1 + money.left(order, counts)))
    return money.RefundRequest(lines, amount, draw(st.just(Portion()) | PORTIONS), draw(st.booleans()))


def check_step(order: money.Paid, before: money.Refunded, refund: money.Refund, *, cash: bool) -> None:
    sound = {line.ref for line in order.lines if sum(tax.amount for tax in line.taxes) <= line.amount}
    assert refund.amount == sum(line.amount for line in refund.lines) + refund.rounding_amount
    assert refund.amount >= 0
    assert 0 <= money.left(order, refund.after) == money.left(order, before) - refund.amount
    for line in refund.lines:
        assert line.amount >= 0
        assert line.quantity >= 0
        assert all(tax.amount >= 0 for tax in line.taxes)
        assert line.ref not in sound or line.tax_amount <= line.amount
    assert refund.complete == (not money.left(order, refund.after))
    if cash:
        assert refund.amount % max(1, order.policy.cash_increment) == 0


@settings(deadline=None)
@given(request=pricing_requests(), data=st.data())
def test_any_refunds_end_exactly_at_what_was_paid(request: money.PricingRequest, data: st.DataObject) -> None:
    if (priced_order := priced(request)) is None:
        return
    order = money.paid(priced_order)
    if not order.lines:
        return
    counts, given = money.Refunded(), 0
    taxes: Counter[tuple[str, str]] = Counter()

    def step(ask: money.RefundRequest) -> None:
        nonlocal counts, given
        refund = money.refund(order, counts, ask)
        check_step(order, counts, refund, cash=ask.cash)
        counts, given = refund.after, given + refund.amount
        for line in refund.lines:
            taxes.update({(line.ref, tax.name): tax.amount for tax in line.taxes})

    for _ in range(data.draw(st.integers(0, 10))):
        ask = data.draw(refund_requests(order, counts))
        try:
            step(ask)
        except money.RefundTooLarge as refused:
            assert int(refused.metadata["asked"]) > int(refused.metadata["left"])
    step(money.RefundRequest(amount=money.left(order, counts), cash=data.draw(st.booleans())))
    step(money.RefundRequest(amount=money.left(order, counts)))  # what coins couldn't pay

    assert given == order.total == priced_order.total
    if given:
        assert taxes == Counter({(line.ref, tax.name): tax.amount for line in order.lines for tax in line.taxes})


@given(
    amount=st.integers(0, 10**6),
    parts=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    tax=st.integers(0, 10**6),
    data=st.data(),
)
def test_how_a_return_is_split_does_not_change_what_goes_back(
    amount: int, parts: list[int], tax: int, data: st.DataObject
) -> None:
    taxes = tuple(money.pricing.sale.Tax(name, "0.1", min(tax, amount) // 2) for name in "GH")
    order = money.Paid(money.Policy("EUR"), (money.PaidLine("a", sum(parts) + 3, amount, taxes),), amount)

    def given(quantities: list[int]) -> tuple[int, list[int]]:
        counts, total, of_taxes = money.Refunded(), 0, [0, 0]
        for quantity in quantities:
            refund = money.refund(order, counts, money.RefundRequest([money.RefundLine("a", quantity)]))
            counts, total = refund.after, total + refund.amount
            of_taxes = [a + b.amount for a, b in zip(of_taxes, refund.lines[0].taxes, strict=True)]
        return total, of_taxes

    assert given(parts) == given([sum(parts)]) == given(data.draw(st.permutations(parts)))
