from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from services.kit import database, errors, inbox
from services.kit.inbox import catching_up, owners, positions
from tillmesh.common.v1 import event_pb2


class Line:
    """An owner whose key is a list of events, of which the first few are no longer kept."""

    def __init__(self, events: Sequence[event_pb2.EventEnvelope], gone: int) -> None:
        self.events, self.gone, self.reads = events, gone, 0

    async def read_events(
        self, tenant_id: str, key: str, after_seq: int, limit: int
    ) -> Sequence[event_pb2.EventEnvelope]:
        self.reads += 1
        kept = self.events[self.gone :]
        if kept[0].seq_from > after_seq + 1:
            oldest = {owners.OLDEST_EPOCH: str(kept[0].epoch), owners.OLDEST_SEQ: str(kept[0].seq_from - 1)}
            raise errors.ResyncRequired(metadata=oldest)
        return [event for event in kept if event.seq_to > after_seq][:limit]

    async def list_event_heads(
        self, recorded_after: dt.datetime | None, page_size: int, page_token: str
    ) -> event_pb2.ListEventHeadsResponse:
        raise NotImplementedError


@given(
    spans=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    newer=st.integers(0, 59),
    gone=st.integers(0, 59),
    wanted=st.integers(0, 59),
)
def test_the_beginning_of_a_newer_epoch_is_found_wherever_it_lies(
    spans: list[int], newer: int, gone: int, wanted: int
) -> None:
    newer, gone = min(newer, len(spans) - 1), min(gone, len(spans) - 1)
    wanted = max(newer, gone, min(wanted, len(spans) - 1))  # an event that exists, of the newer epoch
    events, seq = [], 0
    for index, span in enumerate(spans):
        epoch = 2 if index >= newer else 1
        events.append(event_pb2.EventEnvelope(epoch=epoch, seq_from=seq + 1, seq_to=seq + span))
        seq += span
    line = Line(events, gone)
    subscription = inbox.Subscription("c", "orders", cast(inbox.Effect, None), line)
    catch_up = catching_up.CatchUp(cast(database.Database, None), "inventory", subscription)
    here = positions.Position(1, 10_000)
    found = asyncio.run(catch_up._begin_of_newer_epoch("ten_1", "loc_1", here, positions.of(events[wanted])))
    first = events[max(newer, gone)]
    assert found == positions.Position(2, first.seq_from - 1)
    assert line.reads <= 20
