"""Use cases of orders: sales go through the lane of their location, reads straight to the store."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.kit import database, errors, ids, lanes, telemetry
from services.kit import principal as principals
from services.orders import catalogue, lane, positions
from services.orders.domain import sale as domain
from services.orders.domain import summary
from services.orders.store import reads
from services.orders.store import summary as sums

SalesLanes = lanes.Lanes[lane.Key, lane.RecordSale, lane.Recorded]


@dataclass(slots=True)
class RecordSale:
    """A sale to be recorded. key names its location; fingerprint is of the content without request_id."""

    key: lane.Key
    sale: domain.Sale
    fingerprint: bytes
    principal: str
    request_id: str


class Orders:
    """Writes and reads for one process."""

    def __init__(
        self,
        db: database.Database,
        sales: SalesLanes,
        items: catalogue.Catalogue,
        applied: positions.AppliedPositions,
    ) -> None:
        self._db = db
        self._lanes = sales
        self._catalogue = items
        self._positions = applied

    async def record_sale(self, command: RecordSale) -> domain.Shown:
        """Records a sale, or finds it recorded. What may be refused: domain.sale.book, SaleIdReused, NotFound."""
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
        """An order of the caller's tenant. NotFound; LocationScope."""
        order = await self._load(tenant, order_id)
        caller.require_location(ids.encode("loc", order.location_id))
        return await self._show(tenant, order)

    async def list_sales(
        self, key: lane.Key, keep: reads.Filter, *, newest_first: bool, after: reads.Position | None, limit: int
    ) -> list[domain.Shown]:
        """Orders of a location, in order of occurred_at. NotFound."""
        async with self._db.read(key.tenant) as session:
            orders = await reads.sold_at(
                session, key.tenant, key.location, keep, newest_first=newest_first, after=after, limit=limit
            )
        if not orders:
            await self._require_location(key)
        highest = max((order.seq for order in orders), default=0)
        reached = await self._positions.reached(key.tenant, key.location_id, highest)
        return [domain.Shown(order, order.seq <= reached) for order in orders]

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
        reached = await self._positions.reached(tenant, ids.encode("loc", order.location_id), order.seq)
        return domain.Shown(order, order.seq <= reached)
