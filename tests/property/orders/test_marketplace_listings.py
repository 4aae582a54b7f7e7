"""For any interleaving of senders, crashes, lost answers and late arrivals, a marketplace ends with the last quantity."""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from services.orders.domain.marketplaces import listings
from services.orders.domain.marketplaces.listings import Listing

NOON = dt.datetime(2026, 3, 4, 12, tzinfo=dt.UTC)
SENDERS = 2
#: Single steps, and whole stories of a sender, which would take long to be found by chance.
STEPS = {
    **{
        name: (name,)
        for name in ("change", "wait", "arrive", "theirs", "claim", "read", "send", "delay", "settle", "die")
    },
    "tells": ("claim", "read", "send", "settle"),
    "is late": ("claim", "read", "delay", "settle"),
    "hears nothing": ("claim", "read", "lose", "settle"),
    "fails": ("claim", "read", "fail", "settle"),
    "is killed on the way": ("claim", "read", "delay", "die"),
    "is killed": ("claim", "read", "send", "die"),
    "is slow": ("claim", "read", "wait"),
    "ends at last": ("send", "settle"),
}


@dataclass
class Sender:
    """A process that has claimed the row. quantity: what it read; ended: how its call ended, as it knows."""

    before: Listing
    claimed: Listing
    quantity: int | None = None
    ended: str = ""


@dataclass
class World:
    """Stock, a row, senders, and a marketplace for which only the order of arrival counts."""

    available: int = 5
    listing: Listing = field(default_factory=lambda: Listing(sku="lip", due_at=NOON))
    now: dt.datetime = NOON
    there: int = 5
    senders: dict[int, Sender] = field(default_factory=dict)
    late: list[tuple[dt.datetime, int]] = field(default_factory=list)

    def change(self, _number: int, units: int) -> None:
        self.available = units
        self.listing = listings.changed(self.listing, self.now)

    def claim(self, number: int, _units: int) -> None:
        if number not in self.senders and self.listing.due_at <= self.now:
            before, self.listing = self.listing, listings.claim(self.listing, self.now)
            self.senders[number] = Sender(before, self.listing)

    def read(self, number: int, _units: int) -> None:
        sender = self.senders.get(number)
        if sender is not None and sender.quantity is None:
            checks = listings.wants_check(sender.before)
            sender.quantity = self.there if checks else self.available
            sender.ended = "checked" if checks else ""
            if not checks and listings.needless(sender.claimed, sender.quantity):
                sender.ended = "needless"

    def send(self, number: int, _units: int, how: str = "taken") -> None:
        sender = self.senders.get(number)
        if sender is not None and sender.quantity is not None and not sender.ended:
            if how == "delayed":
                self.late.append((self.now + listings.LATE - dt.timedelta(seconds=1), sender.quantity))
            elif how != "failed":
                self.there = sender.quantity
            sender.ended = how

    def lose(self, number: int, units: int) -> None:
        self.send(number, units, "lost")

    def delay(self, number: int, units: int) -> None:
        self.send(number, units, "delayed")

    def fail(self, number: int, units: int) -> None:
        self.send(number, units, "failed")

    def arrive(self, _number: int, units: int) -> None:
        """One of those on their way, in any order."""
        if self.late:
            self.there = self.late.pop(units % len(self.late))[1]

    def settle(self, number: int, _units: int) -> None:
        sender = self.senders.get(number)
        if sender is None or not sender.ended:
            return
        row, mine, quantity = self.listing, sender.claimed, sender.quantity
        assert quantity is not None
        match sender.ended:
            case "taken":
                self.listing = listings.settled(row, mine, quantity, self.now)
            case "needless":
                self.listing = listings.settled(row, mine, quantity, self.now, revised=False)
            case "checked":
                self.listing = listings.checked(row, mine, quantity, self.now)
            case "failed":
                self.listing = listings.failed(row, mine, "code", self.now)
            case _:
                self.listing = listings.unknown(row, mine, "silence", self.now)
        del self.senders[number]

    def die(self, number: int, _units: int) -> None:
        """kill -9: nobody will ever know how its call ended."""
        self.senders.pop(number, None)

    def theirs(self, _number: int, units: int) -> None:
        """All listings are read."""
        self.listing = listings.read(self.listing, self.there, self.now)

    def wait(self, _number: int, units: int) -> None:
        self.now += dt.timedelta(seconds=20 * units)
        for due, quantity in [each for each in self.late if each[0] <= self.now]:
            self.late.remove((due, quantity))
            self.there = quantity

    def calm_down(self) -> None:
        """Everybody who lives ends, and whoever is due is done, by one sender without faults."""
        for number in list(self.senders):
            self.read(number, 0)
            self.send(number, 0)
            self.settle(number, 0)
        for _ in range(40):
            if self.listing.due_at == listings.NEVER:
                return
            self.wait(0, 0)
            self.now = max(self.now, self.listing.due_at)
            self.wait(0, 0)
            for step in (self.claim, self.read, self.send, self.settle):
                step(0, 0)
        raise AssertionError("it never comes to rest")


