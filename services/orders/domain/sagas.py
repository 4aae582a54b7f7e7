"""What is under way with an order: a placement, an edit, a cancellation. Values only; placing/saga.py runs them.

A plan says all that is to be done, and is kept before the first effect. Each effect has a key that follows from the
plan, so doing it again changes nothing, and whoever takes a saga over begins at its step.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass

from services.orders.domain import placement
from services.orders.domain.placed_order import Capture

ROUNDS_MAX = 3
"""How often units are held anew when a hold ran out before the payment was there."""
HOLD_SECONDS = 900
PLACEMENT_TTL = dt.timedelta(seconds=120)
"""After it a placement takes nothing new on, and gives back what it can."""
LEASE = dt.timedelta(seconds=20)
"""Who runs a saga is left alone for so long."""


class Kind(enum.IntEnum):
    """What is under way."""

    PLACE = 1
    CANCEL = 2
    EDIT = 3


class Step(enum.IntEnum):
    """How far it is known to be. What lies between two steps is done again, with the same keys."""

    HOLD = 1  # units are to be held, or nobody knows whether they are
    PAY = 2  # they are held: authorise, confirm, capture, release, give back, and note the end
    UNDO = 3  # it comes to nothing: void, give back, release, and note that


@dataclass(frozen=True, slots=True)
class HoldSpec:
    """Units to be held. pickup_at: where they are collected; else they are sourced."""

    lines: tuple[placement.HoldLine, ...]
    pickup_at: uuid.UUID | None
    sourcing: placement.Sourcing


@dataclass(frozen=True, slots=True)
class Release:
    """Units to be given back. lines: (location, SKU, units); empty: all that the reservation has."""

    reservation_id: uuid.UUID
    lines: tuple[placement.Held, ...] = ()


@dataclass(frozen=True, slots=True)
class Refund:
    """Money of a payment to be given back."""

    payment_id: uuid.UUID
    amount: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is to be done, in the order of the fields."""

    hold: HoldSpec | None = None
    tenders: tuple[placement.TenderSpec, ...] = ()
    capture: Capture = Capture.PLACEMENT
    releases: tuple[Release, ...] = ()
    refunds: tuple[Refund, ...] = ()
    voids: tuple[uuid.UUID, ...] = ()


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
