"""ReplenishmentService on the wire: translate, call, translate."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from services.inventory import document_effects
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import cycle_counts as count_values
from services.inventory.handlers import catalog as handlers
from services.inventory.handlers import cycle_counts, purchase_orders, suppliers
from services.inventory.mapping import replenishment_messages as messages
from services.inventory.mapping import replenishment_requests as requests
from services.kit import clock, database, paging, principal
from tillmesh.inventory.v1 import replenishment_pb2, replenishment_service_pb2_grpc
from tillmesh.inventory.v1 import replenishment_service_pb2 as pb

if TYPE_CHECKING:
    import grpc

    Context = grpc.aio.ServicerContext[object, object]


def _no_ping(_tenant_id: str, _key: str) -> None:
    """Documents tell nothing by themselves: what they do to the stock is told by its lane."""


def _count(value: count_values.Count) -> replenishment_pb2.CycleCount:
    return messages.count(value, sees_expected=requests.sees_expected())


def _recorded(value: cycle_counts.Counted) -> pb.RecordCycleCountLinesResponse:
    return messages.recorded(value, sees_expected=requests.sees_expected())


class ReplenishmentServicer(replenishment_service_pb2_grpc.ReplenishmentServiceServicer):
    """Suppliers, purchase orders and cycle counts of a tenant."""

    def __init__(self, db: database.Database, effects: document_effects.Effects) -> None:
        writer = handlers.Writer(db, _no_ping)
        self._suppliers = suppliers.Suppliers(db, writer)
        self._orders = purchase_orders.PurchaseOrders(db, writer, effects)
        self._counts = cycle_counts.CycleCounts(db, writer, effects)

    # --- suppliers ---

    async def CreateSupplier(self, request: pb.CreateSupplierRequest, context: Context) -> replenishment_pb2.Supplier:
        write = requests.write("CreateSupplier", request, replenishment_pb2.Supplier, messages.supplier)
        return await self._suppliers.create(write, requests.supplier_draft(request.supplier))

    async def GetSupplier(self, request: pb.GetSupplierRequest, context: Context) -> replenishment_pb2.Supplier:
        tenant = requests.tenant(principal.current())
        return messages.supplier(await self._suppliers.get(tenant, requests.supplier_id(request.supplier_id)))

    async def ListSuppliers(self, request: pb.ListSuppliersRequest, context: Context) -> pb.ListSuppliersResponse:
        query = requests.supplier_query(request)
        found = await self._suppliers.page(requests.tenant(principal.current()), query)
        rows, token = requests.next_page(request, found, query.limit, lambda last: [codes.sku_key(last.code)])
        return pb.ListSuppliersResponse(suppliers=map(messages.supplier, rows), next_page_token=token)

    async def UpdateSupplier(self, request: pb.UpdateSupplierRequest, context: Context) -> replenishment_pb2.Supplier:
        write = requests.write("UpdateSupplier", request, replenishment_pb2.Supplier, messages.supplier)
        return await self._suppliers.update(write, requests.supplier_edit(request))

    async def ListSupplierSkus(
        self, request: pb.ListSupplierSkusRequest, context: Context
    ) -> pb.ListSupplierSkusResponse:
        query = requests.list_query(request)
        found = await self._suppliers.list_skus(requests.tenant(principal.current()), query)
        rows, token = requests.next_page(request, found, query.limit, lambda last: [codes.sku_key(last.row.sku)])
        return pb.ListSupplierSkusResponse(skus=map(messages.listed, rows), next_page_token=token)

    async def ListSkuSuppliers(
        self, request: pb.ListSkuSuppliersRequest, context: Context
    ) -> pb.ListSkuSuppliersResponse:
        tenant, limit = requests.tenant(principal.current()), paging.page_size(request.page_size)
        after = requests.after_supplier(request)
        found = await self._suppliers.suppliers_of(tenant, request.sku, after=after, limit=limit)
        rows, token = requests.next_page(request, found, limit, lambda last: [str(last.supplier_id)])
        return pb.ListSkuSuppliersResponse(suppliers=map(messages.listed, rows), next_page_token=token)

    async def BatchPutSupplierSkus(
        self, request: pb.BatchPutSupplierSkusRequest, context: Context
    ) -> pb.PutSupplierSkusResponse:
        write = requests.write("BatchPutSupplierSkus", request, pb.PutSupplierSkusResponse, messages.outcomes)
        supplier = requests.supplier_id(request.supplier_id)
        return await self._suppliers.take_in(write, supplier, requests.batch(request))

    async def ImportSupplierSkus(
        self, request: pb.ImportSupplierSkusRequest, context: Context
    ) -> pb.PutSupplierSkusResponse:
        write = requests.write("ImportSupplierSkus", request, pb.PutSupplierSkusResponse, messages.outcomes)
        supplier = requests.supplier_id(request.supplier_id)
        return await self._suppliers.take_in(write, supplier, requests.csv_file(request))

    async def GetSupplierPerformance(
        self, request: pb.GetSupplierPerformanceRequest, context: Context
    ) -> replenishment_pb2.SupplierPerformance:
        period = requests.period(request, clock.now())
        tenant = requests.tenant(principal.current())
        return messages.performance(await self._suppliers.performance(tenant, period))

    # --- purchase orders ---

    async def CreatePurchaseOrder(
        self, request: pb.CreatePurchaseOrderRequest, context: Context
    ) -> replenishment_pb2.PurchaseOrder:
        write = requests.write("CreatePurchaseOrder", request, replenishment_pb2.PurchaseOrder, messages.order)
        return await self._orders.create(write, requests.order_draft(request.purchase_order), requests.actor())

    async def GetPurchaseOrder(
        self, request: pb.GetPurchaseOrderRequest, context: Context
    ) -> replenishment_pb2.PurchaseOrder:
        return messages.order(await self._orders.get(requests.order_id(request.purchase_order_id)))

    async def ListPurchaseOrders(
        self, request: pb.ListPurchaseOrdersRequest, context: Context
    ) -> pb.ListPurchaseOrdersResponse:
        query = requests.order_query(request)
        found = await self._orders.page(query)
        rows, token = requests.next_page(request, found, query.limit, lambda last: [str(last.id)])
        return pb.ListPurchaseOrdersResponse(purchase_orders=map(messages.order, rows), next_page_token=token)

    async def UpdatePurchaseOrder(
        self, request: pb.UpdatePurchaseOrderRequest, context: Context
    ) -> replenishment_pb2.PurchaseOrder:
        write = requests.write("UpdatePurchaseOrder", request, replenishment_pb2.PurchaseOrder, messages.order)
        return messages.order(await self._orders.update(write, requests.order_edit(request)))

    async def PlacePurchaseOrder(
        self, request: pb.PlacePurchaseOrderRequest, context: Context
    ) -> replenishment_pb2.PurchaseOrder:
        write = requests.write("PlacePurchaseOrder", request, replenishment_pb2.PurchaseOrder, messages.order)
        order = requests.order_id(request.purchase_order_id)
        return messages.order(await self._orders.place(write, order, request.expected_version))

    async def CreatePurchaseReceipt(
        self, request: pb.CreatePurchaseReceiptRequest, context: Context
    ) -> replenishment_pb2.PurchaseReceipt:
        write = requests.write("CreatePurchaseReceipt", request, replenishment_pb2.PurchaseReceipt, messages.receipt)
        received = await self._orders.receive(write, requests.delivery(request), requests.kept_receipt)
        return messages.receipt(received)

    async def GetPurchaseReceipt(
        self, request: pb.GetPurchaseReceiptRequest, context: Context
    ) -> replenishment_pb2.PurchaseReceipt:
        order, receipt = requests.order_id(request.purchase_order_id), requests.receipt_id(request.receipt_id)
        return messages.receipt(await self._orders.get_receipt(order, receipt))

    async def ListPurchaseReceipts(
        self, request: pb.ListPurchaseReceiptsRequest, context: Context
    ) -> pb.ListPurchaseReceiptsResponse:
        after, limit = requests.receipts_after(request)
        order = requests.order_id(request.purchase_order_id)
        found = await self._orders.list_receipts(order, after=after, limit=limit)
        rows, token = requests.next_page(request, found, limit, lambda last: [last.number])
        return pb.ListPurchaseReceiptsResponse(receipts=map(messages.receipt, rows), next_page_token=token)

    async def ClosePurchaseOrder(
        self, request: pb.ClosePurchaseOrderRequest, context: Context
    ) -> replenishment_pb2.PurchaseOrder:
        write = requests.write("ClosePurchaseOrder", request, replenishment_pb2.PurchaseOrder, messages.order)
        return messages.order(await self._orders.end(write, requests.order_end(request)))

    async def CancelPurchaseOrder(
        self, request: pb.CancelPurchaseOrderRequest, context: Context
    ) -> replenishment_pb2.PurchaseOrder:
        write = requests.write("CancelPurchaseOrder", request, replenishment_pb2.PurchaseOrder, messages.order)
        return messages.order(await self._orders.end(write, requests.order_end(request)))

    # --- counts ---

    async def CreateCycleCount(
        self, request: pb.CreateCycleCountRequest, context: Context
    ) -> replenishment_pb2.CycleCount:
        write = requests.write("CreateCycleCount", request, replenishment_pb2.CycleCount, _count)
        return await self._counts.create(write, requests.count_draft(request.cycle_count), requests.actor())

    async def GetCycleCount(self, request: pb.GetCycleCountRequest, context: Context) -> replenishment_pb2.CycleCount:
        return _count(await self._counts.get(requests.count_id(request.count_id)))

    async def ListCycleCounts(self, request: pb.ListCycleCountsRequest, context: Context) -> pb.ListCycleCountsResponse:
        query = requests.count_query(request)
        found = await self._counts.page(query)
        rows, token = requests.next_page(request, found, query.limit, lambda last: [str(last.id)])
        return pb.ListCycleCountsResponse(cycle_counts=map(_count, rows), next_page_token=token)

    async def ListCycleCountLines(
        self, request: pb.ListCycleCountLinesRequest, context: Context
    ) -> pb.ListCycleCountLinesResponse:
        query = requests.line_query(request)
        found = await self._counts.list_lines(query)
        rows, token = requests.next_page(
            request, list(found.lines), query.limit, lambda last: [codes.sku_key(last.sku)]
        )
        page = messages.lines(dataclasses.replace(found, lines=rows), sees_expected=requests.sees_expected())
        return pb.ListCycleCountLinesResponse(lines=page, next_page_token=token)

    async def RecordCycleCountLines(
        self, request: pb.RecordCycleCountLinesRequest, context: Context
    ) -> pb.RecordCycleCountLinesResponse:
        write = requests.write("RecordCycleCountLines", request, pb.RecordCycleCountLinesResponse, _recorded)
        count = requests.count_id(request.count_id)
        return await self._counts.record(write, count, requests.entries(request), requests.origin())

    async def ListCycleCountPasses(
        self, request: pb.ListCycleCountPassesRequest, context: Context
    ) -> pb.ListCycleCountPassesResponse:
        found = await self._counts.list_passes(requests.count_id(request.count_id), request.sku)
        return pb.ListCycleCountPassesResponse(passes=map(messages.count_pass, found))

    async def SubmitCycleCount(
        self, request: pb.SubmitCycleCountRequest, context: Context
    ) -> replenishment_pb2.CycleCount:
        write = requests.write("SubmitCycleCount", request, replenishment_pb2.CycleCount, _count)
        return await self._counts.submit(write, requests.decision(request))

    async def RequestRecount(self, request: pb.RequestRecountRequest, context: Context) -> replenishment_pb2.CycleCount:
        write = requests.write("RequestRecount", request, replenishment_pb2.CycleCount, _count)
        return await self._counts.send_back(write, requests.decision(request))

    async def ApproveCycleCount(
        self, request: pb.ApproveCycleCountRequest, context: Context
    ) -> replenishment_pb2.CycleCount:
        write = requests.write("ApproveCycleCount", request, replenishment_pb2.CycleCount, _count)
        return _count(await self._counts.approve(write, requests.decision(request)))

    async def RejectCycleCount(
        self, request: pb.RejectCycleCountRequest, context: Context
    ) -> replenishment_pb2.CycleCount:
        write = requests.write("RejectCycleCount", request, replenishment_pb2.CycleCount, _count)
        return await self._counts.end(write, requests.decision(request), count_values.State.REJECTED)

    async def CancelCycleCount(
        self, request: pb.CancelCycleCountRequest, context: Context
    ) -> replenishment_pb2.CycleCount:
        write = requests.write("CancelCycleCount", request, replenishment_pb2.CycleCount, _count)
        return await self._counts.end(write, requests.decision(request), count_values.State.CANCELLED)
