"""TransfersService on the wire: translate, call, translate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.inventory import document_effects
from services.inventory.handlers import catalog as handlers
from services.inventory.handlers import stock as stock_handlers
from services.inventory.handlers import transfers
from services.inventory.mapping import transfers as mapping
from services.kit import database
from tillmesh.inventory.v1 import transfers_pb2, transfers_service_pb2_grpc
from tillmesh.inventory.v1 import transfers_service_pb2 as pb

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[object, object]


def _no_ping(_tenant_id: str, _key: str) -> None:
    """Documents tell nothing by themselves: what they do to the stock is told by its lanes."""


class TransfersServicer(transfers_service_pb2_grpc.TransfersServiceServicer):
    """Transfers of a tenant."""

    def __init__(
        self, db: database.Database, effects: document_effects.Effects, stock_lanes: stock_handlers.StockLanes
    ) -> None:
        self._transfers = transfers.Transfers(db, handlers.Writer(db, _no_ping), effects, stock_lanes)

    async def CreateTransfer(self, request: pb.CreateTransferRequest, context: Context) -> transfers_pb2.Transfer:
        write = mapping.write("CreateTransfer", request)
        return await self._transfers.create(write, mapping.draft(request.transfer), mapping.origin())

    async def GetTransfer(self, request: pb.GetTransferRequest, context: Context) -> transfers_pb2.Transfer:
        return mapping.transfer(await self._transfers.get(mapping.transfer_id(request.transfer_id)))

    async def ListTransfers(self, request: pb.ListTransfersRequest, context: Context) -> pb.ListTransfersResponse:
        query = mapping.query(request)
        found = await self._transfers.page(query)
        rows, token = mapping.next_page(request, found, query.limit, lambda last: [str(last.id)])
        return pb.ListTransfersResponse(transfers=map(mapping.transfer, rows), next_page_token=token)

    async def UpdateTransfer(self, request: pb.UpdateTransferRequest, context: Context) -> transfers_pb2.Transfer:
        write = mapping.write("UpdateTransfer", request)
        edited = await self._transfers.update(write, mapping.edited(request), mapping.changes(request))
        return mapping.transfer(edited)

    async def ReadyTransfer(self, request: pb.ReadyTransferRequest, context: Context) -> transfers_pb2.Transfer:
        write = mapping.write("ReadyTransfer", request)
        return mapping.transfer(await self._transfers.ready(write, mapping.asked(request)))

    async def ShipTransfer(self, request: pb.ShipTransferRequest, context: Context) -> transfers_pb2.Transfer:
        write = mapping.write("ShipTransfer", request)
        return mapping.transfer(await self._transfers.ship(write, mapping.asked(request), mapping.shipment(request)))

    async def ReceiveTransfer(self, request: pb.ReceiveTransferRequest, context: Context) -> transfers_pb2.Transfer:
        write = mapping.write("ReceiveTransfer", request)
        return mapping.transfer(await self._transfers.receive(write, mapping.asked(request), mapping.receipt(request)))

    async def CloseTransfer(self, request: pb.CloseTransferRequest, context: Context) -> transfers_pb2.Transfer:
        write = mapping.write("CloseTransfer", request)
        return mapping.transfer(await self._transfers.close(write, mapping.asked(request), request.reason))

    async def CancelTransfer(self, request: pb.CancelTransferRequest, context: Context) -> transfers_pb2.Transfer:
        write = mapping.write("CancelTransfer", request)
        return mapping.transfer(await self._transfers.cancel(write, mapping.asked(request), request.reason))

    async def ListTransferEvents(
        self, request: pb.ListTransferEventsRequest, context: Context
    ) -> pb.ListTransferEventsResponse:
        after, limit = mapping.events_after(request)
        transfer, found = await self._transfers.list_events(
            mapping.transfer_id(request.transfer_id), after=after, limit=limit
        )
        rows, token = mapping.next_page(request, found, limit, lambda last: [last.number])
        return pb.ListTransferEventsResponse(events=map(mapping.event(transfer), rows), next_page_token=token)
