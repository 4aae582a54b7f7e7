"""What happened, as data: every call with all its attempts, every frame of every stream, every kill, and the end.

Recording belongs to callers.py, watchers.py, nemesis.py and ending.py; judging to model.py and checks_*.py, which know
nothing of the product's code. A history is kept as JSON and can be judged again.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

#: Answers after which a caller doesn't know, or was told to come again: it repeats the call with the same key.
AGAIN: Final = frozenset(
    {
        "NO_ANSWER",
        "UNAVAILABLE",
        "OUTCOME_UNKNOWN",
        "DEADLINE_EXCEEDED",
        "OVERLOADED",
        "CONFLICT",
        "CANCELLED",
        "DRAINING",
        "IDEMPOTENCY_IN_FLIGHT",
        "ORDER_BUSY",
        "EDGE_UNAVAILABLE",
        "EDGE_TIMEOUT",
    }
)


@dataclass(slots=True)
class Attempt:
    """One sending of a call. Times: seconds since 1970, of the machine that the database runs on too."""

    begun: float
    ended: float
    status: int
    reason: str = ""
    """Empty: it succeeded."""
    body: Any = None

    @property
    def ok(self) -> bool:
        return not self.reason

    @property
    def final(self) -> bool:
        """Whether the caller knows now."""
        return self.reason not in AGAIN


@dataclass(slots=True)
class Call:
    """What a caller wanted, under one key, and every answer to it. facts: what kind needs, in the checker's words."""

    kind: str
    tenant: str
    location: str
    key: str
    facts: dict[str, Any]
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def answers(self) -> list[Attempt]:
        """The attempts that succeeded."""
        return [attempt for attempt in self.attempts if attempt.ok]

    @property
    def refusals(self) -> list[Attempt]:
        """The attempts that were refused for good."""
        return [attempt for attempt in self.attempts if attempt.final and not attempt.ok]

    @property
    def outcome(self) -> str:
        """OK, the reason of the refusal, or UNKNOWN."""
        if self.answers:
            return "OK"
        return self.refusals[-1].reason if self.refusals else "UNKNOWN"

    @property
    def seconds(self) -> float:
        """From the first sending until it was known."""
        known = [attempt.ended for attempt in self.attempts if attempt.final]
        return (min(known) if known else self.attempts[-1].ended) - self.attempts[0].begun


@dataclass(slots=True)
class Stream:
    """What a till saw of a location, over all its connections. events: {kind, …} as watchers.py says."""

    name: str
    door: str
    tenant: str
    location: str
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class End:
    """What the product says when all is quiet, by location id: levels by SKU, and rows as the API lists them."""

    levels: dict[str, dict[str, Any]] = field(default_factory=dict)
    movements: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    reservations: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sales: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    bundles: dict[str, dict[str, int]] = field(default_factory=dict)
    """What is available of each bundle."""
    transfers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By id, each with its `events`."""
    counts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Cycle counts by id, each with its `counted` lines."""
    lots: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    """Of each SKU that is kept by lots, what there is of each lot and of none."""
    exceptions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """What a person is told of: of lots only."""
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Orders that are no sales, by id, each with its `payments`."""
    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Gift cards and store credit by id, each with its `entries`."""
    liability: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of each tenant, what is owed on stored value."""
    bank: list[dict[str, Any]] = field(default_factory=list)
    """The simulated bank's books: a row for each payment that it knows."""
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of each service, events since the relays stood still."""
    published: dict[str, list[str]] = field(default_factory=dict)
    """Of each service, ids of the messages in its stream since then."""
    cursors: dict[str, int] = field(default_factory=dict)
    """How far Inventory has applied each key of Orders' events."""
    sagas: list[dict[str, Any]] = field(default_factory=list)
    read_at: float = 0.0
    """When sagas were read."""
    read: dict[str, Any] = field(default_factory=dict)
    """Single resources by id, read again: their body, or the reason of the refusal."""
    dead_letters: int = 0
    quiet: str = ""
    """Why it did not become quiet; empty: it did."""


@dataclass(slots=True)
class History:
    """A whole run. locations: of each tenant, in a zone. bundles: what each consists of, in every tenant. kills: {at, how, process}."""

    seed: int
    seconds: float
    callers: int
    locations: dict[str, list[str]]
    bundles: dict[str, dict[str, int]] = field(default_factory=dict)
    zone: str = "UTC"
    calls: list[Call] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    kills: list[dict[str, Any]] = field(default_factory=list)
    rushes: list[dict[str, Any]] = field(default_factory=list)
    """What each rush was about, and whether the last unit was sold in it: rush.py."""
    outage: dict[str, Any] = field(default_factory=dict)
    """When the relays stood still, how much waited, and how long it took to catch up: outage.py."""
    end: End = field(default_factory=End)

    def of(self, *kinds: str) -> list[Call]:
        """Calls of these kinds."""
        return [call for call in self.calls if call.kind in kinds]

    def write(self, path: Path) -> None:
        """Keeps it."""
        path.write_text(json.dumps(dataclasses.asdict(self)))


def read(path: Path) -> History:
    """A history that was kept."""
    content = json.loads(path.read_text())
    calls = [Call(**(c | {"attempts": [Attempt(**a) for a in c["attempts"]]})) for c in content["calls"]]
    streams = [Stream(**s) for s in content["streams"]]
    return History(**(content | {"calls": calls, "streams": streams, "end": End(**content["end"])}))
