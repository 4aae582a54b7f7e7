"""Use cases of bundles: what a SKU consists of is set for all locations at once, and told at each."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from services.inventory import events as announce_stock
from services.inventory.domain import bundles as domain
from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_products, stock_errors
from services.inventory.domain.bundles import Bundle, Component
from services.inventory.domain.levels import Level, fold
from services.inventory.handlers.catalog import M, Write, Writer, note
from services.inventory.mapping import catalog_events as announce
from services.inventory.store import bundle_definitions as store
from services.inventory.store import catalog as common
from services.inventory.store import catalog_products as products
from services.inventory.store import suppliers as variants
from services.kit import database, events


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What a SKU is to consist of; nothing: it is plain. expected_version of the variant, 0: whatever it is."""

    sku: str
    components: tuple[Component, ...]
    expected_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What changes with a definition. changed: it and its owners, as plain SKUs, now; before: as they were."""

    defined: Bundle
    changed: tuple[Bundle, ...]
    before: domain.Bundles
    version: int

    @property
    def key(self) -> str:
        return fold(self.defined.sku)


async def refuse(session: database.WriteSession, skus: Collection[str]) -> None:
    """BUNDLE_HAS_NO_STOCK when one of these is a bundle. None of them becomes one until the end of the transaction."""
    for sku in await store.named(session, {fold(sku) for sku in skus}):
        raise domain.BundleHasNoStock(sku)


class Bundles:
    """Bundles of a tenant."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def set(self, write: Write[values.Variant, M], edit: Edit) -> M:
        """SKU_NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST, SKU_HAS_STOCK."""

        async def effect(session: database.WriteSession) -> tuple[values.Variant, Sequence[events.Event]]:
            product, variant, before = await _edited(session, edit)
            defined = Bundle(variant.sku, tuple(Component(*each) for each in variant.components))
            change = await _checked(session, defined)
            heads = await store.lock_heads(session)
            if defined.components and defined.sku not in change.before and await store.is_stocked(session, change.key):
                raise domain.SkuHasStock(defined.sku)
            await store.keep(session, defined, change.changed, change.version)
            await _check_numbers(session, change)
            told = await _take_over(session, heads, change)
            await products.update_variant(session, write.key.tenant, product, variant)
            await products.update(session, write.key.tenant, product)
            await note(session, write.key, "bundle_set", ("variant", variant.sku), before, variant)
            return variant, [announce.product_changed(product), *told]

        return await self._writer.run(write, effect)


async def _edited(session: database.WriteSession, edit: Edit) -> tuple[values.Product, values.Variant, values.Variant]:
    """The next version of product and variant, locked, and the variant before. SKU_NOT_FOUND, VERSION_MISMATCH."""
    product_id = await products.product_of(session, edit.sku)
    product = await products.get(session, product_id, lock=True) if product_id is not None else None
    if product is None:
        raise stock_errors.SkuNotFound(edit.sku)
    spelled = await variants.spellings(session, [fold(each.sku) for each in edit.components])
    for each in edit.components:
        if fold(each.sku) not in spelled:
            raise stock_errors.SkuNotFound(each.sku)
    components = tuple((spelled[fold(each.sku)], each.quantity) for each in edit.components)
    edited, variant = catalog_products.edit_variant(
        product,
        edit.sku,
        {"components": components},
        expected_version=edit.expected_version,
        now=await common.now(session),
    )
    return edited, variant, next(each for each in product.variants if each.sku_key == variant.sku_key)


async def _checked(session: database.WriteSession, defined: Bundle) -> _Change:
    """What a definition changes, if it may be. INVALID_REQUEST."""
    version = await store.lock(session)
    key = fold(defined.sku)
    known = await store.near(session, key, [fold(each.sku) for each in defined.components])
    if defined.components:
        domain.check_bundle(defined, known, path="")
    above = domain.owners(defined.sku, known)
    after = {name: bundle for name, bundle in known.items() if name != key}
    if defined.components:
        after[key] = defined
    changed = tuple(Bundle(each.sku, domain.plain(each, after), version + 1) for each in (defined, *above))
    return _Change(defined=defined, changed=changed, before=domain.Bundles(known.values()), version=version + 1)


async def _check_numbers(session: database.WriteSession, change: _Change) -> None:
    """INVALID_REQUEST when there would be too many. As it stands after the change."""
    if change.defined.components:
        parts = {fold(part.sku) for bundle in change.changed for part in bundle.components}
        others, users = await store.numbers(session, change.key, parts)
        domain.check_numbers(others, users, path="")


async def _take_over(
    session: database.WriteSession, heads: Sequence[store.Head], change: _Change
) -> list[events.Event]:
    """Puts it in force at all locations, and says so where there is something to say."""
    now = await common.now(session)
    after = change.before.changed(change.changed, change.version)
    places = _Places(after, change, await _levels(session, change, after))
    if change.defined.components:
        places.mention(await store.drop_levels(session, change.key))
    elif change.defined.sku in change.before:
        made = places.make_plain(now)
        await store.make_levels(session, made.sku, places.plain, made.version, now)
    told = {head: levels for head in heads if (levels := places.levels(head.location))}
    await store.advance(session, change.version, {head.location: head.seq + 1 for head in told})
    return [
        announce_stock.bundles_changed(head.location, head.seq + 1, head.epoch, levels, now)
        for head, levels in told.items()
    ]


async def _levels(
    session: database.WriteSession, change: _Change, after: domain.Bundles
) -> dict[uuid.UUID, dict[str, domain.PartLevel]]:
    """What locations have of all that the changed bundles consist of, or consisted of."""
    parts = {part.key for each in change.changed for of in (change.before, after) for part in of.parts(each.sku)}
    return await store.levels(session, parts)


class _Places:
    """What is to be said at each location: of the changed bundles, wherever it has, or had, something of them."""

    def __init__(
        self, after: domain.Bundles, change: _Change, found: Mapping[uuid.UUID, dict[str, domain.PartLevel]]
    ) -> None:
        self._after = after
        self._change = change
        self._found = dict(found)
        self._again: Level | None = None
        self.plain: list[uuid.UUID] = []
        self.mentioned = set(found)

    def mention(self, locations: Collection[uuid.UUID]) -> None:
        """Says it at these too."""
        self.mentioned.update(locations)

    def make_plain(self, now: dt.datetime) -> Level:
        """The level that the SKU has from now on, where it was to be had as a bundle; there are none of it yet."""
        change = self._change
        of_it = {part.key for part in change.before.parts(change.defined.sku)}
        self.plain = [location for location, found in self._found.items() if of_it & found.keys()]
        level = Level(change.defined.sku, version=change.version << domain.VERSION_BITS, updated_at=now)
        for location in self.plain:
            self._found[location][change.key] = domain.PartLevel(1, 0, level.version, now)
        self._again = level
        return level

    def levels(self, location: uuid.UUID) -> list[Level | domain.BundleLevel]:
        """The new levels there."""
        if location not in self.mentioned:
            return []
        found = self._found.get(location, {})
        bundles = [fold(each.sku) for each in self._change.changed if each.components]
        plain = [self._again] if self._again is not None and location in self.plain else []
        return [*plain, *(self._after.level(key, found) for key in bundles)]
