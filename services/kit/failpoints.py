"""Names for the moments around an effect: how long it takes is measured and traced; tests can end the process there.

    reservation = await failpoints.effect("hold", self._stock.hold(...))

The hook is set by tests only, in a process of their own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import prometheus_client

from services.kit import telemetry

T = TypeVar("T")

SECONDS = prometheus_client.Histogram("tillmesh_effect_seconds", "How long effects of sagas take.", ["effect"])
hook: Callable[[str], None] | None = None
"""Called with `<effect>:before` and `<effect>:after`, also after an effect that failed."""


async def effect(name: str, work: Awaitable[T]) -> T:
    """Awaits work, which changes something outside of this process."""
    if hook is not None:
        hook(f"{name}:before")
    began = time.perf_counter()
    try:
        with telemetry.span(f"effect {name}"):
            return await work
    finally:
        SECONDS.labels(name).observe(time.perf_counter() - began)
        if hook is not None:
            hook(f"{name}:after")
