"""Use cases of gift cards and store credit: a write is one transaction, remembered by its key."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from services.kit import audit, currencies, database, errors, idempotency, ids, validation
from services.orders.customers.store import people
from services.orders.domain import stored_value as domain
from services.orders.payments import codes
from services.orders.store import stored_value as store

M = TypeVar("M", bound=Message)
Change = Callable[[domain.Account, dt.datetime], domain.Moves]
"""What becomes of an account that is locked, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Write(Generic[M]):
    """A caller's write: the key it is remembered by, how the account is answered, and who asks why."""

    key: idempotency.Key
    answer: type[M]
    render: Callable[[domain.Account], M]
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class NewCard:
    """A gift card to be issued. amount: smallest units, above zero."""

    currency_code: str
    amount: int
    expires_at: dt.datetime | None


class StoredValue:
    """Gift cards and store credit of a tenant (uuid text)."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    # --- gift cards ---

    async def issue_card(self, write: Write[M], card: NewCard) -> tuple[M, str]:
        """A new card, and its code: empty when the key was answered before. InvalidRequest."""
        _require_currency(card.currency_code, "amount.currency_code")
        code = ""

        async def issue(session: database.WriteSession) -> M:
            nonlocal code
            code, now = codes.new(), await store.now(session)
            if card.expires_at is not None and card.expires_at <= now:
                raise validation.invalid("expires_at", "is not in the future")
            draft = domain.Account(
                id=ids.new_uuid(),
                kind=domain.AccountKind.GIFT_CARD,
                currency_code=card.currency_code,
                last_four=code[-codes.GROUP :],
                expires_at=card.expires_at,
            )
            made = await store.insert(session, draft, codes.digest(write.key.tenant, code))
            if made is None:  # two codes alike: 1 in 10^24
                raise errors.Conflict
            account, entries = domain.issue(made, card.amount, now)
            return await _saved(session, write, None, account, entries)

        message = await idempotency.run(self._db, write.key, write.answer, issue)
        return message, codes.printed(code) if code else ""

    async def replace_code(self, tenant: str, source: audit.Source, card_id: uuid.UUID) -> tuple[domain.Account, str]:
        """The card with another code. NotFound; Ended."""
        code = codes.new()
        async with self._db.transaction(tenant) as session:
            card = await _card(session, card_id, lock=True)
            domain.require_active(card, await store.now(session))
            await store.set_code(session, card_id, codes.digest(tenant, code), code[-codes.GROUP :])
            changed = dataclasses.replace(card, last_four=code[-codes.GROUP :])
            await audit.append(session, source, [_noted("code_replaced", card, changed)])
        return changed, codes.printed(code)

    async def void_card(self, write: Write[M], card_id: uuid.UUID) -> M:
        """Ends a card. NotFound; Ended."""
        return await self._change(write, lambda session: _card(session, card_id, lock=True), domain.void)

    async def card(self, tenant: str, card_id: uuid.UUID) -> domain.Account:
        """A card. NotFound."""
        async with self._db.read(tenant) as session:
            return await _card(session, card_id)

    async def look_up(self, tenant: str, text: str) -> domain.Account:
        """The card whose code somebody typed. NotFound."""
        code = codes.typed(text)
        async with self._db.read(tenant) as session:  # also for what can't be a code: it takes as long
            found = await store.by_code(session, codes.digest(tenant, code or ""))
        if found is None:
            raise errors.NotFound("gift_card")
        return found

    async def cards(self, tenant: str, *, before: uuid.UUID | None, limit: int) -> list[domain.Account]:
        """Cards, the newest first."""
        async with self._db.read(tenant) as session:
            return await store.cards(session, before=before, limit=limit)

    async def card_entries(
        self, tenant: str, card_id: uuid.UUID, *, before: int | None, limit: int
    ) -> tuple[domain.Account, list[domain.Entry]]:
        """Entries of a card, the newest first. NotFound."""
        async with self._db.read(tenant) as session:
            card = await _card(session, card_id)
            return card, await store.entries(session, card_id, before=before, limit=limit)

    # --- store credit ---

    async def issue_credit(self, write: Write[M], customer_id: uuid.UUID, currency_code: str, amount: int) -> M:
        """Gives credit; the first of a currency opens the account. InvalidRequest."""
        _require_currency(currency_code, "amount.currency_code")

        async def account(session: database.WriteSession) -> domain.Account:
            owner = await people.stands_for(session, customer_id)
            found = await store.credit_of(session, owner, currency_code, lock=True)
            if found is not None:
                return found
            kind = domain.AccountKind.STORE_CREDIT
            draft = domain.Account(id=ids.new_uuid(), kind=kind, currency_code=currency_code, customer_id=owner)
            made = await store.insert(session, draft, None)
            return made or await _credit(session, owner, currency_code, lock=True)  # somebody was faster

        return await self._change(write, account, lambda found, now: domain.issue(found, amount, now))

    async def adjust_credit(self, write: Write[M], customer_id: uuid.UUID, currency_code: str, delta: int) -> M:
        """Corrects credit. NotFound; BalanceTooLow."""
        return await self._change(
            write,
            lambda session: _credit(session, customer_id, currency_code, lock=True),
            lambda found, now: domain.adjust(found, delta, now),
        )

    async def credits(self, tenant: str, customer_id: uuid.UUID, *, after: str, limit: int) -> list[domain.Account]:
        """A customer's credit, by currency."""
        async with self._db.read(tenant) as session:
            owner = await people.stands_for(session, customer_id)
            return await store.credits_of(session, owner, after=after, limit=limit)

    async def credit_entries(
        self, tenant: str, customer_id: uuid.UUID, currency_code: str, *, before: int | None, limit: int
    ) -> tuple[domain.Account, list[domain.Entry]]:
        """Entries of a customer's credit, the newest first. NotFound."""
        async with self._db.read(tenant) as session:
            credit = await _credit(session, customer_id, currency_code)
            return credit, await store.entries(session, credit.id, before=before, limit=limit)

    # --- both ---

    async def liability(self, tenant: str) -> Sequence[Any]:
        """What is owed, by kind and currency (store.liability)."""
        async with self._db.read(tenant) as session:
            return await store.liability(session)

    async def _change(
        self,
        write: Write[M],
        account: Callable[[database.WriteSession], Awaitable[domain.Account]],
        change: Change,
    ) -> M:
        async def effect(session: database.WriteSession) -> M:
            locked = await account(session)
            moved, entries = change(locked, await store.now(session))
            return await _saved(session, write, locked, moved, entries)

        return await idempotency.run(self._db, write.key, write.answer, effect)


