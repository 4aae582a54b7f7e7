"""Dead letters of a service's consumers, for its ListDeadLetters and ReplayDeadLetter rpcs. One tenant at a time.

How an event becomes one is `inbox`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
import structlog
from google.protobuf import timestamp_pb2

from services.kit import database, errors, paging
from services.kit.inbox import catching_up, consuming, dead, effects, positions, subscriptions
from tillmesh.common.v1 import event_pb2

log = structlog.get_logger()

WAITING_MAX: Final = 1000
COUNTS_AT_ONCE: Final = 4
LIST = sa.text("""
SELECT consumer, key, seq_from, seq_to, event_id, envelope, error, attempts, dead_at,
       CAST(extract(epoch FROM dead_at) * 1000000 AS bigint) AS dead_at_micros
FROM dead_letter
WHERE :first OR (CAST(extract(epoch FROM dead_at) * 1000000 AS bigint), consumer, key, seq_from)
             > (:dead_at_micros, :consumer, :key, :seq_from)
ORDER BY dead_at_micros, consumer, key, seq_from LIMIT :limit
""")
FIND = sa.text("SELECT envelope FROM dead_letter WHERE consumer = :consumer AND event_id = :event_id LIMIT 1")
DELETE = sa.text("DELETE FROM dead_letter WHERE consumer = :consumer AND event_id = :event_id")
FAILED = sa.text("""
UPDATE dead_letter SET attempts = attempts + 1, error = :error WHERE consumer = :consumer AND event_id = :event_id
""")


class DeadLetters:
    """The dead letters of all consumers of a service. tenant: uuid text everywhere."""

    def __init__(self, db: database.Database, service: str, subscribed: Sequence[subscriptions.Subscription]) -> None:
        self._database = db
        self._by_source: Mapping[tuple[str, str], subscriptions.Subscription] = {
            (one.consumer, one.source): one for one in subscribed
        }
        self._service = service

    async def list(self, tenant: str, request: event_pb2.ListDeadLettersRequest) -> event_pb2.ListDeadLettersResponse:
        """A page, oldest first. INVALID_PAGE_TOKEN."""
        after = paging.start(tenant, request, (int, str, str, int))
        size = paging.page_size(request.page_size)
        micros, consumer, key, seq_from = after or (0, "", "", 0)
        given = {
            "first": after is None,
            "dead_at_micros": micros,
            "consumer": consumer,
            "key": key,
            "seq_from": seq_from,
            "limit": size + 1,
        }
        async with self._database.read(tenant) as session:
            rows = (await session.execute(LIST, given)).all()
        response = event_pb2.ListDeadLettersResponse()
        slots = asyncio.Semaphore(COUNTS_AT_ONCE)
        response.dead_letters.extend(await asyncio.gather(*(self._to_proto(row, slots) for row in rows[:size])))
        if len(rows) > size:
            last = rows[size - 1]
            position = [last.dead_at_micros, last.consumer, last.key, last.seq_from]
            response.next_page_token = paging.next_token(tenant, request, position)
        return response

    async def replay(
        self, tenant: str, request: event_pb2.ReplayDeadLetterRequest
    ) -> event_pb2.ReplayDeadLetterResponse:
        """Applies the event and what waits behind it, then forgets the letter.

        NOT_FOUND; the effect's own refusal when it fails again, else INTERNAL: the letter stays.
        """
        given = {"consumer": request.consumer, "event_id": request.event_id}
        async with self._database.read(tenant) as session:
            found = (await session.execute(FIND, given)).one_or_none()
        if found is None:
            raise errors.NotFound("dead_letter")
        envelope = event_pb2.EventEnvelope.FromString(found.envelope)
        subscription = self._subscription(request.consumer, envelope)
        catch_up = catching_up.CatchUp(self._database, self._service, subscription)
        applied = await self._apply(tenant, given, subscription, envelope)
        applied += await self._go_on(catch_up, tenant, given, envelope)
        async with self._database.transaction(tenant) as session:
            await session.execute(DELETE, given)
        # Once more: what arrived during the replay was acknowledged, because the letter was still there.
        applied += await self._go_on(catch_up, tenant, given, envelope)
        return event_pb2.ReplayDeadLetterResponse(applied=applied)

    async def _apply(
        self,
        tenant: str,
        given: Mapping[str, str],
        subscription: subscriptions.Subscription,
        envelope: event_pb2.EventEnvelope,
    ) -> int:
        try:
            outcome = await subscription.effect.apply(envelope)
        except Exception as error:
            raise await self._refusal(tenant, given, error) from error
        return 1 if outcome is effects.Outcome.APPLIED else 0

    async def _go_on(
        self, catch_up: catching_up.CatchUp, tenant: str, given: Mapping[str, str], envelope: event_pb2.EventEnvelope
    ) -> int:
        """Applies what waits behind the event. One that fails in its turn becomes a letter of its own."""
        try:
            return (await catch_up.run(envelope.tenant_id, envelope.key, positions.of(envelope))).applied
        except catching_up.ReplayFailed as failed:
            if failed.envelope.id == envelope.id:
                raise await self._refusal(tenant, given, failed.__cause__ or failed) from failed
            cause = failed.__cause__ or failed
            await dead.put(
                self._database, given["consumer"], failed.envelope, error=consuming.error_name(cause), attempts=1
            )
            return failed.applied

    async def _refusal(self, tenant: str, given: Mapping[str, str], error: BaseException) -> errors.Error:
        """What the caller is told; the letter remembers it."""
        async with self._database.transaction(tenant) as session:
            await session.execute(FAILED, {**given, "error": consuming.error_name(error)})
        log.warning("dead_letter.failed_again", error=consuming.error_name(error), **given)
        if isinstance(error, errors.Error):
            return error
        return errors.Unavailable() if effects.is_transient(error) else errors.Internal("the event failed again")

    def _subscription(self, consumer: str, envelope: event_pb2.EventEnvelope) -> subscriptions.Subscription:
        source = envelope.type.split(".")[1]
        try:
            return self._by_source[consumer, source]
        except KeyError:
            raise errors.NotFound("dead_letter") from None

    async def _to_proto(self, row: sa.Row[Any], slots: asyncio.Semaphore) -> event_pb2.DeadLetter:
        envelope = event_pb2.EventEnvelope.FromString(row.envelope)
        async with slots:
            waiting = await self._waiting(row.consumer, envelope)
        dead_at = timestamp_pb2.Timestamp()
        dead_at.FromDatetime(row.dead_at)
        return event_pb2.DeadLetter(
            event_id=row.event_id,
            consumer=row.consumer,
            type=envelope.type,
            key=row.key,
            seq_from=row.seq_from,
            seq_to=row.seq_to,
            error=row.error,
            attempts=row.attempts,
            dead_at=dead_at,
            waiting=waiting,
        )

    async def _waiting(self, consumer: str, envelope: event_pb2.EventEnvelope) -> int:
        """How many later events the owner has, at most WAITING_MAX; 0 when it doesn't answer."""
        count, after = 0, envelope.seq_to
        try:
            owner = self._subscription(consumer, envelope).owner
            while count < WAITING_MAX:
                page = await owner.read_events(envelope.tenant_id, envelope.key, after, WAITING_MAX - count)
                if not page:
                    break
                count, after = count + len(page), page[-1].seq_to
        except Exception as error:  # noqa: BLE001 - a list with one unknown number is better than none
            log.warning("dead_letter.waiting_unknown", error=type(error).__qualname__)
        return count
