"""The whole arithmetic of an order, in the order in which it matters: prices, discounts, taxes, deposit, cash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from services.kit import errors
from services.orders.domain import sale
from services.orders.domain.money import checking, settling, taxes
from services.orders.domain.money.allocation import allocate
from services.orders.domain.money.rounding import whole
from services.orders.domain.money.values import (
    DiscountRequest,
    Kind,
    LineRequest,
    Policy,
    PricedLine,
    PricedOrder,
    PricingRequest,
    TaxTotal,
)

ROUNDING_REF = ""
"""Of the line of cash rounding; no other line has an empty ref."""


@dataclass(slots=True)
class _Draft:
    """A line while discounts are taken off; left is what they left."""

    asked: LineRequest
    list_amount: int
    left: int
    discounts: list[sale.Discount] = field(default_factory=list)

    def take(self, discount: DiscountRequest, amount: int) -> None:
        if amount:
            self.left -= amount
            self.discounts.append(sale.Discount(discount.name, amount, discount.campaign_id))


def price_order(request: PricingRequest) -> PricedOrder:
    """Prices an order: what each line costs, which discounts and taxes it bears, what is due and who pays it.

    INVALID_REQUEST lists what is wrong with the request, and is also told of sums beyond Money or below 0;
    SALE_UNBALANCED when the tenders don't pay what is due.
    """
    checking.check(request)
    policy = request.policy
    drafts = [_draft(policy, line) for line in request.lines]
    for discount in request.discounts:
        _spread(policy, discount, drafts)
    lines = _taxed(policy, drafts)
    due = sum(line.total_amount for line in lines)
    if due < 0:
        raise errors.InvalidRequest("the adjustments take off more than the order costs")
    deposit = due if request.deposit is None else request.deposit.of(due, policy.rounding)
    tenders, change = settling.settle(policy, deposit, request.tenders) if request.tenders else ((), 0)
    if change:
        lines.append(_rounding_line(change))
    order = PricedOrder(
        policy=policy,
        lines=tuple(lines),
        taxes=tuple(_tax_totals(lines)),
        list_total=sum(line.list_amount for line in lines),
        discount_total=sum(line.discount_amount for line in lines),
        net_total=sum(line.net_amount for line in lines),
        tax_total=sum(line.tax_amount for line in lines),
        rounding_amount=change,
        total=due + change,
        deposit_amount=deposit + change,
        balance_amount=due - deposit,
        tenders=tenders,
    )
    _check_sums(order)
    return order


def _check_sums(order: PricedOrder) -> None:
    """Also of each line: one may be beyond Money where another takes so much off that the sums aren't."""
    sums = [order.list_total, order.tax_total, order.total]
    for line in order.lines:
        sums += line.list_amount, line.total_amount
    if max(sums) > sale.AMOUNT_MAX:
        raise errors.InvalidRequest(f"the sums of an order, and of a line, are at most {sale.AMOUNT_MAX}")


def _draft(policy: Policy, line: LineRequest) -> _Draft:
    """A line at its price, with its own discounts taken off."""
    amount = whole(Fraction(_unit_price(line) * (line.quantity or 1), line.price_quantity), policy.rounding)
    draft = _Draft(line, amount, amount)
    for discount in line.discounts:
        draft.take(discount, discount.portion.of(draft.left, policy.rounding))
    return draft


def _unit_price(line: LineRequest) -> int:
    return line.unit_price if line.override is None else line.override.unit_price


def _spread(policy: Policy, discount: DiscountRequest, drafts: Sequence[_Draft]) -> None:
    """Takes an order's discount off the lines it is for, in proportion to what earlier discounts left of them."""
    bearing = [draft for draft in drafts if _bears(draft.asked, discount)]
    weights = [draft.left for draft in bearing]
    for draft, part in zip(bearing, allocate(discount.portion.of(sum(weights), policy.rounding), weights), strict=True):
        draft.take(discount, part)


def _bears(line: LineRequest, discount: DiscountRequest) -> bool:
    if discount.refs and line.ref not in discount.refs:
        return False
    return line.kind is Kind.ITEM if line.discountable is None else line.discountable


def _taxed(policy: Policy, drafts: Sequence[_Draft]) -> list[PricedLine]:
    rates = [draft.asked.taxes for draft in drafts]
    # What is sold by measure has no units that a label could show a tax for: the line is one.
    units = [(draft.asked.quantity if draft.asked.price_quantity == 1 else 1) or 1 for draft in drafts]
    amounts = taxes.of_lines(policy, [draft.left for draft in drafts], units, rates)
    return [_priced(policy, draft, of) for draft, of in zip(drafts, amounts, strict=True)]


def _priced(policy: Policy, draft: _Draft, amounts: Sequence[int]) -> PricedLine:
    line, tax = draft.asked, sum(amounts)
    return PricedLine(
        ref=line.ref,
        kind=line.kind,
        quantity=line.quantity,
        price_quantity=line.price_quantity,
        list_price=line.unit_price,
        unit_price=_unit_price(line),
        override=line.override,
        list_amount=draft.list_amount,
        discounts=tuple(draft.discounts),
        discount_amount=draft.list_amount - draft.left,
        net_amount=draft.left,
        taxes=tuple(sale.Tax(of.name, of.rate, amount) for of, amount in zip(line.taxes, amounts, strict=True)),
        tax_amount=tax,
        untaxed_amount=draft.left - tax if policy.tax_inclusive else draft.left,
        total_amount=draft.left if policy.tax_inclusive else draft.left + tax,
    )


def _rounding_line(change: int) -> PricedLine:
    return PricedLine(
        ref=ROUNDING_REF,
        kind=Kind.CASH_ROUNDING,
        quantity=0,
        price_quantity=1,
        list_price=change,
        unit_price=change,
        override=None,
        list_amount=change,
        discounts=(),
        discount_amount=0,
        net_amount=change,
        taxes=(),
        tax_amount=0,
        untaxed_amount=change,
        total_amount=change,
    )


def _tax_totals(lines: Sequence[PricedLine]) -> list[TaxTotal]:
    """Sums of each tax, in the order in which lines name them."""
    sums: dict[tuple[str, Fraction], TaxTotal] = {}
    for line in lines:
        for tax in line.taxes:
            key = (tax.name, Fraction(tax.rate))
            known = sums.get(key) or TaxTotal(tax.name, tax.rate, 0, 0)
            sums[key] = TaxTotal(known.name, known.rate, known.base + line.untaxed_amount, known.amount + tax.amount)
    return list(sums.values())
