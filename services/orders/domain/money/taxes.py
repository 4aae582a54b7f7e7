"""The taxes of lines: exact, then rounded for each unit, line or order."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from services.orders.domain.money.allocation import apportion
from services.orders.domain.money.rounding import whole
from services.orders.domain.money.values import Policy, TaxLevel, TaxRate


def of_lines(
    policy: Policy, amounts: Sequence[int], units: Sequence[int], rates: Sequence[Sequence[TaxRate]]
) -> list[list[int]]:
    """Tax amounts of each line, one a rate. amounts contain tax where the policy says so; units are at least 1.

    Each tax is rounded by itself, so that what is owed under its name can be told.
    """
    if policy.tax_level is not TaxLevel.ORDER:
        return [
            _of_units(policy, *line) if policy.tax_level is TaxLevel.UNIT else _rounded(policy, line[0], line[2])
            for line in zip(amounts, units, rates, strict=True)
        ]
    return _of_order(policy, amounts, rates)


def exact(policy: Policy, amount: int, rates: Sequence[TaxRate]) -> list[Fraction]:
    """The taxes on an amount, or in it where the policy is tax_inclusive, before rounding."""
    fractions = [Fraction(rate.rate) for rate in rates]
    base = Fraction(amount) / (1 + sum(fractions)) if policy.tax_inclusive else Fraction(amount)
    return [base * fraction for fraction in fractions]


def _rounded(policy: Policy, amount: int, rates: Sequence[TaxRate]) -> list[int]:
    return [whole(tax, policy.rounding) for tax in exact(policy, amount, rates)]


def _of_units(policy: Policy, amount: int, units: int, rates: Sequence[TaxRate]) -> list[int]:
    """A discount may leave units that differ by one smallest unit: some cost `low`, `dearer` of them one more."""
    low, dearer = divmod(amount, units)
    cheap, dear = _rounded(policy, low, rates), _rounded(policy, low + 1, rates)
    return [(units - dearer) * a + dearer * b for a, b in zip(cheap, dear, strict=True)]


def _of_order(policy: Policy, amounts: Sequence[int], rates: Sequence[Sequence[TaxRate]]) -> list[list[int]]:
    exacts = [exact(policy, amount, of) for amount, of in zip(amounts, rates, strict=True)]
    places: dict[tuple[str, Fraction], list[tuple[int, int]]] = {}
    for i, of in enumerate(rates):
        for j, rate in enumerate(of):
            places.setdefault((rate.name, Fraction(rate.rate)), []).append((i, j))
    rounded = [[0] * len(of) for of in rates]
    for same in places.values():
        parts = [exacts[i][j] for i, j in same]
        for (i, j), amount in zip(same, apportion(whole(sum(parts, Fraction()), policy.rounding), parts), strict=True):
            rounded[i][j] = amount
    return rounded
