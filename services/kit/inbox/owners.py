"""The service whose events are consumed, as the source of truth behind the stream: its EventsService."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, Protocol

import grpc
from google.protobuf import timestamp_pb2

from services.kit import errors, status
from tillmesh.common.v1 import event_pb2, events_service_pb2_grpc

CALL_SECONDS: Final = 10.0
#: Metadata of RESYNC_REQUIRED: the position right before the oldest event that is kept, from which reading works again.
OLDEST_EPOCH: Final = "oldest_epoch"
OLDEST_SEQ: Final = "oldest_seq"


class Owner(Protocol):
    """Where events can be read again."""

    async def read_events(
        self, tenant_id: str, key: str, after_seq: int, limit: int
    ) -> Sequence[event_pb2.EventEnvelope]:
        """Events of a key after a position, in order, at most limit; none: there are no more.

        errors.ResyncRequired, with OLDEST_EPOCH and OLDEST_SEQ in its metadata, when some are no longer kept.
        """
        ...

    async def list_event_heads(
        self, recorded_after: dt.datetime | None, page_size: int, page_token: str
    ) -> event_pb2.ListEventHeadsResponse:
        """A page of the newest positions of all keys that changed after a moment of the owner's clock."""
        ...


class StubOwner:
    """An owner over gRPC, by a stub on a `channels.ServiceChannel` (or a bare channel)."""

    def __init__(self, stub: events_service_pb2_grpc.EventsServiceAsyncStub) -> None:
        self._stub = stub

    async def read_events(
        self, tenant_id: str, key: str, after_seq: int, limit: int
    ) -> Sequence[event_pb2.EventEnvelope]:
        """See Owner."""
        request = event_pb2.ReadEventsRequest(tenant_id=tenant_id, key=key, after_seq=after_seq, limit=limit)
        try:
            response = await self._stub.ReadEvents(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise status.received(error, reads=True) or error from error
        return response.events

    async def list_event_heads(
        self, recorded_after: dt.datetime | None, page_size: int, page_token: str
    ) -> event_pb2.ListEventHeadsResponse:
        """See Owner."""
        after = None
        if recorded_after is not None:
            after = timestamp_pb2.Timestamp()
            after.FromDatetime(recorded_after)
        request = event_pb2.ListEventHeadsRequest(recorded_after=after, page_size=page_size, page_token=page_token)
        return await self._stub.ListEventHeads(request, timeout=CALL_SECONDS)


def kept_after(error: errors.ResyncRequired) -> tuple[int, int] | None:
    """(epoch, seq) right before the oldest event that is kept; None when the owner didn't say."""
    try:
        return int(error.metadata[OLDEST_EPOCH]), int(error.metadata[OLDEST_SEQ])
    except (KeyError, ValueError):
        return None
