"""Metrics of rpcs by the names of the gRPC ecosystem, and the loopback listener that Prometheus scrapes.

Streams count, but never enter the latency histograms: a watch that lasts 15 minutes is not a slow call. Metrics of the
domain belong to the services; no label ever holds a tenant, a SKU or a customer.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final
from wsgiref.simple_server import WSGIServer

import prometheus_client

UNKNOWN: Final = "unknown"
SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHOD = ("grpc_type", "grpc_service", "grpc_method")

STARTED = prometheus_client.Counter("grpc_server_started_total", "Rpcs that began.", _METHOD)
HANDLED = prometheus_client.Counter("grpc_server_handled_total", "Rpcs that ended, by code.", (*_METHOD, "grpc_code"))
SECONDS = prometheus_client.Histogram(
    "grpc_server_handling_seconds", "Time to answer a unary rpc, in seconds.", _METHOD, buckets=SECONDS_BUCKETS
)
STREAMS = prometheus_client.Gauge("grpc_server_streams_open", "Streaming rpcs that are open.", _METHOD)
REFUSED = prometheus_client.Counter(
    "grpc_server_refused_total", "Rpcs that failed, by the reason told.", ("grpc_service", "grpc_method", "reason")
)
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
    """The metrics of one method, looked up once."""

    def __init__(self, of: Labels) -> None:
        values = (of.grpc_type, of.grpc_service, of.grpc_method)
        self._values = values
        self.started = STARTED.labels(*values).inc
        self._ok = HANDLED.labels(*values, "OK").inc
        unary = of.grpc_type == "unary"
        self._observe = SECONDS.labels(*values).observe if unary else None
        self._streams = None if unary else STREAMS.labels(*values)

    def opened(self) -> None:
        """A stream began."""
        self.started()
        if self._streams is not None:
            self._streams.inc()

    def handled(self, code: str, seconds: float, reason: str = "") -> None:
        """A call ended. code: name of the gRPC code; reason: ours, of an error."""
        if code == "OK":
            self._ok()
        else:
            HANDLED.labels(*self._values, code).inc()
            if reason:
                REFUSED.labels(*self._values[1:], reason).inc()
        if self._observe is not None:
            self._observe(seconds)
        elif self._streams is not None:
            self._streams.dec()


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
