"""Moves money: each operation once, whoever is killed, whatever the provider answers or doesn't.

An operation is begun in a first transaction, which keeps it under its key and sets its amount aside; then the provider
is asked, with the operation's id as the key; a second transaction settles it. A process that ends in between leaves an
operation that is looked up, by the next call with its key or by the resumer (resuming.py), and asked for again, with
the same key, only when the provider has never heard of it. Gift cards and store credit have their books in our own
database: those operations are settled in the transaction that begins them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import structlog

from services.kit import audit, database, deadline, errors, ids, outbox
from services.orders.domain import payments as domain
from services.orders.payments import drafts, ledgers, port, units
from services.orders.payments.providers import registry
from services.orders.store import payments as store

log = structlog.get_logger()
T = TypeVar("T")

ANSWER_SECONDS: Final = 10.0
"""A provider is waited for so long; less than store.DUE_SECONDS, so that nobody else looks while we wait."""
FIRST_LOOK_SECONDS: Final = 3.0
Heard = Callable[[str, str], None]
"""Called after a commit with (tenant TypeID, key of an event)."""
Guard = Callable[[database.WriteSession], Awaitable[None]]
"""Refuses a new payment, or a movement, in the transaction that begins it; a repeat isn't asked about again."""
Work = Callable[[units.Unit], Awaitable[T]]


class _OwnBooks(Exception):
    """The payment's books are ours: its account is locked as well, which others may have locked in the same group."""


