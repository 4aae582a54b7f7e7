"""A tenant that sells: the real Inventory in a process of its own, a simulated bank in a file, and what places orders."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import sqlalchemy as sa

from services.kit import channels, database, ids, principal, tokens
from services.orders.bootstrap import Settings, customers
from services.orders.customers import postal
from services.orders.domain import editing as domain
from services.orders.domain import payments as money
from services.orders.domain import placed_order, placement, sale
from services.orders.editing import editing
from services.orders.mapping import inventory, stock
from services.orders.payments import operations
from services.orders.payments.providers import registry, simulated
from services.orders.placing import cancelling, desk, placing
from services.orders.placing.effects import Tenant
from services.orders.store import taxes
from tests.unit.kit import keyring
from tillmesh.common.v1 import money_pb2
from tillmesh.inventory.v1 import (
    catalog_pb2,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    inventory_service_pb2,
    inventory_service_pb2_grpc,
    lots_pb2,
    stock_pb2,
)

ROOT = Path(__file__).parents[4]
PRICE = 1000
HOME = postal.Postal(
    recipient="", company="", lines=("Herrengasse 77",), city="Graz", region="", postal_code="8010", country_code="AT", phone=""
)  # fmt: skip
DUE = "UPDATE order_saga SET due_at = now() WHERE finished_at IS NULL"
LATE = "UPDATE order_saga SET due_at = now(), deadline_at = now() - interval '1 s' WHERE finished_at IS NULL"
ADMIN = "inventory:read inventory:write inventory:reserve catalog:read catalog:write"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the parts of a test run are: what another process needs to place orders in the same world."""

    folder: str
    urls: tuple[str, str, str]
    keys_file: str
    erasure_log: str

    @property
    def address(self) -> str:
        return f"unix:{self.folder}/inventory.sock"

    @property
    def bank(self) -> Path:
        return Path(self.folder) / "bank.sqlite3"


@contextlib.contextmanager
def inventory_process(place: Place) -> Iterator[keyring.Keyring]:
    """Inventory, serving; answers the keys of its users."""
    folder = Path(place.folder)
    users, services = keyring.Keyring(folder / "edge.json"), keyring.Keyring(folder / "services.json")
    users.add("user-1")
    for service in ("orders", "inventory"):
        (folder / f"{service}.pem").write_bytes(services.add(f"svc-{service}-1").as_pem(private=True))
    app, worker, _ = (url.replace("tillmesh_orders", "tillmesh_inventory") for url in place.urls)
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
        "TILLMESH_LISTEN": place.address,
        "TILLMESH_ISSUER": keyring.ISSUER,
        "TILLMESH_JWKS_FILE": str(users.file),
        "TILLMESH_SERVICE_JWKS_FILE": str(services.file),
        "TILLMESH_SERVICE_KEY_FILE": str(folder / "inventory.pem"),
        "TILLMESH_ORDERS_ADDRESS": f"unix:{folder}/orders.sock",
        "TILLMESH_NATS_URL": "nats://127.0.0.1:1",
        "TILLMESH_DATA": str(folder),
        "TILLMESH_DRAIN_SECONDS": "0",
        "TILLMESH_AUDIT_KEYS_FILE": place.keys_file,
        "TILLMESH_AUDIT_ANCHORS": str(folder / "audit"),
        "TILLMESH_INVENTORY_DATABASE_URL": app.replace("orders_app", "inventory_app"),
        "TILLMESH_INVENTORY_WORKER_DATABASE_URL": worker.replace("orders_worker", "inventory_worker"),
    }
    command = [sys.executable, "-m", "services.inventory", "serve"]
    with (folder / "inventory.log").open("w") as log:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
        try:
            with grpc.insecure_channel(place.address) as channel:
                grpc.channel_ready_future(channel).result(timeout=90)
            yield users
        finally:
            process.terminate()
            process.wait(20)


