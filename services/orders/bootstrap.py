"""The composition root of Orders: the only place that constructs its parts and starts its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pydantic

from services.kit import (
    broker,
    channels,
    database,
    dead_letters,
    lanes,
    maintenance,
    pings,
    relay,
    server,
    settings,
    streams,
    tokens,
)
from services.kit.events_servicer import EventsServicer
from services.orders import catalogue, handlers, lane, positions
from services.orders.mapping import inventory
from services.orders.servicer import OrdersServicer
from tillmesh.common.v1 import events_service_pb2_grpc as events_rpc
from tillmesh.orders.v1 import orders_service_pb2_grpc as orders_rpc

SERVICE = "orders"


class Settings(settings.ServiceSettings):
    """Orders' own settings, TILLMESH_ORDERS_…"""

    database_url: str = pydantic.Field(default="", validation_alias="TILLMESH_ORDERS_DATABASE_URL")
    worker_database_url: str = pydantic.Field(default="", validation_alias="TILLMESH_ORDERS_WORKER_DATABASE_URL")
    owner_database_url: str = pydantic.Field(default="", validation_alias="TILLMESH_ORDERS_OWNER_DATABASE_URL")
    lane_batches: int = pydantic.Field(default=2, ge=1, validation_alias="TILLMESH_ORDERS_LANE_BATCHES")


class Orders:
    """One process of the service. Its parts can run alone: rpcs, relay, consumers."""

    def __init__(self, config: Settings) -> None:
        self.config = config
        # One connection more than batches, so that a lost commit can be resolved while others run.
        self.db = database.Database(
            config.database_url, config.worker_database_url, lane_connections=config.lane_batches + 1
        )
        self.broker = broker.Broker.from_settings(config, SERVICE)
        self.pings = pings.Pings(self.broker, SERVICE)
        self.inventory = self._inventory_channel()
        client = inventory.InventoryClient(self.inventory)
        self.catalogue = catalogue.Catalogue(client, self.db)
        runner = lane.SalesRunner(self.db, self._committed)
        self.lanes: handlers.SalesLanes = lanes.Lanes("sales", runner, in_flight=config.lane_batches)
        applied = positions.AppliedPositions(client)
        self.orders = handlers.Orders(self.db, self.lanes, self.catalogue, applied)
        self.relay = relay.Relay(self.db, streams.JetStreamPublisher(self.broker, SERVICE), SERVICE, heard=self.pings)
        self.server = server.Server(config, SERVICE, server.verifier(config, SERVICE))
        self._tasks: list[asyncio.Task[None]] = []

    def _inventory_channel(self) -> channels.ServiceChannel:
        key, jwks = self.config.service_key_file, self.config.service_jwks_file
        if key is None or jwks is None:
            raise database.UnsafeRole("TILLMESH_SERVICE_KEY_FILE and TILLMESH_SERVICE_JWKS_FILE are needed")
        identity = channels.Identity(tokens.Signer(SERVICE, key, jwks))
        return channels.ServiceChannel("inventory", self.config.inventory_address, identity)

    def _committed(self, key: lane.Key, _seq: int) -> None:
        """Sales of a location were recorded: the relay of this process or another has something to publish."""
        self.pings.send(key.tenant_id, key.location_id)

    def add_rpcs(self) -> None:
        """The rpcs, and what they need running."""
        letters = dead_letters.DeadLetters(self.db, SERVICE, [])
        self.server.add(orders_rpc.add_OrdersServiceServicer_to_server, OrdersServicer(self.orders, letters))
        self.server.add(events_rpc.add_EventsServiceServicer_to_server, EventsServicer(self.db))
        self.start(maintenance.run(self.db), "maintenance")

    def add_relay(self) -> None:
        """Outbox to JetStream."""
        self.start(self.relay.run(), "relay")

    def add_consumers(self) -> None:
        """Orders needs no events of others yet: such a process waits for its end."""

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
        self.server.on_close("inventory", self.inventory.close)
        self.server.on_close("catalogue", self.catalogue.close)
        self.lanes.start()
        self.server.on_close("lanes", self.lanes.stop)
        for part in parts:
            {"serve": self.add_rpcs, "relay": self.add_relay, "consume": self.add_consumers}[part]()
        self.server.on_close("tasks", self._stop_tasks)
        await self.server.start()
        await self.server.run_until_signal()

    async def _database_answers(self) -> bool:
        async with self.db.lane_connection() as connection:
            await connection.ask("")
        return True

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def run(*parts: str) -> None:
    """A process with some of `serve`, `relay` and `consume`."""
    await Orders(Settings()).run(*parts)
