"""A batch of commands on stock: lock, decide in arrival order, write, commit. The hot path.

Two round trips a batch, whatever the number of its locations. Each command gets its own answer; a refused one leaves no
trace. services/kit/lanes.py queues the commands and deals with failures; store/lane.py and lane_writes.py hold the SQL;
domain/stock*.py the rules.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from google.protobuf.message import Message

from services.inventory import audited, events
from services.inventory.domain import bundles, commands, stock, stock_documents, stock_errors, stock_holds, stock_lots
from services.inventory.domain import levels as values
from services.inventory.mapping import stock as mapping
from services.inventory.store import lane as store
from services.inventory.store import lane_writes
from services.kit import audit, clock, database, errors, idempotency, ids, lanes
from services.kit import events as events_kit
from tillmesh.inventory.v1 import inventory_events_pb2 as events_pb

TENANTS_MAX = 1_000
"""Whose bundles a process keeps in mind. A tenant that isn't among them costs a batch one more round trip."""
BUNDLES_TOLD_MAX = 5_000
"""Levels of bundles in an event before the rest waits for its end: some 500 kB of the 1.9 MB that an event may have.
The rest is of each bundle once, of which there are 10,000 at most."""


@dataclass(frozen=True, slots=True)
class LaneKey:
    """A location of a tenant. location_id and tenant_id are TypeID texts, the others their uuids."""

    tenant: str
    location: uuid.UUID
    tenant_id: str
    location_id: str


@dataclass(frozen=True, slots=True)
class Submission:
    """A command, the key under which its success is remembered, and how it is answered."""

    command: commands.Command
    key: idempotency.Key
    answer: type[Message]
    reply: mapping.Reply
    traceparent: str = ""
    causation_id: str = ""
    elsewhere: tuple[tuple[LaneKey, commands.Spreadable], ...] = ()
    """What is done at further locations, all of it or nothing: parts of the same hold, or of the same document."""
    noted: audit.Source | None = None
    """Whoever sets a policy, for the audit log. Commands that move stock have the ledger."""

    def parts(self, at: LaneKey) -> Sequence[tuple[LaneKey, commands.Command]]:
        """All that is to be done, location by location. at: where command belongs."""
        return ((at, self.command), *self.elsewhere)


Outcome = Message | errors.Error
Listener = Callable[[LaneKey, int], None]
"""Called after a commit that changed stock, with the position reached."""


Work = tuple[LaneKey, Submission]


WITH_LOTS_MAX = 100_000  # levels that are remembered to have lots; forgotten, they cost a batch one more trip


