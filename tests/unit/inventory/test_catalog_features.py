"""Attributes and options as they are compared and filtered by."""

from __future__ import annotations

import decimal

import hypothesis
import pytest
from hypothesis import strategies as st

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_features as features
from services.kit import errors

TENANT = "00000000-0000-7000-8000-0000deadbeef"
NUMBERS = st.floats(-1e12, 1e12)


def a_variant(**fields: values.Options | values.Attributes) -> values.VariantDraft:
    return values.VariantDraft(sku="A", **fields)  # type: ignore[arg-type]


@hypothesis.given(NUMBERS)
def test_a_number_is_found_by_its_value_however_it_is_written(number: float) -> None:
    exact = decimal.Decimal(repr(number))
    written = format(exact, "f")
    hypothesis.assume(len(written) <= 40 and len(written.partition(".")[2]) <= 18)

    for text in (
        written,
        f"+{written}" if written[0] != "-" else written,
        written + "0" if "." in written else written,
    ):
        assert features.value_key(text) == features.value_key(number)


@hypothesis.given(NUMBERS, NUMBERS)
def test_two_numbers_are_the_same_when_their_values_are(one: float, other: float) -> None:
    assert (features.value_key(one) == features.value_key(other)) == (one == other)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (80.5, "80.5"), ("80.50", "80.5"), ("080", "80"), (-0.0, "0"), ("-0.0", "0"), (1e-7, "0.0000001"), (1e12, "1" + "0" * 12),
        (True, "true"), ("TRUE", "true"), (1.0, "1"), (" Matte ", "matte"), ("1e5", "1e5"), ("nan", "nan"), ("1_000", "1_000"),
    ],
)  # fmt: skip
def test_values_are_compared_by(value: values.AttributeValue, key: str) -> None:
    assert features.value_key(value) == key


def test_a_flag_and_a_number_are_not_the_same() -> None:
    assert features.feature("x", True) != features.feature("x", 1.0)


def test_a_variants_own_attribute_hides_that_of_its_product() -> None:
    shared: values.Attributes = (("Material", "oak"), ("vegan", True))
    variant = a_variant(attributes=(("material", "Walnut"),), options=(("size", "L"),))

    assert features.features(shared, variant) == {"material=walnut", "vegan=true", "size=l"}


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ([], True),
        (["Finish=MATTE"], True),
        (["finish=gloss"], False),
        (["finish=gloss", "finish=matte"], True),
        (["finish=matte", "size=m"], False),
        (["finish=matte", "size=m", "size=L"], True),
        (["note=a=b"], True),
    ],
)
def test_of_one_name_a_value_is_enough_and_all_names_must_be_there(filters: list[str], kept: bool) -> None:
    variant = a_variant(attributes=(("finish", "matte"), ("note", "a=b")), options=(("size", "L"),))

    assert features.has(features.features((), variant), features.wanted(filters)) is kept


def test_a_filter_is_a_query_for_the_words_that_variants_are_indexed_by() -> None:
    oak, ash = (features.lexeme(TENANT, f"material={wood}") for wood in ("oak", "ash"))
    large = features.lexeme(TENANT, "size=l")

    asked = features.wanted(["material=Oak", "size=L", "material=Ash"])

    assert features.query(TENANT, asked) == f"('{ash}' | '{oak}') & ('{large}')"
    assert features.query(TENANT, ()) is None


@hypothesis.given(st.text(min_size=1, max_size=200))
def test_a_feature_in_the_index_needs_no_quoting_and_is_no_word(value: str) -> None:
    lexeme = features.lexeme(TENANT, features.feature("name", value))

    assert lexeme.startswith("deadbeef=")
    assert lexeme.removeprefix("deadbeef=").isalnum()


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ((("finish", "matte"), ("Finish", "gloss")), "product.attributes[1].name"),
        ((("finish", "a\0b"),), "product.attributes[0]"),
        (((" ", "matte"),), "product.attributes[0]"),
        ((("finish", " "),), "product.attributes[0]"),
    ],
)
def test_what_is_wrong_with_attributes_is_named(attributes: values.Attributes, field: str) -> None:
    wrong = values.Violations("product")
    features.check_attributes(attributes, wrong)
    with pytest.raises(errors.InvalidRequest) as refusal:
        wrong.refuse()

    assert [each.field for each in refusal.value.violations] == [field]
