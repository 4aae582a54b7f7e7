"""Streams of changes: a snapshot, then every change after it, resumable with a token on any process.

Knows nothing of stock: keys are texts, frames are bytes that the service's Encoder makes, changes come from its Source.

A `Hub` (one a process and kind of stream) keeps a `Feed` for each key that somebody watches. The feed reads what was
committed, once for all streams of the key, woken by the writer, by a ping or by the poll. A `View` of the feed holds
what one filter lets through: a short log of frames that its streams share, and the newest entry of each name. A
`Subscription` is one stream: a position in the view and nothing else, so a slow reader costs nothing and holds up
nobody. It reads the log at its own pace; behind the log it gets the newest entries instead (conflated); behind those it
ends with SLOW_READER.

How a stream ends: the last frame says why, in band, for readers that can't see a status. Then STREAM_LIFETIME and
DRAINING end the rpc with OK, since nothing went wrong; SLOW_READER, RESYNC_REQUIRED, UNAVAILABLE and defects are also
its status. A token that can't be resumed is refused before the first frame, as a plain OUT_OF_RANGE. A reader that
takes nothing for `blocked_seconds` is cut off without a last frame, since it would not take that either.

A `Merged` is one stream of several keys: a `Subscription` for each, whose frames it gives as they come. It adds no
buffer either, and its token holds the position of each.
"""

from __future__ import annotations

from services.kit.watching.hub import Hub
from services.kit.watching.merging import Merged
from services.kit.watching.ports import Batch, Change, Encoder, Limits, Position, Snapshot, Source, Tail
from services.kit.watching.subscription import Subscription
from services.kit.watching.wire import bytes_through

__all__ = [
    "Batch",
    "Change",
    "Encoder",
    "Hub",
    "Limits",
    "Merged",
    "Position",
    "Snapshot",
    "Source",
    "Subscription",
    "Tail",
    "bytes_through",
]
