"""A batch of sales: lock, decide in arrival order, write, commit. The hot path.

Two round trips a batch, whatever the number of its locations. Each sale gets its own answer; a refused one leaves no
trace. services/kit/lanes.py queues the sales and deals with failures; store/lane.py holds the SQL; domain/sale.py the
rules.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from services.kit import database, errors, idempotency, ids, lanes, pipeline
from services.orders import events
from services.orders.domain import booking
from services.orders.domain import sale as domain
from services.orders.store import lane as store

METHOD = "tillmesh.orders.v1.OrdersService/RecordSale"
ATTEMPTS_MAX = 3

Key = store.Key
Listener = Callable[[Key, int], None]
"""Called after a commit with the position that was reached."""


@dataclass(slots=True)
class RecordSale:
    """A sale, what the catalogue knows of it, and the ids that its order gets if it is new.

    fingerprint: of the content without request_id. request_id may be empty: client_sale_id alone is enough.
    """

    sale: domain.Sale
    items: Mapping[str, domain.Item | domain.Misread | None]
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

    def request_key(self, tenant: str) -> idempotency.Key | None:
        """The idempotency key, if one was sent."""
        if not self.request_id:
            return None
        return idempotency.Key(tenant, self.principal, METHOD, self.request_id, self.fingerprint)


@dataclass(frozen=True, slots=True)
class Earlier:
    """The same sale was recorded before, as this order."""

    order_id: uuid.UUID


Recorded = domain.Order | Earlier
Outcome = Recorded | errors.Error


Work = tuple[Key, RecordSale]


class SalesRunner:
    """Runs batches of sales of a tenant (services.kit.lanes.Runner)."""

    def __init__(self, db: database.Database, listener: Listener) -> None:
        self._db = db
        self._listener = listener

    async def run(self, work: Sequence[Work]) -> list[Outcome]:
        """One transaction. CommitLost when the connection broke after COMMIT was sent."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return await self._run(work)
            except psycopg.errors.UniqueViolation:
                # The till's id or the request's key was recorded at another location meanwhile: now it can be seen.
                if attempt == ATTEMPTS_MAX:
                    raise
        raise AssertionError

    async def _run(self, work: Sequence[Work]) -> list[Outcome]:
        with lanes.span("sales.batch", [command.traceparent for _, command in work]):
            return await self._transact(work)

    async def _transact(self, work: Sequence[Work]) -> list[Outcome]:
        async with self._db.lane_connection() as connection:
            batch = _Batch(await _load(connection, work))
            outcomes = [batch.decide(number, *of) for number, of in enumerate(work)]
            writes = [place.writes(key) for key, place in batch.places.items()]
            if not writes:
                return outcomes
            try:
                await store.write(connection, writes, batch.answers, batch.now)
            except psycopg.OperationalError as error:
                if connection.broken:
                    raise lanes.CommitLost from error
                raise
        for of in writes:
            self._listener(of.key, of.event.seq_to)
        return outcomes

    async def resolve(self, work: Sequence[Work]) -> list[Outcome] | None:
        """The answers of a batch whose end is unknown; None when it was not committed.

        A batch was committed when any of the order ids that it would have used is found; then what is not found was
        refused, and is refused again.
        """
        async with self._db.lane_connection() as connection:
            loaded = await _load(connection, work)
        ours = {command.order_id for _, command in work}
        if not any(order_id in ours for order_id, _ in loaded.recorded.values()):
            return None
        batch = _Batch(loaded)
        outcomes = [batch.decide(number, *of) for number, of in enumerate(work)]
        if batch.places:  # can't be: the batch was written as a whole
            raise lanes.CommitLost
        for key in dict.fromkeys(key for key, _ in work):
            self._listener(key, loaded.heads[key.location].seq)
        return outcomes


async def _load(connection: pipeline.LaneConnection, work: Sequence[Work]) -> store.Loaded:
    tenant = work[0][0].tenant
    return await store.load(
        connection,
        tenant,
        [key.location for key, _ in work],
        [command.sale_key for _, command in work],
        [command.request_key(tenant) for _, command in work],
    )


class _Batch:
    """What a batch has decided so far."""

    def __init__(self, loaded: store.Loaded) -> None:
        self._loaded = loaded
        self._by_sale: dict[tuple[str, str], tuple[bytes, domain.Order]] = {}
        self._by_request: dict[tuple[str, str], tuple[bytes, domain.Order]] = {}
        self.places: dict[Key, _Place] = {}
        self.answers: list[idempotency.Answer] = []

    @property
    def now(self) -> dt.datetime:
        """The database's clock after the locks."""
        return self._loaded.now

    def decide(self, number: int, key: Key, command: RecordSale) -> Outcome:
        """The answer to one sale: the order it became before, or becomes now, or why it doesn't."""
        try:
            return self._earlier(number, command) or self._record(key, command)
        except errors.Error as refusal:
            return refusal

    def _earlier(self, number: int, command: RecordSale) -> Recorded | None:
        request = (command.principal, command.request_id)
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

    def _record(self, key: Key, command: RecordSale) -> domain.Order:
        place = self.places.get(key) or _Place(self._loaded.heads[key.location])
        order = booking.book(
            command.sale,
            command.items,
            command.store,
            seq=place.head.seq + len(place.orders) + 1,
            order_id=command.order_id,
            line_ids=command.line_ids,
            at=self._loaded.now,
        )
        self.places[key] = place
        place.orders.append(order)
        place.new.append(command)
        self._by_sale[command.sale_key] = (command.fingerprint, order)
        if (request := command.request_key(key.tenant)) is not None:
            self._by_request[command.principal, command.request_id] = (command.fingerprint, order)
            self.answers.append(idempotency.Answer(request, order.id.bytes))
        return order


class _Place:
    """What a batch records at one of its locations."""

    def __init__(self, head: store.Head) -> None:
        self.head = head
        self.orders: list[domain.Order] = []
        self.new: list[RecordSale] = []

    def writes(self, key: Key) -> store.Writes:
        """All that the batch recorded here, ready to be written."""
        single = self.new[0] if len(self.new) == 1 else None  # several causes: none is named
        event = events.sales_recorded(
            key.location_id,
            self.head.epoch,
            self.orders,
            single.traceparent if single else "",
            single.request_id if single else "",
        )
        return store.Writes(key, self.orders, [command.fingerprint for command in self.new], event)


def _same_request(command: RecordSale, fingerprint: bytes, recorded: Recorded) -> Recorded:
    if fingerprint != command.fingerprint:
        raise errors.IdempotencyKeyReused
    return recorded


def _same_sale(command: RecordSale, fingerprint: bytes, order_id: uuid.UUID, recorded: Recorded) -> Recorded:
    if fingerprint != command.fingerprint:
        raise domain.SaleIdReused(ids.encode("ord", order_id))
    return recorded
