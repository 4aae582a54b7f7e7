"""Use cases of what a person has to look at about payments: lists, and ways to end it."""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass

from services.kit import audit, database, errors, ids, validation
from services.orders.domain import payment_exceptions as raising
from services.orders.domain import payments as domain
from services.orders.payments import drafts, operations, port, units
from services.orders.payments.handlers import paying
from services.orders.store import payment_exceptions as store
from services.orders.store import payments


@dataclass(frozen=True, slots=True)
class Query:
    """Which exceptions. kind 0: any; after: the last one before."""

    open_: bool
    kind: int
    after: uuid.UUID | None
    limit: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says about an exception. reference: of what was settled by hand."""

    exception_id: uuid.UUID
    finding: raising.Finding
    note: str
    reference: str


class Exceptions:
    """What a person has to look at."""

    def __init__(self, db: database.Database, moves: operations.Operations) -> None:
        self._db = db
        self._operations = moves

    async def page(self, tenant: str, query: Query) -> list[raising.Raised]:
        """What waits for a person, or was ended, the oldest first."""
        async with self._db.read(tenant) as session:
            return await store.page(session, open_=query.open_, kind=query.kind, after=query.after, limit=query.limit)

    async def resolve(self, caller: paying.Caller, answer: Answer) -> raising.Raised:
        """Ends an exception; one that has ended stays as it is. NotFound; InvalidRequest; Declined (RETRY)."""
        raised = await self._get(caller.tenant, answer.exception_id)
        if raised.resolved_at is not None:
            return raised
        if answer.finding not in raised.findings:
            raise validation.invalid("finding", f"is one of {' '.join(each.name for each in raised.findings)}")
        if (answer.finding is raising.Finding.SETTLED_BY_HAND) != bool(answer.reference):
            raise validation.invalid("reference", "is for SETTLED_BY_HAND, and needed then")
        ways = {
            raising.Finding.NOTED: self._note,
            raising.Finding.HAPPENED: self._decide,
            raising.Finding.DID_NOT_HAPPEN: self._decide,
            raising.Finding.RETRY: self._retry,
            raising.Finding.SETTLED_BY_HAND: self._settle,
        }
        await ways[answer.finding](caller, raised, answer)
        return await self._get(caller.tenant, answer.exception_id)

    async def _get(self, tenant: str, exception_id: uuid.UUID) -> raising.Raised:
        async with self._db.read(tenant) as session:
            raised = await store.get(session, exception_id)
        if raised is None:
            raise errors.NotFound("payment_exception")
        return raised

    async def _note(self, caller: paying.Caller, raised: raising.Raised, answer: Answer) -> None:
        async with self._operations.unit(caller.tenant) as unit:
            await _say(unit, caller, raised, answer)
            await unit.end(raised.id)

    async def _decide(self, caller: paying.Caller, raised: raising.Raised, answer: Answer) -> None:
        """The operation ends as the person says, and the exception with it."""
        assert raised.operation_id is not None  # of this kind there is always one
        async with self._operations.unit(caller.tenant) as unit:
            await _say(unit, caller, raised, answer)
        happened = answer.finding is raising.Finding.HAPPENED
        await self._operations.decide(caller.tenant, raised.operation_id, happened=happened, source=caller.source)

    async def _retry(self, caller: paying.Caller, raised: raising.Raised, answer: Answer) -> None:
        """Looks once more, or does again what was declined; whoever else retries means the same attempt."""
        assert raised.operation_id is not None
        tenant = caller.tenant
        async with self._operations.unit(tenant) as unit:
            await _say(unit, caller, raised, answer)
            last = await payments.operation(unit.session, raised.operation_id)
        if last is not None and last.progress in domain.OPEN:
            moved = await self._operations.finish(tenant, last.id)
        else:
            moved = await self._again(caller, raised)
        async with self._operations.unit(tenant) as unit:
            await store.try_again(unit.session, raised.id, moved.operation_id)
        if moved.declined:
            raise domain.Declined(moved.declined_reason)

    async def _again(self, caller: paying.Caller, raised: raising.Raised) -> port.Movement:
        key = raising.retry_key(raised)
        if raised.kind is domain.ExceptionKind.NOT_RELEASED:
            return await self._operations.void(
                caller.tenant, raised.payment_id, key, actor=caller.who, source=caller.source
            )
        return await self._operations.refund(
            caller.tenant, raised.payment_id, raised.expected, key, actor=caller.who, source=caller.source
        )

    async def _settle(self, caller: paying.Caller, raised: raising.Raised, answer: Answer) -> None:
        """What went back another way counts as gone back: noted as an operation, without asking the provider."""
        async with self._operations.unit(caller.tenant, caller.source) as unit:
            payment = await units.found(unit.session, raised.payment_id, lock=True)
            await _say(unit, caller, raised, answer)
            refunds = raised.kind is domain.ExceptionKind.NOT_GIVEN_BACK
            kind, amount = (domain.Kind.REFUND, raised.expected) if refunds else (domain.Kind.VOID, 0)
            operation = drafts.operation(payment.id, kind, raising.by_hand_key(raised), amount, caller.who)
            if await payments.by_key(unit.session, kind, operation.key) is not None:
                return  # somebody else was faster
            begun = domain.begin(payment, operation)
            if kind is domain.Kind.VOID:
                begun = await units.settle_voided(unit, begun)
            begun = dataclasses.replace(begun, by_hand=payment.by_hand + amount)
            await payments.add_operation(unit.session, operation)
            outcome = port.Outcome(port.Status.SUCCEEDED, answer.reference, amount, "by_hand")
            await unit.settle(begun, operation, outcome)


async def _say(unit: units.Unit, caller: paying.Caller, raised: raising.Raised, answer: Answer) -> None:
    """Keeps and notes what somebody says of an exception that is open."""
    about = {"by": caller.who, "note": answer.note, "reference": answer.reference}
    if await store.say(unit.session, answer.exception_id, finding=answer.finding, **about):
        said = {"kind": raised.kind, "finding": answer.finding, "note": answer.note, "reference": answer.reference}
        entry = audit.Entry(
            action="exception_resolved",
            resource="payment",
            resource_id=ids.encode("pay", raised.payment_id),
            changes={"finding": audit.Change(None, audit.plain(said))},
        )
        await audit.append(unit.session, caller.source, [entry])
