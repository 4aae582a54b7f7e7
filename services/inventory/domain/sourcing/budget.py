"""What a request may cost: all parts of its search draw on one budget, so that time is bounded without a clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

EFFORT_MAX = 100_000
"""Looks at what a location has of a part that is missing: some 100 ms. Everyday requests need hundreds of them."""


class Budget:
    """Effort left, and whether every question was answered within it."""

    def __init__(self, effort: int = EFFORT_MAX) -> None:
        self._effort = effort
        self.proven = True

    @property
    def spent(self) -> bool:
        """Whether nothing is left: then only what is quick is tried."""
        return self._effort <= 0

    def charge(self, looks: int) -> None:
        """Takes from what is left; it may end below zero, by one small piece of work."""
        self._effort -= looks

    @contextlib.contextmanager
    def half(self) -> Iterator[None]:
        """Lets the first of two questions spend no more than half, so that the second is asked in earnest as well."""
        kept = max(self._effort, 0) // 2
        self._effort -= kept
        yield
        self._effort += kept
