"""Builders: a migrated Inventory database, a tenant with locations and variants, and lanes as a process has them."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.inventory import lane, reading
from services.inventory.domain import commands
from services.inventory.domain import levels as values
from services.inventory.handlers import stock as handlers
from services.inventory.mapping import stock as mapping
from services.inventory.servicer import catalog
from services.kit import database, idempotency, ids, lanes, migrating, principal, validation
from services.mesh import postgres
from tillmesh.inventory.v1 import catalog_pb2, stock_pb2
from tillmesh.inventory.v1 import catalog_service_pb2 as catalog_service
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

INSERT_LOCATION = sa.text("""
INSERT INTO location (tenant_id, id, code, code_key, name, type, timezone, business_day_cutoff, currency_code, capabilities,
    closed, version, created_at, updated_at)
VALUES (:tenant, :id, CAST(:code AS text), lower(CAST(:code AS text)), 'A shop', 1, 'UTC', '00:00', 'EUR', '{}', false, 1, now(), now())
""")
INSERT_HEAD = sa.text("""
INSERT INTO stock_head (tenant_id, location_id, bundles)
VALUES (:tenant, :id, coalesce((SELECT version FROM bundle_set), 0))
""")
INSERT_PRODUCT = sa.text("""
INSERT INTO product (tenant_id, id, code, code_key, name, description, brand, category, category_key, version, created_at,
    updated_at)
VALUES (:tenant, CAST(:id AS uuid), CAST(:id AS text), CAST(:id AS text), 'A product', '', '', '', '', 1, now(), now())
""")
INSERT_VARIANT = sa.text("""
INSERT INTO variant (tenant_id, sku_key, sku, product_id, position, name, options, stock_unit, lead_time_days, tax_category,
    discontinued, version, category_key, words)
VALUES (:tenant, lower(CAST(:sku AS text)), CAST(:sku AS text), :product, 1, '', '[]', 1, 0, '', false, 1, '', '')
""")


def migrated(cluster: postgres.Cluster) -> tuple[str, str]:
    """URLs of Inventory's app and worker role, on a migrated database."""
    assert migrating.migrate("inventory", cluster.url("tillmesh_inventory", "tillmesh_migrator")) == 0
    return cluster.url("tillmesh_inventory", "inventory_app"), cluster.url("tillmesh_inventory", "inventory_worker")


def caller(tenant_id: str, subject: str = "till-1") -> principal.Principal:
    """An associate of all locations."""
    return principal.Principal(subject, tenant_id, frozenset({"ROLE_ASSOCIATE"}), frozenset(), frozenset({"*"}), 2e9)


