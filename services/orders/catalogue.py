"""What sales need to know of items and locations, asked of Inventory and remembered for a moment.

Answers are at most 10 seconds old: a price or a name changed a moment ago may still be written on a line as it was.
What was sold in the last five minutes is asked for anew before it is too old, many items in one call, so that hardly
any sale waits for an answer.
While Inventory doesn't answer, what was known in the last 24 hours is used; items that were never asked for are
unknown, and their lines unresolved. Only a location that was never seen can't sell. No sale waits longer than 3 s.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import itertools
import math
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import prometheus_client
import structlog

from services.kit import database, deadline, errors
from services.orders.domain import sale as domain
from services.orders.store import locations

log = structlog.get_logger()

FRESH_SECONDS: Final = 10.0
#: From this age on an answer is renewed while it still serves, if it was used within IDLE_SECONDS: a code's part of
#: such a call costs a thirtieth of a call of its own, and that a sale would have to wait for.
RENEWED_SECONDS: Final = 7.0
IDLE_SECONDS: Final = 300.0
RENEWED_MAX: Final = 100  # of one call: a larger answer would hold up the loops of both services
#: Somebody is about to add what was just scanned in vain.
UNKNOWN_FRESH_SECONDS: Final = 1.0
KEPT_SECONDS: Final = 24 * 3600.0
CALL_SECONDS: Final = 3.0
#: After a failure sales go on without asking again for so long.
PAUSE_SECONDS: Final = 1.0
CODES_MAX: Final = 500  # of one call, by the contract
ITEMS_MAX: Final = 100_000  # about 60 MB
LOCATIONS_MAX: Final = 20_000
ASKED = prometheus_client.Counter("tillmesh_catalogue_calls_total", "Calls to Inventory for items.", ["result"])
UNRESOLVED = prometheus_client.Counter(
    "tillmesh_catalogue_unresolved_total", "Codes that a sale didn't get an item for."
)


Found = domain.Item | domain.Misread | None


@dataclass(frozen=True, slots=True)
class Resolution:
    """An answer of Inventory. items has every code that was asked for; None: unknown."""

    store: domain.Store
    items: Mapping[str, Found]

    @property
    def known(self) -> dict[str, domain.Item | None]:
        """The same, for who orders by code: one that was misread is unknown."""
        return {code: item if isinstance(item, domain.Item) else None for code, item in self.items.items()}


class Inventory(Protocol):
    """Who is asked."""

    async def resolve(self, location_id: str, codes: Sequence[str]) -> Resolution:
        """For the tenant of the rpc that is being handled. NotFound: no such location. Else it doesn't answer."""
        ...


@dataclass(slots=True)
class _Round:
    """A call that others may join until it begins. It runs with the credentials of the one who came first."""

    codes: dict[str, None] = field(default_factory=dict)
    done: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """True when the location exists, or may."""
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


@dataclass(slots=True)
class _Place:
    """What is known of a location. Times are of the clock."""

    tenant: str
    location: uuid.UUID
    location_id: str
    store: domain.Store | None = None
    store_at: float = -math.inf
    persisted: domain.Store | None = None
    quiet_until: float = -math.inf
    waiting: _Round | None = None
    running: bool = False
    persisting: bool = False
    learned: dict[str, float] = field(default_factory=dict)
    """When each code's item was learned, the oldest first: what may be renewed."""


@dataclass(slots=True)
class _Entry:
    """An answer. Times are of the clock."""

    item: Found
    at: float
    used_at: float


