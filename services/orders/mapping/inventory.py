"""Questions to Inventory: translate, call, translate. When to ask belongs to catalogue.py and positions.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.kit import channels, ids
from services.orders import catalogue, recalls
from services.orders.domain import business_day
from services.orders.domain import sale as domain
from tillmesh.inventory.v1 import (
    catalog_pb2,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    inventory_service_pb2,
    inventory_service_pb2_grpc,
    lots_pb2,
    lots_service_pb2,
    lots_service_pb2_grpc,
)

POSITION_SECONDS = 0.3
LOTS_SECONDS = 10.0  # a recall may look through years of the ledger


class InventoryClient:
    """Inventory as Orders sees it."""

    def __init__(self, channel: channels.ServiceChannel) -> None:
        # The stubs' classes are generic over sync and async channels; ours is an async one.
        self._catalog: Any = catalog_service_pb2_grpc.CatalogServiceStub(channel)
        self._stock: Any = inventory_service_pb2_grpc.InventoryServiceStub(channel)
        self._lots: Any = lots_service_pb2_grpc.LotsServiceStub(channel)

    async def resolve(self, location_id: str, codes: Sequence[str], price_list: str = "") -> catalogue.Resolution:
        """errors.Error; ValueError for an answer that can't be used."""
        request = catalog_service_pb2.BatchResolveItemsRequest(
            location_id=location_id, codes=codes, price_list=price_list
        )
        answer = await self._catalog.BatchResolveItems(request, timeout=catalogue.CALL_SECONDS)
        return catalogue.Resolution(_store(answer.location), {found.code: _found(found) for found in answer.results})

    async def applied_position(self, location_id: str) -> int:
        """errors.Error."""
        request = inventory_service_pb2.GetAppliedPositionRequest(location_id=location_id)
        answer = await self._stock.GetAppliedPosition(request, timeout=POSITION_SECONDS)
        return int(answer.sales_seq)

    async def lot_sales(self, lot_id: str, page_size: int, page_token: str) -> recalls.Page:
        """errors.Error."""
        request = lots_service_pb2.ListLotSalesRequest(lot_id=lot_id, page_size=page_size, page_token=page_token)
        answer = await self._lots.ListLotSales(request, timeout=LOTS_SECONDS)
        return recalls.Page([_taken(sale) for sale in answer.sales], answer.next_page_token)


def _taken(sale: lots_pb2.LotSale) -> recalls.Taken:
    order = ids.decode("ord", sale.order_id)
    return recalls.Taken(sale.order_id, order, sale.location_id, sale.quantity, sale.occurred_at.ToNanoseconds())


def _found(found: catalog_service_pb2.BatchResolveItemsResponse.Result) -> catalogue.Found:
    if found.HasField("item"):
        return _item(found.item)
    return domain.Misread(found.problem) if found.problem else None


def _scanned(lot: catalog_pb2.ScannedLot) -> domain.Scanned:
    return domain.Scanned(lot.lot, lot.expires_on, lot.best_before_on, lot.produced_on)


def _item(item: catalog_pb2.ItemSnapshot) -> domain.Item:
    product_id = ids.decode("prd", item.product_id) if item.product_id else None
    return domain.Item(
        item.sku,
        product_id,
        item.name,
        item.category,
        item.price_id,
        item.price.minor_units if item.HasField("price") else None,
        item.tax_category,
        item.discontinued,
        tuple((each.sku, each.quantity) for each in item.components),
        _scanned(item.scanned) if item.HasField("scanned") and item.scanned.lot else None,
    )


def _store(location: catalog_pb2.Location) -> domain.Store:
    business_day.zone(location.timezone)  # a zone that we don't know must not stop a batch later
    return domain.Store(
        timezone=location.timezone,
        cutoff_minutes=business_day.cutoff_minutes(location.business_day_cutoff),
        currency_code=location.currency_code,
        sells=not location.closed and catalog_pb2.LOCATION_CAPABILITY_SELL in location.capabilities,
        country_code=location.address.country_code,
    )