async def _saved(
    session: database.WriteSession,
    write: Write[M],
    before: domain.Account | None,
    account: domain.Account,
    entries: Sequence[domain.Entry],
) -> M:
    await store.save(session, account, entries, reason=write.reason, actor=write.actor)
    action = "_".join(sorted({entry.kind.name.lower() for entry in entries})) or "unchanged"
    entry = _noted(action, before, account, write.reason)
    await audit.append(session, audit.by(write.key), [entry])
    return write.render(account)


def _noted(action: str, before: domain.Account | None, after: domain.Account, reason: str = "") -> audit.Entry:
    """Of a gift card by its own id, of store credit by its customer's."""
    changes = audit.changes(before, after, but={"seq"})
    if reason:
        changes["reason"] = audit.Change(None, reason)
    if after.customer_id is None:
        return audit.Entry(
            action=action, resource="gift_card", resource_id=ids.encode("gft", after.id), changes=changes
        )
    changes["currency_code"] = audit.Change(None if before is None else before.currency_code, after.currency_code)
    owner = ids.encode("cus", after.customer_id)
    return audit.Entry(action=action, resource="store_credit", resource_id=owner, changes=changes)


async def _card(
    session: database.ReadSession | database.WriteSession, card_id: uuid.UUID, *, lock: bool = False
) -> domain.Account:
    found = await store.get(session, card_id, lock=lock)
    if found is None or found.kind is not domain.AccountKind.GIFT_CARD:
        raise errors.NotFound("gift_card")
    return found


async def _credit(
    session: database.ReadSession | database.WriteSession,
    customer_id: uuid.UUID,
    currency_code: str,
    *,
    lock: bool = False,
) -> domain.Account:
    owner = await people.stands_for(session, customer_id)
    found = await store.credit_of(session, owner, currency_code, lock=lock)
    if found is None:
        raise errors.NotFound("store_credit")
    return found


def _require_currency(code: str, field: str) -> None:
    if not currencies.is_known(code):
        raise validation.invalid(field, "is not a currency of ISO 4217")
