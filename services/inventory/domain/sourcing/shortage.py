"""What is said when a request can't be served: which lines stand in the way, and who has them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence

from services.inventory.domain.sourcing.values import (
    Alternative,
    Candidate,
    Line,
    Request,
    ShortLine,
    SourcingShortage,
    Splitting,
)

ALTERNATIVES_MAX = 5
"""Of a line: what a person at a till reads at a glance."""

Possible = Callable[[Sequence[Line]], bool]
"""Whether lines can be served together; True where that stays open."""


def describe(request: Request, possible: Possible, *, proven: bool) -> SourcingShortage:
    """The lines that can't be had even alone or beside others of their SKU; if none, lines that conflict."""
    lines = sorted(request.lines, key=lambda line: (line.ref, line.key))
    wanted: dict[str, int] = {}
    for line in lines:
        wanted[line.key] = wanted.get(line.key, 0) + line.quantity
    usable = [c for c in request.candidates if request.pickup_at in (None, c.id)]
    short = [
        line
        for line in lines
        if _most(request, usable, line) < line.quantity or _reach(request, usable, line.key) < wanted[line.key]
    ]
    together = not short
    if together:
        short = _conflict([], lines, possible, known=True) if proven else lines
    return SourcingShortage(
        tuple(
            ShortLine(
                line.ref,
                line.key,
                line.quantity,
                wanted[line.key],
                _reach(request, usable, line.key),
                _most(request, usable, line),
                together,
                alternatives(request.candidates, {c.id: _have(c, line.key) for c in request.candidates}, line.quantity),
            )
            for line in short
        ),
        proven,
    )


def _have(candidate: Candidate, key: str) -> int:
    return max(candidate.available.get(key, 0), 0)


def _most(request: Request, usable: Sequence[Candidate], line: Line) -> int:
    """The most units of a line that could be had, were it the only one."""
    if request.splitting != Splitting.UNITS or line.group:
        return max((_have(c, line.key) for c in usable), default=0)
    return _reach(request, usable, line.key)


def _reach(request: Request, usable: Sequence[Candidate], key: str) -> int:
    """The most units of a SKU that all lines together could have."""
    parcels = 1 if request.splitting == Splitting.NONE else request.parcels_max
    return sum(sorted((_have(c, key) for c in usable), reverse=True)[:parcels])


def _conflict(given: list[Line], lines: list[Line], possible: Possible, *, known: bool = False) -> list[Line]:
    """Of lines that can't be served beside the given ones, some that can't, but could without any one of them.

    By halves (QuickXplain, Junker 2004), so that two lines among fifty take a dozen questions. known: the given lines
    can be served.
    """
    if not known and given and not possible(given):
        return []
    if len(lines) == 1:
        return lines
    half = len(lines) // 2
    right = _conflict(given + lines[:half], lines[half:], possible)
    left = _conflict(given + right, lines[:half], possible, known=not right)
    return left + right


def alternatives(
    candidates: Sequence[Candidate], have: Mapping[uuid.UUID, int], quantity: int
) -> tuple[Alternative, ...]:
    """Candidates that have some of what is asked for: enough before most, then near before far. have: units by id."""
    having = sorted(
        (c for c in candidates if have[c.id]),
        key=lambda c: (-min(have[c.id], quantity), c.distance_m is None, c.distance_m or 0, c.priority, c.id),
    )
    return tuple(Alternative(c.id, have[c.id]) for c in having[:ALTERNATIVES_MAX])
