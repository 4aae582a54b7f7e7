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
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from services.kit import database, deadline, errors, ids, outbox
from services.kit import events as kit_events
from services.orders.domain import payments as domain
from services.orders.payments import events, ledgers, port
from services.orders.payments.providers import registry
from services.orders.store import payments as store

log = structlog.get_logger()

ANSWER_SECONDS: Final = 10.0
"""A provider is waited for so long; less than store.DUE_SECONDS, so that nobody else looks while we wait."""
FIRST_LOOK_SECONDS: Final = 3.0
Heard = Callable[[str, str], None]
"""Called after a commit with (tenant TypeID, key of an event)."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A payment with an operation on it. fresh: this call began it, so the provider can't have heard of it."""

    payment: domain.Payment
    operation: domain.Operation
    fresh: bool


class Operations:
    """Money movement (port.Payments)."""

    def __init__(self, db: database.Database, providers: registry.Registry, heard: Heard = lambda _t, _k: None) -> None:
        self._db = db
        self._providers = providers
        self._heard = heard

    # --- what callers ask for ---

    async def authorise(self, tenant: str, order: port.OrderRef, tender: port.Tender, key: str) -> port.Movement:
        """See port.Payments."""
        payment, operation = self._draft(tenant, order, tender, key)
        async with self._transaction(tenant) as unit:
            begun = await self._begin_authorisation(unit, payment, operation)
        return await self._end(tenant, begun)

    async def capture(
        self, tenant: str, payment_id: uuid.UUID, amount: int | None, key: str, *, final: bool = False, actor: str = ""
    ) -> port.Movement:
        """See port.Payments."""
        wanted = _operation(payment_id, domain.Kind.CAPTURE, key, amount or 0, actor)
        wanted = dataclasses.replace(wanted, final=final)
        return await self._move(tenant, wanted, everything=amount is None)

    async def void(self, tenant: str, payment_id: uuid.UUID, key: str, *, actor: str = "") -> port.Movement:
        """See port.Payments."""
        return await self._move(tenant, _operation(payment_id, domain.Kind.VOID, key, 0, actor))

    async def refund(
        self, tenant: str, payment_id: uuid.UUID, amount: int, key: str, *, actor: str = ""
    ) -> port.Movement:
        """See port.Payments."""
        return await self._move(tenant, _operation(payment_id, domain.Kind.REFUND, key, amount, actor))

    async def look_up(self, tenant: str, payment_id: uuid.UUID) -> port.Movement:
        """See port.Payments."""
        async with self._db.read(tenant) as session:
            pending = await store.open_operations(session, payment_id)
        for operation in pending:
            await self.finish(tenant, operation.id)
        async with self._db.read(tenant) as session:
            payment = await _found(session, payment_id)
            last = (await store.operations(session, payment_id))[-1]
        return _movement(payment, last)

    # --- what is left over, and what providers say ---

    async def finish(self, tenant: str, operation_id: uuid.UUID) -> port.Movement:
        """Looks an operation up that was left open, and does it if the provider has never heard of it."""
        async with self._db.read(tenant) as session:
            operation = await store.operation(session, operation_id)
            if operation is None:
                raise errors.NotFound("payment_operation")
            payment = await _found(session, operation.payment_id)
        return await self._end(tenant, Begun(payment, operation, fresh=False))

    async def give_up(self, tenant: str, operation_id: uuid.UUID) -> None:
        """Nobody could say what became of an operation: a person has to. Its amount stays set aside."""
        async with self._transaction(tenant) as unit:
            payment, operation = await unit.locked(operation_id)
            if operation.progress is not domain.Progress.STUCK and operation.progress in domain.OPEN:
                stuck = dataclasses.replace(operation, progress=domain.Progress.STUCK)
                await store.save_operation(unit.session, stuck)
                kind = domain.ExceptionKind.OUTCOME_NEVER_KNOWN
                amount = operation.amount
                await store.raise_exception(unit.session, payment.id, kind, operation_id=operation.id, expected=amount)
                log.warning("payment.stuck", payment=str(payment.id), operation=str(operation.id))

    async def decide(self, tenant: str, operation_id: uuid.UUID, *, happened: bool) -> port.Movement:
        """What a person found out about an operation that is stuck."""
        status = port.Status.SUCCEEDED if happened else port.Status.DECLINED
        return await self._settle(tenant, operation_id, lambda o: port.Outcome(status, amount=o.amount, code="by_hand"))

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
            payment = await _found(session, payment.id)
        asked_for = payment.version
        books = await self._providers.of(tenant, provider).look_up(reference, [])
        async with self._transaction(tenant) as unit:
            payment = await _found(unit.session, payment.id, lock=True)
            if payment.version == asked_for and not await store.open_operations(unit.session, payment.id):
                payment = await unit.adopt(payment, books)
        return payment

    async def tell(
        self, tenant: str, provider: domain.Provider, reference: str, kind: domain.ExceptionKind, amount: int
    ) -> None:
        """Something that the provider says of a payment, for a person. amount: in smallest units."""
        async with self._transaction(tenant) as unit:
            payment = await store.by_reference(unit.session, provider, reference)
            if payment is not None:
                await store.raise_exception(unit.session, payment.id, kind, found=amount)

    # --- how an operation begins ---

    def _draft(
        self, tenant: str, order: port.OrderRef, tender: port.Tender, key: str
    ) -> tuple[domain.Payment, domain.Operation]:
        if not 0 < tender.amount <= domain.AMOUNT_MAX:
            raise errors.InvalidRequest(f"the amount of a tender is 1 to {domain.AMOUNT_MAX}")
        operation_id, single_capture, reference = ids.new_uuid(), False, ""
        match tender.method:
            case port.Method.GIFT_CARD:
                provider = domain.Provider.GIFT_CARD
            case port.Method.STORE_CREDIT:
                provider = domain.Provider.STORE_CREDIT
            case _:
                provider, adapter = self._providers.for_cards(tenant)
                if not adapter.accepts(tender.token):
                    raise errors.InvalidRequest("the provider doesn't know this payment method")
                single_capture, reference = adapter.single_capture, adapter.chosen_reference(str(operation_id))
        payment = domain.Payment(
            id=ids.new_uuid(),
            order_id=order.id,
            provider=provider,
            method=tender.token,
            currency_code=tender.currency_code,
            amount=tender.amount,
            single_capture=single_capture,
            reference=reference,
            location_id=order.location_id,
            actor=order.actor,
        )
        operation = _operation(payment.id, domain.Kind.AUTHORISE, key, tender.amount, order.actor)
        return payment, dataclasses.replace(operation, id=operation_id)

    async def _begin_authorisation(self, unit: _Unit, payment: domain.Payment, operation: domain.Operation) -> Begun:
        if not await store.add_operation(unit.session, operation):
            return await _earlier(unit.session, operation, payment)
        await store.insert(unit.session, payment)
        if payment.provider not in domain.OWN_BOOKS:
            return Begun(payment, operation, fresh=True)
        outcome = await ledgers.authorise(unit.session, payment)
        return await unit.settle(payment, operation, outcome)

    async def _move(self, tenant: str, wanted: domain.Operation, *, everything: bool = False) -> port.Movement:
        async with self._transaction(tenant) as unit:
            payment = await _found(unit.session, wanted.payment_id, lock=True)
            begun = await self._begin_move(unit, payment, wanted, everything=everything)
        return await self._end(tenant, begun)

    async def _begin_move(
        self, unit: _Unit, payment: domain.Payment, wanted: domain.Operation, *, everything: bool
    ) -> Begun:
        earlier = await store.by_key(unit.session, wanted.kind, wanted.key)
        if earlier is not None:
            amounts = () if everything or wanted.kind is domain.Kind.VOID else (wanted.amount,)
            if earlier.payment_id != payment.id or any(amount != earlier.amount for amount in amounts):
                raise errors.IdempotencyKeyReused
            return Begun(payment, earlier, fresh=False)
        if everything:
            wanted = dataclasses.replace(wanted, amount=payment.capturable)
        set_aside = domain.begin(payment, wanted)
        await store.save(unit.session, set_aside)
        if not await store.add_operation(unit.session, wanted):  # on another payment, just now
            raise errors.IdempotencyKeyReused
        if payment.provider not in domain.OWN_BOOKS:
            return Begun(set_aside, wanted, fresh=True)
        outcome = await ledgers.move(unit.session, set_aside, wanted)
        return await unit.settle(set_aside, wanted, outcome)

    # --- how it ends ---

    async def _end(self, tenant: str, begun: Begun) -> port.Movement:
        """Brings an operation to its end, or says that it isn't known."""
        if begun.operation.progress not in domain.OPEN:
            return _movement(begun.payment, begun.operation)
        try:
            async with asyncio.timeout(_patience()):
                outcome = await self._ask(tenant, begun)
        except (port.NoAnswer, TimeoutError) as silence:
            log.warning("payment.no_answer", operation=str(begun.operation.id), error=type(silence).__name__)
            outcome = None
        if outcome is None or outcome.status in (port.Status.PENDING, port.Status.ABSENT):
            return await self._postpone(tenant, begun)
        return await self._settle(tenant, begun.operation.id, lambda _operation: outcome)

    async def _ask(self, tenant: str, begun: Begun) -> port.Outcome | None:
        payment, operation = begun.payment, begun.operation
        provider = self._providers.of(tenant, payment.provider)
        if not payment.reference:
            if operation.kind is domain.Kind.VOID:  # nothing can have been asked for yet, nor can it be from now on
                return port.Outcome(port.Status.SUCCEEDED)
            payment = await self._prepare(tenant, provider, payment, operation)
            if payment.voiding or payment.state is not domain.State.PENDING:
                return None
            begun = Begun(payment, operation, fresh=True)
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
        async with self._transaction(tenant) as unit:
            payment = await _found(unit.session, payment.id, lock=True)
            if not payment.reference and not payment.voiding and payment.state is domain.State.PENDING:
                payment = dataclasses.replace(payment, reference=reference)
                await store.save(unit.session, payment)
        return payment

    async def _postpone(self, tenant: str, begun: Begun) -> port.Movement:
        async with self._transaction(tenant) as unit:
            await store.postpone(unit.session, begun.operation.id, FIRST_LOOK_SECONDS)
            payment, operation = await unit.locked(begun.operation.id)
        return _movement(payment, operation)

    async def _settle(
        self, tenant: str, operation_id: uuid.UUID, outcome_of: Callable[[domain.Operation], port.Outcome]
    ) -> port.Movement:
        """Notes an outcome. Whoever comes second finds it noted."""
        async with self._transaction(tenant) as unit:
            payment, operation = await unit.locked(operation_id)
            if operation.progress in domain.OPEN:
                outcome = outcome_of(operation)
                if operation.kind is domain.Kind.VOID and outcome.status is port.Status.SUCCEEDED:
                    payment = await _settle_voided(unit, payment)
                begun = await unit.settle(payment, operation, outcome)
                payment, operation = begun.payment, begun.operation
        return _movement(payment, operation)

    @contextlib.asynccontextmanager
    async def _transaction(self, tenant: str) -> AsyncIterator[_Unit]:
        """A unit of work, whose events are written at its end and told after its commit."""
        async with self._db.transaction(tenant) as session:
            unit = _Unit(session)
            yield unit
            await outbox.append(session, unit.told)
        for event in unit.told:
            self._heard(ids.encode("ten", uuid.UUID(tenant)), event.key)


