"""What may go back to a customer: never more than was paid, to the cent over any split, in any order.

What is kept of a line are three counts: its units that came back, money given back without units, and fees withheld.
All amounts and taxes are functions of these counts, and a refund is their value afterwards less their value before, so
rounding never adds up. Rounding here is always HALF_UP: HALF_EVEN can step by two where the amount steps by one, and
the tax of a refund would be more than the refund.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from types import MappingProxyType

from services.kit import errors
from services.orders.domain import sale
from services.orders.domain.money.allocation import allocate, nth_share
from services.orders.domain.money.paid import Paid, PaidLine
from services.orders.domain.money.rounding import Rounding, to_increment, whole
from services.orders.domain.money.values import Portion, RefundTooLarge

NO_FEE = Portion()


@dataclass(frozen=True, slots=True)
class LineCounts:
    """What has been refunded of a line, cumulative: units, money without units, and fees withheld of units' money."""

    quantity: int = 0
    amount: int = 0
    fee: int = 0


@dataclass(frozen=True, slots=True)
class Refunded:
    """What has been refunded of an order, cumulative, by ref. given: all that the customer got back.

    cash: what the lines gave back in refunds that were paid out in coins; coins: what was paid out for it.
    """

    lines: Mapping[str, LineCounts] = field(default_factory=lambda: MappingProxyType({}))
    given: int = 0
    cash: int = 0
    coins: int = 0

    def of(self, ref: str) -> LineCounts:
        """The counts of a line."""
        return self.lines.get(ref, LineCounts())


