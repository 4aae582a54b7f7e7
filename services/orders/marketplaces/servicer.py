"""MarketplacesService on the wire: translate, call, translate."""

from __future__ import annotations

from typing import Any

import grpc.aio

from services.kit import paging
from services.orders.domain.marketplaces import ledger, values
from services.orders.marketplaces import handlers, mapping
from tillmesh.orders.v1 import marketplaces_pb2
from tillmesh.orders.v1 import marketplaces_service_pb2 as pb
from tillmesh.orders.v1 import marketplaces_service_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]
Connection = marketplaces_pb2.MarketplaceConnection
Order = marketplaces_pb2.MarketplaceOrder


class MarketplacesServicer(rpc.MarketplacesServiceServicer):
    """Marketplaces of a tenant."""

    def __init__(self, made: handlers.Handlers) -> None:
        self._handlers = made

    # --- connections ---

    async def CreateMarketplaceConnection(
        self, request: pb.CreateMarketplaceConnectionRequest, context: Context
    ) -> Connection:
        write = mapping.write("CreateMarketplaceConnection", request, Connection, mapping.connection)
        return await self._handlers.connect(mapping.caller(), write, mapping.wanted(request))

    async def GetMarketplaceConnection(
        self, request: pb.GetMarketplaceConnectionRequest, context: Context
    ) -> Connection:
        connection_id = mapping.connection_id(request.connection_id)
        return mapping.connection(await self._handlers.get(mapping.caller(), connection_id))

    async def ListMarketplaceConnections(
        self, request: pb.ListMarketplaceConnectionsRequest, context: Context
    ) -> pb.ListMarketplaceConnectionsResponse:
        limit, after = paging.page_size(request.page_size), mapping.after_text(request)
        found = await self._handlers.page(mapping.caller(), after=after, limit=limit + 1)
        rows, token = mapping.page(request, found, limit, lambda last: last.of.name)
        shown = map(mapping.connection, rows)
        return pb.ListMarketplaceConnectionsResponse(connections=shown, next_page_token=token)

    async def PauseMarketplaceConnection(
        self, request: pb.PauseMarketplaceConnectionRequest, context: Context
    ) -> Connection:
        write = mapping.write("PauseMarketplaceConnection", request, Connection, mapping.connection)
        connection_id = mapping.connection_id(request.connection_id)
        return await self._handlers.move(mapping.caller(), write, connection_id, values.ConnectionState.PAUSED)

    async def ResumeMarketplaceConnection(
        self, request: pb.ResumeMarketplaceConnectionRequest, context: Context
    ) -> Connection:
        write = mapping.write("ResumeMarketplaceConnection", request, Connection, mapping.connection)
        connection_id = mapping.connection_id(request.connection_id)
        return await self._handlers.move(mapping.caller(), write, connection_id, values.ConnectionState.ACTIVE)

    # --- orders ---

    async def ListMarketplaceOrders(
        self, request: pb.ListMarketplaceOrdersRequest, context: Context
    ) -> pb.ListMarketplaceOrdersResponse:
        limit, after, keep = paging.page_size(request.page_size), mapping.after_text(request), request.filter
        connection_id = mapping.connection_id(request.connection_id)
        found = await self._handlers.orders(
            mapping.caller(), connection_id, problems=keep.problems, state=keep.state, after=after, limit=limit + 1
        )
        rows, token = mapping.page(request, found, limit, lambda last: last.number)
        return pb.ListMarketplaceOrdersResponse(orders=map(mapping.order, rows), next_page_token=token)

    async def RetryMarketplaceOrder(self, request: pb.RetryMarketplaceOrderRequest, context: Context) -> Order:
        write = mapping.write("RetryMarketplaceOrder", request, Order, mapping.order)
        return await self._handlers.retry(mapping.caller(), write, mapping.number(request))

    async def RejectMarketplaceOrder(self, request: pb.RejectMarketplaceOrderRequest, context: Context) -> Order:
        write = mapping.write("RejectMarketplaceOrder", request, Order, mapping.order)
        return await self._handlers.reject(mapping.caller(), write, mapping.number(request), mapping.why(request))

    async def SettleMarketplaceProblem(self, request: pb.SettleMarketplaceProblemRequest, context: Context) -> Order:
        write = mapping.write("SettleMarketplaceProblem", request, Order, mapping.order)
        return await self._handlers.settle(mapping.caller(), write, mapping.number(request))

    # --- listings, ledger ---

    async def ListMarketplaceListings(
        self, request: pb.ListMarketplaceListingsRequest, context: Context
    ) -> pb.ListMarketplaceListingsResponse:
        limit, after = paging.page_size(request.page_size), mapping.after_text(request)
        connection_id = mapping.connection_id(request.connection_id)
        found = await self._handlers.listings(
            mapping.caller(), connection_id, failing=request.filter.failing, after=after, limit=limit + 1
        )
        rows, token = mapping.page(request, found, limit, lambda last: last.sku)
        return pb.ListMarketplaceListingsResponse(listings=map(mapping.listing, rows), next_page_token=token)

    async def ListMarketplaceEntries(
        self, request: pb.ListMarketplaceEntriesRequest, context: Context
    ) -> pb.ListMarketplaceEntriesResponse:
        limit, before = paging.page_size(request.page_size), mapping.before_seq(request)
        connection_id = mapping.connection_id(request.connection_id)
        found = await self._handlers.entries(
            mapping.caller(), connection_id, request.currency_code, before=before, limit=limit + 1
        )
        rows, token = mapping.page(request, found, limit, lambda last: last.seq)
        return pb.ListMarketplaceEntriesResponse(entries=map(mapping.entry, rows), next_page_token=token)

    async def RecordMarketplacePayout(
        self, request: pb.RecordMarketplacePayoutRequest, context: Context
    ) -> marketplaces_pb2.MarketplaceEntry:
        write = mapping.write("RecordMarketplacePayout", request, marketplaces_pb2.MarketplaceEntry, mapping.entry)
        return await self._handlers.record(
            mapping.caller(),
            write,
            mapping.connection_id(request.connection_id),
            ledger.EntryKind(request.kind),
            currency_code=request.amount.currency_code,
            amount=request.amount.minor_units,
            reference=request.reference,
        )
