"""Replay from the owner: applies what a key lacks, in order, by the same effect as always.

For gaps, lost tails, dead letters and new epochs. Runs beside normal deliveries; the cursor decides who applies what.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import structlog
from tillmesh.common.v1 import event_pb2

from services.kit import database, errors, events
from services.kit.inbox import effects, positions, subscriptions

log = structlog.get_logger()

PAGE_EVENTS: Final = 100
EVENTS_MAX: Final = 10_000  # of one run: a key that lacks more goes on in a later one


class ReplayFailed(Exception):
    """The effect failed for an event of the replay; the ones before it are applied. The cause is the effect's error."""

    def __init__(self, envelope: event_pb2.EventEnvelope) -> None:
        super().__init__(envelope.type)
        self.envelope = envelope


class Inconsistent(errors.Unavailable):
    """The owner's answer doesn't continue where the cursor stands; it may after a moment."""


class CatchUp:
    """Replays keys of one subscription."""

    def __init__(self, db: database.Database, service: str, subscription: subscriptions.Subscription) -> None:
        self._database = db
        self._service = service
        self._subscription = subscription

    async def position(self, tenant_id: str, key: str) -> positions.Position:
        """Where the consumer stands in a key. tenant_id: TypeID."""
        async with self._database.worker() as session:
            tenant = events.tenant_uuid(tenant_id)
            return (await positions.read(session, self._subscription.consumer, [(tenant, key)]))[0]

    async def run(self, tenant_id: str, key: str, wanted: positions.Position) -> int:
        """Applies the owner's events of a key until there are no more. Returns how many it applied.

        wanted: a position known to exist, which tells the epoch. ReplayFailed when an effect fails, ResyncRequired when
        what is needed is no longer kept.
        """
        position = await self.position(tenant_id, key)
        if position != positions.START and wanted.epoch > position.epoch:
            position = await self._enter_newer_epoch(tenant_id, key, position, wanted)
        applied = 0
        while applied < EVENTS_MAX:
            try:
                page = await self._read(tenant_id, key, position.seq, PAGE_EVENTS)
            except errors.ResyncRequired:
                if not self._subscription.skip_lost:
                    raise
                position = await self._skip_lost(tenant_id, key, position, wanted)
                continue
            if not page:
                return applied
            for envelope in page:
                position, done = await self._apply(position, envelope)
                applied += done
        return applied

    async def _apply(
        self, position: positions.Position, envelope: event_pb2.EventEnvelope
    ) -> tuple[positions.Position, bool]:
        if position != positions.START and envelope.epoch > position.epoch:  # restored in the middle of what we lack
            position = positions.Position(envelope.epoch, envelope.seq_from - 1)
            await self._adopt(envelope.tenant_id, envelope.key, position)
        try:
            outcome = await self._subscription.effect.apply(envelope)
        except Exception as error:
            raise ReplayFailed(envelope) from error
        if outcome is effects.Outcome.AHEAD:
            raise Inconsistent
        return positions.of(envelope), outcome is effects.Outcome.APPLIED

    async def _enter_newer_epoch(
        self, tenant_id: str, key: str, position: positions.Position, wanted: positions.Position
    ) -> positions.Position:
        """Asks the owner where the first epoch after ours begins, and moves the cursor there."""
        span = PAGE_EVENTS // 2
        while True:  # backwards from what is known, ever faster, to an event of our epoch or the oldest kept
            after = max(0, wanted.seq - span)
            page: Sequence[event_pb2.EventEnvelope] = ()
            resync = False
            try:
                page = await self._read(tenant_id, key, after, PAGE_EVENTS)
            except errors.ResyncRequired:
                resync = True
            if resync or after == 0 or (page and page[0].epoch <= position.epoch):
                break
            span *= 4
        first = await self._first_newer(tenant_id, key, position, after, resync=resync)
        begin = positions.Position(first.epoch, first.seq_from - 1)
        await self._adopt(tenant_id, key, begin)
        return begin

    async def _first_newer(
        self, tenant_id: str, key: str, position: positions.Position, after: int, *, resync: bool
    ) -> event_pb2.EventEnvelope:
        """The first event after a position that is of a newer epoch than ours."""
        while True:
            try:
                page = await self._read(tenant_id, key, after, PAGE_EVENTS)
            except errors.ResyncRequired:
                if not resync:
                    raise
                after += PAGE_EVENTS // 2  # between what is gone and what is known to exist
                continue
            if not page:
                raise Inconsistent
            for envelope in page:
                if envelope.epoch > position.epoch:
                    return envelope
            after = page[-1].seq_to

    async def _skip_lost(
        self, tenant_id: str, key: str, position: positions.Position, wanted: positions.Position
    ) -> positions.Position:
        """Goes on with the oldest event that is kept. Found by halving: the owner only says whether a position is kept."""
        low, high = position.seq, wanted.seq  # low is gone; after high nothing is missing
        while high - low > 1:
            middle = (low + high) // 2
            with contextlib.suppress(errors.ResyncRequired):
                await self._read(tenant_id, key, middle, 1)
                high = middle
                continue
            low = middle
        page = await self._read(tenant_id, key, high - 1, 1) if high == wanted.seq else ()
        begin = positions.Position(page[0].epoch if page else wanted.epoch, high)
        log.error("inbox.events_lost", consumer=self._subscription.durable, after=position.seq, until=begin.seq)
        await self._adopt(tenant_id, key, begin)
        return begin

    async def _adopt(self, tenant_id: str, key: str, position: positions.Position) -> None:
        async with self._database.worker() as worker:
            session = await database.become_app(worker, self._service, events.tenant_uuid(tenant_id))
            await positions.adopt(session, self._subscription.consumer, key, position)
        log.warning(
            "inbox.cursor_moved", consumer=self._subscription.durable, key=key, epoch=position.epoch, seq=position.seq
        )

    async def _read(self, tenant_id: str, key: str, after_seq: int, limit: int) -> Sequence[event_pb2.EventEnvelope]:
        return await self._subscription.owner.read_events(tenant_id, key, after_seq, limit)