class Shop:
    """One tenant, and the part of Orders that places, in this process."""

    def __init__(self, place: Place, tenant: uuid.UUID, users: keyring.Keyring | None = None) -> None:
        folder = Path(place.folder)
        self.place = place
        self.tenant = Tenant(str(tenant), ids.encode("ten", tenant))
        self.db = database.Database(place.urls[0], place.urls[1])
        identity = channels.Identity(tokens.Signer("orders", folder / "orders.pem", folder / "services.json"))
        self.channel = channels.ServiceChannel("inventory", place.address, identity)
        self.bank = simulated.SimulatedBank(place.bank)
        self.moves = operations.Operations(self.db, registry.Registry((money.Provider.SIMULATED, self.bank)))
        self.heard: list[str] = []
        config = Settings(
            TILLMESH_ORDERS_KEYS_FILE=Path(place.keys_file), TILLMESH_ORDERS_ERASURE_LOG=Path(place.erasure_log)
        )
        self.people = customers(config, self.db, lambda *_: None)
        self.desk = desk.Desk(
            self.db,
            inventory.InventoryClient(self.channel),
            stock.StockClient(self.channel),
            self.moves,
            self.people,
            lambda _tenant, key: self.heard.append(key),
        )
        self.users = users
        self._admin: Any = None

    async def close(self) -> None:
        await self.desk.runner.close()
        await self.channel.close()
        await self.bank.close()
        await self.db.close()

    # --- what Inventory's users do ---

    @contextlib.asynccontextmanager
    async def _as_admin(self) -> AsyncIterator[tuple[Any, Any, list[tuple[str, str]]]]:
        assert self.users is not None
        claims = keyring.user_claims(tid=self.tenant.id, roles=["admin"], scope=ADMIN, locs=["*"])
        token = [("authorization", f"Bearer {self.users.sign('user-1', claims)}")]
        async with grpc.aio.insecure_channel(self.place.address) as channel:
            catalog: Any = catalog_service_pb2_grpc.CatalogServiceStub(channel)
            levels: Any = inventory_service_pb2_grpc.InventoryServiceStub(channel)
            yield catalog, levels, token

    async def location(self, *capabilities: int, country: str = "AT") -> uuid.UUID:
        """A shop in Vienna; it sells, ships and hands over unless told otherwise."""
        made = catalog_pb2.Location(
            code=uuid.uuid4().hex, name="A shop", type=1, timezone="Europe/Vienna", currency_code="EUR"
        )
        made.capabilities.extend(capabilities or (1, 2, 3))  # type: ignore[arg-type]
        made.address.country_code = country
        async with self._as_admin() as (catalog, _, token):
            request = catalog_service_pb2.CreateLocationRequest(location=made)
            return ids.decode("loc", (await catalog.CreateLocation(request, metadata=token)).id)

    async def product(self, *skus: str, price: int = PRICE, **variant: Any) -> None:
        """Variants of a new product, with a price."""
        product = catalog_pb2.Product(name="A thing", code=uuid.uuid4().hex)
        for sku in skus:
            product.variants.add(sku=sku, **variant)
        async with self._as_admin() as (catalog, _, token):
            await catalog.CreateProduct(catalog_service_pb2.CreateProductRequest(product=product), metadata=token)
            for sku in skus:
                await self.price(sku, price)

    async def discontinue(self, sku: str) -> None:
        request = catalog_service_pb2.UpdateVariantRequest(variant=catalog_pb2.Variant(sku=sku, discontinued=True))
        request.update_mask.paths.append("discontinued")
        async with self._as_admin() as (catalog, _, token):
            await catalog.UpdateVariant(request, metadata=token)

    async def bundle(self, sku: str, **components: int) -> None:
        """Says what a SKU consists of."""
        request = catalog_service_pb2.SetBundleRequest(sku=sku)
        for component, quantity in components.items():
            request.components.add(sku=component, quantity=quantity)
        async with self._as_admin() as (catalog, _, token):
            await catalog.SetBundle(request, metadata=token)

    async def price(self, sku: str, amount: int) -> None:
        priced = catalog_pb2.Price(amount=money_pb2.Money(currency_code="EUR", minor_units=amount))
        async with self._as_admin() as (catalog, _, token):
            await catalog.SetPrice(catalog_service_pb2.SetPriceRequest(sku=sku, price=priced), metadata=token)

    async def stock(self, location: uuid.UUID, sku: str, units: int, lot: lots_pb2.LotInput | None = None) -> None:
        request = inventory_service_pb2.AdjustStockRequest(
            location_id=ids.encode("loc", location), sku=sku, delta=units, reason=1, lot=lot
        )
        async with self._as_admin() as (_, levels, token):
            await levels.AdjustStock(request, metadata=token)

    async def level(self, location: uuid.UUID, sku: str) -> stock_pb2.StockLevel:
        request = inventory_service_pb2.GetStockRequest(location_id=ids.encode("loc", location), sku=sku)
        async with self._as_admin() as (_, levels, token):
            found: stock_pb2.StockLevel = await levels.GetStock(request, metadata=token)
            return found

    async def units(self, location: uuid.UUID, sku: str) -> tuple[int, int, int]:
        """(available, held, allocated)."""
        level = await self.level(location, sku)
        return level.available, level.reserved, level.allocated

    # --- orders ---

    def caller(self, **changes: Any) -> principal.Principal:
        given = {
            "subject": "web",
            "tenant_id": self.tenant.id,
            "roles": frozenset({"admin"}),
            "scopes": frozenset({"orders:write"}),
            "locations": frozenset({"*"}),
            "expires_at": 2e9,
        }
        return principal.Principal(**{**given, **changes})

    async def order(self, command: placing.Place, **caller: Any) -> sale.Order:
        made = self.caller(**caller)
        principal.enter(made)
        return await self.desk.placing.place(made, self.tenant, command)

    async def cancel(self, order: sale.Order, key: str = "", **changes: Any) -> sale.Order:
        given: dict[str, Any] = {
            "order_id": order.id,
            "reason": placed_order.CancelReason.CUSTOMER,
            "note": "",
            "expected_version": 0,
            "principal": "web",
            "request_key": key,
            "fingerprint": b"",
            "actor": "web",
        }
        made = self.caller()
        principal.enter(made)
        return await self.desk.cancelling.cancel(made, self.tenant, cancelling.Cancel(**{**given, **changes}))

    async def cancel_units(self, order: sale.Order, units: dict[int, int], key: str = "", **changes: Any) -> sale.Order:
        given: dict[str, Any] = {
            "order_id": order.id,
            "reason": placed_order.CancelReason.CUSTOMER,
            "note": "",
            "expected_version": 0,
            "principal": "web",
            "request_key": key,
            "fingerprint": b"",
            "actor": "web",
        }
        made = self.caller()
        principal.enter(made)
        command_ = cancelling.Cancel(**{**given, **changes})
        return await self.desk.editing.cancel(made, self.tenant, command_, units)

    async def edit(self, command: editing.Edit, **caller: Any) -> sale.Order:
        made = self.caller(**caller)
        principal.enter(made)
        return await self.desk.editing.edit(made, self.tenant, command)

    async def resume(self, how: str = DUE) -> None:
        """Another process finds what was left over, as often as needed."""
        async with asyncio.timeout(30):
            while await self.rows("SELECT 1 FROM order_saga WHERE finished_at IS NULL"):
                await self.execute(how)
                await self.desk.runner.resume()

    async def rows(self, statement: str, **given: Any) -> Sequence[Any]:
        async with self.db.read(self.tenant.uuid) as session:
            return (await session.execute(sa.text(statement), given)).all()

    async def execute(self, statement: str) -> None:
        async with self.db.transaction(self.tenant.uuid) as session:
            await session.execute(sa.text(statement))

    async def tax(self, policy: placement.TaxPolicy) -> None:
        async with self.db.transaction(self.tenant.uuid) as session:
            await taxes.put(session, self.tenant.uuid, dataclasses.replace(policy, version=1))

    def books(self) -> list[tuple[int, int, int]]:
        """What the bank has of the tenant's payments: (still set aside, kept, given back)."""
        if not self.place.bank.exists():
            return []
        with contextlib.closing(sqlite3.connect(self.place.bank)) as bank:
            found = bank.execute(
                "SELECT CASE WHEN cancelled THEN 0 ELSE authorised - captured END, captured - refunded, refunded"
                " FROM intent WHERE tenant = ? AND authorised > 0 ORDER BY reference",
                (self.tenant.uuid,),
            )
            return [tuple(row) for row in found]


