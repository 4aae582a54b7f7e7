"""Ten thousand tills: half of them through Envoy, half on the service's socket, 25 a shop, while 200 changes a second come.

Then readers who take nothing join, and must harm nobody. Then every process of the stack is restarted, and all tills come
back with their tokens. In the end each till's view of its shop must be what the database has, told without a gap.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench import floors, generator, machine, shop, watch
from tests.bench.measuring import Measured
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import inventory_service_pb2_grpc as inventory_rpc
from tillmesh.inventory.v1 import stock_pb2 as stock_pb

TILLS, TILLS_SHORT = 10_000, 300
TILLS_A_SHOP: Final = 25
SKUS: Final = 20
CHANGES_PER_SECOND: Final = 200
STALLED: Final = 20
CONNECT_SECONDS: Final = 180.0
ARRIVE_SECONDS: Final = 60.0
SPARE_FILES: Final = 500  # besides a descriptor for each stream
WATCH: Final = f"{floors.SERVICE}/WatchStock"
HEADS: Final = "SELECT location_id, seq FROM stock_head WHERE location_id = ANY (%s)"
LEVELS: Final = "SELECT location_id, sku, on_hand FROM stock_level WHERE location_id = ANY (%s)"
LEDGER: Final = """SELECT location_id, seq, extract(epoch FROM recorded_at)::float8 FROM ledger
    WHERE location_id = ANY (%s) AND recorded_at > now() - interval '1 hour'"""


class View(watch.Till):
    """What one till knows: its shop's levels, how far, and the token to go on with."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self.location = location
        self.token = ""
        self.on_hand: dict[str, int] = {}

    def take(self, arrived: float, frame: pb.WatchStockResponse) -> None:
        """As watch.Till; also keeps levels and token."""
        super().take(arrived, frame)
        self.token = frame.resume_token
        for level in frame.snapshot_chunk.levels:
            self.on_hand[level.sku] = level.on_hand
        for change in frame.changes.changes:
            self.on_hand[change.level.sku] = change.level.on_hand