steps = st.lists(
    st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, SENDERS - 1), st.integers(0, 9)), min_size=1, max_size=12
)


@settings(max_examples=400, deadline=None)
@given(plan=steps)
def test_the_marketplace_ends_with_the_last_quantity(plan: list[tuple[str, int, int]]) -> None:
    world = World()
    for name, number, units in plan:
        for step in STEPS[name]:
            getattr(world, step)(number, units)

    world.calm_down()

    assert world.there == world.available
    assert (world.listing.quantity, world.listing.sent) == (world.available, world.listing.wanted)
    assert not world.late


def test_a_quantity_that_arrives_late_is_found_and_told_anew() -> None:
    """The story behind the check: an old quantity is on its way while a newer one is told and acknowledged."""
    world = World()
    for step in (world.claim, world.read, world.delay, world.settle):
        step(0, 0)
    world.change(0, 2)
    world.wait(0, 1)
    for step in (world.claim, world.read, world.send, world.settle):
        step(1, 0)
    assert world.there == 2
    world.arrive(0, 0)
    assert world.there == 5

    world.calm_down()

    assert world.there == 2


def test_a_sender_that_slept_through_everything_is_noticed_when_it_wakes() -> None:
    world = World()
    for step in (world.claim, world.read):
        step(0, 0)
    world.change(0, 2)
    for pause in (listings.CLAIM, listings.LATE):  # the second time it is looked for what may have arrived late
        world.now += pause
        for step in (world.claim, world.read, world.send, world.settle):
            step(1, 0)
    assert (world.there, world.listing.due_at) == (2, listings.NEVER)
    for step in (world.send, world.settle):
        step(0, 0)
    assert world.there == 5

    world.calm_down()

    assert world.there == 2


def test_an_older_sender_never_marks_a_newer_quantity_as_told() -> None:
    first = listings.claim(Listing(sku="lip", due_at=NOON), NOON)
    second = listings.claim(first, NOON + listings.CLAIM)
    told = listings.settled(second, second, 3, NOON + listings.CLAIM)

    row = listings.settled(told, first, 5, NOON + listings.CLAIM)

    assert row.quantity is None
    assert row.unsure
    assert row.due_at != listings.NEVER


def test_changes_within_a_moment_are_told_as_one_and_a_row_that_waits_keeps_its_time() -> None:
    row = listings.changed(Listing(sku="lip"), NOON)
    again = listings.changed(row, NOON + listings.COALESCE / 2)
    claimed = listings.claim(again, NOON + listings.COALESCE)
    failing = listings.failed(claimed, claimed, "code", NOON + listings.COALESCE, dt.timedelta(hours=1))

    assert (row.due_at, again.due_at) == (NOON + listings.COALESCE,) * 2
    assert listings.changed(claimed, NOON + 2 * listings.COALESCE).due_at == claimed.due_at
    assert listings.changed(failing, NOON + 2 * listings.COALESCE).due_at == failing.due_at


@given(available=st.integers(-100, 100), buffer=st.integers(0, 50), limit=st.integers(0, 60))
def test_what_is_offered_is_never_more_than_there_is_beyond_the_buffer(available: int, buffer: int, limit: int) -> None:
    offered = listings.quantity(available, buffer, limit)

    assert 0 <= offered <= max(0, limit)
    assert offered <= max(0, available - buffer)


def test_the_last_revisions_of_a_day_are_kept_for_what_is_sold_out() -> None:
    row = Listing(sku="lip", revised_on=NOON.date(), revisions=200)

    assert not listings.may_send(row, 3, NOON.date(), 250)
    assert listings.may_send(row, 0, NOON.date(), 250)
    assert not listings.may_send(dataclasses.replace(row, revisions=250), 0, NOON.date(), 250)
    assert listings.may_send(row, 3, NOON.date() + dt.timedelta(days=1), 250)
    assert listings.may_send(row, 3, NOON.date(), 0)
