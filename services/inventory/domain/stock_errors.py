"""Why a command on stock is refused. One class a cause; lines carry the facts."""

from __future__ import annotations

import datetime as dt

from services.inventory.domain.levels import HoldState, State
from services.kit import errors


class InsufficientStock(errors.Error):
    """Fewer units are available than asked for."""

    reason = "INSUFFICIENT_STOCK"


class SkuNotFound(errors.Error):
    """No variant has this SKU."""

    reason = "SKU_NOT_FOUND"

    def __init__(self, sku: str) -> None:
        super().__init__(metadata={"sku": sku})


class QuantityStale(errors.Error):
    """The count was taken against another on_hand."""

    reason = "QUANTITY_STALE"


class ReservationEnded(errors.Error):
    """The reservation has ended."""

    reason = "RESERVATION_ENDED"

    def __init__(self, state: HoldState) -> None:
        super().__init__(f"the reservation has ended: {state.name.lower()}", metadata={"state": state.name})


class QuantityBelowZero(errors.Error):
    """Units are to be taken that are not there."""

    reason = "QUANTITY_BELOW_ZERO"

    def __init__(self, sku: str, state: State, quantity: int) -> None:
        super().__init__(metadata={"sku": sku, "state": state.name, "quantity": str(quantity)})


class ObservationOutdated(errors.Error):
    """A later observation of this stock is already recorded."""

    reason = "OBSERVATION_OUTDATED"

    def __init__(self, sku: str, recorded: dt.datetime) -> None:
        super().__init__(metadata={"sku": sku, "recorded_occurred_at": recorded.isoformat()})


class LocationNotCapable(errors.Error):
    """The location is closed."""

    reason = "LOCATION_NOT_CAPABLE"

    def __init__(self, capability: str) -> None:
        super().__init__(metadata={"capability": capability})
