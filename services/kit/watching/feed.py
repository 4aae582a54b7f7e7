"""The changes of one key, read once for all its streams in this process."""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from services.kit import clock, errors
from services.kit.watching import metrics, ports, sharing, tokens
from services.kit.watching.view import Step, View

if TYPE_CHECKING:
    from services.kit.watching.subscription import Subscription

log = structlog.get_logger(__name__)

PAGES_KEPT: Final = 4  # streams that come back together read the same pages
RETRY_SECONDS_MAX: Final = 5.0


@dataclass(frozen=True, slots=True)
class Reads:
    """What the feeds of a hub read with. The gates bound how many of the process's connections streams may take.

    There are two, so that thousands of streams that begin at once don't keep changes from those that run.
    """

    stream: str
    source: ports.Source
    encoder: ports.Encoder
    limits: ports.Limits
    running: asyncio.Semaphore
    beginning: asyncio.Semaphore


@dataclass(slots=True)
class Page:
    """Changes before the logs begin, for streams that come back. frames: by the scope of a view."""

    changes: Sequence[ports.Change]
    to: int
    frames: dict[bytes, list[Step]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SharedSnapshot:
    """A snapshot as frames, for all streams of a view that connect at about the same time."""

    seq: int
    frames: Sequence[bytes]
    read_at: float


class Feed:
    """One key. Everything here runs in the hub's loop; only reads are awaited, and never a reader."""

    def __init__(self, tenant: str, key: str, position: ports.Position, reads: Reads) -> None:
        self.tenant = tenant
        self.key = key
        self.epoch = position.epoch
        self.seq = position.seq
        self.views: dict[bytes, View] = {}
        self.failure: errors.Error | None = None
        """Why all streams of the key must end."""
        self.confirmed_at = asyncio.get_running_loop().time()
        """When the database last said how far the key has come."""
        self.empty_since: float | None = self.confirmed_at
        self._reads = reads
        self._head = position.seq
        self._streams = 0
        self._behind = False
        self._pulling: asyncio.Task[None] | None = None
        self._pages: collections.OrderedDict[int, Page] = collections.OrderedDict()
        self._paged_at = self.confirmed_at
        self._page_flights: sharing.Flights[int, Page] = sharing.Flights()
        self._snapshots: dict[bytes, SharedSnapshot] = {}
        self._snapshot_flights: sharing.Flights[bytes, SharedSnapshot] = sharing.Flights()
        self._lag = metrics.LAG.labels(reads.stream)

    # --- what was committed ---

    def wake(self, seq: int | None = None) -> None:
        """Something was committed, up to seq if that is known."""
        if self.failure is not None or (seq is not None and seq <= self.seq):
            return
        self._behind = True
        if self._pulling is None or self._pulling.done():
            self._pulling = sharing.spawn(self._pull(), "watch-pull")

    def observe(self, head: ports.Position | None, seq_before: int) -> None:
        """The database says how far the key has come; seq_before: what we had when it was asked."""
        if head is None or head.epoch != self.epoch or head.seq < seq_before:
            self.fail("epoch")
            return
        self.confirmed_at = asyncio.get_running_loop().time()
        self._head = max(self._head, head.seq)
        if head.seq > self.seq:
            self.wake()

    async def refresh(self) -> None:
        """Asks the database how far the key has come."""
        before = self.seq
        async with self._reads.beginning:
            head = await self._reads.source.head(self.tenant, self.key)
        self.observe(head, before)

    @property
    def head(self) -> int:
        """The newest position that the database or a change has told."""
        return max(self._head, self.seq)

    async def _pull(self) -> None:
        failures = 0
        while self._behind and self.failure is None:
            self._behind = False
            try:
                async with self._reads.running:
                    tail = await self._reads.source.tail(self.tenant, self.key, self.seq)
            except Exception as error:  # noqa: BLE001  # a database that restarts: read again when it is back
                failures += 1
                self._behind = True
                metrics.FAILED_READS.labels(self._reads.stream).inc()
                log.warning("watch.read_failed", key=self.key, error=type(error).__name__, failures=failures)
                await asyncio.sleep(min(RETRY_SECONDS_MAX, 0.1 * 2 ** min(failures, 6)) * random.uniform(0.5, 1.0))  # noqa: S311
                continue
            failures = 0
            self._take(tail)
            await asyncio.sleep(self._reads.limits.settle_seconds)

    def _take(self, tail: ports.Tail) -> None:
        loop = asyncio.get_running_loop()
        self.confirmed_at = loop.time()
        changes = self._following(tail.batches, self.seq)
        if changes is None:
            self.fail("gap")
        elif changes:
            self.seq = changes[-1].seq
            self._behind = self._behind or tail.more
            for view in self.views.values():
                if view.append(changes, self.seq, self.confirmed_at):
                    for stream in view.streams:
                        stream.wake()
            now = clock.now()
            for batch in tail.batches:
                self._lag.observe(max(0.0, (now - batch.recorded_at) / dt.timedelta(seconds=1)))
        elif self._head > self.seq and not self._behind:
            self.fail("gap")  # the head has moved, and what moved it is not kept

    def _following(self, batches: Sequence[ports.Batch], after: int) -> list[ports.Change] | None:
        """The changes right after a position; None when they don't follow it: some are gone, or of another epoch."""
        changes: list[ports.Change] = []
        for batch in batches:
            if batch.epoch != self.epoch:
                return None
            for change in batch.changes:
                if change.seq > after:
                    if change.seq != after + 1:
                        return None
                    changes.append(change)
                    after = change.seq
        return changes

    def fail(self, reason: str) -> None:
        """Ends all streams of the key: what they have can't be continued."""
        if self.failure is None:
            log.warning("watch.resync", key=self.key, reason=reason)
            self.failure = errors.ResyncRequired()
            self.resync(reason, self._streams)
            self.wake_streams()

    def resync(self, reason: str, streams: int = 1) -> None:
        """Counts readers that have to begin again."""
        metrics.RESYNC.labels(self._reads.stream, reason).inc(streams)

    def wake_streams(self) -> None:
        """Lets every stream look at what has changed around it."""
        for view in self.views.values():
            for stream in view.streams:
                stream.wake()

    # --- streams ---

    def view(self, scope: bytes, names: ports.Names) -> View:
        """The view of a filter; a new one begins where the feed is."""
        found = self.views.get(scope)
        if found is None:
            position = ports.Position(self.epoch, self.seq)
            reads = self._reads
            found = self.views[scope] = View(reads.stream, scope, names, position, reads.encoder, reads.limits)
        return found

    def joined(self, view: View, stream: Subscription) -> None:
        """A stream begins."""
        view.streams.add(stream)
        self._streams += 1
        self.empty_since = None

    def left(self, view: View, stream: Subscription) -> None:
        """A stream has ended. A filter goes with its last stream; the whole view stays for those who come back."""
        view.streams.remove(stream)
        self._streams -= 1
        if not view.streams and view.names is not None:
            self.views.pop(view.scope, None)
        if not self._streams:
            self.empty_since = asyncio.get_running_loop().time()

    def sweep(self, now: float) -> None:
        """Drops what nobody needs any more."""
        for view in self.views.values():
            view.forget(now - self._reads.limits.log_seconds)
        fresh_since = now - self._reads.limits.snapshot_seconds
        self._snapshots = {scope: taken for scope, taken in self._snapshots.items() if taken.read_at >= fresh_since}
        if self._paged_at < now - self._reads.limits.log_seconds:
            self._pages.clear()

    async def page(self, after: int) -> Page:
        """Changes after a position that the logs no longer have. ResyncRequired when they are not kept."""
        found = self._pages.get(after)
        return found if found is not None else await self._page_flights.join(after, lambda: self._read_page(after))

    async def _read_page(self, after: int) -> Page:
        async with self._reads.beginning:
            tail = await self._reads.source.tail(self.tenant, self.key, after)
        changes = self._following(tail.batches, after)
        if not changes:
            raise errors.ResyncRequired
        self._paged_at = asyncio.get_running_loop().time()
        page = self._pages[after] = Page(changes, changes[-1].seq)
        while len(self._pages) > PAGES_KEPT:
            self._pages.popitem(last=False)
        return page

    async def snapshot(self, view: View) -> SharedSnapshot:
        """A snapshot from now, or from less than a second ago: changes after it follow in any case."""
        found = self._snapshots.get(view.scope)
        fresh_since = asyncio.get_running_loop().time() - self._reads.limits.snapshot_seconds
        if found is not None and found.read_at >= fresh_since:
            return found
        return await self._snapshot_flights.join(view.scope, lambda: self._read_snapshot(view))

    async def _read_snapshot(self, view: View) -> SharedSnapshot:
        reads = self._reads
        async with reads.beginning:
            began = asyncio.get_running_loop().time()
            taken = await reads.source.snapshot(self.tenant, self.key, view.names)
        metrics.SNAPSHOTS.labels(reads.stream).inc()
        if taken.position.epoch != self.epoch:
            self.fail("epoch")
            raise errors.ResyncRequired
        seq, last = taken.position.seq, len(taken.chunks) - 1
        incomplete = tokens.restart(view.scope)
        frames = [
            reads.encoder.snapshot(view.token(seq) if number == last else incomplete, chunk, seq, last=number == last)
            for number, chunk in enumerate(taken.chunks)
        ]
        shared = self._snapshots[view.scope] = SharedSnapshot(seq, frames, began)
        return shared

    def stop(self) -> None:
        """Ends what is being read."""
        if self._pulling is not None:
            self._pulling.cancel()
        self._page_flights.cancel()
        self._snapshot_flights.cancel()
