"""What may be a bundle, and what is said of bundles that are short."""

from __future__ import annotations

import uuid

import pytest

from services.inventory.domain import bundles as values
from services.inventory.domain import sourcing
from services.inventory.domain.bundles import Bundle, Bundles, Component, ShortUnits, Units
from services.inventory.domain.sourcing.values import Candidate, Line, Plan, Request, Rule, Splitting
from services.kit import errors


def a_bundle(sku: str, **components: int) -> Bundle:
    return Bundle(sku, tuple(Component(key, quantity) for key, quantity in components.items()))


def known(*bundles: Bundle) -> dict[str, Bundle]:
    return {bundle.sku.lower(): bundle for bundle in bundles}


def violations(bundle: Bundle, *others: Bundle) -> list[tuple[str, str]]:
    with pytest.raises(errors.InvalidRequest) as refused:
        values.check_bundle(bundle, known(*others))
    return [(violation.field, violation.description) for violation in refused.value.violations]


# --- what may be a bundle ---


def test_a_bundle_may_contain_a_bundle_of_plain_skus() -> None:
    values.check_bundle(a_bundle("Gift", SET=1, box=1), known(a_bundle("Set", red=2, blue=1)))


def test_a_bundle_of_bundles_can_not_be_contained() -> None:
    others = a_bundle("set", red=1), a_bundle("gift", set=1, box=1)
    assert violations(a_bundle("hamper", wine=1, gift=1), *others) == [
        ("bundle.components[1].sku", "is a bundle of bundles, which no bundle contains")
    ]


def test_a_contained_bundle_can_not_take_in_a_bundle() -> None:
    others = a_bundle("gift", set=1), a_bundle("set", red=1), a_bundle("duo", blue=2)
    assert violations(a_bundle("set", red=1, duo=1), *others) == [
        ("bundle.components[1].sku", "is a bundle, and this one is part of another bundle")
    ]


def test_a_plain_sku_two_levels_down_can_not_become_a_bundle() -> None:
    others = a_bundle("gift", set=1), a_bundle("set", red=1)
    assert violations(a_bundle("RED", pigment=1), *others) == [
        ("bundle.sku", "is part of a bundle that another bundle contains")
    ]
    values.check_bundle(a_bundle("RED", pigment=1), known(others[1]))


def test_a_bundle_never_contains_itself() -> None:
    assert violations(a_bundle("Set", red=1, SET=1)) == [("bundle.components[1].sku", "a bundle can't contain itself")]
    assert violations(a_bundle("set", gift=1), a_bundle("gift", SET=1))[0] == (
        "bundle.components[0].sku",
        "contains this bundle",
    )


def test_what_is_wrong_with_components_is_said_at_once() -> None:
    bundle = Bundle("set", (Component("red", 0), Component("RED", 1), Component("blue", values.QUANTITY_MAX + 1)))
    assert [field for field, _ in violations(bundle)] == [
        "bundle.components[1].sku",
        "bundle.components[0].quantity",
        "bundle.components[2].quantity",
    ]
    assert violations(Bundle("set", ())) == [("bundle.components", "a bundle has 1 to 50 components")]
    many = {f"sku-{n}": 1 for n in range(values.COMPONENTS_MAX + 1)}
    assert violations(a_bundle("set", **many)) == [("bundle.components", "a bundle has 1 to 50 components")]


def test_what_a_bundle_consists_of_in_the_end_is_bounded_for_its_owners_too() -> None:
    wide = [a_bundle(f"set-{n}", **{f"sku-{n}-{each}": 1 for each in range(50)}) for n in range(2)]
    gift = a_bundle("gift", **{"set-0": 1, "set-1": 1})
    values.check_bundle(gift, known(*wide))
    assert violations(a_bundle("gift", **{"set-0": 1, "set-1": 1, "box": 1}), *wide) == [
        ("bundle.components", "gift would consist of more than 100 plain SKUs")
    ]
    smaller = [wide[0], a_bundle("set-1", one=1), a_bundle("gift", **{"set-0": 1, "set-1": 1, "box": 1})]
    assert violations(wide[1], *smaller) == [("bundle.components", "gift would consist of more than 100 plain SKUs")]


def test_a_bundle_takes_at_most_10_000_units_of_a_plain_sku() -> None:
    outer = a_bundle("gift", set=100, red=1)
    values.check_bundle(outer, known(a_bundle("set", red=99)))
    too_many = [("bundle.components", "gift would take more than 10000 units of red")]
    assert violations(outer, a_bundle("set", red=100)) == too_many
    assert violations(a_bundle("set", red=100), outer) == too_many


# --- what is said of them ---

SETS = Bundles([a_bundle("Set", Red=2, Blue=1), a_bundle("Gift", SET=1, box=1, red=1)])


def test_a_nested_bundle_consists_of_plain_skus_each_once() -> None:
    assert SETS.parts("GIFT") == (Units("red", "Red", 3), Units("blue", "Blue", 1), Units("box", "box", 1))
    assert SETS.parts("Red") == (Units("red", "Red", 1),)


@pytest.mark.parametrize(("red", "blue", "expected"), [(5, 9, 2), (5, 1, 1), (1, 9, 0), (-3, 9, 0)])
def test_a_bundle_is_available_as_often_as_its_scarcest_component_allows(red: int, blue: int, expected: int) -> None:
    assert SETS.available("SET", {"red": red, "blue": blue}) == expected


def test_a_component_that_a_location_never_had_makes_a_bundle_unavailable() -> None:
    assert SETS.available("Set", {"red": 9}) == 0


def test_demands_are_summed_over_lines_that_share_a_component() -> None:
    lines = [("gift", 1), ("RED", 4), ("set", 2)]
    assert SETS.demands(lines) == (Units("blue", "Blue", 3), Units("box", "box", 1), Units("red", "Red", 11))


def test_a_shortage_names_the_lines_and_how_many_could_be_had_beside_the_others() -> None:
    shortage = SETS.shortage([("set", 3), ("red", 2), ("box", 1)], {"red": 7, "blue": 9, "box": 1})
    assert shortage == values.BundleShortage(
        components=(ShortUnits("Red", 8, 7),),
        lines=(
            values.ShortRequest(0, "set", 3, available=2, alone=3, components=("Red",)),
            values.ShortRequest(1, "red", 2, available=1, alone=7, components=("Red",)),
        ),
    )


def test_a_change_of_a_component_affects_the_bundles_around_it() -> None:
    assert SETS.affected(["blue"]) == ["gift", "set"]
    assert SETS.affected(["box"]) == ["gift"]
    assert SETS.affected(["gift", "wine"]) == []


def test_bundles_that_share_a_component_are_sourced_without_overselling_it() -> None:
    parts = SETS.explode([("gift", 1), ("set", 1)])
    lines = tuple(Line(part.ref, part.key, part.quantity, group=f"line {part.ref}") for part in parts)
    first = Candidate(uuid.UUID(int=1), 1, {"red": 4, "blue": 2, "box": 1}, 0)
    second = Candidate(uuid.UUID(int=2), 1, {"red": 2, "blue": 1}, 5)
    plan = sourcing.choose(Request(lines, (first, second), Rule.NEAREST, Splitting.UNITS))
    assert isinstance(plan, Plan)
    assert [(p.location_id, {(part.ref, part.key) for part in p.portions}) for p in plan.parcels] == [
        (first.id, {(0, "red"), (0, "blue"), (0, "box")}),
        (second.id, {(1, "red"), (1, "blue")}),
    ]
