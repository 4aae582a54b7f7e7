"""Use cases of the ledger of consents. tenant is uuid text throughout."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.kit import audit, database, errors, ids
from services.orders.customers import audited, domain, events, records
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

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> desk.Happened:
            before = (await kept.locked(decision.customer_id)).customer
            domain.check_open(before)
            domain.check_consent(await facts.decided(session, before.family), decision.purpose, decision.channel)
            current = await facts.current(session, before.family)
            now = await store.now(session)
            consent = _consent(before.id, decision, now, write.actor)
            customer = domain.touched(before, now)
            await facts.put_consent(session, consent)
            await store.update(session, customer)
            entry = audited.noted("consented", customer.id, _change(current, consent))
            return desk.Happened(consent.id, [events.consented(customer, consent)], [entry])

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


def _change(current: Sequence[domain.Consent], consent: domain.Consent) -> dict[str, audit.Change]:
    """What was decided of this purpose and channel before, and now."""
    pair = (consent.purpose, consent.channel)
    before = next((each for each in current if (each.purpose, each.channel) == pair), None)
    return {f"{consent.purpose}/{events.channel_name(consent.channel)}": audit.Change(_said(before), _said(consent))}


def _said(consent: domain.Consent | None) -> object:
    if consent is None:
        return None
    shown = {
        "decision": events.decision_name(consent.decision),
        "source": consent.source,
        "text_version": consent.text_version,
        "occurred_at": consent.occurred_at,
    }
    return audit.plain(shown)


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
