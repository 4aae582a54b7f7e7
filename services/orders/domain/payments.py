"""Payments: one a tender of an order, moved by operations. Amounts count the currency's smallest unit.

An operation is begun, which sets its amount aside, and settled with what the provider did. Between the two nobody else
can move the same money, so what was authorised, captured and given back stays in bounds under any concurrency:

    authorised >= captured + capturing + voided        captured >= refunded + refunding
"""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass, replace
from typing import Final

from services.kit import errors
from services.orders.domain import sale

AMOUNT_MAX = 10**15  # of Money, in the contract


class Provider(enum.IntEnum):
    """Who holds the money; numbers of the contract."""

    SIMULATED = 1
    STRIPE = 2
    OFFLINE = 3  # taken by hand: cash, a terminal of its own
    GIFT_CARD = 4
    STORE_CREDIT = 5
    MARKETPLACE = 6  # it took the money, and owes it: domain/marketplaces/ledger.py


#: Whose books are in our own database: their operations are settled in the transaction that begins them.
OWN_BOOKS = frozenset({Provider.OFFLINE, Provider.GIFT_CARD, Provider.STORE_CREDIT, Provider.MARKETPLACE})


class State(enum.IntEnum):
    """State of one payment; numbers of the contract."""

    PENDING = 1  # nothing is known of the authorisation yet
    DECLINED = 2
    AUTHORISED = 3
    PARTIALLY_CAPTURED = 4  # and more may be captured
    CAPTURED = 5
    PARTIALLY_REFUNDED = 6
    REFUNDED = 7
    VOIDED = 8


class Kind(enum.IntEnum):
    """What an operation does; numbers of the contract."""

    AUTHORISE = 1
    CAPTURE = 2
    VOID = 3
    REFUND = 4


class Progress(enum.IntEnum):
    """How far an operation is; numbers of the contract."""

    PENDING = 1  # the provider may or may not have heard of it
    SUCCEEDED = 2
    DECLINED = 3  # the provider refused, or it never happened
    UNKNOWN = 4  # asked, without an answer: it is being looked up
    STUCK = 5  # looked up in vain until the end: a person decides


class ExceptionKind(enum.IntEnum):
    """What a person has to look at; numbers of the contract."""

    OUTCOME_NEVER_KNOWN = 1  # an operation was looked up in vain until the end
    CAPTURED_AFTER_VOID = 2
    CAPTURED_ELSEWHERE = 3  # by the provider's books, not by us
    REFUNDED_ELSEWHERE = 4
    BOOKS_DIFFER = 5  # the provider's books have less than ours
    DISPUTED = 6  # the customer's bank wants it back
    REFUND_FAILED = 7  # said to be done, and then wasn't
    RELEASED_ELSEWHERE = 8  # by the provider, e.g. because the time of an authorisation ran out
    NOT_GIVEN_BACK = 9  # a refund was declined, and nobody waits for its answer
    NOT_RELEASED = 10  # a void was
    AUTHORISATION_ENDING = 11  # what is set aside can be taken for one more day only


AUTHORISATION_LASTS: Final = dt.timedelta(days=7)
"""What card schemes grant; a provider that grants less tells of it (RELEASED_ELSEWHERE)."""
WARNED_BEFORE: Final = dt.timedelta(days=1)


OPEN = frozenset({Progress.PENDING, Progress.UNKNOWN, Progress.STUCK})


class AmountExceeded(errors.Error):
    """More than there is left to capture or to give back."""

    reason = "PAYMENT_AMOUNT_EXCEEDED"

    def __init__(self, available: int) -> None:
        super().__init__(metadata={"available": str(available)})


class InProgress(errors.Error):
    """An operation on this payment is under way whose outcome decides whether this one may be."""

    reason = "PAYMENT_IN_PROGRESS"


class Declined(errors.Error):
    """The payment was declined."""

    reason = "PAYMENT_DECLINED"

    def __init__(self, code: str, available: int | None = None) -> None:
        """available: what there is, of a gift card or store credit that has too little; in smallest units."""
        there = {} if available is None else {"available": str(available)}
        super().__init__(metadata={"code": code, **there})


class IllegalTransition(errors.Error):
    """A payment in this state can't do that."""

    reason = "ILLEGAL_TRANSITION"

    def __init__(self, state: State, to: str, allowed: str) -> None:
        super().__init__(metadata={"from": state.name, "to": to, "allowed": allowed})


class NotPayable(errors.Error):
    """An order in this state can't be paid."""

    reason = "ILLEGAL_TRANSITION"

    def __init__(self, state: sale.OrderState) -> None:
        super().__init__(metadata={"from": state.name, "to": "PAID", "allowed": ""})


