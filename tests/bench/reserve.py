"""Reservations over gRPC on the service's socket: one hot SKU, or every SKU of eight shops. 64 callers.

Each carries an idempotency key of its own, as a till's does. Afterwards the database must hold exactly what was
answered: positions, holds, ledger lines, remembered keys, reserved units, expiry buckets and events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from google.protobuf import duration_pb2

from tests.bench import floors, generator, machine, shop
from tests.bench.measuring import Measured
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

RPC: Final = f"{floors.SERVICE}/ReserveStock"
OK: Final = "grpc 0"
REFUSED: Final = "grpc 9"
TTL_SECONDS: Final = 24 * 3600  # nothing expires while the bench runs
SCARCE: Final = 100  # fewer than are asked for in RACE_SECONDS, however busy the machine is
RACE_SECONDS: Final = 1.0
COUNTS: Final = """
SELECT (SELECT sum(seq) FROM stock_head WHERE location_id = ANY (%(locations)s)),
       (SELECT count(*) FROM hold WHERE location_id = ANY (%(locations)s)),
       (SELECT count(*) FROM ledger WHERE location_id = ANY (%(locations)s) AND ref_type = 'reservation'),
       (SELECT count(DISTINCT key) FROM idempotency WHERE tenant_id = %(tenant)s AND key LIKE %(keys)s),
       (SELECT sum(reserved) FROM stock_level WHERE location_id = ANY (%(locations)s)),
       (SELECT coalesce(sum(quantity), 0) FROM hold_bucket WHERE location_id = ANY (%(locations)s)),
       (SELECT sum(seq_to - seq_from + 1) FROM outbox WHERE key = ANY (%(keys_of_events)s)),
       (SELECT count(*) FROM stock_level WHERE location_id = ANY (%(locations)s) AND available < 0),
       (SELECT sum(seq) FROM stock_head WHERE location_id = ANY (%(locations)s))
           - (SELECT count(DISTINCT (location_id, seq)) FROM ledger WHERE location_id = ANY (%(locations)s))
"""


class Counts(NamedTuple):
    """What the database has. Each of the first seven rises by one for each reservation of one unit."""

    positions: int
    holds: int
    ledger_lines: int
    keys: int
    reserved: int
    in_buckets: int
    positions_in_events: int
    oversold: int
    positions_missing: int


class Reserve:
    """Reservations of one unit at these locations, SKU by SKU."""

    unit = "reservations/s"

    def __init__(self, at: shop.Shop, name: str) -> None:
        self.name = name
        self._shop = at
        self._numbers = 0
        self.callers = generator.CALLERS

    def _pairs(self) -> Sequence[tuple[str, str]]:
        """(location, SKU) in the order in which they are reserved."""
        return self._shop.levels()

    def prepare(self) -> None:
        """Makes locations and stock."""
        pairs = self._pairs()
        self._ids = sorted({location for location, _ in pairs})
        self._locations = [shop.location_uuid(location) for location in self._ids]
        self._requests = self._shop.generator.requests([self._request(*pair) for pair in pairs])

    def _request(self, location: str, sku: str) -> generator.Request:
        message = pb.ReserveStockRequest(
            location_id=location,
            sku=sku,
            quantity=1,
            ttl=duration_pb2.Duration(seconds=TTL_SECONDS),
            request_id=f"{self.name}-{generator.NUMBER}",
        )
        return generator.Request(body=generator.grpc_body(message.SerializeToString()))

    def _load(self, seconds: float, warm_up: float = 1.0) -> generator.Load:
        return generator.Load(
            self._shop.socket("inventory"),
            self._shop.grpc(RPC),
            self._requests,
            OK,
            seconds,
            warm_up_seconds=warm_up,
            callers=self.callers,
            first_number=self._numbers,
        )

    def _send(self, load: generator.Load) -> generator.Report:
        report = self._shop.generator.load(load)
        self._numbers += report.sent
        return report

    def measure(self, seconds: float) -> Measured:
        """Reservations a second."""
        before, counters = self._counts(), self._shop.metrics("inventory")
        with machine.usage(self._shop.pids) as used:
            report = self._send(self._load(seconds))
        made = report.require(OK)
        after = self._counts()
        check(before, after, made)
        batches = shop.batches(counters, self._shop.metrics("inventory"), "stock")
        details = {
            "latency_ms": report.latency_ms,
            "by_second": report.by_second,
            "answered": made,
            "oversold": after.oversold,
            **batches,
            **used.told(),
            "settled_seconds": round(self._shop.settle(), 2),
        }
        return Measured(report.per_second, details)

    def _counts(self) -> Counts:
        found = self._shop.row(
            "inventory",
            COUNTS,
            locations=self._locations,
            tenant=self._shop.brand.uuid,
            keys=f"{self.name}-%",
            keys_of_events=self._ids,
        )
        return Counts(*(int(value) for value in found))

    def close(self) -> None:
        """Nothing runs."""


def check(before: Counts, after: Counts, made: int) -> None:
    """Mismatch when the database doesn't hold exactly what was answered, or promised more than it has."""
    rose = {name: getattr(after, name) - getattr(before, name) for name in Counts._fields[:7]}
    wrong = {name: value for name, value in rose.items() if value != made}
    if wrong:
        raise generator.Mismatch(f"{made} reservations were answered, and the database has {wrong}")
    if after.oversold or after.positions_missing:
        raise generator.Mismatch(
            f"{after.oversold} levels are oversold, {after.positions_missing} positions are missing"
        )


class ReserveHot(Reserve):
    """One SKU of one location. Before it is measured, 64 callers race for the last units of another."""

    def __init__(self, at: shop.Shop) -> None:
        super().__init__(at, "reserve-hot")
        self._race: dict[str, Any] = {}

    def _pairs(self) -> Sequence[tuple[str, str]]:
        return [(self._location, "SKU-0001")]

    def prepare(self) -> None:
        """Makes the stock, and shows that what is scarce is never promised twice."""
        self._location = self._shop.locations("HOT", 1)[0]
        self._shop.stock(self._location, {"SKU-0001": shop.AMPLE, "SKU-0002": SCARCE})
        super().prepare()
        plenty = self._requests
        self._requests = self._shop.generator.requests([self._request(self._location, "SKU-0002")])
        self._race = self._run_race()
        self._requests = plenty

    def _run_race(self) -> dict[str, Any]:
        before = self._counts()
        report = self._send(self._load(RACE_SECONDS, warm_up=0.0))
        outcomes = dict(report.outcomes)
        made, refused = outcomes.pop(OK, 0), outcomes.pop(REFUSED, 0)
        if outcomes or made + refused != report.sent or made != SCARCE:
            raise generator.Mismatch(
                f"{SCARCE} units were raced for, and {report.sent} callers heard {report.outcomes}"
            )
        check(before, self._counts(), made)
        return {"units": SCARCE, "reserved": made, "refused": refused}

    def measure(self, seconds: float) -> Measured:
        """Reservations a second."""
        measured = super().measure(seconds)
        return Measured(measured.value, {**measured.details, "race": self._race})
