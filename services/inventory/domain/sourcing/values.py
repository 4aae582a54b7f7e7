"""What sourcing is asked and what it answers. Values only; choosing.py says which plan is chosen."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

WAREHOUSE = 2
"""LOCATION_TYPE_WAREHOUSE of the contract; every other type is on the far side of PREFER_WAREHOUSE."""


class Rule(enum.IntEnum):
    """Which of the possible plans is wanted; choosing.py defines each."""

    NEAREST = 1
    FEWEST_PARCELS = 2
    MOST_STOCK = 3
    PREFER_WAREHOUSE = 4
    PRIORITY_LIST = 5


class Splitting(enum.IntEnum):
    """How far a request may be divided. Permission, not a wish: a plan of one parcel always comes first."""

    NONE = 1
    """All from one location."""
    LINES = 2
    """Lines may come from different locations, each of them whole."""
    UNITS = 3
    """A line's quantity may be divided too."""


@dataclass(frozen=True, slots=True)
class Line:
    """Units of a SKU that are asked for. ref and key together are unique in a request.

    ref is the position of the caller's line; the components of a bundle share it. key is the folded SKU. Lines with the
    same group come from the same location, whole, however far the request may be divided.
    """

    ref: int
    key: str
    quantity: int
    group: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A location that may serve the request: it is open and has the capabilities.

    available: units by folded SKU that may be promised, with what may be backordered; below zero counts as none.
    distance_m None: unknown, which is farther than any distance. A lower priority comes first.
    """

    id: uuid.UUID
    kind: int
    available: Mapping[str, int]
    distance_m: int | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be sourced. pickup_at: the customer collects there, so nothing may come from elsewhere."""

    lines: tuple[Line, ...]
    candidates: tuple[Candidate, ...]
    rule: Rule
    splitting: Splitting = Splitting.NONE
    pickup_at: uuid.UUID | None = None
    parcels_max: int | None = None


class Portion(NamedTuple):
    """What a parcel has of a line."""

    ref: int
    key: str
    quantity: int


class Parcel(NamedTuple):
    """What one location sends. Portions are in the order of (ref, key)."""

    location_id: uuid.UUID
    portions: tuple[Portion, ...]


class Plan(NamedTuple):
    """A way to serve the whole request. Parcels are in the rule's order of locations.

    proven False: the search ended at its limit, so that a better plan may exist; this one is possible all the same.
    """

    parcels: tuple[Parcel, ...]
    proven: bool


class Alternative(NamedTuple):
    """A location that has units of a line that is short."""

    location_id: uuid.UUID
    available: int


class ShortLine(NamedTuple):
    """A line because of which the request can't be served.

    wanted: what all lines of the request ask of this SKU; reach: the most that they could have of it. available: the
    most that could be had for this line, were it the only one. together: it could be had, but not along with the other
    lines that are named.
    """

    ref: int
    key: str
    requested: int
    wanted: int
    reach: int
    available: int
    together: bool
    alternatives: tuple[Alternative, ...]


class SourcingShortage(NamedTuple):
    """Why there is no plan. proven False: none was found before the search ended at its limit."""

    lines: tuple[ShortLine, ...]
    proven: bool