class CurrencyMismatch(errors.Error):
    """The amount's currency is not the payment's or the order's."""

    reason = "CURRENCY_MISMATCH"

    def __init__(self, expected: str) -> None:
        super().__init__(metadata={"expected": expected})


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One tender of an order. method: a reference of the provider's (a token, an account), never a card number.

    reference: what the provider calls the payment; empty until it is known. version: counts what was settled.
    by_hand: of refunded, what the provider knows nothing of. expires_at: of an authorisation that is to last.
    single_capture: the provider captures once, and what isn't captured then is released.
    """

    id: uuid.UUID
    order_id: uuid.UUID
    provider: Provider
    method: str
    currency_code: str
    amount: int
    state: State = State.PENDING
    authorised: int = 0
    captured: int = 0
    refunded: int = 0
    voided: int = 0
    capturing: int = 0
    refunding: int = 0
    by_hand: int = 0
    voiding: bool = False
    single_capture: bool = False
    declined_reason: str = ""
    reference: str = ""
    details: str = ""
    purpose: int = 0
    location_id: uuid.UUID | None = None
    actor: str = ""
    occurred_at: dt.datetime | None = None
    created_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    version: int = 0

    @property
    def set_aside(self) -> int:
        """What is neither taken nor released of what was authorised."""
        return self.authorised - self.captured - self.voided

    @property
    def unsettled(self) -> bool:
        """Whether an operation is under way, or its outcome isn't known."""
        return bool(self.state is State.PENDING or self.voiding or self.capturing or self.refunding)

    @property
    def capturable(self) -> int:
        """What may still be captured by a call that comes now."""
        if self.voiding or (self.single_capture and (self.captured or self.capturing)):
            return 0
        return self.authorised - self.captured - self.capturing - self.voided

    @property
    def refundable(self) -> int:
        """What may still be given back by a call that comes now."""
        return self.captured - self.refunded - self.refunding


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One attempt to move money. id: the idempotency key at the provider. key: the caller's, unique with kind.

    final: of a capture: what is not captured is released.
    """

    id: uuid.UUID
    payment_id: uuid.UUID
    kind: Kind
    key: str
    amount: int
    progress: Progress = Progress.PENDING
    final: bool = False
    reference: str = ""
    code: str = ""
    attempts: int = 0
    actor: str = ""
    created_at: dt.datetime | None = None
    settled_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """What is left to pay of an order, in its currency. busy: somebody is at it, e.g. cancels it.

    untaken: what of its total is neither taken nor being taken; it may be set aside, and more than it costs may be.
    """

    state: sale.OrderState
    currency_code: str
    left: int
    busy: bool = False
    untaken: int = 0

    def take(self, amount: int, currency_code: str) -> None:
        """Refuses a payment that the order can't take. NotPayable, InProgress, CurrencyMismatch, AmountExceeded."""
        if self.state not in (sale.OrderState.PLACED, sale.OrderState.COMPLETED):
            raise NotPayable(self.state)
        if self.busy:
            raise InProgress
        if currency_code != self.currency_code:
            raise CurrencyMismatch(self.currency_code)
        if amount > self.left:
            raise AmountExceeded(max(0, self.left))

    def collect(self, amount: int) -> None:
        """Refuses to take what the order doesn't cost, whatever is set aside for it. InProgress, AmountExceeded."""
        if self.busy:
            raise InProgress
        if amount > self.untaken:
            raise AmountExceeded(max(0, self.untaken))


def begin(payment: Payment, operation: Operation) -> Payment:
    """The payment with the operation's amount set aside. IllegalTransition, AmountExceeded, InProgress."""
    match operation.kind:
        case Kind.CAPTURE:
            return _begin_capture(payment, operation)
        case Kind.VOID:
            return _begin_void(payment)
        case Kind.REFUND:
            return _begin_refund(payment, operation)
    return payment


def _begin_capture(payment: Payment, operation: Operation) -> Payment:
    if payment.voiding or (payment.state is State.PENDING):
        raise InProgress
    if payment.single_capture and payment.capturing:
        raise InProgress
    if not payment.authorised or payment.authorised == payment.voided:
        raise IllegalTransition(payment.state, State.CAPTURED.name, _allowed(payment))
    if not 0 < operation.amount <= payment.capturable:
        raise AmountExceeded(payment.capturable)
    return replace(payment, capturing=payment.capturing + operation.amount)


def _begin_void(payment: Payment) -> Payment:
    """An authorisation whose outcome isn't known may be voided too: it then never counts, whatever it was."""
    if payment.capturing or payment.voiding:
        raise InProgress
    if payment.state is not State.PENDING and not payment.capturable:
        raise IllegalTransition(payment.state, State.VOIDED.name, _allowed(payment))
    return replace(payment, voiding=True)


