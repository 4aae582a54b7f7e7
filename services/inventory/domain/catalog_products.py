"""What products and variants must be, which of them may be made, and how they are edited."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.inventory.domain import catalog, catalog_features, stock_errors
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_options as options
from services.kit import errors

VARIANTS_MAX = 200  # as the contract has it: a product is read and announced whole


def _check_variant(draft: catalog.VariantDraft, wrong: catalog.Violations, path: str) -> catalog.VariantDraft:
    if "\0" in draft.name or "\0" in draft.tax_category or any("\0" in each for pair in draft.options for each in pair):
        wrong.add(path.rstrip("."), "has a NUL character")
    for index in catalog.duplicates([codes.folded(axis) for axis, _ in draft.options]):
        wrong.add(f"{path}options[{index}].axis", "has one value")
    catalog_features.check_attributes(draft.attributes, wrong, path)
    if not draft.barcodes:
        return draft
    for index, text in enumerate(draft.barcodes):
        if text.isdigit() and not codes.is_gtin(text):
            wrong.add(f"{path}barcodes[{index}]", "is not a GTIN of 8, 12, 13 or 14 digits with a right check digit")
    barcodes = tuple(codes.barcode_key(text) for text in draft.barcodes)
    for index in catalog.duplicates(barcodes):
        wrong.add(f"{path}barcodes[{index}]", "is there twice")
    return draft if barcodes == draft.barcodes else dataclasses.replace(draft, barcodes=barcodes)


def check_variant(draft: catalog.VariantDraft, path: str = "variant") -> catalog.VariantDraft:
    """A variant with its barcodes as they are kept. INVALID_REQUEST names fields below path."""
    wrong = catalog.Violations(path)
    checked = _check_variant(draft, wrong, "")
    wrong.refuse()
    return checked


def check_product(draft: catalog.ProductDraft, path: str = "product") -> catalog.ProductDraft:
    """A product with its code and its variants as they are kept. INVALID_REQUEST names fields below path."""
    wrong = catalog.Violations(path)
    wrong.check_texts(name=draft.name, description=draft.description, brand=draft.brand, category=draft.category)
    catalog_features.check_attributes(draft.attributes, wrong)
    if not 0 < len(draft.variants) <= VARIANTS_MAX:
        wrong.add("variants", f"a product has 1 to {VARIANTS_MAX} variants")
    variants = tuple(_check_variant(each, wrong, f"variants[{i}].") for i, each in enumerate(draft.variants))
    for index in catalog.duplicates([codes.sku_key(each.sku) for each in variants]):
        wrong.add(f"variants[{index}].sku", "is there twice")
    for owner in _shared_barcodes(variants):
        wrong.add(f"variants[{owner}].barcodes", "one is another variant's too")
    axes = draft.axes or options.axes_of(variants)
    options.check_axes(axes, wrong)
    wrong.refuse()
    fitted = _fit_all(axes, variants, wrong)
    wrong.refuse()
    return dataclasses.replace(draft, code=draft.code or fitted[0].sku, axes=axes, variants=fitted)


def _fit_all(
    axes: Sequence[catalog.Axis], variants: Sequence[catalog.VariantDraft], wrong: catalog.Violations
) -> tuple[catalog.VariantDraft, ...]:
    """Variants with their options as they are kept; adds what doesn't fit and what is there twice."""
    fitted = []
    for index, variant in enumerate(variants):
        fit, problems = options.fit(axes, variant.options)
        for problem in problems:
            wrong.add(f"variants[{index}].options", problem)
        fitted.append(variant if fit == variant.options else dataclasses.replace(variant, options=fit))
    for index, earlier in options.same(fitted):
        wrong.add(f"variants[{index}].options", f"are those of {earlier} too")
    return tuple(fitted)


def _shared_barcodes(variants: Sequence[catalog.VariantDraft]) -> Iterator[int]:
    """Positions of variants that have a barcode of one before them."""
    seen: set[str] = set()
    for index, variant in enumerate(variants):
        if not seen.isdisjoint(variant.barcodes):
            yield index
        seen.update(variant.barcodes)


@dataclass(frozen=True, slots=True)
class Taken:
    """Keys that are in use: product codes, SKUs (both folded) and barcodes."""

    codes: frozenset[str] = frozenset()
    skus: frozenset[str] = frozenset()
    barcodes: frozenset[str] = frozenset()