class _Unit:
    """What is done in one transaction."""

    def __init__(self, session: database.WriteSession) -> None:
        self.session = session
        self.told: list[kit_events.Event] = []

    async def locked(self, operation_id: uuid.UUID) -> tuple[domain.Payment, domain.Operation]:
        """An operation and its payment, locked. NotFound."""
        operation = await store.operation(self.session, operation_id)
        if operation is None:
            raise errors.NotFound("payment_operation")
        payment = await _found(self.session, operation.payment_id, lock=True)
        current = await store.operation(self.session, operation_id)  # it may have changed before we had the lock
        return payment, current or operation

    async def settle(self, payment: domain.Payment, operation: domain.Operation, outcome: port.Outcome) -> Begun:
        """An operation that is open gets its end."""
        succeeded = outcome.status is port.Status.SUCCEEDED
        progress = domain.Progress.SUCCEEDED if succeeded else domain.Progress.DECLINED
        code = outcome.code if succeeded else outcome.code or "declined"
        settled = dataclasses.replace(operation, progress=progress, reference=outcome.reference, code=code)
        changed = domain.settle(payment, settled, amount=outcome.amount, code=code)
        await store.save_operation(self.session, settled)
        await store.save(self.session, changed)
        self.told.append(events.payment_moved(changed, settled))
        return Begun(changed, settled, fresh=False)

    async def adopt(self, payment: domain.Payment, books: port.Books) -> domain.Payment:
        """Takes over what only the provider knows, and tells a person."""
        changed, found = domain.adopt(payment, captured=books.captured, refunded=books.refunded)
        for kind in found:
            ours, theirs = _differing(kind, payment, books)
            await store.raise_exception(self.session, payment.id, kind, expected=ours, found=theirs)
        if changed != payment:
            await store.save(self.session, changed)
            self.told.append(events.payment_moved(changed, None))
        return changed


