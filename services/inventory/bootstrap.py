"""The composition root of Inventory: the only place that constructs its parts and starts its tasks."""

from __future__ import annotations

from pathlib import Path

import pydantic

from services.inventory import (
    bulk_files,
    bulk_worker,
    consumers,
    document_effects,
    lane,
    reading,
    sweeper,
    watch,
)
from services.inventory.handlers import bulk as bulk_handlers
from services.inventory.handlers import sourcing
from services.inventory.handlers import stock as handlers
from services.inventory.mapping import replenishment_messages
from services.inventory.mapping import stock as mapping
from services.inventory.servicer.bulk import BulkDataServicer
from services.inventory.servicer.catalog import CatalogServicer
from services.inventory.servicer.lots import LotsServicer
from services.inventory.servicer.replenishment import ReplenishmentServicer
from services.inventory.servicer.stock import StockServicer
from services.inventory.servicer.transfers import TransfersServicer
from services.kit import database, dead_letters, inbox, lanes, process, reconcile, settings, watching
from services.kit.audit import reading as audit_reading
from tillmesh.common.v1 import events_service_pb2_grpc as events_rpc
from tillmesh.inventory.v1 import bulk_data_service_pb2_grpc as bulk_rpc
from tillmesh.inventory.v1 import catalog_service_pb2_grpc as catalog_rpc
from tillmesh.inventory.v1 import inventory_service_pb2_grpc as inventory_rpc
from tillmesh.inventory.v1 import lots_service_pb2_grpc as lots_rpc
from tillmesh.inventory.v1 import replenishment_service_pb2_grpc as replenishment_rpc
from tillmesh.inventory.v1 import transfers_service_pb2_grpc as transfers_rpc

SERVICE = "inventory"
EFFECTS_AT_ONCE = 32  # events of so many locations feed their lanes side by side


class Settings(settings.ServiceSettings):
    """Inventory's own settings, TILLMESH_INVENTORY_…"""

    database_url: str = pydantic.Field(default="", validation_alias="TILLMESH_INVENTORY_DATABASE_URL")
    worker_database_url: str = pydantic.Field(default="", validation_alias="TILLMESH_INVENTORY_WORKER_DATABASE_URL")
    owner_database_url: str = pydantic.Field(default="", validation_alias="TILLMESH_INVENTORY_OWNER_DATABASE_URL")
    data: Path = Path(".data")
    files_url: str = ""
    """Where files of imports and exports are kept, e.g. `s3://bucket/prefix`; empty: a folder below `data`."""
    lane_batches: int = pydantic.Field(default=2, ge=1, validation_alias="TILLMESH_INVENTORY_LANE_BATCHES")


def database_of() -> tuple[Settings, database.Database]:
    """What an operator's command works with: the settings, and the database, not yet open."""
    config = Settings()
    return config, database.Database(config.database_url, config.worker_database_url, pool_size=2, lane_connections=1)


class Inventory:
    """One process of the service. Its parts can run alone: rpcs, relay, consumers."""

    def __init__(self, config: Settings) -> None:
        self._files = bulk_files.Store(config.files_url, config.data / "files" / SERVICE)
        # Lanes, reads and streams take turns on the raw connections: about as many as may be in flight at once.
        self.db = database.Database(
            config.database_url, config.worker_database_url, lane_connections=2 * config.lane_batches + 2
        )
        self.process = process.Process(config, SERVICE, self.db)
        self.watches = watch.StockWatch(self.db, lifetime_seconds=config.stream_lifetime_seconds)
        runner = lane.StockRunner(self.db, self._committed)
        self.lanes: handlers.StockLanes = lanes.Lanes("stock", runner, in_flight=config.lane_batches)
        self.reader = reading.LevelReader(self.db, in_flight=config.lane_batches)
        self.stock = handlers.StockHandlers(self.db, self.lanes, self.reader)
        self.effects = document_effects.Effects(self.db, self.lanes)
        self.orders = self.process.channel("orders", config.orders_address)
        self.subscription = inbox.Subscription(
            consumers.SALES_CONSUMER,
            consumers.SALES_SOURCE,
            consumers.SalesEffect(self.db, self.lanes),
            inbox.StubOwner(events_rpc.EventsServiceStub(self.orders)),
            types=consumers.SALES_TYPES,
            keys=consumers.is_sales_key,
        )
        self.process.open("reader", self.reader.stop, self.reader.start)
        self.process.open("lanes", self.lanes.stop, self.lanes.start)

    def _committed(self, key: lane.LaneKey, seq: int) -> None:
        """Stock of a location changed: streams of this process know the position, everyone else is pinged."""
        self.watches.notify(key.tenant_id, key.location_id, seq)
        self.process.pings.send(key.tenant_id, key.location_id)

    def add_rpcs(self) -> None:
        """The rpcs, and what they need running."""
        mapping.register_details()
        replenishment_messages.register_details()
        pings, server = self.process.pings, self.process.server
        letters = dead_letters.DeadLetters(self.db, SERVICE, [self.subscription])
        plans, audited = sourcing.SourcingHandlers(self.db, self.stock), audit_reading.Reading(self.db)
        servicer = StockServicer(self.stock, plans, self.watches, letters, audited)
        server.add(watching.bytes_through(inventory_rpc.add_InventoryServiceServicer_to_server), servicer)
        server.add(catalog_rpc.add_CatalogServiceServicer_to_server, CatalogServicer(self.db, pings.send))
        replenishment = ReplenishmentServicer(self.db, self.effects)
        server.add(replenishment_rpc.add_ReplenishmentServiceServicer_to_server, replenishment)
        transfers = TransfersServicer(self.db, self.effects, self.lanes)
        server.add(transfers_rpc.add_TransfersServiceServicer_to_server, transfers)
        server.add(lots_rpc.add_LotsServiceServicer_to_server, LotsServicer(self.db, self.stock))
        self._add_bulk()
        self.process.add_audit()
        self.process.add_events()
        pings.listen(self.watches.notify)
        self.watches.start()
        server.on_drain(self.watches.drain)
        self.process.start(sweeper.ExpirySweeper(self.db, self.lanes).run(), "expiry")
        self.process.start(document_effects.Resumer(self.db, self.effects).run(), "documents")

    def _add_bulk(self) -> None:
        """Imports and exports: their rpcs, and the worker, which runs in one process at a time."""
        servicer = BulkDataServicer(bulk_handlers.BulkJobs(self.db, self._files))
        self.process.server.add(bulk_rpc.add_BulkDataServiceServicer_to_server, servicer)
        worker = bulk_worker.BulkWorker(self.db, self._files, self.stock, self.process.pings.send)
        self.process.start(worker.run(), "bulk")

    def add_consumers(self) -> None:
        """Sales reduce stock."""
        sales = inbox.Inbox(self.db, SERVICE, self.process.broker, self.subscription, concurrency=EFFECTS_AT_ONCE)
        self.process.start(sales.run(), "inbox")
        self.process.start(reconcile.Reconciler(self.db, sales).run(), "reconcile")

    async def run(self, *parts: str) -> None:
        """Runs some of the parts until a signal."""
        add = {"serve": self.add_rpcs, "relay": self.process.add_relay, "consume": self.add_consumers}
        await self.process.run([add[part] for part in parts])


async def run(*parts: str) -> None:
    """A process with some of `serve`, `relay` and `consume`."""
    await Inventory(Settings()).run(*parts)
