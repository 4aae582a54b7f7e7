"""Replay from any position, by hand: an operator's way to bring a consumer, or a projection that was wiped, up to date.

The same effects as always, guarded by the same cursor: what was applied is passed over, so a replay too many changes
nothing. `catching_up` is the replay that the inbox does by itself, from where the cursor stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.kit import database, events
from services.kit.inbox import catching_up, effects, positions, subscriptions

PAGE_HEADS: Final = 500


@dataclass(frozen=True, slots=True)
class Replayed:
    """How a replay ended. applied: of the events read, those whose effect was new."""

    read: int
    applied: int
    position: positions.Position


class Replay:
    """Replays keys of one subscription."""

    def __init__(self, db: database.Database, service: str, subscription: subscriptions.Subscription) -> None:
        self._database = db
        self._service = service
        self._subscription = subscription

    async def keys(self, tenant_id: str = "") -> list[tuple[str, str]]:
        """(tenant, key) of all that the owner has events of and the subscription takes. tenant_id: only this one."""
        found: list[tuple[str, str]] = []
        token = ""
        while True:
            page = await self._subscription.owner.list_event_heads(None, PAGE_HEADS, token)
            found += [
                (head.tenant_id, head.key)
                for head in page.heads
                if self._subscription.keys(head.key) and tenant_id in ("", head.tenant_id)
            ]
            token = page.next_page_token
            if not token:
                return found

    async def run(self, tenant_id: str, key: str, after_seq: int = 0) -> Replayed:
        """Applies the owner's events of a key after a position, to the end.

        Inconsistent: the cursor stands before that position, so that events would be left out. ResyncRequired: the
        owner no longer keeps what is asked for. An effect's own error passes; what was applied before it stays.
        """
        position, read, applied = positions.Position(0, after_seq), 0, 0
        before = await self._cursor(tenant_id, key)
        while True:
            page = await self._subscription.owner.read_events(tenant_id, key, position.seq, catching_up.PAGE_EVENTS)
            if not page:
                return Replayed(read, applied, position)
            for envelope in page:
                outcome = await self._subscription.effect.apply(envelope)
                if outcome is effects.Outcome.AHEAD:
                    raise catching_up.Inconsistent
                position = positions.of(envelope)
                read += 1
                # An effect that is remembered by its key answers APPLIED again.
                applied += outcome is effects.Outcome.APPLIED and position > before
            await self._keep(tenant_id, key, position)

    async def rewind(self, tenant_id: str, key: str, after_seq: int = 0) -> None:
        """Sets the cursor back, so that `run` applies again what follows.

        Only for a projection that was wiped to that position: an effect whose traces are still there would be doubled.
        """
        async with self._database.worker() as worker:
            session = await database.become_app(worker, self._service, events.tenant_uuid(tenant_id))
            await positions.rewind(session, self._subscription.consumer, key, after_seq)

    async def _cursor(self, tenant_id: str, key: str) -> positions.Position:
        async with self._database.worker() as worker:
            named = [(events.tenant_uuid(tenant_id), key)]
            return (await positions.read(worker, self._subscription.consumer, named))[0]

    async def _keep(self, tenant_id: str, key: str, position: positions.Position) -> None:
        """Moves a lost cursor along where the effect knew the event by its key, and so didn't move it. Never back."""
        async with self._database.worker() as worker:
            session = await database.become_app(worker, self._service, events.tenant_uuid(tenant_id))
            await positions.adopt(session, self._subscription.consumer, key, position)
