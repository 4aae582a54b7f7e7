"""How long the caller of the current rpc will wait. Set by the deadline interceptor; None where nobody waits."""

from __future__ import annotations

import contextvars
import time

_at: contextvars.ContextVar[float | None] = contextvars.ContextVar("deadline", default=None)


def enter(seconds: float) -> None:
    """The current task has so many seconds from now."""
    _at.set(time.monotonic() + seconds)


def at() -> float | None:
    """The end, by time.monotonic()."""
    return _at.get()


def remaining() -> float | None:
    """Seconds left; below zero when it is past."""
    end = _at.get()
    return None if end is None else end - time.monotonic()
