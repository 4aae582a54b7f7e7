"""One stream: a position in a view, and what its reader is told next."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Final

from services.kit import errors, status
from services.kit.watching import metrics, ports, tokens, wheel
from services.kit.watching.feed import Feed
from services.kit.watching.view import Step, View

if TYPE_CHECKING:
    from services.kit.watching.hub import Hub

# These ends are planned: nothing went wrong, so the rpc ends with OK after the last frame.
PLANNED: Final = (errors.StreamLifetime, errors.Draining)
# Progress is withheld while the database does not answer: it would say that nothing was missed.
UNCONFIRMED_SECONDS: Final = 5.0
RECHECK_SECONDS: Final = 1.0
# What looking for a frame gives besides one: there may be more, or there is nothing to say.
AGAIN: Final = None
NOTHING: Final = b""
# Where a part of a snapshot leads to: no position, only more of it.
INCOMPLETE: Final = -1


class Subscription:
    """Made by Hub.subscribe. Thousands of them are idle most of the time: no task, no timer, no buffer of its own."""

    __slots__ = (
        "_cut", "_end", "_ends_at", "_feed", "_hub", "_prepared", "_progress_at", "_refused", "_replay_to",
        "_snapshot_due", "_view", "_waiter", "_whole", "_writing_since",
        "closed", "cursor", "on_wake", "over", "raised", "slot", "told",
    )  # fmt: skip

    def __init__(self, hub: Hub, feed: Feed, view: View, ends_at: float, cut: Callable[[], object] | None) -> None:
        """ends_at: by loop.time(). cut: interrupts the rpc of a reader that takes nothing."""
        self.cursor = 0
        """Everything up to here has been handed to the reader."""
        self.closed = False
        self.slot = 0
        self.over = False
        """The last frame was given."""
        self.raised: errors.Error | None = None
        """How the rpc ends, unless the end was planned."""
        self.told = False
        """The reader knows that the process goes away."""
        self.on_wake: Callable[[], None] | None = None
        """Instead of ending a wait: whoever merges streams waits for all of them at once."""
        self._hub = hub
        self._feed = feed
        self._view = view
        self._ends_at = ends_at
        self._cut = cut
        self._end: errors.Error | None = None
        self._refused = False
        self._snapshot_due = False
        self._whole = True
        self._replay_to = 0
        self._prepared: Iterator[Step] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writing_since = 0.0
        self._progress_at = 0.0
        self._plan_progress()
        feed.joined(view, self)

    # --- the beginning ---

    def begin(self) -> None:
        """Starts with a snapshot."""
        self._snapshot_due, self._whole = True, False

    async def resume(self, token: tokens.Token) -> None:
        """Starts right after a token's frame. ResyncRequired when that can't be done without a gap."""
        if token.restart:
            self.begin()
            return
        epoch, seq = token.position
        if epoch != self._feed.epoch or seq > self._feed.head:
            await self._feed.refresh()  # another process may have been ahead of ours
        if epoch != self._feed.epoch or seq > self._feed.head:
            self._feed.resync("epoch" if epoch != self._feed.epoch else "future")
            raise errors.ResyncRequired
        self.cursor = seq
        self._replay_to = self._view.floor
        if seq < self._replay_to:
            await self._load_page()  # now, so that what is no longer kept is refused before the first frame

    def refuse(self, error: errors.Error) -> None:
        """Starts with the end: for readers that only understand frames."""
        self._end, self._whole, self._refused = error, False, True

    # --- frames ---

    async def frames(self) -> AsyncIterator[bytes]:
        """What the reader gets; the last one says why it ends. Then raises, unless the end was planned."""
        loop = asyncio.get_running_loop()
        try:
            while (frame := await self._next()) is not None:
                self.writing(loop.time())
                yield frame
                self.written()
        finally:
            self.close()
        if self.raised is not None:
            raise self.raised

    async def _next(self) -> bytes | None:
        while not self.over:
            if (frame := await self.take()) is not None:
                return frame
            await self._wait()
        return None

    async def take(self) -> bytes | None:
        """The next frame, if there is one to give now; never waits for news. Not after the last one."""
        while True:
            try:
                reason = self._why_end()
                frame = self._ended(reason) if reason is not None else await self._more()
            except errors.Error as error:
                frame = self._ended(error)
            except Exception as error:  # noqa: BLE001  # whatever it is, the reader is told in band
                frame = self._ended(status.from_exception(error, method="watch", reads=True))
            if frame is not AGAIN:
                return frame or None

    def writing(self, now: float) -> None:
        """A frame goes to the reader: from now on it may be too slow."""
        self._writing_since = now
        self._hub.wheel.move(self, now + self._hub.limits.blocked_seconds)

    def written(self) -> None:
        """The reader has taken it."""
        self._writing_since = 0.0

    @property
    def reached(self) -> ports.Position | None:
        """After the last frame that was given; None: a snapshot is not complete, and begins again."""
        return ports.Position(self._feed.epoch, self.cursor) if self._whole else None

    def _why_end(self) -> errors.Error | None:
        now = asyncio.get_running_loop().time()
        if self._end is not None:
            return self._end
        if self._feed.failure is not None:
            self._whole = False  # positions of before mean nothing now
            return self._feed.failure
        if self._hub.stopping:
            return errors.Draining()
        if now >= self._ends_at:
            return errors.StreamLifetime()
        if now - self._feed.confirmed_at > self._hub.limits.stale_seconds:
            return errors.Unavailable()
        return None

    def _ended(self, error: errors.Error) -> bytes:
        self.over = True
        if isinstance(error, errors.ResyncRequired):
            self._whole = False
        if not isinstance(error, PLANNED) and not self._refused:
            self.raised = error
        if not self.closed:  # what was cut off is counted
            metrics.ENDED.labels(self._hub.stream, error.reason).inc()
        return self._hub.encoder.ended(self._token(), error)

    def _token(self) -> str:
        return self._view.token(self.cursor) if self._whole else tokens.restart(self._view.scope)

    async def _more(self) -> bytes | None:
        """The next frame; AGAIN: look again; NOTHING: there is none."""
        if self._prepared is not None:
            step = next(self._prepared, None)
            if step is not None:
                return self._hand(step)
            self._prepared = None
        if self._snapshot_due:
            await self._load_snapshot()
        elif self.cursor < self._replay_to:
            await self._load_page()
        elif (found := self._view.after(self.cursor)) is not None:
            return self._hand(found)
        elif self._hub.draining and not self.told:
            self.told = True
            return self._hub.encoder.draining(self._token(), self._hub.drain_seconds)
        elif (now := asyncio.get_running_loop().time()) >= self._progress_at and self._confirmed(now):
            self._plan_progress()
            return self._hub.encoder.progress(self._token(), self.cursor)
        else:
            return NOTHING
        return AGAIN

    def _hand(self, step: Step) -> bytes | None:
        if step.to != INCOMPLETE:
            self.cursor = max(self.cursor, step.to)
            self._whole = True
        return AGAIN if step.frame is None else step.frame

    def _confirmed(self, now: float) -> bool:
        return now - self._feed.confirmed_at <= UNCONFIRMED_SECONDS

    def _plan_progress(self) -> None:
        # Jittered, so that streams that began together don't stay together; a tick early, so that it is never late.
        wait = self._hub.limits.progress_seconds * random.uniform(0.7, 1.0) - 2 * wheel.TICK_SECONDS  # noqa: S311
        self._progress_at = asyncio.get_running_loop().time() + max(wheel.TICK_SECONDS, wait)

    async def _load_snapshot(self) -> None:
        shared = await self._feed.snapshot(self._view)
        last = len(shared.frames) - 1
        steps = [Step(frame, shared.seq if n == last else INCOMPLETE) for n, frame in enumerate(shared.frames)]
        self._prepared = iter(steps)
        self._snapshot_due = False
        # What the log has dropped since is read again, so that a slow line gets through a long snapshot.
        self._replay_to = self._view.floor

    async def _load_page(self) -> None:
        try:
            page = await self._feed.page(self.cursor)
        except errors.ResyncRequired:
            self._feed.resync("retention")
            raise
        steps = page.frames.get(self._view.scope)
        if steps is None:
            steps = page.frames[self._view.scope] = self._view.steps(page.changes, page.to)
        self._prepared = iter(steps)

    # --- waiting ---

    def rest(self) -> None:
        """Asks to be looked at when there is something to say even without news."""
        now = asyncio.get_running_loop().time()
        at = self._progress_at if self._progress_at > now else now + RECHECK_SECONDS
        self._hub.wheel.move(self, min(at, self._ends_at))

    async def _wait(self) -> None:
        self.rest()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """There may be something to do."""
        if self.on_wake is not None:
            self.on_wake()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def look(self, now: float) -> None:
        """The wheel's call: time for progress or for an end, or a check on a reader that takes its time."""
        if self.closed:
            return
        if self._waiter is not None or (self.on_wake is not None and not self._writing_since):
            self.wake()
            return
        if self._writing_since and now - self._writing_since >= self._hub.limits.blocked_seconds:
            self.cut(errors.SlowReader())
        elif self._writing_since and now >= self._ends_at + RECHECK_SECONDS:
            self.cut(errors.StreamLifetime())
        else:
            self._hub.wheel.move(self, now + RECHECK_SECONDS)

    def cut(self, error: errors.Error) -> None:
        """Ends a stream whose reader takes nothing. If it takes something yet, that is the last frame."""
        if self.closed:
            return
        self._end = error
        metrics.ENDED.labels(self._hub.stream, error.reason).inc()
        self.close()
        if self._cut is not None:
            self._cut()

    def close(self) -> None:
        """Lets go of everything. Safe to repeat."""
        if self.closed:
            return
        self.closed = True
        self._hub.wheel.remove(self)
        self._feed.left(self._view, self)
        self._hub.left(self)
        self.wake()
