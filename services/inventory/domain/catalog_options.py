"""By what the variants of a product differ: its axes, and one value on each for every variant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from services.inventory.domain import catalog
from services.inventory.domain import catalog_codes as codes

AXES_MAX = 10  # as the contract has it


def check_axes(axes: Sequence[catalog.Axis], wrong: catalog.Violations) -> None:
    """Adds what is wrong with axes, below the field `axes`."""
    if len(axes) > AXES_MAX:
        wrong.add("axes", f"a product has at most {AXES_MAX} axes")
    for index in catalog.duplicates([codes.folded(axis.name) for axis in axes]):
        wrong.add(f"axes[{index}].name", "is there twice")
    for index, axis in enumerate(axes):
        _check_axis(axis, wrong, f"axes[{index}].")


def _check_axis(axis: catalog.Axis, wrong: catalog.Violations, path: str) -> None:
    if any("\0" in text for text in (axis.name, axis.default, *axis.values)):
        wrong.add(path.rstrip("."), "has a NUL character")
    if not codes.folded(axis.name) or not all(map(codes.folded, axis.values)):
        wrong.add(path.rstrip("."), "has a name or a value that is blank")
    for index in catalog.duplicates([codes.folded(value) for value in axis.values]):
        wrong.add(f"{path}values[{index}]", "is there twice")
    if axis.default and _spelled(axis, axis.default) is None:
        wrong.add(f"{path}default_value", "is not one of the values")


def axes_of(variants: Iterable[catalog.VariantDraft]) -> tuple[catalog.Axis, ...]:
    """The axes that the options of variants name, in the order they appear; any value is allowed."""
    names: dict[str, str] = {}
    for variant in variants:
        for axis, _ in variant.options:
            names.setdefault(codes.folded(axis), axis)
    return tuple(catalog.Axis(name) for name in names.values())


def _spelled(axis: catalog.Axis, value: str) -> str | None:
    """The value as the axis spells it; None when it isn't allowed."""
    if not axis.values:
        return value if codes.folded(value) else None
    key = codes.folded(value)
    return next((allowed for allowed in axis.values if codes.folded(allowed) == key), None)


def fit(axes: Sequence[catalog.Axis], options: catalog.Options) -> tuple[catalog.Options, list[str]]:
    """Options as they are kept: one an axis, in their order and spelling; and what is wrong with them, in words."""
    given = {codes.folded(axis): value for axis, value in options}
    known = {codes.folded(axis.name) for axis in axes}
    wrong = [f"{axis} is not an axis of the product" for axis, _ in options if codes.folded(axis) not in known]
    fitted = []
    for axis in axes:
        value = given.get(codes.folded(axis.name)) or axis.default
        spelled = _spelled(axis, value)
        if spelled is not None:
            fitted.append((axis.name, spelled))
        elif value:
            wrong.append(f"{value} is not a value of the axis {axis.name}")
        else:
            wrong.append(f"a value of the axis {axis.name} is missing")
    return tuple(fitted), wrong


def combination(options: catalog.Options) -> tuple[str, ...]:
    """What the options of two variants of a product are compared by."""
    return tuple(codes.folded(value) for _, value in options)


def same(variants: Sequence[catalog.VariantDraft]) -> Iterator[tuple[int, str]]:
    """Positions of variants that have the options of one before them, and the SKU of that. Without axes, none has."""
    seen: dict[tuple[str, ...], str] = {}
    for index, variant in enumerate(variants):
        if variant.options and (earlier := seen.setdefault(combination(variant.options), variant.sku)) != variant.sku:
            yield index, earlier
