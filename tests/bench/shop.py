"""The stack under test and a tenant's data in it, made through the public API; tokens, counters and rows of it.

Everything of a run lies in one folder below /tmp and goes away with it.
"""

from __future__ import annotations

import contextlib
import functools
import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import prometheus_client.parser
import psycopg

from services.inventory.mapping import stock as mapping
from services.mesh import postgres, throwaway
from tests.bench import generator
from tests.e2e import stack as stacks
from tillmesh.inventory.v1 import inventory_service_pb2_grpc as inventory_rpc

SKUS: Final = 1_000
SHOPS: Final = 8
AMPLE: Final = 1_000_000_000
TOKEN_SECONDS: Final = 300.0  # of 15 minutes
SETTLE_SECONDS: Final = 120.0
AT_ONCE: Final = 500  # products and counts of one call
#: Of the embedded stack: nothing outside of it, no limits on one client, no demo brands.
SETTINGS: Final = {
    **{
        f"TILLMESH_RATE_LIMIT_{name}": "0" for name in ("PER_CLIENT", "PER_TENANT", "PER_ADDRESS", "TOKENS_PER_ADDRESS")
    },
    **{
        f"TILLMESH_{service}_{kind}DATABASE_URL": ""
        for service in ("INVENTORY", "ORDERS")
        for kind in ("", "WORKER_", "OWNER_")
    },
    **{f"TILLMESH_{name}": "" for name in ("NATS_URL", "ISSUER", "OTLP_ENDPOINT")},
    "TILLMESH_DEMO": "false",
    "TILLMESH_INVENTORY_PROCESSES": "1",
    "TILLMESH_ORDERS_PROCESSES": "1",
}


