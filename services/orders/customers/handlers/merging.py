"""Two customers that are one person. tenant is uuid text throughout."""

from __future__ import annotations

import uuid

from services.kit import audit, database, errors
from services.orders.customers import audited, domain, events, records
from services.orders.customers.handlers import access, desk
from services.orders.customers.store import facts
from services.orders.customers.store import people as store
from services.orders.payments import credit


class Merging:
    """Merges customers. Orders, payments and consents stay where they are: histories follow ids (consents.family)."""

    def __init__(self, at: desk.Desk) -> None:
        self._desk = at

    async def merge(self, write: desk.Write, target: uuid.UUID, source: uuid.UUID) -> domain.Customer:
        """NotFound, InvalidRequest, CustomerMerged, CustomerErased, CustomerLimit."""

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> desk.Happened:
            family = await kept.locked_family([target, source])
            if target not in family or source not in family:
                raise errors.NotFound("customer")
            if domain.is_merged_already(family[target].customer, family[source].customer):
                return desk.Happened(target)
            domain.check_merge(family[target].customer, family[source].customer, events.customer_text)
            happened = await _merge(kept, session, family[target], family[source])
            await credit.join(session, source, target, write.actor)
            await facts.put_access(session, [target, source], access.MERGED, write.actor)
            return happened

        await self._desk.write(write, effect)
        async with self._desk.reading(write.tenant) as (kept, _):
            return (await kept.get(target)).customer


async def _merge(
    kept: records.WriteRecords, session: database.WriteSession, target: records.Record, source: records.Record
) -> desk.Happened:
    now = await store.now(session)
    merged = domain.merge(target.customer, source.customer, (target.addresses, source.addresses), now=now)
    await kept.clear_addresses(source)
    await store.move(session, source.customer.id, target.customer.id)  # before the target takes the source's e-mail
    pointed = await store.point(session, source.customer.id, target.customer.id, now)
    await store.update(session, merged.source)
    if not await kept.save(target, merged.target):
        raise errors.Conflict
    await kept.save_addresses(target, merged.addresses)
    vault = await kept.audit_vault(target)
    noted = [
        audited.changed("merged", vault, target.customer, merged.target, (target.addresses, merged.addresses)),
        audited.changed("merged", None, source.customer, merged.source),
        *(audited.noted("merged", each, _pointed(source, target)) for each, _ in pointed),
    ]
    return desk.Happened(target.customer.id, events.merged(merged, pointed), noted)


def _pointed(source: records.Record, target: records.Record) -> dict[str, audit.Change]:
    """What changes of those that had been merged into the source before."""
    ends = (events.customer_text(each.customer.id) for each in (source, target))
    return {"merged_into": audit.Change(*ends)}
