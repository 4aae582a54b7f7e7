"""OrdersService on the wire: translate, call, translate."""

from __future__ import annotations

from typing import Any

import grpc.aio

from services.kit import dead_letters, events, paging, principal
from services.kit.audit import reading
from services.orders import handlers, moving, recalls, taxing
from services.orders.customers import mapping as people
from services.orders.domain import sale
from services.orders.mapping import messages, placed_messages, placed_requests, placing_requests, requests
from services.orders.placing import desk
from services.orders.store import searching
from tillmesh.common.v1 import audit_pb2, event_pb2
from tillmesh.orders.v1 import orders_pb2, placement_pb2, recipients_pb2
from tillmesh.orders.v1 import orders_service_pb2 as pb
from tillmesh.orders.v1 import orders_service_pb2_grpc as rpc

Context = grpc.aio.ServicerContext[Any, Any]


def _shown(order: sale.Order) -> orders_pb2.Order:
    """An order that is no sale: whether its stock is reduced is not asked."""
    return messages.order_to_proto(sale.Shown(order, stock_applied=False))


class OrdersServicer(rpc.OrdersServiceServicer):
    """Orders of a tenant."""

    def __init__(
        self,
        orders: handlers.Orders,
        placing: desk.Desk,
        moves: moving.Moves,
        policies: taxing.TaxPolicies,
        lots: recalls.Recalls,
        letters: dead_letters.DeadLetters,
        audited: reading.Reading,
    ) -> None:
        self._orders = orders
        self._desk = placing
        self._moves = moves
        self._policies = policies
        self._lots = lots
        self._letters = letters
        self._audited = audited

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
            limit=limit,
        )
        return messages.sales_page(request, key.tenant, found)

    async def SummarizeSales(self, request: pb.SummarizeSalesRequest, context: Context) -> pb.SummarizeSalesResponse:
        key = requests.lane_key(principal.current().tenant_id, request.location_id)
        question = requests.question(request)
        limit = paging.page_size(request.page_size, requests.SUMMARY_ROWS_DEFAULT)
        after = requests.summary_start(request, key.tenant, question.dimensions)
        rows = await self._orders.summarize(key, question, after=after, limit=limit + 1)
        return messages.summary_page(request, key.tenant, question, rows, limit)

    async def GetOrderRecipient(
        self, request: recipients_pb2.GetOrderRecipientRequest, context: Context
    ) -> recipients_pb2.OrderRecipient:
        caller, order_id = principal.current(), requests.order_uuid(request.order_id)
        customer, recipient = await self._orders.recipient(caller, people.look(), order_id)
        return people.recipient_to_proto(order_id, customer, recipient)

    async def UpdateOrderRecipient(
        self, request: recipients_pb2.UpdateOrderRecipientRequest, context: Context
    ) -> orders_pb2.Order:
        caller = principal.current()
        return await self._desk.readdressing.change(caller, placing_requests.recipient(request, caller))

    async def PlaceOrder(self, request: placement_pb2.PlaceOrderRequest, context: Context) -> orders_pb2.Order:
        caller = principal.current()
        command = placing_requests.place(request, caller)
        return _shown(await self._desk.placing.place(caller, placing_requests.tenant(caller), command))

    async def PreviewOrder(
        self, request: placement_pb2.PreviewOrderRequest, context: Context
    ) -> placement_pb2.PreviewOrderResponse:
        caller = principal.current()
        command = placing_requests.preview(request, caller)
        order = await self._desk.placing.preview(caller, placing_requests.tenant(caller), command)
        return placement_pb2.PreviewOrderResponse(order=placed_messages.preview(_shown(order)))

    async def CreateDraftOrder(
        self, request: placement_pb2.CreateDraftOrderRequest, context: Context
    ) -> orders_pb2.Order:
        caller = principal.current()
        command = placing_requests.create_draft(request, caller)
        return await self._desk.drafting.create(placing_requests.tenant(caller), command)

    async def UpdateDraftOrder(
        self, request: placement_pb2.UpdateDraftOrderRequest, context: Context
    ) -> orders_pb2.Order:
        caller = principal.current()
        command = placing_requests.update_draft(request, caller)
        return await self._desk.drafting.update(caller, placing_requests.tenant(caller), command)

    async def QuoteOrder(self, request: placement_pb2.QuoteOrderRequest, context: Context) -> orders_pb2.Order:
        caller = principal.current()
        command = placing_requests.quote(request, caller)
        return await self._desk.drafting.quote(caller, placing_requests.tenant(caller), command)

    async def PlaceDraftOrder(
        self, request: placement_pb2.PlaceDraftOrderRequest, context: Context
    ) -> orders_pb2.Order:
        caller = principal.current()
        command = placing_requests.place_draft(request, caller)
        return _shown(await self._desk.placing.place_draft(caller, placing_requests.tenant(caller), command))

    async def CancelOrder(self, request: placement_pb2.CancelOrderRequest, context: Context) -> orders_pb2.Order:
        caller = principal.current()
        command, units = placing_requests.cancel(request, caller), placing_requests.cancelled_units(request)
        return _shown(await self._desk.editing.cancel(caller, placing_requests.tenant(caller), command, units))

    async def EditOrder(self, request: placement_pb2.EditOrderRequest, context: Context) -> orders_pb2.Order:
        caller = principal.current()
        command = placing_requests.edit(request, caller)
        return _shown(await self._desk.editing.edit(caller, placing_requests.tenant(caller), command))

    async def PreviewOrderEdit(
        self, request: placement_pb2.PreviewOrderEditRequest, context: Context
    ) -> placement_pb2.PreviewOrderEditResponse:
        caller = principal.current()
        command = placing_requests.edit(request.edit, caller)
        worked = await self._desk.editing.preview(caller, placing_requests.tenant(caller), command)
        return placed_messages.edit_preview(_shown(worked.order), due=worked.due, back=worked.back)

    async def UpdateOrderStatus(
        self, request: placement_pb2.UpdateOrderStatusRequest, context: Context
    ) -> orders_pb2.Order:
        caller = principal.current()
        return await self._moves.move(caller, placed_requests.move(request, caller))

    async def ListOrders(
        self, request: placement_pb2.ListOrdersRequest, context: Context
    ) -> placement_pb2.ListOrdersResponse:
        orders, token = await self._find(request, placed_requests.search(request))
        return placement_pb2.ListOrdersResponse(orders=orders, next_page_token=token)

    async def ListCustomerOrders(
        self, request: placement_pb2.ListCustomerOrdersRequest, context: Context
    ) -> placement_pb2.ListCustomerOrdersResponse:
        tenant = events.tenant_uuid(principal.current().tenant_id)
        keep = await self._orders.of_customer(tenant, placed_requests.customer(request))
        orders, token = await self._find(request, keep)
        return placement_pb2.ListCustomerOrdersResponse(orders=orders, next_page_token=token)

    async def _find(
        self,
        request: placement_pb2.ListOrdersRequest | placement_pb2.ListCustomerOrdersRequest,
        keep: searching.Filter,
    ) -> tuple[list[orders_pb2.Order], str]:
        caller = principal.current()
        tenant, limit = events.tenant_uuid(caller.tenant_id), paging.page_size(request.page_size)
        after = placed_requests.search_start(request, tenant)
        found = await self._orders.find(caller, tenant, keep, after, limit)
        return messages.orders_page(request, tenant, found)

    async def ListLotOrders(self, request: pb.ListLotOrdersRequest, context: Context) -> pb.ListLotOrdersResponse:
        tenant, limit = events.tenant_uuid(principal.current().tenant_id), paging.page_size(request.page_size)
        page, buyers = await self._lots.orders_of(tenant, request.lot_id, limit, request.page_token)
        return messages.lot_orders(page, buyers)

    async def ListOrderHistory(
        self, request: placement_pb2.ListOrderHistoryRequest, context: Context
    ) -> placement_pb2.ListOrderHistoryResponse:
        caller = principal.current()
        tenant, limit = events.tenant_uuid(caller.tenant_id), paging.page_size(request.page_size)
        before = placed_requests.history_start(request, tenant)
        order_id = requests.order_uuid(request.order_id)
        found = await self._orders.history(caller, tenant, order_id, before=before, limit=limit + 1)
        return placed_messages.history_page(request, tenant, found, limit)

    async def SetTaxPolicy(
        self, request: placement_pb2.SetTaxPolicyRequest, context: Context
    ) -> placement_pb2.TaxPolicy:
        key = placed_requests.idempotency_key("SetTaxPolicy", request, principal.current())
        policy = placed_requests.tax_policy(request)
        return await self._policies.put(key, policy, request.expected_version, placed_messages.tax_policy)

    async def GetTaxPolicy(
        self, request: placement_pb2.GetTaxPolicyRequest, context: Context
    ) -> placement_pb2.TaxPolicy:
        tenant = events.tenant_uuid(principal.current().tenant_id)
        return placed_messages.tax_policy(await self._policies.get(tenant, request.country_code))

    async def ListTaxPolicies(
        self, request: placement_pb2.ListTaxPoliciesRequest, context: Context
    ) -> placement_pb2.ListTaxPoliciesResponse:
        tenant, limit = events.tenant_uuid(principal.current().tenant_id), paging.page_size(request.page_size)
        after = placed_requests.policies_start(request, tenant)
        found = await self._policies.page(tenant, after=after, limit=limit + 1)
        return placed_messages.policies_page(request, tenant, found, limit)

    async def ListAuditEntries(
        self, request: audit_pb2.ListAuditEntriesRequest, context: Context
    ) -> audit_pb2.ListAuditEntriesResponse:
        return await self._audited.list(principal.current(), request)

    async def ListDeadLetters(
        self, request: event_pb2.ListDeadLettersRequest, context: Context
    ) -> event_pb2.ListDeadLettersResponse:
        return await self._letters.list(events.tenant_uuid(principal.current().tenant_id), request)

    async def ReplayDeadLetter(
        self, request: event_pb2.ReplayDeadLetterRequest, context: Context
    ) -> event_pb2.ReplayDeadLetterResponse:
        return await self._letters.replay(events.tenant_uuid(principal.current().tenant_id), request)
