"""The composition root of Orders: the only place that constructs its parts and starts its tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pydantic

from services.kit import database, dead_letters, lanes, process, settings
from services.kit.audit import reading
from services.orders import catalogue, handlers, lane, moving, positions, recalls, taxing
from services.orders.customers import bundle
from services.orders.customers.servicer import CustomersServicer
from services.orders.domain import payments as domain
from services.orders.mapping import inventory, levels, stock
from services.orders.marketplaces import desk as marketplaces
from services.orders.marketplaces.adapters import configured as marketplace_accounts
from services.orders.marketplaces.servicer import MarketplacesServicer
from services.orders.payments import operations, resuming
from services.orders.payments.handlers import exceptions, paying, values, webhooks
from services.orders.payments.providers import configured, registry, simulated
from services.orders.payments.servicer import PaymentsServicer
from services.orders.placing import desk
from services.orders.servicer import OrdersServicer
from tillmesh.orders.v1 import customers_service_pb2_grpc as customers_rpc
from tillmesh.orders.v1 import marketplaces_service_pb2_grpc as marketplaces_rpc
from tillmesh.orders.v1 import orders_service_pb2_grpc as orders_rpc
from tillmesh.orders.v1 import payments_service_pb2_grpc as payments_rpc

SERVICE = "orders"


class Settings(settings.ServiceSettings):
    """Orders' own settings, TILLMESH_ORDERS_…"""

    database_url: str = pydantic.Field(default="", validation_alias="TILLMESH_ORDERS_DATABASE_URL")
    worker_database_url: str = pydantic.Field(default="", validation_alias="TILLMESH_ORDERS_WORKER_DATABASE_URL")
    owner_database_url: str = pydantic.Field(default="", validation_alias="TILLMESH_ORDERS_OWNER_DATABASE_URL")
    lane_batches: int = pydantic.Field(default=2, ge=1, validation_alias="TILLMESH_ORDERS_LANE_BATCHES")
    data: Path = Path(".data")
    keys_file: Path | None = pydantic.Field(default=None, validation_alias="TILLMESH_ORDERS_KEYS_FILE")
    """The root keys of personal data. Needed."""
    erasure_log: Path | None = pydantic.Field(default=None, validation_alias="TILLMESH_ORDERS_ERASURE_LOG")
    """Which customers were erased, outside the database. Needed; all processes of the service share one file."""
    payments: Literal["simulated", "none"] = pydantic.Field(default="none", validation_alias="TILLMESH_ORDERS_PAYMENTS")
    """Where card payments of tenants without a provider of their own go. `simulated` gives goods away: not for real."""
    refused_days: int = pydantic.Field(default=30, ge=0, validation_alias="TILLMESH_ORDERS_REFUSED_DAYS")
    """So many days placements are kept that came to nothing and moved no money; 0: for ever."""
    providers_file: Path | None = pydantic.Field(default=None, validation_alias="TILLMESH_ORDERS_PROVIDERS_FILE")
    """Providers of single tenants (payments/providers/configured.py)."""
    marketplaces_file: Path | None = pydantic.Field(default=None, validation_alias="TILLMESH_ORDERS_MARKETPLACES_FILE")
    """Accounts of tenants at marketplaces (marketplaces/adapters/configured.py)."""


def database_of() -> tuple[Settings, database.Database]:
    """What an operator's command works with: the settings, and the database, not yet open."""
    config = Settings()
    return config, database.Database(config.database_url, config.worker_database_url, pool_size=2, lane_connections=1)


def customers(config: Settings, db: database.Database, ping: Callable[[str, str], None]) -> bundle.Customers:
    """Customers with their keys and their erasure log. NotConfigured."""
    if config.keys_file is None or config.erasure_log is None:
        raise process.NotConfigured("TILLMESH_ORDERS_KEYS_FILE and TILLMESH_ORDERS_ERASURE_LOG are needed.")
    return bundle.Customers(db, SERVICE, config.keys_file, config.erasure_log, ping)


