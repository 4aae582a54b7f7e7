"""Traces: spans of rpcs, SQL, publishing and consuming under one trace id, exported over OTLP when that is set up.

Without an endpoint no OpenTelemetry object is touched; an incoming `traceparent` is then only passed on, so that events
and calls carry it. Logs and metrics have modules of their own.
"""

from __future__ import annotations

import contextlib
import contextvars
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link, Span, SpanKind, Tracer

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]
TRACEPARENT: Final = "traceparent"
_WELL_FORMED = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

#: (rpc, traceparent) of the call that is being handled. One variable, since each one set costs every call.
_call: contextvars.ContextVar[tuple[str, str]] = contextvars.ContextVar("call", default=("", ""))
_tracer: Tracer | None = None
_provider: TracerProvider | None = None


def setup(service: str, otlp_endpoint: str, *, version: str = "", instance: str = "") -> None:
    """Exports spans to an OTLP receiver (gRPC), e.g. http://127.0.0.1:4317. An empty endpoint: no spans at all."""
    global _tracer, _provider
    if not otlp_endpoint or _provider is not None:
        return
    # Imported here: it takes 0.2 s and 20 MB that a process without traces doesn't need.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    facts = {"service.name": service, "service.version": version, "service.instance.id": instance}
    provider = TracerProvider(resource=Resource.create({name: value for name, value in facts.items() if value}))
    insecure = not otlp_endpoint.startswith("https://")
    exporter = OTLPSpanExporter(endpoint=otlp_endpoint, insecure=insecure, timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    _provider, _tracer = provider, provider.get_tracer("tillmesh")


def shutdown() -> None:
    """Sends what is left. Blocks for some seconds at most: call it in a thread."""
    global _tracer, _provider
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        provider.force_flush(3_000)
        provider.shutdown()


def enabled() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def enter_call(method: str, parent: str) -> None:
    """A call begins in this task. method: `package.Service/Method`; parent: its traceparent, or empty."""
    _call.set((method, parent))


def current_method() -> str:
    """The rpc that is being handled, or empty."""
    return _call.get()[0]


def traceparent() -> str:
    """W3C trace context of the current span, or of the call that is being handled, or empty. Goes into outbox rows."""
    if _tracer is not None:
        from opentelemetry import trace

        context = trace.get_current_span().get_span_context()
        if context.is_valid:
            return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    parent = _call.get()[1]
    return parent if parent and _WELL_FORMED.fullmatch(parent) else ""


@contextlib.contextmanager
def span(
    name: str,
    kind: Kind = "internal",
    attributes: Attributes | None = None,
    *,
    links: Sequence[str] = (),
    parent: str = "",
) -> Iterator[Span | None]:
    """A span around a piece of work; None when no spans are made.

    parent: a traceparent from outside (an event's); empty: the current span. links: traceparents of what else caused
    it, e.g. the requests of a batch. Inside it `traceparent()` gives parent even when no spans are made.
    """
    token = _call.set((current_method(), parent)) if parent else None
    try:
        if _tracer is None:
            yield None
            return
        with _tracer.start_as_current_span(
            name,
            context=_context(parent),
            kind=_kind(kind),
            attributes=dict(attributes or {}),
            links=_links(links),
            # An error's text may quote a row: spans get its class only.
            record_exception=False,
            set_status_on_exception=False,
        ) as started:
            try:
                yield started
            except Exception as error:
                _mark_failed(started, type(error).__qualname__)
                raise
    finally:
        if token is not None:
            _call.reset(token)


def _mark_failed(failed: Span, error_type: str) -> None:
    from opentelemetry.trace import StatusCode

    failed.set_attribute("error.type", error_type)
    failed.set_status(StatusCode.ERROR)


class CallSpan:
    """The span of an rpc that is served. It stays current until the rpc's task ends, as streams outlive a `with`."""

    def __init__(self, method: str, parent: str) -> None:
        from opentelemetry import context, trace

        assert _tracer is not None
        facts = {"rpc.system.name": "grpc", "rpc.method": method}
        self._span = _tracer.start_span(method, context=_context(parent), kind=trace.SpanKind.SERVER, attributes=facts)
        context.attach(trace.set_span_in_context(self._span))

    def end(self, code: str, reason: str) -> None:
        """code: name of the gRPC code; reason: ours, of an error."""
        self._span.set_attribute("rpc.response.status_code", code)
        # By semantic convention only failures of the server are errors of its span.
        if code in ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"):
            _mark_failed(self._span, reason or code)
        elif code != "OK":
            self._span.set_attribute("error.type", reason or code)
        self._span.end()


def start_call(method: str, parent: str) -> CallSpan | None:
    """Begins the span of an rpc that is served; None when no spans are made."""
    return None if _tracer is None else CallSpan(method, parent)


def _context(parent: str) -> Context | None:
    if not parent:
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation import tracecontext

    carrier = {TRACEPARENT: parent}
    return tracecontext.TraceContextTextMapPropagator().extract(carrier, context=Context())


def _kind(kind: Kind) -> SpanKind:
    from opentelemetry.trace import SpanKind

    return SpanKind[kind.upper()]


def _links(parents: Sequence[str]) -> list[Link]:
    from opentelemetry import trace

    contexts = (trace.get_current_span(_context(parent)).get_span_context() for parent in parents if parent)
    return [trace.Link(context) for context in contexts if context.is_valid]
