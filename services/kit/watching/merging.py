"""One stream of several keys: a subscription each, whose frames come as they are ready, a turn each."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Mapping

from services.kit import errors
from services.kit.watching import ports, tokens
from services.kit.watching.subscription import Subscription


class Merged:
    """Made by Hub.subscribe_several. Keeps no frames: a key whose reader is slow waits in its own view."""

    def __init__(self, parts: Mapping[str, Subscription], scope: bytes, encoder: ports.Encoder) -> None:
        """parts: by key, in the order that the token has them."""
        self._parts = parts
        self._scope = scope
        self._encoder = encoder
        self._ready = dict.fromkeys(parts)  # in order: whoever gave a frame goes to the end
        self._waiter: asyncio.Future[None] | None = None
        for key, part in parts.items():
            part.on_wake = functools.partial(self._woken, key)

    def refuse(self, error: errors.Error) -> None:
        """Starts with the end: for readers that only understand frames."""
        for part in self._parts.values():
            part.refuse(error)

    async def frames(self) -> AsyncIterator[bytes]:
        """What the reader gets. The first key that ends ends the stream; raises as that one does."""
        loop = asyncio.get_running_loop()
        last: Subscription | None = None
        try:
            while last is None:
                key, frame = await self._next()
                part = self._parts[key]
                part.writing(loop.time())
                yield self._encoder.placed(frame, self._token(), key)
                part.written()
                last = part if part.over else None
        finally:
            self.close()
        if last is not None and last.raised is not None:
            raise last.raised

    async def _next(self) -> tuple[str, bytes]:
        while True:
            while self._ready:
                key = next(iter(self._ready))
                del self._ready[key]
                frame = await self._parts[key].take()
                if frame is not None:
                    self._woken(key)  # there may be more; the others have their turn first
                    self._tell(self._parts[key])
                    return key, frame
                self._parts[key].rest()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def _tell(self, part: Subscription) -> None:
        """That the process goes away is said once, not by every key."""
        if part.told:
            for other in self._parts.values():
                other.told = True

    def _token(self) -> str:
        return tokens.several((part.reached for part in self._parts.values()), self._scope)

    def _woken(self, key: str) -> None:
        self._ready.setdefault(key)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Lets go of everything. Safe to repeat."""
        for part in self._parts.values():
            part.close()
