"""Strong reads of single levels, spread over 8,000 of them: over gRPC on the service's socket, or over REST through Envoy.

Reads leave no rows, so the service's own counter must agree with the answers, and an answer with the database.
"""

from __future__ import annotations

import json
from typing import Final

from tests.bench import floors, generator, machine, shop
from tests.bench.measuring import Measured
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2 as stock_pb

HANDLED: Final = (
    "grpc_server_handled_total{grpc_code=OK,grpc_method=GetStock,"
    "grpc_service=tillmesh.inventory.v1.InventoryService,grpc_type=unary}"
)
LEVEL: Final = "SELECT on_hand, reserved FROM stock_level WHERE location_id = %(location)s AND sku_key = lower(%(sku)s)"


class Read:
    """What both ways share."""

    name = ""
    unit = "reads/s"
    expected = ""

    def __init__(self, at: shop.Shop) -> None:
        self._shop = at

    def prepare(self) -> None:
        """Makes shops with stock."""
        requests = [self._request(location, sku) for location, sku in self._shop.levels()]
        self._requests = self._shop.generator.requests(requests)

    def _request(self, location: str, sku: str) -> generator.Request:
        raise NotImplementedError

    def _way(self) -> tuple[str, list[tuple[str, str]]]:
        """Target and headers."""
        raise NotImplementedError

    def _level(self, answer: bytes) -> tuple[str, str, int, int]:
        """Location, SKU, on_hand and reserved of an answer."""
        raise NotImplementedError

    def measure(self, seconds: float) -> Measured:
        """Reads a second."""
        target, headers = self._way()
        before = self._shop.metrics("inventory").get(HANDLED, 0.0)
        with machine.usage(self._shop.pids) as used:
            report = self._shop.generator.load(generator.Load(target, headers, self._requests, self.expected, seconds))
        answered = report.require(self.expected)
        handled = int(self._shop.metrics("inventory").get(HANDLED, 0.0) - before)
        if handled != answered:
            raise generator.Mismatch(f"{answered} reads were answered, and the service handled {handled}")
        self._check(report.good)
        details = {"latency_ms": report.latency_ms, "by_second": report.by_second, "answered": answered}
        return Measured(report.per_second, {**details, **used.told()})

    def _check(self, answer: bytes) -> None:
        location, sku, *told = self._level(answer)
        found = self._shop.row("inventory", LEVEL, location=shop.location_uuid(location), sku=sku)
        if tuple(told) != found:
            raise generator.Mismatch(f"{sku} at {location} was answered as {told}, and the database has {found}")

    def close(self) -> None:
        """Nothing runs."""


class ReadGrpc(Read):
    """GetStock on the service's socket."""

    name = "read-grpc"
    expected = "grpc 0"

    def _request(self, location: str, sku: str) -> generator.Request:
        message = pb.GetStockRequest(location_id=location, sku=sku)
        return generator.Request(body=generator.grpc_body(message.SerializeToString()))

    def _way(self) -> tuple[str, list[tuple[str, str]]]:
        return self._shop.socket("inventory"), self._shop.grpc(floors.GET_STOCK)

    def _level(self, answer: bytes) -> tuple[str, str, int, int]:
        level = stock_pb.StockLevel.FromString(answer[5:])
        return level.location_id, level.sku, level.on_hand, level.reserved


class ReadRest(Read):
    """GET /v1/locations/{location_id}/inventory/{sku} through Envoy."""

    name = "read-rest"
    expected = "http 200"

    def _request(self, location: str, sku: str) -> generator.Request:
        return generator.Request(path=f"/v1/locations/{location}/inventory/{sku}")

    def _way(self) -> tuple[str, list[tuple[str, str]]]:
        return self._shop.http, self._shop.rest("GET")

    def _level(self, answer: bytes) -> tuple[str, str, int, int]:
        level = json.loads(answer)
        return level["location_id"], level["sku"], int(level["on_hand"]), int(level["reserved"])
