"""What is under way with an order: a placement, an edit, a cancellation. Values only; placing/saga.py runs them.

A plan says all that is to be done, and is kept before the first effect. Each effect has a key that follows from the
plan, so doing it again changes nothing, and whoever takes a saga over begins at its step.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass

from services.orders.domain import editing, placement
from services.orders.domain.placed_order import CancelReason, Capture

ROUNDS_MAX = 3
"""How often units are held anew when a hold ran out before the payment was there."""
HOLD_SECONDS = 900
PLACEMENT_TTL = dt.timedelta(seconds=120)
"""After it a placement takes nothing new on, and gives back what it can."""
LEASE = dt.timedelta(seconds=20)
"""Who runs a saga is left alone for so long."""
RENEWED_SECONDS = 8.0
"""Who runs a saga renews its lease when it is older than this, before the next effect."""
CANCELLED_FOR = {
    "INSUFFICIENT_STOCK": CancelReason.OUT_OF_STOCK,
    "PAYMENT_DECLINED": CancelReason.PAYMENT,
    "PLACEMENT_EXPIRED": CancelReason.EXPIRED,
}


class Kind(enum.IntEnum):
    """What is under way."""

    PLACE = 1
    CANCEL = 2
    EDIT = 3  # also a cancellation in part


class Step(enum.IntEnum):
    """How far it is known to be. What lies between two steps is done again, with the same keys."""

    HOLD = 1  # units are to be held, or nobody knows whether they are
    PAY = 2  # they are held: authorise, confirm, capture, release, give back, and note the end
    UNDO = 3  # it comes to nothing, or is cancelled: void, give back, release, and note that
    GIVE = 4  # an edit is decided: what it gives back is given back, and noted


@dataclass(frozen=True, slots=True)
class HoldSpec:
    """Units to be held. pickup_at: where they are collected; else they are sourced.

    channel: whose lots have to live as long as their variant asks for it; empty: any that may be sold.
    """

    lines: tuple[placement.HoldLine, ...]
    pickup_at: uuid.UUID | None
    sourcing: placement.Sourcing
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be done. A placement holds, authorises tenders and captures; a cancellation releases reservations,
    and gives back all the money; reason, note and actor are what is said of it. An edit may do both, each of a part.
    """

    hold: HoldSpec | None = None
    tenders: tuple[placement.TenderSpec, ...] = ()
    capture: Capture = Capture.PLACEMENT
    releases: tuple[uuid.UUID, ...] = ()
    reason: CancelReason = CancelReason.OTHER
    note: str = ""
    actor: str = ""
    edit: editing.Edited | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a saga comes to nothing. code: of a declined payment."""

    reason: str
    code: str = ""


@dataclass(slots=True)
class Saga:
    """A saga as it is kept. fence: of who runs it."""

    id: uuid.UUID
    order_id: uuid.UUID
    kind: Kind
    step: Step
    plan: Plan
    deadline_at: dt.datetime
    principal: str
    method: str
    request_key: str
    fingerprint: bytes
    fence: int = 1
    round: int = 0
    reservation_id: uuid.UUID | None = None
    failure: Failure | None = None
    attempts: int = 0
    expired: bool = False
    """deadline_at had passed when it was taken over."""

    def hold_key(self) -> str:
        """The request id of the hold of this round."""
        return f"{self.id}:{self.round}"

    def key(self, what: str) -> str:
        """The key of another effect of this saga."""
        return f"{self.id}:{what}"


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a key stands for already. succeeded None: it is still running."""

    order_id: uuid.UUID
    fingerprint: bytes
    succeeded: bool | None


def cancel_reason(failure: Failure | None) -> CancelReason:
    """What an order that was not placed says of it."""
    return CANCELLED_FOR.get(failure.reason if failure else "", CancelReason.OTHER)
