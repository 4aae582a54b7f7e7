"""One timer for many: what must be looked at, in slots of a quarter of a second. A stream has no timer of its own."""

from __future__ import annotations

import math
from typing import Final, Protocol

TICK_SECONDS: Final = 0.25


class Timed(Protocol):
    """Something that is in at most one slot. slot is the wheel's, 0: none."""

    slot: int

    def look(self, now: float) -> None:
        """It is time."""


class Wheel:
    """Times are those of loop.time()."""

    def __init__(self, now: float) -> None:
        self._slots: dict[int, set[Timed]] = {}
        self._done = math.floor(now / TICK_SECONDS)

    def move(self, item: Timed, at: float) -> None:
        """Looks at the item at a time (up to a tick later), and at no other."""
        slot = max(math.ceil(at / TICK_SECONDS), self._done + 1)
        if slot != item.slot:
            self.remove(item)
            item.slot = slot
            self._slots.setdefault(slot, set()).add(item)

    def remove(self, item: Timed) -> None:
        """Looks at the item no more."""
        if item.slot:
            waiting = self._slots.get(item.slot)
            if waiting is not None:
                waiting.discard(item)
            item.slot = 0

    def due(self, now: float) -> list[Timed]:
        """Takes out what is due."""
        current = math.floor(now / TICK_SECONDS)
        found: list[Timed] = []
        for slot in range(self._done + 1, current + 1):
            found += self._slots.pop(slot, ())
        self._done = max(self._done, current)
        for item in found:
            item.slot = 0
        return found
