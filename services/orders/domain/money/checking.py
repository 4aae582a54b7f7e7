"""What is wrong with a request to price an order, all at once. What a list may hold is bounded by the contract."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from services.kit import currencies, errors
from services.orders.domain import sale
from services.orders.domain.money.values import (
    DiscountRequest,
    Kind,
    LineRequest,
    Policy,
    PricingRequest,
)

QUANTITY_MAX = 10**9  # of the contract
_RATE = re.compile(r"[0-9]{1,3}(\.[0-9]{1,8})?", re.ASCII)
Found = Iterator[tuple[str, str]]


def check(request: PricingRequest) -> None:
    """INVALID_REQUEST lists every rule that is broken."""
    broken = [errors.FieldViolation(path, text) for path, text in _violations(request)]
    if broken:
        raise errors.InvalidRequest(violations=broken)


def _violations(request: PricingRequest) -> Found:
    yield from _policy(request.policy)
    refs = [line.ref for line in request.lines]
    if not refs:
        yield "lines", "an order has at least one"
    if len(set(refs)) < len(refs):
        yield "lines", "two have the same ref"
    for i, line in enumerate(request.lines):
        for path, text in _line(line):
            yield f"lines[{i}].{path}", text
    yield from _discounts(request.discounts)
    for i, discount in enumerate(request.discounts):
        if not discount.refs <= set(refs):
            yield f"discounts[{i}].refs", "names a line that the order doesn't have"
    if request.deposit is not None:
        yield from request.deposit.violations("deposit")
    for i, tender in enumerate(request.tenders):
        if tender.amount is not None and not 0 <= tender.amount <= sale.AMOUNT_MAX:
            yield f"tenders[{i}].amount", f"is 0 to {sale.AMOUNT_MAX}"


def _policy(policy: Policy) -> Found:
    if not currencies.is_known(policy.currency_code):
        yield "policy.currency_code", "is not a currency of ISO 4217"
    if not 0 <= policy.cash_increment <= sale.AMOUNT_MAX:
        yield "policy.cash_increment", f"is 0 to {sale.AMOUNT_MAX}"


def _line(line: LineRequest) -> Found:
    if not line.ref:
        yield "ref", "is needed"
    if line.kind is Kind.CASH_ROUNDING:
        yield "kind", "the line of cash rounding is made, not asked for"
    least = 1 if line.kind is Kind.ITEM else 0
    if not least <= line.quantity <= least * QUANTITY_MAX:
        yield "quantity", f"is 1 to {QUANTITY_MAX} of an item, and 0 of anything else"
    if not 1 <= line.price_quantity <= QUANTITY_MAX:
        yield "price_quantity", f"is 1 to {QUANTITY_MAX}"
    lowest = -sale.AMOUNT_MAX if line.kind is Kind.ADJUSTMENT else 0
    prices = [("unit_price", line.unit_price)]
    if line.override is not None:
        prices.append(("override.unit_price", line.override.unit_price))
        if not line.override.reason:
            yield "override.reason", "is needed"
    for path, price in prices:
        if not lowest <= price <= sale.AMOUNT_MAX:
            yield path, f"is 0 to {sale.AMOUNT_MAX}; only an adjustment may be negative"
    if len({tax.name for tax in line.taxes}) < len(line.taxes):
        yield "taxes", "two have the same name"
    for i, tax in enumerate(line.taxes):
        if not _RATE.fullmatch(tax.rate):
            yield f"taxes[{i}].rate", "is a decimal such as 0.19, at most 8 decimal places"
    if line.kind is Kind.ADJUSTMENT and (line.discounts or line.discountable):
        yield "discounts", "an adjustment has none"
    yield from _discounts(line.discounts)


def _discounts(discounts: Sequence[DiscountRequest]) -> Found:
    for i, discount in enumerate(discounts):
        yield from discount.portion.violations(f"discounts[{i}]")
