"""Price lists: what they are, whose prices hold, and for whom they are there."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import random
from typing import Any

import pytest

from services.inventory.domain import catalog as values
from services.inventory.domain import catalog_prices as domain
from services.kit import errors, ids
from tests.integration.inventory.catalog.brands import Brand
from tillmesh.inventory.v1 import catalog_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
NOW = dt.datetime.now(dt.UTC)


async def a_list(brand: Brand, code: str = "vip", **fields: Any) -> catalog_pb2.PriceList:
    given = catalog_pb2.PriceList(code=code, name=code.upper(), **fields)
    return await brand.call(pb.CreatePriceListRequest(price_list=given))


def an_edit(code: str, *, expected_version: int = 0, **fields: Any) -> pb.UpdatePriceListRequest:
    request = pb.UpdatePriceListRequest(
        price_list=catalog_pb2.PriceList(code=code, **fields), expected_version=expected_version
    )
    request.update_mask.paths.extend(fields)
    return request


async def found(brand: Brand, location_id: str, price_list: str = "", sku: str = "A") -> tuple[int, str] | None:
    """Amount and list of the price at a location."""
    request = pb.BatchResolveItemsRequest(location_id=location_id, codes=[sku], price_list=price_list)
    item = (await brand.call(request)).results[0].item
    return (item.price.minor_units, item.price_list) if item.HasField("price") else None


async def listed(brand: Brand, **fields: Any) -> list[int]:
    answer = await brand.call(pb.ListPricesRequest(sku="A", **fields))
    return [price.amount.minor_units for price in answer.prices]


def as_(brand: Brand, *roles: str) -> Brand:
    return dataclasses.replace(brand, roles=frozenset(roles))


# --- lists ---


async def test_a_price_list_is_read_as_it_was_made(brand: Brand) -> None:
    made = await a_list(brand, valid_from=NOW, valid_until=NOW + DAY, restricted=True)

    assert (made.version, made.restricted, made.name) == (1, True, "VIP")
    assert await brand.call(pb.GetPriceListRequest(code="vip")) == made


async def test_a_code_is_taken_once_and_standard_from_the_beginning(brand: Brand, other_brand: Brand) -> None:
    outcomes = await asyncio.gather(*(a_list(brand) for _ in range(20)), return_exceptions=True)

    assert sum(isinstance(outcome, errors.AlreadyExists) for outcome in outcomes) == 19
    await a_list(other_brand)
    with pytest.raises(errors.AlreadyExists) as refusal:
        await a_list(brand, "standard")
    assert refusal.value.metadata == {"resource": "price list"}


@pytest.mark.parametrize("code", ["", "VIP", "a b", "x" * 65])
async def test_a_code_follows_the_rules(brand: Brand, code: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        await brand.call(pb.CreatePriceListRequest(price_list=catalog_pb2.PriceList(code=code, name="x")))


async def test_an_edit_sets_the_masked_fields_and_nothing_else(brand: Brand) -> None:
    made = await a_list(brand, valid_from=NOW)

    edited = await brand.call(an_edit("vip", expected_version=1, name="Very", valid_until=NOW + DAY))

    assert (edited.name, edited.valid_from, edited.version) == ("Very", made.valid_from, 2)
    assert await brand.call(pb.GetPriceListRequest(code="vip")) == edited
    with pytest.raises(errors.VersionMismatch):
        await brand.call(an_edit("vip", expected_version=1, name="x"))
    for fields in ({"name": ""}, {"valid_until": NOW - DAY}):
        with pytest.raises(errors.InvalidRequest):
            await brand.call(an_edit("vip", **fields))


async def test_a_list_of_another_brand_answers_like_one_that_never_was(brand: Brand, other_brand: Brand) -> None:
    await a_list(other_brand)
    shop = await brand.location()
    await brand.product("A")
    refusals = set()
    for code in ("vip", "never"):
        for call in (
            brand.call(pb.GetPriceListRequest(code=code)),
            brand.call(an_edit(code, name="x")),
            brand.price("A", 1, price_list=code),
            listed(brand, price_list=code),
            found(brand, shop.id, code),
        ):
            with pytest.raises(errors.NotFound) as refusal:
                await call
            refusals.add((str(refusal.value), str(refusal.value.metadata)))
    assert len(refusals) == 1


async def test_lists_are_listed_by_code_in_pages_and_by_time(brand: Brand) -> None:
    for code, valid_from in (("vip", None), ("retail", NOW + DAY), ("sale", NOW - DAY)):
        await a_list(brand, code, valid_from=valid_from)
    pages, token = [], ""
    while True:
        page = await brand.call(pb.ListPriceListsRequest(page_size=2, page_token=token))
        pages.append([each.code for each in page.price_lists])
        if not (token := page.next_page_token):
            break
    request = pb.ListPriceListsRequest()
    request.filter.valid_at.FromDatetime(NOW)

    assert pages == [["retail", "sale"], ["vip"]]
    assert [each.code for each in (await brand.call(request)).price_lists] == ["sale", "vip"]


# --- which price holds ---


async def test_the_order_of_prices_is_list_then_place(brand: Brand) -> None:
    shop, other = await brand.location("a"), await brand.location("b")
    await brand.product("A")
    await a_list(brand)
    await a_list(brand, "wholesale")
    assert await found(brand, shop.id, "vip") is None

    await brand.price("A", 40)
    assert await found(brand, shop.id, "vip") == (40, "standard")
    await brand.price("A", 30, location_id=shop.id)
    assert await found(brand, shop.id, "vip") == (30, "standard")
    await brand.price("A", 20, price_list="vip")
    assert await found(brand, shop.id, "vip") == (20, "vip")
    await brand.price("A", 10, price_list="vip", location_id=shop.id)

    assert await found(brand, shop.id, "vip") == (10, "vip")
    assert await found(brand, other.id, "vip") == (20, "vip")
    assert await found(brand, shop.id, "wholesale") == (30, "standard")
    assert await found(brand, shop.id) == await found(brand, shop.id, "standard") == (30, "standard")
    assert await found(brand, other.id) == (40, "standard")


async def test_a_list_outside_of_its_time_has_no_prices(brand: Brand) -> None:
    shop = await brand.location()
    await brand.product("A")
    await a_list(brand, valid_until=NOW - HOUR)
    await brand.price("A", 1, price_list="vip")
    await brand.price("A", 2)

    assert await found(brand, shop.id, "vip") == (2, "standard")
    assert sorted(await listed(brand)) == [1, 2]
    assert await listed(brand, valid_at=NOW) == [2]
    assert await listed(brand, valid_at=NOW - 2 * HOUR, price_list="vip") == [1]
    await brand.call(an_edit("vip", valid_until=NOW + DAY))
    assert await found(brand, shop.id, "vip") == (1, "vip")


async def test_a_price_of_a_list_stands_beside_the_standard_one(brand: Brand) -> None:
    await brand.product("A")
    await a_list(brand)
    standard, listed_ = await brand.price("A", 1), await brand.price("A", 2, price_list="vip")

    again = await brand.price("A", 3, price_list="vip")

    assert (standard.price_list, listed_.price_list) == ("standard", "vip")
    assert again.id == listed_.id != standard.id
    assert await listed(brand, price_list="vip") == [3]
    assert await listed(brand, price_list="standard") == [1]


async def test_a_restricted_list_is_not_there_for_the_public(brand: Brand) -> None:
    shop = await brand.location()
    await brand.product("A")
    await a_list(brand, restricted=True)
    await a_list(brand, "club")
    await brand.price("A", 1, price_list="vip")
    await brand.price("A", 2, price_list="club")
    await brand.price("A", 3)

    for public in (as_(brand, "storefront"), as_(brand, "customer"), as_(brand, "storefront", "customer")):
        assert sorted(await listed(public)) == [2, 3]
        for call in (listed(public, price_list="vip"), found(public, shop.id, "vip")):
            with pytest.raises(errors.NotFound):
                await call
        assert await found(public, shop.id, "club") == (2, "club")
    for staff in (as_(brand, "associate"), as_(brand, "customer", "associate"), as_(brand, "service")):
        assert sorted(await listed(staff)) == [1, 2, 3]
        assert await found(staff, shop.id, "vip") == (1, "vip")


async def test_the_database_and_the_domain_choose_the_same_price(brand: Brand) -> None:
    chance = random.Random(11)
    shops = [await brand.location(code, currency_code=currency) for code, currency in (("a", "EUR"), ("b", "USD"))]
    times = {"vip": (None, None), "sale": (NOW - DAY, NOW + DAY), "over": (None, NOW - HOUR), "soon": (NOW + DAY, None)}
    lists = {}
    for code, (begin, end) in times.items():
        await a_list(brand, code, valid_from=begin, valid_until=end)
        draft = values.PriceListDraft(code=code, name=code, valid_from=begin, valid_until=end)
        lists[code] = domain.new_price_list(draft, now=NOW)
    skus = [f"S{n}" for n in range(30)]
    await brand.product(*skus)
    given: dict[tuple[Any, ...], values.Price] = {}
    for n in range(300):
        sku, code = chance.choice(skus), chance.choice(["standard", *lists])
        shop, currency = chance.choice([None, *shops]), chance.choice(["EUR", "USD"])
        begin, end = chance.choice([None, NOW - DAY, NOW - HOUR, NOW + DAY]), chance.choice([None, NOW + 2 * DAY])
        place = ids.decode("loc", shop.id) if shop else None
        await brand.price(
            sku, n, currency, location_id=shop.id if shop else "", price_list=code, valid_from=begin, valid_until=end
        )
        given[sku, code, place, currency, begin] = values.Price(
            id=ids.new_uuid(), sku=sku, location_id=place, currency_code=currency, minor_units=n, price_list=code,
            valid_from=begin, valid_until=end,
        )  # fmt: skip

    for shop in shops:
        for code in ("standard", *lists):
            request = pb.BatchResolveItemsRequest(location_id=shop.id, codes=skus, price_list=code)
            answer = await brand.call(request)
            for sku, result in zip(skus, answer.results, strict=True):
                expected = domain.price_at(
                    [price for price in given.values() if price.sku == sku],
                    location_id=ids.decode("loc", shop.id),
                    currency_code=shop.currency_code,
                    at=NOW,
                    price_list=lists.get(code),
                )
                chosen = (
                    (result.item.price.minor_units, result.item.price_list) if result.item.HasField("price") else None
                )
                assert chosen == ((expected.minor_units, expected.price_list) if expected else None)
