"""Bundles: SKUs that are sold as one and stocked as their components (INV-3). Pure: values in, values out.

A bundle has no stock of its own. It may contain a bundle of plain SKUs, and no deeper: every promise about a bundle is
then a sum over a short list of plain SKUs, which is what is held, sold and watched. Stock reaches a component over
several lines of a request (two bundles that share it, or it by itself), so demands are summed before anything is
compared with what is available.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.inventory.domain import catalog
from services.inventory.domain.levels import Incoming, ShortUnits, fold
from services.kit import errors

COMPONENTS_MAX = 50
"""Of a bundle, as defined: what a person assembles from a list."""
PARTS_MAX = 100
"""Of a bundle, plain SKUs in the end: a request's lines times this is what its lane has to lock."""
QUANTITY_MAX = 10_000
"""Of a component in a bundle, and of a plain SKU in the end: times any quantity of the contract it is far from 2^63."""
RESERVED_MAX = 1_000
"""Of a reservation, plain SKUs at a location: what it moves has to fit in an event."""
USERS_MAX = 100
"""Bundles that a plain SKU is in, at any depth: each of its changes tells as many levels."""
BUNDLES_MAX = 10_000
"""Of a tenant: every process keeps in mind what they consist of."""
VERSION_BITS = 40
"""Of a level's version, for the sum of its components' versions; above them stands the definition's."""


class BundleHasNoStock(errors.Error):
    """A bundle has no stock of its own: its components do."""

    reason = "BUNDLE_HAS_NO_STOCK"

    def __init__(self, sku: str) -> None:
        super().__init__(metadata={"sku": sku})


class SkuHasStock(errors.Error):
    """The SKU has stock, expected deliveries or running documents, so it can't become a bundle."""

    reason = "SKU_HAS_STOCK"

    def __init__(self, sku: str) -> None:
        super().__init__(metadata={"sku": sku})


@dataclass(frozen=True, slots=True)
class Component:
    """So many of a SKU in one bundle."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """A SKU and what it consists of; nothing: it is plain. version: of the tenant's definitions, when it was set."""

    sku: str
    components: tuple[Component, ...]
    version: int = 0


class Units(NamedTuple):
    """Units of a plain SKU. key: the SKU, folded."""

    key: str
    sku: str
    quantity: int


class Part(NamedTuple):
    """What one line of a request asks of one plain SKU. ref: the line's position. key: the SKU, folded."""

    ref: int
    key: str
    sku: str
    quantity: int


class ShortRequest(NamedTuple):
    """A line of a request that can't be had beside the others.

    available: how many could be had if all other lines were had in full. alone: how many if it were the only one.
    components: plain SKUs that are short, and of this line, spelled as where the request first names them.
    """

    ref: int
    sku: str
    requested: int
    available: int
    alone: int
    components: tuple[str, ...]


class PartLevel(NamedTuple):
    """What a location has of a plain SKU, of which `quantity` units are in a bundle. version 0: it never had it."""

    quantity: int
    available: int
    version: int
    updated_at: dt.datetime | None
    incoming: tuple[Incoming, ...] = ()


@dataclass(frozen=True, slots=True)
class BundleLevel:
    """What a location has of a bundle, by what it has of each part. defined: version of the bundle's definition."""

    sku: str
    defined: int
    parts: tuple[PartLevel, ...]

    @property
    def available(self) -> int:
        """Bundles that can be had, at least 0. store/bundles.py has the formula in SQL, and tests hold them equal."""
        return _whole((part.available, part.quantity) for part in self.parts)

    def expected_by(self, at: dt.datetime) -> int:
        """Bundles that can be had when what is to come until then has come."""
        coming = [sum(each.quantity for each in part.incoming if each.eta <= at) for part in self.parts]
        return _whole((p.available + more, p.quantity) for p, more in zip(self.parts, coming, strict=True))

    @property
    def version(self) -> int:
        """Rises with each change of a part and of the definition."""
        # A SKU that was a bundle itself goes on above that one's versions; of those only the changes since then count.
        return (self.defined << VERSION_BITS) + sum(part.version % (1 << VERSION_BITS) for part in self.parts)

    @property
    def updated_at(self) -> dt.datetime | None:
        """When a part last changed."""
        return max((part.updated_at for part in self.parts if part.updated_at is not None), default=None)


