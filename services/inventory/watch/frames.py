"""WatchStockResponse as bytes. Parts are joined as protobuf does: messages written one after the other are merged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from google.protobuf import duration_pb2

from services.kit import clock, errors, status
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2 as stock_pb

Response = pb.WatchStockResponse
Placed = pb.WatchLocationsResponse
TOKEN_TAG: Final = 1 << 3 | 2  # field 1, a text; fields are written in the order of their numbers
TOKEN_BYTES_MAX: Final = 127  # so that its length is one byte
CHUNK_BYTES_MAX: Final = 200_000  # as JSON about four times as many; the edge passes on 1 MiB a message


def change_payload(seq: int, level: stock_pb.StockLevel) -> bytes:
    """One level after one command, ready to be joined with others."""
    return Response.Changes(changes=[Response.LevelChange(seq=seq, level=level)]).SerializeToString()


def chunk_payloads(levels: Sequence[stock_pb.StockLevel]) -> list[bytes]:
    """Levels as chunks of a snapshot, without their position: one, or more where levels are large."""
    payload = Response.SnapshotChunk(levels=levels).SerializeToString()
    if len(payload) <= CHUNK_BYTES_MAX or len(levels) == 1:
        return [payload]
    middle = len(levels) // 2
    return chunk_payloads(levels[:middle]) + chunk_payloads(levels[middle:])


class StockFrames:
    """The Encoder of stock (services.kit.watching)."""

    def snapshot(self, token: str, chunk: bytes, seq: int, *, last: bool) -> bytes:
        """Part of a snapshot."""
        frame = Response(resume_token=token)
        frame.snapshot_chunk.MergeFromString(chunk)
        frame.snapshot_chunk.seq = seq
        frame.snapshot_chunk.last = last
        return frame.SerializeToString()

    def changes(self, token: str, seq_from: int, seq_to: int, payloads: Sequence[bytes]) -> bytes:
        """Changes of one or more commands."""
        frame = Response(resume_token=token)
        frame.changes.seq_from = seq_from
        frame.changes.seq_to = seq_to
        frame.changes.MergeFromString(b"".join(payloads))
        return frame.SerializeToString()

    def progress(self, token: str, seq: int) -> bytes:
        """Nothing at or below seq remains to be sent."""
        frame = Response(resume_token=token)
        frame.progress.seq = seq
        frame.progress.at.CopyFrom(clock.timestamp(clock.now()))
        return frame.SerializeToString()

    def draining(self, token: str, within_seconds: float) -> bytes:
        """The process goes away."""
        within = duration_pb2.Duration()
        within.FromTimedelta(dt.timedelta(seconds=within_seconds))
        return Response(resume_token=token, draining=Response.Draining(within=within)).SerializeToString()

    def ended(self, token: str, error: errors.Error) -> bytes:
        """The stream ends."""
        return Response(resume_token=token, ended=Response.Ended(status=status.to_proto(error))).SerializeToString()

    def placed(self, frame: bytes, token: str, key: str) -> bytes:
        """A WatchLocationsResponse that says what a WatchStockResponse does, with another token and the location."""
        return (
            Placed(resume_token=token).SerializeToString()
            + _without_token(frame)
            + Placed(location_id=key).SerializeToString()
        )


def _without_token(frame: bytes) -> bytes:
    """The frame without its first field: twice in a message, the edge would print it twice."""
    if frame[0] != TOKEN_TAG or frame[1] > TOKEN_BYTES_MAX:
        raise ValueError("a frame begins with its token")
    return frame[2 + frame[1] :]
