"""How somebody asks: under a key, again until the answer is known, now and then once more though it is, or twice at once."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, Final

from tests.prove import world
from tests.prove.history import AGAIN, Attempt, Call, History

#: How long a caller asks what became of a call before it gives up, in seconds.
PATIENCE_SECONDS: Final = 90.0
REPEATED: Final = 0.06
TWICE_AT_ONCE: Final = 0.03


class Asker:
    """One who calls a brand. Each call has a key of its own."""

    def __init__(
        self,
        name: str,
        chance: random.Random,
        brand: world.Brand,
        history: History,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.name, self.brand = name, brand
        self._random, self._history, self._patience_seconds = chance, history, patience_seconds
        self._made = 0

    def key(self) -> str:
        """A new one."""
        self._made += 1
        return f"{self.name}-{self._made}"

    async def call(
        self, kind: str, key: str, facts: dict[str, Any], path: str, body: Any, at: str, method: str = ""
    ) -> Call:
        """Calls until the answer is known; now and then it asks again all the same, or two do so at once.

        at: the location that it is about. method: POST, or GET where there is no body.
        """
        call = Call(kind, self.brand.name, at, key, facts)
        self._history.calls.append(call)
        method = method or ("GET" if body is None else "POST")
        # A till's own number is key enough for a sale; a read has none.
        sent = "" if body is None or (kind == "sale" and self._random.random() < 0.5) else key
        chance = self._random.random()
        twice = body is not None and chance < TWICE_AT_ONCE
        asking = [self._until_known(call, method, path, body, sent) for _ in range(2 if twice else 1)]
        await asyncio.gather(*asking)
        if body is not None and call.answers and TWICE_AT_ONCE <= chance < TWICE_AT_ONCE + REPEATED:
            await self._until_known(call, method, path, body, sent)
        return call

    async def _until_known(self, call: Call, method: str, path: str, body: Any, key: str) -> None:
        until = time.monotonic() + self._patience_seconds
        pause = 0.1
        while True:
            attempt = await self.brand.attempt(method, path, body, key)
            if call.kind == "bulk" and attempt.ok:
                attempt = _as_bulk(attempt)
            call.attempts.append(attempt)
            if attempt.final or time.monotonic() > until:
                return
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.5))
            pause = min(2 * pause, 2.0)


def _as_bulk(attempt: Attempt) -> Attempt:
    """A bulk update is known when each of its lines is."""
    reasons = [world.reason_of(result["error"]) for result in attempt.body["results"] if result.get("error")]
    again = [reason for reason in reasons if reason in AGAIN]
    if again:
        return Attempt(attempt.begun, attempt.ended, attempt.status, again[0], attempt.body)
    return attempt
