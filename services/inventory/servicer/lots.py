"""LotsService on the wire: translate, call, translate."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import grpc.aio

from services.inventory.handlers import lots as handlers
from services.inventory.handlers import stock as stock_handlers
from services.inventory.mapping import lot_inputs
from services.inventory.mapping import lots as mapping
from services.inventory.mapping import stock as stock_mapping
from services.kit import database, errors, paging, principal
from tillmesh.inventory.v1 import lots_pb2, stock_pb2
from tillmesh.inventory.v1 import lots_service_pb2 as pb
from tillmesh.inventory.v1 import lots_service_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]


class LotsServicer(rpc.LotsServiceServicer):
    """Lots of a tenant's SKUs."""

    def __init__(self, db: database.Database, stock: stock_handlers.StockHandlers) -> None:
        self._lots = handlers.Lots(db)
        self._stock = stock

    async def CreateLot(self, request: pb.CreateLotRequest, context: Context) -> lots_pb2.Lot:
        draft = lot_inputs.draft(request)
        assert draft is not None  # needed, by the contract
        return await self._lots.create(_key("CreateLot", request), request.sku, draft)

    async def GetLot(self, request: pb.GetLotRequest, context: Context) -> lots_pb2.Lot:
        return mapping.lot_to_proto(await self._lots.get(mapping.lot_uuid(request.lot_id)))

    async def ListLots(self, request: pb.ListLotsRequest, context: Context) -> pb.ListLotsResponse:
        limit, keep, after = paging.page_size(request.page_size), request.filter, _after_id(request)
        page = await self._lots.page(request.sku, code=keep.code, recalled=keep.recalled, after=after, limit=limit + 1)
        token = _next(request, page, limit, lambda lot: (str(lot.id),))
        return pb.ListLotsResponse(lots=map(mapping.lot_to_proto, page[:limit]), next_page_token=token)

    async def UpdateLot(self, request: pb.UpdateLotRequest, context: Context) -> lots_pb2.Lot:
        key, lot_id = _key("UpdateLot", request), mapping.lot_uuid(request.lot_id)
        return await self._lots.update(key, lot_id, mapping.changes(request), request.expected_version)

    async def RecallLot(self, request: pb.RecallLotRequest, context: Context) -> lots_pb2.Lot:
        key, lot_id = _key("RecallLot", request), mapping.lot_uuid(request.lot_id)
        return await self._lots.recall(key, lot_id, request.reason, request.expected_version)

    async def LiftRecall(self, request: pb.LiftRecallRequest, context: Context) -> lots_pb2.Lot:
        key, lot_id = _key("LiftRecall", request), mapping.lot_uuid(request.lot_id)
        return await self._lots.lift_recall(key, lot_id, request.expected_version)

    async def AssignLot(self, request: pb.AssignLotRequest, context: Context) -> stock_pb2.StockLevel:
        command = mapping.assign(request, await self._stock.known_lots.code(request.sku, lot_inputs.draft(request)))
        key = _key("AssignLot", request)
        reply = stock_mapping.reply_level
        return await self._stock.write(request.location_id, command, key, stock_pb2.StockLevel, reply)

    async def ListStockLots(self, request: pb.ListStockLotsRequest, context: Context) -> pb.ListStockLotsResponse:
        limit, after = paging.page_size(request.page_size), _start(request, str)
        code = str(after[0]) if after else ""
        page = await self._lots.at_location(request.location_id, request.sku, code, limit + 1)
        token = _next(request, page, limit, lambda placed: (placed.units.code,))
        return pb.ListStockLotsResponse(lots=mapping.stock_page(page[:limit]), next_page_token=token)

    async def ListLotStock(self, request: pb.ListLotStockRequest, context: Context) -> pb.ListLotStockResponse:
        limit, after = paging.page_size(request.page_size), _after_id(request) or uuid.UUID(int=0)
        page = await self._lots.stock(mapping.lot_uuid(request.lot_id), after, limit + 1)
        token = _next(request, page, limit, lambda placed: (str(placed.location),))
        return pb.ListLotStockResponse(stock=mapping.stock_page(page[:limit]), next_page_token=token)

    async def ListLotSales(self, request: pb.ListLotSalesRequest, context: Context) -> pb.ListLotSalesResponse:
        limit, after = paging.page_size(request.page_size), mapping.sales_after(request)
        page = await self._lots.sales(mapping.lot_uuid(request.lot_id), after, limit + 1)
        token = _next(request, page, limit, mapping.sale_key)
        return pb.ListLotSalesResponse(sales=map(mapping.sale_to_proto, page[:limit]), next_page_token=token)


def _key(method: str, request: Any) -> Any:
    return stock_mapping.key(principal.current(), method, request)


def _start(request: Any, *kinds: type) -> list[Any] | None:
    return paging.start(principal.current().tenant_id, request, kinds)


def _after_id(request: Any) -> uuid.UUID | None:
    after = _start(request, str)
    try:
        return uuid.UUID(str(after[0])) if after else None
    except ValueError:
        raise errors.InvalidPageToken from None


def _next(request: Any, page: Any, limit: int, key: Callable[[Any], paging.Key]) -> str:
    """Token of the next page, when one row more than the page was found."""
    if len(page) <= limit:
        return ""
    return paging.next_token(principal.current().tenant_id, request, key(page[limit - 1]))
