"""Use cases of suppliers and their lists."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import stock_errors
from services.inventory.domain import suppliers as domain
from services.inventory.handlers.catalog import M, Write, Writer, note
from services.inventory.store import catalog as common
from services.inventory.store import catalog_prices
from services.inventory.store import suppliers as store
from services.kit import database, errors, events, ids

Read = Callable[[domain.Supplier], Sequence[domain.Line]]
"""How the lines of a list are read, for a supplier. INVALID_REQUEST when none can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """New values of some fields of a supplier. expected_version 0: whatever it is."""

    supplier_id: uuid.UUID
    changes: Mapping[str, Any]
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which suppliers. query: of their code or name; after: the folded code of the last one before."""

    query: str
    inactive: bool
    after: str | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """Which rows of a supplier's list. after: the folded SKU of the last one before."""

    supplier_id: uuid.UUID
    prefix: str
    discontinued: bool
    after: str | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Orders placed in [from_at, until_at). within: only at these locations; None: at all."""

    supplier_id: uuid.UUID
    from_at: dt.datetime
    until_at: dt.datetime
    within: Collection[uuid.UUID] | None


class Suppliers:
    """Suppliers of a tenant (uuid text)."""

    def __init__(self, db: database.Database, writer: Writer) -> None:
        self._db = db
        self._writer = writer

    async def create(self, write: Write[domain.Supplier, M], draft: domain.SupplierDraft) -> M:
        """INVALID_REQUEST, ALREADY_EXISTS (code)."""

        async def effect(session: database.WriteSession) -> tuple[domain.Supplier, Sequence[events.Event]]:
            supplier = domain.new_supplier(draft, supplier_id=ids.new_uuid(), now=await common.now(session))
            await store.insert(session, supplier)
            await note(session, write.key, "created", _named(supplier), None, supplier)
            return supplier, ()

        return await self._writer.run(write, effect)

    async def update(self, write: Write[domain.Supplier, M], edit: Edit) -> M:
        """NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST, ALREADY_EXISTS (code)."""

        async def effect(session: database.WriteSession) -> tuple[domain.Supplier, Sequence[events.Event]]:
            supplier = await found(session, edit.supplier_id, lock=True)
            now = await common.now(session)
            edited = domain.edit_supplier(supplier, edit.changes, expected_version=edit.expected_version, now=now)
            await store.update(session, edited)
            await note(session, write.key, "updated", _named(supplier), supplier, edited)
            return edited, ()

        return await self._writer.run(write, effect)

    async def take_in(self, write: Write[Sequence[domain.Outcome], M], supplier_id: uuid.UUID, read: Read) -> M:
        """Takes a list in, each line by itself. NOT_FOUND, INVALID_REQUEST."""

        async def effect(session: database.WriteSession) -> tuple[Sequence[domain.Outcome], Sequence[events.Event]]:
            supplier = await found(session, supplier_id, lock=True)  # two lists of a supplier, one after the other
            lines = read(supplier)
            keys = {codes.sku_key(line.sku) for line in lines}
            known = await store.rows_of(session, supplier_id, keys)
            outcomes, kept = domain.take_in(lines, known, await store.spellings(session, keys))
            await store.put(session, supplier_id, kept)
            await note(
                session, write.key, "list_taken_in", _named(supplier), None, {"lines": len(lines), "kept": len(kept)}
            )
            return outcomes, ()

        return await self._writer.run(write, effect)

    async def get(self, tenant: str, supplier_id: uuid.UUID) -> domain.Supplier:
        """NOT_FOUND."""
        async with self._db.read(tenant) as session:
            return await found(session, supplier_id)

    async def page(self, tenant: str, query: Query) -> list[domain.Supplier]:
        """One more than the limit, when there are more."""
        async with self._db.read(tenant) as session:
            return await store.page(
                session, query=query.query, inactive=query.inactive, after=query.after, limit=query.limit + 1
            )

    async def list_skus(self, tenant: str, query: ListQuery) -> list[domain.Listed]:
        """One more than the limit, when there are more. NOT_FOUND."""
        async with self._db.read(tenant) as session:
            await found(session, query.supplier_id)
            return await store.list_skus(
                session,
                query.supplier_id,
                prefix=query.prefix,
                discontinued=query.discontinued,
                after=query.after,
                limit=query.limit + 1,
            )

    async def suppliers_of(self, tenant: str, sku: str, *, after: uuid.UUID | None, limit: int) -> list[domain.Listed]:
        """Who delivers a SKU; one more than the limit, when there are more. SKU_NOT_FOUND."""
        async with self._db.read(tenant) as session:
            if await catalog_prices.spelling(session, sku) is None:
                raise stock_errors.SkuNotFound(sku)
            return await store.suppliers_of(session, codes.sku_key(sku), after=after, limit=limit + 1)

    async def performance(self, tenant: str, period: Period) -> Any:
        """A row of sums (store.PERFORMANCE names them). NOT_FOUND."""
        async with self._db.read(tenant) as session:
            await found(session, period.supplier_id)
            return await store.performance(
                session, period.supplier_id, from_at=period.from_at, until_at=period.until_at, within=period.within
            )


def _named(supplier: domain.Supplier) -> tuple[str, str]:
    return "supplier", ids.encode("sup", supplier.id)


async def found(session: common.Session, supplier_id: uuid.UUID, *, lock: bool = False) -> domain.Supplier:
    """The supplier. NOT_FOUND."""
    supplier = await store.get(session, supplier_id, lock=lock)
    if supplier is None:
        raise errors.NotFound("supplier")
    return supplier
