"""Work that many callers wait for and one task does, in a context that belongs to none of them."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from services.kit import errors

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def spawn(work: Coroutine[Any, Any, V], name: str) -> asyncio.Task[V]:
    """A task outside of the caller's context: a caller's deadline, principal and trace must not bound others' work."""
    task = asyncio.get_running_loop().create_task(work, name=name, context=contextvars.Context())
    task.add_done_callback(_forget)
    return task


def _forget(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # all who waited may have gone; those who wait still get it


class Flights(Generic[K, V]):
    """One piece of work a key at a time. A caller that goes away leaves it to the others."""

    def __init__(self) -> None:
        self._flying: dict[K, asyncio.Task[V]] = {}

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The result of the key's work, begun now unless it is under way. Draining when `cancel` ends it."""
        task = self._flying.get(key)
        if task is None:
            task = self._flying[key] = spawn(work(), "watch-shared")
            task.add_done_callback(lambda _: self._flying.pop(key, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and (caller is None or not caller.cancelling()):
                raise errors.Draining from None  # the work was ended, not the caller
            raise

    def cancel(self) -> None:
        """Ends all of it."""
        for task in list(self._flying.values()):
            task.cancel()
