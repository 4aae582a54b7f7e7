"""Erasures, and their replay from the log after a restore. tenant is uuid text throughout.

The order is: delete in a transaction, write the log and wait for the disk, commit, answer. So

- killed before the log: nothing has happened, and nobody was told that it had;
- killed between log and commit, or the commit fails: the log has it, and the replay (at the next start, and every half
  minute) erases what the caller wanted erased;
- killed after the commit: both have it;
- a backup from before is restored: its position in the log is that of its time, and the replay does what came after.

An acknowledged erasure is in the log, whatever happens. The position's row is locked from before the customers to the
commit, so that entries reach the database in the log's order and a position never passes over one that failed.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from services.kit import audit, chained_log, database, errors, ids, outbox
from services.kit import events as kit_events
from services.orders.customers import audited, domain, erasure_log, events, records
from services.orders.customers.handlers import access, desk
from services.orders.customers.store import facts
from services.orders.customers.store import people as store

REPLAY_SECONDS = 30.0
READ_MAX = 20_000  # entries in memory
APPLY_MAX = 100  # entries in a transaction
ANY_TENANT = str(uuid.UUID(int=0))
REPLAYED_BY = "erasure-log"
REPLAY = audit.Source(actor=REPLAYED_BY, method="")

log = structlog.get_logger(__name__)


class Erasing:
    """Erases customers of one process's callers, and what the log asks for."""

    def __init__(self, at: desk.Desk, noted: erasure_log.ErasureLog, service: str) -> None:
        self._desk = at
        self._log = noted
        self._service = service

    async def erase(self, write: desk.Write, customer_id: uuid.UUID) -> domain.Customer:
        """Erases a customer and those merged into it; again: nothing more. NotFound; Unavailable without the log."""

        async def effect(kept: records.WriteRecords, session: database.WriteSession) -> desk.Happened:
            known = chained_log.Position(*await facts.position(session, locked=True))  # first, as the replay does
            family = await _family(kept, session, customer_id)
            open_ids = [each.id for each in family if each.state is not domain.State.ERASED]
            if not open_ids:
                return desk.Happened(customer_id)
            erased = await _erase(kept, session, open_ids, write.actor)
            await self._note(session, known, write.tenant_id, open_ids)
            return desk.Happened(customer_id, erased.told, erased.noted)

        await self._desk.write(write, effect)
        async with self._desk.reading(write.tenant) as (kept, _):
            return (await kept.get(customer_id)).customer

    async def _note(
        self, session: database.WriteSession, known: chained_log.Position, tenant_id: str, erased: Sequence[uuid.UUID]
    ) -> None:
        texts, now = list(map(events.customer_text, erased)), await store.now(session)
        try:
            before, after = await asyncio.to_thread(self._log.append, tenant_id, texts, now)
        except (OSError, chained_log.LogBroken) as error:
            log.error("erasure.log_failed", error=type(error).__qualname__)  # noqa: TRY400 - its text may be a path
            raise errors.Unavailable("the erasure can't be noted outside the database") from error
        if before == known:  # else entries before it are not applied yet: the replay does them, and then this one again
            await facts.move_position(session, after.seq, after.hash)

    async def replay(self) -> int:
        """Applies what the log has and the database hasn't: how many customers. LogBroken, OSError."""
        done = 0
        while True:
            async with self._desk.db.read(ANY_TENANT) as session:
                known = chained_log.Position(*await facts.position(session))
            entries = await asyncio.to_thread(self._read, known)
            if not entries:
                return done
            for start in range(0, len(entries), APPLY_MAX):
                done += await self._apply(entries[start : start + APPLY_MAX])

    def _read(self, after: chained_log.Position) -> list[erasure_log.Entry]:
        return list(itertools.islice(self._log.entries(after), READ_MAX))

    async def _is_behind(self) -> bool:
        """Whether the log has more than the database, by its last line: the chain is checked by a replay."""
        async with self._desk.db.read(ANY_TENANT) as session:
            known = chained_log.Position(*await facts.position(session))
        return await asyncio.to_thread(self._log.end) != known

    async def _apply(self, entries: Sequence[erasure_log.Entry]) -> int:
        """Some entries in one transaction, if they are still the next ones."""
        done = 0
        async with self._desk.db.worker() as worker:
            session = await database.become_app(worker, self._service, ANY_TENANT)
            seq, hash_ = await facts.position(session, locked=True)
            if (seq, hash_) != (entries[0].position.seq - 1, entries[0].previous):
                return 0  # another process was faster
            for entry in entries:
                tenant = kit_events.tenant_uuid(entry.tenant)
                session = await database.become_app(worker, self._service, tenant)
                wanted = await facts.not_erased(session, [ids.decode("cus", text) for text in entry.customers])
                if wanted:
                    kept = records.Records(session, None)
                    erased = await _erase(kept, session, wanted, REPLAYED_BY)
                    await audit.append(session, REPLAY, erased.noted)
                    await outbox.append(session, erased.told)
                    done += len(wanted)
            last = entries[-1].position
            await facts.move_position(session, last.seq, last.hash)
        if done:
            log.warning("erasure.replayed", customers=done, until=last.seq)
        return done

    async def run(self) -> None:
        """Looks now and then whether a commit failed after its entry was written; until cancelled."""
        while True:
            await asyncio.sleep(REPLAY_SECONDS)
            try:
                if await self._is_behind():
                    await self.replay()
            except Exception as error:  # noqa: BLE001 - the database or the disk is away: later again
                log.error("erasure.replay_failed", error=type(error).__qualname__)  # noqa: TRY400


async def _family(
    kept: records.WriteRecords, session: database.WriteSession, customer_id: uuid.UUID
) -> list[domain.Customer]:
    """The customer, or the one that took its place, and all that were merged into it, locked. NotFound."""
    found = await store.resolve(session, customer_id)
    if found is None:
        raise errors.NotFound("customer")
    family = await kept.locked_family([found], sealed=True)  # what can't be opened must be erased all the same
    if family[found].customer.merged_into is not None:
        raise records.Moved
    return [record.customer for record in family.values()]


@dataclass(frozen=True, slots=True)
class _Erased:
    """What is to be told and noted of an erasure."""

    told: Sequence[kit_events.Event]
    noted: Sequence[audit.Entry]


async def _erase(
    kept: records.Records, session: database.WriteSession, wanted: Collection[uuid.UUID], actor: str
) -> _Erased:
    """Deletes keys, fields and digests of customers that are locked."""
    now = await store.now(session)
    before = [record.customer for record in await kept.of(wanted, sealed=True)]
    erased = [domain.erase(customer, now=now) for customer in before]
    await store.erase(session, wanted)
    for customer in erased:
        await store.update(session, customer)
    await facts.put_access(session, wanted, access.ERASED, actor)
    noted = [audited.changed("erased", None, old, new) for old, new in zip(before, erased, strict=True)]
    return _Erased([events.erased(customer) for customer in erased], noted)
