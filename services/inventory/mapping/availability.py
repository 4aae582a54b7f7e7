"""The matrix of availability on the wire. Pure functions."""

from __future__ import annotations

import uuid

from services.inventory.domain import levels as values
from services.inventory.mapping import stock as mapping
from services.inventory.store import availability as store
from services.kit import validation
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

Response = pb.BatchGetAvailabilityResponse


def wanted(request: pb.BatchGetAvailabilityRequest) -> store.Wanted:
    """What the caller names, each once."""
    named = [mapping.location_uuid(text) for text in dict.fromkeys(request.location_ids)]
    return store.Wanted(
        keys=list(dict.fromkeys(map(values.fold, request.skus))),
        within=named or None,
        named=bool(named),
        kind=request.filter.type,
        capability=request.filter.capability,
        at=validation.instant(request, "at"),
    )


def response(matrix: store.Matrix, request: pb.BatchGetAvailabilityRequest) -> Response:
    """Rows in the order asked for."""
    on_hand, expected = request.include_on_hand, request.HasField("at")
    return Response(
        location_ids=[mapping.location_text(uuid.UUID(bytes=location)) for location in matrix.locations],
        rows=[_row(row, on_hand=on_hand, expected=expected) for _, row in sorted(matrix.rows.items())],
    )


def _row(row: store.Row, *, on_hand: bool, expected: bool) -> Response.Row:
    message = Response.Row(sku=row.sku, available=row.available.numbers, total_available=row.available.total)
    if on_hand:
        message.on_hand.extend(row.on_hand.numbers)
        message.total_on_hand = sum(row.on_hand.numbers)
    if expected:
        message.expected_available.extend(row.expected.numbers)
        message.total_expected_available = row.expected.total
    return message
