"""Builders: a tenant's staff who call TransfersService as the interceptors let them, on real stock lanes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import timestamp_pb2

from services.inventory import ledger
from services.inventory.mapping import stock as mapping
from services.inventory.servicer.transfers import TransfersServicer
from services.kit import database, principal
from tests.integration.inventory.replenishment import buying
from tillmesh.inventory.v1 import lots_pb2
from tillmesh.inventory.v1 import transfers_pb2 as messages
from tillmesh.inventory.v1 import transfers_service_pb2 as pb

DRAFT, READY, IN_TRANSIT, PARTLY, RECEIVED, CANCELLED = range(1, 7)
SOON = timestamp_pb2.Timestamp()
SOON.FromDatetime(buying.SOON)


class MovingWorld(buying.BuyingWorld):
    """A tenant's stock and transfers, and one process's lanes on them."""

    def __init__(self, db: database.Database, **options: Any) -> None:
        super().__init__(db, **options)
        self.replenishment = self.servicer
        self.transfers = TransfersServicer(db, self.effects, self.lanes)

    async def call(self, request: Any, caller: principal.Principal | None = None) -> Any:
        """Answer of the rpc that takes such a request, of either service."""
        ours = type(request).DESCRIPTOR.file.name == pb.DESCRIPTOR.name
        self.servicer = self.transfers if ours else self.replenishment  # type: ignore[assignment]  # called by name
        return await super().call(request, caller)

    async def ends(self, **units: int) -> tuple[str, str]:
        """Two locations, the first with so many units."""
        here, there = await self.location(list(units)), await self.location()
        for sku, quantity in units.items():
            await self.adjust(here, sku, quantity)
        return here, there

    async def drafted(self, here: str, there: str, lines: Mapping[str, int], **fields: Any) -> messages.Transfer:
        given = {"expected_at": SOON, **fields}
        transfer = messages.Transfer(from_location_id=here, to_location_id=there, **given)
        for sku, quantity in lines.items():
            transfer.lines.add(sku=sku, quantity=quantity)
        return await self.call(pb.CreateTransferRequest(transfer=transfer))

    async def ready(self, transfer_id: str, **fields: Any) -> messages.Transfer:
        return await self.call(pb.ReadyTransferRequest(transfer_id=transfer_id, **fields))

    async def ship(self, transfer_id: str, lines: Mapping[str, int] | None = None, **fields: Any) -> messages.Transfer:
        rows = [pb.ShipTransferRequest.Line(sku=sku, quantity=n) for sku, n in (lines or {}).items()]
        return await self.call(pb.ShipTransferRequest(transfer_id=transfer_id, lines=rows, **fields))

    async def arrive(self, transfer_id: str, lines: Mapping[str, Any], **fields: Any) -> messages.Transfer:
        """lines: units accepted of a SKU, or fields of its line or lines; a lot by its code."""
        rows = []
        for sku, came in lines.items():
            for fields_of in came if isinstance(came, list) else [came]:
                said = dict(fields_of) if isinstance(fields_of, dict) else {"accepted": fields_of}
                if code := said.pop("lot", ""):
                    said["lot"] = lots_pb2.LotInput(code=code)
                rows.append(pb.ReceiveTransferRequest.Line(sku=sku, **said))
        return await self.call(pb.ReceiveTransferRequest(transfer_id=transfer_id, lines=rows, **fields))

    async def close(self, transfer_id: str, **fields: Any) -> messages.Transfer:
        return await self.call(pb.CloseTransferRequest(transfer_id=transfer_id, reason="gone", **fields))

    async def cancel(self, transfer_id: str, **fields: Any) -> messages.Transfer:
        return await self.call(pb.CancelTransferRequest(transfer_id=transfer_id, reason="not now", **fields))

    async def sent(self, here: str, there: str, lines: Mapping[str, int], **fields: Any) -> messages.Transfer:
        draft = await self.drafted(here, there, lines, **fields)
        await self.ready(draft.id)
        return await self.ship(draft.id)

    async def transfer(self, transfer_id: str) -> messages.Transfer:
        return await self.call(pb.GetTransferRequest(transfer_id=transfer_id))

    async def of_lots(self, transfer_id: str) -> dict[str, dict[str, int]]:
        """What of a transfer's only line is of lots, by code, zeros left out."""
        (line,) = (await self.transfer(transfer_id)).lines
        names = ("shipped", "received", "lost", "mistaken", "surplus", "outstanding")
        return {lot.lot: {name: units for name in names if (units := getattr(lot, name))} for lot in line.lots}

    async def happened(self, transfer_id: str) -> list[messages.TransferEvent]:
        return list((await self.call(pb.ListTransferEventsRequest(transfer_id=transfer_id))).events)

    async def units(self, location_id: str, sku: str = "a") -> tuple[int, int, int, int]:
        """On hand, available, allocated, in transit."""
        level = await self.level(location_id, sku)
        return level.on_hand, level.available, level.allocated, level.in_transit

    async def differences(self, *locations: str) -> list[Any]:
        """What `ledger verify` finds."""
        keeper = ledger.Ledger(self.db)
        places = [ledger.Where(self.tenant, mapping.location_uuid(location_id)) for location_id in locations]
        return [found for where in places for found in await keeper.verify(where)]

    async def exceptions(self, location_id: str) -> list[tuple[int, int, str]]:
        """(kind, quantity, reference) of what a person has to look at."""
        rows = await self.rows(
            "SELECT kind, quantity, ref_id FROM stock_exception WHERE location_id = :l ORDER BY recorded_at",
            l=str(mapping.location_uuid(location_id)),
        )
        return [tuple(row) for row in rows]
