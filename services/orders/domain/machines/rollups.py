"""What follows for one machine from others. These are facts: they are written down, and never refused."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from services.orders.domain.machines.states import FulfillmentState, ParcelState, PaymentState

_BY_PROGRESS: Final = (
    FulfillmentState.FAILED,  # these two wait for a person, so they are told before all others
    FulfillmentState.ON_HOLD,
    FulfillmentState.SCHEDULED,
    FulfillmentState.OPEN,
    FulfillmentState.IN_PRODUCTION,
    FulfillmentState.PICKING,
    FulfillmentState.READY_FOR_PICKUP,
    FulfillmentState.HANDED_OVER,
    FulfillmentState.DELIVERED,
)
_ENDED: Final = frozenset({ParcelState.DELIVERED, ParcelState.RETURN_TO_SENDER, ParcelState.FAILURE})


def payment_state(total: int, *, authorised: int, captured: int, refunded: int, voided: int) -> PaymentState:
    """What sums over all payments of an order come to; total is what the order costs, all in smallest units.

    authorised is all that was ever set aside, of which captured was taken and voided released.
    """
    kept, set_aside = captured - refunded, authorised - captured - voided
    if refunded and kept:
        return PaymentState.PARTIALLY_REFUNDED
    if not kept and not set_aside:
        return _nothing_left(total, refunded=refunded, voided=voided)
    if kept >= total:
        return PaymentState.PAID
    return PaymentState.AUTHORIZED if kept + set_aside >= total else PaymentState.PARTIALLY_PAID


def _nothing_left(total: int, *, refunded: int, voided: int) -> PaymentState:
    """The state when nothing is paid or set aside, by what there was."""
    if refunded:
        return PaymentState.REFUNDED
    if voided:
        return PaymentState.VOIDED
    return PaymentState.UNPAID if total else PaymentState.PAID


def fulfillment_state(groups: Collection[FulfillmentState]) -> FulfillmentState | None:
    """The state of all groups of an order: of those not cancelled, the one that is furthest from being delivered.

    So an order is DELIVERED when every group is, and FAILED or ON_HOLD as soon as one is. None: it has no groups.
    """
    if not groups:
        return None
    served = [state for state in groups if state is not FulfillmentState.CANCELLED]
    return min(served, key=_BY_PROGRESS.index, default=FulfillmentState.CANCELLED)


def group_state(state: FulfillmentState, parcels: Sequence[ParcelState]) -> FulfillmentState:
    """The state of a group by those of its parcels; without parcels, and before it is handed over, its own.

    DELIVERED when every parcel is, FAILED when none is and none will be. Where some are and others were lost, a person
    decides. A group that had failed is delivered if its parcels are found.
    """
    if not parcels or state not in (FulfillmentState.HANDED_OVER, FulfillmentState.FAILED):
        return state
    if all(parcel is ParcelState.DELIVERED for parcel in parcels):
        return FulfillmentState.DELIVERED
    if _ENDED.issuperset(parcels) and ParcelState.DELIVERED not in parcels:
        return FulfillmentState.FAILED
    return state
