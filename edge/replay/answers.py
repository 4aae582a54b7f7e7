"""What the mesh answers about one store, as plain figures to compare. It asks, and judges nothing."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from edge.replay import data, selling, translate
from edge.replay.mesh import Mesh
from edge.replay.stocking import PAGE, Locations
from tillmesh.common.v1 import event_pb2
from tillmesh.inventory.v1 import inventory_service_pb2 as inventory_pb
from tillmesh.inventory.v1 import stock_pb2
from tillmesh.orders.v1 import orders_pb2
from tillmesh.orders.v1 import orders_service_pb2 as orders_pb

Dimensions = tuple[orders_pb.SalesDimension.ValueType, ...]
Figures = tuple[int, ...]
BY_DAY: Final[Dimensions] = (orders_pb.SALES_DIMENSION_BUSINESS_DATE,)
BY_HOUR: Final[Dimensions] = (*BY_DAY, orders_pb.SALES_DIMENSION_HOUR)
BY_SKU: Final[Dimensions] = (*BY_DAY, orders_pb.SALES_DIMENSION_SKU)
BY_TENDER: Final[Dimensions] = (*BY_DAY, orders_pb.SALES_DIMENSION_TENDER)


@dataclass(slots=True)
class Sales:
    """A store's sales.

    figures: by basket and how often it came; baskets: by order id; pending: baskets that stock hasn't followed yet;
    unresolved: basket and SKU of items that the catalogue didn't know, or couldn't be asked for, when they were sold.
    """

    figures: dict[tuple[int, int], Figures] = field(default_factory=dict)
    baskets: dict[str, int] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)
    unresolved: set[tuple[int, str]] = field(default_factory=set)


@dataclass(slots=True)
class Ledger:
    """A store's ledger in sums of units: sold by (day, SKU), opened by (week, SKU), and the rest's effect by SKU."""

    sold: Counter[tuple[str, str]] = field(default_factory=Counter)
    opened: Counter[tuple[int, str]] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Place:
    """A store of the slice in the mesh. Every question raises Refused when it isn't answered."""

    mesh: Mesh
    chosen: data.Slice
    store: int
    location_id: str

    async def sales(self) -> Sales:
        """Its sales on the days of the slice."""
        found = Sales()
        times: Counter[int] = Counter()
        async for order in selling.sales_at(self.mesh, self.chosen, self.location_id):
            basket = int(order.client_sale_id) if order.client_sale_id.isdecimal() else 0
            times[basket] += 1
            units = sum(line.quantity for line in order.lines)
            net, discount = order.net_total.minor_units, order.discount_total.minor_units
            found.figures[basket, times[basket]] = (1, len(order.lines), units, net, discount)
            found.baskets[order.id] = basket
            found.unresolved.update((basket, line.sku) for line in order.lines if line.unresolved)
            if order.stock_effect != orders_pb2.STOCK_EFFECT_APPLIED:
                found.pending.add(basket)
        return found

    async def summary(self, dimensions: Dimensions) -> dict[tuple[str | int, ...], Figures]:
        """Its sales summary."""
        return {
            _key(row, dimensions): (
                row.sales,
                row.lines,
                row.units,
                row.net_amount.minor_units,
                row.discount_amount.minor_units,
            )
            async for row in self._rows(dimensions)
        }

    async def payments(self) -> Counter[tuple[str | int, ...]]:
        """What was tendered, by day."""
        found: Counter[tuple[str | int, ...]] = Counter()
        async for row in self._rows(BY_TENDER):
            found[_key(row, BY_DAY)] += row.net_amount.minor_units
        return found

    async def _rows(self, dimensions: Dimensions) -> AsyncIterator[orders_pb.SummarizeSalesResponse.Row]:
        request = orders_pb.SummarizeSalesRequest(
            location_id=self.location_id,
            business_date_from=self.chosen.first_day.isoformat(),
            business_date_to=self.chosen.last_day.isoformat(),
            group_by=dimensions,
            page_size=PAGE,
        )
        async for page in self.mesh.pages(self.mesh.orders.SummarizeSales, request):
            for row in page.rows:
                yield row

    def opening(self) -> dict[tuple[int, str], int]:
        """What its opening stock should have been, by week and SKU."""
        return {
            (week, sku): units
            for (store, week), supply in self.chosen.supply.items()
            if store == self.store
            for sku, units in translate.opening_units(supply, self.chosen.products).items()
        }

    async def ledger(self) -> Ledger:
        """Its whole ledger."""
        weeks = {translate.opening_reference(week): week for store, week in self.chosen.supply if store == self.store}
        found = Ledger()
        request = inventory_pb.ListMovementsRequest(location_id=self.location_id, page_size=PAGE)
        async for page in self.mesh.pages(self.mesh.inventory.ListMovements, request):
            for move in page.movements:
                day = data.local(move.occurred_at.ToDatetime(dt.UTC)).date()
                is_sale = move.reason == stock_pb2.MOVEMENT_REASON_SALE
                if is_sale and self.chosen.first_day <= day <= self.chosen.last_day:
                    found.sold[day.isoformat(), move.sku] -= _on_hand(move)
                elif move.reason == stock_pb2.MOVEMENT_REASON_OPENING and move.reference_id in weeks:
                    found.opened[weeks[move.reference_id], move.sku] += _on_hand(move)
                else:
                    found.other[move.sku] += _on_hand(move)
        return found

    async def levels(self) -> dict[str, int]:
        """Units on hand, by SKU."""
        request = inventory_pb.ListStockRequest(location_id=self.location_id, page_size=PAGE)
        pages = self.mesh.pages(self.mesh.inventory.ListStock, request)
        return {level.sku: level.on_hand async for page in pages for level in page.levels}

    async def exceptions(self, baskets: Mapping[str, int]) -> Counter[tuple[str, int, str]]:
        """Units of the exceptions that these sales raised, by kind, basket and SKU."""
        kinds = {
            stock_pb2.STOCK_EXCEPTION_KIND_UNKNOWN_SKU: "unknown",
            stock_pb2.STOCK_EXCEPTION_KIND_OVERSOLD: "oversold",
        }
        found: Counter[tuple[str, int, str]] = Counter()
        request = inventory_pb.ListStockExceptionsRequest(
            location_id=self.location_id, page_size=PAGE, include_resolved=True
        )
        async for page in self.mesh.pages(self.mesh.inventory.ListStockExceptions, request):
            for one in page.exceptions:
                if one.reference_id in baskets:
                    found[kinds.get(one.kind, str(one.kind)), baskets[one.reference_id], one.sku] += one.quantity
        return found


async def dead_letters(mesh: Mesh, locations: Locations) -> list[str]:
    """Events of the stores' sales that Inventory could not apply, each as a sentence."""
    stores = {location_id: store for store, location_id in locations.items()}
    pages = mesh.pages(mesh.inventory.ListDeadLetters, event_pb2.ListDeadLettersRequest(page_size=PAGE))
    return [
        f"Store {stores[letter.key]}: Inventory could not apply {letter.event_id} ({letter.error}), "
        f"and {letter.waiting} later events wait for it."
        async for page in pages
        for letter in page.dead_letters
        if letter.key in stores
    ]


def _key(row: orders_pb.SummarizeSalesResponse.Row, dimensions: Dimensions) -> tuple[str | int, ...]:
    if dimensions == BY_HOUR:
        return row.business_date, row.hour
    return (row.business_date, row.sku) if dimensions == BY_SKU else (row.business_date,)


def _on_hand(move: stock_pb2.StockMovement) -> int:
    """What a movement does to the units on hand: those that come from outside, less those that go there."""
    into = move.from_state == stock_pb2.STOCK_STATE_EXTERNAL
    out = move.to_state == stock_pb2.STOCK_STATE_EXTERNAL
    return move.quantity * (into - out)
