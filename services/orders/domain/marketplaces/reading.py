"""Which orders are read next: a stretch of time that overlaps the one before, and when a pass over it was complete."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

OVERLAP = dt.timedelta(minutes=10)
"""Read again each time: orders that the marketplace shows late, with an older time, and equal times at the edge."""
SPAN_MAX = dt.timedelta(hours=24)
SPAN_MIN = dt.timedelta(minutes=1)
PASSES = 3
PAGES_MAX = 50


@dataclass(frozen=True, slots=True)
class Window:
    """Orders that were modified from `since` to `until`, both inclusive."""

    since: dt.datetime
    until: dt.datetime


def window(cursor: dt.datetime, now: dt.datetime, failures: int = 0) -> Window:
    """The stretch after cursor, up to which all is known. failures: passes in a row that were not complete.

    Each of those halves the stretch: what fits on one page can't move while it is paged.
    """
    span = max(SPAN_MIN, SPAN_MAX / 2 ** min(failures, 20))
    return Window(cursor - OVERLAP, max(cursor, min(now, cursor + span)))


@dataclass(slots=True)
class Pass:
    """What was seen while a stretch was paged."""

    numbers: set[str] = field(default_factory=set)
    totals: set[int] = field(default_factory=set)
    pages: int = 0
    ended: bool = False

    def add(self, numbers: list[str], total: int | None, *, last: bool) -> None:
        """A page. total: how many the marketplace said there are; None: it pages by a cursor that holds."""
        self.numbers.update(numbers)
        self.pages += 1
        self.ended = last
        if total is not None:
            self.totals.add(total)

    @property
    def complete(self) -> bool:
        """Whether nothing can have been left out.

        Pages that are counted from the front move when an order leaves the stretch, because it was modified: the next
        page then begins one too late. So each page must tell the same total, and as many different orders must come.
        """
        return self.ended and (not self.totals or self.totals == {len(self.numbers)})
