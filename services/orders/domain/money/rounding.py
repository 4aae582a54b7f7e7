"""Exact amounts to whole smallest units, in ways that have names. No floats; kit.currencies has the exponents."""

from __future__ import annotations

import enum
from fractions import Fraction


class Rounding(enum.IntEnum):
    """Which whole number an exact amount becomes; numbers of the contract. HALF_… say what becomes of a tie only."""

    HALF_UP = 1
    """Away from zero: what shops and most tax offices do."""
    HALF_EVEN = 2
    HALF_DOWN = 3
    """Towards zero."""
    UP = 4
    """Always away from zero."""
    DOWN = 5
    """Always towards zero."""


def whole(exact: Fraction, mode: Rounding) -> int:
    """The whole number that exact becomes; -x becomes the mirror of what x becomes."""
    below = exact.numerator // exact.denominator
    rest = exact - below
    if not rest:
        return below
    return below + _goes_up(mode, below, rest)


def _goes_up(mode: Rounding, below: int, rest: Fraction) -> bool:
    """Whether below + rest, with 0 < rest < 1, becomes below + 1."""
    positive = below >= 0
    if mode in (Rounding.UP, Rounding.DOWN):
        return (mode is Rounding.UP) == positive
    twice = rest * 2
    if twice != 1:
        return twice > 1
    if mode is Rounding.HALF_EVEN:
        return below % 2 == 1
    return (mode is Rounding.HALF_UP) == positive


def to_increment(amount: int, increment: int, mode: Rounding) -> int:
    """The multiple of increment that amount becomes: 1003 in steps of 5 is 1005 by HALF_UP. 0 or 1: amount itself."""
    increment = max(1, increment)
    return whole(Fraction(amount, increment), mode) * increment
