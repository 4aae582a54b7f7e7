"""The composition root of Inventory: the only place that constructs its parts and starts its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pydantic

from services.inventory import bulk_files, bulk_worker, consumers, lane, reading, sweeper, watch
from services.inventory.handlers import bulk as bulk_handlers
from services.inventory.handlers import stock as handlers
from services.inventory.mapping import stock as mapping
from services.inventory.servicer.bulk import BulkDataServicer
from services.inventory.servicer.catalog import CatalogServicer
from services.inventory.servicer.stock import StockServicer
from services.kit import (
    broker,
    channels,
    database,
    dead_letters,
    inbox,
    lanes,
    maintenance,
    pings,
    reconcile,
    relay,
    server,
    settings,
    streams,
    tokens,
    watching,
)
from services.kit.events_servicer import EventsServicer
from tillmesh.common.v1 import events_service_pb2_grpc as events_rpc
from tillmesh.inventory.v1 import bulk_data_service_pb2_grpc as bulk_rpc
from tillmesh.inventory.v1 import catalog_service_pb2_grpc as catalog_rpc
from tillmesh.inventory.v1 import inventory_service_pb2_grpc as inventory_rpc

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


class Inventory:
    """One process of the service. Its parts can run alone: rpcs, relay, consumers."""

    def __init__(self, config: Settings) -> None:
        self.config = config
        # Lanes, reads and streams take turns on the raw connections: about as many as may be in flight at once.
        self.db = database.Database(
            config.database_url, config.worker_database_url, lane_connections=2 * config.lane_batches + 2
        )
        self.broker = broker.Broker.from_settings(config, SERVICE)
        self.pings = pings.Pings(self.broker, SERVICE)
        self.watches = watch.StockWatch(self.db, lifetime_seconds=config.stream_lifetime_seconds)
        runner = lane.StockRunner(self.db, self._committed)
        self.lanes: handlers.StockLanes = lanes.Lanes("stock", runner, in_flight=config.lane_batches)
        self.reader = reading.LevelReader(self.db, in_flight=config.lane_batches)
        self.stock = handlers.StockHandlers(self.db, self.lanes, self.reader)
        self.relay = relay.Relay(self.db, streams.JetStreamPublisher(self.broker, SERVICE), SERVICE, heard=self.pings)
        self.orders = self._orders_channel()
        self.subscription = inbox.Subscription(
            consumers.SALES_CONSUMER,
            consumers.SALES_SOURCE,
            consumers.SalesEffect(self.db, self.lanes),
            inbox.StubOwner(events_rpc.EventsServiceStub(self.orders)),
            types=consumers.SALES_TYPES,
        )
        self.server = server.Server(config, SERVICE, server.verifier(config, SERVICE))
        self._tasks: list[asyncio.Task[None]] = []

    def _orders_channel(self) -> channels.ServiceChannel:
        key, jwks = self.config.service_key_file, self.config.service_jwks_file
        if key is None or jwks is None:
            raise database.UnsafeRole("TILLMESH_SERVICE_KEY_FILE and TILLMESH_SERVICE_JWKS_FILE are needed")
        identity = channels.Identity(tokens.Signer(SERVICE, key, jwks))
        return channels.ServiceChannel("orders", self.config.orders_address, identity)

    def _committed(self, key: lane.LaneKey, seq: int) -> None:
        """Stock of a location changed: streams of this process know the position, everyone else is pinged."""
        self.watches.notify(key.tenant_id, key.location_id, seq)
        self.pings.send(key.tenant_id, key.location_id)

    def add_rpcs(self) -> None:
        """The rpcs, and what they need running."""
        mapping.register_details()
        letters = dead_letters.DeadLetters(self.db, SERVICE, [self.subscription])
        servicer = StockServicer(self.stock, self.watches, letters)
        register = watching.bytes_through(inventory_rpc.add_InventoryServiceServicer_to_server)
        self.server.add(register, servicer)
        self.server.add(catalog_rpc.add_CatalogServiceServicer_to_server, CatalogServicer(self.db, self.pings.send))
        self.server.add(events_rpc.add_EventsServiceServicer_to_server, EventsServicer(self.db))
        self._add_bulk()
        self.pings.listen(self.watches.notify)
        self.watches.start()
        self.server.on_drain(self.watches.drain)
        self.start(sweeper.ExpirySweeper(self.db, self.lanes).run(), "expiry")
        self.start(maintenance.run(self.db), "maintenance")

    def _add_bulk(self) -> None:
        """Imports and exports: their rpcs, and the worker, which runs in one process at a time."""
        files = bulk_files.Store(self.config.files_url, self.config.data / "files" / SERVICE)
        servicer = BulkDataServicer(bulk_handlers.BulkJobs(self.db, files))
        self.server.add(bulk_rpc.add_BulkDataServiceServicer_to_server, servicer)
        self.start(bulk_worker.BulkWorker(self.db, files, self.stock, self.pings.send).run(), "bulk")

    def add_relay(self) -> None:
        """Outbox to JetStream."""
        self.start(self.relay.run(), "relay")

    def add_consumers(self) -> None:
        """Sales reduce stock."""
        sales = inbox.Inbox(self.db, SERVICE, self.broker, self.subscription, concurrency=EFFECTS_AT_ONCE)
        self.start(sales.run(), "inbox")
        self.start(reconcile.Reconciler(self.db, sales).run(), "reconcile")

    def start(self, job: Coroutine[Any, Any, None], name: str) -> None:
        """A task for the life of the process."""
        self._tasks.append(asyncio.create_task(job, name=name))

    async def run(self, *parts: str) -> None:
        """Opens everything, adds the parts, serves until a signal, closes everything in reverse order."""
        await self.db.open()
        self.server.on_close("database", self.db.close)
        self.server.ready_when("database", self._database_answers)
        self.broker.start()
        self.server.on_close("broker", self.broker.stop)
        await self.pings.start()
        self.server.on_close("pings", self.pings.stop)
        self.lanes.start()
        self.reader.start()
        self.server.on_close("reader", self.reader.stop)
        self.server.on_close("lanes", self.lanes.stop)
        for part in parts:
            {"serve": self.add_rpcs, "relay": self.add_relay, "consume": self.add_consumers}[part]()
        self.server.on_close("orders", self.orders.close)
        self.server.on_close("tasks", self._stop_tasks)
        await self.server.start()
        await self.server.run_until_signal()

    async def _database_answers(self) -> bool:
        async with self.db.lane_connection() as connection:
            await connection.execute("SELECT 1")
        return True

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def run(*parts: str) -> None:
    """A process with some of `serve`, `relay` and `consume`."""
    await Inventory(Settings()).run(*parts)
