"""Names for the moments around an effect, so that tests can end the process there.

    reservation = await failpoints.effect("hold", self._stock.hold(...))

Without a hook this costs a comparison. The hook is set by tests only, in a process of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

hook: Callable[[str], None] | None = None
"""Called with `<effect>:before` and `<effect>:after`, also after an effect that failed."""


async def effect(name: str, work: Awaitable[T]) -> T:
    """Awaits work, which changes something outside of this process."""
    if hook is None:
        return await work
    hook(f"{name}:before")
    try:
        return await work
    finally:
        hook(f"{name}:after")
