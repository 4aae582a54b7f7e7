"""What is ordered, what it costs, and what may be done with an order afterwards. Values in, values out.

The arithmetic is money's; the machines' tables are machines'. Amounts are counts of the currency's smallest unit.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.kit import errors
from services.orders.domain import business_day, machines, money, sale
from services.orders.domain.placed_order import (
    CancelReason,
    Capture,
    Group,
    GroupLine,
    Method,
    NotEditable,
    Placed,
    Pricing,
)

UNTOUCHED = (
    machines.FulfillmentState.OPEN,
    machines.FulfillmentState.ON_HOLD,
    machines.FulfillmentState.SCHEDULED,
    machines.FulfillmentState.CANCELLED,
)
"""Groups on which no work has begun."""
OVERRIDE_REASON = "set by staff"
SKU_LENGTH_MAX = 64


class PriceChanged(errors.Error):
    """Prices are not what the caller expected."""

    reason = "PRICE_CHANGED"

    def __init__(self, changes: Sequence[PriceDifference], total: int, currency_code: str) -> None:
        super().__init__(metadata={"total": str(total)}, lines=changes)
        self.total = total
        self.currency_code = currency_code


class PaymentMismatch(errors.Error):
    """The tenders don't add up to what is due now."""

    reason = "PAYMENT_MISMATCH"

    def __init__(self, due: int, tendered: int) -> None:
        super().__init__(metadata={"due": str(due), "tendered": str(tendered)})


class ItemNotSold(errors.Error):
    """The item is discontinued or has no price here."""

    reason = "ITEM_NOT_SOLD"

    def __init__(self, sku: str) -> None:
        super().__init__(metadata={"sku": sku})


class SkuNotFound(errors.Error):
    """No variant has this SKU or barcode."""

    reason = "SKU_NOT_FOUND"

    def __init__(self, sku: str) -> None:
        super().__init__(metadata={"sku": sku})


class PlacementExpired(errors.Error):
    """The placement could not be ended in time; nothing is held and nothing is charged."""

    reason = "PLACEMENT_EXPIRED"


class StaffOnly(errors.Error):
    """Only staff may set this field."""

    reason = "STAFF_ONLY"

    def __init__(self, field_path: str) -> None:
        super().__init__(metadata={"field": field_path})


