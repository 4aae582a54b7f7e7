"""What the demo loads follows the contract and the rules of the catalogue."""

from __future__ import annotations

import pytest
from google.protobuf import json_format

from edge import demo
from services.inventory.domain import catalog_codes as codes
from services.inventory.domain import catalog_locations, catalog_products
from services.inventory.mapping import catalog_requests as requests
from services.kit import ids, validation
from tillmesh.inventory.v1 import catalog_service_pb2 as pb
from tillmesh.inventory.v1 import inventory_service_pb2

BRANDS = [demo.BEAUTY, demo.FURNITURE]


@pytest.fixture(params=BRANDS, ids=lambda brand: brand.tenant)
def brand(request: pytest.FixtureRequest) -> demo.Brand:
    return request.param


def location_ids(brand: demo.Brand) -> dict[str, str]:
    return {place.code: ids.new("loc") for place in brand.places}


def test_its_locations_may_be_made(brand: demo.Brand) -> None:
    for place in brand.places:
        request = json_format.ParseDict({"location": demo.location(place)}, pb.CreateLocationRequest())
        validation.check(request)
        catalog_locations.check_location(requests.location_draft(request.location), "location")


def test_its_products_may_be_made(brand: demo.Brand) -> None:
    request = json_format.ParseDict({"products": demo.products(brand)}, pb.BatchCreateProductsRequest())
    validation.check(request)
    for product in request.products:
        catalog_products.check_product(requests.product_draft(product))


def test_its_prices_and_its_opening_stock_follow_the_contract(brand: demo.Brand) -> None:
    for sku, price in demo.prices(brand, location_ids(brand)):
        validation.check(json_format.ParseDict({"sku": sku, "price": price}, pb.SetPriceRequest()))
    lines = {"lines": demo.opening(brand, location_ids(brand))}
    validation.check(json_format.ParseDict(lines, inventory_service_pb2.BulkUpdateStockRequest()))


def test_its_exceptions_name_places_and_goods_that_are_there(brand: demo.Brand) -> None:
    named = {(code, sku) for code, sku, _ in (*brand.local, *brand.safety, *brand.low)}

    assert named <= {(place.code, goods.sku) for place in brand.places for goods in brand.goods}


def test_all_stock_is_somewhere(brand: demo.Brand) -> None:
    assert sum(place.stock for place in brand.places) == 10
    assert all(goods.units % 10 == 0 for goods in brand.goods)


def test_no_code_is_twice() -> None:
    variants = [each for brand in BRANDS for product in demo.products(brand) for each in product["variants"]]
    barcodes = [barcode for each in variants for barcode in each["barcodes"]]

    assert len({codes.sku_key(each["sku"]) for each in variants}) == len(variants)
    assert len(set(barcodes)) == len(barcodes)
    assert all(codes.is_gtin(barcode) for barcode in barcodes)
