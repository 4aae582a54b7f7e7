"""Store credit of customers that become one."""

from __future__ import annotations

import datetime as dt
import uuid

from services.kit import database
from services.orders.domain import stored_value as domain
from services.orders.store import stored_value as store

CURRENCIES_MAX = 300  # more than there are
REASON = "customers were merged"


def _has_ended(account: domain.Account, now: dt.datetime) -> bool:
    return account.state_at(now) is not domain.AccountState.ACTIVE


async def join(session: database.WriteSession, source: uuid.UUID, target: uuid.UUID, actor: str) -> None:
    """The source's credit is the target's from now on, in the caller's transaction, which has locked both customers.

    An account changes hands as it is, its entries included. Where the target has one of that currency already, what can
    be spent is moved; what orders have set aside stays with the source's account and can be spent by the target's.
    """
    await store.hand_over(session, source, target)
    for left in await store.credits_of(session, source, limit=CURRENCIES_MAX):
        for owner in sorted((source, target)):  # one order of locks
            await store.credit_of(session, owner, left.currency_code, lock=True)
        own = await store.credit_of(session, source, left.currency_code)
        theirs = await store.credit_of(session, target, left.currency_code)
        now = await store.now(session)
        if own is None or theirs is None or not own.available or _has_ended(own, now) or _has_ended(theirs, now):
            continue
        for account, delta in ((own, -own.available), (theirs, own.available)):
            moved, entries = domain.adjust(account, delta, now)
            await store.save(session, moved, entries, reason=REASON, actor=actor)
