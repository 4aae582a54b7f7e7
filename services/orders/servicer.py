"""OrdersService on the wire: translate, call, translate."""

from __future__ import annotations

from typing import Any

import grpc.aio

from services.kit import dead_letters, events, paging, principal
from services.orders import handlers
from services.orders.mapping import messages, requests
from tillmesh.common.v1 import event_pb2
from tillmesh.orders.v1 import orders_pb2
from tillmesh.orders.v1 import orders_service_pb2 as pb
from tillmesh.orders.v1 import orders_service_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]


class OrdersServicer(rpc.OrdersServiceServicer):
    """Orders of a tenant."""

    def __init__(self, orders: handlers.Orders, letters: dead_letters.DeadLetters) -> None:
        self._orders = orders
        self._letters = letters

    async def RecordSale(self, request: pb.RecordSaleRequest, context: Context) -> orders_pb2.Order:
        command = requests.record_sale(request, principal.current())
        return messages.order_to_proto(await self._orders.record_sale(command))

    async def GetOrder(self, request: pb.GetOrderRequest, context: Context) -> orders_pb2.Order:
        caller = principal.current()
        tenant = events.tenant_uuid(caller.tenant_id)
        shown = await self._orders.get_order(caller, tenant, requests.order_uuid(request.order_id))
        return messages.order_to_proto(shown)

    async def ListSales(self, request: pb.ListSalesRequest, context: Context) -> pb.ListSalesResponse:
        key = requests.lane_key(principal.current().tenant_id, request.location_id)
        limit = paging.page_size(request.page_size)
        found = await self._orders.list_sales(
            key,
            requests.list_filter(request),
            newest_first=request.order_by != "occurred_at",
            after=requests.list_start(request, key.tenant),
            limit=limit + 1,
        )
        return messages.sales_page(request, key.tenant, found, limit)

    async def SummarizeSales(self, request: pb.SummarizeSalesRequest, context: Context) -> pb.SummarizeSalesResponse:
        key = requests.lane_key(principal.current().tenant_id, request.location_id)
        question = requests.question(request)
        limit = paging.page_size(request.page_size, requests.SUMMARY_ROWS_DEFAULT)
        after = requests.summary_start(request, key.tenant, question.dimensions)
        rows = await self._orders.summarize(key, question, after=after, limit=limit + 1)
        return messages.summary_page(request, key.tenant, question, rows, limit)

    async def ListDeadLetters(
        self, request: event_pb2.ListDeadLettersRequest, context: Context
    ) -> event_pb2.ListDeadLettersResponse:
        return await self._letters.list(events.tenant_uuid(principal.current().tenant_id), request)

    async def ReplayDeadLetter(
        self, request: event_pb2.ReplayDeadLetterRequest, context: Context
    ) -> event_pb2.ReplayDeadLetterResponse:
        return await self._letters.replay(events.tenant_uuid(principal.current().tenant_id), request)
