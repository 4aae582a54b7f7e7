"""What is to become of a placed order: as it is asked for, and as it is kept until it is done. Values only."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from services.orders.domain import placement, sale
from services.orders.domain.placed_order import Method

LINES_MAX = 200
"""Of an order, with those that were removed: each edit is kept, told and read with all of them."""
HELD_LINES_MAX = 50
"""Lines that Inventory holds units for in one call."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is asked for. quantities: units of lines from now on, by their numbers. None leaves what there is."""

    quantities: Mapping[int, int]
    lines: tuple[placement.ContentLine, ...] = ()
    charges: tuple[placement.Charge, ...] = ()
    delivery_method: str | None = None
    pickup_at: dt.datetime | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Offered:
    """What the catalogue says of codes now, and how new lines are taxed."""

    items: Mapping[str, sale.Item | None]
    store: sale.Store
    policy: placement.TaxPolicy


@dataclass(frozen=True, slots=True)
class Given:
    """Units of a line that go back on sale: of a group, which has them by a reservation at a location."""

    group_id: uuid.UUID
    reservation_id: uuid.UUID
    location_id: uuid.UUID
    number: int
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Return:
    """Money of a payment that goes back. amount 0: what is set aside is released."""

    payment_id: uuid.UUID
    amount: int


@dataclass(frozen=True, slots=True)
class Edited:
    """How an order will be, and what that takes. wanted: plain units to be held; hold: as they are asked for."""

    lines: tuple[sale.OrderLine, ...]
    sums: sale.Totals
    method: Method
    note: str
    hold: tuple[placement.HoldLine, ...] = ()
    wanted: tuple[placement.HoldLine, ...] = ()
    given: tuple[Given, ...] = ()
    returns: tuple[Return, ...] = ()
    reason: str = ""
    actor: str = ""

    def reductions(self) -> dict[uuid.UUID, tuple[placement.Held, ...]]:
        """What each reservation gives back."""
        sums: dict[uuid.UUID, dict[tuple[uuid.UUID, str], int]] = {}
        for of in self.given:
            place = sums.setdefault(of.reservation_id, {})
            place[of.location_id, of.sku] = place.get((of.location_id, of.sku), 0) + of.quantity
        return {
            reservation: tuple(placement.Held(*where, units) for where, units in places.items())
            for reservation, places in sums.items()
        }
