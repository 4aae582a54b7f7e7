"""Sales over REST through Envoy, at eight shops with 1,000 SKUs, one to five lines each; and how soon stock follows.

Each sale has a client_sale_id of its own. Afterwards Orders must hold exactly the sales that were answered, and
Inventory must have taken exactly their units, line by line. A sale's stock is applied when its ledger lines are
recorded: measured from the order's recorded_at to theirs, both by the one database server's clock.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import time
import uuid
from typing import Any, Final, NamedTuple

from services.kit import ids
from tests.bench import generator, machine, shop
from tests.bench.measuring import Measured

OK: Final = "http 201"
TEMPLATES: Final = 4_000
LINES_MAX: Final = 5
APPLY_SECONDS: Final = 120.0
ORDERS: Final = """
SELECT (SELECT count(*) FROM sales_order WHERE location_id = ANY (%(locations)s)),
       (SELECT count(DISTINCT client_sale_id) FROM sales_order WHERE location_id = ANY (%(locations)s)),
       (SELECT count(*) FROM order_line WHERE location_id = ANY (%(locations)s)),
       (SELECT coalesce(sum(quantity), 0) FROM order_line WHERE location_id = ANY (%(locations)s)),
       (SELECT coalesce(sum(seq), 0) FROM order_head WHERE location_id = ANY (%(locations)s)), clock_timestamp()
"""
STOCK: Final = """
SELECT (SELECT count(*) FROM ledger WHERE location_id = ANY (%(locations)s) AND ref_type = 'sale'),
       (SELECT sum(on_hand) FROM stock_level WHERE location_id = ANY (%(locations)s))
"""
RECORDED: Final = "SELECT id, recorded_at FROM sales_order WHERE location_id = ANY (%s) AND recorded_at >= %s"
APPLIED: Final = """
SELECT ref_id, max(recorded_at) FROM ledger
WHERE location_id = ANY (%s) AND ref_type = 'sale' AND recorded_at >= %s GROUP BY ref_id
"""


class Counts(NamedTuple):
    """What Orders has."""

    orders: int
    sale_ids: int
    lines: int
    units: int
    positions: int
    now: dt.datetime


class Sale:
    """RecordSale over REST."""

    name = "sale-rest"
    unit = "sales/s"

    def __init__(self, at: shop.Shop) -> None:
        self._shop = at
        self._numbers = 0

    def prepare(self) -> None:
        """Makes shops with stock, and sales."""
        self._locations: list[uuid.UUID] = [shop.location_uuid(location) for location in self._shop.shops]
        chance = random.Random(2)
        self._sales = [self._lines(chance) for _ in range(TEMPLATES)]
        requests = [self._request(chance.choice(self._shop.shops), lines) for lines in self._sales]
        self._requests = self._shop.generator.requests(requests)

    def _lines(self, chance: random.Random) -> list[dict[str, Any]]:
        skus = chance.sample(self._shop.skus, chance.randint(1, LINES_MAX))
        quantities = [chance.choice((1, 1, 1, 2, 3)) for _ in skus]
        return [
            {"code": sku, "quantity": quantity, "net_amount": str(quantity * chance.randint(99, 9999))}
            for sku, quantity in zip(skus, quantities, strict=True)
        ]

    def _request(self, location: str, lines: list[dict[str, Any]]) -> generator.Request:
        sale = {"client_sale_id": f"bench-{generator.NUMBER}", "terminal_id": "till-1", "lines": lines}
        return generator.Request(path=f"/v1/locations/{location}/sales", body=json.dumps(sale).encode())

    def measure(self, seconds: float) -> Measured:
        """Sales a second."""
        before, stock, counters = self._counts(), self._stock(), self._shop.metrics("orders")
        headers = self._shop.rest("POST")
        load = generator.Load(self._shop.http, headers, self._requests, OK, seconds, first_number=self._numbers)
        with machine.usage(self._shop.pids) as used:
            report = self._shop.generator.load(load)
        made = report.require(OK)
        self._numbers += made
        self._check(before, made)
        waited = self._until_applied(stock, made)
        details = {
            "latency_ms": report.latency_ms,
            "by_second": report.by_second,
            "answered": made,
            **self._lags(before.now, made),
            **shop.batches(counters, self._shop.metrics("orders"), "sales"),
            **used.told(),
            "applied_after_the_run_seconds": round(waited, 2),
            "settled_seconds": round(self._shop.settle(), 2),
        }
        return Measured(report.per_second, details)

    def _counts(self) -> Counts:
        return Counts(*self._shop.row("orders", ORDERS, locations=self._locations))

    def _stock(self) -> tuple[int, int]:
        lines, units = self._shop.row("inventory", STOCK, locations=self._locations)
        return int(lines), int(units)

    def _sold(self, made: int) -> tuple[int, int]:
        """Lines and units of so many sales, from the first template on."""
        whole, rest = divmod(made, TEMPLATES)
        lines = [len(sale) for sale in self._sales]
        units = [sum(line["quantity"] for line in sale) for sale in self._sales]
        return whole * sum(lines) + sum(lines[:rest]), whole * sum(units) + sum(units[:rest])

    def _check(self, before: Counts, made: int) -> None:
        after = self._counts()
        rose = [int(now) - int(then) for now, then in zip(after[:5], before[:5], strict=True)]
        expected = [made, made, *self._sold(made), made]
        if rose != expected:
            raise generator.Mismatch(
                f"{made} sales were answered: {expected} was expected of {Counts._fields}, not {rose}"
            )

    def _until_applied(self, before: tuple[int, int], made: int) -> float:
        """Waits until Inventory took what was sold, no unit more. Seconds it took."""
        lines, units = self._sold(made)
        begun = time.monotonic()
        while (now := self._stock())[0] - before[0] < lines and time.monotonic() - begun < APPLY_SECONDS:
            time.sleep(0.05)
        if (now[0] - before[0], before[1] - now[1]) != (lines, units):
            raise generator.Mismatch(
                f"{lines} lines with {units} units were sold, and stock has {now[0] - before[0]} lines and lost "
                f"{before[1] - now[1]} units after {time.monotonic() - begun:.0f} s"
            )
        return time.monotonic() - begun

    def _lags(self, since: dt.datetime, made: int) -> dict[str, float]:
        """From a sale's record to its stock's, over all sales of the run."""
        with self._shop.rows("orders") as session:
            recorded = {
                ids.encode("ord", row[0]): row[1] for row in session.execute(RECORDED, [self._locations, since])
            }
        with self._shop.rows("inventory") as session:
            applied = dict(session.execute(APPLIED, [self._locations, since]).fetchall())
        lags = sorted(
            (applied[order] - at).total_seconds() * 1000 for order, at in recorded.items() if order in applied
        )
        if len(lags) != made:
            raise generator.Mismatch(f"{made} sales were answered, and {len(lags)} of them have their stock")
        return {
            "applied_p50_ms": round(lags[len(lags) // 2], 1),
            "applied_p99_ms": round(lags[int(len(lags) * 0.99)], 1),
            "applied_max_ms": round(lags[-1], 1),
        }

    def close(self) -> None:
        """Nothing runs."""
