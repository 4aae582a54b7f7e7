"""Which business day and hour of a location a moment belongs to. Zones and cutoffs; no sales."""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo


@functools.lru_cache(maxsize=1024)
def zone(name: str) -> zoneinfo.ZoneInfo:
    """The zone of an IANA name. ValueError when there is none."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise ValueError(f"no such timezone: {name}") from error


def of(at: dt.datetime, timezone: str, cutoff_minutes: int) -> tuple[dt.date, int]:
    """Business day and hour (0 to 23) of the local clock. at is aware; cutoff_minutes count from local midnight.

    A day begins when the local clock first shows the cutoff, and so never begins twice where clocks are set back.
    """
    place = zone(timezone)
    local = at.astimezone(place)
    day = (local.replace(tzinfo=None) - dt.timedelta(minutes=cutoff_minutes)).date()
    if local.fold:  # the clock shows this hour again: the next day may have begun in its first showing
        following = day + dt.timedelta(days=1)
        cutoff = dt.time(cutoff_minutes // 60, cutoff_minutes % 60, tzinfo=place)
        if at >= dt.datetime.combine(following, cutoff).astimezone(dt.UTC):
            day = following
    return day, local.hour


def cutoff_minutes(text: str) -> int:
    """Minutes after midnight of `HH:MM`; nothing means midnight."""
    if not text:
        return 0
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)
