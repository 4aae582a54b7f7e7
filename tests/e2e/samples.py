"""One valid request for each rpc of the contract, and how it is called over gRPC and REST. A new rpc needs a line here."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import annotations_pb2, http_pb2
from google.protobuf import descriptor, descriptor_pool, json_format, message_factory

from tillmesh.common.v1 import access_pb2
from tillmesh.inventory.v1 import (
    bulk_data_service_pb2,
    catalog_service_pb2,
    inventory_service_pb2,
    lots_service_pb2,
    replenishment_service_pb2,
    transfers_service_pb2,
)
from tillmesh.marketing.v1 import marketing_service_pb2
from tillmesh.orders.v1 import (
    customers_service_pb2,
    marketplaces_service_pb2,
    orders_service_pb2,
    payments_service_pb2,
)
from tillmesh.reviews.v1 import reviews_service_pb2

FILES = (
    catalog_service_pb2, inventory_service_pb2, lots_service_pb2, replenishment_service_pb2, bulk_data_service_pb2,
    transfers_service_pb2,
    orders_service_pb2, customers_service_pb2, payments_service_pb2, marketplaces_service_pb2, reviews_service_pb2,
    marketing_service_pb2,
)  # fmt: skip
NIL = "00000000000000000000000000"
ADDRESS = {"lines": ["1 Main Street"], "city": "Graz", "postal_code": "8010", "country_code": "AT"}

# Placeholders are ids of one tenant; a sample with another tenant's ids, or with ids that never existed, differs only there.
SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "CreateLocation": {"location": {"code": "{new}", "name": "x", "type": 1, "timezone": "UTC", "currency_code": "EUR"}},
    "GetLocation": {"location_id": "{location}"},
    "ListLocations": {},
    "UpdateLocation": {"location": {"id": "{location}", "name": "Renamed"}, "update_mask": "name"},
    "CreateProduct": {"product": {"name": "x", "variants": [{"sku": "{new}"}]}},
    "BatchCreateProducts": {"products": [{"name": "x", "variants": [{"sku": "{new}"}]}]},
    "GetProduct": {"product_id": "{product}"},
    "ListProducts": {},
    "SearchProducts": {"query": "thing"},
    "UpdateProduct": {"product": {"id": "{product}", "name": "Renamed"}, "update_mask": "name"},
    "SetProductAxes": {"product_id": "{product}", "axes": []},
    "CreateVariant": {"product_id": "{product}", "variant": {"sku": "{new}"}},
    "ListVariants": {"product_id": "{product}"},
    "GetVariant": {"sku": "{sku}"},
    "UpdateVariant": {"variant": {"sku": "{sku}", "name": "Renamed"}, "update_mask": "name"},
    "SetBundle": {"sku": "{sku}"},
    "CreatePriceList": {"price_list": {"code": "{new}", "name": "x"}},
    "GetPriceList": {"code": "{price_list}"},
    "ListPriceLists": {},
    "UpdatePriceList": {"price_list": {"code": "{price_list}", "name": "Renamed"}, "update_mask": "name"},
    "SetPrice": {"sku": "{sku}", "price": {"amount": {"currency_code": "EUR", "minor_units": 100}}},
    "ListPrices": {"sku": "{sku}"},
    "BatchResolveItems": {"location_id": "{location}", "codes": ["{sku}"]},
    "GetStock": {"location_id": "{location}", "sku": "{sku}"},
    "ListStock": {"location_id": "{location}"},
    "ListSkuStock": {"sku": "{sku}"},
    "BatchGetAvailability": {"skus": ["{sku}"], "location_ids": ["{location}"]},
    "SetStockCounts": {"location_id": "{location}", "counts": [{"sku": "{sku}", "on_hand": 9, "force_reason": "x"}]},
    "AdjustStock": {"location_id": "{location}", "sku": "{sku}", "delta": 1, "reason": 1},
    "MoveStock": {
        "location_id": "{location}", "sku": "{sku}", "from_state": 2, "to_state": 5, "quantity": 1, "reason": 6,
    },
    "UpdateStockPolicy": {"location_id": "{location}", "sku": "{sku}", "safety_stock": 1, "update_mask": "safetyStock"},
    "BulkUpdateStock": {"lines": [{"location_id": "{location}", "sku": "{sku}", "delta": 1}]},
    "StreamStockUpdates": {
        "request_id": "{new}", "lines": [{"location_id": "{location}", "sku": "{sku}", "delta": 1}],
    },
    "CreateImport": {"kind": 1},
    "UploadImportPart": {"import_id": "{import}", "part": 1, "file": {"data": "YQ=="}},
    "GetImport": {"import_id": "{import}"},
    "ListImports": {},
    "CancelImport": {"import_id": "{import}"},
    "ListImportErrors": {"import_id": "{import}"},
    "DownloadImportErrors": {"import_id": "{import}"},
    "CreateExport": {"kind": 1, "location_id": "{location}"},
    "GetExport": {"export_id": "{export}"},
    "ListExports": {},
    "CancelExport": {"export_id": "{export}"},
    "DownloadExport": {"export_id": "{export}"},
    "ReserveStock": {"location_id": "{location}", "sku": "{sku}", "quantity": 1},
    "CreateReservation": {"location_id": "{location}", "lines": [{"sku": "{sku}", "quantity": 1}]},
    "SourceReservation": {"lines": [{"sku": "{sku}", "quantity": 1}], "location_ids": ["{location}"]},
    "GetReservation": {"reservation_id": "{reservation}"},
    "ListReservations": {"location_id": "{location}"},
    "ExtendReservation": {"reservation_id": "{reservation}"},
    "ConfirmReservation": {"reservation_id": "{reservation}"},
    "ReleaseReservation": {"reservation_id": "{reservation}"},
    "ReduceReservation": {"reservation_id": "{reservation}", "lines": [{"sku": "{sku}", "quantity": 1}]},
    "ListMovements": {"location_id": "{location}"},
    "WatchStock": {"location_id": "{location}"},
    "WatchLocations": {"location_ids": ["{location}"]},
    "ListStockExceptions": {"location_id": "{location}"},
    "ListStockAlerts": {"location_id": "{location}"},
    "ResolveStockException": {"location_id": "{location}", "exception_id": "{exception}", "resolution": "x"},
    "GetAppliedPosition": {"location_id": "{location}"},
    "CreateLot": {"sku": "{sku}", "lot": {"code": "{new}", "expires_on": "300100"}},
    "GetLot": {"lot_id": "{lot}"},
    "ListLots": {"sku": "{sku}"},
    "UpdateLot": {"lot_id": "{lot}", "expires_on": "2031-05-31", "update_mask": "expiresOn"},
    "ListStockLots": {"location_id": "{location}", "sku": "{sku}"},
    "AssignLot": {"location_id": "{location}", "sku": "{sku}", "lot": {"code": "SAME-LOT"}, "quantity": 1},
    "RecallLot": {"lot_id": "{lot}", "reason": "x"},
    "LiftRecall": {"lot_id": "{lot}"},
    "ListLotStock": {"lot_id": "{lot}"},
    "ListLotSales": {"lot_id": "{lot}"},
    "ListLotOrders": {"lot_id": "{lot}"},
    "CreateSupplier": {"supplier": {"code": "{new}", "name": "x", "currency_code": "EUR"}},
    "GetSupplier": {"supplier_id": "{supplier}"},
    "ListSuppliers": {},
    "UpdateSupplier": {"supplier": {"id": "{supplier}", "name": "Renamed"}, "update_mask": "name"},
    "ListSupplierSkus": {"supplier_id": "{supplier}"},
    "ListSkuSuppliers": {"sku": "{sku}"},
    "BatchPutSupplierSkus": {"supplier_id": "{supplier}", "skus": [{"sku": "{sku}"}]},
    "ImportSupplierSkus": {
        "supplier_id": "{supplier}",
        "file": {"content_type": "text/csv", "data": base64.b64encode(b"sku,cost\nSAME-SKU,1.25\n").decode()},
    },
    "GetSupplierPerformance": {"supplier_id": "{supplier}"},
    "CreatePurchaseOrder": {
        "purchase_order": {
            "supplier_id": "{supplier}", "location_id": "{location}", "lines": [{"sku": "{sku}", "ordered": 5}],
        },
    },
    "GetPurchaseOrder": {"purchase_order_id": "{purchase_order}"},
    "ListPurchaseOrders": {"location_id": "{location}", "supplier_id": "{supplier}"},
    "UpdatePurchaseOrder": {"purchase_order": {"id": "{purchase_order}", "note": "x"}, "update_mask": "note"},
    "PlacePurchaseOrder": {"purchase_order_id": "{purchase_order}"},
    "CreatePurchaseReceipt": {
        "purchase_order_id": "{purchase_order}", "lines": [{"sku": "{sku}", "accepted": 1}],
    },
    "GetPurchaseReceipt": {"purchase_order_id": "{purchase_order}", "receipt_id": "{receipt}"},
    "ListPurchaseReceipts": {"purchase_order_id": "{purchase_order}"},
    "ClosePurchaseOrder": {"purchase_order_id": "{purchase_order}", "reason": "x"},
    "CancelPurchaseOrder": {"purchase_order_id": "{purchase_order}", "reason": "x"},
    "CreateTransfer": {
        "transfer": {
            "from_location_id": "{location}", "to_location_id": "{destination}", "lines": [{"sku": "{sku}", "quantity": 1}],
        },
    },
    "GetTransfer": {"transfer_id": "{transfer}"},
    "ListTransfers": {"location_id": "{location}"},
    "UpdateTransfer": {"transfer": {"id": "{transfer}", "note": "x"}, "update_mask": "note"},
    "ReadyTransfer": {"transfer_id": "{transfer}"},
    "ShipTransfer": {"transfer_id": "{transfer}"},
    "ReceiveTransfer": {"transfer_id": "{transfer}", "lines": [{"sku": "{sku}", "accepted": 1}]},
    "CloseTransfer": {"transfer_id": "{transfer}", "reason": "x"},
    "CancelTransfer": {"transfer_id": "{transfer}", "reason": "x"},
    "ListTransferEvents": {"transfer_id": "{transfer}"},
    "CreateCycleCount": {"cycle_count": {"location_id": "{location}", "scope": {"skus": ["{sku}"]}}},
    "GetCycleCount": {"count_id": "{count}"},
    "ListCycleCounts": {"location_id": "{location}"},
    "ListCycleCountLines": {"count_id": "{count}"},
    "RecordCycleCountLines": {"count_id": "{count}", "counts": [{"sku": "{sku}", "counted": 9}]},
    "ListCycleCountPasses": {"count_id": "{count}", "sku": "{sku}"},
    "SubmitCycleCount": {"count_id": "{count}"},
    "RequestRecount": {"count_id": "{count}", "skus": ["{sku}"]},
    "ApproveCycleCount": {"count_id": "{count}"},
    "RejectCycleCount": {"count_id": "{count}", "reason": "x"},
    "CancelCycleCount": {"count_id": "{count}", "reason": "x"},
    "InventoryService/ListAuditEntries": {},
    "OrdersService/ListAuditEntries": {},
    "InventoryService/ListDeadLetters": {},
    "InventoryService/ReplayDeadLetter": {"consumer": "inventory", "event_id": "evt_none"},
    "OrdersService/ListDeadLetters": {},
    "OrdersService/ReplayDeadLetter": {"consumer": "orders", "event_id": "evt_none"},
    "RecordSale": {
        "location_id": "{location}", "client_sale_id": "{new}", "lines": [{"code": "{sku}", "quantity": 1, "net_amount": 5}],
    },
    "ListSales": {"location_id": "{location}"},
    "SummarizeSales": {
        "location_id": "{location}", "business_date_from": "2026-01-01", "business_date_to": "2026-12-31",
    },
    "GetOrder": {"order_id": "{order}"},
    "GetOrderRecipient": {"order_id": "{order}"},
    "UpdateOrderRecipient": {"order_id": "{order}", "contact": {"given_name": "X"}},
    "CreateCustomer": {"customer": {"family_name": "{new}"}},
    "GetCustomer": {"customer_id": "{customer}"},
    "ListCustomers": {},
    "SearchCustomers": {"email": "nobody@example.com"},
    "UpdateCustomer": {"customer": {"id": "{customer}", "locale": "de"}, "update_mask": "locale"},
    "CreateCustomerAddress": {"customer_id": "{customer}", "address": ADDRESS},
    "ListCustomerAddresses": {"customer_id": "{customer}"},
    "UpdateCustomerAddress": {"customer_id": "{customer}", "address": {"id": "{address}", **ADDRESS}},
    "DeleteCustomerAddress": {"customer_id": "{customer}", "address_id": "{address}"},
    "RecordConsent": {
        "customer_id": "{customer}", "consent": {"purpose": "news", "channel": 1, "decision": 1, "source": "till"},
    },
    "ListConsents": {"customer_id": "{customer}"},
    "GetCurrentConsents": {"customer_id": "{customer}"},
    "MergeCustomers": {"customer_id": "{customer}", "source_customer_id": "{other_customer}"},
    "ExportCustomer": {"customer_id": "{customer}"},
    "EraseCustomer": {"customer_id": "{customer}"},
    "PlaceOrder": {
        "content": {"location_id": "{location}", "lines": [{"code": "{sku}", "quantity": 1}], "delivery": {}},
    },
    "PreviewOrder": {
        "content": {"location_id": "{location}", "lines": [{"code": "{sku}", "quantity": 1}], "delivery": {}},
    },
    "CreateDraftOrder": {
        "content": {"location_id": "{location}", "lines": [{"code": "{sku}", "quantity": 1}], "delivery": {}},
    },
    "UpdateDraftOrder": {
        "order_id": "{draft}",
        "content": {"location_id": "{location}", "lines": [{"code": "{sku}", "quantity": 1}], "delivery": {}},
    },
    "QuoteOrder": {"order_id": "{draft}"},
    "PlaceDraftOrder": {"order_id": "{draft}"},
    "EditOrder": {"order_id": "{order}", "quantities": [{"line_number": 1, "quantity": 1}]},
    "PreviewOrderEdit": {"edit": {"order_id": "{order}", "quantities": [{"line_number": 1, "quantity": 1}]}},
    "CancelOrder": {"order_id": "{order}"},
    "UpdateOrderStatus": {"order_id": "{order}", "machine": 1, "to_state": "COMPLETED"},
    "ListOrders": {"filter": {"location_id": "{location}", "fulfillment_location_id": "{location}"}},
    "ListCustomerOrders": {"customer_id": "{customer}"},
    "ListOrderHistory": {"order_id": "{order}"},
    "SetTaxPolicy": {"tax_policy": {"country_code": "LI", "rates": [{"name": "VAT", "rate": "0.2"}]}},
    "GetTaxPolicy": {"country_code": "LI"},
    "ListTaxPolicies": {},
    "ListOrderPayments": {"order_id": "{order}"},
    "GetPayment": {"payment_id": f"pay_{NIL}"},
    "CreatePayment": {
        "order_id": "{order}", "location_id": "{location}", "means": 1, "token": "sim_ok",
        "amount": {"currency_code": "EUR", "minor_units": 1},
    },
    "RecordOfflinePayment": {
        "order_id": "{order}", "location_id": "{location}", "means": 1,
        "amount": {"currency_code": "EUR", "minor_units": 1},
    },
    "CapturePayment": {"payment_id": f"pay_{NIL}"},
    "VoidPayment": {"payment_id": f"pay_{NIL}"},
    "RefundPayment": {"payment_id": f"pay_{NIL}", "amount": {"currency_code": "EUR", "minor_units": 1}},
    "ListPaymentExceptions": {},
    "ResolvePaymentException": {"exception_id": f"pex_{NIL}", "finding": 1, "note": "x"},
    "ReceiveStripeEvent": {
        "endpoint": f"whin_{NIL}", "event": {"content_type": "application/json", "data": base64.b64encode(b"{}").decode()},
    },
    "IssueGiftCard": {"amount": {"currency_code": "EUR", "minor_units": 100}},
    "GetGiftCard": {"gift_card_id": "{gift_card}"},
    "LookUpGiftCard": {"code": "0000-0000-0000-0000"},
    "ListGiftCards": {},
    "ListGiftCardEntries": {"gift_card_id": "{gift_card}"},
    "ReplaceGiftCardCode": {"gift_card_id": "{gift_card}"},
    "VoidGiftCard": {"gift_card_id": "{gift_card}", "reason": "x"},
    "IssueStoreCredit": {
        "customer_id": f"cus_{NIL}", "amount": {"currency_code": "EUR", "minor_units": 100}, "reason": "x",
    },
    "AdjustStoreCredit": {
        "customer_id": f"cus_{NIL}", "delta": {"currency_code": "EUR", "minor_units": -1}, "reason": "x",
    },
    "ListStoreCredit": {"customer_id": f"cus_{NIL}"},
    "ListStoreCreditEntries": {"customer_id": f"cus_{NIL}", "currency_code": "EUR"},
    "GetStoredValueLiability": {},
    "CreateMarketplaceConnection": {
        "connection": {
            "name": "ebay", "account": "nobody's", "location_id": "{location}", "stock_location_ids": ["{location}"],
        },
    },
    "GetMarketplaceConnection": {"connection_id": f"mkc_{NIL}"},
    "ListMarketplaceConnections": {},
    "PauseMarketplaceConnection": {"connection_id": f"mkc_{NIL}"},
    "ResumeMarketplaceConnection": {"connection_id": f"mkc_{NIL}"},
    "ListMarketplaceOrders": {"connection_id": f"mkc_{NIL}"},
    "RetryMarketplaceOrder": {"connection_id": f"mkc_{NIL}", "number": "1"},
    "RejectMarketplaceOrder": {"connection_id": f"mkc_{NIL}", "number": "1"},
    "SettleMarketplaceProblem": {"connection_id": f"mkc_{NIL}", "number": "1"},
    "ListMarketplaceListings": {"connection_id": f"mkc_{NIL}"},
    "ListMarketplaceEntries": {"connection_id": f"mkc_{NIL}", "currency_code": "EUR"},
    "RecordMarketplacePayout": {
        "connection_id": f"mkc_{NIL}", "kind": 3, "amount": {"currency_code": "EUR", "minor_units": 1}, "reference": "x",
    },
    "CreateReview": {"product_id": "{product}"},
    "ListProductReviews": {"product_id": "{product}"},
    "ListLocationReviews": {"location_id": "{location}"},
    "ModerateReview": {"review_id": f"rev_{NIL}"},
    "CreateCampaign": {},
    "GetCampaignPerformance": {"campaign_id": f"cmp_{NIL}"},
    "GetCampaignSales": {"campaign_id": f"cmp_{NIL}"},
    "GetCampaignAnalytics": {"campaign_id": f"cmp_{NIL}"},
}  # fmt: skip


@dataclass(frozen=True)
class Route:
    """A way to call an rpc over REST."""

    verb: str
    template: str
    body: str


@dataclass(frozen=True)
class Method:
    """An rpc of the contract."""

    of: descriptor.MethodDescriptor

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def path(self) -> str:
        return f"/{self.of.containing_service.full_name}/{self.of.name}"

    @property
    def rule(self) -> access_pb2.AccessRule:
        return self.of.GetOptions().Extensions[access_pb2.access]

    @property
    def roles(self) -> set[str]:
        return {access_pb2.Role.Name(role).removeprefix("ROLE_").lower() for role in self.rule.roles}

    @property
    def routes(self) -> list[Route]:
        if not self.of.GetOptions().HasExtension(annotations_pb2.http):
            return []
        rule = self.of.GetOptions().Extensions[annotations_pb2.http]
        return [_route(one) for one in (rule, *rule.additional_bindings)]

    def sample(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The request as JSON, with its placeholders filled."""
        short = f"{self.of.containing_service.name}/{self.name}"
        return _fill(SAMPLES[short if short in SAMPLES else self.name], values)

    def message(self, values: Mapping[str, str]) -> bytes:
        """The request on the wire."""
        request = message_factory.GetMessageClass(self.of.input_type)()
        return json_format.ParseDict(self.sample(values), request).SerializeToString()

    @property
    def names_something(self) -> bool:
        """Whether the request holds an id of a tenant's own."""
        return bool(set(re.findall(r"\{(\w+)\}", str(SAMPLES.get(self.name, "")))) - {"new"})


