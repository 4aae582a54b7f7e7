"""What an order costs after its lines have changed.

An amount follows from the line as it was ordered and its units now, by the order's own policy: prices and rates are the
line's, discounts shrink with its units, taxes are worked out anew. So it doesn't matter in which steps units went, and
what goes back is the difference of two totals: rounding never adds up.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence

from services.orders.domain import money, placement, sale
from services.orders.domain.editing.values import Change, Offered
from services.orders.domain.money.allocation import nth_share
from services.orders.domain.placement import pricing

Lines = tuple[sale.OrderLine, ...]


def reprice(
    order: sale.Order, change: Change, offered: Offered | None, *, line_ids: Sequence[uuid.UUID], actor: str
) -> tuple[Lines, sale.Totals]:
    """All lines, with new ones at today's prices, and their sums. SkuNotFound, ItemNotSold, PriceChanged."""
    kept = [_with_units(line, change.quantities.get(line.number, line.quantity)) for line in order.lines]
    first = max(line.number for line in order.lines) + 1
    asked = [_request(line) for line in kept if line.counts]
    described: Sequence[sale.Item | placement.Charge] = []
    if offered is not None:
        new, described = pricing.requested(change.lines, change.charges, offered.items, offered.policy, actor, first)
        asked += new
    priced = money.price_order(money.PricingRequest(_policy(order), asked))
    by_ref = {line.ref: line for line in priced.lines}
    added = tuple(
        pricing.order_line(by_ref[str(number)], number, line_id, what)
        for number, (line_id, what) in enumerate(zip(line_ids, described, strict=True), start=first)
    )
    pricing.expect_prices(change.lines, added, priced.total, order.currency_code)
    lines = (*(_priced(line, by_ref.get(str(line.number))) for line in kept), *added)
    return lines, sale.Totals(priced.net_total, priced.tax_total, priced.discount_total, priced.total)


def _policy(order: sale.Order) -> money.Policy:
    assert order.placed is not None
    kept = order.placed.pricing
    rounding, level = money.Rounding(kept.rounding_mode), money.TaxLevel(kept.tax_level)
    return money.Policy(order.currency_code, order.tax_inclusive, rounding, level)


def _with_units(line: sale.OrderLine, quantity: int) -> sale.OrderLine:
    """The line with other units, its discounts in proportion; units beyond those that were ordered bring none."""
    if quantity == line.quantity:
        return line
    ordered = line.ordered or sale.Ordered(line.quantity, line.discounts)
    amounts = [discount.amount for discount in ordered.discounts]
    if quantity < ordered.quantity:
        # Rounded down: what is left of a line never costs less than nothing, and one unit less never costs more.
        amounts = list(nth_share(sum(amounts) * quantity // ordered.quantity, amounts))
    discounts = tuple(
        dataclasses.replace(discount, amount=amount)
        for discount, amount in zip(ordered.discounts, amounts, strict=True)
        if amount
    )
    return dataclasses.replace(
        line,
        quantity=quantity,
        discounts=discounts,
        canceled_quantity=max(0, ordered.quantity - quantity),
        ordered=None if quantity == ordered.quantity else ordered,
    )


def _request(line: sale.OrderLine) -> money.LineRequest:
    """An item costs its price by its units, anything else what it cost."""
    unit_price = line.unit_price
    return money.LineRequest(
        ref=str(line.number),
        quantity=line.quantity,
        unit_price=line.net_amount + line.discount_amount if unit_price is None else unit_price,
        kind=money.Kind(int(line.kind)),
        taxes=tuple(money.TaxRate(tax.name, tax.rate) for tax in line.taxes),
        discounts=tuple(
            money.DiscountRequest(of.name, money.Portion(amount=of.amount), of.campaign_id) for of in line.discounts
        ),
    )


def _priced(line: sale.OrderLine, priced: money.PricedLine | None) -> sale.OrderLine:
    """None: nothing of it is left. Its taxes stay named, as it may have units again."""
    if priced is None:
        taxes = tuple(dataclasses.replace(tax, amount=0) for tax in line.taxes)
        return dataclasses.replace(line, net_amount=0, taxes=taxes, tax_amount=0, discounts=(), discount_amount=0)
    return dataclasses.replace(
        line,
        net_amount=priced.net_amount,
        taxes=priced.taxes,
        discounts=priced.discounts,
        tax_amount=priced.tax_amount,
        discount_amount=priced.discount_amount,
    )


def require_todays_prices(order: sale.Order, change: Change, offered: Offered, total: int) -> None:
    """PriceChanged when units are added to a line that costs more today; ItemNotSold when it isn't sold any more."""
    more = units_added(order, change.quantities)
    dearer = []
    for line in order.lines:
        item = offered.items.get(line.sku) if line.number in more else None
        if line.number in more and (item is None or item.discontinued or item.price is None):
            raise placement.ItemNotSold(line.sku)
        if item is not None and item.price is not None and item.price > (line.unit_price or 0):
            known = line.unit_price or 0
            dearer.append(placement.PriceDifference(line.number, line.sku, known, item.price, order.currency_code))
    if dearer:
        raise placement.PriceChanged(dearer, total, order.currency_code)


def units_added(order: sale.Order, quantities: Mapping[int, int]) -> dict[int, int]:
    """How many units more lines get, by number."""
    more = {line.number: quantities.get(line.number, line.quantity) - line.quantity for line in order.lines}
    return {number: units for number, units in more.items() if units > 0}
