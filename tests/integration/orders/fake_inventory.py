"""Stands in for the Inventory service where its own process would only slow tests down: the kit's real server, with
real access checks, around three answers that tests set. The end-to-end tests use the real one.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from services.kit import errors, ids, principal, server, settings
from tests.unit.kit import keyring
from tillmesh.inventory.v1 import (
    catalog_pb2,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    inventory_service_pb2,
    inventory_service_pb2_grpc,
)


def lipstick() -> catalog_pb2.ItemSnapshot:
    return catalog_pb2.ItemSnapshot(
        sku="LIP-1", product_id=ids.new("prd"), name="Lipstick, red", category="Face/Lipstick", price_id="p-1"
    )


class FakeInventory(
    catalog_service_pb2_grpc.CatalogServiceServicer, inventory_service_pb2_grpc.InventoryServiceServicer
):
    """What tests set, and what it was asked."""

    def __init__(self) -> None:
        self.locations: dict[str, catalog_pb2.Location] = {}
        self.items = {"LIP-1": lipstick()}
        self.positions: dict[str, int] = {}
        self.asked: list[list[str]] = []
        self.position_calls = 0
        self.callers: list[principal.Principal] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.broken = False

    def open_shop(self, **changes: Any) -> str:
        """A location in Vienna that sells in euro."""
        location_id = ids.new("loc")
        values = {
            "id": location_id,
            "timezone": "Europe/Vienna",
            "currency_code": "EUR",
            "business_day_cutoff": "04:00",
            "capabilities": [catalog_pb2.LOCATION_CAPABILITY_SELL],
        }
        self.locations[location_id] = catalog_pb2.Location(**{**values, **changes})
        return location_id

    async def BatchResolveItems(self, request: Any, context: Any) -> catalog_service_pb2.BatchResolveItemsResponse:
        self.asked.append(list(request.codes))
        self.callers.append(principal.current())
        await self.answering.wait()
        if self.broken:
            raise errors.Unavailable
        if request.location_id not in self.locations:
            raise errors.NotFound("location")
        answer = catalog_service_pb2.BatchResolveItemsResponse(location=self.locations[request.location_id])
        for code in request.codes:
            answer.results.add(code=code, item=self.items.get(code.upper()))
        return answer

    async def GetAppliedPosition(self, request: Any, context: Any) -> inventory_service_pb2.GetAppliedPositionResponse:
        self.position_calls += 1
        self.callers.append(principal.current())
        await self.answering.wait()
        if self.broken:
            raise errors.Unavailable
        return inventory_service_pb2.GetAppliedPositionResponse(sales_seq=self.positions.get(request.location_id, 0))


async def _unimplemented(self: FakeInventory, request: Any, context: Any) -> Any:
    raise errors.Unimplemented


async def _unimplemented_stream(self: FakeInventory, request: Any, context: Any) -> Any:
    raise errors.Unimplemented
    yield


for _base in FakeInventory.__bases__:
    for _name in vars(_base):  # the generated methods are not async, which the kit's server insists on
        if _name[0].isupper() and _name not in vars(FakeInventory):
            setattr(
                FakeInventory, _name, _unimplemented_stream if _name.startswith(("Watch", "Stream")) else _unimplemented
            )


def serve(folder: Path, users: keyring.Keyring, services: keyring.Keyring, servicer: FakeInventory) -> server.Server:
    """A server for it, to be started."""
    config = settings.ServiceSettings(
        listen=f"unix:{folder}/inventory.sock",
        issuer=keyring.ISSUER,
        jwks_file=users.file,
        service_jwks_file=services.file,
        drain_seconds=0,
    )
    made = server.Server(config, "inventory", server.verifier(config, "inventory"))
    made.add(catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server, servicer)
    made.add(inventory_service_pb2_grpc.add_InventoryServiceServicer_to_server, servicer)
    return made
