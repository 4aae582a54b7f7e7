"""MarketplacesService over gRPC: a running Orders whose own tasks tend the connection, with the real Inventory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import duration_pb2

from services.kit import ids
from tests.integration.orders import fake_inventory, test_rpcs
from tests.integration.orders.placing.marketplaces import ebay_simulator as simulator
from tests.integration.orders.placing.marketplaces.ebay_simulator import EbayServer
from tests.integration.orders.placing.shop import ROOT, Place, Shop
from tests.unit.kit import keyring
from tillmesh.orders.v1 import marketplaces_pb2
from tillmesh.orders.v1 import marketplaces_service_pb2 as pb
from tillmesh.orders.v1 import marketplaces_service_pb2_grpc as rpc

DAY = duration_pb2.Duration(seconds=86_400)
HELD, PLACED, CANCELLED = (
    marketplaces_pb2.MARKETPLACE_ORDER_STATE_HELD,
    marketplaces_pb2.MARKETPLACE_ORDER_STATE_PLACED,
    marketplaces_pb2.MARKETPLACE_ORDER_STATE_CANCELLED,
)


class Office(test_rpcs.Door):
    """Somebody who looks after marketplaces."""

    def __init__(self, address: str, users: keyring.Keyring, tenant: str) -> None:
        super().__init__(address, users, fake_inventory.FakeInventory())
        self.stub = rpc.MarketplacesServiceStub(self.channel)
        self.tenant = tenant
        self.id = ""

    def token(self, **claims: Any) -> list[tuple[str, str]]:
        return super().token(**{"scope": "orders:read orders:write", **claims})

    async def connect(self, location: uuid.UUID, **given: Any) -> marketplaces_pb2.MarketplaceConnection:
        place = ids.encode("loc", location)
        told = {"name": "ebay", "account": "main", "location_id": place, "stock_location_ids": [place], **given}
        request = pb.CreateMarketplaceConnectionRequest(connection=told, request_id="once")
        made: marketplaces_pb2.MarketplaceConnection = await self.call("CreateMarketplaceConnection", request)
        self.id = made.id
        return made

    async def orders(self, **keep: Any) -> list[marketplaces_pb2.MarketplaceOrder]:
        request = pb.ListMarketplaceOrdersRequest(connection_id=self.id, filter=keep)
        return list((await self.call("ListMarketplaceOrders", request)).orders)

    async def health(self) -> marketplaces_pb2.MarketplaceHealth:
        request = pb.GetMarketplaceConnectionRequest(connection_id=self.id)
        found: marketplaces_pb2.MarketplaceConnection = await self.call("GetMarketplaceConnection", request)
        return found.health


async def eventually(condition: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(60):
        while not (found := await condition()):
            await asyncio.sleep(0.1)
        return found


@pytest.fixture
async def office(shop: Shop, place: Place, users: keyring.Keyring, server: EbayServer) -> AsyncIterator[Office]:
    """Orders in a process of its own, with the tenant's account in its file."""
    with tempfile.TemporaryDirectory(prefix="tm-mkt-") as name:  # short: paths of sockets end at 107 bytes
        folder, shared = Path(name), Path(place.folder)
        for file, secret in (("client", simulator.SECRET), ("seller", simulator.REFRESH)):
            (folder / file).write_text(secret)
        account = {
            "kind": "ebay",
            "client_id": simulator.CLIENT,
            "client_secret_file": str(folder / "client"),
            "refresh_token_file": str(folder / "seller"),
            "marketplace_id": "EBAY_AT",
            "url": server.url,
        }
        (folder / "marketplaces.json").write_text(json.dumps({shop.tenant.id: {"main": account}}))
        address = f"unix:{folder}/orders.sock"
        told = {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
            "TILLMESH_LISTEN": address,
            "TILLMESH_ISSUER": keyring.ISSUER,
            "TILLMESH_JWKS_FILE": str(users.file),
            "TILLMESH_SERVICE_JWKS_FILE": str(shared / "services.json"),
            "TILLMESH_SERVICE_KEY_FILE": str(shared / "orders.pem"),
            "TILLMESH_INVENTORY_ADDRESS": place.address,
            "TILLMESH_NATS_URL": "nats://127.0.0.1:1",
            "TILLMESH_DATA": str(folder),
            "TILLMESH_DRAIN_SECONDS": "0",
            "TILLMESH_AUDIT_KEYS_FILE": place.keys_file,
            "TILLMESH_AUDIT_ANCHORS": str(folder / "audit"),
            "TILLMESH_ORDERS_DATABASE_URL": place.urls[0],
            "TILLMESH_ORDERS_WORKER_DATABASE_URL": place.urls[1],
            "TILLMESH_ORDERS_KEYS_FILE": place.keys_file,
            "TILLMESH_ORDERS_ERASURE_LOG": place.erasure_log,
            "TILLMESH_ORDERS_MARKETPLACES_FILE": str(folder / "marketplaces.json"),
        }
        argv = [sys.executable, "-m", "services.orders", "serve"]
        with (folder / "log").open("wb") as log, subprocess.Popen(argv, env=os.environ | told, stderr=log) as process:
            made = Office(address, users, shop.tenant.id)
            for _ in range(6):  # of 15 s each
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                with contextlib.suppress(TimeoutError):
                    await test_rpcs.serving(made.channel)
                    break
            yield made
            await made.channel.close()
            process.terminate()
            assert process.wait(30) == 0


