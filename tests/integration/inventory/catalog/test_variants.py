"""Variants by the axes of their product, attributes, and the lists that are filtered by both."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from services.inventory.domain import stock_errors
from services.kit import errors, ids
from tests.integration.inventory.catalog.brands import Brand, a_product
from tillmesh.inventory.v1 import catalog_pb2, inventory_events_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

SHADE = catalog_pb2.OptionAxis(name="Shade", values=["Red", "Blue", "Green"])
SIZE = catalog_pb2.OptionAxis(name="Size", default_value="M")


def a_variant(sku: str, *, attributes: dict[str, Any] | None = None, **options: str) -> catalog_pb2.Variant:
    pairs = [catalog_pb2.OptionValue(axis=axis, value=value) for axis, value in options.items()]
    return catalog_pb2.Variant(sku=sku, options=pairs, attributes=attributes_of(attributes or {}))


def attributes_of(given: dict[str, Any]) -> list[catalog_pb2.Attribute]:
    field = {bool: "flag", float: "number", str: "text"}
    return [catalog_pb2.Attribute(name=name, **{field[type(value)]: value}) for name, value in given.items()]


def set_axes(product: catalog_pb2.Product, *axes: catalog_pb2.OptionAxis, **values: dict[str, str]) -> Any:
    """values: by SKU, axis and value."""
    given = [
        pb.SetProductAxesRequest.VariantOption(sku=sku, option=catalog_pb2.OptionValue(axis=axis, value=value))
        for sku, options in values.items()
        for axis, value in options.items()
    ]
    return pb.SetProductAxesRequest(product_id=product.id, axes=axes, variant_options=given)


def an_edit(sku: str, **fields: Any) -> pb.UpdateVariantRequest:
    request = pb.UpdateVariantRequest(variant=catalog_pb2.Variant(sku=sku, **fields))
    request.update_mask.paths.extend(fields)
    return request


async def listed(brand: Brand, product: catalog_pb2.Product, **filter_: Any) -> list[str]:
    request = pb.ListVariantsRequest(product_id=product.id, filter=pb.ListVariantsRequest.Filter(**filter_))
    return [each.sku for each in (await brand.call(request)).variants]


async def having(caller: Brand, *attributes: str, **filter_: Any) -> list[str]:
    """Codes of the products that ListProducts answers, from pages of two."""
    request = pb.ListProductsRequest(
        page_size=2, filter=pb.ListProductsRequest.Filter(attributes=attributes, **filter_)
    )
    found: list[str] = []
    while True:
        page = await caller.call(request)
        found += [each.code for each in page.products]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def options_of(product: catalog_pb2.Product) -> dict[str, dict[str, str]]:
    return {each.sku: {pair.axis: pair.value for pair in each.options} for each in product.variants}


# --- axes ---


async def test_a_product_with_axes_and_attributes_is_read_as_it_was_made(brand: Brand) -> None:
    attributes = attributes_of({"material": "oak", "drawers": 3.0, "vegan": True, "depth": 40.25})
    made = await brand.product(
        axes=[SHADE, SIZE],
        attributes=attributes,
        variants=[a_variant("A", shade="red", attributes={"finish": "matte"})],
    )

    assert await brand.call(pb.GetProductRequest(product_id=made.id)) == made
    assert (list(made.axes), list(made.attributes)) == ([SHADE, SIZE], attributes)
    assert options_of(made) == {"A": {"Shade": "Red", "Size": "M"}}
    assert list((await brand.call(pb.GetVariantRequest(sku="A"))).attributes) == attributes_of({"finish": "matte"})


async def test_a_combination_that_a_variant_has_is_refused_and_named(brand: Brand) -> None:
    made = await brand.product(axes=[SHADE], variants=[a_variant("A", shade="red"), a_variant("B", shade="blue")])
    blue = [catalog_pb2.OptionValue(axis="shade", value="BLUE")]
    for request in (
        pb.CreateVariantRequest(product_id=made.id, variant=a_variant("C", shade="Blue")),
        an_edit("A", options=blue),
    ):
        with pytest.raises(errors.AlreadyExists) as refusal:
            await brand.call(request)
        assert refusal.value.metadata == {"resource": "options"}
        assert "B" in str(refusal.value)

    assert await brand.call(pb.GetProductRequest(product_id=made.id)) == made


async def test_of_twenty_racers_one_gets_the_combination(brand: Brand) -> None:
    made = await brand.product(axes=[SHADE], variants=[a_variant("A", shade="red")])
    outcomes = await asyncio.gather(
        *(
            brand.call(pb.CreateVariantRequest(product_id=made.id, variant=a_variant(f"B{n}", shade="blue")))
            for n in range(20)
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, errors.AlreadyExists) for outcome in outcomes) == 19
    assert len((await brand.call(pb.GetProductRequest(product_id=made.id))).variants) == 2


async def test_options_that_do_not_fit_are_refused(brand: Brand) -> None:
    made = await brand.product(axes=[SHADE, SIZE], variants=[a_variant("A", shade="red")])
    for variant in (a_variant("B"), a_variant("B", shade="pink"), a_variant("B", shade="blue", cut="slim")):
        with pytest.raises(errors.InvalidRequest) as refusal:
            await brand.call(pb.CreateVariantRequest(product_id=made.id, variant=variant))
        assert [each.field for each in refusal.value.violations] == ["variant.options"]


async def test_an_axis_is_added_to_a_product_that_has_variants(brand: Brand, as_owner: psycopg.Connection[Any]) -> None:
    made = await brand.product(axes=[SHADE], variants=[a_variant("A", shade="red"), a_variant("B", shade="blue")])

    edited = await brand.call(set_axes(made, SIZE, SHADE, B={"size": "XL"}))

    assert options_of(edited) == {"A": {"Size": "M", "Shade": "Red"}, "B": {"Size": "XL", "Shade": "Blue"}}
    assert (edited.version, [each.version for each in edited.variants]) == (2, [2, 2])
    assert await brand.call(pb.GetProductRequest(product_id=made.id)) == edited
    assert await brand.search("lipstick xl") == ["B"]
    assert await listed(brand, edited, options=["size=m"]) == ["A"]
    told = as_owner.execute(
        "SELECT data FROM outbox WHERE tenant_id = %s AND key = %s AND seq_to = 2", [brand.tenant, made.id]
    ).fetchone()
    assert told is not None
    assert inventory_events_pb2.ProductChanged.FromString(told[0]).product == edited


async def test_an_axis_without_a_default_needs_a_value_for_each_variant(brand: Brand) -> None:
    made = await brand.product("A", "B")
    with pytest.raises(errors.InvalidRequest) as refusal:
        await brand.call(set_axes(made, SHADE, A={"shade": "red"}))
    assert [(each.field, each.description.split(":")[0]) for each in refusal.value.violations] == [("axes", "B")]
    with pytest.raises(errors.AlreadyExists):
        await brand.call(set_axes(made, SIZE))
    with pytest.raises(stock_errors.SkuNotFound):
        await brand.call(set_axes(made, SHADE, Z={"shade": "red"}))
    assert await brand.call(pb.GetProductRequest(product_id=made.id)) == made

    edited = await brand.call(set_axes(made, SHADE, A={"shade": "red"}, B={"shade": "blue"}))

    assert options_of(edited) == {"A": {"Shade": "Red"}, "B": {"Shade": "Blue"}}


async def test_axes_of_another_version_or_brand_are_not_set(brand: Brand, other_brand: Brand) -> None:
    made = await brand.product("A")
    request = set_axes(made, SIZE)
    request.expected_version = 7
    with pytest.raises(errors.VersionMismatch):
        await brand.call(request)
    with pytest.raises(errors.NotFound):
        await other_brand.call(set_axes(made, SIZE))


# --- lists ---


async def test_variants_are_listed_in_the_order_they_were_added_in_pages(brand: Brand, other_brand: Brand) -> None:
    made = await brand.product("D", "B", "C", "A", "E")
    pages, token = [], ""
    while True:
        page = await brand.call(pb.ListVariantsRequest(product_id=made.id, page_size=2, page_token=token))
        pages.append([each.sku for each in page.variants])
        if not (token := page.next_page_token):
            break

    assert pages == [["D", "B"], ["C", "A"], ["E"]]
    for caller, product_id in ((other_brand, made.id), (brand, ids.new("prd"))):
        with pytest.raises(errors.NotFound):
            await caller.call(pb.ListVariantsRequest(product_id=product_id))


async def test_variants_are_filtered_by_axis_values_and_attributes(brand: Brand) -> None:
    made = await brand.product(
        axes=[SHADE, SIZE],
        attributes=attributes_of({"finish": "gloss"}),
        variants=[
            a_variant("A", shade="red", attributes={"Finish": "matte"}),
            a_variant("B", shade="red", size="L"),
            a_variant("C", shade="blue", attributes={"weight": 80.5}),
        ],
    )
    await brand.call(an_edit("B", discontinued=True))

    assert await listed(brand, made, options=["SHADE=Red"]) == ["A", "B"]
    assert await listed(brand, made, options=["shade=red", "shade=blue", "size=m"]) == ["A", "C"]
    assert await listed(brand, made, options=["shade=red"], sold_only=True) == ["A"]
    assert await listed(brand, made, attributes=["finish=gloss"]) == ["B", "C"]
    assert await listed(brand, made, attributes=["weight=80.50"]) == ["C"]
    assert await listed(brand, made, options=["finish=gloss"]) == []


async def test_products_are_filtered_by_attributes_and_options_in_pages(brand: Brand, other_brand: Brand) -> None:
    oak = attributes_of({"material": "Oak"})
    await other_brand.product("X", attributes=oak)
    await brand.product("A", attributes=oak, brand="Holm", category="Dining/Tables")
    await brand.product("B", variants=[a_variant("B1", wood="oak"), a_variant("B2", wood="ash")], category="Dining")
    await brand.product("C", variants=[a_variant("C1", attributes={"material": "oak"}), a_variant("C2")])
    await brand.product("D", attributes=oak, variants=[a_variant("D1", attributes={"material": "ash"})])
    await brand.product("E", attributes=[*oak, *attributes_of({"foldable": True})], brand="Holm")

    assert await having(brand, "material=oak") == ["A", "C1", "E"]
    assert await having(brand, "material=ash", "material=OAK") == ["A", "C1", "D1", "E"]
    assert await having(brand, "material=oak", "foldable=true") == ["E"]
    assert await having(brand, "wood=Oak") == ["B1"]
    assert await having(brand, "wood=oak", "material=oak") == []
    assert await having(brand, "material=oak", brand="Holm") == ["A", "E"]
    assert await having(brand, "material=oak", category="Dining") == ["A"]
    assert await having(brand, "nothing=here") == []


async def test_a_feature_is_found_beyond_the_walk_through_the_first_products(
    brand: Brand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.inventory.store.catalog_products.WALK_MAX", 3)
    for n in range(12):
        await brand.product(f"S{n:02}", attributes=attributes_of({"even": n % 2 == 0, "last": n > 9}))

    assert await having(brand, "even=true") == [f"S{n:02}" for n in range(0, 12, 2)]
    assert await having(brand, "last=true") == ["S10", "S11"]


async def test_an_edit_of_attributes_is_filtered_by_at_once(brand: Brand) -> None:
    made = await brand.product("A", "B", attributes=attributes_of({"material": "oak"}))
    request = pb.UpdateProductRequest(
        product=catalog_pb2.Product(id=made.id, attributes=attributes_of({"material": "walnut"}))
    )
    request.update_mask.paths.append("attributes")

    edited = await brand.call(request)
    await brand.call(an_edit("B", attributes=attributes_of({"finish": "matte"})))

    assert list(edited.attributes) == attributes_of({"material": "walnut"})
    assert (await having(brand, "material=oak"), await having(brand, "material=walnut")) == ([], ["A"])
    assert await brand.search("lipstick", attributes=["finish=matte"]) == ["B"]
    assert await brand.search("walnut") == ["A", "B"]
    assert await brand.search("matte") == ["B"]


async def test_attributes_follow_the_rules(brand: Brand) -> None:
    for attributes in (
        [*attributes_of({"a": 1.0}), *attributes_of({"A": 2.0})],
        attributes_of({"a": float("nan")}),
        attributes_of({"a": 1e13}),
        attributes_of({"a=b": "c"}),
        attributes_of({"a": "x" * 201}),
        [catalog_pb2.Attribute(name="a")],
        attributes_of({f"a{n}": True for n in range(51)}),
    ):
        with pytest.raises(errors.InvalidRequest):
            await brand.call(pb.CreateProductRequest(product=a_product(attributes=attributes)))


@pytest.mark.parametrize("value", ["'", "\\", "' | '", ":*", "a\nb", "=", "é", "😀", "x" * 200])
async def test_any_value_can_be_kept_and_filtered_by(brand: Brand, value: str) -> None:
    await brand.product("A", attributes=attributes_of({"note": value}))
    await brand.product("B", attributes=attributes_of({"note": "other"}))

    assert await having(brand, f"note={value}") == ["A"]
    assert await brand.search("lipstick", attributes=[f"note={value}"]) == ["A"]


@pytest.mark.parametrize("wrong", ["matte", "=matte", "finish=", "x" * 51 + "=y"])
async def test_a_filter_is_a_name_and_a_value(brand: Brand, wrong: str) -> None:
    for request in (
        pb.ListProductsRequest(filter=pb.ListProductsRequest.Filter(attributes=[wrong])),
        pb.SearchProductsRequest(query="a", attributes=[wrong]),
        pb.ListVariantsRequest(product_id=ids.new("prd"), filter=pb.ListVariantsRequest.Filter(options=[wrong])),
    ):
        with pytest.raises(errors.InvalidRequest):
            await brand.call(request)
