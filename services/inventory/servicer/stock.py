"""InventoryService on the wire: translate, call, translate."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from services.inventory import watch
from services.inventory.consumers import SALES_CONSUMER
from services.inventory.domain import commands
from services.inventory.domain import levels as values
from services.inventory.handlers import sourcing as sourcing_handlers
from services.inventory.handlers import stock as handlers
from services.inventory.handlers import stock_stream
from services.inventory.mapping import availability, bulk_lines, lot_inputs
from services.inventory.mapping import sourcing as sourcing_mapping
from services.inventory.mapping import stock as mapping
from services.kit import dead_letters, paging, principal, validation
from services.kit.audit import reading
from tillmesh.common.v1 import audit_pb2
from tillmesh.common.v1 import event_pb2 as event_pb
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import inventory_service_pb2_grpc as rpc
from tillmesh.inventory.v1 import stock_pb2 as stock_pb

Context = grpc.aio.ServicerContext[Any, Any]
M = TypeVar("M", bound=Message)


class StockServicer(rpc.InventoryServiceServicer):
    """Stock of a tenant's locations."""

    def __init__(
        self,
        stock: handlers.StockHandlers,
        sourcing: sourcing_handlers.SourcingHandlers,
        watches: watch.StockWatch,
        letters: dead_letters.DeadLetters,
        audited: reading.Reading,
    ) -> None:
        self._stock = stock
        self._sourcing = sourcing
        self._watches = watches
        self._letters = letters
        self._audited = audited

    async def GetStock(self, request: pb.GetStockRequest, context: Context) -> stock_pb.StockLevel:
        level = await self._stock.get_level(request.location_id, request.sku)
        return mapping.level_at(request.location_id, level, validation.instant(request, "at"))

    async def BatchGetAvailability(
        self, request: pb.BatchGetAvailabilityRequest, context: Context
    ) -> pb.BatchGetAvailabilityResponse:
        matrix = await self._stock.availability(availability.wanted(request))
        return availability.response(matrix, request)

    async def ListStock(self, request: pb.ListStockRequest, context: Context) -> pb.ListStockResponse:
        limit, keep = paging.page_size(request.page_size), request.filter
        page = await self._stock.list_levels(
            request.location_id,
            prefix=values.fold(keep.sku_prefix),
            at_most=keep.available_max if keep.HasField("available_max") else None,
            at_least=keep.available_min if keep.HasField("available_min") else None,
            order_by=request.order_by or "sku",
            after=_start(request, int, str),
            limit=limit + 1,
        )
        token = _next(request, page, limit, lambda p: (p.sort_available, values.fold(p.level.sku)))
        return pb.ListStockResponse(levels=mapping.level_page(page[:limit]), next_page_token=token)

    async def ListSkuStock(self, request: pb.ListSkuStockRequest, context: Context) -> pb.ListSkuStockResponse:
        limit, after = paging.page_size(request.page_size), _start(request, str)
        page, sums = await self._stock.list_sku(request.sku, uuid.UUID(after[0]) if after else None, limit + 1)
        token = _next(request, page, limit, lambda p: (str(p.location),))
        levels = mapping.level_page(page[:limit])
        return pb.ListSkuStockResponse(levels=levels, next_page_token=token, totals=mapping.totals_to_proto(sums))

    async def SetStockCounts(self, request: pb.SetStockCountsRequest, context: Context) -> pb.SetStockCountsResponse:
        command = mapping.set_stock_counts(request, principal.current())
        return await self._write("SetStockCounts", request, command, pb.SetStockCountsResponse, mapping.reply_levels)

    async def AdjustStock(self, request: pb.AdjustStockRequest, context: Context) -> stock_pb.StockLevel:
        lot = await self._stock.known_lots.code(request.sku, lot_inputs.draft(request))
        command = mapping.adjust_stock(request, principal.current(), lot)
        return await self._write("AdjustStock", request, command, stock_pb.StockLevel, mapping.reply_level)

    async def MoveStock(self, request: pb.MoveStockRequest, context: Context) -> stock_pb.StockLevel:
        command = mapping.move_stock(request, principal.current())
        return await self._write("MoveStock", request, command, stock_pb.StockLevel, mapping.reply_level)

    async def UpdateStockPolicy(self, request: pb.UpdateStockPolicyRequest, context: Context) -> stock_pb.StockLevel:
        command = mapping.update_stock_policy(request, principal.current())
        return await self._write("UpdateStockPolicy", request, command, stock_pb.StockLevel, mapping.reply_level)

    async def BulkUpdateStock(self, request: pb.BulkUpdateStockRequest, context: Context) -> pb.BulkUpdateStockResponse:
        caller = principal.current()
        key = mapping.given_key(caller, "BulkUpdateStock", request)
        lines = bulk_lines.bulk_lines(request, caller)
        return bulk_lines.bulk_results(await self._stock.bulk_update(lines, key))

    async def StreamStockUpdates(
        self, request_iterator: AsyncIterator[pb.StreamStockUpdatesRequest], context: Context
    ) -> AsyncIterator[pb.StreamStockUpdatesResponse]:
        async for answer in stock_stream.answers(self._stock, request_iterator):
            yield answer

    async def ReserveStock(self, request: pb.ReserveStockRequest, context: Context) -> stock_pb.Reservation:
        command = mapping.reserve_stock(request, principal.current())
        return await self._write("ReserveStock", request, command, stock_pb.Reservation, mapping.reply_reservation)

    async def CreateReservation(self, request: pb.CreateReservationRequest, context: Context) -> stock_pb.Reservation:
        parts = mapping.create_reservation(request, principal.current())
        key = mapping.key(principal.current(), "CreateReservation", request)
        return await self._stock.write_spread(parts, key, stock_pb.Reservation)

    async def SourceReservation(self, request: pb.SourceReservationRequest, context: Context) -> stock_pb.Reservation:
        key = mapping.key(principal.current(), "SourceReservation", request)
        return await self._sourcing.reserve(sourcing_mapping.wanted(request), key)

    async def GetReservation(self, request: pb.GetReservationRequest, context: Context) -> stock_pb.Reservation:
        return mapping.hold_to_proto(await self._stock.get_hold(mapping.hold_uuid(request.reservation_id)))

    async def ListReservations(
        self, request: pb.ListReservationsRequest, context: Context
    ) -> pb.ListReservationsResponse:
        limit, after, keep = paging.page_size(request.page_size), _start(request, str), request.filter
        page = await self._stock.list_holds(
            request.location_id,
            state=keep.state,
            order_ref=keep.order_ref,
            sku=keep.sku,
            after=uuid.UUID(after[0]) if after else None,
            limit=limit + 1,
        )
        token = _next(request, page, limit, lambda p: (str(p.id),))
        return pb.ListReservationsResponse(
            reservations=[mapping.hold_to_proto(placed) for placed in page[:limit]], next_page_token=token
        )

    async def ExtendReservation(self, request: pb.ExtendReservationRequest, context: Context) -> stock_pb.Reservation:
        return await self._end_hold("ExtendReservation", request, values.HoldState.ACTIVE, mapping.ttl(request))

    async def ConfirmReservation(self, request: pb.ConfirmReservationRequest, context: Context) -> stock_pb.Reservation:
        return await self._end_hold("ConfirmReservation", request, values.HoldState.CONFIRMED)

    async def ReleaseReservation(self, request: pb.ReleaseReservationRequest, context: Context) -> stock_pb.Reservation:
        return await self._end_hold("ReleaseReservation", request, values.HoldState.RELEASED)

    async def ReduceReservation(self, request: pb.ReduceReservationRequest, context: Context) -> stock_pb.Reservation:
        key = mapping.key(principal.current(), "ReduceReservation", request)
        hold_id = mapping.hold_uuid(request.reservation_id)
        return await self._stock.reduce_hold(hold_id, request.lines, key, stock_pb.Reservation)

    async def ListMovements(self, request: pb.ListMovementsRequest, context: Context) -> pb.ListMovementsResponse:
        limit, after = paging.page_size(request.page_size), _start(request, int, int)
        keep = mapping.movement_filter(request)
        page = await self._stock.list_movements(request.location_id, keep, after, limit + 1)
        token = _next(request, page, limit, lambda row: (row.seq, row.line))
        return pb.ListMovementsResponse(
            movements=[mapping.movement_to_proto(row) for row in page[:limit]], next_page_token=token
        )

    async def WatchStock(self, request: pb.WatchStockRequest, context: Context) -> AsyncIterator[bytes]:  # type: ignore[override]  # frames are serialised once for all streams
        async for frame in self._watches.watch(request, principal.current(), context):
            yield frame

    async def WatchLocations(self, request: pb.WatchLocationsRequest, context: Context) -> AsyncIterator[bytes]:  # type: ignore[override]  # as above
        async for frame in self._watches.watch_locations(request, principal.current(), context):
            yield frame

    async def ListStockExceptions(
        self, request: pb.ListStockExceptionsRequest, context: Context
    ) -> pb.ListStockExceptionsResponse:
        limit, after = paging.page_size(request.page_size), _start(request, str)
        page = await self._stock.list_exceptions(
            request.location_id,
            resolved=request.include_resolved,
            after=uuid.UUID(after[0]) if after else None,
            limit=limit + 1,
        )
        token = _next(request, page, limit, lambda row: (str(row.id),))
        return pb.ListStockExceptionsResponse(
            exceptions=[mapping.exception_to_proto(row) for row in page[:limit]], next_page_token=token
        )

    async def ListStockAlerts(self, request: pb.ListStockAlertsRequest, context: Context) -> pb.ListStockAlertsResponse:
        limit, after = paging.page_size(request.page_size), _start(request, int, str)
        page = await self._stock.list_alerts(
            request.location_id, kind=request.filter.kind, after=after, limit=limit + 1
        )
        token = _next(request, page, limit, lambda level: (level.alert, values.fold(level.sku)))
        return pb.ListStockAlertsResponse(
            alerts=[mapping.level_alert(level) for level in page[:limit]], next_page_token=token
        )

    async def ResolveStockException(
        self, request: pb.ResolveStockExceptionRequest, context: Context
    ) -> stock_pb.StockException:
        where = mapping.location_uuid(request.location_id), uuid.UUID(request.exception_id)
        key = mapping.key(principal.current(), "ResolveStockException", request)
        return await self._stock.resolve_exception(*where, request.resolution, key)  # type: ignore[return-value]  # an exception

    async def GetAppliedPosition(
        self, request: pb.GetAppliedPositionRequest, context: Context
    ) -> pb.GetAppliedPositionResponse:
        position = await self._stock.applied_position(request.location_id, SALES_CONSUMER)
        return pb.GetAppliedPositionResponse(sales_seq=position)

    async def ListAuditEntries(
        self, request: audit_pb2.ListAuditEntriesRequest, context: Context
    ) -> audit_pb2.ListAuditEntriesResponse:
        return await self._audited.list(principal.current(), request)

    async def ListDeadLetters(
        self, request: event_pb.ListDeadLettersRequest, context: Context
    ) -> event_pb.ListDeadLettersResponse:
        return await self._letters.list(mapping.tenant_uuid(principal.current().tenant_id), request)

    async def ReplayDeadLetter(
        self, request: event_pb.ReplayDeadLetterRequest, context: Context
    ) -> event_pb.ReplayDeadLetterResponse:
        return await self._letters.replay(mapping.tenant_uuid(principal.current().tenant_id), request)

    async def _write(
        self, method: str, request: Any, command: commands.Command, answer: type[M], reply: mapping.Reply
    ) -> M:
        key = mapping.key(principal.current(), method, request)
        return await self._stock.write(request.location_id, command, key, answer, reply)

    async def _end_hold(
        self, method: str, request: Any, action: values.HoldState, ttl_seconds: float = 0
    ) -> stock_pb.Reservation:
        key = mapping.key(principal.current(), method, request)
        hold_id = mapping.hold_uuid(request.reservation_id)
        return await self._stock.end_hold(hold_id, action, ttl_seconds, key, stock_pb.Reservation)


def _start(request: Any, *kinds: type) -> list[Any] | None:
    return paging.start(principal.current().tenant_id, request, kinds)


def _next(request: Any, page: Any, limit: int, key: Callable[[Any], paging.Key]) -> str:
    """Token of the next page, when one row more than the page was found."""
    if len(page) <= limit:
        return ""
    return paging.next_token(principal.current().tenant_id, request, key(page[limit - 1]))
