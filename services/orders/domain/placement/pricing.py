"""What is asked for becomes lines with all their amounts. The arithmetic is money's."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.kit import errors
from services.orders.domain import money, sale
from services.orders.domain.placed_order import Pricing
from services.orders.domain.placement.content import Charge, Content, ContentLine, Payment
from services.orders.domain.placement.refusals import (
    ItemNotSold,
    PaymentMismatch,
    PriceChanged,
    PriceDifference,
    SkuNotFound,
)

OVERRIDE_REASON = "set by staff"


@dataclass(frozen=True, slots=True)
class TaxPolicy:
    """How orders are taxed in a country. rates: (tax category, tax); the category '' is of all that no other names."""

    country_code: str
    tax_inclusive: bool = True
    level: money.TaxLevel = money.TaxLevel.LINE
    rounding: money.Rounding = money.Rounding.HALF_UP
    rates: tuple[tuple[str, money.TaxRate], ...] = ()
    version: int = 0
    updated_at: dt.datetime | None = None

    def of(self, tax_category: str) -> tuple[money.TaxRate, ...]:
        """The taxes of a category."""
        named = tuple(rate for category, rate in self.rates if category == tax_category)
        return named or tuple(rate for category, rate in self.rates if not category)


@dataclass(frozen=True, slots=True)
class Quote:
    """An order as it would be: lines with all their amounts, and sums."""

    lines: tuple[sale.OrderLine, ...]
    sums: sale.Totals
    pricing: Pricing
    tax_inclusive: bool
    currency_code: str


def price(
    content: Content,
    items: Mapping[str, sale.Item | None],
    store: sale.Store,
    policy: TaxPolicy,
    *,
    line_ids: Sequence[uuid.UUID],
    actor: str,
) -> Quote:
    """Works out what is ordered. items maps codes. SkuNotFound, ItemNotSold, LocationNotCapable, PriceChanged."""
    if not store.sells:
        raise sale.LocationNotCapable
    asked, described = requested(content.lines, content.charges, items, policy, actor)
    rules = money.Policy(store.currency_code, policy.tax_inclusive, policy.rounding, policy.level)
    priced = money.price_order(money.PricingRequest(rules, asked, discounts=[_discount(d) for d in content.discounts]))
    lines = tuple(
        order_line(of, number, line_id, what)
        for number, (of, line_id, what) in enumerate(zip(priced.lines, line_ids, described, strict=True), start=1)
    )
    quote = Quote(
        lines=lines,
        sums=sale.Totals(priced.net_total, priced.tax_total, priced.discount_total, priced.total),
        pricing=Pricing(
            int(policy.rounding), int(policy.level), policy.country_code, policy.version, content.price_list
        ),
        tax_inclusive=policy.tax_inclusive,
        currency_code=store.currency_code,
    )
    expect_prices(content.lines, quote.lines, quote.sums.total, quote.currency_code)
    return quote


def expect_total(quote: Quote, expected: int | None) -> None:
    """PriceChanged when the total is not what the caller was shown."""
    if expected is not None and expected != quote.sums.total:
        raise PriceChanged((), quote.sums.total, quote.currency_code)


def check_payment(payment: Payment, total: int) -> None:
    """PaymentMismatch unless the tenders are what is due now; InvalidRequest when more than the total would be.

    InvalidRequest too when a balance is due by a day, and there is none.
    """
    due = total if payment.due_now is None else payment.due_now
    if due > total:
        raise errors.InvalidRequest(
            violations=[errors.FieldViolation("payment.due_now", f"is more than the total, {total}")]
        )
    if payment.balance_due_at is not None and due == total:
        violation = errors.FieldViolation("payment.balance_due_at", "is for an order of which something is due later")
        raise errors.InvalidRequest(violations=[violation])
    tendered = sum(tender.amount for tender in payment.tenders)
    if tendered != due:
        raise PaymentMismatch(due, tendered)


def quote_of(draft: sale.Order, items: Mapping[str, sale.Item | sale.Misread | None]) -> Quote:
    """What a draft says it costs. items maps its SKUs: of what a bundle consists is not held, the stock decides it."""
    assert draft.placed is not None
    lines = []
    for line in draft.lines:
        item = items.get(line.sku)
        components = item.components if isinstance(item, sale.Item) else line.components
        lines.append(dataclasses.replace(line, components=components))
    sums = sale.Totals(draft.net_total, draft.tax_total, draft.discount_total, draft.total)
    return Quote(tuple(lines), sums, draft.placed.pricing, draft.tax_inclusive, draft.currency_code)


# --- parts ---

_KINDS: Mapping[sale.LineKind, money.Kind] = {
    sale.LineKind.ADJUSTMENT: money.Kind.ADJUSTMENT,
    sale.LineKind.SHIPPING: money.Kind.SHIPPING,
    sale.LineKind.GIFT_WRAP: money.Kind.GIFT_WRAP,
}


def requested(
    lines: Sequence[ContentLine],
    charges: Sequence[Charge],
    items: Mapping[str, sale.Item | None],
    policy: TaxPolicy,
    actor: str,
    first: int = 1,
) -> tuple[list[money.LineRequest], list[sale.Item | Charge]]:
    """Lines to be priced, by their numbers from `first`, and what each is of. SkuNotFound, ItemNotSold."""
    known = [_sold(line, items.get(line.code)) for line in lines]
    asked = [
        _line_request(number, line, item, policy, actor)
        for number, (line, item) in enumerate(zip(lines, known, strict=True), start=first)
    ]
    asked += [
        money.LineRequest(str(number), 0, charge.amount, _KINDS[charge.kind], taxes=policy.of(charge.tax_category))
        for number, charge in enumerate(charges, start=first + len(asked))
    ]
    return asked, [*known, *charges]


def _sold(line: ContentLine, item: sale.Item | None) -> sale.Item:
    if item is None:
        raise SkuNotFound(line.code)
    if item.discontinued or (item.price is None and line.unit_price is None):
        raise ItemNotSold(item.sku)
    return item


def _line_request(number: int, line: ContentLine, item: sale.Item, policy: TaxPolicy, actor: str) -> money.LineRequest:
    override = None if line.unit_price is None else money.Override(line.unit_price, OVERRIDE_REASON, actor)
    listed = item.price if item.price is not None else line.unit_price
    assert listed is not None  # _sold
    return money.LineRequest(
        ref=str(number),
        quantity=line.quantity,
        unit_price=listed,
        override=override,
        taxes=policy.of(item.tax_category),
        discounts=tuple(_discount(discount) for discount in line.discounts),
    )


def _discount(discount: sale.Discount) -> money.DiscountRequest:
    return money.DiscountRequest(discount.name, money.Portion(amount=discount.amount), discount.campaign_id)


def order_line(priced: money.PricedLine, number: int, line_id: uuid.UUID, what: sale.Item | Charge) -> sale.OrderLine:
    """A line with all that must not change afterwards."""
    item = what if isinstance(what, sale.Item) else None
    return sale.OrderLine(
        id=line_id,
        number=number,
        kind=sale.LineKind(int(priced.kind)),
        sku=item.sku if item else "",
        quantity=priced.quantity,
        unit_price=priced.unit_price if item else None,
        net_amount=priced.net_amount,
        taxes=priced.taxes,
        discounts=priced.discounts,
        tax_amount=priced.tax_amount,
        discount_amount=priced.discount_amount,
        name=what.name,
        category=item.category if item else "",
        product_id=item.product_id if item else None,
        price_id=item.price_id if item else "",
        unresolved=False,
        tax_category=what.tax_category,
        components=item.components if item else (),
    )


def expect_prices(
    asked: Sequence[ContentLine], priced: Sequence[sale.OrderLine], total: int, currency_code: str
) -> None:
    """PriceChanged when a line costs something else than the caller was shown."""
    changes = [
        PriceDifference(line.number, line.sku, of.expected_unit_price, line.unit_price or 0, currency_code)
        for of, line in zip(asked, priced, strict=False)
        if of.expected_unit_price is not None and of.expected_unit_price != line.unit_price
    ]
    if changes:
        raise PriceChanged(changes, total, currency_code)