def _route(rule: http_pb2.HttpRule) -> Route:
    verb = rule.WhichOneof("pattern")
    assert verb is not None
    return Route(verb.upper(), getattr(rule, verb), rule.body)


def _fill(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], value)
    if isinstance(value, Mapping):
        return {key: _fill(part, values) for key, part in value.items()}
    return [_fill(part, values) for part in value] if isinstance(value, list) else value


def _query(sample: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, Any]]:
    """Fields as query parameters; what lies inside of another is named with it: `filter.state`."""
    for key, part in sample.items():
        if isinstance(part, Mapping):
            yield from _query(part, f"{inside}{key}.")
        else:
            yield inside + key, part


def rest_call(method: Method, route: Route, values: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of httpx.Client.request: path fields in the path, the body as the route says, the rest in the query."""
    sample = method.sample(values)

    def take(match: re.Match[str]) -> str:
        *within, name = match[1].split(".")
        holder = sample[within[0]] if within else sample
        return str(holder.pop(name))

    path = re.sub(r"\{([\w.]+)\}", take, route.template)
    if route.body == "*":
        return {"method": route.verb, "url": path, "json": sample}
    body = sample.pop(route.body) if route.body else None
    query = dict(_query(sample))
    if route.body and method.of.input_type.fields_by_name[route.body].message_type.full_name == "google.api.HttpBody":
        content = {
            "content": base64.b64decode(body["data"]),
            "headers": {"content-type": body.get("content_type", "application/octet-stream")},
        }
        return {"method": route.verb, "url": path, "params": query, **content}
    return {"method": route.verb, "url": path, "params": query, **({"json": body} if route.body else {})}


def methods() -> Iterator[Method]:
    """Every rpc that Envoy routes."""
    pool = descriptor_pool.Default()
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in pool.FindServiceByName(service.full_name).methods:
                yield Method(method)