async def _settle_voided(unit: _Unit, payment: domain.Payment) -> domain.Payment:
    """The authorisation that was still open when it was voided: it can't happen any more."""
    for operation in await store.open_operations(unit.session, payment.id):
        if operation.kind is domain.Kind.AUTHORISE:
            outcome = port.Outcome(port.Status.DECLINED, code="voided")
            payment = (await unit.settle(payment, operation, outcome)).payment
    return payment


def _differing(kind: domain.ExceptionKind, payment: domain.Payment, books: port.Books) -> tuple[int, int]:
    """What a difference is about: our amount and the provider's."""
    captured = payment.captured, books.captured
    of_refunds = kind is domain.ExceptionKind.REFUNDED_ELSEWHERE or captured[0] == captured[1]
    return (payment.refunded, books.refunded) if of_refunds else captured


async def _found(session: store.Session, payment_id: uuid.UUID, *, lock: bool = False) -> domain.Payment:
    payment = await store.get(session, payment_id, lock=lock)
    if payment is None:
        raise errors.NotFound("payment")
    return payment


async def _earlier(session: database.WriteSession, wanted: domain.Operation, draft: domain.Payment) -> Begun:
    """The authorisation that the key stands for. IdempotencyKeyReused when it is of another tender."""
    operation = await store.by_key(session, wanted.kind, wanted.key)
    assert operation is not None  # its key was in the way
    payment = await _found(session, operation.payment_id)
    same = ("order_id", "method", "currency_code", "amount", "provider")
    if any(getattr(payment, name) != getattr(draft, name) for name in same):
        raise errors.IdempotencyKeyReused
    return Begun(payment, operation, fresh=False)


def _operation(payment_id: uuid.UUID, kind: domain.Kind, key: str, amount: int, actor: str) -> domain.Operation:
    return domain.Operation(
        id=ids.new_uuid(), payment_id=payment_id, kind=kind, key=key or str(ids.new_uuid()), amount=amount, actor=actor
    )


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


def _movement(payment: domain.Payment, operation: domain.Operation) -> port.Movement:
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


def _patience() -> float:
    """How long a provider is waited for, in seconds: no longer than the caller waits, less what the end takes."""
    remaining = deadline.remaining()
    return ANSWER_SECONDS if remaining is None else max(0.05, min(ANSWER_SECONDS, remaining - 0.5))
