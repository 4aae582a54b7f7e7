"""One row of a file of products: the product and variant are made or edited, and prices set, in one transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_prices, stock_errors
from services.inventory.domain import catalog_products as domain
from services.inventory.handlers.catalog import Write, Writer
from services.inventory.mapping import catalog_events as announce
from services.inventory.store import bulk as bulk_store
from services.inventory.store import catalog as common
from services.inventory.store import catalog_prices as price_store
from services.inventory.store import catalog_products as store
from services.kit import database, errors, events, ids

M = TypeVar("M", bound=Message)
PRODUCT_FIELDS = ("name", "description", "brand", "category")
VARIANT_FIELDS = (
    "name", "options", "barcodes", "stock_unit", "package", "lead_time_days", "tax_category", "discontinued",
)  # fmt: skip
SEARCHED = frozenset({"name", "brand", "category"})


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What a row says: a product with one variant, and its prices. given: the fields whose columns the file has."""

    product: values.ProductDraft
    product_given: Collection[str]
    variant_given: Collection[str]
    prices: Sequence[values.PriceDraft]


async def put(writer: Writer, write: Write[None, M], row: Row) -> M:
    """Makes what is missing, edits what differs, leaves alone what is the same. INVALID_REQUEST, ALREADY_EXISTS."""

    async def effect(session: database.WriteSession) -> tuple[None, Sequence[events.Event]]:
        draft = domain.check_product(row.product)
        for price in row.prices:
            catalog_prices.check_price(price, "prices")
        product_id = await store.product_of(session, draft.variants[0].sku)
        if product_id is None and row.product.code:
            product_id = await bulk_store.product_by_code(session, codes.sku_key(draft.code))
        before = None if product_id is None else await store.get(session, product_id, lock=True)
        after = await _make(session, write.key.tenant, draft) if before is None else before
        if before is not None:
            after = await _edit(session, write.key.tenant, before, draft, row)
        await _set_prices(session, draft.variants[0].sku, row.prices)
        return None, [] if after is before else [announce.product_changed(after)]

    return await writer.run(write, effect)


async def _make(session: database.WriteSession, tenant: str, draft: values.ProductDraft) -> values.Product:
    taken = await store.taken(session, [draft])
    [outcome] = domain.admit([draft], taken, new_ids=[ids.new_uuid()], now=await common.now(session))
    if isinstance(outcome, errors.Error):
        raise outcome
    if not await store.insert(session, tenant, [outcome]):
        raise errors.Conflict
    return outcome


async def _edit(
    session: database.WriteSession, tenant: str, before: values.Product, draft: values.ProductDraft, row: Row
) -> values.Product:
    """The product after the row; `before` itself when nothing differs."""
    now, wanted = await common.now(session), draft.variants[0]
    code_given = "code" in row.product_given and row.product.code
    if code_given and codes.sku_key(before.code) != codes.sku_key(draft.code):
        raise domain.already_exists("SKU", f"{wanted.sku} (of product {before.code})")
    changes = _differing(before, draft, [name for name in PRODUCT_FIELDS if name in row.product_given])
    old = next((each for each in before.variants if each.sku_key == codes.sku_key(wanted.sku)), None)
    edited, variant = before, None
    if changes:
        edited = domain.edit_product(edited, changes, expected_version=0, now=now)
    if old is None:
        edited = domain.add_variant(edited, wanted, now=now)
        await store.insert_variant(
            session, tenant, dataclasses.replace(edited, variants=before.variants), edited.variants[-1]
        )
    elif others := _differing(old, wanted, [name for name in VARIANT_FIELDS if name in row.variant_given]):
        if "stock_unit" in others:
            raise errors.InvalidRequest(f"stock_unit: that of {old.sku} never changes")
        edited, variant = domain.edit_variant(edited, old.sku, others, expected_version=0, now=now)
        await store.update_variant(session, tenant, edited, variant)
    if edited is before:
        return before
    edited = dataclasses.replace(edited, version=before.version + 1)  # one event a version, whatever a row changes
    await store.update(session, tenant, edited, reindex=not SEARCHED.isdisjoint(changes))
    return edited


def _differing(old: Any, new: Any, fields: Sequence[str]) -> Mapping[str, Any]:
    def kept(name: str, value: Any) -> Any:
        return codes.category_path(value) if name == "category" else value

    return {name: getattr(new, name) for name in fields if kept(name, getattr(new, name)) != getattr(old, name)}


async def _set_prices(session: database.WriteSession, sku: str, prices: Sequence[values.PriceDraft]) -> None:
    """Prices that differ from those that hold now hold from now on."""
    spelling = await price_store.spelling(session, sku)
    if spelling is None:
        raise stock_errors.SkuNotFound(sku)
    held = dict((await bulk_store.general_prices(session, [codes.sku_key(sku)])).get(codes.sku_key(sku), ()))
    now = await common.now(session)
    for draft in prices:
        if held.get(draft.currency_code) != draft.minor_units:
            dated = dataclasses.replace(draft, valid_from=now if draft.currency_code in held else None)
            await price_store.put(session, catalog_prices.new_price(dated, price_id=ids.new_uuid(), sku=spelling))
