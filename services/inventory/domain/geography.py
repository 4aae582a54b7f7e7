"""Distances between locations and customers."""

from __future__ import annotations

import math

EARTH_RADIUS_M = 6_371_009  # mean radius of WGS 84
Point = tuple[float, float]
"""Degrees north and east."""


def distance_m(one: Point, other: Point) -> int:
    """Metres along a great circle (haversine); within 0.6 % of the ellipsoid's."""
    (north_1, east_1), (north_2, east_2) = ((math.radians(a), math.radians(b)) for a, b in (one, other))
    north, east = math.sin((north_2 - north_1) / 2), math.sin((east_2 - east_1) / 2)
    root = math.sqrt(north * north + math.cos(north_1) * math.cos(north_2) * east * east)
    return round(2 * EARTH_RADIUS_M * math.asin(min(1.0, root)))
