"""What becomes of a request on the wire before anything is done."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from services.kit import errors, ids, paging, principal
from services.orders.mapping import requests
from tillmesh.orders.v1 import orders_pb2
from tillmesh.orders.v1 import orders_service_pb2 as pb

TENANT, SHOP = ids.new("ten"), ids.new("loc")
CALLER = principal.Principal(
    subject="usr_ana",
    tenant_id=TENANT,
    roles=frozenset({"associate"}),
    scopes=frozenset(),
    locations=frozenset({SHOP}),
    expires_at=0,
    terminal_id="trm_1",
    actor="usr_ana",
)


def request(**changes: Any) -> pb.RecordSaleRequest:
    values: dict[str, Any] = {"location_id": SHOP, "client_sale_id": "s-1"}
    values["lines"] = [pb.RecordSaleRequest.Line(code="LIP-1", quantity=1, net_amount=5)]
    return pb.RecordSaleRequest(**{**values, **changes})


def test_the_fingerprint_is_of_the_content_and_not_of_the_request_id() -> None:
    first = requests.record_sale(request(request_id="a"), CALLER)
    again = requests.record_sale(request(request_id="b"), CALLER)
    other = requests.record_sale(request(campaign_id="spring"), CALLER)
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert (first.request_id, again.request_id) == ("a", "b")


def test_the_till_of_the_token_wins() -> None:
    named = requests.record_sale(request(terminal_id="other"), CALLER)
    free = requests.record_sale(request(terminal_id="other"), dataclasses.replace(CALLER, terminal_id=""))
    assert (named.sale.terminal_id, free.sale.terminal_id) == ("trm_1", "other")
    assert named.fingerprint == requests.record_sale(request(), CALLER).fingerprint


def test_a_line_of_no_kind_is_an_item_and_an_unsaid_price_is_none() -> None:
    (line,) = requests.record_sale(request(), CALLER).sale.lines
    assert line.kind.name == "ITEM"
    assert line.unit_price is None
    free = [pb.RecordSaleRequest.Line(code="X", quantity=1, unit_price=0)]
    assert requests.record_sale(request(lines=free), CALLER).sale.lines[0].unit_price == 0


def test_a_time_that_is_none_is_refused() -> None:
    of = request()
    of.occurred_at.seconds = 10**15
    with pytest.raises(errors.InvalidRequest):
        requests.record_sale(of, CALLER)


def test_ids_that_look_like_ids_and_cannot_be_any_are_refused() -> None:
    impossible = "z" * 26
    with pytest.raises(errors.NotFound):
        requests.record_sale(request(location_id=f"loc_{impossible}"), CALLER)
    with pytest.raises(errors.NotFound):
        requests.order_uuid(f"ord_{impossible}")
    with pytest.raises(errors.InvalidRequest):
        requests.record_sale(request(customer_id=f"cus_{impossible}"), CALLER)


def test_days_that_are_not_in_the_calendar_are_refused() -> None:
    with pytest.raises(errors.InvalidRequest):
        requests.list_filter(pb.ListSalesRequest(filter={"business_date_from": "2026-02-30"}))
    with pytest.raises(errors.InvalidRequest):
        requests.question(pb.SummarizeSalesRequest(business_date_from="2026-13-01", business_date_to="2026-01-01"))


@pytest.mark.parametrize(
    "key", [["2026-99-01", "EUR"], [1, "EUR"], ["2026-01-01"], [None, "EUR"], ["2026-01-01", "\0"]]
)
def test_a_page_token_that_somebody_made_up_is_refused(key: list[str | int | None]) -> None:
    of = pb.SummarizeSalesRequest(location_id=SHOP, business_date_from="2026-01-01", business_date_to="2026-01-02")
    of.group_by.append(pb.SALES_DIMENSION_BUSINESS_DATE)
    of.page_token = paging.next_token(TENANT, of, key)
    with pytest.raises(errors.InvalidPageToken):
        requests.summary_start(of, TENANT, requests.question(of).dimensions)


@pytest.mark.parametrize("key", [[10**18, ids.new_uuid().hex], [0, "x"], [None, None]])
def test_a_list_token_that_somebody_made_up_is_refused(key: list[str | int | None]) -> None:
    of = pb.ListSalesRequest(location_id=SHOP)
    of.page_token = paging.next_token(TENANT, of, key)
    with pytest.raises(errors.InvalidPageToken):
        requests.list_start(of, TENANT)


def test_tenders_are_read_with_their_signs() -> None:
    change = orders_pb2.Tender(type=orders_pb2.TENDER_TYPE_CASH, amount={"currency_code": "EUR", "minor_units": -5})
    (tender,) = requests.record_sale(request(tenders=[change]), CALLER).sale.tenders
    assert (tender.type.name, tender.amount, tender.currency_code) == ("CASH", -5, "EUR")