class InFlight(errors.Error):
    """The first request with this key is still running."""

    reason = "IDEMPOTENCY_IN_FLIGHT"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A SKU of which there is too little. numbers: of the lines that ask for it; detail: what the stock said."""

    numbers: tuple[int, ...]
    detail: object


class InsufficientStock(errors.Error):
    """Fewer units are available than the order asks for."""

    reason = "INSUFFICIENT_STOCK"

    def __init__(self, lines: Sequence[Shortfall]) -> None:
        super().__init__(lines=lines)


@dataclass(frozen=True, slots=True)
class PriceDifference:
    """A line whose price is not what was expected."""

    number: int
    sku: str
    expected: int
    unit_price: int
    currency_code: str


@dataclass(frozen=True, slots=True)
class ContentLine:
    """Units of an item as they are asked for. unit_price: instead of the catalogue's. group: what stays together."""

    code: str
    quantity: int
    expected_unit_price: int | None = None
    unit_price: int | None = None
    discounts: tuple[sale.Discount, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount beside the items."""

    kind: sale.LineKind
    name: str
    amount: int
    tax_category: str = ""


@dataclass(frozen=True, slots=True)
class Sourcing:
    """Where units may come from; numbers of Inventory's contract, 0: its defaults. destination: degrees north, east."""

    rule: int = 0
    split: int = 0
    destination: tuple[float, float] | None = None
    location_ids: tuple[str, ...] = ()
    parcels_max: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """What is ordered."""

    location_id: uuid.UUID
    channel: sale.Channel
    lines: tuple[ContentLine, ...]
    method: Method
    charges: tuple[Charge, ...] = ()
    discounts: tuple[sale.Discount, ...] = ()
    customer_id: uuid.UUID | None = None
    campaign_id: str = ""
    price_list: str = ""
    sourcing: Sourcing = Sourcing()
    external_reference: str = ""
    marketplace: str = ""
    note: str = ""


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


@dataclass(frozen=True, slots=True)
class Cancel:
    """An order that is to be cancelled: reservations that are given back, and what is said of it."""

    reservations: tuple[uuid.UUID, ...]
    reason: CancelReason
    note: str
    actor: str


@dataclass(frozen=True, slots=True)
class TenderSpec:
    """A means of payment. type: one of the contract's; token: what its provider calls it."""

    type: sale.TenderType
    token: str
    amount: int


@dataclass(frozen=True, slots=True)
class Payment:
    """How an order is to be paid. due_now None: all of it."""

    tenders: tuple[TenderSpec, ...] = ()
    capture: Capture = Capture.PLACEMENT
    due_now: int | None = None


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
    known = [_sold(line, items.get(line.code)) for line in content.lines]
    asked = [
        _line_request(number, line, item, policy, actor)
        for number, (line, item) in enumerate(zip(content.lines, known, strict=True), start=1)
    ]
    asked += [
        money.LineRequest(str(number), 0, charge.amount, _KINDS[charge.kind], taxes=policy.of(charge.tax_category))
        for number, charge in enumerate(content.charges, start=len(asked) + 1)
    ]
    rules = money.Policy(store.currency_code, policy.tax_inclusive, policy.rounding, policy.level)
    priced = money.price_order(money.PricingRequest(rules, asked, discounts=[_discount(d) for d in content.discounts]))
    described: list[sale.Item | Charge] = [*known, *content.charges]
    lines = tuple(
        _order_line(of, number, line_id, what)
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
    _expect_prices(content, quote)
    return quote


def expect_total(quote: Quote, expected: int | None) -> None:
    """PriceChanged when the total is not what the caller was shown."""
    if expected is not None and expected != quote.sums.total:
        raise PriceChanged((), quote.sums.total, quote.currency_code)


def check_payment(payment: Payment, total: int) -> None:
    """PaymentMismatch unless the tenders are what is due now; InvalidRequest when more than the total would be."""
    due = total if payment.due_now is None else payment.due_now
    if due > total:
        raise errors.InvalidRequest(
            violations=[errors.FieldViolation("payment.due_now", f"is more than the total, {total}")]
        )
    tendered = sum(tender.amount for tender in payment.tenders)
    if tendered != due:
        raise PaymentMismatch(due, tendered)


def quote_of(draft: sale.Order) -> Quote:
    """What a draft says it costs."""
    assert draft.placed is not None
    sums = sale.Totals(draft.net_total, draft.tax_total, draft.discount_total, draft.total)
    return Quote(tuple(draft.lines), sums, draft.placed.pricing, draft.tax_inclusive, draft.currency_code)


def was_draft(order: sale.Order) -> bool:
    """Whether an order that is PENDING was a draft before."""
    return order.placed is not None and order.placed.valid_until is not None


def require_draft(order: sale.Order, expected_version: int, at: dt.datetime) -> None:
    """NotEditable when it is no draft, or has run out; VersionMismatch. expected_version 0: whatever it is."""
    if order.placed is None or order.state is not sale.OrderState.DRAFT:
        raise NotEditable(order.state.name)
    if order.placed.valid_until is not None and order.placed.valid_until <= at:
        raise NotEditable(sale.OrderState.EXPIRED.name)
    if expected_version not in (0, order.version):
        raise errors.VersionMismatch(order.version)


def still_a_draft(pending: sale.Order, draft: sale.Order) -> sale.Order:
    """A draft that is being placed keeps what it has as a draft, until it is placed."""
    assert pending.placed is not None
    assert draft.placed is not None
    valid_until, held = draft.placed.valid_until, draft.placed.prices_held
    placed = dataclasses.replace(pending.placed, valid_until=valid_until, prices_held=held)
    return dataclasses.replace(pending, version=draft.version, customer_id=draft.customer_id, placed=placed)


def plan_cancel(order: sale.Order, expected_version: int, reason: CancelReason, note: str, actor: str) -> Cancel | None:
    """What has to be given back; None: it is cancelled already. VersionMismatch; NotEditable: work on it has begun."""
    if order.state is sale.OrderState.CANCELLED:
        return None
    if order.placed is None or order.state not in (sale.OrderState.DRAFT, sale.OrderState.PLACED):
        raise NotEditable(order.state.name)
    if expected_version not in (0, order.version):
        raise errors.VersionMismatch(order.version)
    for group in order.placed.groups:
        if group.state not in UNTOUCHED:
            raise NotEditable(group.state.name)
    held = dict.fromkeys(line.reservation_id for group in order.placed.groups for line in group.lines)
    return Cancel(tuple(held), reason, note, actor)


def order_of(
    content: Content,
    quote: Quote,
    store: sale.Store,
    *,
    order_id: uuid.UUID,
    number: int,
    state: sale.OrderState,
    capture: Capture,
    actor: str,
    at: dt.datetime,
    version: int,
) -> sale.Order:
    """The order that content becomes, at a moment."""
    day, hour = business_day.of(at, store.timezone, store.cutoff_minutes)
    return sale.Order(
        id=order_id,
        seq=0,
        channel=content.channel,
        state=state,
        location_id=content.location_id,
        terminal_id="",
        client_sale_id="",
        currency_code=quote.currency_code,
        tax_inclusive=quote.tax_inclusive,
        lines=quote.lines,
        tenders=(),
        net_total=quote.sums.net,
        tax_total=quote.sums.tax,
        discount_total=quote.sums.discount,
        total=quote.sums.total,
        customer_id=content.customer_id,
        campaign_id=content.campaign_id,
        reservation_id=None,
        business_date=day,
        business_hour=hour,
        occurred_at=at,
        recorded_at=at,
        clock_skewed=False,
        actor=actor,
        version=version,
        placed=Placed(
            number=number,
            method=content.method,
            pricing=quote.pricing,
            capture=capture,
            updated_at=at,
            external_reference=content.external_reference,
            marketplace=content.marketplace,
            note=content.note,
        ),
    )


def staff_fields(content: Content, payment: Payment) -> str:
    """The first field that only staff may set, as a path; empty: none is set."""
    for number, line in enumerate(content.lines):
        if line.unit_price is not None or line.discounts:
            return f"content.lines[{number}]"
    set_here = {
        "content.charges": content.charges,
        "content.discounts": content.discounts,
        "content.price_list": content.price_list,
        "content.external_reference": content.external_reference,
        "content.marketplace": content.marketplace,
        "content.note": content.note,
        "content.channel": content.channel is not sale.Channel.WEB,
        "payment.due_now": payment.due_now is not None,
    }
    return next((path for path, value in set_here.items() if value), "")


# --- what is held, and where ---


@dataclass(frozen=True, slots=True)
class HoldLine:
    """Units to be held for a line of the order."""

    number: int
    sku: str
    quantity: int
    group: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Units that a reservation holds at a location."""

    location_id: uuid.UUID
    sku: str
    quantity: int


def hold_lines(content: Content, lines: Sequence[sale.OrderLine]) -> tuple[HoldLine, ...]:
    """What the items of an order need."""
    groups = [line.group for line in content.lines]
    return tuple(
        HoldLine(line.number, line.sku, line.quantity, group)
        for line, group in zip(lines, groups, strict=False)
        if line.kind is sale.LineKind.ITEM
    )


def groups_of(
    held: Sequence[Held],
    wanted: Sequence[HoldLine],
    *,
    reservation_id: uuid.UUID,
    state: machines.FulfillmentState,
    at: dt.datetime,
    new_id: Sequence[uuid.UUID],
) -> tuple[Group, ...]:
    """What each location contributes. Units that no line names (parts of a bundle) have the line number 0."""
    wanting: dict[str, list[HoldLine]] = {}
    for line in wanted:
        wanting.setdefault(line.sku.lower(), []).append(line)
    by_location: dict[uuid.UUID, list[GroupLine]] = {}
    for of in held:
        lines = by_location.setdefault(of.location_id, [])
        for number, units in _shared_out(of.quantity, wanting.get(of.sku.lower(), [])):
            lines.append(GroupLine(number, of.sku, units, reservation_id))
    return tuple(
        Group(group_id, location, state, tuple(lines), (), at)
        for group_id, (location, lines) in zip(new_id, by_location.items(), strict=False)
    )


def _shared_out(units: int, wanting: list[HoldLine]) -> Iterator[tuple[int, int]]:
    """(line number, units): fills the lines in their order, and takes what they got off them."""
    while units and wanting:
        line = wanting.pop(0)
        taken = min(units, line.quantity)
        units -= taken
        if taken < line.quantity:
            wanting.insert(0, dataclasses.replace(line, quantity=line.quantity - taken))
        yield line.number, taken
    if units:
        yield 0, units


def units_of(lines: Sequence[sale.OrderLine]) -> tuple[HoldLine, ...]:
    """The plain units of each item: those that a bundle consists of."""
    return tuple(
        HoldLine(line.number, sku, units * line.quantity)
        for line in lines
        if line.kind is sale.LineKind.ITEM
        for sku, units in line.components or ((line.sku, 1),)
    )


def numbers_of(wanted: Sequence[HoldLine], sku: str) -> tuple[int, ...]:
    """The lines that ask for a SKU."""
    return tuple(line.number for line in wanted if line.sku.lower() == sku.lower())


# --- parts ---

_KINDS: Mapping[sale.LineKind, money.Kind] = {
    sale.LineKind.ADJUSTMENT: money.Kind.ADJUSTMENT,
    sale.LineKind.SHIPPING: money.Kind.SHIPPING,
    sale.LineKind.GIFT_WRAP: money.Kind.GIFT_WRAP,
}


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


def _order_line(priced: money.PricedLine, number: int, line_id: uuid.UUID, what: sale.Item | Charge) -> sale.OrderLine:
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


def _expect_prices(content: Content, quote: Quote) -> None:
    changes = [
        PriceDifference(line.number, line.sku, asked.expected_unit_price, line.unit_price or 0, quote.currency_code)
        for asked, line in zip(content.lines, quote.lines, strict=False)
        if asked.expected_unit_price is not None and asked.expected_unit_price != line.unit_price
    ]
    if changes:
        raise PriceChanged(changes, quote.sums.total, quote.currency_code)
