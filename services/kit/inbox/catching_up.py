"""Replay from the owner: applies what a key lacks, in order, by the same effect as always.

For gaps, lost tails, dead letters and new epochs. Runs beside normal deliveries; the cursor decides who applies what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from services.kit import database, errors, events
from services.kit.inbox import effects, owners, positions, subscriptions
from tillmesh.common.v1 import event_pb2

log = structlog.get_logger()

PAGE_EVENTS: Final = 100
EVENTS_MAX: Final = 10_000  # of one run: a key that lacks more goes on in a later one


class ReplayFailed(Exception):
    """The effect failed for an event of the replay. The cause is the effect's error.

    applied: how many events before it were applied, and stay so.
    """

    def __init__(self, envelope: event_pb2.EventEnvelope, applied: int = 0) -> None:
        super().__init__(envelope.type)
        self.envelope = envelope
        self.applied = applied


class Inconsistent(effects.Transient):
    """The owner's answer doesn't continue where the cursor stands; it may after a moment."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """How a replay ended."""

    position: positions.Position
    applied: int


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

    async def run(self, tenant_id: str, key: str, wanted: positions.Position) -> CaughtUp:
        """Applies the owner's events of a key until there are no more.

        wanted: a position known to exist, which tells the epoch. ReplayFailed when an effect fails, ResyncRequired when
        what is needed is no longer kept.
        """
        position = await self.position(tenant_id, key)
        if position != positions.START and wanted.epoch > position.epoch:
            begin = await self._begin_of_newer_epoch(tenant_id, key, position, wanted)
            position = await self._adopt(tenant_id, key, begin)
        applied = 0
        while applied < EVENTS_MAX:
            try:
                page = await self._read(tenant_id, key, position.seq, PAGE_EVENTS)
            except errors.ResyncRequired as error:
                position = await self._skip_lost(tenant_id, key, position, error)
                continue
            if not page:
                break
            for envelope in page:
                try:
                    position, done = await self._apply(position, envelope)
                except effects.Transient:
                    raise
                except Exception as error:
                    raise ReplayFailed(envelope, applied) from error
                applied += done
        return CaughtUp(position, applied)

    async def _apply(
        self, position: positions.Position, envelope: event_pb2.EventEnvelope
    ) -> tuple[positions.Position, bool]:
        if position != positions.START and envelope.epoch > position.epoch:  # restored in the middle of what we lack
            begin = positions.Position(envelope.epoch, envelope.seq_from - 1)
            await self._adopt(envelope.tenant_id, envelope.key, begin)
        outcome = await self._subscription.effect.apply(envelope)
        if outcome is effects.Outcome.AHEAD:
            raise Inconsistent
        return positions.of(envelope), outcome is effects.Outcome.APPLIED

    async def _begin_of_newer_epoch(
        self, tenant_id: str, key: str, position: positions.Position, wanted: positions.Position
    ) -> positions.Position:
        """The position right before the owner's first event of an epoch newer than ours, found by halving."""
        low, high = 0, wanted.seq  # at or below low: our epoch, or gone; the event that holds high: newer
        begin = positions.Position(wanted.epoch, wanted.seq - 1)
        while low < high:
            middle = (low + high) // 2 if high < wanted.seq else high - 1
            try:
                page = await self._read(tenant_id, key, middle, 1)
            except errors.ResyncRequired as error:
                kept = owners.kept_after(error)
                low = max(middle + 1, kept[1] if kept else 0)
                continue
            if not page:
                raise Inconsistent
            if page[0].epoch > position.epoch:
                begin = positions.Position(page[0].epoch, page[0].seq_from - 1)
                high = min(middle, begin.seq)
            else:
                low = page[0].seq_to
        return begin

    async def _skip_lost(
        self, tenant_id: str, key: str, position: positions.Position, error: errors.ResyncRequired
    ) -> positions.Position:
        """Goes on with the oldest event that is kept, where the subscription says so."""
        kept = owners.kept_after(error)
        if not self._subscription.skip_lost or kept is None or kept <= (position.epoch, position.seq):
            raise error
        log.error("inbox.events_lost", consumer=self._subscription.durable, after_seq=position.seq, until_seq=kept[1])
        return await self._adopt(tenant_id, key, positions.Position(*kept))

    async def _adopt(self, tenant_id: str, key: str, position: positions.Position) -> positions.Position:
        async with self._database.worker() as worker:
            session = await database.become_app(worker, self._service, events.tenant_uuid(tenant_id))
            await positions.adopt(session, self._subscription.consumer, key, position)
        log.warning(
            "inbox.cursor_moved", consumer=self._subscription.durable, key=key, epoch=position.epoch, seq=position.seq
        )
        return position

    async def _read(self, tenant_id: str, key: str, after_seq: int, limit: int) -> Sequence[event_pb2.EventEnvelope]:
        return await self._subscription.owner.read_events(tenant_id, key, after_seq, limit)
