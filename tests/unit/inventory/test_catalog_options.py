"""Axes of products and options of variants: one value an axis, and no combination twice, whatever is edited."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import hypothesis
import pytest
from hypothesis import stateful
from hypothesis import strategies as st

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_features as features
from services.inventory.domain import catalog_options as options
from services.inventory.domain import catalog_products as products
from services.inventory.domain import stock_errors
from services.kit import errors

NOW = dt.datetime(2026, 3, 29, 12, tzinfo=dt.UTC)
SHADE = values.Axis("Shade", ("Red", "Blue"))
SIZE = values.Axis("Size", default="M")


def a_draft(*variants: tuple[str, values.Options], axes: tuple[values.Axis, ...] = ()) -> values.ProductDraft:
    drafts = tuple(values.VariantDraft(sku=sku, options=given) for sku, given in variants)
    return values.ProductDraft(code="P", name="Lipstick", axes=axes, variants=drafts)


def a_product(*variants: tuple[str, values.Options], axes: tuple[values.Axis, ...] = ()) -> values.Product:
    checked = products.check_product(a_draft(*variants, axes=axes))
    made = products.admit([checked], products.Taken(), new_ids=[uuid.UUID(int=9)], now=NOW)[0]
    assert isinstance(made, values.Product)
    return made


def set_axes(product: values.Product, *axes: values.Axis, given: list[tuple[str, str, str]] | None = None) -> Any:
    return products.set_axes(product, axes, given or [], expected_version=0, now=NOW)


def options_of(product: values.Product) -> dict[str, list[str]]:
    return {each.sku: [f"{axis}={value}" for axis, value in each.options] for each in product.variants}


def refused(act: Any) -> list[tuple[str, str]]:
    with pytest.raises(errors.InvalidRequest) as refusal:
        act()
    return [(each.field, each.description) for each in refusal.value.violations]


def test_options_are_kept_in_the_order_and_the_spelling_of_the_axes() -> None:
    product = a_product(("A", (("SIZE", "L"), ("shade", "red"))), ("B", (("shade", "BLUE"),)), axes=(SHADE, SIZE))

    assert options_of(product) == {"A": ["Shade=Red", "Size=L"], "B": ["Shade=Blue", "Size=M"]}


def test_a_product_that_names_no_axes_has_those_of_its_variants() -> None:
    product = a_product(("A", (("shade", "red"), ("size", "L"))), ("B", (("Size", "L"), ("Shade", "blue"))))

    assert product.axes == (values.Axis("shade"), values.Axis("size"))
    assert options_of(product) == {"A": ["shade=red", "size=L"], "B": ["shade=blue", "size=L"]}


def test_variants_of_a_product_without_axes_differ_by_name_only() -> None:
    assert options_of(a_product(("A", ()), ("B", ()))) == {"A": [], "B": []}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ((("shade", "green"),), "green is not a value of the axis Shade"),
        ((), "a value of the axis Shade is missing"),
        ((("shade", "red"), ("cut", "slim")), "cut is not an axis of the product"),
    ],
)
def test_what_does_not_fit_the_axes_is_named(given: values.Options, problem: str) -> None:
    draft = a_draft(("A", (("shade", "red"),)), ("B", given), axes=(SHADE, SIZE))

    found = refused(lambda: products.check_product(draft))

    assert found[0] == ("product.variants[1].options", problem)


def test_two_variants_of_a_new_product_do_not_have_the_same_combination() -> None:
    draft = a_draft(("A", (("shade", "red"), ("size", "m"))), ("B", (("shade", "RED"),)), axes=(SHADE, SIZE))

    assert refused(lambda: products.check_product(draft)) == [
        ("product.variants[1].options", "are those of A too"),
    ]


@pytest.mark.parametrize(
    ("axes", "field"),
    [
        ((values.Axis("a"), values.Axis("A")), "product.axes[1].name"),
        ((values.Axis("a", ("x", "X")),), "product.axes[0].values[1]"),
        ((values.Axis("a", ("x",), "y"),), "product.axes[0].default_value"),
        ((values.Axis(" "),), "product.axes[0]"),
        ((values.Axis("a", ("\0",)),), "product.axes[0]"),
        (tuple(values.Axis(f"a{n}", default="x") for n in range(11)), "product.axes"),
    ],
)
def test_what_is_wrong_with_axes_is_named(axes: tuple[values.Axis, ...], field: str) -> None:
    assert field in [each for each, _ in refused(lambda: products.check_product(a_draft(("A", ()), axes=axes)))]


def test_another_variant_with_the_same_combination_is_refused_by_name() -> None:
    product = a_product(("A", (("shade", "red"),)), ("B", (("shade", "blue"),)), axes=(SHADE,))
    for act in (
        lambda: products.add_variant(product, values.VariantDraft(sku="C", options=(("Shade", "RED"),)), now=NOW),
        lambda: products.edit_variant(product, "B", {"options": (("shade", "red"),)}, expected_version=0, now=NOW),
    ):
        with pytest.raises(errors.AlreadyExists) as refusal:
            act()
        assert refusal.value.metadata == {"resource": "options"}
        assert "A" in str(refusal.value)


def test_an_edit_of_something_else_leaves_options_alone() -> None:
    product = a_product(("A", (("shade", "red"),)), axes=(SHADE,))

    _, variant = products.edit_variant(product, "A", {"name": "x"}, expected_version=0, now=NOW)

    assert variant.options == (("Shade", "Red"),)


def test_an_axis_that_is_added_gives_each_variant_its_value_or_the_default() -> None:
    product = a_product(("A", (("shade", "red"),)), ("B", (("shade", "blue"),)), axes=(SHADE,))

    edited = set_axes(product, SIZE, SHADE, given=[("b", "size", "L")])

    assert options_of(edited) == {"A": ["Size=M", "Shade=Red"], "B": ["Size=L", "Shade=Blue"]}
    assert (edited.version, [each.version for each in edited.variants]) == (2, [2, 2])


def test_a_first_axis_needs_a_value_for_each_variant_that_there_is() -> None:
    product = a_product(("A", ()), ("B", ()))

    assert refused(lambda: set_axes(product, SHADE, given=[("A", "shade", "red")])) == [
        ("axes", "B: a value of the axis Shade is missing"),
    ]
    with pytest.raises(errors.AlreadyExists):
        set_axes(product, values.Axis("Shade", default="Red"))
    edited = set_axes(product, SHADE, given=[("A", "shade", "red"), ("B", "shade", "blue")])
    assert options_of(edited) == {"A": ["Shade=Red"], "B": ["Shade=Blue"]}


def test_an_axis_is_taken_away_unless_it_told_variants_apart() -> None:
    product = a_product(
        ("A", (("shade", "red"), ("size", "L"))), ("B", (("shade", "red"), ("size", "S"))), axes=(SHADE, SIZE)
    )

    assert options_of(set_axes(product, SIZE)) == {"A": ["Size=L"], "B": ["Size=S"]}
    with pytest.raises(errors.AlreadyExists):
        set_axes(product, SHADE)
    assert options_of(set_axes(product)) == {"A": [], "B": []}


def test_variants_that_keep_their_options_keep_their_version() -> None:
    product = a_product(("A", (("shade", "red"),)), ("B", (("shade", "blue"),)), axes=(SHADE,))

    edited = set_axes(product, values.Axis("Shade", ("Blue", "Red", "Green")), given=[("B", "shade", "green")])

    assert [each.version for each in edited.variants] == [1, 2]


def test_two_variants_may_swap_their_values_in_one_edit() -> None:
    product = a_product(("A", (("shade", "red"),)), ("B", (("shade", "blue"),)), axes=(SHADE,))

    edited = set_axes(product, SHADE, given=[("A", "shade", "blue"), ("B", "shade", "red")])

    assert options_of(edited) == {"A": ["Shade=Blue"], "B": ["Shade=Red"]}


def test_a_value_is_given_once_and_to_a_variant_of_the_product() -> None:
    product = a_product(("A", (("shade", "red"),)), axes=(SHADE,))

    assert refused(lambda: set_axes(product, SHADE, given=[("A", "shade", "red"), ("a", "Shade", "blue")])) == [
        ("variant_options[1]", "is there twice"),
    ]
    with pytest.raises(stock_errors.SkuNotFound):
        set_axes(product, SHADE, given=[("Z", "shade", "red")])


def test_variants_are_chosen_by_options_attributes_and_whether_they_are_sold() -> None:
    drafts = (
        values.VariantDraft(sku="A", options=(("shade", "Red"),), attributes=(("finish", "matte"),)),
        values.VariantDraft(sku="B", options=(("shade", "Blue"),)),
        values.VariantDraft(sku="C", options=(("shade", "Green"),), discontinued=True),
    )
    draft = values.ProductDraft(code="P", name="x", attributes=(("finish", "gloss"),), variants=drafts)
    made = products.admit([products.check_product(draft)], products.Taken(), new_ids=[uuid.UUID(int=9)], now=NOW)[0]
    assert isinstance(made, values.Product)

    def chosen(by_option: list[str], by_feature: list[str], *, sold_only: bool = False) -> list[tuple[int, str]]:
        wanted = {"by_option": features.wanted(by_option), "by_feature": features.wanted(by_feature)}
        return [(n, each.sku) for n, each in products.chosen(made, **wanted, sold_only=sold_only)]

    assert chosen([], []) == [(0, "A"), (1, "B"), (2, "C")]
    assert chosen(["shade=red", "SHADE=green"], []) == [(0, "A"), (2, "C")]
    assert chosen([], ["finish=gloss"]) == [(1, "B"), (2, "C")]
    assert chosen([], ["finish=gloss"], sold_only=True) == [(1, "B")]
    assert chosen(["finish=matte"], []) == []  # an attribute is no option
    assert chosen([], ["shade=red"]) == [(0, "A")]  # an option is filtered like an attribute


NAMES = st.sampled_from(["shade", "Shade", "size", "cut"])
VALUES = st.sampled_from(["red", "RED", "blue", "L", " ", ""])
AXES = st.lists(
    st.builds(values.Axis, NAMES, st.lists(VALUES, max_size=3).map(tuple), VALUES), max_size=3
).map(tuple)  # fmt: skip
OPTIONS = st.lists(st.tuples(NAMES, VALUES), max_size=3).map(tuple)
SKUS = st.sampled_from([f"S{n}" for n in range(6)])


class Editing(stateful.RuleBasedStateMachine):
    """Whatever is tried, a product keeps its promise; what is refused changes nothing."""

    product: values.Product

    @stateful.initialize(variants=st.lists(st.tuples(SKUS, OPTIONS), min_size=1, max_size=3), axes=AXES)
    def make(self, variants: list[tuple[str, values.Options]], axes: tuple[values.Axis, ...]) -> None:
        try:
            self.product = a_product(*variants, axes=axes)
        except errors.InvalidRequest:
            self.product = a_product(("S0", ()))

    @stateful.rule(sku=SKUS, given=OPTIONS)
    def add(self, sku: str, given: values.Options) -> None:
        hypothesis.assume(sku not in options_of(self.product))
        self.edit(lambda: products.add_variant(self.product, products.check_variant(values.VariantDraft(sku=sku, options=given)), now=NOW))  # fmt: skip

    @stateful.rule(sku=SKUS, given=OPTIONS)
    def change(self, sku: str, given: values.Options) -> None:
        self.edit(lambda: products.edit_variant(self.product, sku, {"options": given}, expected_version=0, now=NOW)[0])

    @stateful.rule(axes=AXES, given=st.lists(st.tuples(SKUS, NAMES, VALUES), max_size=4))
    def set(self, axes: tuple[values.Axis, ...], given: list[tuple[str, str, str]]) -> None:
        self.edit(lambda: set_axes(self.product, *axes, given=given))

    def edit(self, act: Any) -> None:
        try:
            edited = act()
        except (errors.InvalidRequest, errors.AlreadyExists, stock_errors.SkuNotFound):
            return
        assert edited.version == self.product.version + 1
        self.product = edited

    @stateful.invariant()
    def each_variant_has_one_value_an_axis_and_no_combination_is_there_twice(self) -> None:
        names = [axis.name for axis in self.product.axes]
        for variant in self.product.variants:
            assert [axis for axis, _ in variant.options] == names
            for axis, (_, value) in zip(self.product.axes, variant.options, strict=True):
                assert value in axis.values if axis.values else codes.folded(value)
        combinations = [options.combination(each.options) for each in self.product.variants]
        assert not names or len(set(combinations)) == len(combinations)


TestEditing = Editing.TestCase
TestEditing.settings = hypothesis.settings(max_examples=60, stateful_step_count=20, deadline=None)