def location_uuid(location_id: str) -> uuid.UUID:
    """As the database has it."""
    return mapping.location_uuid(location_id)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of the demo credentials. uuid: as the database has it."""

    name: str
    uuid: str


class Shop:
    """A running stack with a tenant's catalogue, and what the bench asks of it."""

    def __init__(self, stack: stacks.Stack, folder: Path, *, short: bool = False) -> None:
        """short: rows that make much data make little, and say so."""
        self.short = short
        self.stack = stack
        self.folder = folder
        self.generator = generator.Generator(folder)
        self.brand = self._tenant("beauty")
        """Whose rpcs are measured."""
        self.other = self._tenant("furniture")
        """Whose rows the floors write."""
        self.skus = [f"SKU-{number:04d}" for number in range(1, SKUS + 1)]
        self._tokens: dict[str, tuple[float, str]] = {}
        self._admins = self._new_admins()
        self._made: dict[str, set[str]] = {tenant.name: set() for tenant in (self.brand, self.other)}

    def _new_admins(self) -> dict[str, stacks.Client]:
        return {tenant.name: self.stack.client("admin", tenant.name) for tenant in (self.brand, self.other)}

    def restart(self) -> float:
        """Stops every process of the stack and starts them again. Seconds until it was ready."""
        begun = time.monotonic()
        self.stack.stop()
        self.stack.start()
        self._tokens.clear()  # the issuer is at another port now
        self._admins = self._new_admins()
        self.__dict__.pop("reads", None)
        return time.monotonic() - begun

    def _tenant(self, name: str) -> Tenant:
        return Tenant(name, mapping.tenant_uuid(self.stack.tenant_id(name)))

    # --- where things are ---

    @property
    def http(self) -> str:
        """Envoy's plain door, `host:port`."""
        return str(self.stack.endpoints["http"]).removeprefix("http://")

    def socket(self, service: str) -> str:
        """The sockets of a service's processes, as a target."""
        return ",".join(f"unix:{path}" for path in self.stack.endpoints["sockets"][service])

    @property
    def pids(self) -> Mapping[str, int]:
        """Processes of the stack by name."""
        return {str(name): int(pid) for name, pid in self.stack.endpoints["pids"].items()}

    @property
    def passfile(self) -> Path:
        """The passwords of the database's logins."""
        return self.stack.data / "secrets" / "pgpass"

    # --- callers ---

    def token(self, role: str = "associate") -> str:
        """A token of the measured tenant, good for the next minutes."""
        until, token = self._tokens.get(role, (0.0, ""))
        if until < time.monotonic():
            token = self.stack.client(role, self.brand.name).token
            self._tokens[role] = time.monotonic() + TOKEN_SECONDS, token
        return token

    def rest(self, method: str) -> list[tuple[str, str]]:
        """Headers of an associate's REST calls."""
        return generator.rest_headers(method, self.token(), self.http)

    def grpc(self, path: str) -> list[tuple[str, str]]:
        """Headers of an associate's gRPC calls."""
        return generator.grpc_headers(path, self.token())

    @property
    def bearer(self) -> list[tuple[str, str]]:
        """Metadata of an associate's calls by a stub."""
        return [("authorization", f"Bearer {self.token()}")]

    def channel(self, service: str = "inventory") -> grpc.Channel:
        """To one of a service's processes, for calls that are no load."""
        return grpc.insecure_channel(self.socket(service).split(",")[0])

    @functools.cached_property
    def reads(self) -> inventory_rpc.InventoryServiceStub:
        """Inventory's rpcs, for looking at an answer or two."""
        return inventory_rpc.InventoryServiceStub(self.channel())

    @property
    def admin(self) -> stacks.Client:
        """The measured tenant's administrator, over REST."""
        return self._admins[self.brand.name]

    # --- data ---

    def locations(self, prefix: str, count: int, tenant: Tenant | None = None, **fields: Any) -> list[str]:
        """New shops. TypeIDs. fields: of the location."""
        admin = self._admins[(tenant or self.brand).name]
        body = {"name": "Bench", "type": "LOCATION_TYPE_STORE", "timezone": "Europe/Vienna", "currency_code": "EUR"}
        body |= fields
        return [
            str(admin.post("/v1/locations", {"location": body | {"code": f"{prefix}-{n}"}}, 201)["id"])
            for n in range(1, count + 1)
        ]

    def stock(self, location: str, units: Mapping[str, int], tenant: Tenant | None = None) -> None:
        """Opening stock of SKUs, which are made when the tenant hasn't got them."""
        owner = tenant or self.brand
        self._products(owner, units)
        lines = [{"sku": sku, "on_hand": str(count), "force_reason": "opening"} for sku, count in units.items()]
        for part in _parts(lines):
            body = {"counts": part, "reason": "MOVEMENT_REASON_OPENING"}
            self._admins[owner.name].post(f"/v1/locations/{location}/inventory", body)

    def price(self, skus: Iterable[str], minor_units: int) -> None:
        """Sets the price of SKUs of the measured tenant."""
        body = {"price": {"amount": {"currency_code": "EUR", "minor_units": minor_units}}}
        for sku in skus:
            self._admins[self.brand.name].post(f"/v1/variants/{sku}/prices", body, 201)

    @functools.cached_property
    def shops(self) -> list[str]:
        """Shops that have plenty of every SKU: reservations, reads and sales are spread over them."""
        made = self.locations("SHOP", SHOPS)
        for location in made:
            self.stock(location, dict.fromkeys(self.skus, AMPLE))
        return made

    def levels(self) -> list[tuple[str, str]]:
        """(location, SKU) of every level of the shops, in an order without order, the same each time."""
        found = [(location, sku) for location in self.shops for sku in self.skus]
        random.Random(1).shuffle(found)
        return found

    def _products(self, tenant: Tenant, skus: Iterable[str]) -> None:
        missing = [sku for sku in skus if sku not in self._made[tenant.name]]
        self._made[tenant.name].update(missing)
        for part in _parts([{"name": f"Thing {sku}", "variants": [{"sku": sku}]} for sku in missing]):
            answer = self._admins[tenant.name].post("/v1/products/batch-create", {"products": part})
            wrong = [result for result in answer["results"] if not result.get("product")]
            if wrong:
                raise generator.Mismatch(f"a product was refused: {wrong[0]}")

    # --- what the database and the processes say ---

    @contextlib.contextmanager
    def rows(self, service: str) -> Iterator[psycopg.Connection[Any]]:
        """A session that sees every row of a service. The administrator's: services see only their tenant's."""
        found = self.stack.endpoints["postgres"]
        url = f"host={found['host']} port={found['port']} dbname=tillmesh_{service} user={postgres.SUPERUSER}"
        with psycopg.connect(url, passfile=str(self.passfile), autocommit=True) as session:
            yield session

    def row(self, service: str, query: str, **values: Any) -> tuple[Any, ...]:
        """The one row of a query."""
        with self.rows(service) as session:
            found = session.execute(query, values).fetchone()
        if found is None:
            raise generator.Mismatch(f"no row: {query}")
        return tuple(found)

    def metrics(self, process: str) -> dict[str, float]:
        """A process's counters by name and labels, e.g. `grpc_server_handled_total{grpc_code=OK,…}`."""
        text = httpx.get(f"http://127.0.0.1:{self.stack.endpoints['metrics'][process]}/metrics", timeout=10).text
        return {
            sample.name + "{" + ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items())) + "}": sample.value
            for family in prometheus_client.parser.text_string_to_metric_families(text)
            for sample in family.samples
        }

    def settle(self) -> float:
        """Waits until every event is published, so that the next run isn't this one's aftermath. Seconds it took."""
        begun = time.monotonic()
        for service in ("inventory", "orders"):
            while self.row(service, "SELECT count(*) FROM outbox WHERE published_at IS NULL")[0]:
                if time.monotonic() - begun > SETTLE_SECONDS:
                    raise generator.Mismatch(f"{service} has unpublished events after {SETTLE_SECONDS:g} s")
                time.sleep(0.05)
        return time.monotonic() - begun


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


@contextlib.contextmanager
def opened(*, short: bool = False, **settings: str) -> Iterator[Shop]:
    """A stack of its own for the block. settings: besides SETTINGS. Unavailable when the generator can't be built."""
    generator.compiler()  # before a stack is started for nothing
    with throwaway.folder() as folder:
        stack = stacks.Stack(folder, **{**SETTINGS, **settings})
        try:
            stack.start()
            yield Shop(stack, folder, short=short)
        finally:
            stack.stop()


def batches(before: Mapping[str, float], after: Mapping[str, float], lane: str) -> dict[str, float]:
    """Size and milliseconds of a lane's average batch between two readings of the metrics; {} without a batch."""

    def rose(name: str) -> float:
        key = f"{name}{{lane={lane}}}"
        return after.get(key, 0.0) - before.get(key, 0.0)

    count = rose("tillmesh_lane_batch_size_count")
    if not count:
        return {}
    return {
        "batch_size": round(rose("tillmesh_lane_batch_size_sum") / count, 2),
        "batch_ms": round(1000 * rose("tillmesh_lane_batch_seconds_sum") / count, 3),
    }
