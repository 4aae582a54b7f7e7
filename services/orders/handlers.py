"""Use cases of orders: sales go through the lane of their location, reads straight to the store."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.kit import database, errors, ids, lanes, telemetry
from services.kit import principal as principals
from services.orders import catalogue, lane, positions, visible
from services.orders.customers import domain as customers
from services.orders.customers.handlers import desk, recipients
from services.orders.customers.store import people
from services.orders.domain import placed_order, summary
from services.orders.domain import sale as domain
from services.orders.store import looking, placed_reads, reads, searching
from services.orders.store import summary as sums

HISTORY_SHOWN = 100
"""Entries that GetOrder answers, by the contract."""
SalesLanes = lanes.Lanes[lane.Key, lane.RecordSale, lane.Recorded]


@dataclass(slots=True)
class RecordSale:
    """A sale to be recorded. key names its location; fingerprint is of the content without request_id."""

    key: lane.Key
    sale: domain.Sale
    fingerprint: bytes
    principal: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of orders, and where the list goes on; None: it has ended. There may be fewer than asked for, or none."""

    orders: Sequence[domain.Shown]
    next: looking.Position | None


class Orders:
    """Writes and reads for one process."""

    def __init__(
        self,
        db: database.Database,
        sales: SalesLanes,
        items: catalogue.Catalogue,
        applied: positions.AppliedPositions,
        known: recipients.Recipients,
    ) -> None:
        self._db = db
        self._lanes = sales
        self._catalogue = items
        self._positions = applied
        self._recipients = known

    async def record_sale(self, command: RecordSale) -> domain.Shown:
        """Records a sale, or finds it recorded. What may be refused: domain.booking.book, SaleIdReused, NotFound."""
        key, sale = command.key, command.sale
        codes = [line.code for line in sale.lines]
        known = await self._catalogue.resolve(key.tenant, key.location, key.location_id, codes)
        submission = lane.RecordSale(
            sale=sale,
            items=known.items,
            store=known.store,
            fingerprint=command.fingerprint,
            principal=command.principal,
            request_id=command.request_id,
            traceparent=telemetry.traceparent(),
            line_ids=[ids.new_uuid() for _ in sale.lines],
        )
        recorded = await self._lanes.submit(key, submission)
        if isinstance(recorded, lane.Earlier):
            return await self._show(key.tenant, await self._load(key.tenant, recorded.order_id))
        return domain.Shown(recorded, recorded.seq <= self._positions.known(key.tenant, key.location_id))

    async def get_order(self, caller: principals.Principal, tenant: str, order_id: uuid.UUID) -> domain.Shown:
        """An order of the caller's tenant, with the newest of its history. NotFound; LocationScope."""
        async with self._db.read(tenant) as session:
            order = await reads.get(session, tenant, order_id)
            if order is None:
                raise errors.NotFound("order")
            visible.require(caller, order)
            if order.placed is not None:
                newest = await placed_reads.history(session, tenant, order_id, before=None, limit=HISTORY_SHOWN)
                order.placed = dataclasses.replace(order.placed, history=newest)
        return await self._show(tenant, order)

    async def recipient(
        self, caller: principals.Principal, look: desk.Look, order_id: uuid.UUID
    ) -> tuple[uuid.UUID, customers.Recipient]:
        """Whom an order is for, and which customer that is. NotFound (order, recipient); LocationScope."""
        tenant = look.tenant
        async with self._db.read(tenant, snapshot=True) as session:
            order = await reads.get(session, tenant, order_id)
            if order is None:
                raise errors.NotFound("order")
            visible.require(caller, order)
            found = (await self._recipients.of(session, tenant, [order_id])).get(order_id)
        if found is None:
            raise errors.NotFound("recipient")
        await self._recipients.note_look(look, found[0])
        return found

    async def history(
        self, caller: principals.Principal, tenant: str, order_id: uuid.UUID, *, before: int | None, limit: int
    ) -> list[placed_order.Entry]:
        """What happened to an order, newest first; before: numbers below it. NotFound; LocationScope."""
        async with self._db.read(tenant) as session:
            order = await reads.get(session, tenant, order_id)
            if order is None:
                raise errors.NotFound("order")
            visible.require(caller, order)
            return await placed_reads.history(session, tenant, order_id, before=before, limit=limit)

    async def find(
        self,
        caller: principals.Principal,
        tenant: str,
        keep: searching.Filter,
        after: looking.Position | None,
        limit: int,
    ) -> Listed:
        """Orders of every channel, newest first, at the caller's locations; of a customer anywhere. NotFound."""
        within = visible.locations(caller)
        if within is not None:
            keep = dataclasses.replace(keep, within=within)
        async with self._db.read(tenant) as session:
            found = await searching.find(session, tenant, keep, after=after, limit=limit)
        for location in (keep.location_id, keep.fulfillment_location_id):
            if location is not None and not found.orders and found.next is None:
                text = ids.encode("loc", location)
                await self._require_location(lane.Key(tenant, location, caller.tenant_id, text))
        return await self._listed(tenant, found)

    async def of_customer(self, tenant: str, customer: uuid.UUID) -> searching.Filter:
        """The search for a customer's orders, with those of who was merged into them. NotFound.

        Tills may have named a customer that nobody made: theirs are found too.
        """
        async with self._db.read(tenant) as session:
            family = await people.members(session, await people.stands_for(session, customer))
            keep = searching.Filter(customer_ids=tuple(family) or (customer,))
            if not family and not (await searching.find(session, tenant, keep, after=None, limit=1)).orders:
                raise errors.NotFound("customer")
        return keep

    async def list_sales(
        self, key: lane.Key, keep: reads.Filter, *, newest_first: bool, after: looking.Position | None, limit: int
    ) -> Listed:
        """Orders of a location, in order of occurred_at. NotFound."""
        async with self._db.read(key.tenant) as session:
            found = await reads.sold_at(
                session, key.tenant, key.location, keep, newest_first=newest_first, after=after, limit=limit
            )
        if not found.orders and found.next is None:
            await self._require_location(key)
        return await self._listed(key.tenant, found)

    async def summarize(
        self, key: lane.Key, question: summary.Question, *, after: sums.Key | None, limit: int
    ) -> Sequence[summary.Row]:
        """Sums of a location's sales. NotFound."""
        async with self._db.read(key.tenant) as session:
            rows = await sums.sums(session, key.tenant, key.location, question, after=after, limit=limit)
        if not rows:
            await self._require_location(key)
        return rows

    async def _require_location(self, key: lane.Key) -> None:
        """Nothing was sold there: tells a location without sales from one that isn't there. NotFound."""
        with contextlib.suppress(errors.Unavailable):  # who can't ask says what it knows: no sales
            await self._catalogue.resolve(key.tenant, key.location, key.location_id, ())

    async def _load(self, tenant: str, order_id: uuid.UUID) -> domain.Order:
        async with self._db.read(tenant) as session:
            order = await reads.get(session, tenant, order_id)
        if order is None:
            raise errors.NotFound("order")
        return order

    async def _show(self, tenant: str, order: domain.Order) -> domain.Shown:
        return domain.Shown(order, await self._is_applied(tenant, order))

    async def _listed(self, tenant: str, found: looking.Found) -> Listed:
        """With the stock's effect of each: its location is asked about once, for the newest of them."""
        newest: dict[str, int] = {}
        for order in found.orders:
            if order.placed is None:
                place = ids.encode("loc", order.location_id)
                newest[place] = max(order.seq, newest.get(place, 0))
        reached = await self._positions.reached_all(tenant, newest)
        shown = [
            domain.Shown(order, order.placed is None and order.seq <= reached[ids.encode("loc", order.location_id)])
            for order in found.orders
        ]
        return Listed(shown, found.next)

    async def _is_applied(self, tenant: str, order: domain.Order) -> bool:
        """Whether the stock of a sale has been reduced; of other orders it is allocated, and never asked for."""
        if order.placed is not None:
            return False
        return order.seq <= await self._positions.reached(tenant, ids.encode("loc", order.location_id), order.seq)
