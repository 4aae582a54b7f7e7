"""The stock that marketplaces are told of, asked of Inventory. When it is asked belongs to marketplaces/."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from services.kit import channels, errors, ids
from services.orders.domain import placement
from services.orders.marketplaces import stock
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import inventory_service_pb2_grpc

AT_ONCE: Final = 50  # of BatchGetAvailability
_SKU: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class LevelsClient:
    """Inventory as marketplaces see it (stock.Levels)."""

    def __init__(self, channel: channels.ServiceChannel) -> None:
        self._stock: Any = inventory_service_pb2_grpc.InventoryServiceStub(channel)

    async def watch(self, location_ids: Sequence[uuid.UUID], token: str) -> AsyncIterator[stock.Change]:
        """See stock.Levels. A stream that begins anew says so once its position stands: what is read then is newer."""
        request = pb.WatchLocationsRequest(location_ids=_texts(location_ids), resume_token=token)
        told_anew = bool(token)
        async for frame in self._stock.WatchLocations(request):
            match frame.WhichOneof("frame"):
                case "snapshot_chunk":
                    if not told_anew:
                        told_anew = True
                        yield stock.Change((), "", anew=True)
                case "changes":
                    skus = dict.fromkeys(change.level.sku for change in frame.changes.changes)
                    yield stock.Change(tuple(skus), frame.resume_token)
                case "progress":
                    yield stock.Change((), frame.resume_token)
                case "draining" | "ended":
                    return

    async def available(self, location_ids: Sequence[uuid.UUID], skus: Sequence[str]) -> Mapping[str, int]:
        """See stock.Levels."""
        found: dict[str, int] = {}
        known = [sku for sku in skus if _SKU.fullmatch(sku)]
        for start in range(0, len(known), AT_ONCE):
            found |= await self._some(location_ids, known[start : start + AT_ONCE])
        return found

    async def _some(self, location_ids: Sequence[uuid.UUID], skus: list[str]) -> dict[str, int]:
        """Of those that Inventory knows: it names the first that it doesn't, which is left out then."""
        while skus:
            request = pb.BatchGetAvailabilityRequest(skus=skus, location_ids=_texts(location_ids))
            try:
                answer = await self._stock.BatchGetAvailability(request)
            except errors.Error as refusal:
                unknown = refusal.metadata.get("sku", "").lower()
                rest = [sku for sku in skus if sku.lower() != unknown]
                if refusal.reason != placement.SkuNotFound.reason or len(rest) == len(skus):
                    raise
                skus = rest
            else:
                return {row.sku.lower(): row.total_available for row in answer.rows}
        return {}


def _texts(location_ids: Sequence[uuid.UUID]) -> list[str]:
    return [ids.encode("loc", each) for each in location_ids]