def command(location: uuid.UUID, *lines: tuple[str, int], key: str = "", **changes: Any) -> placing.Place:
    """An order of (SKU, units), sent to Austria, paid by a card that is taken."""
    content = {name: changes.pop(name) for name in list(changes) if name in placement.Content.__dataclass_fields__}
    tokens_ = changes.pop("tokens", {"sim_ok": sum(units for _, units in lines) * PRICE})
    tenders = tuple(placement.TenderSpec(sale.TenderType.CARD, token, amount) for token, amount in tokens_.items())
    given: dict[str, Any] = {
        "content": placement.Content(
            **{
                "location_id": location,
                "channel": sale.Channel.WEB,
                "lines": tuple(placement.ContentLine(sku, units) for sku, units in lines),
                "method": placed_order.Delivery("", "AT"),
                **content,
            }
        ),
        "payment": placement.Payment(tenders, changes.pop("capture", placed_order.Capture.PLACEMENT)),
        "expected_total": None,
        "guest": None,
        "principal": "web",
        "request_key": key,
        "fingerprint": b"same",
        "actor": "web",
    }
    return placing.Place(**{**given, **changes})


def edit(order: sale.Order, quantities: dict[int, int] | None = None, key: str = "", **changes: Any) -> editing.Edit:
    """Units of lines from now on, new lines as (SKU, units); paid by a card, unless told otherwise: tokens."""
    lines = tuple(placement.ContentLine(sku, units) for sku, units in changes.pop("add", ()))
    of_change = {name: changes.pop(name) for name in list(changes) if name in domain.Change.__dataclass_fields__}
    tokens_ = changes.pop("tokens", {})
    given: dict[str, Any] = {
        "order_id": order.id,
        "change": domain.Change(**{"quantities": quantities or {}, "lines": lines, **of_change}),
        "sourcing": placement.Sourcing(),
        "tenders": tuple(placement.TenderSpec(sale.TenderType.CARD, *each) for each in tokens_.items()),
        "due_now": None,
        "expected_total": None,
        "expected_version": 0,
        "reason": "",
        "principal": "web",
        "request_key": key,
        "fingerprint": b"same",
        "actor": "web",
    }
    return editing.Edit(**{**given, **changes})
