"""The four tables. A state that leads nowhere is final."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from services.orders.domain.machines.states import FulfillmentState, Machine, ParcelState, PaymentState
from services.orders.domain.machines.table import By, Table
from services.orders.domain.sale import OrderState

_WORK: Final = By.STAFF | By.SYSTEM

# An order is placed when units and money are there, and cancelled with both given back. Neither is done by naming a
# state, so these moves are SYSTEM's, whoever called PlaceOrder or CancelOrder; groups are cancelled with their order.
ORDER: Final = Table(
    Machine.ORDER,
    frozenset({OrderState.DRAFT, OrderState.PENDING, OrderState.COMPLETED}),  # the last: a sale at a till
    {
        OrderState.DRAFT: {
            OrderState.PENDING: By.SYSTEM,
            OrderState.CANCELLED: By.SYSTEM,
            OrderState.EXPIRED: By.SYSTEM,
        },
        OrderState.PENDING: {
            OrderState.DRAFT: By.SYSTEM,  # a draft that could not be placed may be tried again
            OrderState.PLACED: By.SYSTEM,
            OrderState.CANCELLED: By.SYSTEM,
            OrderState.EXPIRED: By.SYSTEM,
        },
        OrderState.PLACED: {OrderState.COMPLETED: _WORK, OrderState.CANCELLED: By.SYSTEM},
        OrderState.COMPLETED: {},  # what comes back afterwards is a return, with a record of its own
        OrderState.CANCELLED: {},
        OrderState.EXPIRED: {},
    },
)

# What one movement of money, or one change of what is due, can make of payment_state: a test tries all of them and
# finds exactly these. None is final, as another payment may follow.
_PAID: Final[Mapping[PaymentState, tuple[PaymentState, ...]]] = {
    PaymentState.UNPAID: (
        PaymentState.AUTHORIZED,
        PaymentState.PARTIALLY_PAID,
        PaymentState.PAID,
    ),
    PaymentState.AUTHORIZED: (
        PaymentState.PARTIALLY_PAID,
        PaymentState.PAID,
        PaymentState.PARTIALLY_REFUNDED,
        PaymentState.REFUNDED,
        PaymentState.VOIDED,
    ),
    PaymentState.PARTIALLY_PAID: (
        PaymentState.AUTHORIZED,
        PaymentState.PAID,
        PaymentState.PARTIALLY_REFUNDED,
        PaymentState.REFUNDED,
        PaymentState.VOIDED,
    ),
    PaymentState.PAID: (
        PaymentState.UNPAID,
        PaymentState.AUTHORIZED,
        PaymentState.PARTIALLY_PAID,
        PaymentState.PARTIALLY_REFUNDED,
        PaymentState.REFUNDED,
        PaymentState.VOIDED,
    ),
    PaymentState.PARTIALLY_REFUNDED: (
        PaymentState.AUTHORIZED,
        PaymentState.PARTIALLY_PAID,
        PaymentState.PAID,
        PaymentState.REFUNDED,
    ),
    PaymentState.REFUNDED: (
        PaymentState.AUTHORIZED,
        PaymentState.PARTIALLY_PAID,
        PaymentState.PARTIALLY_REFUNDED,
    ),
    PaymentState.VOIDED: (
        PaymentState.AUTHORIZED,
        PaymentState.PARTIALLY_PAID,
        PaymentState.PAID,
    ),
}
PAYMENT: Final = Table(
    Machine.PAYMENT,
    frozenset({PaymentState.UNPAID, PaymentState.PAID}),  # the last: nothing is due of a free order
    {state: dict.fromkeys(to, By.PAYMENT) for state, to in _PAID.items()},
)

FULFILLMENT: Final = Table(
    Machine.FULFILLMENT,
    frozenset({FulfillmentState.OPEN, FulfillmentState.ON_HOLD, FulfillmentState.SCHEDULED}),
    {
        FulfillmentState.OPEN: {
            FulfillmentState.ON_HOLD: _WORK,
            FulfillmentState.SCHEDULED: _WORK,
            FulfillmentState.IN_PRODUCTION: _WORK,
            FulfillmentState.PICKING: _WORK,
            FulfillmentState.CANCELLED: By.SYSTEM,
            FulfillmentState.FAILED: _WORK,
        },
        FulfillmentState.ON_HOLD: {
            FulfillmentState.OPEN: _WORK,
            FulfillmentState.SCHEDULED: _WORK,
            FulfillmentState.CANCELLED: By.SYSTEM,
        },
        FulfillmentState.SCHEDULED: {
            FulfillmentState.OPEN: _WORK,
            FulfillmentState.ON_HOLD: _WORK,
            FulfillmentState.CANCELLED: By.SYSTEM,
        },
        FulfillmentState.IN_PRODUCTION: {
            FulfillmentState.ON_HOLD: _WORK,
            FulfillmentState.PICKING: _WORK,
            FulfillmentState.CANCELLED: By.SYSTEM,
            FulfillmentState.FAILED: _WORK,
        },
        FulfillmentState.PICKING: {
            FulfillmentState.OPEN: _WORK,  # put back on the shelf
            FulfillmentState.ON_HOLD: _WORK,
            FulfillmentState.READY_FOR_PICKUP: _WORK,
            FulfillmentState.HANDED_OVER: _WORK,
            FulfillmentState.CANCELLED: By.SYSTEM,
            FulfillmentState.FAILED: _WORK,
        },
        FulfillmentState.READY_FOR_PICKUP: {
            FulfillmentState.PICKING: _WORK,  # something is missing after all
            FulfillmentState.HANDED_OVER: _WORK,  # to a driver whom the customer sent
            FulfillmentState.DELIVERED: _WORK,  # the customer came
            FulfillmentState.CANCELLED: By.SYSTEM,  # nobody came in time, too
            FulfillmentState.FAILED: _WORK,
        },
        # What has left the house can't be cancelled; it comes back as a return, or fails.
        FulfillmentState.HANDED_OVER: {FulfillmentState.DELIVERED: _WORK, FulfillmentState.FAILED: _WORK},
        FulfillmentState.DELIVERED: {},
        FulfillmentState.CANCELLED: {},
        FulfillmentState.FAILED: {
            FulfillmentState.OPEN: _WORK,
            FulfillmentState.DELIVERED: _WORK,  # the carrier found it again
            FulfillmentState.CANCELLED: By.SYSTEM,
        },
    },
)

# Carriers skip, repeat and correct themselves, so what is on its way may become anything but announced again. A parcel
# on its way back stays so: the carrier's later "delivered" is a delivery to us, and no customer has it.
_ON_ITS_WAY: Final = (
    ParcelState.IN_TRANSIT,
    ParcelState.OUT_FOR_DELIVERY,
    ParcelState.AVAILABLE_FOR_PICKUP,
    ParcelState.DELIVERED,
    ParcelState.RETURN_TO_SENDER,
    ParcelState.FAILURE,
)
_FINAL: Final = frozenset({ParcelState.DELIVERED, ParcelState.RETURN_TO_SENDER})


def _after(state: ParcelState) -> Mapping[ParcelState, By]:
    if state in _FINAL:
        return {}
    announced = (ParcelState.PRE_TRANSIT,) if state is ParcelState.UNKNOWN else ()
    return {to: _WORK for to in (*announced, *_ON_ITS_WAY) if to is not state}


PARCEL: Final = Table(
    Machine.PARCEL,
    frozenset({ParcelState.UNKNOWN, ParcelState.PRE_TRANSIT}),
    {state: _after(state) for state in ParcelState},
)

TABLES: Final[Mapping[Machine, Table[Any]]] = MappingProxyType(
    {Machine.ORDER: ORDER, Machine.PAYMENT: PAYMENT, Machine.FULFILLMENT: FULFILLMENT, Machine.PARCEL: PARCEL}
)
