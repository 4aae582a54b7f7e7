"""How a sale becomes an order: its lines with what the catalogue knows, its sums, its tenders; and what is refused.

Values in, values out: items and the location come from a catalogue, time and ids from the caller.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence

from services.kit import errors
from services.orders.domain import business_day, sale

COMPONENTS_MAX = 2_000
"""Of a sale, over all its lines: what it does to the stock has to fit in an event."""
CLOCK_SKEW = dt.timedelta(minutes=5)


def totals(lines: Sequence[sale.OrderLine], *, tax_inclusive: bool) -> sale.Totals:
    """Sums lines. InvalidRequest when a sum is more than Money holds."""
    net = sum([line.net_amount for line in lines])
    tax = sum([line.tax_amount for line in lines])
    discount = sum([line.discount_amount for line in lines])
    total = net if tax_inclusive else net + tax
    if max(abs(net), abs(tax), abs(total), discount) > sale.AMOUNT_MAX:
        raise errors.InvalidRequest(f"the sums of a sale are at most {sale.AMOUNT_MAX}")
    return sale.Totals(net, tax, discount, total)


def book(
    sold: sale.Sale,
    items: Mapping[str, sale.Item | sale.Misread | None],
    store: sale.Store,
    *,
    seq: int,
    order_id: uuid.UUID,
    line_ids: Sequence[uuid.UUID],
    at: dt.datetime,
) -> sale.Order:
    """The order that a sale becomes at the position seq, recorded at `at`. items maps codes; what it lacks is unknown.

    LocationNotCapable, CurrencyMismatch, SaleUnbalanced, InvalidRequest.
    """
    if not store.sells:
        raise sale.LocationNotCapable
    currency = store.currency_code
    for code in (sold.currency_code, *[tender.currency_code for tender in sold.tenders]):
        if code and code != currency:
            raise sale.CurrencyMismatch(currency)
    _check_codes(sold.lines, items)
    numbered = enumerate(zip(sold.lines, line_ids, strict=True), start=1)
    lines = [_line(line, number, line_id, items.get(line.code)) for number, (line, line_id) in numbered]
    if sum([len(line.components) for line in lines]) > COMPONENTS_MAX:
        raise errors.InvalidRequest(f"the bundles of a sale come to at most {COMPONENTS_MAX} components")
    sums = totals(lines, tax_inclusive=sold.tax_inclusive)
    occurred_at = sold.occurred_at or at
    try:
        business_date, business_hour = business_day.of(occurred_at, store.timezone, store.cutoff_minutes)
    except OverflowError:
        raise errors.InvalidRequest("occurred_at is out of range") from None
    return sale.Order(
        id=order_id,
        seq=seq,
        channel=sale.Channel.POS,
        state=sale.OrderState.COMPLETED,
        location_id=sold.location_id,
        terminal_id=sold.terminal_id,
        client_sale_id=sold.client_sale_id,
        currency_code=currency,
        tax_inclusive=sold.tax_inclusive,
        lines=lines,
        tenders=_settle(sold.tenders, sums.total, currency),
        net_total=sums.net,
        tax_total=sums.tax,
        discount_total=sums.discount,
        total=sums.total,
        customer_id=sold.customer_id,
        campaign_id=sold.campaign_id,
        reservation_id=sold.reservation_id,
        business_date=business_date,
        business_hour=business_hour,
        occurred_at=occurred_at,
        recorded_at=at,
        clock_skewed=occurred_at > at + CLOCK_SKEW,
        actor=sold.actor,
    )


def _check_codes(lines: Sequence[sale.SaleLine], items: Mapping[str, sale.Item | sale.Misread | None]) -> None:
    """InvalidRequest for items that were scanned badly, and lots that are not what was scanned."""
    wrong = []
    for n, line in enumerate(lines):
        item = items.get(line.code) if line.kind is sale.LineKind.ITEM else None
        if isinstance(item, sale.Misread):
            wrong.append(errors.FieldViolation(f"lines[{n}].code", f"is no code that can be read: {item.problem}"))
        elif item is not None and item.scanned is not None and line.lot not in ("", item.scanned.lot):
            wrong.append(errors.FieldViolation(f"lines[{n}].lot", f"is not what was scanned, {item.scanned.lot}"))
    if wrong:
        raise errors.InvalidRequest(violations=wrong)


def _line(
    line: sale.SaleLine, number: int, line_id: uuid.UUID, found: sale.Item | sale.Misread | None
) -> sale.OrderLine:
    item = None if isinstance(found, sale.Misread) else found
    scanned = item.scanned if item is not None else None
    return sale.OrderLine(
        id=line_id,
        number=number,
        kind=line.kind,
        sku=item.sku if item else line.code,
        quantity=line.quantity,
        unit_price=line.unit_price,
        net_amount=line.net_amount,
        taxes=line.taxes,
        discounts=line.discounts,
        tax_amount=sum([tax.amount for tax in line.taxes]) if line.taxes else 0,
        discount_amount=sum([discount.amount for discount in line.discounts]) if line.discounts else 0,
        name=_name(line, item),
        category=item.category if item else "",
        product_id=item.product_id if item else None,
        price_id=item.price_id if item else "",
        # An adjustment moves no stock: what its code stands for is nobody's exception.
        unresolved=item is None and line.kind is sale.LineKind.ITEM,
        components=item.components if item and line.kind is sale.LineKind.ITEM else (),
        lot=line.lot or (scanned.lot if scanned is not None else ""),
        scanned=scanned,
    )


def _name(line: sale.SaleLine, item: sale.Item | None) -> str:
    """An item is called as in the catalogue, an adjustment as on the receipt."""
    if item is None:
        return line.name
    return item.name if line.kind is sale.LineKind.ITEM else line.name or item.name


def _settle(tenders: tuple[sale.Tender, ...], due: int, currency: str) -> tuple[sale.Tender, ...]:
    """The tenders of a sale; none given: cash."""
    if not tenders:
        return (sale.Tender(sale.TenderType.CASH, due, currency, ""),)
    tendered = sum([tender.amount for tender in tenders])
    if tendered != due:
        raise sale.SaleUnbalanced(due, tendered)
    return tenders