class Orders:
    """One process of the service. Its parts can run alone: rpcs, relay, consumers."""

    def __init__(self, config: Settings) -> None:
        # Of sales' batches, of groups, and one more, so that a lost commit can be resolved while others run.
        self.db = database.Database(
            config.database_url, config.worker_database_url, lane_connections=2 * config.lane_batches + 1
        )
        self.process = process.Process(config, SERVICE, self.db)
        channel = self.process.channel("inventory", config.inventory_address)
        client = self._inventory = inventory.InventoryClient(channel)
        self.catalogue = catalogue.Catalogue(client, self.db)
        runner = lane.SalesRunner(self.db, self._committed)
        self.lanes: handlers.SalesLanes = lanes.Lanes("sales", runner, in_flight=config.lane_batches)
        self.customers = customers(config, self.db, self.process.pings.send)
        applied = positions.AppliedPositions(client)
        self.orders = handlers.Orders(self.db, self.lanes, self.catalogue, applied, self.customers.recipients)
        self._bank = simulated.SimulatedBank(config.data / "bank" / "simulated.sqlite3")
        simulates = config.payments == "simulated"
        self._accounts = configured.Accounts(config.providers_file)
        default = (domain.Provider.SIMULATED, self._bank) if simulates else None
        self._providers = registry.Registry(default, self._accounts.providers)
        self.payments = operations.Operations(self.db, self._providers, self.process.pings.send)
        self.desk = desk.Desk(
            self.db,
            client,
            stock.StockClient(channel),
            self.payments,
            self.customers,
            self.process.pings.send,
            refused_days=config.refused_days,
        )
        self._markets = marketplace_accounts.Accounts(config.marketplaces_file)
        self.marketplaces = marketplaces.Desk(
            self.db, self._markets, client, levels.LevelsClient(channel), self.customers.profiles, self.desk
        )
        self.process.open("bank", self._bank.close)
        self.process.open("marketplaces", self._markets.close)
        self.process.open("accounts", self._accounts.close)
        self.process.open("catalogue", self.catalogue.close)
        self.process.open("lanes", self.lanes.stop, self.lanes.start)
        self.process.open("sagas", self.desk.runner.close)

    def _committed(self, key: lane.Key, _seq: int) -> None:
        """Sales of a location were recorded: the relay of this process or another has something to publish."""
        self.process.pings.send(key.tenant_id, key.location_id)

    def add_rpcs(self) -> None:
        """The rpcs, and what they need running."""
        letters = dead_letters.DeadLetters(self.db, SERVICE, [])
        moves = moving.Moves(self.db, self.process.pings.send)
        lots = recalls.Recalls(self.db, self._inventory)
        policies, audited = taxing.TaxPolicies(self.db), reading.Reading(self.db, self.customers.opener)
        servicer = OrdersServicer(self.orders, self.desk, moves, policies, lots, letters, audited)
        self.process.server.add(orders_rpc.add_OrdersServiceServicer_to_server, servicer)
        people = CustomersServicer(self.customers)
        self.process.server.add(customers_rpc.add_CustomersServiceServicer_to_server, people)
        self.process.before_doors(self.customers.check)
        self.process.start(self.customers.erasing.run(), "erasures")
        self.process.start(self.desk.run_due(), "sagas")
        self._add_payments()
        self.process.add_audit()
        sold_elsewhere = MarketplacesServicer(self.marketplaces.handlers)
        self.process.server.add(marketplaces_rpc.add_MarketplacesServiceServicer_to_server, sold_elsewhere)
        self.process.start(self.marketplaces.tending.run(), "marketplaces")
        self.process.add_events()

    def _add_payments(self) -> None:
        """Payments: their rpcs, and the resumer, which runs in one process at a time."""
        hooks = webhooks.Webhooks(self.payments, self._accounts.endpoints)
        payments = paying.Paying(self.db, self.payments, self.catalogue)
        raised = exceptions.Exceptions(self.db, self.payments)
        servicer = PaymentsServicer(payments, raised, values.StoredValue(self.db), hooks)
        self.process.server.add(payments_rpc.add_PaymentsServiceServicer_to_server, servicer)
        notifier = (domain.Provider.SIMULATED, self._bank) if self._providers.simulates else None
        self.process.start(resuming.Resumer(self.db, self.payments, notifier).run(), "payments")

    def add_consumers(self) -> None:
        """Orders needs no events of others yet: such a process waits for its end."""

    async def run(self, *parts: str) -> None:
        """Runs some of the parts until a signal."""
        add = {"serve": self.add_rpcs, "relay": self.process.add_relay, "consume": self.add_consumers}
        await self.process.run([add[part] for part in parts])


async def run(*parts: str) -> None:
    """A process with some of `serve`, `relay` and `consume`."""
    await Orders(Settings()).run(*parts)
