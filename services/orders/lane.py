"""A batch of sales at a location: lock, decide in arrival order, write, commit. The hot path.

Two round trips a batch. Each sale gets its own answer; a refused one leaves no trace. services/kit/lanes.py queues the
sales and deals with failures; store/lane.py holds the SQL; domain/sale.py the rules.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from services.kit import database, errors, ids, lanes, pipeline
from services.orders import events
from services.orders.domain import sale as domain
from services.orders.store import lane as store

METHOD = "tillmesh.orders.v1.OrdersService/RecordSale"
ATTEMPTS_MAX = 3
#: A NUL in a text (character_not_in_repertoire), or inside of jsonb (untranslatable_character).
UNSTORABLE = frozenset({"22021", "22P05"})

Key = store.Key
Listener = Callable[[Key, int], None]
"""Called after a commit with the position that was reached."""


@dataclass(slots=True)
class RecordSale:
    """A sale, what the catalogue knows of it, and the ids that its order gets if it is new.

    fingerprint: of the content without request_id. request_id may be empty: client_sale_id alone is enough.
    """

    sale: domain.Sale
    items: Mapping[str, domain.Item | None]
    store: domain.Store
    fingerprint: bytes
    principal: str
    request_id: str = ""
    traceparent: str = ""
    order_id: uuid.UUID = field(default_factory=ids.new_uuid)
    line_ids: Sequence[uuid.UUID] = ()

    @property
    def sale_key(self) -> tuple[str, str]:
        """What is unique for ever in a tenant."""
        return self.sale.terminal_id, self.sale.client_sale_id

    @property
    def request_key(self) -> tuple[str, str] | None:
        """The idempotency key with its principal, if one was sent."""
        return (self.principal, self.request_id) if self.request_id else None


@dataclass(frozen=True, slots=True)
class Earlier:
    """The same sale was recorded before, as this order."""

    order_id: uuid.UUID


Recorded = domain.Order | Earlier
Outcome = Recorded | errors.Error


class SalesRunner:
    """Runs batches of sales (services.kit.lanes.Runner)."""

    def __init__(self, db: database.Database, listener: Listener) -> None:
        self._db = db
        self._listener = listener

    async def run(self, key: Key, commands: Sequence[RecordSale]) -> list[Outcome]:
        """One transaction. CommitLost when the connection broke after COMMIT was sent."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await self._run(key, commands)
            except psycopg.errors.UniqueViolation:
                # The till's id or the request's key was recorded at another location meanwhile: now it can be seen.
                if attempt == ATTEMPTS_MAX:
                    raise
            except psycopg.DataError as error:
                if len(commands) > 1 or error.sqlstate not in UNSTORABLE:
                    raise  # several: the lane finds out whose it is
                return [errors.InvalidRequest("a text holds a character that can't be stored")]
        raise AssertionError

    async def _run(self, key: Key, commands: Sequence[RecordSale]) -> list[Outcome]:
        with lanes.span("sales.batch", [command.traceparent for command in commands]):
            return await self._transact(key, commands)

    async def _transact(self, key: Key, commands: Sequence[RecordSale]) -> list[Outcome]:
        async with self._db.lane_connection() as connection:
            loaded = await store.load(connection, key, _wanted(commands))
            batch = _Batch(loaded)
            outcomes = [batch.decide(number, command) for number, command in enumerate(commands)]
            if not batch.orders:
                return outcomes
            try:
                await self._write(connection, key, batch)
            except psycopg.OperationalError as error:
                if connection.broken:
                    raise lanes.CommitLost from error
                raise
        self._listener(key, batch.orders[-1].seq)
        return outcomes

    async def _write(self, connection: pipeline.LaneConnection, key: Key, batch: _Batch) -> None:
        single = batch.new[0] if len(batch.new) == 1 else None  # several causes: none is named
        event = events.sales_recorded(
            key.location_id,
            batch.epoch,
            batch.orders,
            single.traceparent if single else "",
            single.request_id if single else "",
        )
        fingerprints = [command.fingerprint for command in batch.new]
        await store.write(connection, key, batch.now, batch.orders, fingerprints, batch.remembered, METHOD, event)

    async def resolve(self, key: Key, commands: Sequence[RecordSale]) -> list[Outcome] | None:
        """The answers of a batch whose end is unknown; None when it was not committed.

        A batch was committed when any of the order ids that it would have used is found; then what is not found was
        refused, and is refused again.
        """
        async with self._db.lane_connection() as connection:
            loaded = await store.load(connection, key, _wanted(commands))
        ours = {command.order_id for command in commands}
        if not any(order_id in ours for order_id, _ in loaded.recorded.values()):
            return None
        batch = _Batch(loaded)
        outcomes = [batch.decide(number, command) for number, command in enumerate(commands)]
        if batch.orders:  # can't be: the batch was written as a whole
            raise lanes.CommitLost
        self._listener(key, loaded.seq)
        return outcomes


