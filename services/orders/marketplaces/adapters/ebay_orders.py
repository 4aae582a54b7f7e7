"""eBay's Order to ours: https://developer.ebay.com/api-docs/sell/fulfillment/types/sel:Order. Pure functions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal, DecimalException
from typing import Any, Final

from services.kit import currencies
from services.orders.domain import sale
from services.orders.domain.marketplaces import values
from services.orders.marketplaces import port

#: https://developer.ebay.com/api-docs/sell/fulfillment/types/sel:OrderPaymentStatusEnum
PAID: Final = frozenset({"PAID", "PARTIALLY_REFUNDED", "FULLY_REFUNDED"})
#: https://developer.ebay.com/api-docs/sell/fulfillment/types/sel:CancelStateEnum
CANCELS: Final = {"CANCELED": values.Cancel.DONE, "IN_PROGRESS": values.Cancel.REQUESTED}
TEXT_MAX: Final = 200


class _Unreadable(Exception):
    """Something that every order has is missing, or not what it should be."""


def incoming(order: Mapping[str, Any]) -> port.Incoming | None:
    """An order of a page; None: it isn't paid, and comes again when it is, as it is modified then."""
    number = str(order.get("orderId"))
    modified_at = _modified(order)
    if order.get("orderPaymentStatus") not in PAID:
        return None
    try:
        return port.Incoming(number, modified_at, _ordered(number, modified_at, order), _buyer(order))
    except _Unreadable as problem:
        return port.Incoming(number, modified_at, None, unreadable=str(problem))
    except (KeyError, TypeError, ValueError, AttributeError, DecimalException) as problem:
        # Never the value: it may be the buyer's.
        said = f"no {problem.args[0]}" if isinstance(problem, KeyError) else type(problem).__name__
        return port.Incoming(number, modified_at, None, unreadable=said)


def cancel(order: Mapping[str, Any]) -> values.Cancel:
    """cancelStatus.cancelState; an order whose money is all back is cancelled too."""
    if order.get("orderPaymentStatus") == "FULLY_REFUNDED":
        return values.Cancel.DONE
    return CANCELS.get(str((order.get("cancelStatus") or {}).get("cancelState")), values.Cancel.NONE)


def _modified(order: Mapping[str, Any]) -> dt.datetime:
    try:
        return _time(order["lastModifiedDate"])
    except (KeyError, TypeError, ValueError):
        raise port.NoAnswer("no lastModifiedDate") from None  # without it nobody knows where reading goes on


def _ordered(number: str, modified_at: dt.datetime, order: Mapping[str, Any]) -> values.Ordered:
    summary = order["pricingSummary"]
    currency = _currency(summary["total"])
    items = order["lineItems"]
    if not items:
        raise _Unreadable("no lineItems")
    # pricingSummary.total has every tax that stands in `taxes`: those that eBay collects too, where they stand there.
    included = sum(_included(each, currency) for each in items)
    step = _first(order.get("fulfillmentStartInstructions")).get("shippingStep") or {}
    return values.Ordered(
        number=number,
        ordered_at=_time(order["creationDate"]),
        modified_at=modified_at,
        currency_code=currency,
        lines=tuple(_line(each, currency) for each in items),
        shipping=_part(summary, "deliveryCost", currency) - abs(_part(summary, "deliveryDiscount", currency)),
        adjustment=_part(summary, "adjustment", currency),
        total=_amount(summary["total"], currency) - included,
        country_code=str(_address(order).get("countryCode") or "")[:2],
        paid_at=_paid_at(order),
        shipping_service=str(step.get("shippingServiceCode") or "")[:64],
        cancel=cancel(order),
    )


