"""Gift cards and store credit: what is owed to somebody, as a double-entry ledger. Amounts in smallest units.

Each entry takes an amount from one book to another. AVAILABLE and HELD are the liability: their sums over the entries
of an account are its balance, and no entry makes one of them negative.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass, replace

from services.kit import errors

AMOUNT_MAX = 10**12  # of one card or credit
#: What comes back to a card that has run out can be spent for so long.
REOPENED = dt.timedelta(days=90)


class AccountKind(enum.IntEnum):
    """Whose claim; numbers of the contract."""

    GIFT_CARD = 1  # of who knows the code
    STORE_CREDIT = 2  # of a customer


class AccountState(enum.IntEnum):
    """State of an account; numbers of the contract."""

    ACTIVE = 1
    VOIDED = 2
    EXPIRED = 3


class Book(enum.IntEnum):
    """Where value lies; numbers of the contract."""

    FUNDING = 1  # what was paid for it, or granted
    AVAILABLE = 2  # liability: can be spent
    HELD = 3  # liability: set aside by an authorisation
    REDEEMED = 4  # went into orders
    WRITTEN_OFF = 5  # expired or voided


class EntryKind(enum.IntEnum):
    """Why value moves; numbers of the contract."""

    ISSUE = 1
    HOLD = 2
    RELEASE = 3
    REDEEM = 4
    REFUND = 5
    EXPIRE = 6
    VOID = 7
    ADJUST = 8


class Ended(errors.Error):
    """The card was voided or has run out."""

    reason = "STORED_VALUE_ENDED"

    def __init__(self, state: AccountState) -> None:
        super().__init__(metadata={"state": state.name})


class BalanceTooLow(errors.Error):
    """The balance doesn't cover the amount."""

    reason = "STORED_VALUE_TOO_LOW"

    def __init__(self, available: int) -> None:
        super().__init__(metadata={"available": str(available)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A gift card or a customer's credit. balance = available + held. seq: of the last entry."""

    id: uuid.UUID
    kind: AccountKind
    currency_code: str
    state: AccountState = AccountState.ACTIVE
    customer_id: uuid.UUID | None = None
    balance: int = 0
    held: int = 0
    seq: int = 0
    last_four: str = ""
    expires_at: dt.datetime | None = None
    created_at: dt.datetime | None = None

    @property
    def available(self) -> int:
        """What can be spent, if the account is active."""
        return self.balance - self.held

    def state_at(self, now: dt.datetime) -> AccountState:
        """Its time may have come although nobody has written it off yet."""
        expired = self.expires_at is not None and self.expires_at <= now
        return AccountState.EXPIRED if expired and self.state is AccountState.ACTIVE else self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger, and the account as of it."""

    seq: int
    kind: EntryKind
    from_book: Book
    to_book: Book
    amount: int
    balance_after: int
    held_after: int
    payment_id: uuid.UUID | None = None
    reason: str = ""
    actor: str = ""
    recorded_at: dt.datetime | None = None


def _move(account: Account, kind: EntryKind, source: Book, target: Book, amount: int) -> tuple[Account, Entry]:
    """BalanceTooLow when the source is a liability that has less."""
    there = {Book.AVAILABLE: account.available, Book.HELD: account.held}.get(source, amount)
    if amount > there:
        raise BalanceTooLow(there)
    liability = (Book.AVAILABLE, Book.HELD)
    balance = account.balance + amount * ((target in liability) - (source in liability))
    held = account.held + amount * ((target is Book.HELD) - (source is Book.HELD))
    if balance > AMOUNT_MAX:
        raise errors.InvalidRequest(f"a balance is at most {AMOUNT_MAX}")
    moved = replace(account, balance=balance, held=held, seq=account.seq + 1)
    entry = Entry(
        seq=moved.seq,
        kind=kind,
        from_book=source,
        to_book=target,
        amount=amount,
        balance_after=balance,
        held_after=held,
    )
    return moved, entry


Moves = tuple[Account, list[Entry]]


def require_active(account: Account, now: dt.datetime) -> None:
    """Refuses an account that has ended. Ended."""
    state = account.state_at(now)
    if state is not AccountState.ACTIVE:
        raise Ended(state)


def issue(account: Account, amount: int, now: dt.datetime) -> Moves:
    """Value that was paid for or granted. Ended."""
    require_active(account, now)
    moved, entry = _move(account, EntryKind.ISSUE, Book.FUNDING, Book.AVAILABLE, amount)
    return moved, [entry]


def adjust(account: Account, delta: int, now: dt.datetime) -> Moves:
    """A correction, up or down. Ended, BalanceTooLow."""
    require_active(account, now)
    books = (Book.FUNDING, Book.AVAILABLE) if delta > 0 else (Book.AVAILABLE, Book.FUNDING)
    moved, entry = _move(account, EntryKind.ADJUST, *books, abs(delta))
    return moved, [entry]


def hold(account: Account, amount: int, now: dt.datetime) -> Moves:
    """Sets aside for an order. Ended, BalanceTooLow."""
    require_active(account, now)
    moved, entry = _move(account, EntryKind.HOLD, Book.AVAILABLE, Book.HELD, amount)
    return moved, [entry]


def redeem(account: Account, amount: int) -> Moves:
    """Takes what was set aside, whatever has become of the card since."""
    moved, entry = _move(account, EntryKind.REDEEM, Book.HELD, Book.REDEEMED, amount)
    return moved, [entry]


def release(account: Account, amount: int, now: dt.datetime) -> Moves:
    """What was set aside can be spent again; of a card that has ended since it is written off."""
    moved, entry = _move(account, EntryKind.RELEASE, Book.HELD, Book.AVAILABLE, amount)
    entries = [entry]
    if (ended := _ended_kind(account, now)) is not None:
        moved, written_off = _move(moved, ended, Book.AVAILABLE, Book.WRITTEN_OFF, amount)
        entries.append(written_off)
    return moved, entries


def _ended_kind(account: Account, now: dt.datetime) -> EntryKind | None:
    kinds = {AccountState.VOIDED: EntryKind.VOID, AccountState.EXPIRED: EntryKind.EXPIRE}
    return kinds.get(account.state_at(now))


def refund(account: Account, amount: int, now: dt.datetime) -> Moves:
    """Gives back what went into an order; a card that has run out is reopened for it. Ended (VOIDED)."""
    if account.state is AccountState.VOIDED:
        raise Ended(account.state)
    ended = _ended_kind(account, now) is not None
    # What was there before is gone, whether or not the sweeper has come by.
    moved, entries = _write_off(account, EntryKind.EXPIRE, account.available) if ended else (account, [])
    moved, entry = _move(moved, EntryKind.REFUND, Book.REDEEMED, Book.AVAILABLE, amount)
    if ended:
        moved = replace(moved, state=AccountState.ACTIVE, expires_at=now + REOPENED)
    return moved, [*entries, entry]


def void(account: Account, now: dt.datetime) -> Moves:
    """Ends a card; what is set aside stays so until its order decides. Ended."""
    require_active(account, now)
    moved, entries = _write_off(account, EntryKind.VOID, account.available)
    return replace(moved, state=AccountState.VOIDED), entries


def expire(account: Account, now: dt.datetime) -> Moves:
    """Ends an account whose time has come; otherwise nothing happens."""
    if account.state is not AccountState.ACTIVE or account.expires_at is None or account.expires_at > now:
        return account, []
    moved, entries = _write_off(account, EntryKind.EXPIRE, account.available)
    return replace(moved, state=AccountState.EXPIRED), entries


def _write_off(account: Account, kind: EntryKind, amount: int) -> Moves:
    if not amount:
        return account, []
    moved, entry = _move(account, kind, Book.AVAILABLE, Book.WRITTEN_OFF, amount)
    return moved, [entry]
