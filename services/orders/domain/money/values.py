"""What pricing is asked and what it answers. Values only; amounts are counts of the currency's smallest unit."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from services.kit import errors
from services.orders.domain import sale
from services.orders.domain.money.rounding import Rounding, whole

WHOLE_BASIS_POINTS = 10_000


class Kind(enum.IntEnum):
    """What a line of an order is; numbers of the contract. All but ITEM are amounts without units (quantity 0)."""

    ITEM = 1
    ADJUSTMENT = 2
    """Anything else; the only kind that may be negative."""
    SHIPPING = 3
    GIFT_WRAP = 4
    CASH_ROUNDING = 5
    """Made here, never asked for."""


class TaxLevel(enum.IntEnum):
    """What a tax is rounded for; numbers of the contract."""

    LINE = 1
    UNIT = 2
    """Each unit: what a shelf label with tax says, times the quantity."""
    ORDER = 3
    """All lines with the same tax at once; the lines' taxes are then divided so that they add up to it."""


class RefundTooLarge(errors.Error):
    """More units or money than is left to refund."""

    reason = "REFUND_TOO_LARGE"

    def __init__(self, line: str, asked: int, left: int) -> None:
        """line: its ref; empty for money that belongs to no line."""
        super().__init__(
            f"{asked} is more than the {left} left to refund",
            metadata={"line": line, "asked": str(asked), "left": str(left)},
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """How an order is taxed and rounded. Stored on the order, so that it is computed the same for ever.

    cash_increment: the smallest coin in smallest units (5 in Switzerland); 0 rounds nothing.
    """

    currency_code: str
    tax_inclusive: bool = False
    rounding: Rounding = Rounding.HALF_UP
    tax_level: TaxLevel = TaxLevel.LINE
    cash_increment: int = 0


@dataclass(frozen=True, slots=True)
class Portion:
    """An amount, or hundredths of a percent of another; not both. At most the whole of what it is a portion of."""

    amount: int = 0
    basis_points: int = 0

    def of(self, base: int, mode: Rounding) -> int:
        """The portion of base, which is at least 0."""
        share = whole(Fraction(base * self.basis_points, WHOLE_BASIS_POINTS), mode)
        return min(base, self.amount + share)

    def violations(self, path: str) -> Iterator[tuple[str, str]]:
        """What is wrong with it, as paths and texts."""
        if self.amount and self.basis_points:
            yield path, "is an amount or basis points, not both"
        if not 0 <= self.amount <= sale.AMOUNT_MAX:
            yield f"{path}.amount", f"is 0 to {sale.AMOUNT_MAX}"
        if not 0 <= self.basis_points <= WHOLE_BASIS_POINTS:
            yield f"{path}.basis_points", f"is 0 to {WHOLE_BASIS_POINTS}"


@dataclass(frozen=True, slots=True)
class TaxRate:
    """A tax that applies. rate is a decimal string: `0.19`."""

    name: str
    rate: str


@dataclass(frozen=True, slots=True)
class DiscountRequest:
    """A discount to take off before tax, from what earlier ones left.

    refs: lines that an order's discount is spread over; empty: all that are discountable. Unused on a line's own.
    """

    name: str
    portion: Portion
    campaign_id: str = ""
    refs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Override:
    """A price that a person set instead of the catalogue's; who may is a question of access."""

    unit_price: int
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class LineRequest:
    """A line to price. ref is the caller's and unique in the order; lines stay in their order.

    unit_price is for price_quantity units (199 for 100 g); of a line that is no item it is the amount. Order discounts
    are spread over items, unless discountable says otherwise.
    """

    ref: str
    quantity: int
    unit_price: int
    kind: Kind = Kind.ITEM
    price_quantity: int = 1
    override: Override | None = None
    taxes: tuple[TaxRate, ...] = ()
    discounts: tuple[DiscountRequest, ...] = ()
    discountable: bool | None = None


@dataclass(frozen=True, slots=True)
class TenderRequest:
    """A means of payment. amount None: whatever the others leave, which one tender at most may say."""

    ref: str
    amount: int | None = None
    cash: bool = False


@dataclass(frozen=True, slots=True)
class PricingRequest:
    """An order to price. deposit: what is paid now, the rest being a balance; None: all. No tenders: none settled."""

    policy: Policy
    lines: Sequence[LineRequest]
    discounts: Sequence[DiscountRequest] = ()
    tenders: Sequence[TenderRequest] = ()
    deposit: Portion | None = None


@dataclass(frozen=True, slots=True)
class PricedLine:
    """A line with all that is known of its money.

    list_amount is the price before discounts; net_amount after them: with tax where the policy is tax_inclusive, as in
    the contract. untaxed_amount + tax_amount = total_amount, which is what the customer pays, in either case.
    """

    ref: str
    kind: Kind
    quantity: int
    price_quantity: int
    list_price: int
    unit_price: int
    override: Override | None
    list_amount: int
    discounts: tuple[sale.Discount, ...]
    discount_amount: int
    net_amount: int
    taxes: tuple[sale.Tax, ...]
    tax_amount: int
    untaxed_amount: int
    total_amount: int


@dataclass(frozen=True, slots=True)
class TaxTotal:
    """A tax over all lines that have it; base is without tax."""

    name: str
    rate: str
    base: int
    amount: int


@dataclass(frozen=True, slots=True)
class Tender:
    """What one means of payment pays."""

    ref: str
    amount: int
    cash: bool


@dataclass(frozen=True, slots=True)
class PricedOrder:
    """A whole order. Sums are over all lines, the rounding line too; total = deposit_amount + balance_amount.

    tenders add up to deposit_amount, which is the total unless a deposit was asked for.
    """

    policy: Policy
    lines: tuple[PricedLine, ...]
    taxes: tuple[TaxTotal, ...]
    list_total: int
    discount_total: int
    net_total: int
    tax_total: int
    rounding_amount: int
    total: int
    deposit_amount: int
    balance_amount: int
    tenders: tuple[Tender, ...]
