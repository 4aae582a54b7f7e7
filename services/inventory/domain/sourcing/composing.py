"""Bundles in sourcing: taken apart before choosing, and put together again in what is said when there is no plan.

A bundle comes whole from one location, however far a request may be divided: its parts are lines of one group. So the
search knows nothing of bundles, and they compete for their parts with whatever else is asked for.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.inventory.domain.bundles import RESERVED_MAX, Bundles
from services.inventory.domain.levels import ShortUnits, fold
from services.inventory.domain.sourcing.shortage import alternatives
from services.inventory.domain.sourcing.values import Alternative, Line, Plan, Request, ShortLine, SourcingShortage
from services.kit import errors

GROUP_MAX = 64
"""Characters of a caller's group, by the contract."""


class Asked(NamedTuple):
    """A line as a caller asks for it: units of a plain SKU or of a bundle."""

    sku: str
    quantity: int
    group: str


class ShortOfUnits(NamedTuple):
    """A line as the caller asked for it, because of which the request can't be served.

    available: the most that could be had, were it the only line. together: that is enough, so others stand in its way.
    components: of a bundle, or of what shares a plain SKU with one, the plain SKUs that are short.
    """

    ref: int
    available: int
    together: bool
    alternatives: tuple[Alternative, ...]
    components: tuple[ShortUnits, ...]


def lines(asked: Sequence[Asked], bundles: Bundles) -> tuple[Line, ...]:
    """What is asked of plain SKUs, the parts of a bundle as a group. INVALID_REQUEST when it is very much."""
    apart = bundles.explode([(each.sku, each.quantity) for each in asked])
    if len(apart) > RESERVED_MAX:
        raise errors.InvalidRequest(f"the lines come to more than {RESERVED_MAX} plain SKUs")

    def group(ref: int) -> str:
        given = asked[ref].group
        return given if given or asked[ref].sku not in bundles else f"{ref:0{GROUP_MAX + 1}}"  # unlike any of a caller

    return tuple(Line(part.ref, part.key, part.quantity, group(part.ref)) for part in apart)


def parcels(plan: Plan, asked: Sequence[Asked], bundles: Bundles) -> dict[uuid.UUID, list[tuple[str, int]]]:
    """What to reserve where: (SKU as asked for, units), a bundle as such."""
    places: dict[uuid.UUID, list[tuple[str, int]]] = {}
    for parcel in plan.parcels:
        units = {p.ref: asked[p.ref].quantity if asked[p.ref].sku in bundles else p.quantity for p in parcel.portions}
        places[parcel.location_id] = [(asked[ref].sku, quantity) for ref, quantity in units.items()]
    return places


def short(answer: SourcingShortage, request: Request, asked: Sequence[Asked], bundles: Bundles) -> list[ShortOfUnits]:
    """What is said of a shortage, line by line as it was asked for."""
    within = {part.key for line in asked if line.sku in bundles for part in bundles.parts(line.sku)}
    found: dict[int, list[ShortLine]] = {}
    for line in answer.lines:
        found.setdefault(line.ref, []).append(line)
    return [
        _of_bundle(ref, parts, request, asked[ref], bundles)
        if asked[ref].sku in bundles
        else _of_plain(parts[0], within)
        for ref, parts in found.items()
    ]


def _of_plain(line: ShortLine, within: set[str]) -> ShortOfUnits:
    if line.key not in within:
        return ShortOfUnits(line.ref, line.available, line.together, line.alternatives, ())
    together = line.available >= line.requested
    return ShortOfUnits(line.ref, line.available, together, line.alternatives, _components([line]))


def _of_bundle(ref: int, parts: Sequence[ShortLine], request: Request, asked: Asked, bundles: Bundles) -> ShortOfUnits:
    have: Mapping[uuid.UUID, int] = {c.id: bundles.available(asked.sku, c.available) for c in request.candidates}
    usable = [have[c.id] for c in request.candidates if request.pickup_at in (None, c.id)]
    most = max(usable, default=0)
    others = alternatives(request.candidates, have, asked.quantity)
    return ShortOfUnits(ref, most, most >= asked.quantity, others, _components(parts))


def _components(parts: Sequence[ShortLine]) -> tuple[ShortUnits, ...]:
    """Those that can't be had even by themselves: too few at one location, or for all lines that ask for them."""
    return tuple(
        ShortUnits(part.key, part.requested, part.available)
        if part.available < part.requested
        else ShortUnits(part.key, part.wanted, part.reach)
        for part in parts
        if not part.together
    )


def spelled(units: Sequence[ShortUnits], spellings: Mapping[str, str]) -> tuple[ShortUnits, ...]:
    """The same as variants spell them. spellings: by folded SKU."""
    return tuple(each._replace(sku=spellings[fold(each.sku)]) for each in units)