async def test_a_marketplace_from_its_connection_to_its_payout(shop: Shop, office: Office, server: EbayServer) -> None:
    location = await shop.location()
    await shop.product("lip", "liner")
    await shop.stock(location, "lip", 10)
    server.account.list_item("lip", 1)

    # Connected: twice by one key is once; names are unique; what isn't configured can't be.
    made = await office.connect(location, buffer=1, reject_after=DAY)
    assert await office.connect(location, buffer=1, reject_after=DAY) == made
    assert made.state == marketplaces_pb2.MARKETPLACE_CONNECTION_STATE_ACTIVE
    other = pb.CreateMarketplaceConnectionRequest(connection=made)
    assert (await office.refused("CreateMarketplaceConnection", other)).reason == "ALREADY_EXISTS"
    other.connection.account = "nobody's"
    assert (await office.refused("CreateMarketplaceConnection", other)).reason == "INVALID_REQUEST"
    other.connection.location_id = ids.new("loc")
    assert (await office.refused("CreateMarketplaceConnection", other)).reason == "NOT_FOUND"

    # Stock is out, an order comes in, is placed, and the stock is out again.
    await eventually(lambda: _is(server.account.listed("lip") == 9))
    theirs = server.account.buy(("lip", 3))["orderId"]
    await shop.execute("UPDATE marketplace_connection SET polled_at = NULL")
    (order,) = await eventually(lambda: office.orders(state=PLACED))
    assert (order.number, order.total.minor_units, order.order_id[:4]) == (theirs, 3000, "ord_")
    await eventually(lambda: _is(server.account.listed("lip") == 6))

    # One that can't be placed is a person's: retried, rejected.
    short = server.account.buy(("liner", 1))["orderId"]
    unknown = server.account.buy(("nothing", 1))["orderId"]
    await shop.execute("UPDATE marketplace_connection SET polled_at = NULL")
    held = await eventually(lambda: _all(office.orders(problems=True), 2))
    assert {each.number: each.detail for each in held} == {short: "liner", unknown: "sku=nothing"}
    assert (await office.health()).problems == 2
    await shop.stock(location, "liner", 1)
    one = {"connection_id": office.id, "number": short}
    await office.call("RetryMarketplaceOrder", pb.RetryMarketplaceOrderRequest(**one))
    rejected = pb.RejectMarketplaceOrderRequest(connection_id=office.id, number=unknown, reason=1)
    await office.call("RejectMarketplaceOrder", rejected)
    (gone,) = await eventually(lambda: office.orders(state=CANCELLED))
    assert gone.number == unknown
    await eventually(lambda: _all(office.orders(state=PLACED), 2))
    refused = await office.refused("RetryMarketplaceOrder", pb.RetryMarketplaceOrderRequest(**one))
    assert (refused.reason, refused.metadata["from"]) == ("ILLEGAL_TRANSITION", "PLACED")
    settled = await office.call("SettleMarketplaceProblem", pb.SettleMarketplaceProblemRequest(**one))
    assert settled.state == PLACED

    # What is owed, and what was paid of it.
    payout = pb.RecordMarketplacePayoutRequest(connection_id=office.id, kind=3, reference="P-1", request_id="once")
    payout.amount.currency_code, payout.amount.minor_units = "EUR", 3500
    first = await office.call("RecordMarketplacePayout", payout)
    assert await office.call("RecordMarketplacePayout", payout) == first
    entries = pb.ListMarketplaceEntriesRequest(connection_id=office.id, currency_code="EUR", page_size=2)
    page = await office.call("ListMarketplaceEntries", entries)
    assert [(each.seq, each.owed_after.minor_units) for each in page.entries] == [(3, 500), (2, 4000)]
    entries.page_token = page.next_page_token
    (oldest,) = (await office.call("ListMarketplaceEntries", entries)).entries
    assert (oldest.seq, oldest.order_id, oldest.amount.minor_units) == (1, order.order_id, 3000)
    (shown,) = (await office.call("ListMarketplaceConnections", pb.ListMarketplaceConnectionsRequest())).connections
    assert [each.minor_units for each in shown.owed] == [500]
    listed = await office.call("ListMarketplaceListings", pb.ListMarketplaceListingsRequest(connection_id=office.id))
    assert [(each.sku, each.quantity, each.failure) for each in listed.listings] == [("lip", 6, "")]

    # What people did is in the audit log.
    noted = await shop.rows(
        "SELECT action, resource FROM audit_entry WHERE resource LIKE 'marketplace%' ORDER BY recorded_at, id"
    )
    assert [tuple(row) for row in noted] == [
        ("created", "marketplace_connection"),
        ("retried", "marketplace_order"),
        ("rejected", "marketplace_order"),
        ("recorded", "marketplace_connection"),
    ]

    # Who doesn't cover its location sees and does nothing.
    elsewhere = {"locs": [ids.new("loc")], "roles": ["store_manager"]}
    listing = pb.ListMarketplaceConnectionsRequest()
    assert not (await office.call("ListMarketplaceConnections", listing, **elsewhere)).connections
    named = pb.GetMarketplaceConnectionRequest(connection_id=office.id)
    assert (await office.refused("GetMarketplaceConnection", named, **elsewhere)).reason == "LOCATION_SCOPE"

    # Paused, nothing happens; resumed, it is made up for.
    pause = pb.PauseMarketplaceConnectionRequest(connection_id=office.id)
    assert (await office.call("PauseMarketplaceConnection", pause)).state == 2
    await asyncio.sleep(0)
    server.account.buy(("lip", 1))
    resume = pb.ResumeMarketplaceConnectionRequest(connection_id=office.id)
    assert (await office.call("ResumeMarketplaceConnection", resume)).state == 1
    await shop.execute("UPDATE marketplace_connection SET polled_at = NULL")
    await eventually(lambda: _all(office.orders(state=PLACED), 3))
    health = await office.health()
    assert (health.failure, health.problems) == ("", 0)


async def _is(true: bool) -> bool:
    return true


async def _all(found: Awaitable[list[Any]], count: int) -> list[Any]:
    return each if len(each := await found) == count else []
