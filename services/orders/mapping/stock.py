"""Units for orders, asked of Inventory: translate, call, translate. What to ask, and when, belongs to placing/."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import grpc.aio
from google.rpc import status_pb2

from services.kit import channels, errors, ids
from services.orders.domain import placement, sagas
from services.orders.placing import port
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import inventory_service_pb2_grpc, stock_pb2


class StockClient:
    """Inventory as sagas see it (port.Stock)."""

    def __init__(self, channel: channels.ServiceChannel) -> None:
        self._stock: Any = inventory_service_pb2_grpc.InventoryServiceStub(channel)

    async def hold(self, spec: sagas.HoldSpec, order_ref: str, key: str) -> port.Reservation:
        """See port.Stock."""
        sourcing = spec.sourcing
        request = pb.SourceReservationRequest(
            lines=[
                pb.SourceReservationRequest.Line(sku=line.sku, quantity=line.quantity, group=line.group)
                for line in spec.lines
            ],
            order_ref=order_ref,
            request_id=key,
            channel=spec.channel,
        )
        request.ttl.FromSeconds(sagas.HOLD_SECONDS)
        if spec.pickup_at is not None:
            request.pickup_location_id = ids.encode("loc", spec.pickup_at)
        else:
            request.rule, request.split = sourcing.rule, sourcing.split  # type: ignore[assignment]  # the contract's numbers
            request.location_ids.extend(sourcing.location_ids)
            request.parcels_max = sourcing.parcels_max
            if sourcing.destination is not None:
                request.destination.latitude, request.destination.longitude = sourcing.destination
        with _explained(spec):
            return _reservation(await self._stock.SourceReservation(request))

    async def confirm(self, reservation_id: uuid.UUID, key: str) -> None:
        """See port.Stock."""
        request = pb.ConfirmReservationRequest(reservation_id=ids.encode("rsv", reservation_id), request_id=key)
        try:
            await self._stock.ConfirmReservation(request)
        except errors.Error as refusal:
            if refusal.reason == port.HoldEnded.reason:
                raise port.HoldEnded from refusal
            raise

    async def reduce(self, reservation_id: uuid.UUID, held: Sequence[placement.Held], key: str) -> None:
        """See port.Stock."""
        request = pb.ReduceReservationRequest(reservation_id=ids.encode("rsv", reservation_id), request_id=key)
        for of in held:
            request.lines.add(sku=of.sku, quantity=of.quantity, location_id=ids.encode("loc", of.location_id))
        try:
            await self._stock.ReduceReservation(request)
        except errors.Error as refusal:
            if refusal.reason == port.Fewer.reason:
                raise port.Fewer from refusal
            if refusal.reason in (port.HoldEnded.reason, errors.NotFound.reason):
                raise port.HoldEnded from refusal
            raise

    async def release(self, reservation_id: uuid.UUID, key: str) -> None:
        """See port.Stock."""
        request = pb.ReleaseReservationRequest(reservation_id=ids.encode("rsv", reservation_id), request_id=key)
        try:
            await self._stock.ReleaseReservation(request)
        except errors.Error as refusal:
            if refusal.reason not in (port.HoldEnded.reason, errors.NotFound.reason):
                raise


def _reservation(message: stock_pb2.Reservation) -> port.Reservation:
    units: dict[tuple[str, str], int] = {}
    for line in message.lines:  # several for a SKU that is kept by lots: which they are is the stock's affair
        of = line.location_id or message.location_id, line.sku
        units[of] = units.get(of, 0) + line.quantity
    held = [placement.Held(ids.decode("loc", place), sku, quantity) for (place, sku), quantity in units.items()]
    return port.Reservation(ids.decode("rsv", message.id), held)


@contextlib.contextmanager
def _explained(spec: sagas.HoldSpec) -> Iterator[None]:
    """A shortage in terms of the order's lines."""
    try:
        yield
    except errors.Error as refusal:
        if refusal.reason != placement.InsufficientStock.reason:
            raise
        # Inventory names a SKU for each line that asks for it; the order's lines are named together.
        by_sku = {line.sku.lower(): line for line in reversed(_shortage(refusal).lines)}
        short = [placement.Shortfall(placement.numbers_of(spec.lines, sku), line) for sku, line in by_sku.items()]
        short.sort(key=lambda each: each.numbers)
        raise placement.InsufficientStock(short) from None


def _shortage(refusal: errors.Error) -> stock_pb2.StockShortage:
    """The detail that Inventory packed; empty when it was too large to be sent."""
    found = stock_pb2.StockShortage()
    if isinstance(refusal.__cause__, grpc.aio.AioRpcError):
        details = dict(refusal.__cause__.trailing_metadata() or ()).get("grpc-status-details-bin")
        if isinstance(details, bytes):
            any(detail.Unpack(found) for detail in status_pb2.Status.FromString(details).details)
    return found
