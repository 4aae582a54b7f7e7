"""What is done to payments in one transaction: locks, ends of operations, the provider's books taken over, events."""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass
from typing import Any

import prometheus_client

from services.kit import audit, database, errors, ids
from services.kit import events as kit_events
from services.orders.domain import payment_exceptions as raising
from services.orders.domain import payments as domain
from services.orders.payments import events, port
from services.orders.store import payment_exceptions as exceptions
from services.orders.store import payments as store

RAISED = prometheus_client.Counter("tillmesh_payment_exceptions_raised_total", "Raised for a person.", ["kind"])
RESOLVED = prometheus_client.Counter("tillmesh_payment_exceptions_resolved_total", "Ended.", ["kind"])

ITSELF = "svc:orders"
"""Who ended an exception whose answer came after all, and who asks for what an order's placement needs."""
UNNOTED = frozenset({"method", "reference", "version"})  # a token is nobody's business, and the others follow


@dataclass(frozen=True, slots=True)
class Begun:
    """A payment with an operation on it. fresh: this call began it, so the provider can't have heard of it.

    available: as of port.Outcome.
    """

    payment: domain.Payment
    operation: domain.Operation
    fresh: bool
    available: int | None = None


class Unit:
    """What is done in one transaction. source: the person who asked for it, if one did."""

    def __init__(self, session: database.WriteSession, source: audit.Source | None = None) -> None:
        self.session = session
        self.source = source
        self.told: list[kit_events.Event] = []
        self._counted: list[Any] = []

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
            await self._end_stuck(changed, settled)
        if succeeded and (exception_id := raising.retried(settled)) is not None:
            await self.end(exception_id)
        kind = None if succeeded else raising.unheard(operation, ours=ITSELF)
        if kind is not None:
            about = settled.amount if kind is domain.ExceptionKind.NOT_GIVEN_BACK else changed.set_aside
            await self.tell(changed, kind, operation_id=settled.id, expected=about, code=code)
        self.told.append(events.payment_moved(changed, settled))
        return Begun(changed, settled, fresh=False, available=outcome.available)

    async def tell(
        self,
        payment: domain.Payment,
        kind: domain.ExceptionKind,
        *,
        operation_id: uuid.UUID | None = None,
        expected: int = 0,
        found: int = 0,
        code: str = "",
    ) -> None:
        """Something for a person, and an event of it. The same once more, while it is open, is the same."""
        about: dict[str, Any] = {"operation_id": operation_id, "expected": expected, "found": found, "code": code}
        made = await exceptions.insert(self.session, payment.id, kind, **about)
        raised = None if made is None else await exceptions.get(self.session, made)
        if raised is not None:
            self.told.append(events.exception_raised(raised))
            self._counted.append(RAISED.labels(kind.name.lower()))

    async def end(self, exception_id: uuid.UUID, *, by: str = "", note: str = "") -> None:
        """Ends an exception, by what somebody has said about it, or says now; nothing when it has ended."""
        if by:
            await exceptions.say(self.session, exception_id, by=by, note=note)
        if await exceptions.end(self.session, exception_id):
            ended = await exceptions.get(self.session, exception_id)
            assert ended is not None
            self.told.append(events.exception_resolved(ended))
            self._counted.append(RESOLVED.labels(ended.kind.name.lower()))

    async def _end_stuck(self, payment: domain.Payment, settled: domain.Operation) -> None:
        stuck = domain.ExceptionKind.OUTCOME_NEVER_KNOWN
        for raised in await exceptions.open_of(self.session, payment.id, stuck, settled.id):
            if raised.resolved_by:  # somebody has said what it was
                await self.end(raised.id)
            else:
                await self.end(raised.id, by=ITSELF, note=settled.progress.name.lower())

    def committed(self) -> None:
        """What was told has happened."""
        for counter in self._counted:
            counter.inc()

    async def adopt(self, payment: domain.Payment, books: port.Books) -> domain.Payment:
        """Takes over what only the provider knows, and tells a person."""
        changed, found = domain.adopt(payment, held=books.held, captured=books.captured, refunded=books.refunded)
        for kind in found:
            ours, theirs = _differing(kind, payment, books)
            await self.tell(payment, kind, expected=ours, found=theirs)
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
    if of_refunds:
        return payment.refunded - payment.by_hand, books.refunded
    return payment.captured, books.captured


async def found(session: store.Session, payment_id: uuid.UUID, *, lock: bool = False) -> domain.Payment:
    """A payment; locked, it is the first lock that an operation takes. NotFound."""
    payment = await store.get(session, payment_id, lock=lock)
    if payment is None:
        raise errors.NotFound("payment")
    return payment


def movement(payment: domain.Payment, operation: domain.Operation, available: int | None = None) -> port.Movement:
    """How a payment stands after one of its operations. available: as of port.Outcome."""
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
        available=available,
    )
