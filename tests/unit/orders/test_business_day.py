"""Each moment belongs to exactly one business day and hour of a location, on days when clocks change too."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orders.domain import business_day

ZONES = ("Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
# Both changes of a year in each zone, and ordinary days around them.
YEAR = st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2026, 12, 30), timezones=st.just(dt.UTC))
CUTOFFS = st.integers(0, 24 * 60 - 1)


@given(at=YEAR, later=st.timedeltas(dt.timedelta(0), dt.timedelta(days=2)), cutoff=CUTOFFS, zone=st.sampled_from(ZONES))
def test_business_days_never_go_back(at: dt.datetime, later: dt.timedelta, cutoff: int, zone: str) -> None:
    assert business_day.of(at, zone, cutoff)[0] <= business_day.of(at + later, zone, cutoff)[0]


@given(at=YEAR, cutoff=CUTOFFS, zone=st.sampled_from(ZONES))
def test_a_moment_lies_at_most_a_day_after_the_beginning_of_its_business_day(
    at: dt.datetime, cutoff: int, zone: str
) -> None:
    day, hour = business_day.of(at, zone, cutoff)
    local = at.astimezone(business_day.zone(zone))
    begins = dt.datetime.combine(day, dt.time(cutoff // 60, cutoff % 60))
    since = local.replace(tzinfo=None) - begins
    assert -dt.timedelta(hours=1) <= since < dt.timedelta(days=1)  # below zero: the hour that is shown twice
    assert hour == local.hour


@pytest.mark.parametrize("zone", ["Europe/Vienna", "America/New_York"])
@pytest.mark.parametrize("cutoff", [0, 150, 240])
def test_each_sale_of_a_year_is_on_exactly_one_business_day(zone: str, cutoff: int) -> None:
    """A sale every 20 minutes: days follow each other without a gap, and are 23, 24 or 25 hours long."""
    at = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    sales: dict[dt.date, int] = {}
    while at < dt.datetime(2026, 12, 31, 12, tzinfo=dt.UTC):
        day, _ = business_day.of(at, zone, cutoff)
        sales[day] = sales.get(day, 0) + 1
        at += dt.timedelta(minutes=20)
    days = list(sales)
    assert days == [days[0] + dt.timedelta(days=n) for n in range(len(days))]
    whole = [sales[day] for day in days[1:-1]]
    assert set(whole) <= {68, 69, 70, 71, 72, 73, 74, 75, 76}
    assert sum(length != 72 for length in whole) <= 4
    assert sum(whole) == (len(days) - 2) * 72  # what spring takes, autumn gives back


def test_the_day_begins_at_the_cutoff_of_the_local_clock() -> None:
    before = dt.datetime(2026, 7, 1, 1, 59, tzinfo=dt.UTC)  # 03:59 in Vienna
    assert business_day.of(before, "Europe/Vienna", 240) == (dt.date(2026, 6, 30), 3)
    assert business_day.of(before + dt.timedelta(minutes=1), "Europe/Vienna", 240) == (dt.date(2026, 7, 1), 4)


def test_a_day_that_began_in_an_hour_that_is_shown_twice_does_not_end_again() -> None:
    # 25 October 2026: 03:00 summer time becomes 02:00. The cutoff 02:30 is shown at 00:30 and at 01:30 UTC.
    first, second = (dt.datetime(2026, 10, 25, hour, 40, tzinfo=dt.UTC) for hour in (0, 1))
    between = dt.datetime(2026, 10, 25, 1, 10, tzinfo=dt.UTC)  # 02:10 for the second time
    days = [business_day.of(at, "Europe/Vienna", 150)[0] for at in (first, between, second)]
    assert days == [dt.date(2026, 10, 25)] * 3


def test_a_cutoff_in_an_hour_that_does_not_exist_passes_when_clocks_change() -> None:
    # 29 March 2026: 02:00 becomes 03:00 at 01:00 UTC; the cutoff is 02:30.
    change = dt.datetime(2026, 3, 29, 1, 0, tzinfo=dt.UTC)
    assert business_day.of(change - dt.timedelta(seconds=1), "Europe/Vienna", 150)[0] == dt.date(2026, 3, 28)
    assert business_day.of(change, "Europe/Vienna", 150) == (dt.date(2026, 3, 29), 3)


def test_cutoffs_are_read_from_the_contract_and_unknown_zones_refused() -> None:
    assert [business_day.cutoff_minutes(text) for text in ("", "00:00", "04:30", "23:59")] == [0, 0, 270, 1439]
    with pytest.raises(ValueError, match="no such timezone"):
        business_day.zone("Mars/Olympus")
    with pytest.raises(ValueError, match="no such timezone"):
        business_day.zone("../etc/passwd")