@dataclass(frozen=True, slots=True)
class RefundLine:
    """What to refund of a line: units, money without units (to keep a damaged item), or both."""

    ref: str
    quantity: int = 0
    amount: int = 0


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A refund. amount is spread over what is left of all lines. fee: withheld of the units' money (restocking).

    Shipping and gift wrap are lines without units. cash: coins are paid out, so the amount is rounded for them; what
    they can't pay of the last part, as of a sale by card, is left for another way.
    """

    lines: Sequence[RefundLine] = ()
    amount: int = 0
    fee: Portion = NO_FEE
    cash: bool = False


@dataclass(frozen=True, slots=True)
class RefundedLine:
    """A line's part of a refund. amount is what the customer gets, after the fee; tax_amount is in it."""

    ref: str
    quantity: int
    amount: int
    fee: int
    taxes: tuple[sale.Tax, ...]
    tax_amount: int


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund, and the counts after it, which are to be kept.

    amount = the lines' amounts + rounding_amount. complete: all that was paid has been given back.
    """

    lines: tuple[RefundedLine, ...]
    rounding_amount: int
    amount: int
    tax_amount: int
    fee_amount: int
    after: Refunded
    complete: bool


def refund(paid: Paid, before: Refunded, request: RefundRequest) -> Refund:
    """The refund asked for. REFUND_TOO_LARGE for more units or money than is left; INVALID_REQUEST."""
    _check(paid, request)
    counts = _counted(paid, before, request)
    after = _settled(paid, before, counts, request)
    if after.given > before.given and not left(paid, after):
        # All the money is back, so all of every line is: a total that was rounded down for coins is below the lines'.
        _add(paid, _rooms(paid, counts), counts)
    lines = tuple(
        _difference(line, before.of(line.ref), counts[line.ref])
        for line in paid.lines
        if counts.get(line.ref, LineCounts()) != before.of(line.ref)
    )
    amount = after.given - before.given
    return Refund(
        lines=lines,
        rounding_amount=amount - sum(line.amount for line in lines),
        amount=amount,
        tax_amount=sum(line.tax_amount for line in lines),
        fee_amount=sum(line.fee for line in lines),
        after=replace(after, lines=MappingProxyType(counts)),
        complete=not left(paid, after),
    )


def left(paid: Paid, counts: Refunded) -> int:
    """What may still be given back."""
    return paid.total - counts.given


def amount_of(line: PaidLine, counts: LineCounts) -> int:
    """What has been given back of a line."""
    return _value(line, counts.quantity, counts.amount) - counts.fee


def taxes_of(line: PaidLine, amount: int) -> tuple[int, ...]:
    """The taxes in an amount given back of a line, one a tax; their sum is in proportion, rounded half up."""
    if not line.amount:
        return (0,) * len(line.taxes)
    of_line = sum(tax.amount for tax in line.taxes)
    in_amount = whole(Fraction(of_line * amount, line.amount), Rounding.HALF_UP)
    return nth_share(in_amount, [tax.amount for tax in line.taxes])


def _check(paid: Paid, request: RefundRequest) -> None:
    broken = []
    refs = {line.ref for line in paid.lines}
    for i, line in enumerate(request.lines):
        if line.ref not in refs:
            broken.append(errors.FieldViolation(f"lines[{i}].ref", "names no line of the order that can be refunded"))
        if line.quantity < 0 or line.amount < 0:
            broken.append(errors.FieldViolation(f"lines[{i}]", "quantity and amount are at least 0"))
    if len({line.ref for line in request.lines}) < len(request.lines):
        broken.append(errors.FieldViolation("lines", "two name the same line"))
    if request.amount < 0:
        broken.append(errors.FieldViolation("amount", "is at least 0"))
    broken += [errors.FieldViolation(path, text) for path, text in request.fee.violations("fee")]
    if broken:
        raise errors.InvalidRequest(violations=broken)


def _counted(paid: Paid, before: Refunded, request: RefundRequest) -> dict[str, LineCounts]:
    """The counts of lines after a request."""
    asked = {line.ref: line for line in request.lines}
    fees = _fees(paid, before, request)
    counts = dict(before.lines)
    for line in paid.lines:
        if line.ref in asked:
            of = asked[line.ref]
            counts[line.ref] = _count(line, before.of(line.ref), of.quantity, of.amount, fees.get(line.ref, 0))
    if request.amount:
        rest = left(paid, before) - _amount(paid, counts) + _amount(paid, before.lines)
        if request.amount > rest:
            raise RefundTooLarge("", request.amount, max(0, rest))
        rooms = _rooms(paid, counts)
        _add(paid, allocate(min(request.amount, sum(rooms)), rooms), counts)
    return counts


def _settled(paid: Paid, before: Refunded, counts: Mapping[str, LineCounts], request: RefundRequest) -> Refunded:
    """What has been given back after a request. The last of the lines takes along what roundings left.

    Coins are rounded over all refunds in cash, so that they don't drift, and never beyond what was paid.
    """
    exact = _amount(paid, counts) - _amount(paid, before.lines)
    room = left(paid, before)
    if not exact and not request.amount:
        return before
    last = not any(_rooms(paid, counts))
    if not request.cash:
        return replace(before, given=before.given + (room if last else min(room, exact)))
    cash, increment = before.cash + exact, max(1, paid.policy.cash_increment)
    coins = before.coins + room
    if not last:
        coins = min(coins, to_increment(cash, increment, paid.policy.rounding))
    coins -= coins % increment
    return replace(before, given=before.given + coins - before.coins, cash=cash, coins=coins)


def _rooms(paid: Paid, counts: Mapping[str, LineCounts]) -> list[int]:
    """What is left of each line."""
    return [line.amount - amount_of(line, counts.get(line.ref, LineCounts())) for line in paid.lines]


def _value(line: PaidLine, quantity: int, amount: int) -> int:
    """What units and money come to before fees: at most what was paid for the line."""
    units = whole(Fraction(line.amount * quantity, line.quantity), Rounding.HALF_UP) if line.quantity else 0
    return min(line.amount, units + amount)


def _fees(paid: Paid, before: Refunded, request: RefundRequest) -> dict[str, int]:
    """The fee of each line, spread in proportion to the money of its units."""
    of_units = {}
    by_ref = {line.ref: line for line in paid.lines}
    for asked in request.lines:
        line, counts = by_ref[asked.ref], before.of(asked.ref)
        units = counts.quantity + asked.quantity
        if units > line.quantity:
            raise RefundTooLarge(line.ref, asked.quantity, line.quantity - counts.quantity)
        of_units[line.ref] = _value(line, units, counts.amount) - _value(line, counts.quantity, counts.amount)
    fee = request.fee.of(sum(of_units.values()), Rounding.HALF_UP)
    return dict(zip(of_units, allocate(fee, list(of_units.values())), strict=True))


def _count(line: PaidLine, before: LineCounts, quantity: int, amount: int, fee: int) -> LineCounts:
    """The counts after units, money and a fee. Money beyond the line's value gives back fees that were withheld."""
    moved = replace(before, quantity=before.quantity + quantity, fee=before.fee + fee)
    room = line.amount - _value(line, moved.quantity, moved.amount)
    if amount > room + moved.fee:
        raise RefundTooLarge(line.ref, amount, room + moved.fee)
    waived = max(0, amount - room)
    return replace(moved, amount=moved.amount + amount - waived, fee=moved.fee - waived)


def _add(paid: Paid, amounts: Sequence[int], counts: dict[str, LineCounts]) -> None:
    """Counts money of each line."""
    for line, amount in zip(paid.lines, amounts, strict=True):
        if amount:
            counts[line.ref] = _count(line, counts.get(line.ref, LineCounts()), 0, amount, 0)


def _amount(paid: Paid, counts: Mapping[str, LineCounts]) -> int:
    return sum(amount_of(line, counts[line.ref]) for line in paid.lines if line.ref in counts)


def _difference(line: PaidLine, before: LineCounts, after: LineCounts) -> RefundedLine:
    was, now = amount_of(line, before), amount_of(line, after)
    amounts = [b - a for a, b in zip(taxes_of(line, was), taxes_of(line, now), strict=True)]
    return RefundedLine(
        ref=line.ref,
        quantity=after.quantity - before.quantity,
        amount=now - was,
        fee=after.fee - before.fee,
        taxes=tuple(replace(tax, amount=amount) for tax, amount in zip(line.taxes, amounts, strict=True)),
        tax_amount=sum(amounts),
    )
