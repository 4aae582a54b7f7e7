"""Use cases of products and their variants. A product and all that is below it is edited under the product's lock."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_products as domain
from services.inventory.domain import stock_errors
from services.inventory.handlers.catalog import M, Write, Writer
from services.inventory.mapping import catalog_events as announce
from services.inventory.store import catalog as common
from services.inventory.store import catalog_products as store
from services.inventory.store import catalog_search
from services.kit import database, errors, events, ids

Drafts = Sequence[values.ProductDraft | errors.Error]
Outcomes = Sequence[values.Product | errors.Error]
ATTEMPTS_MAX = 5  # each time, another import took a key between look-up and insert
SEARCHED = frozenset({"name", "brand", "category"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductEdit:
    """New values of some fields of a product. expected_version 0: whatever it is."""

    product_id: uuid.UUID
    changes: Mapping[str, Any]
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantEdit:
    """New values of some fields of a variant. expected_version 0: whatever it is."""

    sku: str
    changes: Mapping[str, Any]
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which products: below a category, of a make; empty: any. after: the last one before."""

    category: str
    brand: str
    after: uuid.UUID | None
    limit: int


class Products:
    """Products of a tenant (uuid text)."""

    def __init__(self, db: database.Database, writer: Writer) -> None:
        self._db = db
        self._writer = writer

    async def create(self, write: Write[values.Product, M], draft: values.ProductDraft) -> M:
        """INVALID_REQUEST, ALREADY_EXISTS (code, SKU or barcode)."""

        async def effect(session: database.WriteSession) -> tuple[values.Product, Sequence[events.Event]]:
            outcome = (await _create(session, write.key.tenant, [_checked(draft, "product")]))[0]
            if isinstance(outcome, errors.Error):
                raise outcome
            return outcome, [announce.product_changed(outcome)]

        return await self._writer.run(write, effect)

    async def batch_create(self, write: Write[Outcomes, M], drafts: Drafts) -> M:
        """Each by itself; the result holds a product or an error a draft, in order."""

        async def effect(session: database.WriteSession) -> tuple[Outcomes, Sequence[events.Event]]:
            checked = [_checked(draft, "") for draft in drafts]
            outcomes = await _create(session, write.key.tenant, checked)
            made = [outcome for outcome in outcomes if isinstance(outcome, values.Product)]
            return outcomes, [announce.product_changed(product) for product in made]

        return await self._writer.run(write, effect)

    async def update(self, write: Write[values.Product, M], edit: ProductEdit) -> M:
        """NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST."""

        async def effect(session: database.WriteSession) -> tuple[values.Product, Sequence[events.Event]]:
            product = await _locked(session, edit.product_id)
            now = await common.now(session)
            edited = domain.edit_product(product, edit.changes, expected_version=edit.expected_version, now=now)
            await store.update(session, write.key.tenant, edited, reindex=not SEARCHED.isdisjoint(edit.changes))
            return edited, [announce.product_changed(edited)]

        return await self._writer.run(write, effect)

    async def create_variant(
        self, write: Write[values.Variant, M], product_id: uuid.UUID, draft: values.VariantDraft
    ) -> M:
        """NOT_FOUND, INVALID_REQUEST, ALREADY_EXISTS (SKU or barcode)."""

        async def effect(session: database.WriteSession) -> tuple[values.Variant, Sequence[events.Event]]:
            checked = domain.check_variant(draft)
            product = await _locked(session, product_id)
            edited = domain.add_variant(product, checked, now=await common.now(session))
            await store.insert_variant(session, write.key.tenant, product, edited.variants[-1])
            await store.update(session, write.key.tenant, edited)
            return edited.variants[-1], [announce.product_changed(edited)]

        return await self._writer.run(write, effect)

    async def update_variant(self, write: Write[values.Variant, M], edit: VariantEdit) -> M:
        """SKU_NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST, ALREADY_EXISTS (barcode)."""

        async def effect(session: database.WriteSession) -> tuple[values.Variant, Sequence[events.Event]]:
            product_id = await store.product_of(session, edit.sku)
            if product_id is None:
                raise stock_errors.SkuNotFound(edit.sku)
            product = await _locked(session, product_id)
            edited, variant = domain.edit_variant(
                product, edit.sku, edit.changes, expected_version=edit.expected_version, now=await common.now(session)
            )
            await store.update_variant(session, write.key.tenant, edited, variant)
            await store.update(session, write.key.tenant, edited)
            return variant, [announce.product_changed(edited)]

        return await self._writer.run(write, effect)

    async def get(self, tenant: str, product_id: uuid.UUID) -> values.Product:
        """NOT_FOUND."""
        async with self._db.read(tenant, snapshot=True) as session:
            product = await store.get(session, product_id)
        if product is None:
            raise errors.NotFound("product")
        return product

    async def get_variant(self, tenant: str, sku: str) -> values.Variant:
        """SKU_NOT_FOUND."""
        async with self._db.read(tenant) as session:
            variant = await store.get_variant(session, sku)
        if variant is None:
            raise stock_errors.SkuNotFound(sku)
        return variant

    async def page(self, tenant: str, query: Query) -> list[values.Product]:
        """One more than the limit, when there are more."""
        async with self._db.read(tenant, snapshot=True) as session:
            return await store.page(
                session, category=query.category, brand=query.brand, after=query.after, limit=query.limit + 1
            )

    async def search(self, tenant: str, text: str, category: str, limit: int) -> list[values.Match]:
        """The best matches, best first."""
        async with self._db.read(tenant) as session:
            return await catalog_search.search(session, tenant, text, category, limit)


async def _locked(session: database.WriteSession, product_id: uuid.UUID) -> values.Product:
    product = await store.get(session, product_id, lock=True)
    if product is None:
        raise errors.NotFound("product")
    return product


def _checked(draft: values.ProductDraft | errors.Error, path: str) -> values.ProductDraft | errors.Error:
    if isinstance(draft, errors.Error):
        return draft
    try:
        return domain.check_product(draft, path)
    except errors.InvalidRequest as refusal:
        return refusal


async def _create(session: database.WriteSession, tenant: str, checked: Drafts) -> Outcomes:
    """Looks up what is taken, decides, inserts all at once; anew when a concurrent import was first at a key."""
    new_ids = sorted(ids.new_uuid() for _ in checked)
    now = await common.now(session)
    for _ in range(ATTEMPTS_MAX):
        drafts = [draft for draft in checked if isinstance(draft, values.ProductDraft)]
        outcomes = domain.admit(checked, await store.taken(session, drafts), new_ids=new_ids, now=now)
        made = [outcome for outcome in outcomes if isinstance(outcome, values.Product)]
        if not made or await store.insert(session, tenant, made):
            return outcomes
    raise errors.Conflict
