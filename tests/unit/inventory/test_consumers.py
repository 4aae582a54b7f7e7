"""Which of Orders' events Inventory takes: those of locations. Reconciliation compares the heads of these keys only."""

from __future__ import annotations

import pytest

from services.inventory import consumers
from services.kit import ids


def test_sales_are_told_under_their_location() -> None:
    assert consumers.is_sales_key(ids.new("loc"))


@pytest.mark.parametrize("prefix", ["ord", "pay", "cus"])
def test_other_families_of_keys_are_never_asked_for_again(prefix: str) -> None:
    """A key that is compared and whose events nobody takes would be behind for ever, and its events dead letters."""
    assert not consumers.is_sales_key(ids.new(prefix))
