"""Ringing the baskets up: in order of time, many at once, at a given pace, and none of them twice.

A basket's id is the till's id of the sale, and the mesh keeps it for ever. So a run that was stopped, however hard, is
simply run again: what the mesh has is skipped, and what was on its way is sent again and answered with the first order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from edge.replay import data, translate
from edge.replay.mesh import Mesh, each
from edge.replay.stocking import CALLS, Locations, Step
from tillmesh.orders.v1 import orders_pb2
from tillmesh.orders.v1 import orders_service_pb2 as orders_pb

#: Sales have ten lines on average, so a page is about half a megabyte.
SALES_PER_PAGE: Final = 200


@dataclass(slots=True)
class Tally:
    """What selling took: seconds of the whole, and of each answered call."""

    seconds: float = 0.0
    answers: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Sales a second; 0 when there was nothing to do."""
        return len(self.answers) / self.seconds if self.seconds else 0.0

    def percentile_ms(self, share: float) -> float:
        """Milliseconds within which this share of the sales was answered."""
        ordered = sorted(self.answers)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def sales_at(mesh: Mesh, chosen: data.Slice, location_id: str) -> AsyncIterator[orders_pb2.Order]:
    """What the mesh has sold at a store on the days of the slice. Raises Refused."""
    request = orders_pb.ListSalesRequest(location_id=location_id, page_size=SALES_PER_PAGE, order_by="occurred_at")
    request.filter.business_date_from = chosen.first_day.isoformat()
    request.filter.business_date_to = chosen.last_day.isoformat()
    async for page in mesh.pages(mesh.orders.ListSales, request):
        for sale in page.sales:
            yield sale


async def recorded(mesh: Mesh, chosen: data.Slice, locations: Locations) -> set[int]:
    """Baskets that the mesh has already, by an earlier run."""
    found: set[int] = set()

    async def look(store: int) -> None:
        async for sale in sales_at(mesh, chosen, locations[store]):
            if sale.terminal_id == translate.code(store):
                found.add(int(sale.client_sale_id))

    await each(chosen.stores, CALLS, look)
    return found


async def sell(
    mesh: Mesh,
    chosen: data.Slice,
    locations: Locations,
    done: set[int],
    *,
    concurrency: int,
    rate: float,
    step: Step,
) -> Tally:
    """Records the sales that aren't done. rate: sales a second at most, 0 = as fast as they are answered."""
    tally = Tally()
    begun = time.monotonic()
    todo = (rows for rows in chosen.baskets() if rows[0].basket_id not in done)

    async def ring_up(numbered: tuple[int, list[data.Row]]) -> None:
        number, rows = numbered
        if rate:
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
        sent = time.monotonic()
        request = translate.sale(rows, locations[rows[0].store_id], chosen.products)
        await mesh.call(mesh.orders.RecordSale, request)
        tally.answers.append(time.monotonic() - sent)
        step(1)

    await each(enumerate(todo), concurrency, ring_up)
    tally.seconds = time.monotonic() - begun
    return tally
