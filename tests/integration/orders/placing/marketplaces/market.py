"""A shop that sells at a marketplace too: eBay's simulator on a local port, and one process's part of Orders."""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from services.kit import channels, ids
from services.orders.domain.marketplaces import values
from services.orders.mapping import inventory, levels
from services.orders.marketplaces import desk, port
from services.orders.marketplaces.adapters import ebay, ebay_api
from services.orders.store.marketplaces import connections, orders
from services.orders.store.marketplaces import listings as listing_store
from tests.integration.orders.placing.marketplaces import ebay_simulator as simulator
from tests.integration.orders.placing.shop import Shop

AGAIN = "UPDATE marketplace_connection SET polled_at = NULL, throttled_until = NULL, listed_at = NULL"
DUE = (
    "UPDATE marketplace_listing SET due_at = now() - interval '1 s' WHERE due_at < '9000-01-01'",
    "UPDATE marketplace_order SET due_at = now() WHERE due_at < '9000-01-01'",
    "UPDATE marketplace_status SET due_at = now() WHERE sent_at IS NULL",
)


def account(url: str, **changes: str) -> ebay_api.Account:
    """The seller's account, as our application has it."""
    given = {
        "client_id": simulator.CLIENT,
        "client_secret": simulator.SECRET,
        "refresh_token": simulator.REFRESH,
        "marketplace_id": "EBAY_AT",
        "url": url,
    }
    return ebay_api.Account(**{**given, **changes})


class Accounts:
    """One account for everybody, `main`."""

    def __init__(self, market: port.Marketplace) -> None:
        self.market = market

    def find(self, _tenant: str, name: str) -> tuple[values.Kind, port.Marketplace] | None:
        return (values.Kind.EBAY, self.market) if name == "main" else None


class Market:
    """One tenant's connection, tended by this process when a test says so."""

    def __init__(self, shop: Shop, url: str, *, seconds: float = 5.0) -> None:
        """seconds: how long the marketplace's answer is waited for."""
        self.shop = shop
        self.tenant = shop.tenant
        self.ebay = ebay.Ebay(ebay_api.Api(account(url), seconds=seconds))
        self.profiles = shop.people.profiles
        self.levels = levels.LevelsClient(shop.channel)
        client = inventory.InventoryClient(shop.channel)
        self.desk = desk.Desk(shop.db, Accounts(self.ebay), client, self.levels, self.profiles, shop.desk)
        self.id = uuid.UUID(int=0)

    async def close(self) -> None:
        await self.ebay.close()

    async def connect(self, location: uuid.UUID, *stock: uuid.UUID, **changes: Any) -> values.Connection:
        """A connection that has read everything up to a minute ago."""
        given: dict[str, Any] = {
            "id": ids.new_uuid(),
            "kind": values.Kind.EBAY,
            "name": "ebay",
            "account": "main",
            "state": values.ConnectionState.ACTIVE,
            "location_id": location,
            "stock_locations": stock or (location,),
            "buffer": 0,
            "cancel_after": None,
            "cursor_at": dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1),
        }
        async with self.shop.db.transaction(self.tenant.uuid) as session:
            made = await connections.add(session, values.Connection(**{**given, **changes}))
        self.id = made.id
        return made

    async def connection(self) -> values.Connection:
        """As it is now, with its health."""
        async with self.shop.db.read(self.tenant.uuid) as session:
            return (await connections.shown(session, ids=[self.id]))[0]

    async def turn(self, *, again: bool = True) -> bool:
        """One turn. again: everything is due."""
        if again:
            for statement in (AGAIN, *DUE):
                await self.shop.execute(statement)
        return await self.desk.tending.turn(self.tenant, self.id)

    async def taken(self) -> dict[str, values.Taken]:
        """What was taken in, by number."""
        async with self.shop.db.read(self.tenant.uuid) as session:
            found = await orders.page(session, self.id, problems=False, state=0, after="", limit=500)
        return {each.number: each for each in found}

    async def states(self) -> Mapping[str, tuple[str, str]]:
        """(state, problem) by number."""
        return {number: (each.state.name, each.problem.name) for number, each in (await self.taken()).items()}

    async def listings(self) -> dict[str, Any]:
        """Rows of listings, by SKU."""
        async with self.shop.db.read(self.tenant.uuid) as session:
            found = await listing_store.page(session, self.id, failing=False, after="", limit=500)
        return {each.sku: each for each in found}

    async def push(self) -> int:
        """What is due is told, in Inventory's eyes by us."""
        of = await self.connection()
        return await self.desk.stock.push(self.tenant, of, self.ebay)

    @contextlib.contextmanager
    def acting(self) -> Any:
        with channels.acting_for(self.tenant.id):
            yield