def admit(
    drafts: Sequence[catalog.ProductDraft | errors.Error],
    taken: Taken,
    *,
    new_ids: Iterable[uuid.UUID],
    now: dt.datetime,
) -> list[catalog.Product | errors.Error]:
    """Decides on checked drafts in order: a product, or ALREADY_EXISTS for what is taken, by an earlier one too."""
    used = {"code": set(taken.codes), "SKU": set(taken.skus), "barcode": set(taken.barcodes)}
    results: list[catalog.Product | errors.Error] = []
    for draft, product_id in zip(drafts, new_ids, strict=False):
        if isinstance(draft, errors.Error):
            results.append(draft)
            continue
        wanted = [("code", codes.sku_key(draft.code), draft.code)]
        wanted += [("SKU", codes.sku_key(each.sku), each.sku) for each in draft.variants]
        wanted += [("barcode", barcode, barcode) for each in draft.variants for barcode in each.barcodes]
        clash = next(((kind, text) for kind, key, text in wanted if key in used[kind]), None)
        if clash is not None:
            results.append(already_exists(*clash))
            continue
        for kind, key, _ in wanted:
            used[kind].add(key)
        results.append(_new_product(draft, product_id, now))
    return results


def already_exists(kind: str, text: str) -> errors.AlreadyExists:
    """What a caller hears whose code, SKU or barcode is taken: always one of the own tenant."""
    return errors.AlreadyExists(kind, f"the {kind} {text} is taken")


def _refuse_same_options(variants: Sequence[catalog.VariantDraft]) -> None:
    """ALREADY_EXISTS names the first two variants that have the same combination of options."""
    for index, earlier in options.same(variants):
        raise errors.AlreadyExists("options", f"{variants[index].sku} has the same options as {earlier}")


def _refuse_misfit(problems: Sequence[str]) -> None:
    wrong = catalog.Violations("variant")
    for problem in problems:
        wrong.add("options", problem)
    wrong.refuse()


def _new_product(draft: catalog.ProductDraft, product_id: uuid.UUID, now: dt.datetime) -> catalog.Product:
    return catalog.Product(
        id=product_id,
        code=draft.code,
        name=draft.name,
        description=draft.description,
        brand=draft.brand,
        category=codes.category_path(draft.category),
        axes=draft.axes,
        attributes=draft.attributes,
        variants=tuple(new_variant(each, product_id) for each in draft.variants),
        version=1,
        created_at=now,
        updated_at=now,
    )


def new_variant(draft: catalog.VariantDraft, product_id: uuid.UUID) -> catalog.Variant:
    """The first version of a checked variant."""
    return catalog.Variant(
        sku=draft.sku,
        name=draft.name,
        options=draft.options,
        barcodes=draft.barcodes,
        stock_unit=draft.stock_unit,
        package=draft.package,
        lead_time_days=draft.lead_time_days,
        tax_category=draft.tax_category,
        discontinued=draft.discontinued,
        attributes=draft.attributes,
        lot_policy=draft.lot_policy,
        product_id=product_id,
        version=1,
    )


def edit_product(
    product: catalog.Product, changes: Mapping[str, Any], *, expected_version: int, now: dt.datetime
) -> catalog.Product:
    """The next version of a product. VERSION_MISMATCH, INVALID_REQUEST."""
    catalog.check_version(product.version, expected_version)
    wrong = catalog.Violations("product")
    wrong.check_texts(**{field: text for field, text in changes.items() if isinstance(text, str)})
    catalog_features.check_attributes(changes.get("attributes", ()), wrong)
    wrong.refuse()
    edited = dataclasses.replace(product, **changes)
    category = codes.category_path(edited.category)
    return dataclasses.replace(edited, category=category, version=product.version + 1, updated_at=now)


def add_variant(product: catalog.Product, draft: catalog.VariantDraft, *, now: dt.datetime) -> catalog.Product:
    """The next version of a product, with one more variant.

    INVALID_REQUEST when it is full or the options don't fit its axes, ALREADY_EXISTS when another variant has them.
    """
    if len(product.variants) >= VARIANTS_MAX:
        violation = errors.FieldViolation("product_id", f"a product has at most {VARIANTS_MAX} variants")
        raise errors.InvalidRequest(violations=[violation])
    fitted, problems = options.fit(product.axes, draft.options)
    _refuse_misfit(problems)
    variants = (*product.variants, new_variant(dataclasses.replace(draft, options=fitted), product.id))
    _refuse_same_options(variants)
    return dataclasses.replace(product, variants=variants, version=product.version + 1, updated_at=now)


