"""A million holds on one SKU that run out in the same second, while others are served.

The holds are made by SQL as the rows that reservations leave: hold, hold_bucket, level.reserved and the ledger's line.
Other callers read and reserve at another shop at a steady rate, before and while they run out. Then all units must be
available at once, every hold read as expired, and ledger, level and buckets agree.
"""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import time
import uuid
from pathlib import Path
from typing import Any, Final

from services.kit import ids
from tests.bench import floors, generator, machine, shop
from tests.bench.measuring import Measured
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2 as stock_pb

HOLDS, HOLDS_SHORT = 1_000_000, 20_000
RATE: Final = 150  # reservations a second, and as many reads: well below what the service can do
SKU: Final = "HELD"
EXPIRES_AFTER_SECONDS: Final = 1.0  # into what is measured
#: When they run out is said when they are made: so many seconds from then, which a busy machine needs too.
MAKE_SECONDS, MADE_A_SECOND = 8.0, 12_000
SETTLE_SECONDS: Final = 30.0
MAKE: Final = (
    "UPDATE stock_head SET seq = seq + 1 WHERE location_id = %(location)s",
    """INSERT INTO hold (tenant_id, location_id, id, line, sku, quantity, state, order_ref, expires_at, created_at, created_seq)
    SELECT %(tenant)s, %(location)s, gen_random_uuid(), 1, %(sku)s, 1, 1, %(run)s, %(expires_at)s, now(),
        (SELECT seq FROM stock_head WHERE location_id = %(location)s)
    FROM generate_series(1, %(holds)s)""",
    """INSERT INTO hold_bucket (tenant_id, location_id, sku_key, expires_at, quantity)
    VALUES (%(tenant)s, %(location)s, lower(%(sku)s), %(expires_at)s, %(holds)s)""",
    """INSERT INTO ledger (tenant_id, location_id, seq, line, recorded_at, sku, from_state, to_state, quantity, reason,
        ref_type, ref_id, actor, terminal, occurred_at)
    VALUES (%(tenant)s, %(location)s, (SELECT seq FROM stock_head WHERE location_id = %(location)s), 1, now(), %(sku)s, 2, 3,
        %(holds)s, 14, '', '', 'bench', '', now())""",
    """UPDATE stock_level SET reserved = reserved + %(holds)s, version = version + 1, updated_at = now()
    WHERE location_id = %(location)s AND sku_key = lower(%(sku)s)""",
)
STATE: Final = """
SELECT on_hand, reserved, available, (SELECT coalesce(sum(quantity), 0)::bigint FROM hold_bucket WHERE location_id = %(location)s),
    (SELECT coalesce(sum(CASE WHEN to_state = 3 THEN quantity WHEN from_state = 3 THEN -quantity END), 0)::bigint
     FROM ledger WHERE location_id = %(location)s)
FROM stock_level WHERE location_id = %(location)s AND sku_key = lower(%(sku)s)"""
SAMPLE: Final = "SELECT id FROM hold WHERE location_id = %(location)s AND order_ref = %(run)s LIMIT 1"


