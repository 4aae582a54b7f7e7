"""Rounding agrees with decimal's; whole amounts are divided without loss."""

from __future__ import annotations

import decimal
import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain import money
from services.orders.domain.money import allocation

MODES = st.sampled_from(money.Rounding)
WEIGHTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=30)


@given(digits=st.integers(-(10**12), 10**12), places=st.integers(0, 4), mode=MODES)
def test_an_amount_is_rounded_as_decimal_rounds_it(digits: int, places: int, mode: money.Rounding) -> None:
    exact = decimal.Decimal(digits).scaleb(-places)

    assert money.whole(Fraction(exact), mode) == int(exact.to_integral_value(f"ROUND_{mode.name}"))


@pytest.mark.parametrize(
    ("amount", "increment", "expected"),
    [
        (1002, 5, 1000),
        (1003, 5, 1005),
        (1004, 10, 1000),
        (1005, 10, 1010),
        (1003, 1, 1003),
        (1003, 0, 1003),
        (-1003, 5, -1005),
    ],
)
def test_cash_is_rounded_to_coins(amount: int, increment: int, expected: int) -> None:
    assert money.to_increment(amount, increment, money.Rounding.HALF_UP) == expected


@pytest.mark.parametrize(
    ("total", "weights", "expected"),
    [
        (100, [1, 1, 1], (34, 33, 33)),
        (-100, [1, 1, 1], (-34, -33, -33)),
        (10_000, [1, 1, 1], (3_334, 3_333, 3_333)),
        (5, [0, 7, 0, 3], (0, 4, 0, 1)),  # 3.5 and 1.5: the first of equal remainders
        (7, [0, 0, 0], (3, 2, 2)),
        (0, [], ()),
        (1, [10**15, 1], (1, 0)),
    ],
)
def test_a_total_is_divided_by_largest_remainder(total: int, weights: list[int], expected: tuple[int, ...]) -> None:
    assert money.allocate(total, weights) == expected


@given(total=st.integers(-(10**15), 10**15), weights=WEIGHTS)
def test_parts_add_up_and_a_larger_weight_never_gets_less(total: int, weights: list[int]) -> None:
    parts = money.allocate(total, weights)

    assert sum(parts) == total
    assert parts == tuple(-part for part in money.allocate(-total, weights))
    sizes = [abs(part) for part in parts]
    for i, weight in enumerate(weights):
        assert all(sizes[i] >= sizes[j] for j, other in enumerate(weights) if weight > other)
        if any(weights):
            assert abs(Fraction(total * weight, sum(weights)) - parts[i]) < 1
            assert weight or not parts[i]


@pytest.mark.parametrize(("total", "weights"), [(1, []), (1, [2, -1])])
def test_what_cannot_be_divided_is_refused(total: int, weights: list[int]) -> None:
    with pytest.raises(ValueError, match=r"nobody|at least 0"):
        money.allocate(total, weights)


@given(weights=st.lists(st.integers(0, 40), min_size=1, max_size=6))
def test_a_share_never_shrinks_when_the_total_grows(weights: list[int]) -> None:
    shares = [allocation.nth_share(total, weights) for total in range(sum(weights) + 1)]

    assert [sum(share) for share in shares] == list(range(sum(weights) + 1))
    assert shares[0] == (0,) * len(weights)
    assert shares[-1] == tuple(weights)
    for before, after in itertools.pairwise(shares):
        assert all(a <= b for a, b in zip(before, after, strict=True))


@given(weights=WEIGHTS, data=st.data())
def test_a_share_of_large_amounts_lies_near_the_exact_one(weights: list[int], data: st.DataObject) -> None:
    total = data.draw(st.integers(0, sum(weights)))

    parts = allocation.nth_share(total, weights)

    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert 0 <= part <= weight
        assert abs(part - Fraction(total * weight, max(1, sum(weights)))) < len(weights)
