"""Requests of sourcing to what the use case takes."""

from __future__ import annotations

from services.inventory.domain import sourcing
from services.inventory.handlers import sourcing as handlers
from services.inventory.mapping import stock as mapping
from tillmesh.inventory.v1 import inventory_service_pb2 as pb


def wanted(request: pb.SourceReservationRequest) -> handlers.Wanted:
    """What is asked for. The domain has the contract's numbers; 0 is the default."""
    place = request.destination
    return handlers.Wanted(
        lines=tuple(sourcing.Asked(line.sku, line.quantity, line.group) for line in request.lines),
        rule=sourcing.Rule(request.rule or sourcing.Rule.NEAREST),
        splitting=sourcing.Splitting(request.split or sourcing.Splitting.LINES),
        destination=(place.latitude, place.longitude) if request.HasField("destination") else None,
        pickup_at=mapping.location_uuid(request.pickup_location_id) if request.pickup_location_id else None,
        within=tuple(mapping.location_uuid(text) for text in request.location_ids),
        parcels_max=request.parcels_max or mapping.PLACES_MAX,
        ttl_seconds=mapping.ttl(request),
        order_ref=request.order_ref,
        channel=request.channel,
    )