def _wanted(commands: Sequence[RecordSale]) -> store.Wanted:
    return store.Wanted(
        sales=[command.sale_key for command in commands],
        request_keys=[command.request_key for command in commands],
        method=METHOD,
    )


class _Batch:
    """What a batch has decided so far."""

    def __init__(self, loaded: store.Loaded) -> None:
        self._loaded = loaded
        self._by_sale: dict[tuple[str, str], tuple[bytes, domain.Order]] = {}
        self._by_request: dict[tuple[str, str], tuple[bytes, domain.Order]] = {}
        self.orders: list[domain.Order] = []
        self.new: list[RecordSale] = []
        self.remembered: list[store.Remembered] = []

    @property
    def now(self) -> dt.datetime:
        """The database's clock after the locks."""
        return self._loaded.now

    @property
    def epoch(self) -> int:
        """Of the location's positions."""
        return self._loaded.epoch

    def decide(self, number: int, command: RecordSale) -> Outcome:
        """The answer to one sale: the order it became before, or becomes now, or why it doesn't."""
        try:
            return self._earlier(number, command) or self._record(command)
        except errors.Error as refusal:
            return refusal

    def _earlier(self, number: int, command: RecordSale) -> Recorded | None:
        request = command.request_key
        if request in self._by_request:
            fingerprint, order = self._by_request[request]
            return _same_request(command, fingerprint, order)
        if number in self._loaded.answered:
            order_id, fingerprint = self._loaded.answered[number]
            return _same_request(command, fingerprint, Earlier(order_id))
        if command.sale_key in self._by_sale:  # twice in this batch
            fingerprint, order = self._by_sale[command.sale_key]
            return _same_sale(command, fingerprint, order.id, order)
        if number in self._loaded.recorded:
            order_id, fingerprint = self._loaded.recorded[number]
            return _same_sale(command, fingerprint, order_id, Earlier(order_id))
        return None

    def _record(self, command: RecordSale) -> domain.Order:
        order = domain.book(
            command.sale,
            command.items,
            command.store,
            seq=self._loaded.seq + len(self.orders) + 1,
            order_id=command.order_id,
            line_ids=command.line_ids,
            at=self._loaded.now,
        )
        self.orders.append(order)
        self.new.append(command)
        self._by_sale[command.sale_key] = (command.fingerprint, order)
        if (request := command.request_key) is not None:
            self._by_request[request] = (command.fingerprint, order)
            self.remembered.append(store.Remembered(*request, command.fingerprint, order.id))
        return order


def _same_request(command: RecordSale, fingerprint: bytes, recorded: Recorded) -> Recorded:
    if fingerprint != command.fingerprint:
        raise errors.IdempotencyKeyReused
    return recorded


def _same_sale(command: RecordSale, fingerprint: bytes, order_id: uuid.UUID, recorded: Recorded) -> Recorded:
    if fingerprint != command.fingerprint:
        raise domain.SaleIdReused(ids.encode("ord", order_id))
    return recorded
