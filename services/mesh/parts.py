"""The names of the mesh's parts, in one place. How a part is started belongs to ``children``."""

from __future__ import annotations

from typing import Final

SERVICES: Final = ("inventory", "orders", "reviews", "marketing")
#: Services that keep state. A service that gets a database is added here and nowhere else.
WITH_DATABASE: Final = ("inventory", "orders")
EDGE: Final = "edge"
#: Who serves metrics, in the order of their ports above ``TILLMESH_METRICS_BASE_PORT``.
WITH_METRICS: Final = ("supervisor", *SERVICES, EDGE)
AUDIENCE: Final = "tillmesh"


def process_names(service: str, count: int) -> tuple[str, ...]:
    """Names the processes of a service: ``inventory``, ``inventory-2``, …"""
    return (service, *(f"{service}-{number}" for number in range(2, count + 1)))
