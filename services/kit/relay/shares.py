"""Which of the 64 shards this process may publish now: leases by database time, shared fairly between relays.

A lease is trusted until its end by the local clock, counted from before it was asked for and less a margin, so this
side stops before the database lets anyone else begin. NATS knows no fences: a publish that was already sent when a
process froze can still arrive late; Nats-Msg-Id drops it within the duplicate window, consumers by position after.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import structlog

from services.kit import subjects
from services.kit.relay import store

log = structlog.get_logger()

MARGIN_SECONDS: Final = 0.5  # clocks of two hosts run at the same speed to well within this over one lease


class Shares:
    """The shards that this relay holds, with their fences."""

    def __init__(self, leases: store.Store, *, ttl_seconds: float, is_busy: Callable[[int], bool]) -> None:
        """is_busy: whether the relay has something of a shard in flight; such a shard is not given away."""
        self._leases = leases
        self._ttl_seconds = ttl_seconds
        self._is_busy = is_busy
        self._fences: dict[int, int] = {}
        self._until = 0.0

    @property
    def held(self) -> tuple[int, ...]:
        """The shards that may be published now."""
        return tuple(self._fences) if time.monotonic() < self._until else ()

    def fence(self, shard: int) -> int | None:
        """The fence under which a shard may be published now, or None."""
        return self._fences.get(shard) if time.monotonic() < self._until else None

    async def tick(self) -> tuple[int, ...]:
        """Renews; gives away what is more than a fair share, takes what is free. Returns the shards that are new.

        Raises what the database raises; what is held then ends by itself.
        """
        before = set(self._fences)
        asked = time.monotonic()
        fences, members = await self._leases.renew(self._ttl_seconds)
        fair = -(-subjects.SHARDS // max(1, members))  # rounded up: the last one may get a few less
        if len(fences) > fair:
            surplus = [shard for shard in fences if not self._is_busy(shard)][: len(fences) - fair]
            for shard in surplus:  # first here, so that nothing of them is begun while the database hears of it
                del fences[shard]
                self._fences.pop(shard, None)
            await self._leases.release(surplus)
        elif len(fences) < fair:
            fences |= await self._leases.claim(fair - len(fences), self._ttl_seconds)
        self._fences = fences
        self._until = asked + self._ttl_seconds - MARGIN_SECONDS
        if len(before) != len(fences):
            log.info("relay.shares", shards=len(fences), relays=members)
        return tuple(set(fences) - before)

    async def release_all(self) -> None:
        """Gives everything back, so that others take over at once."""
        shards, self._fences = tuple(self._fences), {}
        await self._leases.release(shards, leave=True)
