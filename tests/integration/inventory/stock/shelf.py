"""Builders: a SKU that is kept by lots, at locations whose calendars differ, and LotsService as the interceptors let it be called."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import sqlalchemy as sa

from services.inventory import ledger
from services.inventory.domain import commands
from services.inventory.domain import levels as values
from services.inventory.handlers import catalog as catalog_handlers
from services.inventory.handlers import catalog_locations, catalog_products
from services.inventory.mapping import catalog_messages
from services.inventory.mapping import lots as mapping
from services.inventory.mapping import stock as stock_mapping
from services.inventory.servicer.lots import LotsServicer
from services.inventory.servicer.stock import StockServicer
from services.inventory.store import proof
from services.inventory.sweeper import ExpirySweeper
from tests import worlds
from tillmesh.inventory.v1 import catalog_pb2, lots_pb2, stock_pb2
from tillmesh.inventory.v1 import inventory_service_pb2 as stock_rpc
from tillmesh.inventory.v1 import lots_service_pb2 as pb

SKU = "Milk"
TODAY = dt.datetime.now(dt.UTC).date()
SET_POLICY = sa.text("UPDATE variant SET lot_policy = CAST(:policy AS jsonb) WHERE sku_key = :key")


def day(offset: int) -> str:
    """A date so many days from today (UTC)."""
    return (TODAY + dt.timedelta(days=offset)).isoformat()


class Shelf:
    """Lots of one SKU in a tenant's world."""

    def __init__(self, world: worlds.StockWorld) -> None:
        self.world = world
        self.lots = LotsServicer(world.db, world.handlers)
        self.stock = StockServicer(world.handlers, None, None, None, None)  # type: ignore[arg-type]  # it sources and watches nothing
        self.sweeper = ExpirySweeper(world.db, world.lanes)
        writer = catalog_handlers.Writer(world.db, lambda *_: None)
        self.products = catalog_products.Products(world.db, writer)
        self.locations = catalog_locations.Locations(world.db, writer)

    async def open(self, policy: str = '{"sell_past_best_before": false, "minimum_life_days": {"web": 3}}') -> str:
        """A first location, where the SKU is known and kept by lots."""
        location_id = await self.world.location([SKU])
        async with self.world.db.transaction(self.world.tenant) as session:
            await session.execute(SET_POLICY, {"policy": policy, "key": SKU.lower()})
        return location_id

    async def lot(self, code: str, **dates: str) -> lots_pb2.Lot:
        request = pb.CreateLotRequest(sku=SKU, lot=lots_pb2.LotInput(code=code, **dates))
        return await self.lots.CreateLot(request, None)  # type: ignore[arg-type]  # no context

    async def bring(self, location_id: str, quantity: int, code: str = "", **dates: str) -> stock_pb2.StockLevel:
        """Adds units, or takes some away."""
        lot = lots_pb2.LotInput(code=code, **dates) if code else None
        request = stock_rpc.AdjustStockRequest(
            location_id=location_id, sku=SKU, delta=quantity, reason=1, lot=lot, request_id=uuid.uuid4().hex
        )
        return await self.stock.AdjustStock(request, None)  # type: ignore[arg-type]

    async def hold(
        self, location_id: str, quantity: int, channel: str = "", seconds: int = 900
    ) -> stock_pb2.Reservation:
        request = stock_rpc.ReserveStockRequest(location_id=location_id, sku=SKU, quantity=quantity, channel=channel)
        request.ttl.FromSeconds(seconds)
        return await self.stock.ReserveStock(request, None)  # type: ignore[arg-type]

    async def sell(self, location_id: str, order_id: str, *lines: tuple[int, str], hold_id: str = "") -> None:
        """Applies a sale: (units, lot)."""
        held = stock_mapping.hold_uuid(hold_id) if hold_id else None
        sold = tuple(commands.SaleLine(SKU, units, lot) for units, lot in lines)
        sale = commands.Sale(order_id, sold, self.world.origin, held, (SKU.lower(),) if held else ())
        command = commands.ApplySales(f"test-{uuid.uuid4().hex}", 1, 1, 1, (sale,))
        counted = stock_mapping.Counted
        await self.world.handlers.write(location_id, command, self.world.key(), counted, lambda *_: counted())

    async def redate(self, lot: lots_pb2.Lot, **dates: str) -> lots_pb2.Lot:
        request = pb.UpdateLotRequest(lot_id=lot.id, **dates)
        request.update_mask.paths.extend(dates)
        return await self.lots.UpdateLot(request, None)  # type: ignore[arg-type]

    async def recall(self, lot: lots_pb2.Lot, reason: str = "glass", request_id: str = "") -> lots_pb2.Lot:
        request = pb.RecallLotRequest(lot_id=lot.id, reason=reason, request_id=request_id or uuid.uuid4().hex)
        return await self.lots.RecallLot(request, None)  # type: ignore[arg-type]

    async def on_hand(self, location_id: str) -> dict[str, dict[str, int]]:
        """What is there by lot, zeros left out."""
        request = pb.ListStockLotsRequest(location_id=location_id, sku=SKU)
        answer = await self.lots.ListStockLots(request, None)  # type: ignore[arg-type]
        return {lot.lot: counters(lot) for lot in answer.lots}

    async def relocate(self, location_id: str, timezone: str) -> None:
        edit = catalog_locations.Edit(
            location_id=stock_mapping.location_uuid(location_id), changes={"timezone": timezone}, expected_version=0
        )
        key = self.world.key()
        write = catalog_handlers.Write(self.world.tenant_id, key, catalog_pb2.Location, catalog_messages.location)
        await self.locations.update(write, edit)

    async def set_policy(self, **policy: Any) -> None:
        edit = catalog_products.VariantEdit(
            sku=SKU, changes={"lot_policy": mapping.lots.Policy(**policy)}, expected_version=0
        )
        write = catalog_handlers.Write(
            self.world.tenant_id, self.world.key(), catalog_pb2.Variant, catalog_messages.variant
        )
        await self.products.update_variant(write, edit)

    async def proof(self) -> list[proof.Difference]:
        """What doesn't add up, at all locations."""
        proving = ledger.Ledger(self.world.db)
        return [
            found for where in await proving.locations(self.world.tenant_id) for found in await proving.verify(where)
        ]


def counters(lot: lots_pb2.LotStock) -> dict[str, int]:
    return {name: units for name in (*values.Counters._fields, "free") if (units := getattr(lot, name))}


def parts(reservation: stock_pb2.Reservation) -> list[tuple[str, int]]:
    """(lot, units) of a reservation."""
    return [(line.lot, line.quantity) for line in reservation.lines]
