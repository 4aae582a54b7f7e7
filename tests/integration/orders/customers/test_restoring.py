"""A backup from before an erasure is restored, and the service that starts on it gives nothing away.

The backup is a copy of the files of a stopped cluster, the service a process of its own. The same files show that nothing
personal stands in clear anywhere in the database, its log included.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.kit import database, ids, migrating
from services.mesh import databases, postgres, secret_files, throwaway
from tests.integration.orders.customers.world import PERSON, World, keys_file
from tests.unit.kit import keyring
from tillmesh.orders.v1 import customers_pb2 as messages
from tillmesh.orders.v1 import customers_service_pb2 as pb
from tillmesh.orders.v1 import customers_service_pb2_grpc as rpc
from tillmesh.orders.v1 import orders_service_pb2 as orders_pb
from tillmesh.orders.v1 import orders_service_pb2_grpc as orders_rpc

ROOT = Path(__file__).parents[4]
NEVER_IN_CLEAR = [
    text.encode()
    for name in ("Quastenhuber", "zdenka.quastenhuber@posteo", "436647654321", "1977-11-23", "Herrengasse")
    for text in {name, name.lower(), name.upper()}
]


@dataclasses.dataclass
class Home:
    """A folder with a cluster in it, its backup, the files of the service, and who was there when it was copied."""

    folder: Path
    keys: Path
    log: Path
    kept: str = ""
    erased: str = ""
    merged: str = ""
    order: str = ""
    tenant_id: str = ""

    def cluster(self) -> postgres.Cluster:
        return postgres.Cluster(self.folder / "postgres", self.folder / "pg", self.folder / "pgpass", fast=True)

    def restore(self) -> None:
        shutil.rmtree(self.folder / "postgres")
        subprocess.run(["cp", "-a", str(self.folder / "backup"), str(self.folder / "postgres")], check=True)


def url(cluster: postgres.Cluster, user: str) -> str:
    return cluster.url("tillmesh_orders", user)


@asynccontextmanager
async def opened(home: Home, cluster: postgres.Cluster) -> AsyncIterator[World]:
    db = database.Database(url(cluster, "orders_app"), url(cluster, "orders_worker"))
    await db.open()
    yield World(db, home.keys, home.log, home.tenant_id)
    await db.close()


@pytest.fixture(scope="module")
def home() -> Any:
    """Customers and a sale; a backup; then erasures; then the backup is back."""
    with throwaway.folder() as folder:
        made = Home(folder, keys_file(folder), folder / "erasures.jsonl")
        passwords = secret_files.ensure_passfile(folder / "pgpass", [postgres.SUPERUSER, *databases.logins()])
        with made.cluster() as cluster:
            databases.bootstrap(cluster.url, passwords)
            assert migrating.migrate("orders", cluster.url("tillmesh_orders", "tillmesh_migrator")) == 0
            asyncio.run(_before(made, cluster))
        subprocess.run(["cp", "-a", str(folder / "postgres"), str(folder / "backup")], check=True)
        with made.cluster() as cluster:
            asyncio.run(_after(made, cluster))
        made.restore()
        yield made


async def _before(home: Home, cluster: postgres.Cluster) -> None:
    async with opened(home, cluster) as people:
        home.tenant_id = people.tenant_id
        home.erased = (await people.call("CreateCustomer", customer=PERSON, request_id="r-1")).id
        home.kept = (await people.new(family_name="Stays", email="stays@example.com")).id
        home.merged = (await people.new(email="second@example.com")).id
        await people.move_in(home.erased)
        await people.edit(home.erased, given_name="Zdenka Maria")
        home.order = ids.encode("ord", await people.sold_to(home.erased, net_amount=777))


async def _after(home: Home, cluster: postgres.Cluster) -> None:
    async with opened(home, cluster) as people:
        await people.merge(home.erased, home.merged)  # which the backup doesn't know
        await people.call("EraseCustomer", customer_id=home.erased)
        assert (await people.get(home.erased)).state == messages.CUSTOMER_STATE_ERASED


class Service:
    """`python -m services.orders serve`, and a client of it."""

    def __init__(self, folder: Path, home: Home, cluster: postgres.Cluster, log: Path) -> None:
        self.address = f"unix:{folder}/orders.sock"
        self.users, services = keyring.Keyring(folder / "edge.json"), keyring.Keyring(folder / "services.json")
        self.users.add("user-1")
        (folder / "orders.pem").write_bytes(services.add("svc-orders-1").as_pem(private=True))
        self.tenant_id = home.tenant_id
        self.env = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}",
            "TILLMESH_LISTEN": self.address,
            "TILLMESH_ISSUER": keyring.ISSUER,
            "TILLMESH_JWKS_FILE": str(self.users.file),
            "TILLMESH_SERVICE_JWKS_FILE": str(services.file),
            "TILLMESH_SERVICE_KEY_FILE": str(folder / "orders.pem"),
            "TILLMESH_INVENTORY_ADDRESS": f"unix:{folder}/nobody.sock",
            "TILLMESH_NATS_URL": "nats://127.0.0.1:1",
            "TILLMESH_DRAIN_SECONDS": "0",
            "TILLMESH_LOG_LEVEL": "debug",
            "TILLMESH_DATA": str(folder),
            "TILLMESH_ORDERS_DATABASE_URL": url(cluster, "orders_app"),
            "TILLMESH_ORDERS_WORKER_DATABASE_URL": url(cluster, "orders_worker"),
            "TILLMESH_ORDERS_KEYS_FILE": str(home.keys),
            "TILLMESH_ORDERS_ERASURE_LOG": str(log),
            "TILLMESH_AUDIT_KEYS_FILE": str(home.keys),
            "TILLMESH_AUDIT_ANCHORS": str(folder / "audit"),
        }

    async def start(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "services.orders", "serve")
        return await asyncio.create_subprocess_exec(
            *command, env=self.env, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )

    async def call(self, channel: grpc.aio.Channel, stub: Any, method: str, request: Any) -> Any:
        claims = {
            "tid": self.tenant_id,
            "roles": ["admin"],
            "scope": "customers:read customers:write orders:read",
            "locs": ["*"],
        }
        token = self.users.sign("user-1", keyring.user_claims(**claims, trm=None))
        return await getattr(stub(channel), method)(
            request, metadata=[("authorization", f"Bearer {token}")], timeout=10
        )


@pytest.fixture
def folder() -> Any:
    with tempfile.TemporaryDirectory(prefix="tm-res-") as name:
        yield Path(name)


async def serving(channel: grpc.aio.Channel) -> None:
    async with asyncio.timeout(30):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        async for answer in (watched := stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                watched.cancel()
                return


async def refuses_another_log(home: Home, cluster: postgres.Cluster, folder: Path) -> None:
    """A service whose log isn't the one that the database knows never opens its doors."""
    process = await Service(folder, home, cluster, folder / "another.jsonl").start()
    said, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == migrating.EXIT_CONFIGURATION
    assert b"has 0 entries, and this database knows 1" in said
    assert not (folder / "orders.sock").exists()


