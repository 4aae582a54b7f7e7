"""Payments whose books are ours: gift cards, store credit, what was taken by hand, and what marketplaces took.

In the caller's transaction.
"""

from __future__ import annotations

import uuid

from services.kit import database, ids
from services.orders.customers.store import people
from services.orders.domain import payments as domain
from services.orders.domain import stored_value
from services.orders.domain.marketplaces import ledger
from services.orders.payments import port
from services.orders.store import payments
from services.orders.store import stored_value as store
from services.orders.store.marketplaces import ledger as marketplaces

KINDS = {
    domain.Provider.GIFT_CARD: stored_value.AccountKind.GIFT_CARD,
    domain.Provider.STORE_CREDIT: stored_value.AccountKind.STORE_CREDIT,
}


TAKEN_ELSEWHERE = frozenset({domain.Provider.OFFLINE, domain.Provider.MARKETPLACE})
OWED = {domain.Kind.CAPTURE: ledger.EntryKind.SALE, domain.Kind.REFUND: ledger.EntryKind.REFUND}


def _declined(code: str) -> port.Outcome:
    return port.Outcome(port.Status.DECLINED, code=code)


async def _may_spend(session: database.WriteSession, owner: uuid.UUID | None, order_id: uuid.UUID) -> bool:
    """Whether an account is nobody's or that of the order's customer, under whichever id of theirs."""
    if owner is None:
        return True
    buyer = await payments.customer_of(session, order_id)
    return buyer is not None and await people.stands_for(session, owner) == await people.stands_for(session, buyer)


async def authorise(session: database.WriteSession, payment: domain.Payment) -> port.Outcome:
    """Sets an amount aside in the account that the payment's method names."""
    if payment.provider in TAKEN_ELSEWHERE:
        return port.Outcome(port.Status.SUCCEEDED, amount=payment.amount)
    account = await _account(session, payment)
    if account is None or account.kind is not KINDS[payment.provider]:
        return _declined("unknown_account")
    if not await _may_spend(session, account.customer_id, payment.order_id):
        return _declined("not_the_customers")  # an id that leaked is worth nothing to others
    if account.currency_code != payment.currency_code:
        return _declined("currency_mismatch")
    try:
        moved, entries = stored_value.hold(account, payment.amount, await store.now(session))
    except stored_value.Ended:
        return _declined("account_ended")
    except stored_value.BalanceTooLow:
        return port.Outcome(port.Status.DECLINED, code="insufficient_funds", available=account.available)
    await store.save(session, moved, entries, payment_id=payment.id, actor=payment.actor)
    return port.Outcome(port.Status.SUCCEEDED, amount=payment.amount)


async def move(session: database.WriteSession, payment: domain.Payment, operation: domain.Operation) -> port.Outcome:
    """Captures, releases or gives back. payment: with the operation's amount set aside."""
    done = port.Outcome(port.Status.SUCCEEDED, amount=operation.amount)
    if payment.provider is domain.Provider.MARKETPLACE:
        await _note_owed(session, payment, operation)
    account = None if payment.provider in TAKEN_ELSEWHERE else await _account(session, payment)
    if account is None:
        return done
    now = await store.now(session)
    rest = payment.authorised - payment.captured - payment.capturing - payment.voided
    entries: list[stored_value.Entry] = []
    if operation.kind is domain.Kind.CAPTURE:
        account, entries = stored_value.redeem(account, operation.amount)
    if rest and (operation.kind is domain.Kind.VOID or operation.final):
        account, released = stored_value.release(account, rest, now)
        entries = [*entries, *released]
    if operation.kind is domain.Kind.REFUND:
        try:
            account, entries = stored_value.refund(account, operation.amount, now)
        except stored_value.Ended:
            return _declined("account_ended")
    await store.save(session, account, entries, payment_id=payment.id, actor=operation.actor)
    return done


async def _note_owed(session: database.WriteSession, payment: domain.Payment, operation: domain.Operation) -> None:
    """A marketplace owes what is captured of it, and what is given back it gives back itself."""
    kind = OWED.get(operation.kind)
    if kind is not None:
        await marketplaces.post(
            session,
            ids.decode("mkc", payment.method),
            kind,
            payment.currency_code,
            operation.amount,
            order_id=payment.order_id,
            payment_id=payment.id,
            reference="",
            actor=operation.actor,
        )


async def _account(session: database.WriteSession, payment: domain.Payment) -> stored_value.Account | None:
    try:
        account_id = ids.decode("gft", payment.method)
    except ValueError:
        return None
    return await store.get(session, account_id, lock=True)
