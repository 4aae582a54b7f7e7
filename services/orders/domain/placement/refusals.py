"""Why an order is not placed, edited or cancelled. One class a cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.kit import errors


class PriceChanged(errors.Error):
    """Prices are not what the caller expected."""

    reason = "PRICE_CHANGED"

    def __init__(self, changes: Sequence[PriceDifference], total: int, currency_code: str) -> None:
        super().__init__(metadata={"total": str(total)}, lines=changes)
        self.total = total
        self.currency_code = currency_code


class PaymentMismatch(errors.Error):
    """The tenders don't add up to what is due now."""

    reason = "PAYMENT_MISMATCH"

    def __init__(self, due: int, tendered: int) -> None:
        super().__init__(metadata={"due": str(due), "tendered": str(tendered)})


class ItemNotSold(errors.Error):
    """The item is discontinued or has no price here."""

    reason = "ITEM_NOT_SOLD"

    def __init__(self, sku: str) -> None:
        super().__init__(metadata={"sku": sku})


class SkuNotFound(errors.Error):
    """No variant has this SKU or barcode."""

    reason = "SKU_NOT_FOUND"

    def __init__(self, sku: str) -> None:
        super().__init__(metadata={"sku": sku})


class PlacementExpired(errors.Error):
    """The placement could not be ended in time; nothing is held and nothing is charged."""

    reason = "PLACEMENT_EXPIRED"


class StaffOnly(errors.Error):
    """Only staff may set this field."""

    reason = "STAFF_ONLY"

    def __init__(self, field_path: str) -> None:
        super().__init__(metadata={"field": field_path})


class InFlight(errors.Error):
    """The first request with this key is still running."""

    reason = "IDEMPOTENCY_IN_FLIGHT"


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A SKU of which there is too little. numbers: of the lines that ask for it; detail: what the stock said."""

    numbers: tuple[int, ...]
    detail: object


class InsufficientStock(errors.Error):
    """Fewer units are available than the order asks for."""

    reason = "INSUFFICIENT_STOCK"

    def __init__(self, lines: Sequence[Shortfall]) -> None:
        super().__init__(lines=lines)


@dataclass(frozen=True, slots=True)
class PriceDifference:
    """A line whose price is not what was expected."""

    number: int
    sku: str
    expected: int
    unit_price: int
    currency_code: str
