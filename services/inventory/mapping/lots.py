"""Lots on the wire and in the domain. Pure functions."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Sequence
from typing import Any

from services.inventory.domain import commands, lots
from services.inventory.domain import levels as values
from services.inventory.mapping import lot_inputs
from services.inventory.mapping import stock as stock_mapping
from services.inventory.store import lots as store
from services.kit import clock, errors, ids, paging, principal
from tillmesh.inventory.v1 import lots_pb2
from tillmesh.inventory.v1 import lots_service_pb2 as pb

lot_uuid = functools.partial(ids.given, "lot", "lot")
lot_text = functools.partial(ids.encode, "lot")
_MICROSECOND = dt.timedelta(microseconds=1)
_text = lot_inputs.text


def changes(request: pb.UpdateLotRequest) -> dict[str, dt.date | None]:
    """The dates that a request sets."""
    return {name: lot_inputs.date(request, name) for name in request.update_mask.paths}


def assign(request: pb.AssignLotRequest, code: str) -> commands.Assign:
    by = stock_mapping.origin(principal.current())
    return commands.Assign(by, request.sku, request.from_lot, code, request.quantity, request.reference)


def sales_after(request: pb.ListLotSalesRequest) -> store.After | None:
    """The last sale of the page before."""
    start = paging.start(principal.current().tenant_id, request, [int, str, int])
    if start is None:
        return None
    try:
        at = clock.EPOCH + int(start[0] or 0) * _MICROSECOND
        return store.After(at, uuid.UUID(str(start[1])), int(start[2] or 0))
    except (OverflowError, ValueError):
        raise errors.InvalidPageToken from None


def sale_key(row: Any) -> paging.Key:
    """Where a sale stands in a list."""
    return (row.recorded_at - clock.EPOCH) // _MICROSECOND, str(row.location_id), row.seq


# --- results to messages ---


def lot_to_proto(lot: lots.Lot) -> lots_pb2.Lot:
    return lots_pb2.Lot(
        id=lot_text(lot.id),
        sku=lot.sku,
        code=lot.code,
        expires_on=_text(lot.expires_on),
        best_before_on=_text(lot.best_before_on),
        produced_on=_text(lot.produced_on),
        recalled_at=clock.timestamp(lot.recalled_at) if lot.recalled_at is not None else None,
        recall_reason=lot.recall_reason,
        version=lot.version,
        created_at=clock.timestamp(lot.created_at),
        updated_at=clock.timestamp(lot.updated_at),
    )


def stock_to_proto(placed: store.PlacedLot) -> lots_pb2.LotStock:
    units = placed.units
    return lots_pb2.LotStock(
        location_id=stock_mapping.location_text(placed.location),
        lot=units.code,
        lot_id=lot_text(placed.lot_id) if placed.lot_id is not None else "",
        **{name: getattr(units, name) for name in (*values.Counters._fields, "free")},
        sell_until=clock.timestamp(units.sell_until) if units.sell_until is not None else None,
        recalled=units.recalled_at is not None,
    )


def stock_page(page: Sequence[store.PlacedLot]) -> list[lots_pb2.LotStock]:
    return [stock_to_proto(placed) for placed in page]


def sale_to_proto(row: Any) -> lots_pb2.LotSale:
    return lots_pb2.LotSale(
        order_id=row.ref_id,
        location_id=stock_mapping.location_text(row.location_id),
        quantity=row.quantity,
        occurred_at=clock.timestamp(row.occurred_at),
        recorded_at=clock.timestamp(row.recorded_at),
        seq=row.seq,
    )