def _whole(parts: Iterable[tuple[int, int]]) -> int:
    """Bundles that can be had of (units available, units in one bundle)."""
    return max(0, min(available // quantity for available, quantity in parts))


class BundleShortage(NamedTuple):
    """Plain SKUs of which the lines of a request ask too many together, and the lines that ask for them."""

    components: tuple[ShortUnits, ...]
    lines: tuple[ShortRequest, ...]


def check_bundle(bundle: Bundle, known: Mapping[str, Bundle], path: str = "bundle") -> None:
    """Whether this may be defined, or redefined, beside the known bundles (by folded SKU). INVALID_REQUEST.

    What contains it is looked at as well: a bundle that another contains can't take in a bundle, or grow without end.
    So known has at least what is two steps away: bundles that it names and those that they name; its owners and theirs,
    and the bundles that its owners name.
    """
    wrong = catalog.Violations(path)
    if not 0 < len(bundle.components) <= COMPONENTS_MAX:
        wrong.add("components", f"a bundle has 1 to {COMPONENTS_MAX} components")
    for index in catalog.duplicates([fold(each.sku) for each in bundle.components]):
        wrong.add(f"components[{index}].sku", "is there twice")
    own = fold(bundle.sku)
    owners = _owners(own, known)
    if any(_owners(fold(owner.sku), known) for owner in owners):
        wrong.add("sku", "is part of a bundle that another bundle contains")
    for index, component in enumerate(bundle.components):
        if not 0 < component.quantity <= QUANTITY_MAX:
            wrong.add(f"components[{index}].quantity", f"is not within 1 to {QUANTITY_MAX}")
        if problem := _nesting(own, fold(component.sku), known, contained=bool(owners)):
            wrong.add(f"components[{index}].sku", problem)
    wrong.refuse()  # what is nested too deep, or in itself, can't be taken apart
    for grown in (bundle, *owners):
        parts = _flatten(grown, {**known, own: bundle})
        if len(parts) > PARTS_MAX:
            wrong.add("components", f"{grown.sku} would consist of more than {PARTS_MAX} plain SKUs")
        for part in parts.values():
            if part.quantity > QUANTITY_MAX:
                wrong.add("components", f"{grown.sku} would take more than {QUANTITY_MAX} units of {part.sku}")
    wrong.refuse()


def check_numbers(others: int, users: Mapping[str, int], path: str = "bundle") -> None:
    """Whether there may be one more. INVALID_REQUEST. others: bundles there are; users: those of a plain SKU, by it."""
    wrong = catalog.Violations(path)
    if others >= BUNDLES_MAX:
        wrong.add("sku", f"there are {BUNDLES_MAX} bundles already")
    for key, count in sorted(users.items()):
        if count > USERS_MAX:
            wrong.add("components", f"{key} would be in more than {USERS_MAX} bundles")
    wrong.refuse()


def owners(sku: str, known: Mapping[str, Bundle]) -> list[Bundle]:
    """Bundles that have a SKU among their components."""
    return _owners(fold(sku), known)


def plain(bundle: Bundle, known: Mapping[str, Bundle]) -> tuple[Component, ...]:
    """What it consists of in the end, by folded SKU; known are the bundles that it contains."""
    parts = _flatten(bundle, known)
    return tuple(Component(parts[key].sku, parts[key].quantity) for key in sorted(parts))


def _owners(key: str, known: Mapping[str, Bundle]) -> list[Bundle]:
    """Other bundles that contain a SKU."""
    return [bundle for other, bundle in known.items() if other != key and key in _keys(bundle)]


def _keys(bundle: Bundle) -> list[str]:
    return [fold(component.sku) for component in bundle.components]


def _nesting(own: str, key: str, known: Mapping[str, Bundle], *, contained: bool) -> str:
    """Why a bundle can't have this component; empty when it can."""
    if key == own:
        return "a bundle can't contain itself"
    if key not in known:
        return ""
    inner = _keys(known[key])
    if own in inner:
        return "contains this bundle"
    if any(each in known for each in inner):
        return "is a bundle of bundles, which no bundle contains"
    if contained:
        return "is a bundle, and this one is part of another bundle"
    return ""


def _flatten(bundle: Bundle, known: Mapping[str, Bundle], times: int = 1) -> dict[str, Units]:
    """Plain SKUs of so many bundles, by folded SKU."""
    parts: dict[str, Units] = {}
    for component in bundle.components:
        key, units = fold(component.sku), component.quantity * times
        inner = known.get(key)
        found = _flatten(inner, known, units) if inner else {key: Units(key, component.sku, units)}
        for part in found.values():
            _add(parts, part.key, part.sku, part.quantity)
    return parts


def _add(sums: dict[str, Units], key: str, sku: str, quantity: int) -> None:
    earlier = sums.get(key)
    sums[key] = Units(key, earlier.sku if earlier else sku, quantity + (earlier.quantity if earlier else 0))


class Bundles:
    """Bundles that were checked, taken apart once, and found by what they consist of.

    SKUs are compared folded. A SKU that isn't among the bundles is plain: it consists of itself.
    """

    def __init__(self, bundles: Iterable[Bundle] = (), version: int = 0, others: Bundles | None = None) -> None:
        """version: of the tenant's definitions. others: what there is besides; they aren't taken apart again."""
        known = {fold(bundle.sku): bundle for bundle in bundles}
        self.version = version
        self._known: dict[str, Bundle] = {}
        self._parts: dict[str, tuple[Units, ...]] = {}
        self._users: dict[str, frozenset[str]] = {}
        if others is not None:
            self.__dict__.update({name: dict(of) for name, of in vars(others).items() if name != "version"})
        for key, bundle in known.items():
            self._take(key, bundle, tuple(_flatten(bundle, known).values()))

    def _take(self, key: str, bundle: Bundle, parts: tuple[Units, ...]) -> None:
        for part in self._parts.pop(key, ()):
            self._users[part.key] -= {key}
        self._known.pop(key, None)
        if parts:
            self._known[key], self._parts[key] = bundle, parts
        for part in parts:
            self._users[part.key] = self._users.get(part.key, frozenset()) | {key}

    def changed(self, bundles: Iterable[Bundle], version: int) -> Bundles:
        """These with some defined anew, of plain SKUs; one without components is plain from then on."""
        return Bundles(bundles, version, self)

    def __contains__(self, sku: str) -> bool:
        """Whether a SKU is a bundle."""
        return fold(sku) in self._parts

    def parts(self, sku: str) -> tuple[Units, ...]:
        """Plain SKUs of one unit, each once."""
        key = fold(sku)
        return self._parts.get(key) or (Units(key, sku, 1),)

    def affected(self, keys: Iterable[str]) -> list[str]:
        """Folded SKUs of the bundles that consist, at any depth, of one of these plain SKUs (folded)."""
        return sorted({user for key in keys for user in self._users.get(key, ())})

    def keys(self, lines: Iterable[tuple[str, int]]) -> list[str]:
        """Plain SKUs (folded) that lines (SKU, quantity) ask for."""
        if not self._parts:
            return [fold(sku) for sku, _ in lines]
        return [part.key for sku, _ in lines for part in self.parts(sku)]

    def beside(self, keys: Collection[str]) -> set[str]:
        """What else (folded) the bundles consist of that have one of these plain SKUs (folded)."""
        if not self._users:
            return set()
        return {part.key for user in self.affected(keys) for part in self._parts[user]}.difference(keys)

    def available(self, sku: str, available: Mapping[str, int]) -> int:
        """Units that can be had, from what is available of plain SKUs (by folded SKU); of a bundle at least 0.

        Of a plain SKU it is what was given, which may be below zero: it says how many are owed.
        """
        key = fold(sku)
        if key not in self._parts:
            return available.get(key, 0)
        return self._units(self._parts[key], available)

    def level(self, key: str, levels: Mapping[str, PartLevel]) -> BundleLevel:
        """What a location has of a bundle (folded SKU). levels: of plain SKUs (folded) that it ever had."""
        parts = self._parts[key]
        nothing = PartLevel(1, 0, 0, None)
        found = tuple(levels.get(part.key, nothing)._replace(quantity=part.quantity) for part in parts)
        return BundleLevel(self._known[key].sku, self._known[key].version, found)

    def explode(self, lines: Sequence[tuple[str, int]]) -> list[Part]:
        """What each line (SKU, quantity) asks of plain SKUs, line by line."""
        return [
            Part(ref, part.key, part.sku, part.quantity * quantity)
            for ref, (sku, quantity) in enumerate(lines)
            for part in self.parts(sku)
        ]

    def demands(self, lines: Sequence[tuple[str, int]]) -> tuple[Units, ...]:
        """What the lines ask of plain SKUs together, in the order of keys: the lines of one hold."""
        sums: dict[str, Units] = {}
        for part in self.explode(lines):
            _add(sums, part.key, part.sku, part.quantity)
        return tuple(sums[key] for key in sorted(sums))

    def shortage(self, lines: Sequence[tuple[str, int]], available: Mapping[str, int]) -> BundleShortage | None:
        """What is short when the lines are asked of what is available (by folded SKU); None when nothing is."""
        demands = {demand.key: demand for demand in self.demands(lines)}
        short = {key for key, demand in demands.items() if demand.quantity > available.get(key, 0)}
        if not short:
            return None
        components = tuple(
            ShortUnits(demands[key].sku, demands[key].quantity, max(available.get(key, 0), 0)) for key in sorted(short)
        )
        found = []
        for ref, (sku, quantity) in enumerate(lines):
            parts = self.parts(sku)
            mine = tuple(demands[part.key].sku for part in parts if part.key in short)
            if mine:
                left = {p.key: available.get(p.key, 0) - demands[p.key].quantity + p.quantity * quantity for p in parts}
                beside, alone = self._units(parts, left), self._units(parts, available)
                found.append(ShortRequest(ref, sku, quantity, beside, alone, mine))
        return BundleShortage(components, tuple(found))

    @staticmethod
    def _units(parts: Sequence[Units], available: Mapping[str, int]) -> int:
        return _whole((available.get(part.key, 0), part.quantity) for part in parts)
