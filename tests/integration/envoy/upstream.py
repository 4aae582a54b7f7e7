"""Stand-ins behind the door: a gRPC service and an edge that answer what a test asks for, on unix sockets.

The door in front of them is the real Envoy. They run in a thread of their own, so that tests stay plain functions.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import uvicorn
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from starlette import applications, requests, responses, routing

from tests.integration.envoy import contract

Closer = Callable[[], Coroutine[Any, Any, Any]]
CODES = {code.value[0]: code for code in grpc.StatusCode}


class Service:
    """The gRPC service: it answers with what it saw."""

    def __init__(self, messages: contract.Messages, process: str) -> None:
        self._messages = messages
        self._process = process

    def handlers(self) -> grpc.GenericRpcHandler:
        """Every method of the test contract."""
        unary = {"GetStock": self.get_stock, "AdjustStock": self.adjust_stock, "GetBanner": self.get_stock}
        streams = {"WatchStock": self.watch_stock, "WatchPieces": self.watch_pieces}
        methods = {
            name: grpc.unary_unary_rpc_method_handler(method, self._request(name), self._write)
            for name, method in unary.items()
        }
        methods |= {
            name: grpc.unary_stream_rpc_method_handler(method, self._request(name), self._write)
            for name, method in streams.items()
        }
        return grpc.method_handlers_generic_handler(f"{contract.INVENTORY}.InventoryService", methods)

    async def get_stock(self, request: Any, context: Any) -> Any:
        return self._seen(request, context)

    async def adjust_stock(self, request: Any, context: Any) -> Any:
        await asyncio.sleep(request.delay_seconds)
        status = (("x-http-status", request.http_status),) if request.http_status else ()
        if request.fail_with:
            await context.abort(CODES[request.fail_with], "as asked", trailing_metadata=status)
        etag = (("etag", request.etag),) if request.etag else ()
        await context.send_initial_metadata((*status, *etag))
        seen = self._seen(request, context)
        seen.quantity = request.quantity
        seen.padding = "x" * request.answer_bytes
        return seen

    async def watch_stock(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if request.fail_with:
            await context.abort(CODES[request.fail_with], "as asked")
        await context.send_initial_metadata(())
        for seq in range(1, request.frames + 1):
            frame = self._messages.Frame(resume_token=f"tok-{seq}_A", seq=seq)
            frame.metadata.update(_text(context.invocation_metadata()))
            yield frame
            await asyncio.sleep(request.pause_seconds)

    async def watch_pieces(self, request: Any, context: Any) -> AsyncIterator[Any]:
        body = self._messages.named("google.api.HttpBody")
        edges = [0, *request.cuts, len(request.text)]
        for start, end in itertools.pairwise(edges):
            yield body(content_type="text/event-stream", data=request.text[start:end].encode())
            await asyncio.sleep(0.002)  # so that the pieces leave in separate frames

    def _seen(self, request: Any, context: Any) -> Any:
        seen = self._messages.Seen(process=self._process, seconds_left=context.time_remaining() or -1.0)
        for field in ("location_id", "sku"):
            setattr(seen, field, getattr(request, field, ""))
        seen.metadata.update(_text(context.invocation_metadata()))
        return seen

    def _request(self, method: str) -> Callable[[bytes], Any]:
        made: Callable[[bytes], Any] = getattr(self._messages, f"{method}Request").FromString
        return made

    @staticmethod
    def _write(message: Any) -> bytes:
        written: bytes = message.SerializeToString()
        return written


def _text(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata if isinstance(value, str)}


class Edge:
    """The edge: keys, health, tokens. `keys` may be changed while it runs."""

    def __init__(self, keys: list[dict[str, Any]]) -> None:
        self.keys = keys
        self.app = applications.Starlette(
            routes=[
                routing.Route("/healthz", self._answer),
                routing.Route("/oauth2/token", self._answer, methods=["POST"]),
                routing.Route("/.well-known/jwks.json", self._jwks),
                routing.Route("/openapi.json", self._answer),
                routing.Route("/docs", self._answer),
                routing.Route("/", self._answer),
            ]
        )

    async def _answer(self, request: requests.Request) -> responses.Response:
        return responses.JSONResponse({"edge": request.url.path, "query": request.url.query})

    async def _jwks(self, request: requests.Request) -> responses.Response:
        return responses.JSONResponse({"keys": self.keys})


class Loop:
    """An event loop in a thread. What runs on it is stopped with it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream")
        self._closers: list[Closer] = []
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs the work on the loop and waits for its result, 20 s at most."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)

    def close(self) -> None:
        """Stops everything, newest first, then the thread."""
        for closer in reversed(self._closers):
            self.run(closer())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def serve_grpc(self, service: Service, socket: Path) -> Callable[[], None]:
        """Starts the service on a unix socket, healthy. Returns what kills it before its time."""
        return self._stopper(self.run(self._serve_grpc(service, socket)))

    def serve_http(self, app: Any, socket: Path) -> Callable[[], None]:
        """Starts the application on a unix socket. Returns what stops it before its time."""
        return self._stopper(self.run(self._serve_http(app, socket)))

    def receive_spans(self) -> tuple[str, queue.Queue[Any]]:
        """Starts an OTLP receiver. Returns its endpoint, and where each span that arrives is put."""
        spans: queue.Queue[Any] = queue.Queue()
        return self.run(self._receive_spans(spans)), spans

    def _stopper(self, close: Closer) -> Callable[[], None]:
        def stop() -> None:
            self._closers.remove(close)
            self.run(close())

        return stop

    async def _serve_grpc(self, service: Service, socket: Path) -> Closer:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((service.handlers(),))
        servicer = health.aio.HealthServicer()
        await servicer.set(f"{contract.INVENTORY}.InventoryService", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        return self._closed_by(lambda: server.stop(0))

    async def _receive_spans(self, spans: queue.Queue[Any]) -> str:
        class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
            async def Export(self, request: Any, context: Any) -> Any:
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        for span in scope.spans:
                            spans.put(span)
                return trace_service_pb2.ExportTraceServiceResponse()

        server = grpc.aio.server()
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Receiver(), server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self._closed_by(lambda: server.stop(0))
        return f"http://127.0.0.1:{port}"

    async def _serve_http(self, app: Any, socket: Path) -> Closer:
        server = uvicorn.Server(uvicorn.Config(app, uds=str(socket), log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)

        async def close() -> None:
            server.should_exit = True
            await serving

        return self._closed_by(close)

    def _closed_by(self, close: Closer) -> Closer:
        self._closers.append(close)
        return close
