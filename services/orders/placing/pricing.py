"""What an order would cost, asked of Inventory and of the tenant's tax policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.kit import database, ids
from services.orders import catalogue
from services.orders.domain import placed_order, placement, sale
from services.orders.placing.effects import Tenant
from services.orders.store import taxes


class Items(Protocol):
    """Who says what is sold, at which price. Asked each time: what an order costs is never guessed."""

    async def resolve(self, location_id: str, codes: list[str], price_list: str) -> catalogue.Resolution:
        """For the tenant of the rpc that is being handled. NotFound: no such location or price list."""
        ...


@dataclass(frozen=True, slots=True)
class Priced:
    """What an order costs, and of the location where it is sold."""

    quote: placement.Quote
    store: sale.Store


class Pricing:
    """Works orders out, for one process."""

    def __init__(self, db: database.Database, items: Items) -> None:
        self._db = db
        self._items = items

    async def price(
        self, tenant: Tenant, content: placement.Content, actor: str, expected_total: int | None = None
    ) -> Priced:
        """SkuNotFound, ItemNotSold, LocationNotCapable, PriceChanged, NotFound (location)."""
        codes = list(dict.fromkeys(line.code for line in content.lines))
        found = await self._items.resolve(ids.encode("loc", content.location_id), codes, content.price_list)
        country = await self._country(content, found.store)
        async with self._db.read(tenant.uuid) as session:
            policy = await taxes.get(session, tenant.uuid, country) if country else None
        quote = placement.price(
            content,
            found.items,
            found.store,
            policy or placement.TaxPolicy(""),
            line_ids=[ids.new_uuid() for _ in (*content.lines, *content.charges)],
            actor=actor,
        )
        placement.expect_total(quote, expected_total)
        return Priced(quote, found.store)

    async def held(self, content: placement.Content, draft: sale.Order, expected_total: int | None) -> Priced:
        """The prices of a draft that are held. PriceChanged; LocationNotCapable; NotFound (location)."""
        found = await self._items.resolve(ids.encode("loc", content.location_id), [], "")
        quote = placement.quote_of(draft)
        if not found.store.sells:
            raise sale.LocationNotCapable
        placement.expect_total(quote, expected_total)
        return Priced(quote, found.store)

    async def _country(self, content: placement.Content, store_: sale.Store) -> str:
        """Whose taxes apply: of where it goes, or of where it is collected. NotFound (location)."""
        match content.method:
            case placed_order.Delivery(country_code=country):
                return country or store_.country_code
            case placed_order.Pickup(location_id=location) if location != content.location_id:
                return (await self._items.resolve(ids.encode("loc", location), [], "")).store.country_code
        return store_.country_code
