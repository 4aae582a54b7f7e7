"""Whose the units of a lot are: Inventory knows which orders took some, Orders whose those are."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.kit import database
from services.orders.store import lots as store


@dataclass(frozen=True, slots=True)
class Taken:
    """Units of a lot that an order took. order_id: TypeID; occurred_at_ns: since 1970, as Inventory tells it."""

    order_id: str
    order: uuid.UUID
    location_id: str
    quantity: int
    occurred_at_ns: int


@dataclass(frozen=True, slots=True)
class Page:
    """What took units of a lot, and the token of the next page; empty at the end."""

    taken: Sequence[Taken]
    next_page_token: str


class Inventory(Protocol):
    """Who knows which orders took units of a lot, at the locations that the caller may see."""

    async def lot_sales(self, lot_id: str, page_size: int, page_token: str) -> Page:
        """For the tenant of the rpc that is being handled. NOT_FOUND, INVALID_PAGE_TOKEN."""
        ...


class Recalls:
    """Reads for recalls."""

    def __init__(self, db: database.Database, inventory: Inventory) -> None:
        self._db = db
        self._inventory = inventory

    async def orders_of(
        self, tenant: str, lot_id: str, page_size: int, page_token: str
    ) -> tuple[Page, Mapping[uuid.UUID, store.Buyer]]:
        """A page of what took units of a lot, and whose those orders are. NOT_FOUND, INVALID_PAGE_TOKEN."""
        page = await self._inventory.lot_sales(lot_id, page_size, page_token)
        async with self._db.read(tenant) as session:
            return page, await store.buyers(session, [taken.order for taken in page.taken])
