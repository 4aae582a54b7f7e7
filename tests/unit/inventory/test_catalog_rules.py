"""Rules of locations, products and prices, as values."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace
from typing import Any

import pytest

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_locations as locations
from services.inventory.domain import catalog_prices as prices
from services.inventory.domain import catalog_products as products
from services.inventory.domain import stock_errors
from services.kit import errors

NOW = dt.datetime(2026, 3, 29, 12, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
SHOP, ELSEWHERE = uuid.UUID(int=1), uuid.UUID(int=2)


def a_location_draft(**fields: Any) -> values.LocationDraft:
    given: dict[str, Any] = {
        "code": "V",
        "name": "Shop",
        "type": 1,
        "timezone": "Europe/Vienna",
        "currency_code": "EUR",
    }
    return values.LocationDraft(**{**given, **fields})


def a_product_draft(*skus: str, **fields: Any) -> values.ProductDraft:
    variants = tuple(values.VariantDraft(sku=sku) for sku in skus)
    return values.ProductDraft(**{"code": "", "name": "Lipstick", "variants": variants, **fields})


def a_product(*skus: str) -> values.Product:
    draft = products.check_product(a_product_draft(*skus))
    made = products.admit([draft], products.Taken(), new_ids=[uuid.UUID(int=9)], now=NOW)[0]
    assert isinstance(made, values.Product)
    return made


def a_price(amount: int, **fields: Any) -> values.Price:
    return values.Price(id=uuid.uuid4(), sku="A", currency_code="EUR", minor_units=amount, **fields)


def fields_of(refusal: pytest.ExceptionInfo[errors.InvalidRequest]) -> list[str]:
    return [violation.field for violation in refusal.value.violations]


# --- locations ---


def test_a_location_can_do_everything_unless_it_says_what() -> None:
    location = locations.new_location(a_location_draft(), location_id=SHOP, now=NOW)

    assert (location.capabilities, location.business_day_cutoff) == ((1, 2, 3, 4), "00:00")


def test_a_location_in_transit_can_do_nothing() -> None:
    assert locations.new_location(a_location_draft(type=3), location_id=SHOP, now=NOW).capabilities == ()
    with pytest.raises(errors.InvalidRequest):
        locations.new_location(a_location_draft(type=3, capabilities=(1,)), location_id=SHOP, now=NOW)


def test_all_that_is_wrong_with_a_location_is_said_at_once() -> None:
    draft = a_location_draft(timezone="Europe/Atlantis", currency_code="ABC", name="a\0b")
    with pytest.raises(errors.InvalidRequest) as refusal:
        locations.new_location(draft, location_id=SHOP, now=NOW)

    assert fields_of(refusal) == ["location.name", "location.timezone", "location.currency_code"]


@pytest.mark.parametrize("timezone", ["../etc/passwd", "europe/vienna", "Vienna", "UTC+1"])
def test_a_timezone_is_a_name_of_the_iana_database(timezone: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        locations.check_location(a_location_draft(timezone=timezone), "location")


def test_an_edit_makes_the_next_version() -> None:
    location = locations.new_location(a_location_draft(), location_id=SHOP, now=NOW)

    edited = locations.edit_location(location, {"closed": True}, expected_version=1, now=NOW + SECOND)

    assert edited == replace(location, closed=True, version=2, updated_at=NOW + SECOND)


def test_an_edit_of_another_version_is_refused_with_the_current_one() -> None:
    location = locations.new_location(a_location_draft(), location_id=SHOP, now=NOW)
    with pytest.raises(errors.VersionMismatch) as refusal:
        locations.edit_location(location, {"closed": True}, expected_version=7, now=NOW)

    assert refusal.value.metadata == {"current_version": "1"}


# --- products ---


def test_a_product_without_a_code_has_that_of_its_first_variant() -> None:
    assert a_product("A-1", "A-2").code == "A-1"


def test_a_gtin_is_kept_as_fourteen_digits() -> None:
    draft = values.VariantDraft(sku="A", barcodes=("4006381333931", "own-code"))

    assert products.check_variant(draft).barcodes == ("04006381333931", "own-code")


@pytest.mark.parametrize(
    ("variant", "field"),
    [
        ({"barcodes": ("4006381333932",)}, "variant.barcodes[0]"),
        ({"barcodes": ("1234",)}, "variant.barcodes[0]"),
        ({"barcodes": ("036000291452", "0036000291452")}, "variant.barcodes[1]"),
        ({"options": (("shade", "red"), ("shade", "blue"))}, "variant.options[1].axis"),
        ({"name": "a\0b"}, "variant"),
    ],
)
def test_what_is_wrong_with_a_variant_is_named(variant: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        products.check_variant(values.VariantDraft(sku="A", **variant))

    assert fields_of(refusal) == [field]


def test_a_sku_is_once_in_a_product_without_regard_to_case() -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        products.check_product(a_product_draft("A-1", "a-1"), "products[3]")

    assert fields_of(refusal) == ["products[3].variants[1].sku"]


def test_two_variants_of_a_product_have_no_barcode_in_common() -> None:
    variants = tuple(values.VariantDraft(sku=sku, barcodes=("4006381333931",)) for sku in "AB")
    with pytest.raises(errors.InvalidRequest) as refusal:
        products.check_product(a_product_draft(variants=variants))

    assert fields_of(refusal) == ["product.variants[1].barcodes"]


@pytest.mark.parametrize("count", [0, 201])
def test_a_product_has_one_to_two_hundred_variants(count: int) -> None:
    with pytest.raises(errors.InvalidRequest):
        products.check_product(a_product_draft(*(f"A{n}" for n in range(count))))


def test_a_full_product_takes_no_more_variants() -> None:
    full = a_product(*(f"A{n}" for n in range(200)))
    with pytest.raises(errors.InvalidRequest):
        products.add_variant(full, values.VariantDraft(sku="B"), now=NOW)


def test_of_a_batch_each_product_is_decided_by_itself_and_only_made_ones_take_their_codes() -> None:
    drafts = [
        products.check_product(draft)
        for draft in (
            a_product_draft("a", "taken"),  # refused: its second SKU is in use
            a_product_draft("A", code="x"),  # so "a" is still free
            a_product_draft("b", code="X"),  # refused: the one before has the code
            a_product_draft("b"),
        )
    ]
    taken = products.Taken(skus=frozenset({"taken"}))

    outcomes = products.admit(drafts, taken, new_ids=[uuid.UUID(int=n) for n in range(4)], now=NOW)

    assert [isinstance(each, values.Product) for each in outcomes] == [False, True, False, True]
    assert [str(each) for each in outcomes if isinstance(each, errors.Error)] == [
        "the SKU taken is taken",
        "the code X is taken",
    ]


def test_an_edit_of_a_variant_makes_the_next_version_of_it_and_of_its_product() -> None:
    product = a_product("A", "B")

    edited, variant = products.edit_variant(product, "b", {"discontinued": True}, expected_version=1, now=NOW + SECOND)

    assert (variant.sku, variant.version, variant.discontinued) == ("B", 2, True)
    assert (edited.version, edited.variants) == (2, (product.variants[0], variant))


def test_a_variant_that_is_not_there_is_not_edited() -> None:
    with pytest.raises(stock_errors.SkuNotFound):
        products.edit_variant(a_product("A"), "b", {}, expected_version=0, now=NOW)


# --- prices ---


def test_a_price_ends_after_it_begins() -> None:
    draft = values.PriceDraft(currency_code="EUR", minor_units=1, valid_from=NOW, valid_until=NOW)
    with pytest.raises(errors.InvalidRequest) as refusal:
        prices.check_price(draft)

    assert fields_of(refusal) == ["price.valid_until"]


@pytest.mark.parametrize(
    ("at", "holds"), [(NOW - SECOND, False), (NOW, True), (NOW + SECOND, True), (NOW + 2 * SECOND, False)]
)
def test_a_price_holds_from_its_beginning_until_before_its_end(at: dt.datetime, holds: bool) -> None:
    price = a_price(5, valid_from=NOW, valid_until=NOW + 2 * SECOND)

    assert (prices.price_at([price], location_id=SHOP, currency_code="EUR", at=at) is price) is holds


def test_a_price_of_the_location_beats_a_newer_general_one() -> None:
    own, general = a_price(5, location_id=SHOP, valid_from=NOW - SECOND), a_price(4, valid_from=NOW)

    assert prices.price_at([general, own], location_id=SHOP, currency_code="EUR", at=NOW) is own
    assert prices.price_at([general, own], location_id=ELSEWHERE, currency_code="EUR", at=NOW) is general


def test_the_price_that_began_last_wins() -> None:
    always, newer = a_price(5), a_price(4, valid_from=NOW)

    assert prices.price_at([newer, always], location_id=SHOP, currency_code="EUR", at=NOW) is newer
    assert prices.price_at([newer, always], location_id=SHOP, currency_code="EUR", at=NOW - SECOND) is always


def test_a_price_of_another_currency_holds_nowhere() -> None:
    assert prices.price_at([a_price(5)], location_id=SHOP, currency_code="USD", at=NOW) is None


def a_list(code: str = "vip", **fields: Any) -> values.PriceList:
    return prices.new_price_list(values.PriceListDraft(code=code, name="List", **fields), now=NOW)


def test_prices_are_chosen_by_list_then_place_then_beginning() -> None:
    in_order = [
        a_price(1, price_list="vip", location_id=SHOP, valid_from=NOW - SECOND),
        a_price(2, price_list="vip", location_id=SHOP),
        a_price(3, price_list="vip", valid_from=NOW),
        a_price(4, price_list="vip"),
        a_price(5, location_id=SHOP),
        a_price(6, valid_from=NOW),
        a_price(7),
    ]
    for first in range(len(in_order)):
        left = [*in_order[first:], a_price(8, price_list="wholesale", location_id=SHOP)]
        found = prices.price_at(reversed(left), location_id=SHOP, currency_code="EUR", at=NOW, price_list=a_list())
        assert found is in_order[first]


def test_without_a_list_only_standard_prices_are_chosen() -> None:
    listed, standard = a_price(1, price_list="vip"), a_price(2)

    assert prices.price_at([listed, standard], location_id=SHOP, currency_code="EUR", at=NOW) is standard
    assert prices.price_at([listed], location_id=SHOP, currency_code="EUR", at=NOW) is None


@pytest.mark.parametrize(
    ("at", "valid"), [(NOW - SECOND, False), (NOW, True), (NOW + SECOND, True), (NOW + 2 * SECOND, False)]
)
def test_a_list_has_prices_in_its_own_time_only(at: dt.datetime, valid: bool) -> None:
    listed, standard = a_price(1, price_list="vip"), a_price(2)
    vip = a_list(valid_from=NOW, valid_until=NOW + 2 * SECOND)

    found = prices.price_at([listed, standard], location_id=SHOP, currency_code="EUR", at=at, price_list=vip)

    assert found is (listed if valid else standard)


def test_the_list_that_every_tenant_has_is_not_made() -> None:
    with pytest.raises(errors.AlreadyExists):
        a_list("standard")


def test_a_price_list_is_edited_to_its_next_version() -> None:
    vip = a_list()

    edited = prices.edit_price_list(vip, {"restricted": True}, expected_version=1, now=NOW + SECOND)

    assert edited == replace(vip, restricted=True, version=2, updated_at=NOW + SECOND)
    with pytest.raises(errors.VersionMismatch):
        prices.edit_price_list(edited, {}, expected_version=1, now=NOW)
    with pytest.raises(errors.InvalidRequest) as refusal:
        prices.edit_price_list(vip, {"valid_from": NOW, "valid_until": NOW}, expected_version=0, now=NOW)
    assert fields_of(refusal) == ["price_list.valid_until"]
