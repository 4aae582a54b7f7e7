"""Orders in: a marketplace's orders are read by the time of their last change, and each is kept once, by its number.

The cursor moves only after a pass over a stretch of time that left nothing out (domain/marketplaces/reading.py), and
only when all it saw is kept. What was kept before is looked at again: it may have been cancelled there, or changed.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Final

import prometheus_client
import structlog

from services.kit import database, failpoints
from services.orders.domain.marketplaces import listings, reading, values
from services.orders.marketplaces import buyers, port
from services.orders.placing.effects import Tenant
from services.orders.store.marketplaces import connections
from services.orders.store.marketplaces import listings as listing_store
from services.orders.store.marketplaces import orders as store

log = structlog.get_logger()

POLL: Final = dt.timedelta(seconds=60)
WINDOWS_A_TURN: Final = 10
AGAIN: Final = dt.timedelta(0)
ORDERS = prometheus_client.Counter(
    "tillmesh_marketplace_orders_total", "Orders of marketplaces, by what became of them.", ["kind", "outcome"]
)
LAG = prometheus_client.Gauge(
    "tillmesh_marketplace_lag_seconds",
    "How old what is known of a marketplace is, at the connection read last.",
    ["kind"],
)


class Intake:
    """Takes orders in, for one process."""

    def __init__(self, db: database.Database, known: buyers.Buyers) -> None:
        self._db = db
        self._buyers = known

    async def read(self, tenant: Tenant, connection_id: uuid.UUID, market: port.Marketplace) -> int:
        """Reads on until the marketplace's now, for some stretches; answers how many it read. What port raises."""
        for windows in range(1, WINDOWS_A_TURN + 1):
            async with self._db.read(tenant.uuid) as session:
                turn = await connections.turn(session, connection_id)
            if turn is None:
                return windows
            now = await market.clock()
            window = reading.window(turn.of.cursor_at, now, turn.pass_failures)
            complete = await self._pass(tenant, turn.of, market, window)
            async with self._db.transaction(tenant.uuid) as session:
                cursor, failures = (window.until, 0) if complete else (None, turn.pass_failures + 1)
                await connections.polled(session, connection_id, cursor, failures)
            LAG.labels(turn.of.kind.name.lower()).set((now - (cursor or turn.of.cursor_at)).total_seconds())
            if not complete or window.until >= now:  # what moves too fast is looked at again later
                return windows
        return WINDOWS_A_TURN

    async def _pass(
        self, tenant: Tenant, of: values.Connection, market: port.Marketplace, window: reading.Window
    ) -> bool:
        """Whether everything of a stretch is kept now."""
        for _ in range(reading.PASSES):
            seen, page = reading.Pass(), ""
            while seen.pages < reading.PAGES_MAX:
                found = await market.orders(window, page)
                await self.keep(tenant, of, found.orders)
                page = found.next
                seen.add(list(found.numbers), found.total, last=not page)
                if not page:
                    break
            if seen.complete:
                return True
            log.info("marketplace.pass_repeated", connection=str(of.id), pages=seen.pages)
        return False

    async def keep(self, tenant: Tenant, of: values.Connection, orders: Sequence[port.Incoming]) -> None:
        """Keeps a page of orders."""
        async with self._db.read(tenant.uuid) as session:
            known = await store.known(session, of.id, [order.number for order in orders])
        for order in orders:
            before = known.get(order.number)
            if before is None:
                await failpoints.effect("marketplace_kept", self._add(tenant, of, order))
            elif order.modified_at > before.modified_at:
                await self._change(tenant, of, order)

    async def _add(self, tenant: Tenant, of: values.Connection, order: port.Incoming) -> None:
        made = await self._received(tenant, of, order)
        async with self._db.transaction(tenant.uuid) as session:
            added = await store.add(session, made)
            if added and order.content is not None:
                skus = [line.sku for line in order.content.lines]
                await listing_store.changed(session, of.id, skus, listings.sold_there)
        if added:
            ORDERS.labels(of.kind.name.lower(), "received" if made.content else "unreadable").inc()

    async def _received(self, tenant: Tenant, of: values.Connection, order: port.Incoming) -> values.Taken:
        """An order as it is kept first. Whoever ordered is a customer before it names them."""
        made = values.Taken(
            connection_id=of.id,
            number=order.number,
            state=values.State.HELD,
            content=order.content,
            modified_at=order.modified_at,
        )
        if order.content is None:
            return dataclasses.replace(made, problem=values.Problem.UNREADABLE, detail=order.unreadable)
        if order.content.cancel is values.Cancel.DONE:
            return dataclasses.replace(made, state=values.State.CANCELLED)
        known = await self._buyers.know(tenant, of.id, order.number, order.content.ordered_at, order.buyer)
        return dataclasses.replace(
            made, state=values.State.RECEIVED, customer_id=known.customer_id, address_id=known.address_id
        )

    async def _change(self, tenant: Tenant, of: values.Connection, order: port.Incoming) -> None:
        """The marketplace says something new of an order that is here."""
        fresh = await self._received(tenant, of, order)
        async with self._db.transaction(tenant.uuid) as session:
            before = await store.lock(session, of.id, order.number)
            if before is not None and order.modified_at > before.modified_at:
                changed = _changed(before, fresh)
                await store.save(session, changed, due_in=AGAIN if is_due(changed) else None)


def is_due(taken: values.Taken) -> bool:
    """Whether it is to be placed, or to be cancelled here as it was there."""
    if taken.state is values.State.PLACED and taken.problem is not values.Problem.CANCELLED_THERE:
        return taken.content is not None and taken.content.cancel is values.Cancel.DONE
    return taken.state is values.State.RECEIVED


def _changed(before: values.Taken, fresh: values.Taken) -> values.Taken:
    """What is kept, when the marketplace tells an order anew."""
    kept = dataclasses.replace(before, modified_at=fresh.modified_at)
    if before.state in values.ENDED or fresh.content is None:
        return kept
    told = dataclasses.replace(kept, content=fresh.content)
    match before.state:
        case values.State.PLACED:
            return dataclasses.replace(told, **_placed_problem(before, fresh.content))
        case values.State.REJECTED if fresh.state is not values.State.CANCELLED:
            return told
        case _ if fresh.state is values.State.CANCELLED:
            return dataclasses.replace(told, state=values.State.CANCELLED, problem=values.Problem.NONE, detail="")
    # What was held may be placeable now: it is tried again, by what it says now and with what is known of the buyer.
    return dataclasses.replace(
        told,
        state=values.State.RECEIVED,
        problem=values.Problem.NONE,
        detail="",
        customer_id=fresh.customer_id,
        address_id=fresh.address_id,
    )


def _placed_problem(before: values.Taken, told: values.Ordered) -> dict[str, Any]:
    """What a person has to look at of an order that is placed: it isn't changed here by itself."""
    if told.cancel is values.Cancel.REQUESTED:
        return {"problem": values.Problem.CANCEL_REQUESTED, "detail": ""}
    if before.content is not None and not told.same_goods(before.content):
        return {"problem": values.Problem.CHANGED_THERE, "detail": ""}
    if before.problem is values.Problem.CANCEL_REQUESTED:  # taken back, or done
        return {"problem": values.Problem.NONE, "detail": ""}
    return {}