class Operations:
    """Money movement (port.Payments)."""

    def __init__(self, db: database.Database, providers: registry.Registry, heard: Heard = lambda _t, _k: None) -> None:
        self._db = db
        self._providers = providers
        self._heard = heard

    # --- what callers ask for ---

    async def authorise(
        self, tenant: str, order: port.OrderRef, tender: port.Tender, key: str, *, guard: Guard | None = None
    ) -> port.Movement:
        """See port.Payments. guard: see Guard."""

        async def work(unit: units.Unit) -> units.Begun:
            return await self._begin_authorisation(unit, tenant, order, tender, key, guard)

        shares = tender.method is port.Method.CARD and guard is None  # else rows are locked that others have as well
        begun = await (self._together(tenant, order.id, work) if shares else self._apart(tenant, work))
        return await self._end(tenant, begun)

    async def record(
        self,
        tenant: str,
        order: port.OrderRef,
        tender: port.Tender,
        key: str,
        *,
        guard: Guard,
        source: audit.Source | None = None,
    ) -> port.Movement:
        """A payment that was made by hand (Method.OFFLINE): captured in the transaction that knows of it first."""
        async with self.unit(tenant, source) as unit:
            begun = await self._begin_authorisation(unit, tenant, order, tender, key, guard)
            if not begun.payment.captured:
                wanted = drafts.operation(
                    begun.payment.id, domain.Kind.CAPTURE, begun.operation.key, tender.amount, order.actor
                )
                begun = await self._begin_move(unit, begun.payment, wanted, everything=False)
        return units.movement(begun.payment, begun.operation)

    async def capture(
        self,
        tenant: str,
        payment_id: uuid.UUID,
        amount: int | None,
        key: str,
        *,
        final: bool = False,
        actor: str = "",
        source: audit.Source | None = None,
        guard: Guard | None = None,
    ) -> port.Movement:
        """See port.Payments. guard: see Guard; it is asked before the payment is locked."""
        wanted = drafts.operation(payment_id, domain.Kind.CAPTURE, key, amount or 0, actor)
        wanted = dataclasses.replace(wanted, final=final)
        return await self._move(tenant, wanted, source, everything=amount is None, guard=guard)

    async def void(
        self, tenant: str, payment_id: uuid.UUID, key: str, *, actor: str = "", source: audit.Source | None = None
    ) -> port.Movement:
        """See port.Payments."""
        return await self._move(tenant, drafts.operation(payment_id, domain.Kind.VOID, key, 0, actor), source)

    async def refund(
        self,
        tenant: str,
        payment_id: uuid.UUID,
        amount: int,
        key: str,
        *,
        actor: str = "",
        source: audit.Source | None = None,
    ) -> port.Movement:
        """See port.Payments."""
        return await self._move(tenant, drafts.operation(payment_id, domain.Kind.REFUND, key, amount, actor), source)

    async def look_up(self, tenant: str, payment_id: uuid.UUID) -> port.Movement:
        """See port.Payments."""
        async with self._db.read(tenant) as session:
            pending = await store.open_operations(session, payment_id)
        for operation in pending:
            await self.finish(tenant, operation.id)
        async with self._db.read(tenant) as session:
            payment = await units.found(session, payment_id)
            last = await store.last_operation(session, payment_id)
        return units.movement(payment, last)

    # --- what is left over, and what providers say ---

    async def finish(self, tenant: str, operation_id: uuid.UUID) -> port.Movement:
        """Looks an operation up that was left open, and does it if the provider has never heard of it."""
        async with self._db.read(tenant) as session:
            operation = await store.operation(session, operation_id)
            if operation is None:
                raise errors.NotFound("payment_operation")
            payment = await units.found(session, operation.payment_id)
        return await self._end(tenant, units.Begun(payment, operation, fresh=False))

    async def give_up(self, tenant: str, operation_id: uuid.UUID) -> None:
        """Nobody could say what became of an operation: a person has to. Its amount stays set aside."""
        async with self.unit(tenant) as unit:
            payment, operation = await unit.locked(operation_id)
            if operation.progress is not domain.Progress.STUCK and operation.progress in domain.OPEN:
                stuck = dataclasses.replace(operation, progress=domain.Progress.STUCK)
                await store.save_operation(unit.session, stuck)
                kind = domain.ExceptionKind.OUTCOME_NEVER_KNOWN
                await unit.tell(payment, kind, operation_id=operation.id, expected=operation.amount)
                log.warning("payment.stuck", payment=str(payment.id), operation=str(operation.id))

    async def decide(
        self, tenant: str, operation_id: uuid.UUID, *, happened: bool, source: audit.Source | None = None
    ) -> None:
        """What a person found out about an operation that is stuck; about another nothing is to be decided."""
        status = port.Status.SUCCEEDED if happened else port.Status.DECLINED
        async with self.unit(tenant, source) as unit:
            payment, operation = await unit.locked(operation_id)
            if operation.progress is domain.Progress.STUCK:
                outcome = port.Outcome(status, amount=operation.amount, code="by_hand")
                await self._settle_open(unit, payment, operation, outcome)

    async def reconcile(self, tenant: str, provider: domain.Provider, reference: str) -> domain.Payment | None:
        """The provider says that a payment has changed: its books are read, whatever it said. None: not ours.

        Twice, late and out of order are all the same: what counts is what the books say now.
        """
        async with self._db.read(tenant) as session:
            payment = await store.by_reference(session, provider, reference)
        if payment is None:
            return None
        await self.look_up(tenant, payment.id)
        async with self._db.read(tenant) as session:
            if await store.open_operations(session, payment.id):
                return payment  # somebody is at it; what comes of that is settled by who is
            payment = await units.found(session, payment.id)
        asked_for = payment.version
        books = await self._providers.of(tenant, provider).look_up(reference, [])
        async with self.unit(tenant) as unit:
            payment = await units.found(unit.session, payment.id, lock=True)
            if payment.version == asked_for and not await store.open_operations(unit.session, payment.id):
                payment = await unit.adopt(payment, books)
        return payment

    async def tell(self, tenant: str, payment: domain.Payment, kind: domain.ExceptionKind, amount: int) -> None:
        """Something that the provider says of a payment, for a person. amount: in smallest units."""
        async with self.unit(tenant) as unit:
            await unit.tell(payment, kind, found=amount)

    # --- how an operation begins ---

    async def _begin_authorisation(
        self, unit: units.Unit, tenant: str, order: port.OrderRef, tender: port.Tender, key: str, guard: Guard | None
    ) -> units.Begun:
        operation = drafts.authorisation(order, tender, key)
        if not await store.add_operation(unit.session, operation):  # first, so that a repeat waits for us here
            return await _earlier(unit.session, operation.key, order, tender)
        payment = drafts.payment(tenant, order, tender, operation, self._providers)
        if guard is not None:
            await guard(unit.session)
        await store.insert(unit.session, payment, lasts=tender.lasts and payment.provider not in domain.OWN_BOOKS)
        if payment.provider not in domain.OWN_BOOKS:
            return units.Begun(payment, operation, fresh=True)
        outcome = await ledgers.authorise(unit.session, payment)
        return await unit.settle(payment, operation, outcome)

    async def _move(
        self,
        tenant: str,
        wanted: domain.Operation,
        source: audit.Source | None,
        *,
        everything: bool = False,
        guard: Guard | None = None,
    ) -> port.Movement:
        def begin(*, shared: bool) -> Work[units.Begun]:
            async def work(unit: units.Unit) -> units.Begun:
                if guard is not None and await store.by_key(unit.session, wanted.kind, wanted.key) is None:
                    await guard(unit.session)
                payment = await units.found(unit.session, wanted.payment_id, lock=True)
                if shared and payment.provider in domain.OWN_BOOKS:
                    raise _OwnBooks
                return await self._begin_move(unit, payment, wanted, everything=everything)

            return work

        if guard is not None:  # it locks the order, besides
            return await self._end(tenant, await self._apart(tenant, begin(shared=False), source), source)
        try:
            begun = await self._together(tenant, wanted.payment_id, begin(shared=True), source)
        except _OwnBooks:
            begun = await self._apart(tenant, begin(shared=False), source)
        return await self._end(tenant, begun, source)

    async def _begin_move(
        self, unit: units.Unit, payment: domain.Payment, wanted: domain.Operation, *, everything: bool
    ) -> units.Begun:
        earlier = await store.by_key(unit.session, wanted.kind, wanted.key)
        if earlier is not None:
            amount = earlier.amount if everything or wanted.kind is domain.Kind.VOID else wanted.amount
            if (earlier.payment_id, earlier.amount, earlier.final) != (payment.id, amount, wanted.final):
                raise errors.IdempotencyKeyReused
            return units.Begun(payment, earlier, fresh=False)
        if everything:
            wanted = dataclasses.replace(wanted, amount=payment.capturable)
        set_aside = domain.begin(payment, wanted)
        await store.save(unit.session, set_aside)
        if not await store.add_operation(unit.session, wanted):  # on another payment, just now
            raise errors.IdempotencyKeyReused
        await unit.note("begun", wanted, payment, set_aside)
        if payment.provider not in domain.OWN_BOOKS:
            return units.Begun(set_aside, wanted, fresh=True)
        outcome = await ledgers.move(unit.session, set_aside, wanted)
        return await unit.settle(set_aside, wanted, outcome)

    # --- how it ends ---

    async def _end(self, tenant: str, begun: units.Begun, source: audit.Source | None = None) -> port.Movement:
        """Brings an operation to its end, or says that it isn't known. source: the person who waits for it."""
        if begun.operation.progress not in domain.OPEN:
            return units.movement(begun.payment, begun.operation, begun.available)
        try:
            async with asyncio.timeout(_patience()):
                outcome = await self._ask(tenant, begun)
        except (port.NoAnswer, TimeoutError) as silence:
            log.warning("payment.no_answer", operation=str(begun.operation.id), error=type(silence).__name__)
            outcome = None
        except port.Refused as refused:
            outcome = port.Outcome(port.Status.DECLINED, code=refused.code)
        if outcome is None or outcome.status in (port.Status.PENDING, port.Status.ABSENT):
            return await self._postpone(tenant, begun)
        return await self._settle(tenant, begun, outcome, source)

    async def _ask(self, tenant: str, begun: units.Begun) -> port.Outcome | None:
        payment, operation = begun.payment, begun.operation
        provider = self._providers.of(tenant, payment.provider)
        if not payment.reference:
            if operation.kind is domain.Kind.VOID:  # nothing can have been asked for yet, nor can it be from now on
                return port.Outcome(port.Status.SUCCEEDED)
            payment = await self._prepare(tenant, provider, payment, operation)
            if payment.voiding or payment.state is not domain.State.PENDING:
                return None
            begun = units.Begun(payment, operation, fresh=True)
        asked = _asked(tenant, payment, operation)
        if not begun.fresh:
            outcome = (await provider.look_up(payment.reference, [asked])).outcomes[asked.key]
            if outcome.status is not port.Status.ABSENT or (
                payment.voiding and operation.kind is domain.Kind.AUTHORISE
            ):
                return outcome  # what is being voided isn't asked for any more
        return await provider.perform(asked)

    async def _prepare(
        self, tenant: str, provider: port.Provider, payment: domain.Payment, operation: domain.Operation
    ) -> domain.Payment:
        """The payment with its reference, kept. A payment that is being voided gets none, and so is never asked for."""
        reference = await provider.prepare(_asked(tenant, payment, operation))
        async with self.unit(tenant) as unit:
            payment = await units.found(unit.session, payment.id, lock=True)
            if not payment.reference and not payment.voiding and payment.state is domain.State.PENDING:
                payment = dataclasses.replace(payment, reference=reference)
                await store.save(unit.session, payment)
        return payment

    async def _postpone(self, tenant: str, begun: units.Begun) -> port.Movement:
        async with self.unit(tenant) as unit:
            await store.postpone(unit.session, begun.operation.id, FIRST_LOOK_SECONDS)
            payment, operation = await unit.locked(begun.operation.id)
        return units.movement(payment, operation)

    async def _settle(
        self, tenant: str, open_: units.Begun, outcome: port.Outcome, source: audit.Source | None
    ) -> port.Movement:
        """Notes an outcome. Whoever comes second finds it noted."""

        async def work(unit: units.Unit) -> units.Begun:
            payment = await units.found(unit.session, open_.payment.id, lock=True)
            operation = await store.operation(unit.session, open_.operation.id) or open_.operation
            if operation.progress in domain.OPEN:
                return await self._settle_open(unit, payment, operation, outcome)
            return units.Begun(payment, operation, fresh=False)

        settled = await self._together(tenant, open_.payment.id, work, source)
        return units.movement(settled.payment, settled.operation)

    @staticmethod
    async def _settle_open(
        unit: units.Unit, payment: domain.Payment, operation: domain.Operation, outcome: port.Outcome
    ) -> units.Begun:
        if operation.kind is domain.Kind.VOID and outcome.status is port.Status.SUCCEEDED:
            payment = await units.settle_voided(unit, payment)
        return await unit.settle(payment, operation, outcome)

    async def _together(self, tenant: str, key: uuid.UUID, work: Work[T], source: audit.Source | None = None) -> T:
        """A unit of work along with others (Database.together), as many come at once. Its events are told after it."""

        async def told(session: database.WriteSession) -> tuple[T, units.Unit]:
            unit = units.Unit(session, source)
            done = await work(unit)
            await outbox.append(session, unit.told)
            return done, unit

        done, unit = await self._db.together(tenant, key, told)
        self._tell(tenant, unit)
        return done

    async def _apart(self, tenant: str, work: Work[T], source: audit.Source | None = None) -> T:
        async with self.unit(tenant, source) as unit:
            return await work(unit)

    @contextlib.asynccontextmanager
    async def unit(self, tenant: str, source: audit.Source | None = None) -> AsyncIterator[units.Unit]:
        """A unit of work, whose events are written at its end and told after its commit. source: see units.Unit."""
        async with self._db.transaction(tenant) as session:
            unit = units.Unit(session, source)
            yield unit
            await outbox.append(session, unit.told)
        self._tell(tenant, unit)

    def _tell(self, tenant: str, unit: units.Unit) -> None:
        unit.committed()
        for event in unit.told:
            self._heard(ids.encode("ten", uuid.UUID(tenant)), event.key)


async def _earlier(session: database.WriteSession, key: str, order: port.OrderRef, tender: port.Tender) -> units.Begun:
    """The authorisation that the key stands for. IdempotencyKeyReused when it is of another tender."""
    operation = await store.by_key(session, domain.Kind.AUTHORISE, key)
    assert operation is not None  # its key was in the way
    payment = await units.found(session, operation.payment_id)
    if not drafts.same(payment, order, tender):
        raise errors.IdempotencyKeyReused
    return units.Begun(payment, operation, fresh=False)


def _asked(tenant: str, payment: domain.Payment, operation: domain.Operation) -> port.Asked:
    return port.Asked(
        tenant=tenant,
        kind=operation.kind,
        key=str(operation.id),
        reference=payment.reference,
        amount=operation.amount,
        currency_code=payment.currency_code,
        method=payment.method,
        order_id=ids.encode("ord", payment.order_id),
        final=operation.final,
    )


def _patience() -> float:
    """How long a provider is waited for, in seconds: no longer than the caller waits, less what the end takes."""
    remaining = deadline.remaining()
    return ANSWER_SECONDS if remaining is None else max(0.05, min(ANSWER_SECONDS, remaining - 0.5))
