"""Orders over REST through Envoy: one or two lines of 100 SKUs at eight shops, paid by a card of the simulated bank.

An answer is an order that is placed: its units are allocated, its money is taken, its event is written. Afterwards Orders
must hold exactly the orders that were answered, the bank exactly their money, and Inventory exactly their units. How the
time is divided comes from the service's own measurement of each effect of the saga (tillmesh_effect_seconds).
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any, Final

from tests.bench import generator, machine, shop
from tests.bench.measuring import Measured

OK: Final = "http 201"
TEMPLATES: Final = 2_000
SKUS: Final = 100
SHOPS: Final = 8
PRICE: Final = 1_000
UNITS: Final = 1_000_000
PLACED: Final = 3
ORDERS: Final = """
SELECT (SELECT count(*) FROM sales_order WHERE location_id = ANY (%(locations)s)),
       (SELECT count(*) FROM sales_order WHERE location_id = ANY (%(locations)s) AND state = 3),
       (SELECT coalesce(sum(total), 0) FROM sales_order WHERE location_id = ANY (%(locations)s) AND state = 3),
       (SELECT count(*) FROM order_saga WHERE finished_at IS NULL)
"""
ALLOCATED: Final = "SELECT coalesce(sum(allocated), 0), coalesce(sum(reserved), 0) FROM stock_level WHERE location_id = ANY (%(locations)s)"


class Order:
    """PlaceOrder over REST."""

    name = "order-rest"
    unit = "orders/s"

    def __init__(self, at: shop.Shop) -> None:
        self._shop = at
        self._numbers = 0

    def prepare(self) -> None:
        """Makes shops that ship, with stock and prices, and orders."""
        capabilities = ["LOCATION_CAPABILITY_SELL", "LOCATION_CAPABILITY_SHIP_FROM"]
        places = self._shop.locations("WEB", SHOPS, capabilities=capabilities)
        skus = self._shop.skus[:SKUS]
        for place in places:
            self._shop.stock(place, dict.fromkeys(skus, UNITS))
        self._shop.price(skus, PRICE)
        self._locations: list[uuid.UUID] = [shop.location_uuid(place) for place in places]
        chance = random.Random(3)
        self._units = [chance.choice((1, 1, 2)) for _ in range(TEMPLATES)]
        requests = [self._request(chance.choice(places), chance.sample(skus, units)) for units in self._units]
        self._requests = self._shop.generator.requests(requests)

    @staticmethod
    def _request(place: str, skus: list[str]) -> generator.Request:
        body = {
            "content": {
                "location_id": place,
                "lines": [{"code": sku, "quantity": 1} for sku in skus],
                "delivery": {"country_code": "AT"},
                "sourcing": {"location_ids": [place]},
            },
            "payment": {"tenders": [{"type": "TENDER_TYPE_CARD", "token": "sim_ok", "minor_units": len(skus) * PRICE}]},
            "request_id": f"bench-{generator.NUMBER}",
        }
        return generator.Request(path="/v1/orders", body=json.dumps(body).encode())

    def measure(self, seconds: float, callers: tuple[int, int] = generator.CALLERS) -> Measured:
        """Orders a second."""
        before, counters = self._counts(), self._shop.metrics("orders")
        headers = self._shop.rest("POST")
        load = generator.Load(
            self._shop.http, headers, self._requests, OK, seconds, callers=callers, first_number=self._numbers
        )
        with machine.usage(self._shop.pids) as used:
            report = self._shop.generator.load(load)
        made = report.require(OK)
        self._numbers += made
        self._check(before, made)
        details = {
            "latency_ms": report.latency_ms,
            "by_second": report.by_second,
            "answered": made,
            "per_second": round(report.per_second, 1),
            **shares(counters, self._shop.metrics("orders"), made, report.latency_ms),
            **used.told(),
            "settled_seconds": round(self._shop.settle(), 2),
        }
        return Measured(report.per_second, details)

    def _counts(self) -> tuple[int, ...]:
        """Orders, placed ones, their totals, sagas under way; units allocated and held; what the bank has taken."""
        orders = self._shop.row("orders", ORDERS, locations=self._locations)
        units = self._shop.row("inventory", ALLOCATED, locations=self._locations)
        with contextlib.closing(sqlite3.connect(self._shop.stack.data / "bank" / "simulated.sqlite3")) as bank:
            (taken,) = bank.execute(
                "SELECT coalesce(sum(captured), 0) FROM intent WHERE tenant = ?", (self._shop.brand.uuid,)
            ).fetchone()
        return tuple(int(each) for each in (*orders, *units, taken))

    def _check(self, before: tuple[int, ...], made: int) -> None:
        whole, rest = divmod(made, TEMPLATES)
        units = whole * sum(self._units) + sum(self._units[:rest])
        rose = [now - then for now, then in zip(self._counts(), before, strict=True)]
        expected = [made, made, units * PRICE, 0, units, 0, units * PRICE]
        if rose != expected:
            raise generator.Mismatch(f"{made} orders were answered: {expected} was expected, not {rose}")

    def close(self) -> None:
        """Nothing runs."""


def shares(
    before: Mapping[str, float], after: Mapping[str, float], made: int, latency_ms: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Milliseconds of an order that each effect took on average, as the service waited for it."""
    name = "tillmesh_effect_seconds_sum{effect="
    took = {
        key.removeprefix(name).rstrip("}"): 1000 * (value - before.get(key, 0.0)) / made
        for key, value in after.items()
        if key.startswith(name)
    }
    return {"effects_ms": {effect: round(spent, 2) for effect, spent in took.items() if spent >= 0.01}}
