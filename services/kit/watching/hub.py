"""All streams of one kind in this process: their feeds, one poll, one timer, one end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from services.kit import errors
from services.kit.watching import metrics, ports, sharing, tokens, wheel
from services.kit.watching.feed import Feed, Reads
from services.kit.watching.merging import Merged
from services.kit.watching.subscription import Subscription

log = structlog.get_logger(__name__)

KEYS_PER_READ = 500
POLL_SHARE = 0.2  # of the time at most: with very many tenants the poll gets slower rather than heavier
POLL_SECONDS_MAX = 2.0  # but not so slow that streams can't be confirmed
LIFETIME_JITTER = 0.1  # streams that began together don't come back together
EXPIRY_MARGIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a reader asked for. scope: of its tokens. ends_at: by loop.time()."""

    tenant: str
    key: str
    scope: bytes
    names: ports.Names
    ends_at: float
    cut: Callable[[], object] | None


class Hub:
    """hub = Hub("stock", source, encoder); hub.start(); …; hub.drain(2); await hub.emptied(2); await hub.stop()."""

    def __init__(
        self, stream: str, source: ports.Source, encoder: ports.Encoder, limits: ports.Limits | None = None
    ) -> None:
        """stream: the kind, for metrics. Needs a running loop."""
        self.stream = stream
        self.encoder = encoder
        self.limits = limits or ports.Limits()
        self.wheel = wheel.Wheel(asyncio.get_running_loop().time())
        self.draining = False
        self.stopping = False
        self.drain_seconds = 0.0
        gates = asyncio.Semaphore(self.limits.running_reads), asyncio.Semaphore(self.limits.beginning_reads)
        self._reads = Reads(stream, source, encoder, self.limits, *gates)
        self._source = source
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._openings: sharing.Flights[tuple[str, str], Feed] = sharing.Flights()
        self._tasks: list[asyncio.Task[None]] = []
        self._streams: set[Subscription] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._active = metrics.ACTIVE.labels(stream)
        self._watched = metrics.FEEDS.labels(stream)

    # --- life ---

    def start(self) -> None:
        """Begins to poll and to keep time."""
        self._tasks = [sharing.spawn(self._poll(), "watch-poll"), sharing.spawn(self._tick(), "watch-tick")]

    def drain(self, within_seconds: float) -> None:
        """Tells every stream that the process goes away, and takes no more. Streams go on until `stop`."""
        self.draining, self.drain_seconds = True, within_seconds
        self._wake_all()

    async def stop(self, timeout_seconds: float = 2.0) -> None:
        """Ends every stream with DRAINING, waits for readers to take that, then cuts off those who don't."""
        self.draining = self.stopping = True
        self._wake_all()
        await self.emptied(timeout_seconds)
        for subscription in list(self._streams):
            subscription.cut(errors.Draining())
        self._openings.cancel()
        for feed in self._feeds.values():
            feed.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._feeds.clear()
        self._watched.set(0)

    async def emptied(self, timeout_seconds: float) -> None:
        """Waits until the last stream has ended, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()

    def _wake_all(self) -> None:
        for subscription in self._streams:
            subscription.wake()

    @property
    def open(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    # --- streams ---

    async def subscribe(
        self,
        tenant: str,
        key: str,
        *,
        names: ports.Names = None,
        token: str = "",
        expires_at: float | None = None,
        refuse_in_band: bool = False,
        cut: Callable[[], object] | None = None,
    ) -> Subscription:
        """A stream that is ready to give frames; `close` it when its rpc ends.

        tenant, key: TypeIDs. names: folded. expires_at: Unix seconds at which the reader's token ends. refuse_in_band:
        a token that can't be resumed becomes the first and last frame. cut: interrupts the rpc of a reader that takes
        nothing. NotFound, ResyncRequired, InvalidRequest, Draining, Unavailable.
        """
        if self.draining:
            raise errors.Draining
        wanted = _Wanted(tenant, key, tokens.scope(tenant, key, names), names, self._ends_at(expires_at), cut)
        try:
            return await self._begin(wanted, self._decode(token, wanted.scope) if token else None)
        except (errors.ResyncRequired, errors.InvalidRequest):
            if not refuse_in_band:
                raise
        subscription = await self._begin(wanted, None)
        subscription.refuse(errors.ResyncRequired())
        return subscription

    async def subscribe_several(
        self,
        tenant: str,
        keys: Collection[str],
        *,
        names: ports.Names = None,
        token: str = "",
        expires_at: float | None = None,
        refuse_in_band: bool = False,
        cut: Callable[[], object] | None = None,
    ) -> Merged:
        """One stream of several keys, as `subscribe`; it holds a place for each of them, and what is promised of a key
        holds for each. A token of which one key can't be resumed is refused as a whole.
        """
        if self.draining:
            raise errors.Draining
        ends_at, ordered = self._ends_at(expires_at), sorted(set(keys))
        scope = tokens.several_scope(tenant, ordered, names)
        wanted = [_Wanted(tenant, key, tokens.scope(tenant, key, names), names, ends_at, cut) for key in ordered]
        try:
            found = self._decode_several(token, scope, len(wanted)) if token else [None] * len(wanted)
            return await self._begin_several(wanted, found, scope)
        except (errors.ResyncRequired, errors.InvalidRequest):
            if not refuse_in_band:
                raise
        merged = await self._begin_several(wanted, [None] * len(wanted), scope)
        merged.refuse(errors.ResyncRequired())
        return merged

    async def _begin_several(
        self, wanted: Sequence[_Wanted], found: Sequence[tokens.Token | None], scope: bytes
    ) -> Merged:
        parts: dict[str, Subscription] = {}
        try:
            for one, token in zip(wanted, found, strict=True):
                parts[one.key] = await self._begin(one, token)
        except BaseException:
            for part in parts.values():
                part.close()
            raise
        return Merged(parts, scope, self.encoder)

    async def _begin(self, wanted: _Wanted, token: tokens.Token | None) -> Subscription:
        for last_try in (False, True):
            feed = await self._feed(wanted.tenant, wanted.key)
            subscription = Subscription(self, feed, feed.view(wanted.scope, wanted.names), wanted.ends_at, wanted.cut)
            self._entered(subscription)
            try:
                if token is None:
                    subscription.begin()
                else:
                    await subscription.resume(token)
            except BaseException as error:
                subscription.close()
                if isinstance(error, errors.ResyncRequired) and feed.failure is not None and not last_try:
                    continue  # it was the feed that had missed a restore, not the token
                raise
            return subscription
        raise AssertionError("the last try returns or raises")

    def _decode(self, token: str, scope: bytes) -> tokens.Token:
        try:
            return tokens.decode(token, scope)
        except errors.Error:
            metrics.RESYNC.labels(self.stream, "token").inc()
            raise

    def _decode_several(self, token: str, scope: bytes, count: int) -> Sequence[tokens.Token]:
        try:
            return tokens.decode_several(token, scope, count)
        except errors.Error:
            metrics.RESYNC.labels(self.stream, "token").inc()
            raise

    def _ends_at(self, expires_at: float | None) -> float:
        seconds = self.limits.lifetime_seconds * random.uniform(1 - LIFETIME_JITTER, 1.0)  # noqa: S311
        if expires_at is not None:
            seconds = min(seconds, expires_at - time.time() - EXPIRY_MARGIN_SECONDS)
        return asyncio.get_running_loop().time() + seconds

    def _entered(self, subscription: Subscription) -> None:
        self._streams.add(subscription)
        self._active.inc()
        self._empty.clear()

    def left(self, subscription: Subscription) -> None:
        """A stream has ended."""
        self._streams.remove(subscription)
        self._active.dec()
        if not self._streams:
            self._empty.set()

    async def _feed(self, tenant: str, key: str) -> Feed:
        feed = self._feeds.get((tenant, key))
        if feed is None or feed.failure is not None:
            feed = await self._openings.join((tenant, key), lambda: self._open_feed(tenant, key))
        return feed

    async def _open_feed(self, tenant: str, key: str) -> Feed:
        async with self._reads.beginning:
            position = await self._source.head(tenant, key)
        feed = self._feeds[tenant, key] = Feed(tenant, key, position, self._reads)
        self._watched.set(len(self._feeds))
        return feed

    # --- news ---

    def notify(self, tenant: str, key: str, seq: int | None = None) -> None:
        """Something of the key was committed (up to seq). Never blocks; may be lost, the poll is behind it."""
        feed = self._feeds.get((tenant, key))
        if feed is not None:
            feed.wake(seq)

    async def _poll(self) -> None:
        while True:
            spent = 0.0
            try:
                for tenant, feeds in self._by_tenant().items():
                    for some in _chunks(feeds):
                        spent += await self._ask(tenant, some)
                self._sweep()
            except Exception:  # without the poll, every stream would end
                log.exception("watch.poll_failed")
            pause = self.limits.poll_seconds * random.uniform(0.8, 1.2)  # noqa: S311
            await asyncio.sleep(max(pause, min(spent * (1 / POLL_SHARE - 1), POLL_SECONDS_MAX)))

    def _by_tenant(self) -> dict[str, list[Feed]]:
        feeds: dict[str, list[Feed]] = {}
        for feed in self._feeds.values():
            feeds.setdefault(feed.tenant, []).append(feed)
        return feeds

    async def _ask(self, tenant: str, feeds: list[Feed]) -> float:
        """Compares feeds with the database; the seconds that this took of a connection."""
        loop = asyncio.get_running_loop()
        async with self._reads.running:
            before, began = [feed.seq for feed in feeds], loop.time()
            try:
                heads = await self._source.heads(tenant, [feed.key for feed in feeds])
            except Exception as error:  # noqa: BLE001  # a database that restarts: the next poll tries again
                metrics.FAILED_READS.labels(self.stream).inc()
                log.warning("watch.heads_unread", error=type(error).__name__)
                return loop.time() - began
        for feed, seq in zip(feeds, before, strict=True):
            feed.observe(heads.get(feed.key), seq)
        return loop.time() - began

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for place, feed in list(self._feeds.items()):
            feed.sweep(now)
            idle = feed.empty_since is not None and now - feed.empty_since > self.limits.linger_seconds
            if idle or (feed.failure is not None and feed.empty_since is not None):
                feed.stop()
                del self._feeds[place]
        self._watched.set(len(self._feeds))

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(wheel.TICK_SECONDS)
            now = loop.time()
            for item in self.wheel.due(now):
                try:
                    item.look(now)
                except Exception:  # one stream must not stop the clock of all
                    log.exception("watch.look_failed")


def _chunks(feeds: list[Feed]) -> list[list[Feed]]:
    return [feeds[start : start + KEYS_PER_READ] for start in range(0, len(feeds), KEYS_PER_READ)]
