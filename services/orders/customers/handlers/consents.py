"""Use cases of the ledger of consents. tenant is uuid text throughout."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.kit import database, errors, ids
from services.kit import events as kit_events
from services.orders.customers import domain, events, records
from services.orders.customers.handlers import desk
from services.orders.customers.store import facts
from services.orders.customers.store import people as store


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a customer decided. occurred_at None: now."""

    customer_id: uuid.UUID
    purpose: str
    channel: int
    decision: int
    source: str
    text_version: str
    occurred_at: dt.datetime | None


class Consents:
    """The ledgers of customers: added to, never changed."""

    def __init__(self, at: desk.Desk) -> None:
        self._desk = at

    async def record(self, write: desk.Write, decision: Decision) -> domain.Consent:
        """NotFound, CustomerErased, CustomerLimit."""

        async def effect(
            kept: records.WriteRecords, session: database.WriteSession
        ) -> tuple[uuid.UUID, Sequence[kit_events.Event]]:
            before = (await kept.locked(decision.customer_id)).customer
            domain.check_open(before)
            domain.check_consent(await facts.decided(session, before.family), decision.purpose, decision.channel)
            now = await store.now(session)
            consent = _consent(before.id, decision, now, write.actor)
            customer = domain.touched(before, now)
            await facts.put_consent(session, consent)
            await store.update(session, customer)
            return consent.id, [events.consented(customer, consent)]

        consent_id = await self._desk.write(write, effect)
        async with self._desk.db.read(write.tenant) as session:
            found = await facts.consent(session, await family(session, decision.customer_id), consent_id)
        if found is None:
            raise errors.NotFound("consent")
        return found

    async def ledger(
        self, tenant: str, customer_id: uuid.UUID, *, before: uuid.UUID | None, limit: int
    ) -> list[domain.Consent]:
        """The newest first; one more than the limit, when there are more. NotFound."""
        async with self._desk.db.read(tenant) as session:
            return await facts.consents(session, await family(session, customer_id), before, limit + 1)

    async def current(self, tenant: str, customer_id: uuid.UUID) -> list[domain.Consent]:
        """What counts now. NotFound."""
        async with self._desk.db.read(tenant) as session:
            return await facts.current(session, await family(session, customer_id))


async def family(session: store.Session, customer_id: uuid.UUID) -> list[uuid.UUID]:
    """The ids under which a customer's facts are kept: its own, and those that were merged into it. NotFound.

    An id that was merged gives those of the customer that took its place. For histories: orders, payments, consents.
    """
    found = await store.resolve(session, customer_id)
    if found is None:
        raise errors.NotFound("customer")
    return await store.members(session, found)


def _consent(customer: uuid.UUID, decision: Decision, now: dt.datetime, actor: str) -> domain.Consent:
    return domain.Consent(
        id=ids.new_uuid(),
        customer_id=customer,
        purpose=decision.purpose,
        channel=decision.channel,
        decision=decision.decision,
        source=decision.source,
        text_version=decision.text_version,
        occurred_at=decision.occurred_at or now,
        recorded_at=now,
        actor=actor,
    )
