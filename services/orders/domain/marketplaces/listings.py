"""Which quantity a marketplace has of a SKU, and when it is told another. Pure steps on a row that is locked.

A change of the stock raises `wanted`. Who tells the marketplace claims the row first (a fence, and `sending`), reads
the stock after that, sends, and settles. The marketplace knows no versions: whatever arrives last counts. So a sender
that was overtaken, or whose request nobody knows the end of, makes the row `unsure`: it is sent again, and later read
back, as what was sent before may arrive late.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

COALESCE = dt.timedelta(seconds=1)
"""Changes within it are told as one."""
CLAIM = dt.timedelta(seconds=60)
"""Longer than a call to the marketplace takes: who claims after it takes the sender before for lost."""
LATE = dt.timedelta(minutes=5)
"""What was sent so long ago doesn't arrive any more. What does all the same is found when listings are read again."""
BACKOFF = dt.timedelta(seconds=10)
BACKOFF_MAX = dt.timedelta(minutes=30)
RESERVE = 0.2
"""Of a day's revisions, kept for what must not be sold: quantities that fall to 0."""
NEVER = dt.datetime(9000, 1, 1, tzinfo=dt.UTC)
"""As far as any database and any zone can tell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A SKU that the marketplace offers. quantity: what it is known to have; None: nobody knows.

    wanted rises with each change; sent: wanted when the newest quantity that arrived was read. revisions: of that day.
    """

    sku: str
    wanted: int = 1
    sent: int = 0
    quantity: int | None = None
    fence: int = 0
    sending: bool = False
    unsure: bool = False
    attempts: int = 0
    revised_on: dt.date = dt.date.min
    revisions: int = 0
    failure: str = ""
    due_at: dt.datetime = NEVER
    sent_at: dt.datetime | None = None


def quantity(available: int, buffer: int, limit: int) -> int:
    """What is offered of available units. limit: the most that the marketplace takes."""
    return max(0, min(available - buffer, limit))


def changed(listing: Listing, now: dt.datetime) -> Listing:
    """The stock has changed. A row that waits after a failure, or that somebody has claimed, keeps its time."""
    return replace(listing, wanted=listing.wanted + 1, due_at=min(listing.due_at, max(now + COALESCE, _held(listing))))


def _held(listing: Listing) -> dt.datetime:
    waits = listing.sending or listing.attempts
    return listing.due_at if waits and listing.due_at != NEVER else dt.datetime.min.replace(tzinfo=dt.UTC)


def sold_there(listing: Listing, now: dt.datetime) -> Listing:
    """The marketplace has sold units, and taken them off by itself: nobody knows any more what it has."""
    return changed(replace(listing, quantity=None), now)


def claim(listing: Listing, now: dt.datetime) -> Listing:
    """Whoever has this fence reads the stock and tells it. A sender that never settled may have sent anything."""
    unsure = listing.unsure or listing.sending
    known = None if listing.sending else listing.quantity
    return replace(listing, fence=listing.fence + 1, sending=True, unsure=unsure, quantity=known, due_at=now + CLAIM)


def may_send(listing: Listing, wanted: int, today: dt.date, revisions_max: int) -> bool:
    """Whether the marketplace takes another quantity of the SKU today. revisions_max 0: as often as one likes."""
    used = listing.revisions if listing.revised_on == today else 0
    if not revisions_max:
        return True
    return used < (revisions_max if wanted == 0 else revisions_max - int(revisions_max * RESERVE))


def needless(listing: Listing, wanted: int) -> bool:
    """Whether it has that quantity already, and surely."""
    return not listing.unsure and listing.quantity == wanted


def settled(current: Listing, claimed: Listing, told: int, now: dt.datetime, *, revised: bool = True) -> Listing:
    """It has arrived. current: the row now. revised: it was sent, and not only found to be needless."""
    if current.fence != claimed.fence:  # somebody thought us lost: ours may have arrived after theirs
        return overtaken(current, now)
    counted = _counted(current, now.date()) if revised else current
    done = replace(counted, sent=claimed.wanted, quantity=told, sending=False, attempts=0, failure="", sent_at=now)
    if done.sent != done.wanted:
        return replace(done, due_at=now + COALESCE)
    return replace(done, due_at=now + LATE if done.unsure else NEVER)


def overtaken(current: Listing, now: dt.datetime) -> Listing:
    """Somebody else's quantity, older or newer, may be what the marketplace has."""
    due = current.due_at if current.sending else now + COALESCE
    return replace(current, wanted=current.wanted + 1, unsure=True, quantity=None, due_at=due)


def unknown(current: Listing, claimed: Listing, failure: str, now: dt.datetime) -> Listing:
    """Sent, and nobody knows whether it arrived."""
    if current.fence != claimed.fence:
        return overtaken(current, now)
    return replace(failed(_counted(current, now.date()), claimed, failure, now), unsure=True, quantity=None)


def failed(
    current: Listing, claimed: Listing, failure: str, now: dt.datetime, wait: dt.timedelta | None = None
) -> Listing:
    """It surely did not arrive. wait: until it may be tried again; None: twice as long each time."""
    if current.fence != claimed.fence:
        return current
    backoff = min(BACKOFF_MAX, BACKOFF * 2 ** min(current.attempts, 10))
    return replace(
        current, sending=False, attempts=current.attempts + 1, failure=failure, due_at=now + (wait or backoff)
    )


def wants_check(listing: Listing) -> bool:
    """Whether all is told, and only what may still arrive late has to be looked for. Before its claim."""
    return listing.unsure and not listing.sending and listing.sent == listing.wanted and listing.quantity is not None


def checked(current: Listing, claimed: Listing, found: int | None, now: dt.datetime) -> Listing:
    """What the marketplace has was read, when nothing sent before can arrive any more. None: it has no such SKU."""
    if current.fence != claimed.fence:
        return current
    if found == claimed.quantity:
        done = replace(current, sending=False, unsure=False, attempts=0, failure="")
        return replace(done, due_at=NEVER if done.sent == done.wanted else now + COALESCE)
    return replace(
        current, sending=False, unsure=False, quantity=found, wanted=current.wanted + 1, due_at=now + COALESCE
    )


def read(current: Listing, found: int, now: dt.datetime) -> Listing:
    """All listings were read, and this one has `found`. What is under way is left alone."""
    if current.sending or found == current.quantity:
        return current
    due = min(current.due_at, now + COALESCE)
    return replace(current, quantity=found, wanted=current.wanted + 1, due_at=due)


def _counted(listing: Listing, today: dt.date) -> Listing:
    used = listing.revisions if listing.revised_on == today else 0
    return replace(listing, revised_on=today, revisions=used + 1)
