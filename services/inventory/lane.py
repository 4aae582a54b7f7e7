"""A batch of commands on the stock of a location: lock, decide in arrival order, write, commit. The hot path.

Two round trips a batch. Each command gets its own answer; a refused one leaves no trace. services/kit/lanes.py queues
the commands and deals with failures; store/lane.py holds the SQL; domain/stock.py the rules.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from google.protobuf.message import Message

from services.inventory import events
from services.inventory.domain import commands, stock, stock_documents, stock_errors
from services.inventory.mapping import stock as mapping
from services.inventory.store import lane as store
from services.kit import database, errors, idempotency, ids, lanes, subjects
from tillmesh.inventory.v1 import inventory_events_pb2 as events_pb


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


Outcome = Message | errors.Error
Listener = Callable[[LaneKey, int], None]
"""Called after a commit that changed stock, with the position reached."""


class StockRunner:
    """Runs batches of submissions (services.kit.lanes.Runner)."""

    def __init__(self, db: database.Database, listener: Listener) -> None:
        self._db = db
        self._listener = listener

    async def run(self, key: LaneKey, submissions: Sequence[Submission]) -> list[Outcome]:
        """One transaction. CommitLost when the connection broke after COMMIT was sent."""
        with lanes.span("stock.batch", [submission.traceparent for submission in submissions]):
            return await self._transact(key, submissions)

    async def _transact(self, key: LaneKey, submissions: Sequence[Submission]) -> list[Outcome]:
        wanted = _wanted(submissions)
        async with self._db.lane_connection() as connection:
            try:
                loaded = await store.load(connection, key.tenant, key.location, key.location_id, wanted)
            except errors.NotFound as missing:
                return [missing] * len(submissions)
            batch = _Batch(key, loaded)
            outcomes = [batch.decide(number, submission) for number, submission in enumerate(submissions)]
            writes = batch.writes(submissions)
            try:
                await writes.write(connection)
            except psycopg.OperationalError as error:
                if connection.broken:
                    raise lanes.CommitLost from error
                raise
        if batch.working.steps:
            self._listener(key, batch.working.seq)
        return outcomes

    async def resolve(self, key: LaneKey, submissions: Sequence[Submission]) -> list[Outcome] | None:
        """The answers of a batch whose end is unknown, from what is remembered; None when nothing of it was committed.

        Refusals are not remembered: where others of the batch succeeded, it was committed, and these are decided anew.
        """
        async with self._db.lane_connection() as connection:
            found = await store.answered(connection, key.tenant, key.location, [s.key for s in submissions])
        if not found:
            return None
        missing = [s for n, s in enumerate(submissions) if n not in found]
        again = iter(await self.run(key, missing) if missing else ())
        return [
            submission.answer.FromString(found[n][1]) if n in found else next(again)
            for n, submission in enumerate(submissions)
        ]


def _wanted(submissions: Sequence[Submission]) -> store.Wanted:
    all_commands = [submission.command for submission in submissions]
    return store.Wanted(
        skus=sorted({key for command in all_commands for key in commands.keys_of(command)}),
        holds=sorted({hold for command in all_commands for hold in commands.holds_of(command)}),
        keys=[submission.key for submission in submissions],
        consumers=sorted({c.consumer for c in all_commands if isinstance(c, commands.ApplySales)}),
    )


class _Batch:
    """What a batch has decided so far."""

    def __init__(self, key: LaneKey, loaded: store.Loaded) -> None:
        self._key = key
        self._loaded = loaded
        self._answers: list[store.Answer] = []
        self._seen: dict[tuple[str, str, str], tuple[bytes, Message]] = {}
        self._moved: dict[str, tuple[int, int]] = {}
        self._recorded_at = mapping.timestamp(loaded.now)
        self._event = events_pb.StockChanged(location_id=key.location_id)
        self.working = stock.Stock(
            location_id=key.location_id,
            seq=loaded.seq,
            now=loaded.now,
            levels=loaded.levels,
            variants=loaded.variants,
            holds=loaded.holds,
            due=loaded.due,
            cursors=loaded.cursors,
            closed=loaded.closed,
            new_id=ids.new_uuid,
        )
        self.working.expire_due()
        self._finish()

    def decide(self, number: int, submission: Submission) -> Outcome:
        """The answer to one command: what its key was answered before, or what it does now, or why not."""
        key = submission.key
        scope = (key.principal, key.method, key.key)
        try:
            if (earlier := self._earlier(number, scope, submission)) is not None:
                return earlier
            result = self._apply(submission.command)
        except errors.Error as refusal:
            if isinstance(refusal, stock_errors.InsufficientStock):
                refusal.location_id = self._key.location_id
            return refusal
        self._finish()
        message = submission.reply(self.working, result)
        if not key.key:
            return message  # background work: nobody will ask for it again
        self._seen[scope] = (key.fingerprint, message)
        self._answers.append(store.Answer(key, message.SerializeToString()))
        return message

    def _earlier(self, number: int, scope: tuple[str, str, str], submission: Submission) -> Message | None:
        if scope in self._seen:  # the same key twice in this batch
            fingerprint, message = self._seen[scope]
            submission.key.check(fingerprint)
            return message
        if number in self._loaded.answered:
            fingerprint, response = self._loaded.answered[number]
            submission.key.check(fingerprint)
            return submission.answer.FromString(response)
        return None

    def _apply(self, command: commands.Command) -> Any:
        working = self.working
        match command:
            case commands.Reserve():
                return working.reserve(command)
            case commands.EndHold():
                return working.end_hold(command)
            case commands.Adjust():
                return working.adjust(command)
            case commands.SetCounts():
                return working.set_counts(command)
            case commands.Move():
                return working.move_states(command)
            case commands.SetPolicy():
                return working.set_policy(command)
            case commands.ApplySales():
                return self._apply_sales(command)
            case commands.Expire():
                return None
            case commands.ReceiveStock() | commands.ExpectStock() | commands.ApplyVariances():
                return stock_documents.apply(working, command)

    def _apply_sales(self, event: commands.ApplySales) -> bool:
        """Applies the sales of an event, each at a position of its own; False when they were applied before."""
        if not self.working.admit(event):
            return False
        for sale in event.sales:
            self.working.apply_sale(sale)
            self._finish()
        self.working.cursors[event.consumer] = self._moved[event.consumer] = (event.epoch, event.seq_to)
        return True

    def _finish(self) -> None:
        step = self.working.finish()
        if step is not None:
            self._event.changes.append(events.change(self.working, step, self._recorded_at))

    def writes(self, submissions: Sequence[Submission]) -> store.Batch:
        """All that the batch changed, ready to be written."""
        working, loaded = self.working, self._loaded
        writes = store.Batch(self._key.tenant, self._key.location, self._key.location_id, loaded.now, working.seq)
        steps = working.steps
        touched = {key: level for step in steps for key, level in step.touched.items()}
        writes.stock(touched, [m for step in steps for m in step.movements], head=bool(steps))
        writes.holds(working.new_holds, list(working.changed_holds.values()))
        writes.buckets(working.buckets, list(loaded.due))
        writes.exceptions([x for step in steps for x in step.exceptions])
        writes.cursors(self._moved)
        writes.answers(self._answers)
        if steps:
            single = submissions[0] if len(submissions) == 1 else None  # several causes: none is named
            event = store.Event(
                ids.new_uuid(),
                self._key.location_id,
                subjects.shard(self._key.location_id),
                events.STOCK_CHANGED,
                loaded.seq + 1,
                single.traceparent if single else "",
                single.causation_id if single else "",
                self._event.SerializeToString(),
            )
            writes.event(event, loaded.epoch)
        return writes
