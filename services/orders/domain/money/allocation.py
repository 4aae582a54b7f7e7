"""Dividing whole amounts so that the parts add up to exactly the whole."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


def allocate(total: int, weights: Sequence[int | Fraction]) -> tuple[int, ...]:
    """Divides total in proportion to weights, by largest remainder; of equal remainders the first comes first.

    A larger weight never gets less than a smaller one, a weight of 0 gets nothing, and -total is divided as the mirror
    of total. When all weights are 0, they count as equal. ValueError for a negative weight, or a total for nobody.
    """
    if any(weight < 0 for weight in weights):
        raise ValueError("weights are at least 0")
    if total < 0:
        return tuple(-part for part in allocate(-total, weights))
    if not weights:
        if total:
            raise ValueError("there is nobody to give it to")
        return ()
    if not any(weights):
        weights = [1] * len(weights)
    unit = Fraction(total) / sum(weights)
    return apportion(total, [unit * weight for weight in weights])


def apportion(total: int, exact: Sequence[Fraction]) -> tuple[int, ...]:
    """Rounds each exact amount down, and as many up as it takes to reach total: those with the largest remainders.

    total lies between the sums of the amounts rounded down and rounded up, as every rounding of their sum does.
    """
    parts = [amount.numerator // amount.denominator for amount in exact]
    missing = total - sum(parts)
    by_remainder = sorted(range(len(parts)), key=lambda i: parts[i] - exact[i])  # stable: ties keep their order
    for i in by_remainder[:missing]:
        parts[i] += 1
    return tuple(parts)


def nth_share(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Divides total, 0 to sum(weights), so that no part shrinks when total grows; sum(weights) gives the weights.

    Largest remainder can take a unit from one part when there is one more to give (the Alabama paradox), which would be
    a negative refund. This is Webster's method, which can't: each unit goes where weight / (2 · part + 1) is largest.
    """
    whole = sum(weights)
    if not whole:
        return (0,) * len(weights)
    # Near the answer at once, then at most a step a weight: rounding by any divisor is an answer for its own sum.
    parts = [(2 * total * weight + whole) // (2 * whole) for weight in weights]
    order = range(len(weights))
    while (missing := total - sum(parts)) > 0:
        parts[max(order, key=lambda i: (Fraction(weights[i], 2 * parts[i] + 1), -i))] += 1
    while missing < 0:
        last = max((i for i in order if parts[i]), key=lambda i: (Fraction(2 * parts[i] - 1, weights[i]), i))
        parts[last] -= 1
        missing += 1
    return tuple(parts)
