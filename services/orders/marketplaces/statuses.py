"""Status out: what becomes of a marketplace's orders here is written down, and told until it was heard.

What there is to tell follows from the order as it stands, so looking twice, or late, tells the same: cancelled here, or
handed over. A refusal ends it, and a person sees it at the order.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Final

import structlog

from services.kit import database, failpoints, ids
from services.orders.domain import placed_order, sale
from services.orders.domain.machines import FulfillmentState
from services.orders.domain.marketplaces import values
from services.orders.marketplaces import port
from services.orders.placing.effects import Tenant
from services.orders.store import reads
from services.orders.store.marketplaces import orders, statuses

log = structlog.get_logger()

AT_ONCE: Final = 50
OUT_OF_HANDS: Final = frozenset({FulfillmentState.HANDED_OVER, FulfillmentState.DELIVERED})
WHY: Final = {
    placed_order.CancelReason.CUSTOMER: values.CancelWhy.BUYER_ASKED,
    placed_order.CancelReason.MISTAKE: values.CancelWhy.BUYER_ASKED,
}


class Statuses:
    """Tells marketplaces, for one process."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    # --- what there is to tell ---

    async def look(self, tenant: Tenant, of: values.Connection) -> int:
        """Writes down what there is to tell of orders that have changed here; answers how many it looked at."""
        async with self._db.read(tenant.uuid) as session:
            moved = await orders.moved(session, of.id, AT_ONCE)
        for each in moved:
            await self._write_down(tenant, of, each.number, each.order_id)
        return len(moved)

    async def _write_down(self, tenant: Tenant, of: values.Connection, number: str, order_id: uuid.UUID) -> None:
        async with self._db.transaction(tenant.uuid) as session:
            taken = await orders.lock(session, of.id, number)
            order = await reads.get(session, tenant.uuid, order_id)
            if taken is None or order is None or taken.state is not values.State.PLACED:
                return
            for status in to_tell(taken, order):
                await statuses.add(session, of.id, status)
            state = _state(taken, order)
            if state is not taken.state:
                await orders.save(session, dataclasses.replace(taken, state=state, problem=_left(taken, state)))
            await orders.looked_at(session, taken, order.version)

    async def reject_late(self, tenant: Tenant, of: values.Connection) -> int:
        """Rejects what nobody has decided about in the connection's time; answers how many."""
        async with self._db.read(tenant.uuid) as session:
            late = await orders.waited_out(session, of.id, AT_ONCE)
        for number in late:
            async with self._db.transaction(tenant.uuid) as session:
                taken = await orders.lock(session, of.id, number)
                if taken is not None and taken.state is values.State.HELD:
                    await reject(session, taken, values.CancelWhy.OUT_OF_STOCK)
        return len(late)

    # --- telling it ---

    async def tell(self, tenant: Tenant, of: values.Connection, market: port.Marketplace) -> int:
        """Tells what is due; answers how much. Throttled; LockedOut."""
        async with self._db.read(tenant.uuid) as session:
            due = await statuses.due(session, of.id, AT_ONCE)
        for status in due:
            await self._tell(tenant, of, market, status)
        return len(due)

    async def _tell(
        self, tenant: Tenant, of: values.Connection, market: port.Marketplace, status: values.Status
    ) -> None:
        refused = ""
        try:
            if status.kind in market.tells:
                await failpoints.effect("marketplace_told", market.tell(status))
        except port.NoAnswer:
            async with self._db.transaction(tenant.uuid) as session:
                await statuses.postpone(session, of.id, status)
            return
        except port.Refused as refusal:
            refused = refusal.code
            log.warning("marketplace.status_refused", connection=str(of.id), kind=status.kind.name, code=refused)
        async with self._db.transaction(tenant.uuid) as session:
            taken = await orders.lock(session, of.id, status.number)
            await statuses.told(session, of.id, status, refused)
            if taken is not None and (changed := _heard(taken, status, refused)) != taken:
                await orders.save(session, changed)


async def reject(session: database.WriteSession, taken: values.Taken, why: values.CancelWhy) -> values.Taken:
    """An order that is held won't be had: the marketplace is told. The row is locked."""
    rejected = dataclasses.replace(taken, state=values.State.REJECTED)
    await orders.save(session, rejected)
    paid_at = None if taken.content is None else taken.content.paid_at
    cancelled = values.Status(taken.number, values.StatusKind.CANCELLED, why=why, paid_at=paid_at)
    await statuses.add(session, taken.connection_id, cancelled)
    return rejected


def to_tell(taken: values.Taken, order: sale.Order) -> list[values.Status]:
    """What an order, as it stands, is told as. Pure."""
    told: list[values.Status] = []
    content, placed = taken.content, order.placed
    if content is None or placed is None:
        return told
    if order.state is sale.OrderState.CANCELLED:
        if content.cancel is not values.Cancel.DONE:
            why = WHY.get(placed_order.CancelReason(placed.cancel_reason or 7), values.CancelWhy.OUT_OF_STOCK)
            told.append(values.Status(taken.number, values.StatusKind.CANCELLED, why=why, paid_at=content.paid_at))
        return told
    for group in placed.groups:
        if group.state in OUT_OF_HANDS and (lines := _lines(content, order.lines, group)):
            shipment = values.Shipment(lines, _whole(group.updated_at))
            key = ids.encode("ful", group.id)
            told.append(values.Status(taken.number, values.StatusKind.SHIPPED, key=key, shipment=shipment))
    return told


def _lines(
    content: values.Ordered, lines: Sequence[sale.OrderLine], group: placed_order.Group
) -> tuple[tuple[str, int], ...]:
    """The marketplace's lines that a group has units of. Of a bundle it has parts: the line is sent with them, once."""
    units: dict[str, int] = {}
    for of in group.lines:
        if 0 < of.number <= len(content.lines):
            line, kept = content.lines[of.number - 1], lines[of.number - 1]
            whole = line.quantity if kept.components else units.get(line.ref, 0) + of.quantity
            units[line.ref] = min(line.quantity, whole)
    return tuple((ref, quantity) for ref, quantity in units.items() if quantity)


def _whole(at: dt.datetime) -> dt.datetime:
    """To milliseconds, as marketplaces tell times: what is told can be found again."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _state(taken: values.Taken, order: sale.Order) -> values.State:
    """What the marketplace's order is then. What is cancelled here isn't there before it was told."""
    if order.state is sale.OrderState.CANCELLED:
        there = taken.content is not None and taken.content.cancel is values.Cancel.DONE
        return values.State.CANCELLED if there else values.State.REJECTED
    return values.State.COMPLETED if order.state is sale.OrderState.COMPLETED else taken.state


def _left(taken: values.Taken, state: values.State) -> values.Problem:
    """The problem that is left then: what a buyer asked for is done."""
    done = state is not taken.state and taken.problem is values.Problem.CANCEL_REQUESTED
    return values.Problem.NONE if done else taken.problem


def _heard(taken: values.Taken, status: values.Status, refused: str) -> values.Taken:
    """The order after the marketplace has heard something of it, or won't."""
    if refused:
        return dataclasses.replace(taken, problem=values.Problem.STATUS_REFUSED, detail=f"{status.kind.name} {refused}")
    if status.kind is values.StatusKind.CANCELLED and taken.state is values.State.REJECTED:
        return dataclasses.replace(taken, state=values.State.CANCELLED, problem=values.Problem.NONE, detail="")
    return taken
