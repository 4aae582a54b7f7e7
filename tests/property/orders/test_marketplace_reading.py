"""Nothing is left out of a stretch of time that counts as read, whatever leaves it while it is paged."""

from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain.marketplaces import reading

NOON = dt.datetime(2026, 3, 4, 12, tzinfo=dt.UTC)


@given(
    count=st.integers(0, 12),
    size=st.integers(1, 4),
    leaves=st.lists(st.lists(st.integers(0, 11), max_size=3), max_size=12),
)
def test_a_pass_that_counts_as_complete_has_seen_whatever_stayed(
    count: int, size: int, leaves: list[list[int]]
) -> None:
    """The marketplace pages by counting from the front; between two pages, orders are modified and leave."""
    there = [f"order-{number}" for number in range(count)]
    seen, offset, gone = reading.Pass(), 0, list(leaves)
    while seen.pages < reading.PAGES_MAX:
        page, total = there[offset : offset + size], len(there)
        offset += size
        last = offset >= total
        seen.add(page, total, last=last)
        if last:
            break
        left = {f"order-{number}" for number in (gone.pop(0) if gone else [])}
        there = [order for order in there if order not in left]

    if seen.complete:
        assert set(there) <= seen.numbers


@given(count=st.integers(0, 12), size=st.integers(1, 4))
def test_a_pass_over_what_stands_still_is_complete(count: int, size: int) -> None:
    there = [f"order-{number}" for number in range(count)]
    seen = reading.Pass()
    for offset in range(0, max(count, 1), size):
        seen.add(there[offset : offset + size], count, last=offset + size >= count)

    assert seen.complete
    assert seen.numbers == set(there)


def test_a_pass_that_did_not_reach_the_end_is_not_complete() -> None:
    seen = reading.Pass()
    seen.add(["a"], 1, last=False)

    assert not seen.complete


@given(behind=st.integers(0, 10 * 86_400), failures=st.integers(0, 30))
def test_stretches_follow_each_other_without_a_gap_and_never_reach_the_future(behind: int, failures: int) -> None:
    cursor = NOON - dt.timedelta(seconds=behind)
    window = reading.window(cursor, NOON, failures)

    assert window.since == cursor - reading.OVERLAP
    assert cursor <= window.until <= NOON
    assert window.until - cursor <= reading.SPAN_MAX
    assert window.until > cursor or not behind


def test_a_stretch_that_moves_while_it_is_paged_is_halved_until_it_fits_a_page() -> None:
    spans = [reading.window(NOON - dt.timedelta(days=9), NOON, n).until - NOON for n in (0, 1, 2, 30)]
    days = [span + dt.timedelta(days=9) for span in spans]

    assert days == [dt.timedelta(hours=24), dt.timedelta(hours=12), dt.timedelta(hours=6), dt.timedelta(minutes=1)]