class StockRunner:
    """Runs batches of submissions of a tenant (services.kit.lanes.Runner)."""

    def __init__(self, db: database.Database, listener: Listener) -> None:
        self._db = db
        self._listener = listener
        self._bundles: collections.OrderedDict[str, bundles.Bundles] = collections.OrderedDict()
        self._with_lots: set[tuple[uuid.UUID, str]] = set()

    async def run(self, work: Sequence[Work]) -> list[Outcome]:
        """One transaction. CommitLost when the connection broke after COMMIT was sent."""
        with lanes.span("stock.batch", [submission.traceparent for _, submission in work]):
            return await self._transact(work)

    async def _transact(self, work: Sequence[Work]) -> list[Outcome]:
        tenant = work[0][0].tenant
        async with self._db.lane_connection() as connection:
            keys = [submission.key for _, submission in work]
            known = self._bundles.get(tenant, stock.NO_BUNDLES)
            loaded = await store.load(connection, tenant, needs(_parts(work), self._with_lots), keys, known)
            self._remember(tenant, loaded.bundles)
            self._notice_lots(loaded)
            batch = _Batch(loaded, {key.location: key for at, of in work for key, _ in of.parts(at)})
            outcomes = [batch.decide(number, *of) for number, of in enumerate(work)]
            if not batch.places:
                return outcomes
            writes = lane_writes.Writes(tenant, batch.now)
            for location, place in batch.places.items():
                place.write(writes, _causes(work, location))
            try:
                await lane_writes.write(connection, tenant, writes, batch.answers, batch.noted, batch.now)
            except psycopg.OperationalError as error:
                if connection.broken:
                    raise lanes.CommitLost from error
                raise
        for place in batch.places.values():
            if place.working.steps:
                self._listener(place.key, place.working.seq)
        return outcomes

    def _remember(self, tenant: str, found: bundles.Bundles) -> None:
        """What a tenant's bundles consist of; of the tenants that were here last, and only of those that have any."""
        if found.version:
            self._bundles[tenant] = found
            self._bundles.move_to_end(tenant)
            if len(self._bundles) > TENANTS_MAX:
                self._bundles.popitem(last=False)

    def _notice_lots(self, loaded: store.Loaded) -> None:
        """Remembers which levels have lots, so that the next batch asks for these at once, and for no others'."""
        if len(self._with_lots) > WITH_LOTS_MAX:
            self._with_lots.clear()
        for location, place in loaded.places.items():
            self._with_lots.update((location, key) for key, level in place.levels.items() if level.has_lots)

    async def resolve(self, work: Sequence[Work]) -> list[Outcome] | None:
        """The answers of a batch whose end is unknown, from what is remembered; None when nothing of it was committed.

        Refusals are not remembered: where others of the batch succeeded, it was committed, and these are decided anew.
        """
        keys = [submission.key for _, submission in work]
        async with self._db.lane_connection() as connection:
            locations = [key.location for at, of in work for key, _ in of.parts(at)]
            found = await store.answered(connection, work[0][0].tenant, locations, keys)
        if not found:
            return None
        missing = [of for n, of in enumerate(work) if n not in found]
        again = iter(await self.run(missing) if missing else ())
        return [
            submission.answer.FromString(found[n][1]) if n in found else next(again)
            for n, (_, submission) in enumerate(work)
        ]


def _parts(work: Sequence[Work]) -> list[tuple[LaneKey, commands.Command]]:
    return [part for at, submission in work for part in submission.parts(at)]


def needs(
    asked: Sequence[tuple[LaneKey, commands.Command]], with_lots: Collection[tuple[uuid.UUID, str]] = ()
) -> store.Plan:
    """What commands need of their locations, as bundles are defined.

    with_lots: levels that are known to have some, so that these are asked for in the first trip.
    """

    def plan(known: bundles.Bundles) -> dict[uuid.UUID, store.Wanted]:
        wanted: dict[uuid.UUID, store.Wanted] = {}
        for key, command in asked:
            of = wanted.get(key.location)
            if of is None:
                of = wanted[key.location] = store.Wanted(key.location_id)
            of.skus.update(commands.keys_of(command, known))
            of.holds.update(commands.holds_of(command))
            of.lots.update(commands.lots_of(command))
            if isinstance(command, commands.MoveInTransit) and command.sent_from is not None:
                of.sent.setdefault(command.sent_from, set()).update(values.fold(move[0]) for move in command.moves)
            if isinstance(command, commands.ApplySales):
                of.consumers.add(command.consumer)
        for location, of in wanted.items():
            of.beside.update(known.beside(of.skus))
            if with_lots:
                of.with_lots.update(key for key in of.skus if (location, key) in with_lots)
        return wanted

    return plan


def _causes(work: Sequence[Work], location: uuid.UUID) -> list[Submission]:
    return [of for at, of in work if any(key.location == location for key, _ in of.parts(at))]


