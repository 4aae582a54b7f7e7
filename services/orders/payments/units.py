"""What is done to payments in one transaction: locks, ends of operations, the provider's books taken over, events."""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass

from services.kit import audit, database, errors, ids
from services.kit import events as kit_events
from services.orders.domain import payments as domain
from services.orders.payments import events, port
from services.orders.store import payments as store

ITSELF = "svc:orders"
"""Who ended an exception whose answer came after all, and who asks for what an order's placement needs."""
UNNOTED = frozenset({"method", "reference", "version"})  # a token is nobody's business, and the others follow


@dataclass(frozen=True, slots=True)
class Begun:
    """A payment with an operation on it. fresh: this call began it, so the provider can't have heard of it."""

    payment: domain.Payment
    operation: domain.Operation
    fresh: bool


class Unit:
    """What is done in one transaction. source: the person who asked for it, if one did."""

    def __init__(self, session: database.WriteSession, source: audit.Source | None = None) -> None:
        self.session = session
        self.source = source
        self.told: list[kit_events.Event] = []

    async def note(
        self, what: str, operation: domain.Operation, before: domain.Payment | None, after: domain.Payment
    ) -> None:
        """Notes in the audit log what a person asked for, and what came of it: `refund_begun`, `refund_succeeded`."""
        by_itself = operation.actor in ("", ITSELF) or operation.kind is domain.Kind.AUTHORISE
        if self.source is None and by_itself:
            return
        changes = audit.changes(before, after, but=UNNOTED)
        about = {"id": operation.id, "amount": operation.amount, "final": operation.final}
        entry = audit.Entry(
            action=f"{operation.kind.name.lower()}_{what}",
            resource="payment",
            resource_id=ids.encode("pay", after.id),
            changes={**changes, "operation": audit.Change(None, audit.plain(about))},
        )
        await audit.append(self.session, self.source or audit.Source(actor=operation.actor, method=""), [entry])

    async def locked(self, operation_id: uuid.UUID) -> tuple[domain.Payment, domain.Operation]:
        """An operation and its payment, locked. NotFound."""
        operation = await store.operation(self.session, operation_id)
        if operation is None:
            raise errors.NotFound("payment_operation")
        payment = await found(self.session, operation.payment_id, lock=True)
        current = await store.operation(self.session, operation_id)  # it may have changed before we had the lock
        return payment, current or operation

    async def settle(self, payment: domain.Payment, operation: domain.Operation, outcome: port.Outcome) -> Begun:
        """An operation that is open gets its end."""
        succeeded = outcome.status is port.Status.SUCCEEDED
        progress = domain.Progress.SUCCEEDED if succeeded else domain.Progress.DECLINED
        code = outcome.code if succeeded else outcome.code or "declined"
        settled = dataclasses.replace(operation, progress=progress, reference=outcome.reference, code=code)
        changed = domain.settle(payment, settled, amount=outcome.amount, code=code)
        await self.note(progress.name.lower(), settled, payment, changed)
        await store.save_operation(self.session, settled)
        await store.save(self.session, changed)
        if operation.progress is domain.Progress.STUCK:  # nobody has to be asked any more
            await store.resolve_stuck(self.session, operation.id, by=ITSELF, note=settled.progress.name.lower())
        self.told.append(events.payment_moved(changed, settled))
        return Begun(changed, settled, fresh=False)

    async def adopt(self, payment: domain.Payment, books: port.Books) -> domain.Payment:
        """Takes over what only the provider knows, and tells a person."""
        changed, found = domain.adopt(payment, held=books.held, captured=books.captured, refunded=books.refunded)
        for kind in found:
            ours, theirs = _differing(kind, payment, books)
            await store.raise_exception(self.session, payment.id, kind, expected=ours, found=theirs)
        if changed != payment:
            await store.save(self.session, changed)
            self.told.append(events.payment_moved(changed, None))
        return changed


async def settle_voided(unit: Unit, payment: domain.Payment) -> domain.Payment:
    """The authorisation that was still open when it was voided: it can't happen any more."""
    for operation in await store.open_operations(unit.session, payment.id):
        if operation.kind is domain.Kind.AUTHORISE:
            outcome = port.Outcome(port.Status.DECLINED, code="voided")
            payment = (await unit.settle(payment, operation, outcome)).payment
    return payment


def _differing(kind: domain.ExceptionKind, payment: domain.Payment, books: port.Books) -> tuple[int, int]:
    """What a difference is about: our amount and the provider's."""
    if kind is domain.ExceptionKind.RELEASED_ELSEWHERE:
        return payment.authorised - payment.captured - payment.voided, books.held
    of_refunds = kind is domain.ExceptionKind.REFUNDED_ELSEWHERE or payment.captured == books.captured
    return (payment.refunded, books.refunded) if of_refunds else (payment.captured, books.captured)


async def found(session: store.Session, payment_id: uuid.UUID, *, lock: bool = False) -> domain.Payment:
    """A payment; locked, it is the first lock that an operation takes. NotFound."""
    payment = await store.get(session, payment_id, lock=lock)
    if payment is None:
        raise errors.NotFound("payment")
    return payment


def movement(payment: domain.Payment, operation: domain.Operation) -> port.Movement:
    """How a payment stands after one of its operations."""
    declined = operation.progress is domain.Progress.DECLINED
    return port.Movement(
        payment_id=payment.id,
        operation_id=operation.id,
        state=payment.state,
        authorised=payment.authorised,
        captured=payment.captured,
        refunded=payment.refunded,
        voided=payment.voided,
        declined_reason=operation.code or "declined" if declined else "",
        unknown=operation.progress in domain.OPEN,
    )
