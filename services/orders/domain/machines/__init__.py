"""The machines of an order: order, payment, fulfilment group and parcel move independently, each along its table.

A move is checked against the table (`ORDER.move`, or `TABLES` by machine); what a move does to stock and money is up
to the use case that makes it. Roll-ups say what follows for one machine from others, or from sums of money.
"""

from services.orders.domain.machines.rollups import fulfillment_state, group_state, payment_state
from services.orders.domain.machines.states import FulfillmentState, Machine, ParcelState, PaymentState
from services.orders.domain.machines.table import By, IllegalTransition, Move, Table, TransitionReserved
from services.orders.domain.machines.tables import FULFILLMENT, ORDER, PARCEL, PAYMENT, TABLES

__all__ = [
    "FULFILLMENT",
    "ORDER",
    "PARCEL",
    "PAYMENT",
    "TABLES",
    "By",
    "FulfillmentState",
    "IllegalTransition",
    "Machine",
    "Move",
    "ParcelState",
    "PaymentState",
    "Table",
    "TransitionReserved",
    "fulfillment_state",
    "group_state",
    "payment_state",
]
