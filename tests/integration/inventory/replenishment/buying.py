"""Builders: a tenant's staff who call ReplenishmentService as the interceptors let them, on real stock lanes."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from services.inventory import document_effects
from services.inventory.domain import commands
from services.inventory.mapping import stock as mapping
from services.inventory.servicer.replenishment import ReplenishmentServicer
from services.kit import database, principal, validation
from tests import worlds
from tillmesh.common.v1 import money_pb2
from tillmesh.inventory.v1 import replenishment_pb2 as messages
from tillmesh.inventory.v1 import replenishment_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2

DRAFT, ORDERED, PARTLY, RECEIVED, CLOSED, CANCELLED = range(1, 7)
PENDING, APPLIED = messages.DOCUMENT_EFFECT_PENDING, messages.DOCUMENT_EFFECT_APPLIED
_numbers = itertools.count(1)
SOON = dt.datetime(2031, 5, 4, 12, tzinfo=dt.UTC)


def eur(minor_units: int, currency: str = "EUR") -> money_pb2.Money:
    return money_pb2.Money(currency_code=currency, minor_units=minor_units)


class BuyingWorld(worlds.StockWorld):
    """A tenant's stock and documents, and one process's lanes on them."""

    def __init__(self, db: database.Database, **options: Any) -> None:
        super().__init__(db, **options)
        self.effects = document_effects.Effects(db, self.lanes)
        self.servicer = ReplenishmentServicer(db, self.effects)
        self.resumer = document_effects.Resumer(db, self.effects)

    def staff(
        self, subject: str = "boss", role: str = "admin", locations: Sequence[str] = ("*",)
    ) -> principal.Principal:
        return principal.Principal(
            subject, self.tenant_id, frozenset({role}), frozenset(), frozenset(locations), 2e9, terminal_id="trm-1"
        )

    async def call(self, request: Any, caller: principal.Principal | None = None) -> Any:
        """Answer of the rpc that takes such a request, in a task of its own as each rpc has."""

        method = getattr(self.servicer, type(request).__name__.removesuffix("Request"))

        async def run() -> Any:
            principal.enter(caller or self.staff())
            validation.check(request)
            return await method(request, None)

        return await asyncio.create_task(run())

    # --- documents ---

    async def supplier(self, code: str = "acme", **fields: Any) -> messages.Supplier:
        given = {"name": "Acme", "currency_code": "EUR", "default_lead_time_days": 7, **fields}
        return await self.call(pb.CreateSupplierRequest(supplier=messages.Supplier(code=code, **given)))

    async def listed(self, supplier_id: str, *rows: messages.SupplierSku, **fields: Any) -> pb.PutSupplierSkusResponse:
        return await self.call(pb.BatchPutSupplierSkusRequest(supplier_id=supplier_id, skus=rows, **fields))

    async def draft(self, location_id: str, lines: dict[str, int], **fields: Any) -> messages.PurchaseOrder:
        """A draft to a supplier of its own unless one is named."""
        supplier_id = fields.pop("supplier_id", "") or (await self.supplier(f"s-{next(_numbers)}")).id
        order = messages.PurchaseOrder(supplier_id=supplier_id, location_id=location_id, **fields)
        for sku, ordered in lines.items():
            order.lines.add(sku=sku, ordered=ordered)
        return await self.call(pb.CreatePurchaseOrderRequest(purchase_order=order))

    async def placed(self, location_id: str, lines: dict[str, int], **fields: Any) -> messages.PurchaseOrder:
        draft = await self.draft(location_id, lines, **fields)
        return await self.call(pb.PlacePurchaseOrderRequest(purchase_order_id=draft.id))

    async def receive(self, order_id: str, lines: dict[str, Any], **fields: Any) -> messages.PurchaseReceipt:
        """lines: units accepted of a SKU, or fields of its line."""
        rows = [
            messages.PurchaseReceiptLine(sku=sku, **(came if isinstance(came, dict) else {"accepted": came}))
            for sku, came in lines.items()
        ]
        return await self.call(pb.CreatePurchaseReceiptRequest(purchase_order_id=order_id, lines=rows, **fields))

    async def order(self, order_id: str) -> messages.PurchaseOrder:
        return await self.call(pb.GetPurchaseOrderRequest(purchase_order_id=order_id))

    async def opened(self, location_id: str, *skus: str, **scope: Any) -> messages.CycleCount:
        kept = messages.CycleCountScope(skus=skus, **scope)
        count = messages.CycleCount(location_id=location_id, scope=kept)
        return await self.call(pb.CreateCycleCountRequest(cycle_count=count))

    async def counted(
        self, count_id: str, caller: principal.Principal | None = None, at: dt.datetime | None = None, **counts: int
    ) -> list[messages.CycleCountLine]:
        """Records counts of SKUs, by an associate unless somebody else is named."""
        rows = [
            pb.RecordCycleCountLinesRequest.Counted(sku=sku, counted=counted, counted_at=at)
            for sku, counted in counts.items()
        ]
        request = pb.RecordCycleCountLinesRequest(count_id=count_id, counts=rows)
        return list((await self.call(request, caller or self.staff("ann", "associate"))).lines)

    async def submitted(self, count_id: str, **fields: Any) -> messages.CycleCount:
        return await self.call(pb.SubmitCycleCountRequest(count_id=count_id, **fields), self.staff("ann", "associate"))

    async def approved(self, count_id: str, caller: principal.Principal | None = None) -> messages.CycleCount:
        return await self.call(
            pb.ApproveCycleCountRequest(count_id=count_id), caller or self.staff("meg", "store_manager")
        )

    async def lines(
        self, count_id: str, caller: principal.Principal | None = None
    ) -> dict[str, messages.CycleCountLine]:
        answer = await self.call(pb.ListCycleCountLinesRequest(count_id=count_id), caller)
        return {line.sku: line for line in answer.lines}

    # --- stock ---

    async def sell(self, location_id: str, sku: str, quantity: int, at: dt.datetime | None = None) -> None:
        """A sale, as a till says when it happened."""
        command = commands.Adjust(commands.Origin("till", "", at), sku, -quantity, reason=2)
        reply = mapping.reply_level
        await self.handlers.write(location_id, command, self.key(), stock_pb2.StockLevel, reply)

    async def ledger(self, location_id: str) -> list[tuple[Any, ...]]:
        """(sku, from, to, quantity, reason, reference type, reference), in order."""
        rows = await self.rows(
            "SELECT sku, from_state, to_state, quantity, reason, ref_type, ref_id FROM ledger WHERE location_id = :l "
            "ORDER BY seq, line",
            l=str(mapping.location_uuid(location_id)),
        )
        return [tuple(row) for row in rows]

    async def incoming(self, location_id: str, sku: str) -> list[tuple[int, str]]:
        level = await self.level(location_id, sku)
        return [(entry.quantity, entry.reference) for entry in level.incoming]

    async def execute(self, statement: str, **parameters: Any) -> None:
        """A change that no rpc makes: time that has passed."""
        async with self.db.transaction(self.tenant) as session:
            await session.execute(sa.text(statement), parameters)
