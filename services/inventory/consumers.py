"""What Inventory does with the events of others: sales reduce stock, each exactly once, through the location's lane."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid

from services.inventory.domain import commands, lots
from services.inventory.domain import levels as values
from services.inventory.handlers import known_lots
from services.inventory.handlers import stock as handlers
from services.inventory.lane import Submission
from services.inventory.mapping import lot_inputs
from services.inventory.mapping import stock as mapping
from services.inventory.store import lots as lot_store
from services.inventory.store import stock as store
from services.kit import database, errors, events, idempotency, ids
from services.kit.inbox import Outcome
from tillmesh.common.v1 import event_pb2
from tillmesh.orders.v1 import orders_events_pb2

SALES_CONSUMER = "inventory"
SALES_SOURCE = "orders"
# Every type of the keys it takes: positions run through all events of a location's orders.
SALES_TYPES = (orders_events_pb2.SalesRecorded.DESCRIPTOR.full_name,)


def is_sales_key(key: str) -> bool:
    """Whether sales are told under a key: a location's. Orders has other families: of orders, payments, customers."""
    return key.startswith("loc_")


class SalesEffect:
    """Applies SalesRecorded (services.kit.inbox.Effect). The cursor moves in the lane's own transaction."""

    def __init__(self, db: database.Database, stock_lanes: handlers.StockLanes) -> None:
        self._db = db
        self._lanes = stock_lanes

    async def apply(self, envelope: event_pb2.EventEnvelope) -> Outcome:
        """One command of the location's lane; ALREADY and AHEAD by the consumer's cursor."""
        message = events.unpack(envelope, orders_events_pb2.SalesRecorded)
        await self._know_lots(envelope.tenant_id, message)
        keys = await self._hold_keys(envelope.tenant_id, message)
        command = commands.ApplySales(
            SALES_CONSUMER,
            envelope.epoch,
            envelope.seq_from,
            envelope.seq_to,
            tuple(_sale(sale, keys) for sale in message.sales),
        )
        lane_key = handlers.lane_key(envelope.tenant_id, message.location_id)
        # The same event is the same key, so that a lost reply at COMMIT is looked up like any other.
        key = idempotency.Key(lane_key.tenant, f"svc:{SALES_SOURCE}", "ApplySales", f"evt:{envelope.id}", b"")
        submission = Submission(command, key, mapping.Counted, _answer, envelope.traceparent, envelope.id)
        try:
            reply = await self._lanes.submit(lane_key, submission)
        except commands.EventAhead:
            return Outcome.AHEAD
        return Outcome.APPLIED if reply == _APPLIED else Outcome.ALREADY

    async def _know_lots(self, tenant_id: str, message: orders_events_pb2.SalesRecorded) -> None:
        """Makes lots known that were scanned and never brought in: their units are then missing by their names.

        A lot that can't be as scanned is left alone: the sale has happened, and takes what it can.
        """
        lines = [line for sale in message.sales for line in sale.lines if line.lot and line.HasField("scanned")]
        scanned = {(values.fold(line.sku), line.lot): line for line in lines}
        if not scanned:
            return
        tenant = mapping.tenant_uuid(tenant_id)
        async with self._db.read(tenant) as session:
            unknown = await lot_store.unknown(session, scanned)
        for of in unknown:
            with contextlib.suppress(errors.InvalidRequest, lots.LotMismatch):
                async with self._db.transaction(tenant) as session:
                    await known_lots.know(session, scanned[of].sku, lot_inputs.sold(scanned[of]))

    async def _hold_keys(
        self, tenant_id: str, message: orders_events_pb2.SalesRecorded
    ) -> dict[uuid.UUID, tuple[str, ...]]:
        """Folded SKUs of the reservations that the sales use up; they never change, so they are read unlocked."""
        wanted = [_hold_id(sale.reservation_id) for sale in message.sales if sale.reservation_id]
        if not wanted:
            return {}
        found: dict[uuid.UUID, tuple[str, ...]] = {}
        async with self._db.read(mapping.tenant_uuid(tenant_id)) as session:
            for hold_id in wanted:
                placed = await store.find_hold(session, hold_id) if hold_id else None
                for location, part in placed.parts if placed is not None else ():
                    if mapping.location_text(location) == message.location_id:
                        found[part.id] = tuple(line.key for line in part.lines)
        return found


_APPLIED = mapping.Counted(applied=1)


def _answer(_working: object, applied: bool) -> mapping.Counted:
    return mapping.Counted(applied=int(applied))


def _hold_id(text: str) -> uuid.UUID | None:
    try:
        return ids.decode("rsv", text)
    except ValueError:
        return None  # the till made it up: the sale still counts


def _units(line: orders_events_pb2.SalesRecorded.Line) -> list[commands.SaleLine]:
    """What a line takes: what its bundle consisted of when it was sold, else the SKU as it stands."""
    sold = [commands.SaleLine(each.sku, each.quantity) for each in line.components]
    return sold or [commands.SaleLine(line.sku, line.quantity, line.lot)]


def _sale(sale: orders_events_pb2.SalesRecorded.Sale, keys: dict[uuid.UUID, tuple[str, ...]]) -> commands.Sale:
    hold_id = _hold_id(sale.reservation_id) if sale.reservation_id else None
    known = hold_id if hold_id in keys else None
    return commands.Sale(
        sale.order_id,
        tuple(each for line in sale.lines for each in _units(line)),
        commands.Origin(sale.actor, sale.terminal_id, sale.occurred_at.ToDatetime(tzinfo=dt.UTC)),
        known,
        keys[known] if known else (),
    )
