"""What stops all lanes of a tenant for a moment, at 400 locations: a bundle is defined anew, a lot is recalled.

Both lock every location's head row. They are done every two seconds while other callers read and reserve at a steady rate, and
before; how long each takes is what the others wait for at most, and the others' 99th percentile is what they notice. Every
location has the bundle's parts, and the lot: more than that there is not to do.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from services.inventory.mapping import stock as mapping
from tests.bench import availability, floors, generator, machine, shop
from tests.bench.measuring import Measured
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

RATE: Final = 150  # reservations a second, and as many reads
EVERY_SECONDS: Final = 2.0
BUNDLE, LOTTED = "EVERYWHERE-SET", "EVERYWHERE-LOTTED"
PARTS: Final = ("MANY-000010", "MANY-000020", "MANY-000030")
SKUS: Final = 1_000
STOCK: Final = """
INSERT INTO stock_level (tenant_id, location_id, sku_key, sku, on_hand, incoming, version, updated_at)
SELECT %(tenant)s, l, lower(s), s, 1000, '[]', 1, now() FROM unnest(%(locations)s::uuid[]) l, unnest(%(skus)s::text[]) s
ON CONFLICT (tenant_id, location_id, sku_key) DO NOTHING
"""
#: Levels with enough to reserve from, all over the brand.
PLENTY: Final = """
UPDATE stock_level SET on_hand = on_hand + 100000 WHERE (location_id, sku_key) IN (
    SELECT location_id, sku_key FROM stock_level WHERE location_id = ANY (%(locations)s) AND sku_key LIKE 'many-%%'
    ORDER BY hashtext(sku_key || location_id) LIMIT %(count)s)
RETURNING location_id, sku
"""


class Heads:
    """Milliseconds of the others' 99th percentile while all heads are locked every two seconds: reads or reservations."""

    name = "heads-locked"
    unit = "ms"

    def __init__(self, at: shop.Shop) -> None:
        self._shop = at
        self._numbers = itertools.count(0, 1_000_000)
        self._recalled = False

    def prepare(self) -> None:
        """Makes the levels, a bundle and a lot that every location has, and the others' requests."""
        _, locations = availability.made(self._shop)
        values = {"tenant": self._shop.brand.uuid, "locations": locations, "skus": list(PARTS), "count": SKUS}
        with self._shop.rows("inventory") as session:
            session.execute(STOCK, values)
            levels = session.execute(PLENTY, values).fetchall()
            session.execute("VACUUM ANALYZE stock_level")
        places = [(mapping.location_text(place), sku) for place, sku in levels]
        ways: dict[str, Callable[[str, str], Any]] = {
            "GetStock": lambda place, sku: pb.GetStockRequest(location_id=place, sku=sku),
            "ReserveStock": lambda place, sku: pb.ReserveStockRequest(
                location_id=place, sku=sku, quantity=1, request_id=f"{self.name}-{generator.NUMBER}"
            ),
        }
        self._requests = {
            rpc: self._shop.generator.requests(
                [generator.Request(body=generator.grpc_body(make(*each).SerializeToString())) for each in places]
            )
            for rpc, make in ways.items()
        }
        lotted = {"sku": LOTTED, "lot_policy": {}}
        for variant in ({"sku": BUNDLE}, lotted):
            self._shop.admin.post("/v1/products", {"product": {"name": variant["sku"], "variants": [variant]}}, 201)
        for place in locations:
            path = f"/v1/locations/{mapping.location_text(place)}/inventory/{LOTTED}/adjust"
            lot = {"code": "EVERYWHERE", "expires_on": "2100-01-01"}
            self._shop.admin.post(path, {"delta": 10, "reason": "MOVEMENT_REASON_RECEIVED", "lot": lot})
        (found,) = self._shop.admin.get(f"/v1/variants/{LOTTED}/lots")["lots"]
        self._lot = found["id"]

    def measure(self, seconds: float) -> Measured:
        """Before, then while bundles are defined, then while a lot is recalled and taken back."""
        with machine.usage(self._shop.pids) as used:
            before = self._load(seconds)
            bundles, during_bundles = self._beside(self._define, seconds)
            recalls, during_recalls = self._beside(self._recall, seconds)
        details: dict[str, Any] = {"short": self._shop.short}
        for when, load in (("before", before), ("bundles", during_bundles), ("recalls", during_recalls)):
            details |= {f"{rpc}_{when}_{p}_ms": load[rpc][p] for rpc in load for p in ("p50", "p99", "max")}
        for what, took in (("bundle", bundles), ("recall", recalls)):
            details |= {f"{what}_count": len(took), f"{what}_p50_ms": _share(took, 0.5), f"{what}_max_ms": max(took)}
        details["p99_ms"] = max(load[rpc]["p99"] for load in (during_bundles, during_recalls) for rpc in load)
        return Measured(details["p99_ms"], {**details, **used.told(), "settled_seconds": round(self._shop.settle(), 2)})

    def _define(self, number: int) -> None:
        """One more unit of a part, or one less."""
        parts = [{"sku": sku, "quantity": 1 + number % 2} for sku in PARTS]
        answer = self._shop.admin.call("PUT", f"/v1/variants/{BUNDLE}/bundle", {"components": parts})
        if answer.status_code != 200:
            raise generator.Mismatch(f"a bundle was refused: {answer.text}")

    def _recall(self, _number: int) -> None:
        action, body = ("lift-recall", {}) if self._recalled else ("recall", {"reason": "bench"})
        self._shop.admin.post(f"/v1/lots/{self._lot}/{action}", body)
        self._recalled = not self._recalled

    def _beside(self, act: Callable[[int], None], seconds: float) -> tuple[list[float], dict[str, dict[str, float]]]:
        """Milliseconds of each act, and the others' latencies."""
        took: list[float] = []
        ended = threading.Event()

        def go_on() -> None:
            for number in itertools.count(1):
                begun = time.perf_counter()
                act(number)
                took.append(round(1000 * (time.perf_counter() - begun), 1))
                if ended.wait(EVERY_SECONDS):
                    return

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            acting = pool.submit(go_on)
            try:
                load = self._load(seconds)
            finally:
                ended.set()
            acting.result()
        return took, load

    def _load(self, seconds: float) -> dict[str, dict[str, float]]:
        """Latencies of reads and of reservations, side by side."""
        first = next(self._numbers)
        loads = [
            generator.Load(
                self._shop.socket("inventory"), self._shop.grpc(f"{floors.SERVICE}/{rpc}"), requests, "grpc 0", seconds,
                rate=RATE, first_number=first,
            )
            for rpc, requests in self._requests.items()
        ]  # fmt: skip
        with concurrent.futures.ThreadPoolExecutor(len(loads)) as pool:
            reports = list(pool.map(self._shop.generator.load, loads))
        for report in reports:
            report.require("grpc 0")
        return {rpc: report.latency_ms for rpc, report in zip(self._requests, reports, strict=True)}

    def close(self) -> None:
        """Nothing runs."""


def _share(took: list[float], share: float) -> float:
    return sorted(took)[math.ceil(len(took) * share) - 1]
