"""What payments offer to the rest of Orders, and what they ask of a provider. Values and interfaces only.

For callers (the placement saga, rpcs): `operations.Operations` has the methods of `Payments`. Each takes a key of the
caller's: the same key again is the same operation, and answers how it stands.

For providers: every operation carries a key of its own. A provider that is asked twice with one key moves money once.
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.orders.domain import payments as domain

# --- for callers ---


class Method(enum.Enum):
    """How a customer pays."""

    CARD = "card"  # by the tenant's provider; token: what the provider calls the payment method
    GIFT_CARD = "gift_card"  # token: the account, TypeID `gft_…`, which LookUpGiftCard gives for a code
    STORE_CREDIT = "store_credit"  # token: the account, TypeID `gft_…`, of the order's customer
    MARKETPLACE = "marketplace"  # it took the money; token: the connection, TypeID `mkc_…`
    OFFLINE = "offline"  # by hand; token: `cash`, `card_terminal`… Only Operations.record takes it


@dataclass(frozen=True, slots=True)
class Tender:
    """One means of payment of an order. amount: smallest units, above zero.

    An order that is paid in parts has several. token is a reference, never a card number or a gift card's code: it may
    be kept. details: for people, e.g. the last four digits. occurred_at: None is now.
    lasts: it is taken later, so that somebody is told before its authorisation runs out.
    """

    method: Method
    token: str
    amount: int
    currency_code: str
    details: str = ""
    purpose: int = 0
    occurred_at: dt.datetime | None = None
    lasts: bool = False


@dataclass(frozen=True, slots=True)
class OrderRef:
    """The order that is paid."""

    id: uuid.UUID
    location_id: uuid.UUID | None = None
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Movement:
    """How a payment stands after a call. Amounts in smallest units.

    unknown: it is not known yet whether this call's operation has happened. It is looked up in the background;
    repeat the call with the same key, or call `look_up`, to hear of it. Never make another payment for it.
    declined: this call's operation was refused; declined_reason says why, e.g. `insufficient_funds`.
    available: what a gift card or store credit has that has too little, unless the call is a repeat.
    """

    payment_id: uuid.UUID
    operation_id: uuid.UUID
    state: domain.State
    authorised: int
    captured: int
    refunded: int
    voided: int
    declined_reason: str = ""
    unknown: bool = False
    available: int | None = None

    @property
    def declined(self) -> bool:
        return bool(self.declined_reason)


class Payments(Protocol):
    """Money movement of a tenant (uuid text). Every call may be repeated with its key, also after a crash.

    Errors of all: IDEMPOTENCY_KEY_REUSED (the key was used for another amount or payment), NOT_FOUND (payment),
    ILLEGAL_TRANSITION, PAYMENT_IN_PROGRESS (another operation has to end first), PAYMENT_AMOUNT_EXCEEDED. A provider
    that doesn't answer is no error: the answer is unknown.
    """

    async def authorise(self, tenant: str, order: OrderRef, tender: Tender, key: str) -> Movement:
        """Sets the tender's amount aside. A decline is an answer. Ask again with the key when it is unknown."""
        ...

    async def capture(
        self, tenant: str, payment_id: uuid.UUID, amount: int | None, key: str, *, final: bool = False, actor: str = ""
    ) -> Movement:
        """Takes an amount; None: all that is left. final: what is left after it is released."""
        ...

    async def void(self, tenant: str, payment_id: uuid.UUID, key: str, *, actor: str = "") -> Movement:
        """Releases what isn't captured. Also of an authorisation of unknown outcome, which then never counts."""
        ...

    async def refund(self, tenant: str, payment_id: uuid.UUID, amount: int, key: str, *, actor: str = "") -> Movement:
        """Gives back of what was captured, never more than that over all calls."""
        ...

    async def look_up(self, tenant: str, payment_id: uuid.UUID) -> Movement:
        """Asks the provider about what isn't known, and answers how the payment stands."""
        ...


# --- for providers ---


class Status(enum.Enum):
    """What a provider says of an operation."""

    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    PENDING = "pending"  # the provider is at it
    ABSENT = "absent"  # the provider has never heard of it


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer about an operation. reference: the provider's id of it; code: why it was declined.

    amount: what was authorised; of other operations what was asked for. available: what there is of too little.
    """

    status: Status
    reference: str = ""
    amount: int = 0
    code: str = ""
    available: int | None = None


class NoAnswer(Exception):
    """The provider gave no answer, or none that can be understood: the outcome is unknown."""


class Refused(Exception):
    """The provider won't have this payment: nothing has happened, and nothing will. code: why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Asked:
    """An operation as the provider knows it. reference: the payment's. amount in smallest units."""

    tenant: str
    kind: domain.Kind
    key: str
    reference: str
    amount: int
    currency_code: str
    method: str = ""
    order_id: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class Books:
    """What a provider has of a payment. outcomes: by key, of the operations that were asked for.

    held: what is still set aside and may be captured.
    """

    held: int = 0
    captured: int = 0
    refunded: int = 0
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """A provider says by itself that something about a payment has changed. reference: the payment's."""

    id: str
    tenant: str
    reference: str


class Provider(Protocol):
    """Somebody who holds money. Every method may raise NoAnswer."""

    single_capture: bool
    """Whether a payment is captured once, and the rest is released then."""

    def accepts(self, method: str) -> bool:
        """Whether a token may be a payment method of this provider."""
        ...

    def chosen_reference(self, key: str) -> str:
        """The reference of a payment whose authorisation has this key, where we may choose it; else empty."""
        ...

    async def prepare(self, asked: Asked) -> str:
        """The reference under which the payment will be known, where the provider chooses it. Moves nothing.

        It is kept before the authorisation is asked for, so that the outcome of that can always be looked up, and a
        void can forbid it. Refused.
        """
        ...

    async def perform(self, asked: Asked) -> Outcome:
        """Does an operation, once for a key. A void also forbids an authorisation that is still under way."""
        ...

    async def look_up(self, reference: str, asked: Sequence[Asked]) -> Books:
        """What has become of a payment, and of some operations on it. Reads only."""
        ...