class _Batch:
    """What a batch has decided so far."""

    def __init__(self, loaded: store.Loaded, keys: Mapping[uuid.UUID, LaneKey]) -> None:
        self._answered = loaded.answered
        self._seen: dict[tuple[str, str, str], tuple[bytes, Message]] = {}
        self.answers: list[idempotency.Answer] = []
        self.noted: list[tuple[audit.Source, audit.Entry]] = []
        self.places = {location: Place(keys[location], of, loaded.bundles) for location, of in loaded.places.items()}

    @property
    def now(self) -> dt.datetime:
        """The database's clock, after the last lock."""
        return max(place.working.now for place in self.places.values())

    def decide(self, number: int, at: LaneKey, submission: Submission) -> Outcome:
        """The answer to one command: what its key was answered before, or what it does now, or why not."""
        key = submission.key
        scope = (key.principal, key.method, key.key)
        places = [self.places.get(of.location) for of, _ in submission.parts(at)]
        here = [place for place in places if place is not None]
        if len(here) < len(places):
            return errors.NotFound("location")
        try:
            if (earlier := self._earlier(number, scope, submission)) is not None:
                return earlier
            before = audited.policy(here[0].working, submission.command) if submission.noted is not None else None
            result = _spread(here, submission) if submission.elsewhere else here[0].apply(submission.command)
        except errors.Error as refusal:
            return refusal
        if submission.noted is not None:
            self.noted.append((submission.noted, audited.policy_set(here[0].working, submission.command, before)))
        for place in here:
            place.finish()
        message = submission.reply(here[0].working, result)
        if not key.key:
            return message  # background work: nobody will ask for it again
        self._seen[scope] = (key.fingerprint, message)
        self.answers.append(idempotency.Answer(key, message.SerializeToString()))
        return message

    def _earlier(self, number: int, scope: tuple[str, str, str], submission: Submission) -> Message | None:
        if scope in self._seen:  # the same key twice in this batch
            fingerprint, message = self._seen[scope]
            submission.key.check(fingerprint)
            return message
        if number in self._answered:
            fingerprint, response = self._answered[number]
            submission.key.check(fingerprint)
            return submission.answer.FromString(response)
        return None


def _spread(places: Sequence[Place], submission: Submission) -> Any:
    """What is done at several locations: checked everywhere, then done everywhere. Answers as a single place would."""
    first = submission.command
    if isinstance(first, stock_holds.OfHold):
        held = [first, *(of for _, of in submission.elsewhere if isinstance(of, stock_holds.OfHold))]
        return _spread_hold(places, held)
    documents = [first, *(command for _, command in submission.elsewhere)]
    for place, command in zip(places, documents, strict=True):
        stock_documents.check(place.working, command)  # type: ignore[arg-type]  # a document, as the first one is
    answer = places[0].apply(first)
    for place, command in zip(places[1:], documents[1:], strict=True):
        if isinstance(command, commands.MoveInTransit) and command.sent_from is not None:
            place.apply(dataclasses.replace(command, lots=_lots_that_left(places[0].working)))
        else:
            place.apply(command)
    return answer


def _lots_that_left(working: stock.Stock) -> dict[str, list[tuple[str, int]]]:
    """Units of lots that the present command has sent to another location, by folded SKU."""
    left: dict[str, list[tuple[str, int]]] = {}
    for movement in working.step.movements:
        if movement.reason == values.Reason.TRANSFER_OUT and movement.lot:
            left.setdefault(values.fold(movement.sku), []).append((movement.lot, movement.quantity))
    return left


def _spread_hold(places: Sequence[Place], held: Sequence[stock_holds.OfHold]) -> list[tuple[str, values.Hold]]:
    """A hold at several locations: (location id, its part) in order."""
    parts = list(zip([place.working for place in places], held, strict=True))
    if short := [line for working, command in parts for line in stock_holds.check(working, command)]:
        raise stock_errors.InsufficientStock(lines=short)
    # By one clock: they end together.
    lasting = [(working, command) for working, command in parts if not isinstance(command, commands.ReduceHold)]
    until = max((stock_holds.ends_at(working, of.ttl_seconds) for working, of in lasting), default=parts[0][0].now)
    return [(working.location_id, stock_holds.hold(working, command, until)) for working, command in parts]


