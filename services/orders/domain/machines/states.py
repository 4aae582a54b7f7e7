"""States of what an order consists of; sale.OrderState has the order's own. Names and numbers are the contract's."""

from __future__ import annotations

import enum


class Machine(enum.IntEnum):
    """Whose state."""

    ORDER = 1
    PAYMENT = 2
    FULFILLMENT = 3
    PARCEL = 4


class PaymentState(enum.IntEnum):
    """What has been paid of an order; payments.State is that of one payment."""

    UNPAID = 1
    AUTHORIZED = 2
    PARTIALLY_PAID = 3
    PAID = 4
    PARTIALLY_REFUNDED = 5
    REFUNDED = 6
    VOIDED = 7


class FulfillmentState(enum.IntEnum):
    """What we did with a group; says nothing of the carrier."""

    OPEN = 1
    ON_HOLD = 2
    SCHEDULED = 3
    IN_PRODUCTION = 4
    PICKING = 5
    READY_FOR_PICKUP = 6
    HANDED_OVER = 7
    DELIVERED = 8
    CANCELLED = 9
    FAILED = 10


class ParcelState(enum.IntEnum):
    """What the carrier says of a parcel."""

    UNKNOWN = 1
    PRE_TRANSIT = 2
    IN_TRANSIT = 3
    OUT_FOR_DELIVERY = 4
    AVAILABLE_FOR_PICKUP = 5
    DELIVERED = 6
    RETURN_TO_SENDER = 7
    FAILURE = 8
