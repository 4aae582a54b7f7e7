"""Finds what never arrived: compares the owner's heads with our cursors, at start and every 30 seconds.

A stream that lost a key's last message stays silent about it, and no gap shows until the next event, which may be
days away. A key that is behind gets a moment in which its events may arrive by themselves, then it is replayed from
the owner.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import prometheus_client
import structlog

from services.kit import database, events
from services.kit.inbox import consuming, positions
from tillmesh.common.v1 import event_pb2

log = structlog.get_logger()

PAGE_HEADS: Final = 1000
BEHIND_MAX: Final = 20_000  # keys in memory; with more, the same stretch of time is asked for again
STREAMING: Final = 256
"""So many messages still to come mean a backlog that is being worked off, not a loss."""
POSTPONE_MAX: Final = 10
CAUGHT_UP = prometheus_client.Counter(
    "tillmesh_reconcile_caught_up_total", "Keys that were behind while nothing arrived.", ["consumer"]
)
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Options:
    """Durations in seconds."""

    every_seconds: float = 30.0
    grace_seconds: float = 2.0
    """How long a key that is behind may go on by itself."""
    margin_seconds: float = 60.0
    """What recorded_at may lie before its commit: transactions end within 30 seconds."""
    concurrency: int = 2


class Reconciler:
    """Compares one consumer with one owner."""

    def __init__(self, db: database.Database, inbox: consuming.Inbox, options: Options | None = None) -> None:
        self._database = db
        self._inbox = inbox
        self._subscription = inbox.subscription
        self._options = options or Options()
        self._recorded_after: dt.datetime | None = None
        self._behind: dict[Key, positions.Position] = {}
        self._postponed = 0

    async def run(self) -> None:
        """Compares now and then until cancelled."""
        failures = 0
        while True:
            try:
                await self.compare()
                failures = 0
            except Exception as error:  # noqa: BLE001 - the owner or the database is away: later again
                failures += 1
                if failures in (3, 30):
                    log.warning(
                        "reconcile.failing", consumer=self._subscription.durable, error=type(error).__qualname__
                    )
            wait = self._options.every_seconds if failures == 0 else min(self._options.every_seconds, 2.0**failures)
            await asyncio.sleep(wait * random.uniform(0.9, 1.1))  # noqa: S311

    async def compare(self) -> int:
        """One comparison, and the replays that it asks for. Returns how many keys were caught up.

        Raises what the owner or the database raises; nothing is forgotten then.
        """
        await self._ask_heads()
        if self._behind and not await self._is_backlog():
            before = await self._still_behind()
            await asyncio.sleep(self._options.grace_seconds)
            after = await self._still_behind()
            silent = [key for key, position in after.items() if before.get(key) == position]
            return await self._replay(silent)
        return 0

    async def _ask_heads(self) -> None:
        """Notes the keys whose head lies above our cursor, and moves the watermark when all of them are noted."""
        token, read_at = "", None
        while True:
            page = await self._subscription.owner.list_event_heads(self._recorded_after, PAGE_HEADS, token)
            read_at = read_at or page.read_at.ToDatetime(dt.UTC)
            await self._note([head for head in page.heads if self._subscription.keys(head.key)])
            token = page.next_page_token
            if len(self._behind) >= BEHIND_MAX:
                return
            if not token:
                break
        self._recorded_after = read_at - dt.timedelta(seconds=self._options.margin_seconds)

    async def _note(self, heads: Sequence[event_pb2.EventHead]) -> None:
        cursors = await self._cursors([(head.tenant_id, head.key) for head in heads])
        for head, cursor in zip(heads, cursors, strict=True):
            wanted = positions.Position(head.epoch, head.seq)
            if cursor < wanted:
                self._behind[head.tenant_id, head.key] = wanted
            elif cursor.epoch == wanted.epoch and cursor > wanted:
                # The owner lost events that we have, and says so by no new epoch: nothing to replay, but to know.
                log.error("reconcile.owner_behind", consumer=self._subscription.durable, key=head.key)

    async def _is_backlog(self) -> bool:
        """Whether so much is still to come that being behind means nothing. Not for ever: loss may hide behind it."""
        try:
            undelivered = await self._inbox.undelivered()
        except Exception:  # noqa: BLE001 - NATS is away: then the owner is all there is
            undelivered = 0
        if undelivered <= STREAMING or self._postponed >= POSTPONE_MAX:
            self._postponed = 0
            return False
        self._postponed += 1
        return True

    async def _still_behind(self) -> dict[Key, positions.Position]:
        """Where the noted keys stand; those that have arrived are no longer noted."""
        found: dict[Key, positions.Position] = {}
        keys = list(self._behind)
        for start in range(0, len(keys), PAGE_HEADS):
            some = keys[start : start + PAGE_HEADS]
            for key, cursor in zip(some, await self._cursors(some), strict=True):
                if cursor < self._behind[key]:
                    found[key] = cursor
                else:
                    del self._behind[key]
        return found

    async def _replay(self, keys: Sequence[Key]) -> int:
        slots = asyncio.Semaphore(self._options.concurrency)

        async def one(key: Key) -> bool:
            async with slots:
                if await self._inbox.is_parked(*key):
                    self._behind.pop(key, None)  # its dead letter's replay brings it on
                    return False
                if not await self._inbox.catch_up(*key, self._behind[key]):
                    return False
                self._behind.pop(key, None)
                CAUGHT_UP.labels(self._subscription.durable).inc()
                return True

        caught_up = 0
        for start in range(0, len(keys), PAGE_HEADS):
            results = await asyncio.gather(
                *(one(key) for key in keys[start : start + PAGE_HEADS]), return_exceptions=True
            )
            caught_up += sum(result is True for result in results)
            failed = [result for result in results if isinstance(result, BaseException)]
            if failed:
                log.warning(
                    "reconcile.replay_failed",
                    consumer=self._subscription.durable,
                    keys=len(failed),
                    error=type(failed[0]).__qualname__,
                )
        if caught_up:
            log.info("reconcile.caught_up", consumer=self._subscription.durable, keys=caught_up)
        return caught_up

    async def _cursors(self, keys: Sequence[Key]) -> list[positions.Position]:
        if not keys:
            return []
        async with self._database.worker() as session:
            named = [(events.tenant_uuid(tenant_id), key) for tenant_id, key in keys]
            return await positions.read(session, self._subscription.consumer, named)
