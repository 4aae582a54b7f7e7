"""Use cases of products and their variants. A product and all that is below it is edited under the product's lock."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_features as features
from services.inventory.domain import catalog_products as domain
from services.inventory.domain import catalog_spelling as spelling
from services.inventory.domain import stock_errors
from services.inventory.handlers.catalog import M, Write, Writer, note
from services.inventory.mapping import catalog_events as announce
from services.inventory.store import catalog as common
from services.inventory.store import catalog_products as store
from services.inventory.store import catalog_search, catalog_words
from services.inventory.store import lots as lot_store
from services.kit import database, errors, events, ids

Drafts = Sequence[values.ProductDraft | errors.Error]
Outcomes = Sequence[values.Product | errors.Error]
ATTEMPTS_MAX = 5  # each time, another import took a key between look-up and insert
SEARCHED = frozenset({"name", "brand", "category", "attributes"})


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
class AxesEdit:
    """New axes of a product, and values of variants: (SKU, axis, value). expected_version 0: whatever it is."""

    product_id: uuid.UUID
    axes: tuple[values.Axis, ...]
    options: Sequence[tuple[str, str, str]]
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which products: below a category, of a make; empty: any. after: the last one before."""

    category: str
    brand: str
    features: features.Wanted
    after: uuid.UUID | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantQuery:
    """Which variants of a product. after: the position of the last one before; -1: from the first."""

    product_id: uuid.UUID
    options: features.Wanted
    features: features.Wanted
    sold_only: bool
    after: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for, in a category or below it; empty: in any."""

    text: str
    category: str
    features: features.Wanted
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

    async def set_axes(self, write: Write[values.Product, M], edit: AxesEdit) -> M:
        """NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST, SKU_NOT_FOUND, ALREADY_EXISTS (options)."""

        async def effect(session: database.WriteSession) -> tuple[values.Product, Sequence[events.Event]]:
            product = await _locked(session, edit.product_id)
            now = await common.now(session)
            edited = domain.set_axes(product, edit.axes, edit.options, expected_version=edit.expected_version, now=now)
            await store.update(session, write.key.tenant, edited, reindex=True)
            return edited, [announce.product_changed(edited)]

        return await self._writer.run(write, effect)

    async def create_variant(
        self, write: Write[values.Variant, M], product_id: uuid.UUID, draft: values.VariantDraft
    ) -> M:
        """NOT_FOUND, INVALID_REQUEST, ALREADY_EXISTS (SKU, barcode or options)."""

        async def effect(session: database.WriteSession) -> tuple[values.Variant, Sequence[events.Event]]:
            checked = domain.check_variant(draft)
            product = await _locked(session, product_id)
            edited = domain.add_variant(product, checked, now=await common.now(session))
            await store.insert_variant(session, write.key.tenant, product, edited.variants[-1])
            await store.update(session, write.key.tenant, edited)
            return edited.variants[-1], [announce.product_changed(edited)]

        return await self._writer.run(write, effect)

    async def update_variant(self, write: Write[values.Variant, M], edit: VariantEdit) -> M:
        """SKU_NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST, ALREADY_EXISTS (barcode or options)."""

        async def effect(session: database.WriteSession) -> tuple[values.Variant, Sequence[events.Event]]:
            product_id = await store.product_of(session, edit.sku)
            if product_id is None:
                raise stock_errors.SkuNotFound(edit.sku)
            if "lot_policy" in edit.changes:
                await lot_store.lock_heads(session)  # before the catalogue's locks, as lanes do
            product = await _locked(session, product_id)
            edited, variant = domain.edit_variant(
                product, edit.sku, edit.changes, expected_version=edit.expected_version, now=await common.now(session)
            )
            await store.update_variant(session, write.key.tenant, edited, variant)
            await store.update(session, write.key.tenant, edited)
            if "lot_policy" in edit.changes:
                await lot_store.resettle(session, lot_store.Of(sku_key=variant.sku_key))
            before = next(each for each in product.variants if each.sku_key == variant.sku_key)
            await note(session, write.key, "updated", ("variant", variant.sku), before, variant)
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
        having = features.query(tenant, query.features)
        async with self._db.read(tenant, snapshot=True) as session:
            return await store.page(
                session,
                category=query.category,
                brand=query.brand,
                having=having,
                after=query.after,
                limit=query.limit + 1,
            )

    async def variants(self, tenant: str, query: VariantQuery) -> list[tuple[int, values.Variant]]:
        """Variants with their positions in the product, one more than the limit when there are more. NOT_FOUND."""
        product = await self.get(tenant, query.product_id)
        found = domain.chosen(product, by_option=query.options, by_feature=query.features, sold_only=query.sold_only)
        return [each for each in found if each[0] > query.after][: query.limit + 1]

    async def search(self, tenant: str, wanted: Search) -> list[values.Match]:
        """The best matches, best first: as typed, then, where these are few, with slips forgiven."""
        within = catalog_search.Within(
            category=wanted.category, features=features.query(tenant, wanted.features), limit=wanted.limit
        )
        async with self._db.read(tenant) as session:
            found = await catalog_search.as_typed(session, codes.search(tenant, wanted.text), within)
            if len(found) >= min(wanted.limit, spelling.ENOUGH_MATCHES) or _is_named(found, wanted.text):
                return found
            asked = spelling.asked(tenant, wanted.text)
            known = await catalog_words.near(session, asked) if asked else []
            guess = spelling.guess(tenant, wanted.text, known)
            nearly = await catalog_search.near(session, guess, within) if guess is not None else []
        seen = {match.variant.sku for match in found}
        return [*found, *(match for match in nearly if match.variant.sku not in seen)][: wanted.limit]


def _is_named(found: Sequence[values.Match], text: str) -> bool:
    """Whether the best match has the very code that was asked for."""
    return bool(found) and codes.names(text, found[0].variant.sku, found[0].variant.barcodes)


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