def _line(item: Mapping[str, Any], currency: str) -> values.Line:
    cost = _amount(item["lineItemCost"], currency)
    net = _part(item, "discountedLineItemCost", currency) if item.get("discountedLineItemCost") else cost
    quantity = item["quantity"]
    if not isinstance(quantity, int) or quantity < 1:
        raise _Unreadable("no quantity")
    collected = tuple(values.Part(_type(tax), _amount(tax["amount"], currency)) for tax in _collected(item))
    names = {part.name for part in collected}
    ours = [tax for tax in item.get("taxes") or [] if _type(tax) not in names]
    taxes = [values.Part(_type(tax), _amount(tax["amount"], currency)) for tax in ours]
    return values.Line(
        ref=str(item["lineItemId"]),
        sku=str(item.get("sku") or ""),
        title=str(item.get("title") or "")[:TEXT_MAX],
        quantity=quantity,
        net_amount=net,
        discount=cost - net,
        taxes=tuple(part for part in taxes if part.amount),
        collected=collected,
    )


def _collected(item: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """ebayCollectAndRemitTaxes: eBay remits them, whatever else is said of them."""
    return item.get("ebayCollectAndRemitTaxes") or []


def _included(item: Mapping[str, Any], currency: str) -> int:
    """Of the taxes that eBay collects, those that stand in `taxes` as well: the order's sums have them then.

    https://developer.ebay.com/api-docs/sell/fulfillment/types/sel:PaymentSummary, at totalDueSeller.
    """
    names = {_type(tax) for tax in _collected(item)}
    return sum(_amount(tax["amount"], currency) for tax in item.get("taxes") or [] if _type(tax) in names)


def _part(of: Mapping[str, Any], name: str, currency: str) -> int:
    """An amount that is left out when there is none."""
    return _amount(of[name], currency) if of.get(name) else 0


def _buyer(order: Mapping[str, Any]) -> port.Buyer:
    """shipTo: https://developer.ebay.com/api-docs/sell/fulfillment/types/sel:ExtendedContact"""
    contact, address = _contact(order), _address(order)
    lines = [str(address.get(name) or "") for name in ("addressLine1", "addressLine2")]
    return port.Buyer(
        name=str(contact.get("fullName") or ""),
        email=str(contact.get("email") or ""),
        phone=str((contact.get("primaryPhone") or {}).get("phoneNumber") or ""),
        company=str(contact.get("companyName") or ""),
        lines=tuple(line for line in lines if line),
        city=str(address.get("city") or ""),
        region=str(address.get("stateOrProvince") or ""),
        postal_code=str(address.get("postalCode") or ""),
        country_code=str(address.get("countryCode") or ""),
    )


def _contact(order: Mapping[str, Any]) -> Mapping[str, Any]:
    step = _first(order.get("fulfillmentStartInstructions")).get("shippingStep") or {}
    found: Mapping[str, Any] = step.get("shipTo") or {}
    return found


def _address(order: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _contact(order).get("contactAddress") or {}
    return found


def _first(found: Any) -> Mapping[str, Any]:
    return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}


def _paid_at(order: Mapping[str, Any]) -> dt.datetime | None:
    payment = _first((order.get("paymentSummary") or {}).get("payments"))
    return _time(payment["paymentDate"]) if payment.get("paymentDate") else None


def _type(tax: Mapping[str, Any]) -> str:
    return str(tax.get("taxType") or "TAX")[:50]


def _currency(amount: Mapping[str, Any]) -> str:
    """Of the seller's side: where eBay converted, convertedFromCurrency is what the listing was in."""
    return str(amount.get("convertedFromCurrency") or amount["currency"])


def _amount(amount: Mapping[str, Any], currency: str) -> int:
    """Smallest units. _Unreadable for an amount that isn't whole, or in another currency."""
    if _currency(amount) != currency:
        raise _Unreadable("several currencies")
    if not currencies.is_known(currency):
        raise _Unreadable("an unknown currency")
    units = Decimal(str(amount.get("convertedFromValue") or amount["value"])).scaleb(currencies.EXPONENTS[currency])
    if not units.is_finite() or units != units.to_integral_value() or abs(units) > sale.AMOUNT_MAX:
        raise _Unreadable("an amount that is not whole")
    return int(units)


def _time(text: str) -> dt.datetime:
    """2015-08-04T19:09:02.768Z. ValueError."""
    at = dt.datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("no zone")
    return at.astimezone(dt.UTC)
