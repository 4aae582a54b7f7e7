"""Where the time of an order goes, hop by hop, from the traces of a stack of its own that sends them here.

A hop's time is what its span has beyond the spans below it; spans that overlap are counted once. Of a transaction that
many share, an effect of the saga sees how long it waited for it. What Envoy adds, and what a call takes on its way between
processes, are hops too: a span of the caller beyond that of the one who was called.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from typing import Any, Final

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.bench import generator, order, shop
from tests.bench.measuring import Measured

PLACED: Final = "OrdersService/PlaceOrder"
ALONE: Final = (1, 1)
CALLER: Final = 3  # opentelemetry.proto.trace.v1.Span.SPAN_KIND_CLIENT
SPANS_MAX: Final = 2_000_000
SENT_SECONDS: Final = 1.5  # a process sends its spans twice a second, Envoy every second


@dataclass(frozen=True, slots=True)
class Span:
    """A span that was received. Times in nanoseconds."""

    trace: bytes
    id: bytes
    parent: bytes
    service: str
    name: str
    caller: bool
    begin: int
    end: int


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP receiver that keeps what it gets, up to a number of spans."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._lock = threading.Lock()

    def Export(self, request: Any, context: Any) -> Any:
        """What a process sends."""
        for resource in request.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            found = [
                Span(
                    s.trace_id, s.span_id, s.parent_span_id, names.get("service.name", ""), s.name, s.kind == CALLER,
                    s.start_time_unix_nano, s.end_time_unix_nano,
                )
                for scope in resource.scope_spans for s in scope.spans
            ]  # fmt: skip
            with self._lock:
                self._spans += found[: SPANS_MAX - len(self._spans)]
        return trace_service_pb2.ExportTraceServiceResponse()

    def take(self) -> list[Span]:
        """What came since it was last asked."""
        with self._lock:
            taken, self._spans = self._spans, []
        return taken


@contextlib.contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    """A receiver and its endpoint."""
    receiver, server = Receiver(), grpc.server(futures.ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield receiver, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None)


def hops(spans: Iterable[Span]) -> dict[str, float]:
    """Milliseconds of an order by hop, largest first, over the traces that are whole; and how many those were."""
    traces: dict[bytes, list[Span]] = defaultdict(list)
    for span in spans:
        traces[span.trace].append(span)
    took: dict[str, float] = defaultdict(float)
    count = 0
    for trace in traces.values():
        known = {span.id for span in trace}
        roots = [span for span in trace if span.parent not in known]
        if len(roots) != 1 or not any(PLACED in span.name and span.service == "orders" for span in trace):
            continue  # a part of it isn't here, or it is no order
        count += 1
        for hop, nanoseconds in _self_times(roots[0], trace):
            took[hop] += nanoseconds / 1e6
    ranked = sorted(took.items(), key=lambda each: -each[1])
    return {"orders": count, **{hop: round(spent / count, 3) for hop, spent in ranked if spent / count >= 0.005}}


def _self_times(root: Span, trace: Sequence[Span]) -> Iterator[tuple[str, int]]:
    """What each span below the root, and the root, has for itself. What goes on after the answer isn't counted."""
    below: dict[bytes, list[Span]] = defaultdict(list)
    for span in trace:
        below[span.parent].append(span)
    waiting = [root]
    while waiting:
        span = waiting.pop()
        inside = [each for each in below[span.id] if each.begin < span.end]
        waiting += [_within(each, span) for each in inside]
        yield hop_of(span), span.end - span.begin - _covered(span, inside)


def _within(span: Span, outer: Span) -> Span:
    """The part of a span that its parent waits for."""
    begin, end = max(span.begin, outer.begin), min(span.end, outer.end)
    return Span(span.trace, span.id, span.parent, span.service, span.name, span.caller, begin, max(begin, end))


def _covered(span: Span, inside: Sequence[Span]) -> int:
    covered, until = 0, span.begin
    for each in sorted(inside, key=lambda other: other.begin):
        begin, end = max(each.begin, until), min(each.end, span.end)
        if end > begin:
            covered, until = covered + end - begin, end
    return covered


def hop_of(span: Span) -> str:
    """What a span is called among hops: its service, and what it does there."""
    name = span.name.rpartition(".")[2] if "/" in span.name and "." in span.name else span.name
    if span.service not in ("orders", "inventory"):
        return "envoy"
    return f"{span.service}: calls {name}" if span.caller and "/" in name else f"{span.service}: {name}"


class Hops:
    """An order's time by hop: one after the other, and under the load of order-rest."""

    name = "order-hops"
    unit = "ms"

    def __init__(self, at: shop.Shop) -> None:
        self._short = at.short
        self._opened = contextlib.ExitStack()

    def prepare(self) -> None:
        """Starts the stack that tells its traces, and warms it up."""
        self._receiver, endpoint = self._opened.enter_context(receiving())
        traced = self._opened.enter_context(shop.opened(short=self._short, TILLMESH_OTLP_ENDPOINT=endpoint))
        self._orders = order.Order(traced)
        self._orders.prepare()
        self._orders.measure(1.0)

    def measure(self, seconds: float) -> Measured:
        """One caller, then all."""
        alone, loaded = self._traced(seconds, ALONE), self._traced(seconds, generator.CALLERS)
        return Measured(alone[1].details["latency_ms"]["p50"], {
            "alone_ms": alone[0],
            "loaded_ms": loaded[0],
            "alone_latency_ms": alone[1].details["latency_ms"],
            "loaded_latency_ms": loaded[1].details["latency_ms"],
            "loaded_per_second": loaded[1].details["per_second"],
            "cores_others": loaded[1].details["cores_others"],
        })  # fmt: skip

    def _traced(self, seconds: float, callers: tuple[int, int]) -> tuple[Mapping[str, float], Measured]:
        self._receiver.take()
        measured = self._orders.measure(seconds, callers)
        time.sleep(SENT_SECONDS)
        found = hops(self._receiver.take())
        if not found["orders"]:
            raise generator.Mismatch("no trace of an order came in whole")
        return found, measured

    def close(self) -> None:
        """Ends its stack."""
        self._opened.close()