def test_nothing_personal_stands_in_the_files_of_the_database(home: Home) -> None:
    """In tables, indexes, the write-ahead log and statistics, of the very backup that the data can be read from."""
    files = [path for path in (home.folder / "backup").rglob("*") if path.is_file()]
    sold = ids.decode("ord", home.order).bytes
    contents = [path.read_bytes() for path in files]
    assert any(sold in content for content in contents)  # what is looked for would be found
    found = {text for text in NEVER_IN_CLEAR for content in contents if text in content}
    assert found == set()


async def test_a_restored_backup_can_be_read_by_whoever_has_no_log(home: Home) -> None:
    """Why the log is needed: the test of the restore could fail."""
    home.restore()
    with home.cluster() as cluster:
        async with opened(home, cluster) as people:
            assert (await people.get(home.erased)).family_name == "Quastenhuber"


async def test_a_service_on_a_restored_backup_has_forgotten_before_it_opens_its_doors(home: Home, folder: Path) -> None:
    home.restore()
    with home.cluster() as cluster:
        service = Service(folder, home, cluster, home.log)
        process = await service.start()
        async with grpc.aio.insecure_channel(service.address) as channel:
            await serving(channel)
            stub = rpc.CustomersServiceStub
            for gone in (home.erased, home.merged):
                shown = await service.call(channel, stub, "GetCustomer", pb.GetCustomerRequest(customer_id=gone))
                assert (shown.state, shown.email, shown.family_name) == (messages.CUSTOMER_STATE_ERASED, "", "")
            for by in ({"email": PERSON["email"]}, {"email": "second@example.com"}, {"phone": PERSON["phone"]},
                       {"family_name": "Quastenhuber"}, {"postal_code": "8010"}):  # fmt: skip
                found = await service.call(channel, stub, "SearchCustomers", pb.SearchCustomersRequest(**by))
                assert list(found.customers) == [], by
            stays = await service.call(
                channel, stub, "SearchCustomers", pb.SearchCustomersRequest(email="stays@example.com")
            )
            assert [each.id for each in stays.customers] == [home.kept]
            order = await service.call(
                channel, orders_rpc.OrdersServiceStub, "GetOrder", orders_pb.GetOrderRequest(order_id=home.order)
            )
            assert (order.customer_id, order.total.minor_units) == (home.erased, 777)
            again = json_format.ParseDict({"customer": PERSON, "request_id": "r-2"}, pb.CreateCustomerRequest())
            assert (await service.call(channel, stub, "CreateCustomer", again)).id != home.erased
        process.terminate()
        said, _ = await asyncio.wait_for(process.communicate(), 30)
        async with opened(home, cluster) as people:
            for table in ("customer_key", "customer_personal", "customer_digest"):
                gone = [ids.decode("cus", each) for each in (home.erased, home.merged)]
                assert await people.rows(f"SELECT 1 FROM {table} WHERE customer_id = ANY(:ids)", ids=gone) == []
        await refuses_another_log(home, cluster, folder)
    assert process.returncode == 0
    assert b"erasure.replayed" in said
    assert [text for text in NEVER_IN_CLEAR if text in said] == []