class Tills:
    """Milliseconds from a change to its frame, at the 99th percentile of all tills."""

    name = "watch-tills"
    unit = "ms"

    def __init__(self, at: shop.Shop) -> None:
        self._shop = at
        self._tills = TILLS_SHORT if at.short else TILLS
        self._numbers = 0

    def prepare(self) -> None:
        """Makes the shops. Unavailable when not so many connections may be open."""
        self._raise_files()
        self._locations = self._shop.locations("TILLS", self._tills // TILLS_A_SHOP)
        self._uuids = [shop.location_uuid(location) for location in self._locations]
        self._skus = self._shop.skus[:SKUS]
        for location in self._locations:
            self._shop.stock(location, dict.fromkeys(self._skus, shop.AMPLE))
        self._stalled = self._shop.locations("STALLED", 1)[0]
        self._shop.stock(self._stalled, dict.fromkeys(self._shop.skus, shop.AMPLE))

    def _raise_files(self) -> None:
        """One client process and Envoy each hold a descriptor a stream; what we may raise, our children get."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < self._tills + SPARE_FILES:
            raise generator.Unavailable(
                f"{self._tills} streams need ulimit -n {self._tills + SPARE_FILES}, it is {hard}"
            )
        if soft < self._tills + SPARE_FILES:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def measure(self, seconds: float) -> Measured:
        """Connected, calm, with stalled readers, restarted."""
        details: dict[str, Any] = {"streams": self._tills, "short": self._shop.short, "stalled_readers": STALLED}
        ways = {"edge": self._views(0), "direct": self._views(1)}
        with machine.usage(self._shop.pids) as used:  # until the restart, which gives every part another process
            details["process_empty_mb"] = self._memory()
            begun = time.monotonic()
            with self._connected(ways) as streams:
                self._follow(ways, streams, CONNECT_SECONDS)
                details["connected_seconds"] = round(time.monotonic() - begun, 2)
                details["process_connected_mb"] = self._memory()
                calm = self._changes("calm", ways, streams, seconds, details)
                with self._stalled_readers():
                    harmed = self._changes("stalled", ways, streams, seconds, details)
        details["down_seconds"] = round(self._shop.restart(), 2)
        self._change_each({view.location: view.position for views in ways.values() for view in views.values()})
        begun = time.monotonic()
        with self._connected(ways) as streams:
            self._follow(ways, streams, CONNECT_SECONDS)
            details["resumed_seconds"] = round(time.monotonic() - begun, 2)
        details["process_resumed_mb"] = self._memory()
        self._check([view for views in ways.values() for view in views.values()])
        details["stalled_ratio"] = round(harmed / calm, 3)
        return Measured(calm, {**details, **used.told()})

    def _change_each(self, reached: Mapping[str, int]) -> None:
        """A change at every shop at least, so that a till is only back when it has been told one that it hadn't."""
        while still := [location for location, head in self._heads().items() if head <= reached[location]]:
            self._write(still, len(still) / CHANGES_PER_SECOND + 0.1)

    def _views(self, way: int) -> dict[int, View]:
        mine = range(way, self._tills, 2)
        return {number: View(self._locations[till % len(self._locations)]) for number, till in enumerate(mine)}

    @contextlib.contextmanager
    def _connected(self, ways: Mapping[str, dict[int, View]]) -> Iterator[dict[str, generator.Watching]]:
        """All tills, each with its token if it has one."""
        targets = {"edge": self._shop.http, "direct": self._shop.socket("inventory")}
        with contextlib.ExitStack() as stack:
            streams = {}
            for way, views in ways.items():
                headers = generator.grpc_headers(WATCH, self._shop.token(), targets[way])
                load = generator.Load(
                    targets[way], [header for header in headers if header[0] != "grpc-timeout"], self._requests(views),
                    "grpc 0", 3600, callers=(len(views), 1),
                )  # fmt: skip
                streams[way] = stack.enter_context(self._shop.generator.watching(load))
            yield streams

    def _requests(self, views: Mapping[int, View]) -> Path:
        messages = [pb.WatchStockRequest(location_id=view.location, resume_token=view.token) for view in views.values()]
        return self._shop.generator.requests(
            [generator.Request(body=generator.grpc_body(message.SerializeToString())) for message in messages]
        )

    def _follow(
        self, ways: Mapping[str, dict[int, View]], streams: Mapping[str, generator.Watching], seconds: float
    ) -> None:
        """Reads until each till is where its shop is now."""
        heads = self._heads()
        limit = time.monotonic() + seconds
        while True:
            for way, views in ways.items():
                for number, arrived, frame in streams[way].messages():
                    views[number].take(arrived, pb.WatchStockResponse.FromString(frame))
            late = sum(view.position < heads[view.location] for views in ways.values() for view in views.values())
            if not late:
                return
            if time.monotonic() > limit:
                raise generator.Mismatch(f"{late} of {self._tills} tills were not told everything within {seconds:g} s")
            time.sleep(0.05)

    def _heads(self) -> dict[str, int]:
        with self._shop.rows("inventory") as session:
            found = dict(session.execute(HEADS, [self._uuids]).fetchall())
        return {location: found[at] for location, at in zip(self._locations, self._uuids, strict=True)}

    def _changes(
        self,
        name: str,
        ways: Mapping[str, dict[int, View]],
        streams: Mapping[str, generator.Watching],
        seconds: float,
        details: dict[str, Any],
    ) -> float:
        """Changes at every shop; adds latencies by way and memory to the details. The 99th percentile of all."""
        for views in ways.values():
            for view in views.values():
                view.seen.clear()
        others = [self._stalled] * (len(self._locations) // 10 + 1) if name == "stalled" else []
        report = self._write([*self._locations, *others], seconds)
        self._follow(ways, streams, ARRIVE_SECONDS)
        with self._shop.rows("inventory") as session:
            recorded = {(at, seq): when for at, seq, when in session.execute(LEDGER, [self._uuids]).fetchall()}
        everything = []
        for way, views in ways.items():
            late = sorted(
                1000 * (arrived - recorded[shop.location_uuid(view.location), seq])
                for view in views.values()
                for seq, arrived in view.seen
            )
            everything += late
            details |= {f"{name}_{way}_p{p}_ms": _percentile(late, p / 100) for p in (50, 99)}
        everything.sort()
        details[f"{name}_p99_ms"] = _percentile(everything, 0.99)
        details[f"{name}_changes_a_second"] = report.per_second
        details[f"{name}_frames"] = len(everything)
        details[f"{name}_write_p99_ms"] = report.latency_ms["p99"]
        details[f"process_{name}_mb"] = self._memory()
        return float(details[f"{name}_p99_ms"])

    def _write(self, locations: Sequence[str], seconds: float) -> generator.Report:
        messages = [
            pb.AdjustStockRequest(
                location_id=location,
                sku=self._skus[(number + self._numbers) % SKUS],
                delta=1,
                reason=stock_pb.MOVEMENT_REASON_RECEIVED,
                request_id=f"{self.name}-{generator.NUMBER}",
            )
            for number, location in enumerate(locations)
        ]
        requests = self._shop.generator.requests(
            [generator.Request(body=generator.grpc_body(message.SerializeToString())) for message in messages]
        )
        load = generator.Load(
            self._shop.socket("inventory"), self._shop.grpc(f"{floors.SERVICE}/AdjustStock"), requests, "grpc 0", seconds,
            warm_up_seconds=0.0, rate=CHANGES_PER_SECOND, first_number=self._numbers,
        )  # fmt: skip
        report = self._shop.generator.load(load)
        self._numbers += report.sent
        report.require("grpc 0")
        return report

    @contextlib.contextmanager
    def _stalled_readers(self) -> Iterator[None]:
        """Streams whose snapshot is larger than their window, and which read nothing of it."""
        request = pb.WatchStockRequest(location_id=self._stalled)
        with self._shop.channel() as channel:
            stub = inventory_rpc.InventoryServiceStub(channel)
            calls = [stub.WatchStock(request, metadata=self._shop.bearer) for _ in range(STALLED)]
            try:
                yield
            finally:
                for call in calls:
                    call.cancel()

    def _memory(self) -> float:
        """MiB that the service's process holds."""
        status = Path(f"/proc/{self._shop.pids['inventory']}/status").read_text()
        return round(int(status.split("VmRSS:")[1].split()[0]) / 1024, 1)

    def _check(self, views: Sequence[View]) -> None:
        """Mismatch unless every till has its shop's levels. That positions had no gap was looked at frame by frame."""
        truth: dict[Any, dict[str, int]] = {at: {} for at in self._uuids}
        with self._shop.rows("inventory") as session:
            for at, sku, on_hand in session.execute(LEVELS, [self._uuids]).fetchall():
                truth[at][sku] = on_hand
        wrong = sum(view.on_hand != truth[shop.location_uuid(view.location)] for view in views)
        if wrong:
            raise generator.Mismatch(f"{wrong} of {len(views)} tills have other levels than the database")

    def close(self) -> None:
        """Nothing runs."""


def _percentile(values: Sequence[float], share: float) -> float:
    return round(values[min(len(values) - 1, int(len(values) * share))], 2)