class Holds:
    """The 99th percentile of others' requests while a million holds run out, as a multiple of that before."""

    name = "holds-million"
    unit = "x before"

    def __init__(self, at: shop.Shop) -> None:
        self._shop = at
        self._holds = HOLDS_SHORT if at.short else HOLDS
        self._numbers = 0

    def prepare(self) -> None:
        """Makes the shop of the holds, and the requests of the others."""
        self._location = self._shop.locations("HELD", 1)[0]
        self._id = shop.location_uuid(self._location)
        self._shop.stock(self._location, {SKU: self._holds})
        others = self._shop.shops[0]
        self._reads = self._requests([pb.GetStockRequest(location_id=others, sku=sku) for sku in self._shop.skus])
        self._writes = self._requests(
            [
                pb.ReserveStockRequest(
                    location_id=others, sku=sku, quantity=1, request_id=f"{self.name}-{generator.NUMBER}"
                )
                for sku in self._shop.skus
            ]
        )

    def _requests(self, messages: list[Any]) -> Path:
        bodies = [generator.Request(body=generator.grpc_body(message.SerializeToString())) for message in messages]
        return self._shop.generator.requests(bodies)

    def measure(self, seconds: float) -> Measured:
        """Before, then while they run out."""
        run = uuid.uuid4().hex
        with machine.usage(self._shop.pids) as used:
            before = self._load(seconds)
            made = self._make(run)
            during = self._load(seconds)
            self._check(run)
        ratios = {kind: round(during[kind]["p99"] / before[kind]["p99"], 3) for kind in before}
        details = {
            "holds": self._holds,
            "short": self._shop.short,
            "p99_ratio": max(ratios.values()),
            **{f"{kind}_p99_ratio": ratio for kind, ratio in ratios.items()},
            **{
                f"{kind}_{when}_{p}_ms": loads[kind][p]
                for when, loads in (("before", before), ("during", during))
                for kind in loads
                for p in ("p50", "p99", "max")
            },
            "made_in_seconds": made,
            **used.told(),
            "settled_seconds": round(self._shop.settle(), 2),
        }
        return Measured(details["p99_ratio"], details)

    def _make(self, run: str) -> float:
        """Makes the holds, and waits until they are about to run out. Seconds it took to make them."""
        begun = dt.datetime.now(dt.UTC)
        expires_at = (begun + dt.timedelta(seconds=MAKE_SECONDS + self._holds / MADE_A_SECOND)).replace(microsecond=0)
        values = {
            "tenant": self._shop.brand.uuid, "location": self._id, "sku": SKU, "holds": self._holds, "run": run,
            "expires_at": expires_at,
        }  # fmt: skip
        with self._shop.rows("inventory") as session:
            with session.transaction():
                for statement in MAKE:
                    session.execute(statement, values)
            session.execute("VACUUM ANALYZE hold")  # what making them left behind is not what is measured
            session.execute("CHECKPOINT")
        made = dt.datetime.now(dt.UTC)
        # They run out in the middle of the load: after its warm-up, and EXPIRES_AFTER_SECONDS into it.
        wait = (expires_at - made).total_seconds() - 1.0 - EXPIRES_AFTER_SECONDS
        if wait < 0:
            raise generator.Mismatch(f"the holds took {made - begun} to make, and would run out before the load begins")
        time.sleep(wait)
        return round((made - begun).total_seconds(), 1)

    def _load(self, seconds: float) -> dict[str, dict[str, float]]:
        """Latencies of reads and of reservations, side by side."""
        ways = {"read": ("GetStock", self._reads), "reserve": ("ReserveStock", self._writes)}
        loads = [
            generator.Load(
                self._shop.socket("inventory"), self._shop.grpc(f"{floors.SERVICE}/{rpc}"), requests, "grpc 0", seconds,
                rate=RATE, first_number=self._numbers,
            )
            for rpc, requests in ways.values()
        ]  # fmt: skip
        with concurrent.futures.ThreadPoolExecutor(len(loads)) as pool:
            reports = list(pool.map(self._shop.generator.load, loads))
        for report in reports:
            report.require("grpc 0")
        self._numbers += max(report.sent for report in reports)
        return {kind: report.latency_ms for kind, report in zip(ways, reports, strict=True)}

    def _check(self, run: str) -> None:
        """Mismatch unless every unit is available and everything agrees."""
        limit = time.monotonic() + SETTLE_SECONDS
        while (found := self._state()) != (self._holds, 0, self._holds, 0, 0):
            if time.monotonic() > limit:
                raise generator.Mismatch(f"on_hand, reserved, available, buckets, ledger after the end: {found}")
            time.sleep(0.05)
        (sample,) = self._shop.row("inventory", SAMPLE, location=self._id, run=run)
        reads = self._shop.reads
        level = reads.GetStock(pb.GetStockRequest(location_id=self._location, sku=SKU), metadata=self._shop.bearer)
        if (level.available, level.reserved) != (self._holds, 0):
            raise generator.Mismatch(f"a level was answered as {level}")
        asked = pb.GetReservationRequest(reservation_id=ids.encode("rsv", sample))
        if reads.GetReservation(asked, metadata=self._shop.bearer).state != stock_pb.RESERVATION_STATE_EXPIRED:
            raise generator.Mismatch("a hold that ran out is not read as expired")

    def _state(self) -> tuple[Any, ...]:
        return self._shop.row("inventory", STATE, location=self._id, sku=SKU)

    def close(self) -> None:
        """Nothing runs."""
