"""What was paid for each line of an order, as refunds need it: nothing negative is left, and no rounding line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from services.orders.domain import sale
from services.orders.domain.money.allocation import allocate
from services.orders.domain.money.values import Kind, Policy, PricedLine, PricedOrder


@dataclass(frozen=True, slots=True)
class PaidLine:
    """What a customer paid for a line: amount, with the taxes in it."""

    ref: str
    quantity: int
    amount: int
    taxes: tuple[sale.Tax, ...]


@dataclass(frozen=True, slots=True)
class Paid:
    """What a customer paid. total is that of the lines and of cash rounding, which goes back with the last of them."""

    policy: Policy
    lines: tuple[PaidLine, ...]
    total: int


def paid(order: PricedOrder) -> Paid:
    """What was paid for an order, once nothing of it is due."""
    return of_lines(order.policy, order.lines)


def of_lines(policy: Policy, lines: Sequence[PricedLine]) -> Paid:
    """What was paid for lines whose sum isn't negative.

    A negative line (a coupon of a till) was a discount: it is spread over the others in proportion to what they cost,
    and its taxes over the taxes with the same name and rate, as far as there are such.
    """
    goods = [PaidLine(x.ref, x.quantity, x.total_amount, x.taxes) for x in lines if _is_paid(x)]
    for line in lines:
        if line.kind is not Kind.CASH_ROUNDING and line.total_amount < 0:
            goods = _less(goods, line)
    return Paid(policy, tuple(goods), sum(line.total_amount for line in lines))


def _is_paid(line: PricedLine) -> bool:
    return line.kind is not Kind.CASH_ROUNDING and line.total_amount >= 0


def _less(goods: Sequence[PaidLine], coupon: PricedLine) -> list[PaidLine]:
    shares = allocate(-coupon.total_amount, [line.amount for line in goods])
    lines = [replace(line, amount=line.amount - share) for line, share in zip(goods, shares, strict=True)]
    for tax in coupon.taxes:
        lines = _less_tax(lines, tax)
    return lines


def _less_tax(lines: Sequence[PaidLine], off: sale.Tax) -> list[PaidLine]:
    weights = [sum(tax.amount for tax in line.taxes if _same(tax, off)) for line in lines]
    shares = allocate(min(-off.amount, sum(weights)), weights) if lines else ()
    return [
        replace(line, taxes=tuple(_reduced(tax, share) if _same(tax, off) else tax for tax in line.taxes))
        for line, share in zip(lines, shares, strict=True)
    ]


def _reduced(tax: sale.Tax, share: int) -> sale.Tax:
    return replace(tax, amount=tax.amount - share)


def _same(one: sale.Tax, other: sale.Tax) -> bool:
    return one.name == other.name and Fraction(one.rate) == Fraction(other.rate)
