"""Use cases of prices, and what scanned codes stand for at a location."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_prices as domain
from services.inventory.domain import stock_errors
from services.inventory.handlers.catalog import M, Write, Writer
from services.inventory.store import catalog_prices as store
from services.inventory.store import catalog_search
from services.kit import database, errors, events, ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which prices of a SKU. within: besides general ones only those of these locations; None: all."""

    sku: str
    at_location: uuid.UUID | None
    within: Collection[uuid.UUID] | None
    valid_at: dt.datetime | None
    after: tuple[dt.datetime | None, uuid.UUID] | None
    limit: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """Items in the order of the codes, None for unknown ones, and the location that was asked for."""

    items: Sequence[values.Item | None]
    location: values.Location


class Prices:
    """Prices of a tenant (uuid text)."""

    def __init__(self, db: database.Database, writer: Writer) -> None:
        self._db = db
        self._writer = writer

    async def put(self, write: Write[values.Price, M], sku: str, draft: values.PriceDraft) -> M:
        """SKU_NOT_FOUND, NOT_FOUND (location), INVALID_REQUEST."""

        async def effect(session: database.WriteSession) -> tuple[values.Price, Sequence[events.Event]]:
            domain.check_price(draft)
            spelling = await store.spelling(session, sku)
            if spelling is None:
                raise stock_errors.SkuNotFound(sku)
            if draft.location_id is not None and not await store.has_location(session, draft.location_id):
                raise errors.NotFound("location")
            return await store.put(session, domain.new_price(draft, price_id=ids.new_uuid(), sku=spelling)), ()

        return await self._writer.run(write, effect)

    async def page(self, tenant: str, query: Query) -> list[values.Price]:
        """One more than the limit, when there are more. SKU_NOT_FOUND."""
        async with self._db.read(tenant) as session:
            spelling = await store.spelling(session, query.sku)
            if spelling is None:
                raise stock_errors.SkuNotFound(query.sku)
            return await store.page(
                session,
                spelling,
                at_location=query.at_location,
                within=query.within,
                valid_at=query.valid_at,
                after=query.after,
                limit=query.limit + 1,
            )

    async def resolve(self, tenant: str, location_id: uuid.UUID, codes: Sequence[str]) -> Resolved:
        """What codes stand for at the location now. NOT_FOUND (location)."""
        async with self._db.lane_connection() as connection:
            location, items = await catalog_search.resolve(connection, tenant, location_id, codes)
        if location is None:
            raise errors.NotFound("location")
        return Resolved(items, location)
