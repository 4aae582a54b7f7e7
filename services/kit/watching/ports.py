"""What a kind of stream brings along: where changes come from, how frames are written, and the limits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from services.kit import errors


class Position(NamedTuple):
    """How far a key has come. Positions of different epochs do not compare."""

    epoch: int
    seq: int


class Change(NamedTuple):
    """One committed command: what it changed, by name. Payloads are the Encoder's."""

    seq: int
    entries: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes that were committed together. Their seqs follow each other without gaps."""

    epoch: int
    recorded_at: dt.datetime
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Tail:
    """Batches after a position, in order. more: the read was cut at its bound."""

    batches: Sequence[Batch]
    more: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is, as of a position, in chunks that the Encoder understands; at least one chunk."""

    position: Position
    chunks: Sequence[bytes]


Names = frozenset[str] | None
"""A filter: the names that matter; None: all."""


class Source(Protocol):
    """Reads of one kind of key. tenant and key are TypeID texts. Errors other than errors.Error are tried again."""

    async def head(self, tenant: str, key: str) -> Position:
        """How far the key has come, now. NotFound when the tenant has no such key."""

    async def heads(self, tenant: str, keys: Sequence[str]) -> Mapping[str, Position]:
        """The same for many; what isn't there is left out."""

    async def tail(self, tenant: str, key: str, after: int) -> Tail:
        """What is still kept of the changes after a position, from its beginning, as of one moment."""

    async def snapshot(self, tenant: str, key: str, names: Names) -> Snapshot:
        """All that is, as of one moment."""


class Encoder(Protocol):
    """Frames as bytes. token is what a reader gives back to go on right after the frame."""

    def snapshot(self, token: str, chunk: bytes, seq: int, *, last: bool) -> bytes:
        """Part of a snapshot."""

    def changes(self, token: str, seq_from: int, seq_to: int, payloads: Sequence[bytes]) -> bytes:
        """Changes of one or more commands, in order."""

    def progress(self, token: str, seq: int) -> bytes:
        """Nothing at or below seq remains to be sent."""

    def draining(self, token: str, within_seconds: float) -> bytes:
        """The process goes away."""

    def ended(self, token: str, error: errors.Error) -> bytes:
        """The stream ends."""

    def placed(self, frame: bytes, token: str, key: str) -> bytes:
        """A frame of one key's in a stream of several, whose token it gets."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes and times, each with its reason."""

    progress_seconds: float = 15.0
    """A reader may take a longer silence for a dead connection."""
    lifetime_seconds: float = 900.0
    """Checks access anew and spreads streams over processes."""
    blocked_seconds: float = 30.0
    """A reader that takes nothing for so long is cut off."""
    frame_entries: int = 500
    """Whole commands are put into a frame up to so many entries."""
    frame_bytes: int = 200_000
    """As JSON about four times as many, and the edge passes on 1 MiB a message."""
    log_entries: int = 1024
    """Behind so many a reader gets the newest entry of each name: 5 s of 200 changes a second."""
    latest_names: int = 1000
    """Behind so many names it ends: a snapshot would be cheaper."""
    log_seconds: float = 60.0
    """Longer than blocked_seconds: what no reader can be waiting for any more is dropped."""
    poll_seconds: float = 0.4
    """How late a change may be when ping and notice were lost."""
    settle_seconds: float = 0.004
    """Between two reads of one key: changes of a busy key are read together."""
    stale_seconds: float = 30.0
    """Unable to read for so long, streams end: figures on a till must not look alive when they are not."""
    snapshot_seconds: float = 1.0
    """How long a snapshot may serve streams that connect after it was read."""
    linger_seconds: float = 10.0
    """How long a feed outlives its last stream: they come back together."""
    running_reads: int = 2
    """Reads at once for streams that run, of the process's connections."""
    beginning_reads: int = 2
    """Reads at once for streams that begin: heads, snapshots, what they missed."""
