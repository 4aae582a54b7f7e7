"""What a person has to look at about payments, what may be said about it, and what ends it. Values in, values out."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.orders.domain.payments import ExceptionKind, Kind, Operation, Progress


class Finding(enum.IntEnum):
    """What a person says about an exception; numbers of the contract."""

    NOTED = 1
    HAPPENED = 2
    DID_NOT_HAPPEN = 3
    RETRY = 4
    SETTLED_BY_HAND = 5


_DECLINED: Final = (Finding.RETRY, Finding.SETTLED_BY_HAND, Finding.NOTED)
_FINDINGS: Final[Mapping[ExceptionKind, tuple[Finding, ...]]] = {
    ExceptionKind.OUTCOME_NEVER_KNOWN: (Finding.HAPPENED, Finding.DID_NOT_HAPPEN, Finding.RETRY),
    ExceptionKind.NOT_GIVEN_BACK: _DECLINED,
    ExceptionKind.NOT_RELEASED: _DECLINED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """Something for a person to look at. expected and found: by our books and by the provider's.

    operation_id: of what was declined, the last attempt; code: why. finding: what ended it; 0: nobody's.
    """

    id: uuid.UUID
    payment_id: uuid.UUID
    order_id: uuid.UUID
    operation_id: uuid.UUID | None
    kind: ExceptionKind
    currency_code: str
    expected: int
    found: int
    raised_at: dt.datetime
    resolved_at: dt.datetime | None
    resolved_by: str
    note: str
    code: str
    finding: int
    reference: str

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What may be said about it now."""
        return () if self.resolved_at is not None else _FINDINGS.get(self.kind, (Finding.NOTED,))


RETRIED: Final = "pex"
"""What the keys of operations begin with that end an exception."""


def retry_key(raised: Raised) -> str:
    """The key of the next attempt: of one attempt, however often it is asked for."""
    return f"{RETRIED}:{raised.id}:{raised.operation_id}"


def by_hand_key(raised: Raised) -> str:
    """The key of the operation that notes what was done by hand."""
    return f"{RETRIED}:{raised.id}:by_hand"


def retried(operation: Operation) -> uuid.UUID | None:
    """The exception that an operation is to end; None: it is one of the usual."""
    head, _, rest = operation.key.partition(":")
    return uuid.UUID(rest.partition(":")[0]) if head == RETRIED else None


def unheard(operation: Operation, *, ours: str) -> ExceptionKind | None:
    """What a person has to hear of an operation that is declined now, when no caller does. ours: who acts for nobody.

    Only of what gives money back: of what takes it, whoever wanted it taken looks.
    """
    kinds = {Kind.REFUND: ExceptionKind.NOT_GIVEN_BACK, Kind.VOID: ExceptionKind.NOT_RELEASED}
    waited_for = operation.progress is Progress.PENDING and operation.actor != ours
    return None if waited_for or retried(operation) is not None else kinds.get(operation.kind)
