"""Prices by location and time, and what scanned codes stand for."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any

import psycopg
import pytest

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_prices as domain
from services.inventory.domain import stock_errors
from services.kit import errors, ids
from tests.integration.inventory.catalog.brands import Brand
from tillmesh.inventory.v1 import catalog_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

GTIN_13, GTIN_14 = "4006381333931", "04006381333931"
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
NOW = dt.datetime.now(dt.UTC)


def a_variant(sku: str, **fields: Any) -> catalog_pb2.Variant:
    return catalog_pb2.Variant(sku=sku, **fields)


async def amount(brand: Brand, location_id: str, code: str = "A") -> int | None:
    item = (await brand.resolve(location_id, code))[code]
    return item.price.minor_units if item is not None and item.HasField("price") else None


async def listed(brand: Brand, **fields: Any) -> list[int]:
    answer = await brand.call(pb.ListPricesRequest(sku="A", **fields))
    return [price.amount.minor_units for price in answer.prices]


# --- prices ---


async def test_a_price_is_listed_as_it_was_set(brand: Brand) -> None:
    shop = await brand.location()
    await brand.product("Lip-1")

    price = await brand.price("LIP-1", 1999, location_id=shop.id, valid_from=NOW, valid_until=NOW + DAY)

    assert (price.sku, price.location_id, price.amount.minor_units) == ("Lip-1", shop.id, 1999)
    assert price.valid_until.ToDatetime(tzinfo=dt.UTC) - price.valid_from.ToDatetime(tzinfo=dt.UTC) == DAY
    assert list((await brand.call(pb.ListPricesRequest(sku="lip-1"))).prices) == [price]


async def test_a_price_with_the_same_beginning_is_replaced(brand: Brand) -> None:
    await brand.product("A")
    always, later = await brand.price("A", 100), await brand.price("A", 90, valid_from=NOW)

    again = await brand.price("A", 101, valid_until=NOW + DAY)

    assert again.id == always.id
    assert list((await brand.call(pb.ListPricesRequest(sku="A"))).prices) == [later, again]


async def test_prices_of_other_currencies_and_locations_stand_beside_each_other(brand: Brand) -> None:
    shop = await brand.location()
    await brand.product("A")
    for fields in ({}, {"currency": "USD"}, {"location_id": shop.id}):
        await brand.price("A", 1, **fields)

    assert len(await listed(brand)) == 3


async def test_a_price_that_ends_before_it_begins_or_of_unknown_money_is_refused(brand: Brand) -> None:
    await brand.product("A")
    for fields in ({"valid_from": NOW, "valid_until": NOW}, {"currency": "XXX"}):
        with pytest.raises(errors.InvalidRequest):
            await brand.price("A", 1, **fields)


async def test_a_price_needs_a_variant_and_a_location_of_the_own_brand(brand: Brand, other_brand: Brand) -> None:
    theirs = await other_brand.location()
    await other_brand.product("A")
    with pytest.raises(stock_errors.SkuNotFound):
        await brand.price("A", 1)
    await brand.product("A")
    for location_id in (theirs.id, ids.new("loc")):
        with pytest.raises(errors.NotFound) as refusal:
            await brand.price("A", 1, location_id=location_id)
        assert refusal.value.metadata == {"resource": "location"}


async def test_a_manager_sets_and_sees_prices_of_their_own_locations(brand: Brand) -> None:
    ours, other = await brand.location("a"), await brand.location("b")
    await brand.product("A")
    await brand.price("A", 1)
    await brand.price("A", 2, location_id=other.id)
    manager = brand.covering(ours.id)

    await manager.price("A", 3, location_id=ours.id)

    for fields in ({}, {"location_id": other.id}):
        with pytest.raises(errors.LocationScope):
            await manager.price("A", 9, **fields)
    with pytest.raises(errors.LocationScope):
        await listed(manager, location_id=other.id)
    assert sorted(await listed(manager)) == [1, 3]


async def test_prices_are_listed_from_the_one_that_begins_last_in_pages(brand: Brand) -> None:
    await brand.product("A")
    shops = [await brand.location(code) for code in "abc"]
    await brand.price("A", 0)
    for n in (2, 1, 3):
        await brand.price("A", n, valid_from=NOW + n * DAY)
    for shop in shops:
        await brand.price("A", 0, location_id=shop.id)
    amounts, pages, token = [], 0, ""
    while True:
        page = await brand.call(pb.ListPricesRequest(sku="A", page_size=2, page_token=token))
        amounts += [price.amount.minor_units for price in page.prices]
        pages += 1
        if not (token := page.next_page_token):
            break

    assert (amounts, pages) == ([3, 2, 1, 0, 0, 0, 0], 4)


async def test_prices_are_filtered_by_where_and_when_they_hold(brand: Brand) -> None:
    shop, other = await brand.location("a"), await brand.location("b")
    await brand.product("A")
    await brand.price("A", 1, valid_until=NOW)
    await brand.price("A", 2, valid_from=NOW, location_id=shop.id)
    await brand.price("A", 3, valid_from=NOW - DAY, location_id=other.id)

    assert await listed(brand, location_id=shop.id) == [2, 1]
    assert await listed(brand, valid_at=NOW) == [2, 3]
    assert await listed(brand, valid_at=NOW - HOUR, location_id=shop.id) == [1]


async def test_a_page_token_of_another_sku_is_refused(brand: Brand) -> None:
    await brand.product("A", "B")
    for n in range(2):
        await brand.price("A", 1, valid_from=NOW + n * DAY)
    token = (await brand.call(pb.ListPricesRequest(sku="A", page_size=1))).next_page_token
    with pytest.raises(errors.InvalidPageToken):
        await brand.call(pb.ListPricesRequest(sku="B", page_token=token))


# --- what codes stand for ---


async def test_an_item_has_what_a_sale_line_needs(brand: Brand) -> None:
    shop = await brand.location(timezone="Europe/Lisbon")
    shade = [catalog_pb2.OptionValue(axis="shade", value="red")]
    other = [catalog_pb2.OptionValue(axis="shade", value="blue")]
    variants = [
        a_variant("Lip-1", name="Red", options=shade, tax_category="full", discontinued=True),
        a_variant("B", options=other),
    ]
    product = await brand.product(name="Lipstick", category="Face", variants=variants)
    price = await brand.price("Lip-1", 1999)

    answer = await brand.call(pb.BatchResolveItemsRequest(location_id=shop.id, codes=["lip-1", "b"]))

    assert answer.location == shop
    assert answer.results[0].item == catalog_pb2.ItemSnapshot(
        sku="Lip-1", product_id=product.id, name="Lipstick, Red", category="Face", tax_category="full",
        stock_unit=catalog_pb2.STOCK_UNIT_EACH, options=shade, price=price.amount, price_id=price.id, discontinued=True,
        price_list="standard",
    )  # fmt: skip
    assert (answer.results[1].item.name, answer.results[1].item.HasField("price")) == ("Lipstick", False)


async def test_codes_are_skus_or_barcodes_and_unknown_ones_are_answered_empty(brand: Brand) -> None:
    shop = await brand.location()
    await brand.product(variants=[a_variant("A", barcodes=[GTIN_13, "Own-1"]), a_variant("B")])
    codes = ["a", GTIN_13, GTIN_14, "Own-1", "own-1", "nothing", "a b", "\0", "é", "a"]

    answer = await brand.call(pb.BatchResolveItemsRequest(location_id=shop.id, codes=codes))

    assert [each.code for each in answer.results] == codes
    assert [each.item.sku for each in answer.results] == ["A", "A", "A", "A", "", "", "", "", "", "A"]
    assert not answer.results[4].HasField("item")


async def test_a_sku_wins_over_a_barcode(brand: Brand) -> None:
    shop = await brand.location()
    await brand.product(variants=[a_variant("A", barcodes=["1234-x"]), a_variant("1234-X")])

    assert {code: item.sku for code, item in (await brand.resolve(shop.id, "1234-x")).items() if item} == {
        "1234-x": "1234-X"
    }


async def test_without_codes_the_location_is_answered_also_when_it_is_closed(brand: Brand) -> None:
    shop = await brand.location(closed=True)

    answer = await brand.call(pb.BatchResolveItemsRequest(location_id=shop.id))

    assert answer == pb.BatchResolveItemsResponse(location=shop)


async def test_nothing_of_another_brand_is_resolved(brand: Brand, other_brand: Brand) -> None:
    shop = await brand.location()
    await other_brand.product(variants=[a_variant("A", barcodes=[GTIN_13])])

    assert await brand.resolve(shop.id, "A", GTIN_13) == {"A": None, GTIN_13: None}


async def test_a_price_holds_from_its_beginning_until_before_its_end(
    brand: Brand, as_owner: psycopg.Connection[Any]
) -> None:
    shop = await brand.location()
    await brand.product("A")
    await brand.price("A", 1, valid_until=NOW - HOUR)
    assert await amount(brand, shop.id) is None
    await brand.price("A", 2, valid_from=NOW + HOUR)
    assert await amount(brand, shop.id) is None
    await brand.price("A", 3, valid_from=NOW - DAY, valid_until=NOW + HOUR)
    assert await amount(brand, shop.id) == 3
    await brand.price("A", 4, location_id=shop.id, valid_until=NOW)
    assert await amount(brand, shop.id) == 3
    await brand.price("A", 5, location_id=shop.id)  # in place of the one before
    assert await amount(brand, shop.id) == 5


async def test_a_price_in_another_currency_is_not_the_price(brand: Brand) -> None:
    shop, abroad = await brand.location("a"), await brand.location("b", currency_code="CHF")
    await brand.product("A")
    await brand.price("A", 100)

    assert (await amount(brand, shop.id), await amount(brand, abroad.id)) == (100, None)


async def test_the_database_and_the_domain_choose_the_same_price(brand: Brand) -> None:
    chance = random.Random(7)
    shops = [await brand.location(code, currency_code=currency) for code, currency in (("a", "EUR"), ("b", "USD"))]
    skus = [f"S{n}" for n in range(25)]
    await brand.product(*skus)
    given: dict[str, list[values.Price]] = {sku: [] for sku in skus}
    for n, sku in enumerate(skus * 5):
        shop = chance.choice([None, *shops])
        begin = chance.choice([None, NOW - 2 * DAY, NOW - DAY, NOW - HOUR, NOW + DAY])
        end = chance.choice([None, NOW + 2 * DAY] + [NOW - HOUR / 2] * (begin is None or begin < NOW))
        currency = chance.choice(["EUR", "USD"])
        await brand.price(sku, n, currency, location_id=shop.id if shop else "", valid_from=begin, valid_until=end)
        place = ids.decode("loc", shop.id) if shop else None
        price = values.Price(
            id=ids.new_uuid(), sku=sku, location_id=place, currency_code=currency, minor_units=n,
            valid_from=begin, valid_until=end,
        )  # fmt: skip
        start = (price.location_id, price.currency_code, price.valid_from)
        given[sku] = [p for p in given[sku] if (p.location_id, p.currency_code, p.valid_from) != start] + [price]

    for shop in shops:
        resolved = await brand.resolve(shop.id, *skus)
        place, now = ids.decode("loc", shop.id), dt.datetime.now(dt.UTC)
        for sku in skus:
            expected = domain.price_at(given[sku], location_id=place, currency_code=shop.currency_code, at=now)
            item = resolved[sku]
            assert item is not None
            chosen = item.price.minor_units if item.HasField("price") else None
            assert chosen == (expected.minor_units if expected else None)
