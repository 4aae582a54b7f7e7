"""What a marketplace owes: it took the buyers' money, and pays it out later, less its fees. Double entry."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass


class Book(enum.IntEnum):
    """Where an amount is; numbers of the contract."""

    SOLD = 1
    OWED = 2  # by the marketplace
    RETURNED = 3  # to buyers
    RECEIVED = 4  # in our bank
    FEES = 5


class EntryKind(enum.IntEnum):
    """Why an amount moved; numbers of the contract."""

    SALE = 1
    REFUND = 2
    PAYOUT = 3
    FEE = 4


MOVES = {
    EntryKind.SALE: (Book.SOLD, Book.OWED),
    EntryKind.REFUND: (Book.OWED, Book.RETURNED),
    EntryKind.PAYOUT: (Book.OWED, Book.RECEIVED),
    EntryKind.FEE: (Book.OWED, Book.FEES),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An amount above 0 that moved from one book to another. owed_after may be below 0: fees of what was given back."""

    seq: int
    kind: EntryKind
    currency_code: str
    amount: int
    owed_after: int
    order_id: uuid.UUID | None = None
    payment_id: uuid.UUID | None = None
    reference: str = ""
    actor: str = ""
    recorded_at: dt.datetime | None = None

    @property
    def books(self) -> tuple[Book, Book]:
        """From and to."""
        return MOVES[self.kind]


def owed(before: int, kind: EntryKind, amount: int) -> int:
    """What is owed after an entry."""
    source, target = MOVES[kind]
    return before + (amount if target is Book.OWED else 0) - (amount if source is Book.OWED else 0)
