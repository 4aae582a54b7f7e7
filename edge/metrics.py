"""What the edge counts, and the loopback listener that Prometheus scrapes. Never on the public doors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import prometheus_client

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS = prometheus_client.Counter(
    "tillmesh_edge_requests", "Requests answered by the edge.", ["path", "method", "status"]
)
SECONDS = prometheus_client.Histogram(
    "tillmesh_edge_request_seconds",
    "Time to answer a request, in seconds.",
    ["path"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
TOKENS = prometheus_client.Counter("tillmesh_edge_tokens", "Token requests by outcome.", ["outcome"])
READY = prometheus_client.Gauge("tillmesh_edge_part_ready", "1 when the part of the mesh is ready.", ["part"])


def listen(port: int) -> int:
    """Serve /metrics on loopback from a thread; returns the port. Raises OSError when it is taken."""
    server, _ = prometheus_client.start_http_server(port, addr="127.0.0.1")
    return int(server.server_port)


class RequestMetrics:
    """ASGI middleware: counts by route. Paths that no route has are one label, or callers could make labels up."""

    def __init__(self, app: ASGIApp, paths: frozenset[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
        status = 500
        began = time.perf_counter()

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            REQUESTS.labels(path=path, method=method, status=str(status)).inc()
            SECONDS.labels(path=path).observe(time.perf_counter() - began)
