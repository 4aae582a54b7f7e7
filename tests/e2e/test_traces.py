"""One trace id from Envoy to the stock that a sale reduced, asserted from an OTLP receiver."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.e2e import stack as stacks
from tests.e2e.stack import eventually


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps (trace id, service, span name)."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str]] = []

    def Export(self, request, context):
        for resource in request.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(span.trace_id.hex(), names["service.name"], span.name) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture(scope="module")
def traced() -> Iterator[tuple[stacks.Stack, Receiver]]:
    receiver = Receiver()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with stacks.running(TILLMESH_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", TILLMESH_DEMO="false") as stack:
        yield stack, receiver
    server.stop(None)


def test_a_sale_is_one_trace_through_envoy_orders_inventory_sql_publish_and_consume(traced) -> None:
    stack, receiver = traced
    admin = stack.client("admin")
    location, sku = admin.location(), admin.product()
    admin.stock(location, sku, 5)
    trace = secrets.token_hex(16)

    line = {"code": sku, "quantity": 1, "net_amount": "100"}
    headers = {"traceparent": f"00-{trace}-{'b' * 16}-01"}
    sale = {"client_sale_id": "traced", "lines": [line]}
    assert admin.call("POST", f"/v1/locations/{location}/sales", sale, headers=headers).status_code == 201
    eventually(lambda: admin.level(location, sku)["on_hand"] == "4")

    def spans() -> set[tuple[str, str]]:
        return {(service, name) for trace_id, service, name in receiver.spans if trace_id == trace}

    def complete() -> bool:
        found = spans()
        wanted = [
            ("orders", "OrdersService/RecordSale"),  # the rpc
            ("orders", "CatalogService/BatchResolveItems"),  # the question to Inventory
            ("inventory", "CatalogService/BatchResolveItems"),  # and its answer
            ("orders", "sales.batch"),  # SQL
            ("orders", "publish"),
            ("inventory", "process"),  # consume
            ("inventory", "stock.batch"),  # SQL
        ]
        services = {service for service, _ in found}
        named = all(any(s == service and part in name for s, name in found) for service, part in wanted)
        return named and len(services) >= 3  # Envoy is the third

    eventually(complete, 30), spans()