class StockWorld:
    """A tenant's stock, and one process's lanes on it."""

    def __init__(
        self,
        db: database.Database,
        *,
        tenant_id: str | None = None,
        runner: type[lane.StockRunner] = lane.StockRunner,
        **limits: Any,
    ) -> None:
        self.db = db
        self.tenant_id = tenant_id or ids.new("ten")
        self.tenant = mapping.tenant_uuid(self.tenant_id)
        self.heard: list[int] = []
        self.runner = runner(db, lambda _key, seq: self.heard.append(seq))
        self.lanes: handlers.StockLanes = lanes.Lanes("test", self.runner, **limits)
        self.reader = reading.LevelReader(db)
        self.handlers = handlers.StockHandlers(db, self.lanes, self.reader)
        self.caller = caller(self.tenant_id)
        self.catalog = catalog.CatalogServicer(db, lambda _key, _tenant: None)

    async def __aenter__(self) -> StockWorld:
        self.lanes.start()
        self.reader.start()
        principal.enter(self.caller)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.lanes.stop()
        await self.reader.stop()

    async def location(self, skus: Sequence[str] = ()) -> str:
        """A new location (TypeID), and variants where the catalogue lacks them."""
        location_id = ids.new("loc")
        async with self.db.transaction(self.tenant) as session:
            values_ = {"tenant": self.tenant, "id": str(mapping.location_uuid(location_id)), "code": location_id}
            await session.execute(INSERT_LOCATION, values_)
            await session.execute(INSERT_HEAD, {"tenant": self.tenant, "id": values_["id"]})
        await self.variants(skus)
        return location_id

    async def variants(self, skus: Sequence[str]) -> None:
        """Adds variants of one new product to the catalogue."""
        product = str(uuid.uuid4())
        async with self.db.transaction(self.tenant) as session:
            await session.execute(INSERT_PRODUCT, {"tenant": self.tenant, "id": product})
            for sku in skus:
                await session.execute(INSERT_VARIANT, {"tenant": self.tenant, "sku": sku, "product": product})

    def key(self, request_id: str = "", method: str = "test", fingerprint: bytes = b"same") -> idempotency.Key:
        return idempotency.Key(self.tenant, self.caller.subject, method, request_id or uuid.uuid4().hex, fingerprint)

    @property
    def origin(self) -> commands.Origin:
        return commands.Origin(self.caller.subject)

    async def adjust(self, location_id: str, sku: str, delta: int, **key: Any) -> stock_pb2.StockLevel:
        command = commands.Adjust(self.origin, sku, delta, reason=1)
        return await self.handlers.write(
            location_id, command, self.key(**key), stock_pb2.StockLevel, mapping.reply_level
        )

    async def reserve(
        self, location_id: str, *lines: tuple[str, int], ttl: float = 900, **key: Any
    ) -> stock_pb2.Reservation:
        command = commands.Reserve(self.origin, ids.new_uuid(), lines, ttl)
        return await self.handlers.write(
            location_id, command, self.key(**key), stock_pb2.Reservation, mapping.reply_reservation
        )

    async def reserve_spread(
        self, places: Mapping[str, Sequence[tuple[str, int]]], ttl: float = 900, **key: Any
    ) -> stock_pb2.Reservation:
        parts = mapping.reserve(places, self.origin, ttl, "")
        return await self.handlers.write_spread(parts, self.key(**key), stock_pb2.Reservation)

    async def end(
        self, reservation_id: str, action: values.HoldState, ttl: float = 900, **key: Any
    ) -> stock_pb2.Reservation:
        hold_id = ids.decode("rsv", reservation_id)
        return await self.handlers.end_hold(hold_id, action, ttl, self.key(**key), stock_pb2.Reservation)

    async def count(
        self, location_id: str, *counts: commands.Count, occurred_at: dt.datetime | None = None
    ) -> pb.SetStockCountsResponse:
        command = commands.SetCounts(commands.Origin(self.caller.subject, "", occurred_at), counts, reason=10)
        return await self.handlers.write(
            location_id, command, self.key(), pb.SetStockCountsResponse, mapping.reply_levels
        )

    async def ask_catalog(self, request: Any) -> Any:
        """Answer of the catalogue's rpc that takes such a request, in a task of its own as each rpc has."""

        async def run() -> Any:
            principal.enter(
                principal.Principal("boss", self.tenant_id, frozenset({"admin"}), frozenset(), frozenset({"*"}), 2e9)
            )
            validation.check(request)
            return await getattr(self.catalog, type(request).__name__.removesuffix("Request"))(request, None)

        return await asyncio.create_task(run())

    async def set_bundle(self, sku: str, components: Mapping[str, int], **fields: Any) -> catalog_pb2.Variant:
        """Says what a SKU consists of; nothing: it is plain."""
        request = catalog_service.SetBundleRequest(sku=sku, **fields)
        for component, quantity in components.items():
            request.components.add(sku=component, quantity=quantity)
        return await self.ask_catalog(request)

    async def level(self, location_id: str, sku: str) -> Any:
        return await self.handlers.get_level(location_id, sku)

    async def rows(self, query: str, **parameters: Any) -> Sequence[Any]:
        """What a query of the tenant finds."""
        async with self.db.read(self.tenant) as session:
            return (await session.execute(sa.text(query), parameters)).all()