class Place:
    """What a batch does at one of its locations."""

    def __init__(self, key: LaneKey, loaded: store.Place, known: bundles.Bundles) -> None:
        self.key = key
        self._loaded = loaded
        self._moved: dict[str, tuple[int, int]] = {}
        self._recorded_at = clock.timestamp(loaded.now)
        self._event = events_pb.StockChanged(location_id=key.location_id)
        self.working = stock.Stock(
            location_id=key.location_id,
            seq=loaded.seq,
            now=loaded.now,
            levels=loaded.levels,
            variants=loaded.variants,
            holds=loaded.holds,
            due=loaded.due,
            lot_due=loaded.lot_due,
            policies=loaded.policies,
            cursors=loaded.cursors,
            closed=loaded.closed,
            new_id=ids.new_uuid,
            hold_text=mapping.hold_text,
            bundles=known,
            beside=loaded.beside,
        )
        self._told = 0
        self._untold: set[str] = set()
        self.working.expire_due()
        self.finish()

    def apply(self, command: commands.Command) -> Any:
        """Does what a command says, or refuses it."""
        working = self.working
        match command:
            case commands.Reserve():
                return stock_holds.reserve(working, command)
            case commands.EndHold():
                return stock_holds.end_hold(working, command)
            case commands.ReduceHold():
                return stock_holds.reduce_hold(working, command)
            case commands.Adjust():
                return working.adjust(command)
            case commands.SetCounts():
                return working.set_counts(command)
            case commands.Move():
                return working.move_states(command)
            case commands.Assign():
                return stock_lots.assign(working, command)
            case commands.SetPolicy():
                return working.set_policy(command)
            case commands.ApplySales():
                return self._apply_sales(command)
            case commands.Rebuild():
                return working.rebuild(command)
            case commands.Expire():
                return None
            case _:
                return stock_documents.apply(working, command)

    def _apply_sales(self, event: commands.ApplySales) -> bool:
        """Applies the sales of an event, each at a position of its own; False when they were applied before."""
        if not self.working.admit(event):
            return False
        for sale in event.sales:
            self.working.apply_sale(sale)
            self.finish()
        self.working.cursors[event.consumer] = self._moved[event.consumer] = (event.epoch, event.seq_to)
        return True

    def finish(self) -> None:
        """Ends a command: its position and its part of the event."""
        step = self.working.finish()
        if step is not None:
            self._event.changes.append(events.change(self.working, step, self._recorded_at))
            self._tell_bundles(step.touched)

    def _tell_bundles(self, keys: Collection[str]) -> None:
        """What is to be had now of the bundles with any of these; after very many, with the batch's last command."""
        found = self.working.bundles.affected(keys)
        self._told += len(found)
        if self._told > BUNDLES_TOLD_MAX:
            self._untold.update(keys)
        elif found:
            self._say_bundles(keys)

    def _say_bundles(self, keys: Collection[str]) -> None:
        levels = self.working.bundle_levels(keys)
        told = [mapping.bundle_to_proto(self.key.location_id, level) for level in levels]
        self._event.changes[-1].levels.extend(told)

    def write(self, writes: lane_writes.Writes, submissions: Sequence[Submission]) -> None:
        """Hands over all that the batch changed here. submissions: those of this location."""
        working, loaded, location = self.working, self._loaded, self.key.location
        steps = working.steps
        if steps:
            touched = {key: level for step in steps for key, level in step.touched.items()}
            writes.stock(location, working.seq, touched, (m for step in steps for m in step.movements))
        writes.holds(location, working.new_holds, working.changed_holds.values())
        writes.buckets(location, working.buckets, loaded.due)
        writes.lots(location, working.touched_lots)
        writes.lot_buckets(location, working.lot_buckets, loaded.lot_due)
        writes.exceptions(location, (x for step in steps for x in step.exceptions))
        writes.cursors(self.key.location_id, self._moved)
        if self._untold:
            self._say_bundles(self._untold)
        if steps:
            single = submissions[0] if len(submissions) == 1 else None  # several causes: none is named
            event = events_kit.Event(
                key=self.key.location_id,
                epoch=loaded.epoch,
                seq_from=loaded.seq + 1,
                seq_to=working.seq,
                message=self._event,
                occurred_at=loaded.now,
                traceparent=single.traceparent if single else "",
                causation_id=single.causation_id if single else "",
            )
            writes.event(event)
