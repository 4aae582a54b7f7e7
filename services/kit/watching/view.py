"""What one filter lets through of a key's changes: a log of frames that its streams share, and the newest entries.

No clock, no tasks: a feed appends, subscriptions ask what is after their position.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from services.kit import errors
from services.kit.watching import metrics, ports, tokens

if TYPE_CHECKING:
    from services.kit.watching.subscription import Subscription

FRAMES_KEPT = 64  # streams that keep up ask for the same frame within milliseconds of each other


class Step(NamedTuple):
    """What a stream sends next, if anything, and where it is then."""

    frame: bytes | None
    to: int


class _Item(NamedTuple):
    seq: int
    payloads: tuple[bytes, ...]
    at: float


class _Newest(NamedTuple):
    seq: int
    payload: bytes
    at: float


class View:
    """One filter of a feed. scope: of its tokens."""

    def __init__(
        self,
        stream: str,
        scope: bytes,
        names: ports.Names,
        at: ports.Position,
        encoder: ports.Encoder,
        limits: ports.Limits,
    ) -> None:
        self.scope = scope
        self.names = names
        self.seq = at.seq
        """Every change up to here has been looked at."""
        self.floor = at.seq
        """Changes up to here are not in the log."""
        self.streams: set[Subscription] = set()
        self._conflatable_from = at.seq
        self._epoch = at.epoch
        self._encoder = encoder
        self._limits = limits
        self._log: collections.deque[_Item] = collections.deque()
        self._entries = 0
        self._latest: collections.OrderedDict[str, _Newest] = collections.OrderedDict()
        self._frames: dict[int, Step] = {}
        self._conflated = metrics.CONFLATED.labels(stream)

    def token(self, seq: int) -> str:
        """A token that goes on after seq."""
        return tokens.at(ports.Position(self._epoch, seq), self.scope)

    def append(self, changes: Iterable[ports.Change], seq: int, now: float) -> bool:
        """Takes changes up to seq; whether any of them passes the filter."""
        before = len(self._log)
        for item in self._items(changes, now):
            self._log.append(item)
            self._entries += len(item.payloads)
        for change in changes:
            for name, payload in change.entries:
                if self.names is None or name in self.names:
                    self._latest[name] = _Newest(change.seq, payload, now)
                    self._latest.move_to_end(name)
        matched = len(self._log) > before
        self.seq = seq
        self._shorten()
        return matched

    def _items(self, changes: Iterable[ports.Change], now: float) -> Iterator[_Item]:
        for change in changes:
            if self.names is None:
                yield _Item(change.seq, tuple(payload for _, payload in change.entries), now)
            elif kept := tuple(payload for name, payload in change.entries if name in self.names):
                yield _Item(change.seq, kept, now)

    def _shorten(self) -> None:
        while self._entries > self._limits.log_entries and len(self._log) > 1:
            self._drop_first()
        while len(self._latest) > self._limits.latest_names:
            self._drop_oldest_name()
        while len(self._frames) > FRAMES_KEPT:
            del self._frames[next(iter(self._frames))]

    def forget(self, before: float) -> None:
        """Drops what came before a time: nobody waits for it any more."""
        while self._log and self._log[0].at < before:
            self._drop_first()
        while self._latest and next(iter(self._latest.values())).at < before:
            self._drop_oldest_name()
        if not self._log:
            self._frames.clear()

    def _drop_first(self) -> None:
        item = self._log.popleft()
        self._entries -= len(item.payloads)
        self._frames.pop(item.seq, None)
        self.floor = item.seq

    def _drop_oldest_name(self) -> None:
        _, newest = self._latest.popitem(last=False)
        self._conflatable_from = max(self._conflatable_from, newest.seq)

    def after(self, cursor: int) -> Step | None:
        """What comes after a position; None: nothing yet. SlowReader when too much does."""
        if cursor >= self.seq:
            return None
        if cursor < self.floor:
            return self._conflate(cursor)
        index = bisect.bisect_right(self._log, cursor, key=_seq)
        if index == len(self._log):
            return Step(None, self.seq)
        first = self._log[index].seq
        step = self._frames.get(first)
        if step is None:
            items, whole = self._group(itertools.islice(self._log, index, None))
            step = self._frames[first] = self._step(items, self.seq if whole else items[-1].seq)
        return step

    def _conflate(self, cursor: int) -> Step:
        if cursor < self._conflatable_from:
            raise errors.SlowReader
        newer = list(itertools.takewhile(lambda newest: newest.seq > cursor, reversed(self._latest.values())))
        if not newer:
            return Step(None, self.seq)
        payloads = [newest.payload for newest in reversed(newer)]
        if sum(map(len, payloads)) > self._limits.frame_bytes:
            raise errors.SlowReader
        self._conflated.inc()
        return Step(self._encoder.changes(self.token(self.seq), cursor + 1, self.seq, payloads), self.seq)

    def steps(self, changes: Sequence[ports.Change], to: int) -> list[Step]:
        """Frames of changes that are not in the log. to: the position after all of them."""
        items = list(self._items(changes, 0.0))
        steps: list[Step] = []
        while items:
            group, whole = self._group(items)
            steps.append(self._step(group, to if whole else group[-1].seq))
            items = items[len(group) :]
        return steps or [Step(None, to)]

    def _group(self, items: Iterable[_Item]) -> tuple[list[_Item], bool]:
        """As many whole commands as fit in a frame, at least one; whether that was all."""
        group: list[_Item] = []
        entries, size = self._limits.frame_entries, self._limits.frame_bytes
        for item in items:
            entries -= max(1, len(item.payloads))
            size -= sum(map(len, item.payloads))
            if group and (entries < 0 or size < 0):
                return group, False
            group.append(item)
        return group, True

    def _step(self, items: Sequence[_Item], to: int) -> Step:
        payloads = [payload for item in items for payload in item.payloads]
        return Step(self._encoder.changes(self.token(to), items[0].seq, items[-1].seq, payloads), to)


def _seq(item: _Item) -> int:
    return item.seq
