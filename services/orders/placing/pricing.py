"""What an order would cost, asked of Inventory and of the tenant's tax policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from services.kit import database, errors, ids
from services.orders import catalogue
from services.orders.customers.handlers import recipients
from services.orders.domain import editing, placed_order, placement, sale
from services.orders.placing import addressing
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

    def __init__(self, db: database.Database, items: Items, known: recipients.Recipients) -> None:
        self._db = db
        self._items = items
        self._recipients = known

    async def price(
        self, tenant: Tenant, content: placement.Content, actor: str, expected_total: int | None = None
    ) -> Priced:
        """SkuNotFound, ItemNotSold, LocationNotCapable, PriceChanged, NotFound (location)."""
        codes = list(dict.fromkeys(line.code for line in content.lines))
        found = await self._items.resolve(ids.encode("loc", content.location_id), codes, content.price_list)
        country = await self._country(tenant, content, found.store)
        policy = await self._policy(tenant, country) if country else None
        quote = placement.price(
            content,
            found.known,
            found.store,
            policy or placement.TaxPolicy(""),
            line_ids=[ids.new_uuid() for _ in (*content.lines, *content.charges)],
            actor=actor,
        )
        placement.expect_total(quote, expected_total)
        return Priced(quote, found.store)

    async def _policy(self, tenant: Tenant, country: str) -> placement.TaxPolicy | None:
        async def get(session: database.ReadSession) -> placement.TaxPolicy | None:
            return await taxes.get(session, tenant.uuid, country)

        return await self._db.read_together(tenant.uuid, get)

    async def offered(self, tenant: Tenant, order: sale.Order, codes: list[str]) -> editing.Offered:
        """What codes cost now where an order was sold, taxed as today in the order's country. NotFound (location)."""
        assert order.placed is not None
        kept = order.placed.pricing
        found = await self._items.resolve(ids.encode("loc", order.location_id), codes, kept.price_list)
        policy = await self._policy(tenant, kept.tax_country) if kept.tax_country else None
        return editing.Offered(found.known, found.store, policy or placement.TaxPolicy(""))

    async def held(self, content: placement.Content, draft: sale.Order, expected_total: int | None) -> Priced:
        """The prices of a draft that are held. PriceChanged; LocationNotCapable; NotFound (location).

        InvalidRequest when it goes to another country than the taxes in them are of.
        """
        skus = [line.sku for line in draft.lines if line.sku]
        found = await self._items.resolve(ids.encode("loc", content.location_id), skus, "")
        quote = placement.quote_of(draft, found.items)
        if not found.store.sells:
            raise sale.LocationNotCapable
        goes_to = content.method.country_code if isinstance(content.method, placed_order.Delivery) else ""
        if quote.pricing.tax_country and goes_to not in ("", quote.pricing.tax_country):
            violation = errors.FieldViolation("address.country_code", "is not the country whose taxes the offer holds")
            raise errors.InvalidRequest(violations=[violation])
        placement.expect_total(quote, expected_total)
        return Priced(quote, found.store)

    async def _country(self, tenant: Tenant, content: placement.Content, store_: sale.Store) -> str:
        """Whose taxes apply: of where it goes, or of where it is collected. NotFound (location, customer, address)."""
        match content.method:
            case placed_order.Delivery(country_code="") if (
                content.customer_id is not None and (address := addressing.address_of(content.method)) is not None
            ):
                named = await self._recipients.named(tenant.uuid, content.customer_id, address)
                return named.place.country_code if named.place else ""
            case placed_order.Delivery(country_code=country):
                return country or store_.country_code
            case placed_order.Pickup(location_id=location) if location != content.location_id:
                return (await self._items.resolve(ids.encode("loc", location), [], "")).store.country_code
        return store_.country_code
