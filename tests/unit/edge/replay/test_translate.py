from __future__ import annotations

import datetime as dt

import hypothesis
import protovalidate
import pytest
from google.protobuf import json_format
from hypothesis import strategies as st

from edge.replay import data, expected, translate
from edge.replay.data import Row
from tests.unit.edge.replay.rows import MONDAY_NOON, PRODUCTS, cut, product, row
from tillmesh.inventory.v1 import catalog_service_pb2 as catalog_pb
from tillmesh.inventory.v1 import inventory_service_pb2 as inventory_pb
from tillmesh.orders.v1 import orders_pb2
from tillmesh.orders.v1 import orders_service_pb2 as orders_pb

LOCATION = "loc_01h455vb4pex5vsknk084sn02q"


def sale(*rows: Row) -> orders_pb.RecordSaleRequest:
    request = translate.sale(rows, LOCATION, PRODUCTS)
    protovalidate.validate(request)
    return request


def lines(*rows: Row) -> list[tuple[str, str, int, int]]:
    """Kind, code, quantity and net amount of each line."""
    kinds = orders_pb2.LineKind
    return [
        (kinds.Name(line.kind).removeprefix("LINE_KIND_"), line.code, line.quantity, line.net_amount)
        for line in sale(*rows).lines
    ]


def test_a_basket_is_a_sale_under_its_own_id_at_its_own_time() -> None:
    request = sale(row(basket_id=31198570044))
    assert (request.client_sale_id, request.terminal_id) == ("31198570044", "CJ-367")
    assert request.occurred_at.ToDatetime(dt.UTC) == MONDAY_NOON


def test_the_same_basket_is_the_same_request_each_time() -> None:
    rows = [row(card_discount=10, coupon=20), row(product_id=11, quantity=0, value=0)]
    first, second = (translate.sale(rows, LOCATION, PRODUCTS).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_an_item_costs_what_the_store_books_and_tells_its_discounts() -> None:
    line = sale(row(value=99, card_discount=125, coupon_match=25)).lines[0]
    assert line.net_amount == 99
    assert [(d.name, d.minor_units) for d in line.discounts] == [("Loyalty card", 125), ("Coupon match", 25)]
    assert line.unit_price == 249


def test_a_coupon_is_an_adjustment_below_its_item() -> None:
    assert lines(row(value=99, coupon=75)) == [("ITEM", "CJ-10", 1, 99), ("ADJUSTMENT", "CJ-10", 0, -75)]


def test_a_line_without_units_is_an_adjustment_of_value_less_coupon() -> None:
    assert lines(row(quantity=0, value=0, coupon=200)) == [("ADJUSTMENT", "CJ-10", 0, -200)]
    assert lines(row(quantity=0, value=79)) == [("ADJUSTMENT", "CJ-10", 0, 79)]
    assert lines(row(quantity=0, value=0)) == [("ADJUSTMENT", "CJ-10", 0, 0)]


def test_fuel_has_no_unit_price_and_its_exact_amount() -> None:
    line = sale(row(quantity=8725, value=2006)).lines[0]
    assert (line.quantity, line.net_amount, line.HasField("unit_price")) == (8725, 2006, False)


def test_a_unit_price_is_given_where_it_has_whole_cents() -> None:
    assert sale(row(quantity=3, value=300)).lines[0].unit_price == 100
    assert not sale(row(quantity=3, value=200)).lines[0].HasField("unit_price")


def test_an_item_that_nobody_knows_is_sold_all_the_same() -> None:
    line = sale(row(product_id=1093587)).lines[0]
    assert (line.code, line.name) == ("CJ-1093587", translate.UNKNOWN)


@pytest.mark.parametrize("coupon", [0, 100, 150])
def test_the_tender_is_what_the_customer_paid_also_when_money_is_given_back(coupon: int) -> None:
    request = sale(row(value=100, coupon=coupon))
    assert request.tenders[0].amount.minor_units == 100 - coupon == sum(line.net_amount for line in request.lines)


def test_a_basket_with_more_lines_than_a_sale_may_have_is_refused() -> None:
    with pytest.raises(data.DataError, match="501 lines"):
        sale(*(row(product_id=number) for number in range(501)))


def test_a_product_is_named_and_filed() -> None:
    made = translate.product(product())
    protovalidate.validate(catalog_pb.BatchCreateProductsRequest(products=[made]))
    assert json_format.MessageToDict(made, preserving_proto_field_name=True) == {
        "code": "CJ-10",
        "name": "CONES, 6 CT",
        "brand": "National",
        "category": "GROCERY/COOKIES-CONES",
        "variants": [{"sku": "CJ-10", "stock_unit": "STOCK_UNIT_EACH"}],
    }


def test_a_product_of_which_little_is_known_still_has_a_name() -> None:
    made = translate.product(product(kind="", category="", package_size=""))
    assert (made.name, made.category) == ("GROCERY", "GROCERY")


def test_a_store_is_a_location_of_its_zone() -> None:
    made = translate.location(367)
    protovalidate.validate(catalog_pb.CreateLocationRequest(location=made))
    assert (made.code, made.timezone, made.currency_code) == ("CJ-367", "America/New_York", "USD")


def test_opening_stock_is_what_will_be_sold_and_a_margin() -> None:
    units = translate.opening_units({10: 5, 11: 0, 99: 3}, PRODUCTS)
    assert units == {"CJ-10": 5 + translate.MARGIN_UNITS}
    line = translate.opening_line(LOCATION, 2, "CJ-10", 15)
    protovalidate.validate(inventory_pb.BulkUpdateStockRequest(lines=[line]))
    assert line.occurred_at.ToDatetime(dt.UTC) == dt.datetime(2017, 1, 2, 5, tzinfo=dt.UTC)


amounts = st.integers(0, 100_000)
rows = st.builds(
    row,
    basket_id=st.integers(1, 5),
    product_id=st.integers(10, 14),
    quantity=st.integers(0, 90_000),
    value=amounts,
    card_discount=amounts,
    coupon=amounts,
    coupon_match=amounts,
)


@hypothesis.given(st.lists(rows, min_size=1, max_size=40, unique_by=lambda r: (r.basket_id, r.product_id)))
@hypothesis.settings(deadline=None, max_examples=50)
def test_what_is_sent_adds_up_to_what_is_expected(given: list[Row]) -> None:
    chosen = cut(given)
    sent = [sale(*basket) for basket in chosen.baskets()]
    [day] = expected.of(chosen)[367].days.values()
    every = [line for request in sent for line in request.lines]
    assert day.figures() == (
        len(sent),
        len(every),
        sum(line.quantity for line in every),
        sum(request.tenders[0].amount.minor_units for request in sent),
        sum(discount.minor_units for line in every for discount in line.discounts),
    )
