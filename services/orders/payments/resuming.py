"""Ends what a crash or a silent provider left over: operations that are due, notices, gift cards that have run out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Final, Protocol

import prometheus_client
import structlog

from services.kit import database, leases
from services.orders.domain import payments as domain
from services.orders.domain import stored_value
from services.orders.payments import operations, port, units
from services.orders.store import payment_exceptions as exceptions
from services.orders.store import payments as store
from services.orders.store import stored_value as ledger

log = structlog.get_logger()

LEASE_NAME: Final = "payments"
EVERY_SECONDS: Final = 2.0
AT_ONCE: Final = 100
CONCURRENCY: Final = 8
ATTEMPTS_MAX: Final = 14
"""5 s, doubled up to 15 min: two hours until a person is asked. A provider forgets keys after a day at the earliest."""
RESUMED = prometheus_client.Counter("tillmesh_payment_operations_resumed_total", "Operations that were left open.")


class Notifier(Protocol):
    """A provider that keeps what it has to say until it is taken note of (providers.simulated.SimulatedBank)."""

    async def notices(self, limit: int) -> Sequence[port.Notice]:
        """What it has to say."""
        ...

    async def noted(self, notice_id: str) -> None:
        """It was taken note of."""
        ...


class Resumer:
    """Runs in one process at a time."""

    def __init__(
        self, db: database.Database, moves: operations.Operations, notifier: tuple[domain.Provider, Notifier] | None
    ) -> None:
        self._db = db
        self._operations = moves
        self._notifier = notifier

    async def run(self) -> None:
        """Looks for what is due, until cancelled."""

        async def job(_lease: leases.Lease) -> None:
            while await self.resume() == AT_ONCE:
                pass  # what was claimed isn't due again for a while, so this ends
            await self.take_note()
            await self.expire()
            await self.lapse()

        await leases.run_alone(self._db, LEASE_NAME, job, every_seconds=EVERY_SECONDS)

    async def resume(self) -> int:
        """Ends operations that are due now, up to AT_ONCE; answers how many it found."""
        async with self._db.worker() as session:
            rows = await store.claim_due(session, AT_ONCE)
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one(tenant: uuid.UUID, operation_id: uuid.UUID, attempts: int) -> None:
            async with slots:
                await self._finish(str(tenant), operation_id, attempts)

        await asyncio.gather(*(one(row.tenant_id, row.id, row.attempts) for row in rows))
        return len(rows)

    async def _finish(self, tenant: str, operation_id: uuid.UUID, attempts: int) -> None:
        try:
            movement = await self._operations.finish(tenant, operation_id)
            if not movement.unknown:
                RESUMED.inc()
            elif attempts >= ATTEMPTS_MAX:
                await self._operations.give_up(tenant, operation_id)
        except Exception as error:  # noqa: BLE001  # one that fails must not stop the others; it is due again later
            log.warning("payment.postponed", operation=str(operation_id), error=type(error).__name__)

    async def take_note(self) -> int:
        """Hears what the simulated bank says by itself; answers how much it was."""
        if self._notifier is None:
            return 0
        provider, notifier = self._notifier
        notices = await notifier.notices(AT_ONCE)
        for notice in notices:
            try:
                await self._operations.reconcile(notice.tenant, provider, notice.reference)
            except port.NoAnswer:
                log.warning("payment.notice_postponed", notice=notice.id)
            else:
                await notifier.noted(notice.id)
        return len(notices)

    async def expire(self) -> int:
        """Writes off gift cards whose time has come; answers how many."""
        async with self._db.worker() as session:
            rows = await ledger.due(session, AT_ONCE)
        for row in rows:
            async with self._db.transaction(str(row.tenant_id)) as session:
                account = await ledger.get(session, row.id, lock=True)
                if account is not None:
                    expired, entries = stored_value.expire(account, await ledger.now(session))
                    await ledger.save(session, expired, entries, reason="expired", actor="svc:orders")
        return len(rows)

    async def lapse(self) -> int:
        """Tells of authorisations that end soon, and asks what has become of those whose time is over; how many."""
        async with self._db.worker() as session:
            rows = await exceptions.lapsing(session, CONCURRENCY)  # few, as operations that are due wait meanwhile

        async def one(tenant: uuid.UUID, payment_id: uuid.UUID) -> None:
            try:
                await self._lapse(str(tenant), payment_id)
            except Exception as error:  # noqa: BLE001  # as in _finish: it is looked at again
                log.warning("payment.lapse_postponed", payment=str(payment_id), error=type(error).__name__)

        await asyncio.gather(*(one(row.tenant_id, row.id) for row in rows))
        return len(rows)

    async def _lapse(self, tenant: str, payment_id: uuid.UUID) -> None:
        async with self._operations.unit(tenant) as unit:
            payment, now = await units.found(unit.session, payment_id, lock=True), await exceptions.now(unit.session)
            over = payment.expires_at is None or payment.expires_at <= now
            await exceptions.look_again(
                unit.session, payment_id, now + domain.WARNED_BEFORE if over else payment.expires_at
            )
            if payment.set_aside and not over:
                kind = domain.ExceptionKind.AUTHORISATION_ENDING
                await unit.tell(payment, kind, expected=payment.set_aside)
        if payment.set_aside and over:
            await self._operations.reconcile(tenant, payment.provider, payment.reference)
        await self._forget_ended(tenant, payment_id)

    async def _forget_ended(self, tenant: str, payment_id: uuid.UUID) -> None:
        """Nobody has to look at what is taken or released."""
        async with self._operations.unit(tenant) as unit:
            payment = await units.found(unit.session, payment_id, lock=True)
            if payment.set_aside or payment.unsettled:
                return
            await exceptions.look_again(unit.session, payment_id, None)
            kind = domain.ExceptionKind.AUTHORISATION_ENDING
            for raised in await exceptions.open_of(unit.session, payment_id, kind):
                await unit.end(raised.id, by=units.ITSELF, note=payment.state.name.lower())
