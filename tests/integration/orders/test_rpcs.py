"""The whole process over gRPC: tokens, contract, catalogue, lanes, answers. Inventory is tests/…/fake_inventory.py."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.kit import ids
from services.orders import bootstrap
from tests.integration.orders import fake_inventory
from tests.unit.kit import keyring
from tillmesh.common.v1 import audit_pb2, event_pb2
from tillmesh.orders.v1 import orders_pb2, placement_pb2
from tillmesh.orders.v1 import orders_service_pb2 as pb
from tillmesh.orders.v1 import orders_service_pb2_grpc as rpc

OTHER_TENANT = ids.new("ten")
SALE_SCOPES = "sales:write orders:read admin"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: paths of sockets end at 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tm-ord-") as name:
        yield Path(name)


class Door:
    """A client of a running Orders."""

    def __init__(self, address: str, users: keyring.Keyring, inventory: fake_inventory.FakeInventory) -> None:
        self.tenant = ids.new("ten")
        self.users = users
        self.inventory = inventory
        self.channel = grpc.aio.insecure_channel(address)
        self.stub: Any = rpc.OrdersServiceStub(self.channel)

    def token(self, **claims: Any) -> list[tuple[str, str]]:
        given = {"tid": self.tenant, "roles": ["admin"], "scope": SALE_SCOPES, "locs": ["*"], "trm": None}
        return [("authorization", f"Bearer {self.users.sign('user-1', keyring.user_claims(**{**given, **claims}))}")]

    async def call(self, method: str, request: Any, **claims: Any) -> Any:
        return await getattr(self.stub, method)(request, metadata=self.token(**claims), timeout=10)

    async def refused(self, method: str, request: Any, **claims: Any) -> error_details_pb2.ErrorInfo:
        """The reason why the call was refused."""
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await self.call(method, request, **claims)
        details = dict(refusal.value.trailing_metadata() or ())["grpc-status-details-bin"]
        info = error_details_pb2.ErrorInfo()
        assert isinstance(details, bytes)
        assert status_pb2.Status.FromString(details).details[0].Unpack(info)
        return info


@pytest.fixture
async def door(folder: Path, urls: tuple[str, str, str], keys_file: Path, erasure_log: Path) -> AsyncIterator[Door]:
    """Orders in this process, with all its parts; NATS is away."""
    users, services = keyring.Keyring(folder / "edge.json"), keyring.Keyring(folder / "services.json")
    users.add("user-1")
    (folder / "orders.pem").write_bytes(services.add("svc-orders-1").as_pem(private=True))
    inventory = fake_inventory.FakeInventory()
    other = fake_inventory.serve(folder, users, services, inventory)
    await other.start()
    given = {
        "listen": f"unix:{folder}/orders.sock",
        "issuer": keyring.ISSUER,
        "jwks_file": users.file,
        "service_jwks_file": services.file,
        "service_key_file": folder / "orders.pem",
        "inventory_address": other.address,
        "nats_url": "nats://127.0.0.1:1",
        "drain_seconds": 0,
        "TILLMESH_ORDERS_DATABASE_URL": urls[0],
        "TILLMESH_ORDERS_WORKER_DATABASE_URL": urls[1],
        "TILLMESH_ORDERS_KEYS_FILE": keys_file,
        "TILLMESH_ORDERS_ERASURE_LOG": erasure_log,
        "audit_keys_file": keys_file,
        "audit_anchors": folder / "audit",
    }
    orders = bootstrap.Orders(bootstrap.Settings(**given))
    running = asyncio.create_task(orders.run("serve", "relay", "consume"))
    made = Door(f"unix:{folder}/orders.sock", users, inventory)
    await serving(made.channel)
    yield made
    await made.channel.close()
    orders.process.server.stop()
    await running
    await other.close()


async def serving(channel: grpc.aio.Channel) -> None:
    async with asyncio.timeout(15):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watched = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        async for answer in watched:
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                watched.cancel()
                return


def sale(location_id: str, client_sale_id: str = "s-1", **changes: Any) -> pb.RecordSaleRequest:
    values: dict[str, Any] = {
        "location_id": location_id,
        "client_sale_id": client_sale_id,
        "terminal_id": "till-1",
        "tax_inclusive": True,
        "lines": [pb.RecordSaleRequest.Line(code="lip-1", quantity=2, net_amount=1998, unit_price=999)],
    }
    made = pb.RecordSaleRequest(**{**values, **changes})
    made.occurred_at.FromJsonString("2026-03-04T11:00:00.123456Z")
    return made


async def test_a_sale_is_recorded_read_listed_and_summed(door: Door) -> None:
    shop = door.inventory.open_shop()
    order = await door.call("RecordSale", sale(shop))

    (line,) = order.lines
    assert (line.sku, line.name, line.category, line.price_id) == ("LIP-1", "Lipstick, red", "Face/Lipstick", "p-1")
    assert not line.unresolved
    assert line.product_id == door.inventory.items["LIP-1"].product_id
    assert (order.total.currency_code, order.total.minor_units) == ("EUR", 1998)
    assert (order.channel, order.state) == (orders_pb2.CHANNEL_POS, orders_pb2.ORDER_STATE_COMPLETED)
    assert (order.business_date, order.business_hour, order.version) == ("2026-03-04", 12, 1)
    assert order.occurred_at.ToJsonString() == "2026-03-04T11:00:00.123456Z"
    assert order.stock_effect == orders_pb2.STOCK_EFFECT_PENDING

    assert await door.call("GetOrder", pb.GetOrderRequest(order_id=order.id)) == order
    assert list((await door.call("ListSales", pb.ListSalesRequest(location_id=shop))).sales) == [order]
    question = pb.SummarizeSalesRequest(
        location_id=shop,
        business_date_from="2026-03-04",
        business_date_to="2026-03-04",
        group_by=[pb.SALES_DIMENSION_BUSINESS_DATE, pb.SALES_DIMENSION_HOUR, pb.SALES_DIMENSION_SKU],
    )
    (row,) = (await door.call("SummarizeSales", question)).rows
    assert (row.business_date, row.hour, row.sku, row.sales, row.units) == ("2026-03-04", 12, "LIP-1", 1, 2)
    assert (row.net_amount.minor_units, row.tax_amount.minor_units) == (1998, 0)


async def test_the_same_sale_again_is_the_same_order_and_another_is_refused(door: Door) -> None:
    shop = door.inventory.open_shop()
    first = await door.call("RecordSale", sale(shop, request_id="a"))
    assert await door.call("RecordSale", sale(shop, request_id="b")) == first

    info = await door.refused("RecordSale", sale(shop, tax_inclusive=False))
    assert (info.reason, dict(info.metadata)) == ("SALE_ID_REUSED", {"order_id": first.id})


async def test_orders_asks_inventory_with_its_own_token_on_behalf_of_the_user(door: Door) -> None:
    shop = door.inventory.open_shop()
    await door.call("RecordSale", sale(shop), sub="usr_ana", roles=["associate"], scope="sales:write", locs=[shop])

    caller, *_ = door.inventory.callers  # a slow machine may renew the items meanwhile, for nobody
    assert (caller.service, caller.subject, caller.tenant_id) == ("orders", "usr_ana", door.tenant)


async def test_stock_is_applied_as_soon_as_inventory_says_so(door: Door) -> None:
    shop = door.inventory.open_shop()
    orders = [await door.call("RecordSale", sale(shop, f"s-{n}")) for n in range(3)]
    door.inventory.positions[shop] = 2

    listed = await door.call("ListSales", pb.ListSalesRequest(location_id=shop, order_by="occurred_at"))
    applied, pending = orders_pb2.STOCK_EFFECT_APPLIED, orders_pb2.STOCK_EFFECT_PENDING
    effects = {order.client_sale_id: order.stock_effect for order in listed.sales}
    assert effects == {"s-0": applied, "s-1": applied, "s-2": pending}
    assert door.inventory.position_calls == 1
    assert (await door.call("GetOrder", pb.GetOrderRequest(order_id=orders[0].id))).stock_effect == applied
    assert door.inventory.position_calls == 1  # known

    door.inventory.answering.clear()
    assert (await door.call("GetOrder", pb.GetOrderRequest(order_id=orders[2].id))).stock_effect == pending


async def test_a_sale_is_not_lost_while_inventory_is_silent(door: Door) -> None:
    shop = door.inventory.open_shop()
    await door.call("RecordSale", sale(shop))
    door.inventory.answering.clear()
    new = pb.RecordSaleRequest.Line(code="NEW-1", quantity=1, net_amount=5, name="Blue thing")
    order = await door.call("RecordSale", sale(shop, "s-2", lines=[new]))

    (line,) = order.lines
    assert (line.sku, line.name, line.unresolved) == ("NEW-1", "Blue thing", True)
    info = await door.refused("RecordSale", sale(ids.new("loc")))
    assert info.reason == "UNAVAILABLE"


async def test_what_is_refused_and_why(door: Door) -> None:
    shop, closed = door.inventory.open_shop(), door.inventory.open_shop(closed=True)
    cash = orders_pb2.Tender(type=orders_pb2.TENDER_TYPE_CASH, amount={"currency_code": "EUR", "minor_units": 1})
    day = {"business_date_from": "2026-03-04", "business_date_to": "2026-03-04"}
    refusals = [
        ("RecordSale", sale(ids.new("loc")), "NOT_FOUND"),
        ("RecordSale", sale(closed), "LOCATION_NOT_CAPABLE"),
        ("RecordSale", sale(shop, tenders=[cash]), "SALE_UNBALANCED"),
        ("RecordSale", sale(shop, currency_code="USD"), "CURRENCY_MISMATCH"),
        ("RecordSale", sale(shop, lines=[]), "INVALID_REQUEST"),
        ("GetOrder", pb.GetOrderRequest(order_id=ids.new("ord")), "NOT_FOUND"),
        ("ListSales", pb.ListSalesRequest(location_id=shop, page_token="x"), "INVALID_PAGE_TOKEN"),
        (
            "SummarizeSales",
            pb.SummarizeSalesRequest(
                location_id=shop, **day, group_by=[pb.SALES_DIMENSION_TENDER, pb.SALES_DIMENSION_SKU]
            ),
            "INVALID_REQUEST",
        ),
    ]
    for method, request, reason in refusals:
        assert (await door.refused(method, request)).reason == reason, method


async def test_tenants_and_locations_are_kept_apart(door: Door) -> None:
    shop = door.inventory.open_shop()
    order = await door.call("RecordSale", sale(shop))
    request = pb.GetOrderRequest(order_id=order.id)
    never = pb.GetOrderRequest(order_id=ids.new("ord"))

    stranger = await door.refused("GetOrder", request, tid=OTHER_TENANT)
    assert stranger == await door.refused("GetOrder", never)
    listed = await door.call("ListSales", pb.ListSalesRequest(location_id=shop), tid=OTHER_TENANT)
    assert list(listed.sales) == []
    elsewhere = {"locs": [ids.new("loc")]}
    assert (await door.refused("GetOrder", request, **elsewhere)).reason == "LOCATION_SCOPE"
    assert (
        await door.refused("ListSales", pb.ListSalesRequest(location_id=shop), **elsewhere)
    ).reason == "LOCATION_SCOPE"
    assert (await door.refused("RecordSale", sale(shop, "s-2"), **elsewhere)).reason == "LOCATION_SCOPE"


async def test_lists_and_sums_go_on_with_their_tokens(door: Door) -> None:
    shop = door.inventory.open_shop()
    for n in range(5):
        await door.call("RecordSale", sale(shop, f"s-{n}", campaign_id=f"c-{n}"))

    listed: list[str] = []
    request = pb.ListSalesRequest(location_id=shop, page_size=2)
    while True:
        page = await door.call("ListSales", request)
        listed += [order.client_sale_id for order in page.sales]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert sorted(listed) == [f"s-{n}" for n in range(5)]

    summed: list[str] = []
    question = pb.SummarizeSalesRequest(
        location_id=shop, business_date_from="2026-03-01", business_date_to="2026-03-31", page_size=2
    )
    question.group_by.extend([pb.SALES_DIMENSION_CAMPAIGN, pb.SALES_DIMENSION_BUSINESS_DATE])
    while True:
        answer = await door.call("SummarizeSales", question)
        summed += [row.campaign_id for row in answer.rows]
        if not answer.next_page_token:
            break
        question.page_token = answer.next_page_token
    assert summed == [f"c-{n}" for n in range(5)]


async def test_orders_consumes_nothing_yet_and_has_no_dead_letters(door: Door) -> None:
    assert await door.call("ListDeadLetters", event_pb2.ListDeadLettersRequest()) == event_pb2.ListDeadLettersResponse()
    replay = event_pb2.ReplayDeadLetterRequest(consumer="x", event_id=ids.new("evt"))
    assert (await door.refused("ReplayDeadLetter", replay)).reason == "NOT_FOUND"


async def test_a_sale_is_found_among_all_orders_and_moves_no_more(door: Door) -> None:
    shop, customer = door.inventory.open_shop(), ids.new("cus")
    sold = await door.call("RecordSale", sale(shop, customer_id=customer))

    found = await door.call("ListOrders", placement_pb2.ListOrdersRequest())
    theirs = await door.call("ListCustomerOrders", placement_pb2.ListCustomerOrdersRequest(customer_id=customer))
    own = {"roles": ["customer"], "cus": customer, "locs": []}
    read = await door.call("GetOrder", pb.GetOrderRequest(order_id=sold.id), **own)
    refused = await door.refused("GetOrder", pb.GetOrderRequest(order_id=sold.id), **{**own, "cus": ids.new("cus")})
    move = placement_pb2.UpdateOrderStatusRequest(order_id=sold.id, machine=1, to_state="CANCELLED")
    stays = await door.refused("UpdateOrderStatus", move, scope="orders:write")

    assert [order.id for order in found.orders] == [order.id for order in theirs.orders] == [read.id] == [sold.id]
    assert refused.reason == "NOT_FOUND"
    assert (stays.reason, stays.metadata["from"]) == ("ILLEGAL_TRANSITION", "COMPLETED")


async def test_a_country_s_taxes_are_set_read_and_listed(door: Door) -> None:
    policy = placement_pb2.TaxPolicy(country_code="AT", tax_inclusive=True)
    policy.rates.add(name="VAT", rate="0.20")
    policy.rates.add(name="VAT", rate="0.10", tax_category="food")
    request = placement_pb2.SetTaxPolicyRequest(tax_policy=policy, request_id="k-1")
    scope = {"scope": "orders:write"}

    first, again = [await door.call("SetTaxPolicy", request, **scope) for _ in range(2)]
    request.request_id, request.expected_version = "k-2", 7
    stale = await door.refused("SetTaxPolicy", request, **scope)
    request.expected_version = 1
    second = await door.call("SetTaxPolicy", request, **scope)
    twice = placement_pb2.SetTaxPolicyRequest(tax_policy=policy)
    twice.tax_policy.rates.add(name="VAT", rate="0.3")

    assert first == again
    assert (first.version, second.version, len(second.rates)) == (1, 2, 2)
    assert (stale.reason, stale.metadata["current_version"]) == ("VERSION_MISMATCH", "1")
    assert (await door.refused("SetTaxPolicy", twice, **scope)).reason == "INVALID_REQUEST"
    assert await door.call("GetTaxPolicy", placement_pb2.GetTaxPolicyRequest(country_code="AT")) == second
    assert (
        await door.refused("GetTaxPolicy", placement_pb2.GetTaxPolicyRequest(country_code="DE"))
    ).reason == "NOT_FOUND"
    listed = await door.call("ListTaxPolicies", placement_pb2.ListTaxPoliciesRequest())
    assert list(listed.tax_policies) == [second]
    request = audit_pb2.ListAuditEntriesRequest(filter=audit_pb2.ListAuditEntriesRequest.Filter(resource="tax_policy"))
    noted = (await door.call("ListAuditEntries", request, scope="audit:read")).entries
    assert [(each.action, each.resource_id, each.request_id) for each in noted] == [
        ("updated", "AT", "k-2"), ("created", "AT", "k-1"),
    ]  # fmt: skip
    assert {each.field for each in noted[1].changes} >= {"rates", "tax_inclusive"}
