"""What sagas ask of Inventory. Values and interfaces only; mapping/stock.py asks it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.kit import errors
from services.orders.domain import placement, sagas


@dataclass(frozen=True, slots=True)
class Reservation:
    """Units that are held, or allocated."""

    id: uuid.UUID
    held: Sequence[placement.Held]


class HoldEnded(errors.Error):
    """The reservation is not active any more."""

    reason = "RESERVATION_ENDED"


class Fewer(errors.Error):
    """The reservation has fewer units than are to be given back."""

    reason = "QUANTITY_BELOW_ZERO"


class Stock(Protocol):
    """Inventory, for the tenant that is acted for (kit.channels.acting_for).

    Every call may be repeated with its key, and then answers what it did first. errors.Error: what Inventory refuses,
    or that it doesn't answer; then nobody knows whether it was done.
    """

    async def hold(self, spec: sagas.HoldSpec, order_ref: str, key: str) -> Reservation:
        """Holds all units or none, for sagas.HOLD_SECONDS. placement.InsufficientStock."""
        ...

    async def confirm(self, reservation_id: uuid.UUID, key: str) -> None:
        """Allocates what is held. HoldEnded."""
        ...

    async def reduce(self, reservation_id: uuid.UUID, held: Sequence[placement.Held], key: str) -> None:
        """Puts some of the units back on sale, all of these or none. HoldEnded; port.Fewer: it has fewer."""
        ...

    async def release(self, reservation_id: uuid.UUID, key: str) -> None:
        """Puts what is held or allocated back on sale. No error when it has ended already."""
        ...
