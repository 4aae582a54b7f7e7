"""Chooses the location, or the split over locations, that serves a request. `choosing` says which plan is the best."""

from services.inventory.domain.sourcing.choosing import choose, rank
from services.inventory.domain.sourcing.composing import Asked, ShortOfUnits
from services.inventory.domain.sourcing.values import (
    WAREHOUSE,
    Alternative,
    Candidate,
    Line,
    Parcel,
    Plan,
    Portion,
    Request,
    Rule,
    ShortLine,
    SourcingShortage,
    Splitting,
)

__all__ = [
    "WAREHOUSE",
    "Alternative",
    "Asked",
    "Candidate",
    "Line",
    "Parcel",
    "Plan",
    "Portion",
    "Request",
    "Rule",
    "ShortLine",
    "ShortOfUnits",
    "SourcingShortage",
    "Splitting",
    "choose",
    "rank",
]
