"""Products and variants: unique keys, batches, versions, lists, and what the others are told."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from google.rpc import error_details_pb2

from services.inventory.domain import stock_errors
from services.kit import errors, ids
from tests.integration.inventory.catalog.brands import Brand, a_product
from tillmesh.inventory.v1 import catalog_pb2, inventory_events_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as pb

GTIN_13, GTIN_14 = "4006381333931", "04006381333931"


def a_variant(sku: str, **fields: Any) -> catalog_pb2.Variant:
    return catalog_pb2.Variant(sku=sku, **fields)


def a_variant_edit(sku: str, *, expected_version: int = 0, **fields: Any) -> pb.UpdateVariantRequest:
    request = pb.UpdateVariantRequest(variant=a_variant(sku, **fields), expected_version=expected_version)
    request.update_mask.paths.extend(fields)
    return request


def a_product_edit(product_id: str, *, expected_version: int = 0, **fields: Any) -> pb.UpdateProductRequest:
    product = catalog_pb2.Product(id=product_id, **fields)
    request = pb.UpdateProductRequest(product=product, expected_version=expected_version)
    request.update_mask.paths.extend(fields)
    return request


async def batch(brand: Brand, *products: catalog_pb2.Product) -> list[str]:
    """What became of each: `made`, or the reason."""
    answer = await brand.call(pb.BatchCreateProductsRequest(products=products))
    assert [result.index for result in answer.results] == list(range(len(products)))
    return ["made" if result.HasField("product") else reason(result.error) for result in answer.results]


def reason(status: Any) -> str:
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return " ".join([info.reason, *info.metadata.values()])


def violations(status: Any) -> list[str]:
    """The fields that are wrong."""
    bad = error_details_pb2.BadRequest()
    assert all(detail.Unpack(bad) for detail in status.details[1:])
    return [violation.field for violation in bad.field_violations]


async def test_a_product_is_read_as_it_was_made(brand: Brand) -> None:
    blue = [catalog_pb2.OptionValue(axis="shade", value="blue")]
    lipstick = a_variant(
        "LIP-Red",
        name="Red",
        options=[catalog_pb2.OptionValue(axis="shade", value="red")],
        barcodes=[GTIN_13, "own-1"],
        stock_unit=catalog_pb2.STOCK_UNIT_MILLILITER,
        package=catalog_pb2.PackageDimensions(length_mm=80, width_mm=20, height_mm=20, weight_g=30),
        lead_time_days=3,
        tax_category="reduced",
    )
    made = await brand.call(
        pb.CreateProductRequest(
            product=catalog_pb2.Product(
                name="Lipstick", description="Stays.", brand="Rosée", category="/Face/Lipstick/",
                variants=[lipstick, a_variant("LIP-Blue", options=blue, discontinued=True)],
            )
        )
    )  # fmt: skip

    assert await brand.call(pb.GetProductRequest(product_id=made.id)) == made
    assert (made.code, made.category, made.version) == ("LIP-Red", "Face/Lipstick", 1)
    assert list(made.variants[0].barcodes) == [GTIN_14, "own-1"]
    assert await brand.call(pb.GetVariantRequest(sku="lip-red")) == made.variants[0]
    lipstick.MergeFrom(catalog_pb2.Variant(product_id=made.id, version=1))
    lipstick.barcodes[0] = GTIN_14
    assert [axis.name for axis in made.axes] == ["shade"]
    assert made.variants[0] == lipstick


async def test_what_is_wrong_with_a_product_is_named(brand: Brand) -> None:
    product = a_product("A", "a")
    product.variants[0].barcodes.append("40063813339")
    with pytest.raises(errors.InvalidRequest) as refusal:
        await brand.call(pb.CreateProductRequest(product=product))

    fields = [each.field for each in refusal.value.violations]
    assert fields == ["product.variants[0].barcodes[0]", "product.variants[1].sku"]


@pytest.mark.parametrize(
    ("code", "sku", "barcode", "taken"),
    [("CODE", "B", "other", "code"), ("x", "lip-1", "other", "SKU"), ("x", "B", GTIN_14, "barcode")],
)
async def test_a_key_that_is_taken_is_named(brand: Brand, code: str, sku: str, barcode: str, taken: str) -> None:
    await brand.product(code="code", variants=[a_variant("LIP-1", barcodes=[GTIN_13])])
    with pytest.raises(errors.AlreadyExists) as refusal:
        await brand.product(code=code, variants=[a_variant(sku, barcodes=[barcode])])

    assert refusal.value.metadata == {"resource": taken}


async def test_two_brands_have_the_same_codes_skus_and_barcodes(brand: Brand, other_brand: Brand) -> None:
    variant = a_variant("LIP-1", barcodes=[GTIN_13])
    ours = await brand.product(variants=[variant])
    await other_brand.product(variants=[variant])
    await other_brand.call(a_variant_edit("LIP-1", name="theirs"))

    assert (await brand.call(pb.GetVariantRequest(sku="LIP-1"))) == ours.variants[0]


async def test_a_product_of_another_brand_answers_like_one_that_never_was(brand: Brand, other_brand: Brand) -> None:
    theirs = await other_brand.product("LIP-1")
    refusals = set()
    for product_id in (theirs.id, ids.new("prd")):
        for request in (
            pb.GetProductRequest(product_id=product_id),
            a_product_edit(product_id, name="x"),
            pb.CreateVariantRequest(product_id=product_id, variant=a_variant("NEW")),
        ):
            with pytest.raises(errors.NotFound) as refusal:
                await brand.call(request)
            refusals.add((str(refusal.value), str(refusal.value.metadata)))
    assert len(refusals) == 1
    for request in (
        pb.GetVariantRequest(sku="LIP-1"),
        a_variant_edit("LIP-1", name="x"),
        pb.ListPricesRequest(sku="LIP-1"),
    ):
        with pytest.raises(stock_errors.SkuNotFound):
            await brand.call(request)


async def test_of_twenty_racers_one_makes_the_product_and_nothing_of_the_others_is_left(brand: Brand) -> None:
    racers = [brand.product(f"only-{n}", "shared", code=f"code-{n}") for n in range(20)]
    outcomes = await asyncio.gather(*racers, return_exceptions=True)

    assert sum(isinstance(outcome, errors.AlreadyExists) for outcome in outcomes) == 19
    assert len((await brand.call(pb.ListProductsRequest())).products) == 1
    assert len(await brand.search("lipstick")) == 2


async def test_each_product_of_a_batch_is_made_by_itself(brand: Brand) -> None:
    await brand.product("TAKEN")
    broken = a_product("D")
    broken.variants[0].barcodes.append("1234")

    outcomes = await batch(
        brand, a_product("A"), a_product("taken", code="x"), a_product("B", "a"), broken, a_product("B", "C")
    )

    assert outcomes == ["made", "ALREADY_EXISTS SKU", "ALREADY_EXISTS SKU", "INVALID_REQUEST", "made"]
    assert [each.code for each in (await brand.call(pb.ListProductsRequest())).products] == ["TAKEN", "A", "B"]


async def test_what_is_wrong_with_a_product_of_a_batch_is_named_from_the_product_on(brand: Brand) -> None:
    """Rules of the contract and rules that only code can check."""
    of_contract, of_code = a_product("not a sku", name=""), a_product("A", "a")
    answer = await brand.call(pb.BatchCreateProductsRequest(products=[of_contract, of_code, a_product("B")]))

    assert [violations(result.error) for result in answer.results] == [
        ["name", "variants[0].sku"],
        ["variants[1].sku"],
        [],
    ]
    assert answer.results[2].product.code == "B"


@pytest.mark.parametrize("count", [0, 501])
async def test_how_many_products_a_batch_has_is_a_rule_of_the_call(brand: Brand, count: int) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        await brand.call(pb.BatchCreateProductsRequest(products=[a_product("A")] * count))
    assert [violation.field for violation in refusal.value.violations] == ["products"]


async def test_a_repeated_batch_is_answered_and_not_made_again(brand: Brand) -> None:
    products = [a_product("A"), a_product("a"), a_product("", name="")]
    request = pb.BatchCreateProductsRequest(products=products, request_id="import")
    first = await brand.call(request)
    await brand.call(a_product_edit(first.results[0].product.id, name="New"))

    assert await brand.call(request) == first
    assert [result.HasField("product") for result in first.results] == [True, False, False]
    assert len(brand.pings) == 2


async def test_a_key_that_came_with_other_products_is_refused(brand: Brand) -> None:
    await brand.call(pb.BatchCreateProductsRequest(products=[a_product("A")], request_id="import"))
    with pytest.raises(errors.IdempotencyKeyReused):
        await brand.call(pb.BatchCreateProductsRequest(products=[a_product("B")], request_id="import"))


async def test_imports_of_the_same_goods_in_other_orders_make_each_once(brand: Brand) -> None:
    skus = [f"S{n:03}" for n in range(60)]

    async def run(shift: int) -> list[str]:
        turned = skus[shift:] + skus[:shift]
        return await batch(brand, *(a_product(sku, f"{sku}-x") for sku in (turned if shift % 2 else turned[::-1])))

    outcomes = await asyncio.gather(*(run(shift) for shift in range(0, 60, 10)))

    assert sum(each.count("made") for each in outcomes) == 60
    assert {what for each in outcomes for what in each} == {"made", "ALREADY_EXISTS code"}


async def test_an_edit_of_a_product_is_found_by_search_at_once(brand: Brand) -> None:
    made = await brand.product("A", "B", brand="Old", category="Face")

    edited = await brand.call(a_product_edit(made.id, expected_version=1, name="Gloss", category="Eyes/Shadow"))

    assert (edited.name, edited.category, edited.brand, edited.version) == ("Gloss", "Eyes/Shadow", "Old", 2)
    assert await brand.call(pb.GetProductRequest(product_id=made.id)) == edited
    assert await brand.search("gloss eyes") == ["A", "B"]
    assert await brand.search("lipstick") == []
    assert await brand.search("gloss", category="Eyes") == ["A", "B"]


async def test_an_edit_of_an_old_version_is_refused(brand: Brand) -> None:
    made = await brand.product("A")
    await brand.call(a_variant_edit("A", name="x"))  # an edit of a variant is one of its product too
    with pytest.raises(errors.VersionMismatch) as refusal:
        await brand.call(a_product_edit(made.id, expected_version=1, name="x"))
    assert refusal.value.metadata == {"current_version": "2"}
    with pytest.raises(errors.VersionMismatch):
        await brand.call(a_variant_edit("A", expected_version=1, name="y"))


async def test_a_variant_is_added_behind_the_others(brand: Brand) -> None:
    made = await brand.product("Z", "B")

    added = await brand.call(pb.CreateVariantRequest(product_id=made.id, variant=a_variant("A", barcodes=[GTIN_13])))

    product = await brand.call(pb.GetProductRequest(product_id=made.id))
    assert [each.sku for each in product.variants] == ["Z", "B", "A"]
    assert (product.variants[2], product.version) == (added, 2)


async def test_a_variant_whose_sku_or_barcode_is_taken_is_not_added(brand: Brand) -> None:
    made = await brand.product(variants=[a_variant("A", barcodes=[GTIN_13])])
    for variant, taken in ((a_variant("a"), "SKU"), (a_variant("B", barcodes=[GTIN_14]), "barcode")):
        with pytest.raises(errors.AlreadyExists) as refusal:
            await brand.call(pb.CreateVariantRequest(product_id=made.id, variant=variant))
        assert refusal.value.metadata == {"resource": taken}

    assert await brand.call(pb.GetProductRequest(product_id=made.id)) == made


async def test_of_twenty_racers_each_adds_a_variant_and_one_gets_the_barcode(brand: Brand) -> None:
    made = await brand.product("A")
    variants = [a_variant(f"B{n}", barcodes=[GTIN_13] if n % 2 else []) for n in range(20)]
    outcomes = await asyncio.gather(
        *(brand.call(pb.CreateVariantRequest(product_id=made.id, variant=each)) for each in variants),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, errors.AlreadyExists) for outcome in outcomes) == 9
    product = await brand.call(pb.GetProductRequest(product_id=made.id))
    assert (len(product.variants), product.version) == (12, 12)


async def test_an_edit_of_a_variant_sets_the_masked_fields_and_nothing_else(brand: Brand) -> None:
    package = catalog_pb2.PackageDimensions(length_mm=1, weight_g=2)
    old = a_variant("A", name="Red", barcodes=["old-code", GTIN_13], tax_category="full")
    await brand.product(variants=[old])

    edited = await brand.call(
        a_variant_edit("a", barcodes=[GTIN_13, "new-code"], package=package, discontinued=True, lead_time_days=5)
    )

    assert (edited.sku, edited.name, edited.tax_category, edited.version) == ("A", "Red", "full", 2)
    assert (list(edited.barcodes), edited.package, edited.discontinued) == ([GTIN_14, "new-code"], package, True)
    assert await brand.call(pb.GetVariantRequest(sku="A")) == edited
    assert await brand.search("old-code") == []
    assert await brand.search("new-code") == ["A"]


async def test_a_barcode_of_another_variant_is_not_given_by_an_edit(brand: Brand) -> None:
    await brand.product(variants=[a_variant("A", barcodes=[GTIN_13]), a_variant("B")])
    with pytest.raises(errors.AlreadyExists) as refusal:
        await brand.call(a_variant_edit("B", barcodes=["mine", GTIN_13]))

    assert GTIN_14 in str(refusal.value)
    assert await brand.search("mine") == []


async def test_masked_fields_of_a_variant_follow_the_rules_of_the_contract(brand: Brand) -> None:
    await brand.product("A")
    for fields in ({"lead_time_days": -1}, {"barcodes": ["x"]}, {"barcodes": ["12345678"]}):
        with pytest.raises(errors.InvalidRequest):
            await brand.call(a_variant_edit("A", **fields))


async def test_a_sku_that_a_path_needs_is_refused(brand: Brand) -> None:
    with pytest.raises(errors.InvalidRequest):
        await brand.product("Watch")


async def test_products_are_listed_in_the_order_they_were_made(brand: Brand) -> None:
    await batch(brand, *(a_product(f"S{n}") for n in (3, 1, 2)))
    await brand.product("S0")
    pages, token = [], ""
    while True:
        page = await brand.call(pb.ListProductsRequest(page_size=2, page_token=token))
        pages.append([each.code for each in page.products])
        if not (token := page.next_page_token):
            break

    assert pages == [["S3", "S1"], ["S2", "S0"]]


async def test_products_are_filtered_by_make_and_by_category_and_all_below(brand: Brand) -> None:
    for n, (make, category) in enumerate((("X", "Face"), ("X", "Face/Lips"), ("Y", "Face/Lips"), ("X", "Facecream"))):
        await brand.product(f"S{n}", brand=make, category=category)

    async def listed(**fields: str) -> list[str]:
        request = pb.ListProductsRequest(filter=pb.ListProductsRequest.Filter(**fields))
        return [each.code for each in (await brand.call(request)).products]

    assert await listed(category="Face") == ["S0", "S1", "S2"]
    assert await listed(category="Face/Lips") == ["S1", "S2"]
    assert await listed(category="Face", brand="X") == ["S0", "S1"]
    assert await listed(brand="x") == []


async def test_a_filter_with_a_character_that_no_text_has_is_refused(brand: Brand) -> None:
    for request in (
        pb.ListProductsRequest(filter=pb.ListProductsRequest.Filter(category="a\0b")),
        pb.ListProductsRequest(filter=pb.ListProductsRequest.Filter(brand="a\0b")),
        pb.SearchProductsRequest(query="a", category="a\0b"),
    ):
        with pytest.raises(errors.InvalidRequest):
            await brand.call(request)


async def test_a_page_token_of_another_query_or_a_damaged_one_is_refused(brand: Brand) -> None:
    await batch(brand, a_product("A"), a_product("B"))
    token = (await brand.call(pb.ListProductsRequest(page_size=1))).next_page_token
    narrowed = pb.ListProductsRequest(page_token=token, filter=pb.ListProductsRequest.Filter(brand="x"))
    for request in (narrowed, pb.ListProductsRequest(page_token=token[:-3]), pb.ListProductsRequest(page_token="x")):
        with pytest.raises(errors.InvalidPageToken):
            await brand.call(request)


async def test_each_version_of_a_product_is_told_once_and_whole(
    brand: Brand, as_owner: psycopg.Connection[Any]
) -> None:
    made = await brand.product("A")
    await brand.call(pb.CreateVariantRequest(product_id=made.id, variant=a_variant("B")))
    await brand.call(a_variant_edit("A", name="x"))
    edited = await brand.call(a_product_edit(made.id, name="Gloss"))

    rows = as_owner.execute(
        "SELECT seq_from, seq_to, data FROM outbox WHERE tenant_id = %s AND key = %s ORDER BY seq_to",
        [brand.tenant, made.id],
    ).fetchall()
    assert [row[:2] for row in rows] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    told = [inventory_events_pb2.ProductChanged.FromString(row[2]).product for row in rows]
    assert (told[0], told[3]) == (made, edited)
    assert [len(each.variants) for each in told] == [1, 2, 2, 2]
