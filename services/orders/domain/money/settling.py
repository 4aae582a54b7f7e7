"""What is due against what pays it: tenders, cash rounding, and money that goes back to several tenders."""

from __future__ import annotations

from collections.abc import Sequence

from services.kit import errors
from services.orders.domain import sale
from services.orders.domain.money.rounding import to_increment
from services.orders.domain.money.values import Policy, RefundTooLarge, Tender, TenderRequest


def settle(policy: Policy, due: int, asked: Sequence[TenderRequest]) -> tuple[tuple[Tender, ...], int]:
    """The tenders that pay due, and the cash rounding, which changes what is due.

    Only cash that pays whatever the others leave is rounded: an amount that was named is what lies in the drawer.
    SALE_UNBALANCED when the tenders don't add up; INVALID_REQUEST when two would take the rest.
    """
    open_ended = [tender for tender in asked if tender.amount is None]
    if len(open_ended) > 1:
        raise errors.InvalidRequest(
            violations=[errors.FieldViolation("tenders", "at most one may leave its amount open")]
        )
    named = sum(tender.amount or 0 for tender in asked)
    rest = due - named
    if rest < 0 or (rest and not open_ended):
        raise sale.SaleUnbalanced(due, named)
    change = cash_rounding(policy, rest) if open_ended and open_ended[0].cash else 0
    pays = [rest + change if tender.amount is None else tender.amount for tender in asked]
    tenders = (Tender(tender.ref, amount, tender.cash) for tender, amount in zip(asked, pays, strict=True))
    return tuple(tenders), change


def cash_rounding(policy: Policy, due: int) -> int:
    """What is added to an amount, or taken off, so that coins can pay it."""
    return to_increment(due, policy.cash_increment, policy.rounding) - due


def fill(amount: int, left: Sequence[int]) -> tuple[int, ...]:
    """Gives an amount back to tenders in the order given, each at most what is left of it. REFUND_TOO_LARGE."""
    if amount > sum(left):
        raise RefundTooLarge("", amount, sum(left))
    parts = []
    for room in left:
        parts.append(min(room, amount))
        amount -= parts[-1]
    return tuple(parts)
