"""Metrics of rpcs by the names of the gRPC ecosystem, and the loopback listener that Prometheus scrapes.

Streams count, but never enter the latency histograms: a watch that lasts 15 minutes is not a slow call. Metrics of the
domain belong to the services; no label ever holds a tenant, a SKU or a customer.
"""

from __future__ import annotations

import bisect
import collections
import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from wsgiref.simple_server import WSGIServer

import prometheus_client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

UNKNOWN: Final = "unknown"
SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHOD = ("grpc_type", "grpc_service", "grpc_method")

CLIENT_HANDLED = prometheus_client.Counter(
    "grpc_client_handled_total", "Rpcs to other services that ended, by code.", (*_METHOD, "grpc_code")
)
CLIENT_SECONDS = prometheus_client.Histogram(
    "grpc_client_handling_seconds",
    "Time of a unary rpc to another service.",
    _METHOD,
    buckets=SECONDS_BUCKETS,
)
_TYPES = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}


@dataclass(frozen=True, slots=True)
class Labels:
    """Whose metrics."""

    grpc_type: str
    grpc_service: str
    grpc_method: str


def labels(path: str, *, request_streaming: bool = False, response_streaming: bool = False) -> Labels:
    """Labels of a method by its path `/package.Service/Method`."""
    service, _, method = path.lstrip("/").partition("/")
    return Labels(_TYPES[request_streaming, response_streaming], service, method)


class Meter:
    """The metrics of one method. Plain numbers, as one thread counts: prometheus_client's locks cost 3 us a call."""

    def __init__(self, of: Labels) -> None:
        self.labels = of
        self.unary = of.grpc_type == "unary"
        self.started = 0
        self.open = 0
        self.codes: collections.Counter[str] = collections.Counter({"OK": 0})
        self.reasons: collections.Counter[str] = collections.Counter()
        self.seconds = 0.0
        self.buckets = [0] * (len(SECONDS_BUCKETS) + 1)

    def opened(self) -> None:
        """A call began."""
        self.started += 1
        self.open += 1

    def handled(self, code: str, seconds: float, reason: str = "") -> None:
        """A call ended. code: name of the gRPC code; reason: ours, of an error."""
        self.open -= 1
        self.codes[code] += 1
        if reason:
            self.reasons[reason] += 1
        if self.unary:
            self.seconds += seconds
            self.buckets[bisect.bisect_left(SECONDS_BUCKETS, seconds)] += 1

    def histogram(self) -> list[tuple[str, float]]:
        """(upper bound, calls that took at most so long), as Prometheus wants it."""
        bounds = [*(str(float(bound)) for bound in SECONDS_BUCKETS), "+Inf"]
        return list(zip(bounds, map(float, itertools.accumulate(self.buckets)), strict=True))


class _ServerMetrics(Collector):
    """Gathers the meters of a process when it is scraped."""

    def __init__(self) -> None:
        self._meters: dict[Labels, Meter] = {}

    def meter(self, of: Labels) -> Meter:
        """The meter of a method, the same for the same labels."""
        return self._meters.setdefault(of, Meter(of))

    def collect(self) -> Iterable[Metric]:
        """The metric families."""
        started = CounterMetricFamily("grpc_server_started", "Rpcs that began.", labels=_METHOD)
        handled = CounterMetricFamily("grpc_server_handled", "Rpcs that ended.", labels=(*_METHOD, "grpc_code"))
        refused = CounterMetricFamily("grpc_server_refused", "Rpcs that failed.", labels=(*_METHOD, "reason"))
        streams = GaugeMetricFamily("grpc_server_streams_open", "Streaming rpcs that are open.", labels=_METHOD)
        seconds = HistogramMetricFamily("grpc_server_handling_seconds", "Time to answer a unary rpc.", labels=_METHOD)
        for meter in list(self._meters.values()):
            of = meter.labels
            values = (of.grpc_type, of.grpc_service, of.grpc_method)
            started.add_metric(values, meter.started)
            for code, count in list(meter.codes.items()):
                handled.add_metric((*values, code), count)
            for reason, count in list(meter.reasons.items()):
                refused.add_metric((*values, reason), count)
            if meter.unary:
                seconds.add_metric(values, meter.histogram(), meter.seconds)
            else:
                streams.add_metric(values, meter.open)
        return [started, handled, refused, streams, seconds]


_server = _ServerMetrics()
prometheus_client.REGISTRY.register(_server)


def meter(of: Labels) -> Meter:
    """The meter of a served method."""
    return _server.meter(of)


class Listener:
    """GET /metrics on loopback, answered by a thread."""

    def __init__(self, port: int) -> None:
        """port: 0 takes a free one. OSError when it is taken."""
        self._server: WSGIServer
        self._server, _ = prometheus_client.start_http_server(port, addr="127.0.0.1")
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Stops listening within half a second: the thread only looks that often, and nobody should wait for it."""
        threading.Thread(target=self._close, name="metrics-close", daemon=True).start()

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