def edit_variant(
    product: catalog.Product, sku: str, changes: Mapping[str, Any], *, expected_version: int, now: dt.datetime
) -> tuple[catalog.Product, catalog.Variant]:
    """The next version of a product and of one of its variants.

    SKU_NOT_FOUND, VERSION_MISMATCH, INVALID_REQUEST, ALREADY_EXISTS (options).
    """
    key = codes.sku_key(sku)
    old = next((each for each in product.variants if each.sku_key == key), None)
    if old is None:
        raise stock_errors.SkuNotFound(sku)
    catalog.check_version(old.version, expected_version)
    edited = dataclasses.replace(old, **changes, version=old.version + 1)
    wrong = catalog.Violations("variant")
    new = dataclasses.replace(edited, barcodes=_check_variant(edited, wrong, "").barcodes)
    wrong.refuse()
    if "options" in changes:
        fitted, problems = options.fit(product.axes, new.options)
        _refuse_misfit(problems)
        new = dataclasses.replace(new, options=fitted)
    variants = tuple(new if each is old else each for each in product.variants)
    if "options" in changes:
        _refuse_same_options(variants)
    return dataclasses.replace(product, variants=variants, version=product.version + 1, updated_at=now), new


def set_axes(
    product: catalog.Product,
    axes: tuple[catalog.Axis, ...],
    given: Sequence[tuple[str, str, str]],
    *,
    expected_version: int,
    now: dt.datetime,
) -> catalog.Product:
    """The next version of a product and of the variants whose options change. given: (SKU, axis, value).

    VERSION_MISMATCH, INVALID_REQUEST, SKU_NOT_FOUND, ALREADY_EXISTS (options).
    """
    catalog.check_version(product.version, expected_version)
    wrong = catalog.Violations("")
    options.check_axes(axes, wrong)
    for index in catalog.duplicates([(codes.sku_key(sku), codes.folded(axis)) for sku, axis, _ in given]):
        wrong.add(f"variant_options[{index}]", "is there twice")
    wrong.refuse()
    by_sku = _by_sku(product, given)
    variants = []
    for variant in product.variants:
        new = _moved(variant, axes, by_sku.get(variant.sku_key, ()))
        fitted, problems = options.fit(axes, new)
        for problem in problems:
            wrong.add("axes", f"{variant.sku}: {problem}")
        changed = dataclasses.replace(variant, options=fitted, version=variant.version + 1)
        variants.append(variant if fitted == variant.options else changed)
    wrong.refuse()
    _refuse_same_options(variants)
    return dataclasses.replace(
        product, axes=axes, variants=tuple(variants), version=product.version + 1, updated_at=now
    )


def _by_sku(product: catalog.Product, given: Sequence[tuple[str, str, str]]) -> Mapping[str, catalog.Options]:
    """Values by folded SKU. SKU_NOT_FOUND for one that is not of the product."""
    found: dict[str, catalog.Options] = {variant.sku_key: () for variant in product.variants}
    for sku, axis, value in given:
        if codes.sku_key(sku) not in found:
            raise stock_errors.SkuNotFound(sku)
        found[codes.sku_key(sku)] += ((axis, value),)
    return found


def _moved(variant: catalog.Variant, axes: Sequence[catalog.Axis], given: catalog.Options) -> catalog.Options:
    """What a variant has on axes that stay, and what it is given instead."""
    stay = {codes.folded(axis.name) for axis in axes} - {codes.folded(axis) for axis, _ in given}
    return (*(pair for pair in variant.options if codes.folded(pair[0]) in stay), *given)


def chosen(
    product: catalog.Product,
    *,
    by_option: catalog_features.Wanted,
    by_feature: catalog_features.Wanted,
    sold_only: bool,
) -> list[tuple[int, catalog.Variant]]:
    """The variants of a product that have what is asked for, each with its position."""
    return [
        (position, variant)
        for position, variant in enumerate(product.variants)
        if not (sold_only and variant.discontinued)
        and catalog_features.has({catalog_features.feature(*pair) for pair in variant.options}, by_option)
        and catalog_features.has(catalog_features.features(product.attributes, variant), by_feature)
    ]
