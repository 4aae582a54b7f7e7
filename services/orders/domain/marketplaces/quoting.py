"""What a marketplace's order costs here: its prices and its taxes, as it says; nothing of ours is worked out anew."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal

from services.orders.domain import money, placed_order, placement, sale
from services.orders.domain.marketplaces import values

DISCOUNT = "marketplace"
LINES_BESIDE = 2
"""Lines that an order has beside its items, at most: their ids are needed too."""
RATE = Decimal("0.000001")


def quote(
    ordered: values.Ordered, items: Mapping[str, sale.Item | None], store: sale.Store, line_ids: Sequence[uuid.UUID]
) -> placement.Quote:
    """The order with all its amounts. items maps SKUs. CurrencyDiffers, SkuNotFound, AmountsDiffer, LocationNotCapable.

    What the marketplace collects for itself is left out: the buyer paid it, but nobody owes it to us.
    """
    if not store.sells:
        raise sale.LocationNotCapable
    if ordered.currency_code != store.currency_code:
        raise values.CurrencyDiffers(store.currency_code)
    lines = [
        _item_line(number, line, _known(line, items), line_id)
        for number, (line, line_id) in enumerate(zip(ordered.lines, line_ids, strict=False), start=1)
    ]
    for kind, name, amount in _beside(ordered):
        lines.append(_amount_line(len(lines) + 1, kind, name, amount, line_ids[len(lines)]))
    net, tax = sum(line.net_amount for line in lines), sum(line.tax_amount for line in lines)
    if net + tax != ordered.total:
        raise values.AmountsDiffer(net + tax, ordered.total)
    return placement.Quote(
        lines=tuple(lines),
        sums=sale.Totals(net, tax, sum(line.discount_amount for line in lines), ordered.total),
        pricing=placed_order.Pricing(int(money.Rounding.HALF_UP), int(money.TaxLevel.LINE), ordered.country_code),
        tax_inclusive=False,
        currency_code=ordered.currency_code,
    )


def collected(ordered: values.Ordered) -> int:
    """What the marketplace took from the buyer beyond what it owes us."""
    return sum(part.amount for line in ordered.lines for part in line.collected)


def _known(line: values.Line, items: Mapping[str, sale.Item | None]) -> sale.Item:
    item = items.get(line.sku) if line.sku else None
    if item is None:
        raise placement.SkuNotFound(line.sku or line.title)
    return item


def _item_line(number: int, line: values.Line, item: sale.Item, line_id: uuid.UUID) -> sale.OrderLine:
    tax = sum(part.amount for part in line.taxes)
    listed = line.net_amount + line.discount
    return sale.OrderLine(
        id=line_id,
        number=number,
        kind=sale.LineKind.ITEM,
        sku=item.sku,
        quantity=line.quantity,
        unit_price=listed // line.quantity if listed % line.quantity == 0 else None,
        net_amount=line.net_amount,
        taxes=tuple(sale.Tax(part.name, _rate(part.amount, line.net_amount), part.amount) for part in line.taxes),
        discounts=(sale.Discount(DISCOUNT, line.discount, ""),) if line.discount else (),
        tax_amount=tax,
        discount_amount=line.discount,
        name=item.name or line.title,
        category=item.category,
        product_id=item.product_id,
        price_id="",
        unresolved=False,
        tax_category=item.tax_category,
        components=item.components,
    )


def _beside(ordered: values.Ordered) -> list[tuple[sale.LineKind, str, int]]:
    """Amounts beside the items: (kind, name, amount)."""
    amounts = (
        (sale.LineKind.SHIPPING, "Shipping", ordered.shipping),
        (sale.LineKind.ADJUSTMENT, "Adjustment", ordered.adjustment),
    )
    return [each for each in amounts if each[2]]


def _amount_line(number: int, kind: sale.LineKind, name: str, amount: int, line_id: uuid.UUID) -> sale.OrderLine:
    return sale.OrderLine(
        id=line_id,
        number=number,
        kind=kind,
        sku="",
        quantity=0,
        unit_price=None,
        net_amount=amount,
        taxes=(),
        discounts=(),
        tax_amount=0,
        discount_amount=0,
        name=name,
        category="",
        product_id=None,
        price_id="",
        unresolved=False,
    )


def _rate(tax: int, base: int) -> str:
    """Marketplaces tell amounts: the rate is what they come to, to six places."""
    if base <= 0:
        return "0"
    return format((Decimal(tax) / Decimal(base)).quantize(RATE, ROUND_HALF_UP).normalize(), "f")
