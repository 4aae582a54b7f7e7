"""One trace id from the caller through two services, asserted from an OTLP receiver; and none of it without one."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from services.kit import access, channels, telemetry, tokens
from tests.integration.kit_rpc import echo

TRACE = "c" * 32
PARENT = f"00-{TRACE}-{'d' * 16}-01"


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.spans = []

    async def Export(self, request, context):
        for resource in request.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(names["service.name"], span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
async def receiver():
    servicer = Receiver()
    collector = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(servicer, collector)
    port = collector.add_insecure_port("127.0.0.1:0")
    await collector.start()
    telemetry.setup("inventory", f"http://127.0.0.1:{port}")
    yield servicer
    await to_thread(telemetry.shutdown)
    await collector.stop(0)


async def to_thread(work):
    import asyncio

    return await asyncio.to_thread(work)


async def test_spans_of_two_services_and_of_sql_are_of_one_trace(rpc, receiver, services, folder: Path, monkeypatch):
    pem = folder / "orders.pem"
    pem.write_bytes(services.keys["svc-orders-1"].as_pem(private=True))
    identity = channels.Identity(tokens.Signer("orders", pem, services.file))
    async with channels.ServiceChannel("inventory", rpc.server.address, identity) as channel:
        below = echo.Stub(channel)

        async def calls_below(request, context):
            if request.text != "top":
                with telemetry.span("SELECT level", "client", {"db.system.name": "postgresql"}):
                    return echo.Reply(text=telemetry.traceparent())
            return await below.GetEcho(echo.Request(text="below"))

        monkeypatch.setattr(rpc.servicer, "answer", calls_below)
        metadata = [*rpc.user(), ("traceparent", PARENT)]
        written = (await rpc.stub.GetEcho(echo.Request(text="top"), metadata=metadata)).text
    assert access.user_token() == ""
    with telemetry.span("publish", "producer", links=[written, "", "nonsense"]):
        pass
    await to_thread(telemetry.shutdown)

    spans = [span for name, span in receiver.spans if name == "inventory"]
    ours = [span for span in spans if span.trace_id.hex() == TRACE]
    kinds = sorted((span.name.rpartition("/")[2], span.kind) for span in ours)
    assert kinds == [("GetEcho", 2), ("GetEcho", 2), ("GetEcho", 3), ("SELECT level", 3)]
    by_id = {span.span_id: span for span in ours}
    sql = next(span for span in ours if span.name == "SELECT level")
    chain = [sql]
    while chain[-1].parent_span_id in by_id:
        chain.append(by_id[chain[-1].parent_span_id])
    assert [span.kind for span in chain] == [3, 2, 3, 2]
    assert chain[-1].parent_span_id.hex() == "d" * 16
    assert written == f"00-{TRACE}-{sql.span_id.hex()}-01"
    (publish,) = [span for span in spans if span.name == "publish"]
    assert [link.span_id for link in publish.links] == [sql.span_id]


async def test_a_failed_span_names_the_error_and_not_its_text(rpc, receiver):
    with pytest.raises(ValueError), telemetry.span("work", parent=PARENT):
        raise ValueError("personal")
    await rpc.stub.GetEcho(echo.Request(), metadata=rpc.user())
    await to_thread(telemetry.shutdown)
    (work,) = [span for _, span in receiver.spans if span.name == "work"]
    assert work.trace_id.hex() == TRACE
    assert "personal" not in str(work)
    assert [each.value.string_value for each in work.attributes if each.key == "error.type"] == ["ValueError"]


async def test_without_a_receiver_the_callers_trace_is_passed_on(rpc):
    assert not telemetry.enabled()
    await rpc.stub.GetEcho(echo.Request(), metadata=[*rpc.user(), ("traceparent", PARENT)])
    assert rpc.servicer.seen["traceparent"] == PARENT
    for damaged in ("nonsense", f"00-{'0' * 32}-{'d' * 16}-01", f"{PARENT} "):
        await rpc.stub.GetEcho(echo.Request(), metadata=[*rpc.user(), ("traceparent", damaged)])
        assert rpc.servicer.seen["traceparent"] in ("", PARENT)
    await rpc.stub.GetEcho(echo.Request(), metadata=rpc.user())
    assert rpc.servicer.seen["traceparent"] == ""


def test_without_a_receiver_a_span_is_nothing_but_its_parent():
    with telemetry.span("consume", "consumer", parent=PARENT) as span:
        assert span is None
        assert telemetry.traceparent() == PARENT
    assert telemetry.traceparent() == ""
