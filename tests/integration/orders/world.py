"""Builders and look-ups for the tests of Orders: sales as tills send them, lanes as a process runs them."""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.kit import database, ids, lanes
from services.orders import lane
from services.orders.domain import sale as domain

VIENNA = domain.Store(timezone="Europe/Vienna", cutoff_minutes=0, currency_code="EUR", sells=True)
NOON = dt.datetime(2026, 3, 4, 11, 0, tzinfo=dt.UTC)
LIPSTICK = domain.Item("LIP-1", uuid.UUID(int=7), "Lipstick, red", "Face/Lipstick", "")


def line(code: str = "LIP-1", quantity: int = 1, net_amount: int = 1000, **more: Any) -> domain.SaleLine:
    values: dict[str, Any] = {
        "kind": domain.LineKind.ITEM,
        "unit_price": None,
        "taxes": (),
        "discounts": (),
        "name": "",
    }
    return domain.SaleLine(code=code, quantity=quantity, net_amount=net_amount, **{**values, **more})


def sale(location: uuid.UUID, client_sale_id: str, *lines: domain.SaleLine, **more: Any) -> domain.Sale:
    values: dict[str, Any] = {
        "terminal_id": "till-1",
        "occurred_at": NOON,
        "currency_code": "",
        "tax_inclusive": True,
        "tenders": (),
        "customer_id": None,
        "campaign_id": "",
        "reservation_id": None,
        "actor": "usr_till",
    }
    return domain.Sale(
        location_id=location, client_sale_id=client_sale_id, lines=lines or (line(),), **{**values, **more}
    )


def fingerprint(of: domain.Sale) -> bytes:
    """Stands for what mapping makes of a request."""
    return hashlib.blake2b(repr(of).encode(), digest_size=16).digest()


def command(of: domain.Sale, *, request_id: str = "", store: domain.Store = VIENNA) -> lane.RecordSale:
    return lane.RecordSale(
        sale=of,
        items={"LIP-1": LIPSTICK},
        store=store,
        fingerprint=fingerprint(of),
        principal="usr_till",
        request_id=request_id,
        line_ids=[ids.new_uuid() for _ in of.lines],
    )


class World:
    """One tenant and the lanes of one process."""

    def __init__(self, db: database.Database, tenant: uuid.UUID, *, runner: lane.SalesRunner | None = None) -> None:
        self.db = db
        self.tenant = tenant
        self.committed: list[tuple[lane.Key, int]] = []
        runner = runner or lane.SalesRunner(db, lambda key, seq: self.committed.append((key, seq)))
        self.lanes: lanes.Lanes[lane.Key, lane.RecordSale, lane.Recorded] = lanes.Lanes("sales", runner)
        self.runner = runner

    def start(self) -> None:
        self.lanes.start()

    async def stop(self) -> None:
        await self.lanes.stop()

    def key(self, location: uuid.UUID) -> lane.Key:
        return lane.Key(str(self.tenant), location, ids.encode("ten", self.tenant), ids.encode("loc", location))

    async def record(self, of: domain.Sale, *, request_id: str = "", store: domain.Store = VIENNA) -> lane.Recorded:
        return await self.lanes.submit(self.key(of.location_id), command(of, request_id=request_id, store=store))

    async def batch(self, *sales: lane.RecordSale) -> Sequence[lane.Outcome]:
        """Sales that are decided in one batch."""
        return await self.runner.run([(self.key(of.sale.location_id), of) for of in sales])

    async def rows(self, statement: str, **values: object) -> Sequence[sa.Row[Any]]:
        """What the tenant sees."""
        async with self.db.read(str(self.tenant)) as session:
            return (await session.execute(sa.text(statement), values)).all()
