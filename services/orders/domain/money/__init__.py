"""The arithmetic of an order: prices, discounts, taxes, cash, tenders, refunds. No float; no clock, no catalogue.

`price_order` computes a whole order from what was asked and a policy that is stored with it; `refund` says what goes
back of it. Everything adds up to the smallest unit of the currency.
"""

from services.orders.domain.money.allocation import allocate
from services.orders.domain.money.paid import Paid, PaidLine, of_lines, paid
from services.orders.domain.money.pricing import ROUNDING_REF, price_order
from services.orders.domain.money.refunds import (
    LineCounts,
    Refund,
    Refunded,
    RefundedLine,
    RefundLine,
    RefundRequest,
    left,
    refund,
)
from services.orders.domain.money.rounding import Rounding, to_increment, whole
from services.orders.domain.money.settling import cash_rounding, fill, settle
from services.orders.domain.money.values import (
    DiscountRequest,
    Kind,
    LineRequest,
    Override,
    Policy,
    Portion,
    PricedLine,
    PricedOrder,
    PricingRequest,
    RefundTooLarge,
    TaxLevel,
    TaxRate,
    TaxTotal,
    Tender,
    TenderRequest,
)

__all__ = [
    "ROUNDING_REF",
    "DiscountRequest",
    "Kind",
    "LineCounts",
    "LineRequest",
    "Override",
    "Paid",
    "PaidLine",
    "Policy",
    "Portion",
    "PricedLine",
    "PricedOrder",
    "PricingRequest",
    "Refund",
    "RefundLine",
    "RefundRequest",
    "RefundTooLarge",
    "Refunded",
    "RefundedLine",
    "Rounding",
    "TaxLevel",
    "TaxRate",
    "TaxTotal",
    "Tender",
    "TenderRequest",
    "allocate",
    "cash_rounding",
    "fill",
    "left",
    "of_lines",
    "paid",
    "price_order",
    "refund",
    "settle",
    "to_increment",
    "whole",
]
