"""How soon a change is on the tills: 64 gRPC streams through Envoy follow one location while 200 changes a second come.

A till's frame is timed when its bytes are read; a change's moment is recorded_at in the ledger, which is taken before
its commit: the latency told is a little longer than commit to frame. Every stream must get every change exactly once,
and its positions must have no gap.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from tests.bench import floors, generator, machine, shop
from tests.bench.measuring import Measured
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2 as stock_pb

TILLS: Final = 64
CHANGES_PER_SECOND: Final = 200
SKUS: Final = 200
SNAPSHOT_SECONDS: Final = 30.0
ARRIVE_SECONDS: Final = 20.0
HEAD: Final = "SELECT seq FROM stock_head WHERE location_id = %(location)s"
LEDGER: Final = "SELECT seq, extract(epoch FROM recorded_at)::float8 FROM ledger WHERE location_id = %s AND seq > %s"


class Till:
    """What one stream has been told."""

    def __init__(self) -> None:
        self.position = -1
        self.seen: list[tuple[int, float]] = []
        """Position of each change, and when its frame came."""
        self.frames = 0

    def take(self, arrived: float, frame: pb.WatchStockResponse) -> None:
        """Mismatch when it doesn't follow what came before."""
        kind = frame.WhichOneof("frame")
        if kind == "snapshot_chunk" and frame.snapshot_chunk.last:
            self.position = frame.snapshot_chunk.seq
        elif kind == "changes":
            if frame.changes.seq_from != self.position + 1:
                raise generator.Mismatch(f"a stream at {self.position} was sent changes from {frame.changes.seq_from}")
            self.position = frame.changes.seq_to
            self.frames += 1
            self.seen += [(change.seq, arrived) for change in frame.changes.changes]
        elif kind in ("draining", "ended"):
            raise generator.Mismatch(f"a stream ended: {frame}")


class Watch:
    """Milliseconds from a change to its frame, at the 99th percentile of all streams and changes."""

    name = "watch-latency"
    unit = "ms"

    def __init__(self, at: shop.Shop) -> None:
        self._shop = at
        self._numbers = 0

    def prepare(self) -> None:
        """Makes the location and the changes."""
        self._location = self._shop.locations("WATCHED", 1)[0]
        self._id = shop.location_uuid(self._location)
        skus = self._shop.skus[:SKUS]
        self._shop.stock(self._location, dict.fromkeys(skus, shop.AMPLE))
        watch = pb.WatchStockRequest(location_id=self._location)
        self._watch = self._shop.generator.requests(
            [generator.Request(body=generator.grpc_body(watch.SerializeToString()))]
        )
        self._changes = self._shop.generator.requests([self._change(sku) for sku in skus])

    def _change(self, sku: str) -> generator.Request:
        message = pb.AdjustStockRequest(
            location_id=self._location,
            sku=sku,
            delta=1,
            reason=stock_pb.MOVEMENT_REASON_RECEIVED,
            request_id=f"{self.name}-{generator.NUMBER}",
        )
        return generator.Request(body=generator.grpc_body(message.SerializeToString()))

    def measure(self, seconds: float) -> Measured:
        """The 99th percentile, in milliseconds."""
        tills = {number: Till() for number in range(TILLS)}
        headers = generator.grpc_headers(f"{floors.SERVICE}/WatchStock", self._shop.token(), self._shop.http)
        watch = [header for header in headers if header[0] != "grpc-timeout"]  # a watch has no deadline
        load = generator.Load(self._shop.http, watch, self._watch, "grpc 0", seconds + 120, callers=(TILLS, 1))
        with self._shop.generator.watching(load) as streams:
            follow(tills, streams, 0, SNAPSHOT_SECONDS)
            first = self._head()
            with machine.usage({**self._shop.pids, "tills": streams.pid}) as used:
                report = self._write(seconds)
            made = report.require("grpc 0")
            follow(tills, streams, self._head(), ARRIVE_SECONDS)
        latencies = self._check(tills, first, made)
        details = {
            "p50_ms": _percentile(latencies, 0.5),
            "p99_ms": _percentile(latencies, 0.99),
            "max_ms": _percentile(latencies, 1.0),
            "streams": TILLS,
            "changes": made,
            "changes_a_second": report.per_second,
            "frames_a_stream": round(sum(till.frames for till in tills.values()) / TILLS, 1),
            "write_latency_ms": report.latency_ms,
            **used.told(),
            "settled_seconds": round(self._shop.settle(), 2),
        }
        return Measured(details["p99_ms"], details)

    def _write(self, seconds: float) -> generator.Report:
        headers = self._shop.grpc(f"{floors.SERVICE}/AdjustStock")
        load = generator.Load(
            self._shop.socket("inventory"),
            headers,
            self._changes,
            "grpc 0",
            seconds,
            warm_up_seconds=0.0,
            rate=CHANGES_PER_SECOND,
            first_number=self._numbers,
        )
        report = self._shop.generator.load(load)
        self._numbers += report.sent
        return report

    def _head(self) -> int:
        return int(self._shop.row("inventory", HEAD, location=self._id)[0])

    def _check(self, tills: Mapping[int, Till], first: int, made: int) -> list[float]:
        """Latencies in milliseconds, sorted. Mismatch unless every stream got every change exactly once."""
        with self._shop.rows("inventory") as session:
            recorded: dict[int, float] = dict(session.execute(LEDGER, [self._id, first]).fetchall())
        if len(recorded) != made:
            raise generator.Mismatch(f"{made} changes were answered, and the ledger has {len(recorded)}")
        for till in tills.values():
            if sorted(seq for seq, _ in till.seen) != sorted(recorded):
                raise generator.Mismatch(f"a stream was told {len(till.seen)} of {made} changes, or one of them twice")
        return sorted((arrived - recorded[seq]) * 1000 for till in tills.values() for seq, arrived in till.seen)

    def close(self) -> None:
        """Nothing runs."""


def follow(tills: Mapping[int, Till], streams: generator.Watching, position: int, seconds: float) -> None:
    """Reads until every till has reached the position. Mismatch when one hasn't in time."""
    limit = time.monotonic() + seconds
    while late := sum(till.position < position for till in tills.values()):
        for number, arrived, frame in streams.messages():
            tills[number].take(arrived, pb.WatchStockResponse.FromString(frame))
        if time.monotonic() > limit:
            raise generator.Mismatch(f"{late} streams didn't reach position {position} within {seconds:g} s")
        time.sleep(0.02)


def _percentile(values: list[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(len(values) * share))], 2)