def _begin_refund(payment: Payment, operation: Operation) -> Payment:
    if not payment.captured:
        if payment.capturing:
            raise InProgress
        raise IllegalTransition(payment.state, State.REFUNDED.name, _allowed(payment))
    if not 0 < operation.amount <= payment.refundable:
        raise AmountExceeded(payment.refundable)
    return replace(payment, refunding=payment.refunding + operation.amount)


def _allowed(payment: Payment) -> str:
    """Where the state may go by a call of now, for the error."""
    allowed = []
    if payment.capturable:
        allowed += [State.CAPTURED.name, State.VOIDED.name]
    if payment.refundable:
        allowed.append(State.REFUNDED.name)
    return " ".join(allowed)


def settle(payment: Payment, operation: Operation, *, amount: int, code: str = "") -> Payment:
    """The payment after the end of an operation that was begun. operation.progress says which end.

    amount: what was authorised, or released by a void; a capture and a refund move what they asked for.
    """
    succeeded = operation.progress is Progress.SUCCEEDED
    changed = payment
    match operation.kind:
        case Kind.AUTHORISE if succeeded:
            changed = replace(payment, authorised=amount)
        case Kind.AUTHORISE:
            changed = replace(payment, declined_reason=code or "declined")
        case Kind.CAPTURE:
            changed = _settle_capture(payment, operation, succeeded=succeeded)
        case Kind.VOID:
            released = payment.authorised - payment.captured - payment.capturing - payment.voided if succeeded else 0
            changed = replace(payment, voiding=False, voided=payment.voided + released)
        case Kind.REFUND:
            refunded = payment.refunded + (operation.amount if succeeded else 0)
            changed = replace(payment, refunding=payment.refunding - operation.amount, refunded=refunded)
    void = succeeded and operation.kind is Kind.VOID
    return replace(changed, state=_state(changed, void=void), version=payment.version + 1)


def _settle_capture(payment: Payment, operation: Operation, *, succeeded: bool) -> Payment:
    capturing = payment.capturing - operation.amount
    if not succeeded:
        return replace(payment, capturing=capturing)
    captured = payment.captured + operation.amount
    ends = operation.final or payment.single_capture
    voided = payment.authorised - captured - capturing if ends else payment.voided
    return replace(payment, capturing=capturing, captured=captured, voided=voided)


def _state(payment: Payment, *, void: bool = False) -> State:
    if payment.refunded:
        return State.REFUNDED if payment.refunded == payment.captured else State.PARTIALLY_REFUNDED
    if payment.captured:
        whole = payment.captured + payment.voided == payment.authorised
        return State.CAPTURED if whole else State.PARTIALLY_CAPTURED
    if void or payment.state is State.VOIDED:
        return State.VOIDED
    if payment.authorised:
        return State.VOIDED if payment.voided == payment.authorised else State.AUTHORISED
    return State.DECLINED if payment.declined_reason else State.PENDING


def adopt(payment: Payment, *, held: int, captured: int, refunded: int) -> tuple[Payment, list[ExceptionKind]]:
    """The payment with what the provider's books have beyond ours, and what a person should look at.

    held: what may still be captured by the provider's books.

    Only while no operation is open. Money that the provider has moved has moved: it is taken over, so that it can be
    given back, and told. Money that we believe in and the provider doesn't is told only; what was given back by hand is
    not in its books.
    """
    changed, told = payment, []
    if captured > payment.captured:
        gone = payment.state is State.VOIDED
        authorised = max(payment.authorised, captured)
        changed = replace(changed, captured=captured, authorised=authorised)
        changed = replace(changed, voided=min(payment.voided, authorised - captured))
        told.append(ExceptionKind.CAPTURED_AFTER_VOID if gone else ExceptionKind.CAPTURED_ELSEWHERE)
    if refunded > payment.refunded - payment.by_hand:
        changed = replace(changed, refunded=min(refunded + payment.by_hand, changed.captured))
        told.append(ExceptionKind.REFUNDED_ELSEWHERE)
    if captured >= payment.captured and held < changed.authorised - changed.captured - changed.voided:
        changed = replace(changed, voided=changed.authorised - changed.captured - held)
        if not told:  # else it was released by what is told already
            told.append(ExceptionKind.RELEASED_ELSEWHERE)
    if captured < payment.captured or refunded < payment.refunded - payment.by_hand:
        told.append(ExceptionKind.BOOKS_DIFFER)
    if changed != payment:
        changed = replace(changed, state=_state(changed), version=payment.version + 1)
    return changed, told
