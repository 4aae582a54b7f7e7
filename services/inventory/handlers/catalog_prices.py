"""Use cases of price lists and prices, and what scanned codes stand for at a location."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_prices as domain
from services.inventory.domain import gs1, stock_errors
from services.inventory.handlers.catalog import M, Write, Writer, note
from services.inventory.store import catalog as common
from services.inventory.store import catalog_price_lists as price_lists
from services.inventory.store import catalog_prices as store
from services.inventory.store import catalog_search
from services.kit import database, errors, events, ids


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEdit:
    """New values of some fields of a price list. expected_version 0: whatever it is."""

    code: str
    changes: Mapping[str, Any]
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Which price lists. after: the code of the last one before."""

    valid_at: dt.datetime | None
    after: str | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which prices of a SKU. within: besides general ones only those of these locations; None: all.

    price_list: only its prices; empty: of all. restricted: whether restricted lists are there for the caller.
    """

    sku: str
    at_location: uuid.UUID | None
    within: Collection[uuid.UUID] | None
    price_list: str
    restricted: bool
    valid_at: dt.datetime | None
    after: tuple[dt.datetime | None, uuid.UUID] | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What was scanned at a location, for a customer of a price list; restricted as in Query.

    scanned: what each code says as a GS1 code with a GTIN, or why it is broken; None: it is none.
    """

    location_id: uuid.UUID
    codes: Sequence[str]
    scanned: Sequence[gs1.Elements | gs1.NotGs1 | None]
    price_list: str
    restricted: bool


@dataclass(frozen=True, slots=True)
class Resolved:
    """Items in the order of the codes, None for unknown ones, and the location that was asked for.

    scanned: what the codes say that stand for an item by their GTIN, and why they stand for none.
    """

    items: Sequence[values.Item | None]
    scanned: Sequence[gs1.Elements | gs1.NotGs1 | None]
    location: values.Location


class Prices:
    """Prices of a tenant (uuid text)."""

    def __init__(self, db: database.Database, writer: Writer) -> None:
        self._db = db
        self._writer = writer

    async def create_list(self, write: Write[values.PriceList, M], draft: values.PriceListDraft) -> M:
        """INVALID_REQUEST, ALREADY_EXISTS."""

        async def effect(session: database.WriteSession) -> tuple[values.PriceList, Sequence[events.Event]]:
            price_list = domain.new_price_list(draft, now=await common.now(session))
            await price_lists.insert(session, price_list)
            await note(session, write.key, "created", ("price_list", price_list.code), None, price_list)
            return price_list, ()

        return await self._writer.run(write, effect)

    async def update_list(self, write: Write[values.PriceList, M], edit: ListEdit) -> M:
        """NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST."""

        async def effect(session: database.WriteSession) -> tuple[values.PriceList, Sequence[events.Event]]:
            price_list = await price_lists.get(session, edit.code, lock=True)
            if price_list is None:
                raise _no_list()
            now = await common.now(session)
            edited = domain.edit_price_list(price_list, edit.changes, expected_version=edit.expected_version, now=now)
            await price_lists.update(session, edited)
            await note(session, write.key, "updated", ("price_list", edited.code), price_list, edited)
            return edited, ()

        return await self._writer.run(write, effect)

    async def get_list(self, tenant: str, code: str) -> values.PriceList:
        """NOT_FOUND."""
        async with self._db.read(tenant) as session:
            price_list = await price_lists.get(session, code)
        if price_list is None:
            raise _no_list()
        return price_list

    async def page_of_lists(self, tenant: str, query: ListQuery) -> list[values.PriceList]:
        """One more than the limit, when there are more."""
        async with self._db.read(tenant) as session:
            return await price_lists.page(session, valid_at=query.valid_at, after=query.after, limit=query.limit + 1)

    async def put(self, write: Write[values.Price, M], sku: str, draft: values.PriceDraft) -> M:
        """SKU_NOT_FOUND, NOT_FOUND (location or price list), INVALID_REQUEST."""

        async def effect(session: database.WriteSession) -> tuple[values.Price, Sequence[events.Event]]:
            domain.check_price(draft)
            spelling = await store.spelling(session, sku)
            if spelling is None:
                raise stock_errors.SkuNotFound(sku)
            if draft.location_id is not None and not await store.has_location(session, draft.location_id):
                raise errors.NotFound("location")
            await _require_list(session, draft.price_list, restricted=True)
            price = await store.put(session, domain.new_price(draft, price_id=ids.new_uuid(), sku=spelling))
            await note(session, write.key, "set", ("price", spelling), None, price)
            return price, ()

        return await self._writer.run(write, effect)

    async def page(self, tenant: str, query: Query) -> list[values.Price]:
        """One more than the limit, when there are more. SKU_NOT_FOUND, NOT_FOUND (price list)."""
        async with self._db.read(tenant) as session:
            spelling = await store.spelling(session, query.sku)
            if spelling is None:
                raise stock_errors.SkuNotFound(query.sku)
            if query.price_list:
                await _require_list(session, query.price_list, restricted=query.restricted)
            return await store.page(
                session,
                spelling,
                at_location=query.at_location,
                within=query.within,
                price_list=query.price_list,
                restricted=query.restricted,
                valid_at=query.valid_at,
                after=query.after,
                limit=query.limit + 1,
            )

    async def resolve(self, tenant: str, scan: Scan) -> Resolved:
        """What codes stand for at the location now. NOT_FOUND (location or price list)."""
        async with self._db.lane_connection() as connection:
            found = await catalog_search.resolve(
                connection,
                tenant,
                scan.location_id,
                [*scan.codes, *(elements.gtin for elements in scan.scanned if isinstance(elements, gs1.Elements))],
                price_list=scan.price_list,
                restricted=scan.restricted,
            )
        if found.location is None:
            raise errors.NotFound("location")
        if not found.listed:
            raise _no_list()
        of_gtins = iter(found.items[len(scan.codes) :])
        by_gtin = [next(of_gtins) if isinstance(elements, gs1.Elements) else None for elements in scan.scanned]
        return Resolved(
            [item or other for item, other in zip(found.items, by_gtin, strict=False)],
            [elements if item is None else None for item, elements in zip(found.items, scan.scanned, strict=False)],
            found.location,
        )


def _no_list() -> errors.NotFound:
    return errors.NotFound("price list")


async def _require_list(session: common.Session, code: str, *, restricted: bool) -> None:
    """NOT_FOUND when there is no such price list, or none for a caller that restricted ones aren't there for."""
    if code == values.STANDARD:
        return
    price_list = await price_lists.get(session, code)
    if price_list is None or (price_list.restricted and not restricted):
        raise _no_list()
