"""What the supervisor counts, served for Prometheus on its loopback port."""

from __future__ import annotations

import prometheus_client

from services.mesh import ports


class Metrics:
    """State of the children. A registry of its own, so that two stacks in one test process don't meet."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self.up = prometheus_client.Gauge(
            "tillmesh_child_up", "1 while the child is ready.", ["child"], registry=self.registry
        )
        self.restarts = prometheus_client.Counter(
            "tillmesh_child_restarts_total", "Times the child was started again.", ["child"], registry=self.registry
        )

    def serve(self, port: int) -> None:
        """Serves the numbers until the process ends."""
        prometheus_client.start_http_server(port, addr=ports.HOST, registry=self.registry)