class Catalogue:
    """The memory of one process."""

    def __init__(
        self, inventory: Inventory, db: database.Database, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """clock: seconds, rising."""
        self._inventory = inventory
        self._db = db
        self._clock = clock
        self._places: collections.OrderedDict[tuple[str, str], _Place] = collections.OrderedDict()
        self._items: collections.OrderedDict[tuple[str, str, str], _Entry] = collections.OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def resolve(self, tenant: str, location: uuid.UUID, location_id: str, codes: Iterable[str]) -> Resolution:
        """The location, and the item of each code. tenant: uuid text; location_id: TypeID of location.

        NotFound: no such location. Unavailable: Inventory doesn't answer and the location was never seen.
        """
        place = self._place(tenant, location, location_id)
        wanted = dict.fromkeys(code for code in codes if code)
        now = self._clock()
        asked = [code for code in wanted if not self._is_fresh(place, code, now)]
        if (asked or place.store_at + FRESH_SECONDS <= now) and place.quiet_until <= now:
            await self._ask(place, asked)
        store = place.store or await self._remembered(place)
        items = {code: self._known(place, code, now) for code in wanted}
        UNRESOLVED.inc(sum(item is None for item in items.values()))
        if min((place.store_at, *itertools.islice(place.learned.values(), 1))) + RENEWED_SECONDS <= now:
            self._renew(place)
        return Resolution(store, items)

    async def close(self) -> None:
        """Lets running calls end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CALL_SECONDS)

    def _place(self, tenant: str, location: uuid.UUID, location_id: str) -> _Place:
        key = (tenant, location_id)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(tenant, location, location_id)
            if len(self._places) > LOCATIONS_MAX:
                self._places.popitem(last=False)
        else:
            self._places.move_to_end(key)
        return place

    def _is_fresh(self, place: _Place, code: str, now: float) -> bool:
        entry = self._items.get((place.tenant, place.location_id, code))
        if entry is None:
            return False
        return now < entry.at + (UNKNOWN_FRESH_SECONDS if entry.item is None else FRESH_SECONDS)

    def _known(self, place: _Place, code: str, now: float) -> Found:
        key = (place.tenant, place.location_id, code)
        entry = self._items.get(key)
        if entry is None or entry.at + KEPT_SECONDS < now:
            return None
        self._items.move_to_end(key)
        entry.used_at = now
        return entry.item

    async def _remembered(self, place: _Place) -> domain.Store:
        """What the database knows of a location that Inventory didn't answer for."""
        async with self._db.read(place.tenant) as session:
            store = await locations.load(session, place.tenant, place.location)
        if store is None:
            raise errors.Unavailable("nothing is known of the location yet, and Inventory does not answer")
        place.store = place.persisted = store
        return store

    async def _ask(self, place: _Place, codes: Iterable[str]) -> None:
        """Asks together with everybody who asks for the same location now. NotFound; silent when nobody answers."""
        if place.waiting is None:
            place.waiting = _Round()
        around = place.waiting
        around.codes.update(dict.fromkeys(codes))
        if not place.running:
            self._begin(place)
        if not await asyncio.shield(around.done):
            raise errors.NotFound("location")

    def _renew(self, place: _Place) -> None:
        """Asks for what will soon be too old; nobody waits."""
        if not place.running and place.waiting is None and place.quiet_until <= self._clock():
            place.waiting = _Round()
            self._begin(place)

    def _ageing(self, place: _Place, room: int) -> list[str]:
        """At most so many codes to be renewed; one that isn't used any more is left to grow old."""
        due: list[str] = []
        now = self._clock()
        until = now - RENEWED_SECONDS
        while len(due) < room and place.learned:
            code, at = next(iter(place.learned.items()))
            if at > until:
                break
            del place.learned[code]
            entry = self._items.get((place.tenant, place.location_id, code))
            if entry is not None and now < entry.used_at + IDLE_SECONDS:
                due.append(code)
        return due

    def _begin(self, place: _Place) -> None:
        """Starts the next round, if somebody waits for one."""
        around, place.waiting = place.waiting, None
        if around is not None and self._clock() < place.quiet_until:
            around.done.set_result(True)  # no answer just now: not waited for twice
            around = None
        place.running = around is not None
        if around is not None:
            around.codes.update(dict.fromkeys(self._ageing(place, RENEWED_MAX - len(around.codes))))
            self._spawn(self._run(place, around), around.context)

    def _spawn(self, work: Any, context: contextvars.Context) -> None:
        task = asyncio.get_running_loop().create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, place: _Place, around: _Round) -> None:
        deadline.enter(CALL_SECONDS)  # for all who wait: the first one's time may be nearly over
        exists, result = True, "answered"
        try:
            async with asyncio.timeout(CALL_SECONDS):
                for codes in _chunks(around.codes):
                    self._learn(place, await self._inventory.resolve(place.location_id, codes))
        except errors.NotFound:
            exists, result = False, "not_found"
        except Exception as error:  # a sale is never lost because of the catalogue
            result = "failed"
            place.quiet_until = self._clock() + PAUSE_SECONDS
            expected = isinstance(error, errors.Error | TimeoutError)
            log.warning("catalogue.no_answer", error=type(error).__name__, exc_info=None if expected else error)
        finally:
            ASKED.labels(result).inc()
            around.done.set_result(exists)
            self._begin(place)
        await self._persist(place)

    def _learn(self, place: _Place, answer: Resolution) -> None:
        now = self._clock()
        place.store, place.store_at = answer.store, now
        for code, item in answer.items.items():
            key = (place.tenant, place.location_id, code)
            before = self._items.get(key)
            self._items[key] = _Entry(item, now, now if before is None else before.used_at)
            self._items.move_to_end(key)
            place.learned.pop(code, None)
            if isinstance(item, domain.Item) and item.scanned is None:  # what was scanned with a lot is on few units
                place.learned[code] = now
        while len(self._items) > ITEMS_MAX:
            (tenant, location_id, code), _ = self._items.popitem(last=False)
            if (forgotten := self._places.get((tenant, location_id))) is not None:
                forgotten.learned.pop(code, None)

    async def _persist(self, place: _Place) -> None:
        """Writes what is new of the location, one after the other: the last must win."""
        if place.persisting:
            return
        place.persisting = True
        try:
            while (store := place.store) is not None and store != place.persisted:
                async with self._db.transaction(place.tenant) as session:
                    await locations.save(session, place.tenant, place.location, store)
                place.persisted = store
        except Exception as error:  # noqa: BLE001 - the next answer tries again
            log.warning("catalogue.not_persisted", error=type(error).__name__)
        finally:
            place.persisting = False


def _chunks(codes: Iterable[str]) -> Iterable[list[str]]:
    """At most 500 codes each; once without any, for the location alone."""
    left = iter(codes)
    yield list(itertools.islice(left, CODES_MAX))
    while chunk := list(itertools.islice(left, CODES_MAX)):
        yield chunk
