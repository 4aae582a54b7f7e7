"""eBay behind the port, against a simulator that refuses what eBay's documentation forbids. No database is needed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.kit import events, ids, process
from services.orders.domain.marketplaces import reading, values
from services.orders.marketplaces import port
from services.orders.marketplaces.adapters import configured, ebay, ebay_api
from tests.integration.orders.placing.marketplaces import ebay_simulator as simulator
from tests.integration.orders.placing.marketplaces.ebay_simulator import EbayServer, moment
from tests.integration.orders.placing.marketplaces.market import account

GET_ORDERS = "GET /sell/fulfillment/v1/order"


@pytest.fixture
async def market(server: EbayServer) -> AsyncIterator[ebay.Ebay]:
    made = ebay.Ebay(ebay_api.Api(account(server.url), seconds=2.0))
    yield made
    await made.close()


async def all_orders(market: ebay.Ebay, window: reading.Window | None = None) -> list[port.Incoming]:
    now = await market.clock()
    window = window or reading.Window(now - dt.timedelta(hours=1), now)
    found: list[port.Incoming] = []
    page = ""
    while True:
        answer = await market.orders(window, page)
        found += answer.orders
        page = answer.next
        if not page:
            return found


# --- orders ---


async def test_orders_are_paged_to_the_end(server: EbayServer, market: ebay.Ebay) -> None:
    server.account.page_size = 2
    numbers = {server.account.buy(("lip", 1))["orderId"] for _ in range(5)}

    found = await all_orders(market)

    assert {each.number for each in found} == numbers
    assert server.account.calls.count(GET_ORDERS) == 3


async def test_both_ends_of_a_stretch_of_time_belong_to_it(server: EbayServer, market: ebay.Ebay) -> None:
    at = dt.datetime.now(dt.UTC).replace(microsecond=123_000) - dt.timedelta(minutes=5)
    edges = [at, at + dt.timedelta(minutes=1)]
    for each in edges:
        server.account.buy(("lip", 1), lastModifiedDate=moment(each))

    found = await all_orders(market, reading.Window(*edges))

    assert sorted(each.modified_at for each in found) == edges


async def test_the_marketplace_s_clock_is_asked_for_and_never_ours(server: EbayServer, market: ebay.Ebay) -> None:
    server.account.skew = dt.timedelta(minutes=-30)

    now = await market.clock()

    assert abs(now - server.account.now()) < dt.timedelta(seconds=5)
    assert await all_orders(market, reading.Window(now - dt.timedelta(minutes=1), now)) == []
    with pytest.raises(port.Refused, match="30850"):
        await market.orders(reading.Window(now, dt.datetime.now(dt.UTC)), "")


async def test_amounts_are_of_the_seller_s_currency(server: EbayServer, market: ebay.Ebay) -> None:
    theirs = server.account.buy(("lip", 2))
    converted = {"value": "21.80", "currency": "USD", "convertedFromValue": "20.00", "convertedFromCurrency": "EUR"}
    theirs["lineItems"][0]["lineItemCost"] = dict(converted)
    theirs["pricingSummary"]["total"] = dict(converted)

    (found,) = await all_orders(market)

    assert found.content is not None
    assert (found.content.currency_code, found.content.total) == ("EUR", 2000)


def broken(theirs: dict[str, Any], how: str) -> None:
    line, summary = theirs["lineItems"][0], theirs["pricingSummary"]
    if how == "no quantity":
        line["quantity"] = 0
    elif how == "no lineItems":
        theirs["lineItems"] = []
    elif how == "no total":
        summary.pop("total")
    elif how == "an amount that is not whole":
        summary["total"] = {"value": "19.999", "currency": "EUR"}
    elif how == "several currencies":
        line["lineItemCost"] = {"value": "20.00", "currency": "USD"}
    elif how == "InvalidOperation":
        summary["total"] = {"value": "twenty", "currency": "EUR"}
    elif how == "ValueError":
        theirs["creationDate"] = "yesterday"


@pytest.mark.parametrize(
    "how",
    [
        "no quantity",
        "no lineItems",
        "no total",
        "an amount that is not whole",
        "several currencies",
        "InvalidOperation",
        "ValueError",
    ],
)
async def test_an_order_that_cannot_be_read_is_not_left_out(server: EbayServer, market: ebay.Ebay, how: str) -> None:
    broken(server.account.buy(("lip", 2)), how)

    (found,) = await all_orders(market)

    assert (found.content, found.unreadable) == (None, how)


# --- tokens, throttling, silence ---


async def test_one_token_serves_many_calls_and_a_revoked_one_is_renewed(server: EbayServer, market: ebay.Ebay) -> None:
    await all_orders(market)
    await all_orders(market)
    before = server.account.calls.count("POST /identity/v1/oauth2/token")
    server.account.tokens.clear()
    await all_orders(market)

    assert (before, server.account.calls.count("POST /identity/v1/oauth2/token")) == (1, 2)


@pytest.mark.parametrize("change", [{"refresh_token": "withdrawn"}, {"client_secret": "rolled"}])
async def test_credentials_that_are_not_good_any_more_lock_out(server: EbayServer, change: dict[str, str]) -> None:
    market = ebay.Ebay(ebay_api.Api(account(server.url, **change)))
    with pytest.raises(port.LockedOut, match="invalid_grant" if "refresh_token" in change else "invalid_client"):
        await all_orders(market)
    await market.close()


def test_secrets_stand_in_no_text_of_an_account() -> None:
    assert all(secret not in repr(account("http://x")) for secret in (simulator.SECRET, simulator.REFRESH))


@pytest.mark.parametrize(("told", "seconds"), [("7", 7.0), ("", None), ("soon", None)])
async def test_throttling_says_how_long_to_wait_where_it_says_so(
    server: EbayServer, market: ebay.Ebay, told: str, seconds: float | None
) -> None:
    await market.clock()
    server.account.throttled, server.account.retry_after = 1, told

    with pytest.raises(port.Throttled) as throttled:
        await all_orders(market)

    assert throttled.value.seconds == seconds


async def test_a_date_to_wait_for_is_understood_too(server: EbayServer, market: ebay.Ebay) -> None:
    await market.clock()
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90)
    server.account.throttled, server.account.retry_after = 1, at.strftime("%a, %d %b %Y %H:%M:%S GMT")

    with pytest.raises(port.Throttled) as throttled:
        await all_orders(market)

    assert throttled.value.seconds is not None
    assert 80 < throttled.value.seconds <= 90


@pytest.mark.parametrize("fault", ["no_request", "no_answer", 500, 502, 503])
async def test_silence_and_failures_of_the_server_say_nothing(
    server: EbayServer, market: ebay.Ebay, fault: str | int
) -> None:
    server.account.list_item("lip", 1)
    await market.clock()
    server.account.faults = [("/sell/", fault), ("/sell/inventory/v1/bulk", fault)]
    with pytest.raises(port.NoAnswer):
        await all_orders(market)
    with pytest.raises(port.NoAnswer):
        await market.set_quantities({"lip": 3})


# --- quantities ---


async def test_a_quantity_is_set_for_the_item_and_its_offer(server: EbayServer, market: ebay.Ebay) -> None:
    server.account.list_item("lip", 1)
    server.account.list_item("no offer", 1, offer=False)

    told = await market.set_quantities({"lip": 7, "no offer": 4})

    assert {sku: each.heard for sku, each in told.items()} == dict.fromkeys(("lip", "no offer"), port.Heard.TAKEN)
    assert (server.account.listed("lip"), server.account.listed("no offer")) == (7, 4)
    assert (await market.quantity("lip"), await market.quantity("nobody knows")) == (7, None)


async def test_each_sku_is_judged_by_itself(server: EbayServer, market: ebay.Ebay) -> None:
    server.account.list_item("lip", 1)

    told = await market.set_quantities({"lip": 7, "gone": 1})

    assert told["lip"].heard is port.Heard.TAKEN
    assert told["gone"] == port.Told(port.Heard.REFUSED, "25702")


async def test_an_offer_that_was_replaced_is_looked_up_again(server: EbayServer, market: ebay.Ebay) -> None:
    server.account.list_item("lip", 1)
    await market.set_quantities({"lip": 5})
    server.account.offers.clear()
    server.account.list_item("lip", 5)

    first = await market.set_quantities({"lip": 6})
    second = await market.set_quantities({"lip": 6})

    assert (first["lip"].heard, second["lip"].heard) == (port.Heard.REFUSED, port.Heard.TAKEN)
    assert server.account.listed("lip") == 6


async def test_listings_are_paged_by_page_numbers(server: EbayServer, market: ebay.Ebay) -> None:
    server.account.page_size = 2
    for number in range(5):
        server.account.list_item(f"lip-{number}", number)
    found: dict[str, int] = {}
    page = ""
    for _ in range(3):
        stocked = await market.listings(page)
        found |= stocked.quantities
        page = stocked.next

    assert (found, page) == ({f"lip-{number}": number for number in range(5)}, "")


# --- status ---


def cancelled(theirs: dict[str, Any], why: values.CancelWhy = values.CancelWhy.OUT_OF_STOCK) -> values.Status:
    return values.Status(
        theirs["orderId"], values.StatusKind.CANCELLED, why=why, paid_at=dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC)
    )


@pytest.mark.parametrize("fault", ["", "no_request", "no_answer"])
async def test_an_order_is_cancelled_once_however_often_it_is_told(
    server: EbayServer, market: ebay.Ebay, fault: str
) -> None:
    theirs = server.account.buy(("lip", 1))
    if fault:
        server.account.faults = [("/post-order/", fault)]
        with pytest.raises(port.NoAnswer):
            await market.tell(cancelled(theirs))
    for _ in range(2):
        await market.tell(cancelled(theirs))

    assert [each["cancelReason"] for each in server.account.cancellations] == ["OUT_OF_STOCK_OR_CANNOT_FULFILL"]


async def test_an_order_that_may_not_be_cancelled_says_why(server: EbayServer, market: ebay.Ebay) -> None:
    theirs = server.account.buy(("lip", 1))
    server.account.touch(theirs["orderId"], orderFulfillmentStatus="FULFILLED")

    with pytest.raises(port.Refused, match="ALREADY_SHIPPED"):
        await market.tell(cancelled(theirs))
    with pytest.raises(port.Refused, match="32100"):
        await market.tell(cancelled({"orderId": "99-99999-99999"}))


@pytest.mark.parametrize("fault", ["", "no_request", "no_answer"])
@pytest.mark.parametrize(("carrier", "tracking"), [("", ""), ("AT_Post", "10-123 456")])
async def test_a_package_is_told_once_with_its_tracking_or_without(
    server: EbayServer, market: ebay.Ebay, fault: str, carrier: str, tracking: str
) -> None:
    theirs = server.account.buy(("lip", 2), ("liner", 1))
    refs = [line["lineItemId"] for line in theirs["lineItems"]]
    at = dt.datetime.now(dt.UTC).replace(microsecond=0)
    package = values.Shipment(((refs[0], 2), (refs[1], 1)), at, carrier, tracking)
    shipped = values.Status(theirs["orderId"], values.StatusKind.SHIPPED, key="p", shipment=package)
    if fault:
        server.account.faults = [("", ""), ("", ""), ("", fault)]  # a token, what is there already, and then
        with pytest.raises(port.NoAnswer):
            await market.tell(shipped)
    for _ in range(2):
        await market.tell(shipped)

    (told,) = server.account.fulfillments[theirs["orderId"]]
    assert told.get("shipmentTrackingNumber", "") == ("10123456" if tracking else "")
    assert [(line["lineItemId"], line["quantity"]) for line in told["lineItems"]] == [(refs[0], 2), (refs[1], 1)]


# --- accounts ---


def configuration(folder: Path, **changes: Any) -> Path:
    for name, secret in (("client", simulator.SECRET), ("seller", simulator.REFRESH)):
        (folder / name).write_text(f"{secret}\n")
    given = {
        "kind": "ebay",
        "client_id": simulator.CLIENT,
        "client_secret_file": str(folder / "client"),
        "refresh_token_file": str(folder / "seller"),
        "marketplace_id": "EBAY_AT",
        **changes,
    }
    file = folder / "marketplaces.json"
    file.write_text(json.dumps({TENANT: {"main": given}}))
    return file


TENANT = ids.new("ten")


async def test_accounts_are_read_from_a_file_and_secrets_from_their_own(server: EbayServer, tmp_path: Path) -> None:
    server.account.buy(("lip", 1))
    accounts = configured.Accounts(configuration(tmp_path, url=server.url))

    found = accounts.find(events.tenant_uuid(TENANT), "main")

    assert found is not None
    assert found[0] is values.Kind.EBAY
    assert len(await all_orders(found[1])) == 1  # type: ignore[arg-type]
    assert accounts.find(events.tenant_uuid(TENANT), "other") is None
    assert accounts.find(events.tenant_uuid(ids.new("ten")), "main") is None
    await accounts.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://api.ebay.com"},
        {"kind": "bazaar"},
        {"client_secret_file": "/nowhere"},
        {"marketplace_id": "EBAY-AT"},
        {"more": 1},
    ],
)
def test_a_file_that_is_wrong_stops_the_service(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(process.NotConfigured):
        configured.Accounts(configuration(tmp_path, **changes))
