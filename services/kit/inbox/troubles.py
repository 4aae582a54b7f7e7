"""Keys that don't go on: how long each waits, and when it is given up. In memory: a restart counts anew."""

from __future__ import annotations

import collections
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tillmesh.common.v1 import event_pb2

KEYS_MAX: Final = 10_000
HELD_BACK_SECONDS: Final = 0.02  # later events of a key come back a little after the one that they wait for
EXPONENT_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient a consumer is. Durations in seconds."""

    ahead_delays: tuple[float, ...] = (0.1, 0.3, 1.0)
    """Waits for the events before, each once; then the owner is asked."""
    defect_tries: int = 5
    """Tries of an event that fails by itself, before it becomes a dead letter."""
    defect_delay: float = 0.2
    defect_delay_max: float = 10.0
    transient_tries: int = 1000
    """Tries of an event while something else is in the way: with the longest delay, more than 8 hours."""
    transient_delay: float = 0.05
    transient_delay_max: float = 30.0


@dataclass(slots=True)
class _Trouble:
    """The first event of a key that doesn't go on."""

    at: tuple[int, int]
    ahead: int = 0
    defects: int = 0
    transients: int = 0
    until: float = 0.0


class Troubles:
    """The troubled keys of one consumer."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._keys: collections.OrderedDict[tuple[str, str], _Trouble] = collections.OrderedDict()

    def hold_back(self, envelope: event_pb2.EventEnvelope) -> float:
        """Seconds that an event should wait because its key waits; 0: try it.

        An event from before the trouble is never held back: it may be what the key waits for.
        """
        trouble = self._keys.get(_key(envelope))
        if trouble is None or _at(envelope) < trouble.at:
            return 0.0
        left = trouble.until - self._clock()
        return left + HELD_BACK_SECONDS if left > 0 else 0.0

    def ahead(self, envelope: event_pb2.EventEnvelope) -> float | None:
        """An event came before its predecessors: seconds to wait for them; None: waited enough, ask the owner."""
        trouble = self._of(envelope)
        trouble.ahead += 1
        if trouble.ahead > len(self._limits.ahead_delays):
            return None
        return self._wait(trouble, self._limits.ahead_delays[trouble.ahead - 1])

    def failed(self, envelope: event_pb2.EventEnvelope, *, transient: bool) -> float | None:
        """An event failed: seconds until it is tried again; None: give it up."""
        trouble = self._of(envelope)
        trouble.at = _at(envelope)
        limits = self._limits
        if transient:
            trouble.transients += 1
            if trouble.transients >= limits.transient_tries:
                return None
            delay = limits.transient_delay * 2.0 ** min(trouble.transients - 1, EXPONENT_MAX)
            delay = min(limits.transient_delay_max, delay)
        else:
            trouble.defects += 1
            if trouble.defects >= limits.defect_tries:
                return None
            delay = limits.defect_delay * 2.0 ** min(trouble.defects - 1, EXPONENT_MAX)
            delay = min(limits.defect_delay_max, delay)
        return self._wait(trouble, delay * random.uniform(0.8, 1.2))  # noqa: S311

    def attempts(self, envelope: event_pb2.EventEnvelope) -> int:
        """How often an event of the key failed."""
        trouble = self._keys.get(_key(envelope))
        return 0 if trouble is None else trouble.defects + trouble.transients

    def clear(self, tenant_id: str, key: str) -> None:
        """The key goes on."""
        self._keys.pop((tenant_id, key), None)

    def _of(self, envelope: event_pb2.EventEnvelope) -> _Trouble:
        key = _key(envelope)
        trouble = self._keys.get(key)
        if trouble is None:
            trouble = self._keys[key] = _Trouble(_at(envelope))
            if len(self._keys) > KEYS_MAX:
                self._keys.popitem(last=False)
        return trouble

    def _wait(self, trouble: _Trouble, delay: float) -> float:
        trouble.until = self._clock() + delay
        return delay


def _key(envelope: event_pb2.EventEnvelope) -> tuple[str, str]:
    return envelope.tenant_id, envelope.key


def _at(envelope: event_pb2.EventEnvelope) -> tuple[int, int]:
    return envelope.epoch, envelope.seq_from
