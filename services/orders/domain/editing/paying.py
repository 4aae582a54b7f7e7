"""What an edit moves of the order's money: what more has to be paid, and what goes back of which payment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.kit import errors
from services.orders.domain import payments, placed_order, placement, sale
from services.orders.domain.editing.values import Return

_OWN = {
    payments.Provider.GIFT_CARD: sale.TenderType.GIFT_CARD,
    payments.Provider.STORE_CREDIT: sale.TenderType.STORE_CREDIT,
}
_BY_HAND = {"cash": sale.TenderType.CASH, "card_terminal": sale.TenderType.CARD}


def require_settled(paid: Sequence[payments.Payment]) -> None:
    """InProgress while money of the order is on its way: nobody knows yet what is due."""
    if any(payment.unsettled for payment in paid):
        raise payments.InProgress


def check_tenders(
    sums: placed_order.PaymentSums,
    before: int,
    after: int,
    tenders: Sequence[placement.TenderSpec],
    due_now: int | None,
) -> None:
    """PaymentMismatch unless the tenders are what has to be paid now: what the edit adds to what is due, or due_now."""
    due = sums.due(after)
    now = max(0, due - sums.due(before)) if due_now is None else due_now
    if now > due:
        raise errors.InvalidRequest(violations=[errors.FieldViolation("due_now", f"is more than is due, {due}")])
    tendered = sum(tender.amount for tender in tenders)
    if tendered != now:
        raise placement.PaymentMismatch(now, tendered)


def surplus(paid: Sequence[payments.Payment], total: int) -> Iterator[Return]:
    """What goes back, of the newest payments first, when an order costs so much. paid: the oldest first, all settled.

    What is set aside can't be released in parts: an authorisation that is needed in part stays, and less is captured.
    """
    kept = sum(payment.captured - payment.refunded for payment in paid)
    beyond = sum(payment.capturable for payment in paid) - max(0, total - kept)
    for payment in reversed(paid):
        if 0 < payment.capturable <= beyond:
            beyond -= payment.capturable
            yield Return(payment.id, 0)
    back = kept - total
    for payment in reversed(paid):
        amount = min(payment.refundable, back)
        if amount > 0:
            back -= amount
            yield Return(payment.id, amount)


def tendered(before: Sequence[sale.Tender], paid: Sequence[payments.Payment], currency_code: str) -> list[sale.Tender]:
    """The order's tenders as its payments are now: a kind's difference is added to the first of the kind."""
    difference: dict[sale.TenderType, int] = {}
    for payment in paid:
        kind = _type(payment)
        difference[kind] = difference.get(kind, 0) + payment.authorised - payment.voided - payment.refunded
    for tender in before:
        difference[tender.type] = difference.get(tender.type, 0) - tender.amount
    after = []
    for tender in before:
        more = difference.pop(tender.type, 0)
        after.append(sale.Tender(tender.type, tender.amount + more, tender.currency_code, tender.details))
    return after + [sale.Tender(kind, more, currency_code, "") for kind, more in difference.items() if more]


def _type(payment: payments.Payment) -> sale.TenderType:
    if payment.provider is payments.Provider.OFFLINE:
        return _BY_HAND.get(payment.method, sale.TenderType.OTHER)
    return _OWN.get(payment.provider, sale.TenderType.CARD)
