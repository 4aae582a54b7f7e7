"""What the catalogue tells the others: one event a version of a location or a product."""

from __future__ import annotations

from services.inventory.domain import catalog as values
from services.inventory.mapping import catalog_messages as messages
from services.kit import events
from tillmesh.inventory.v1 import inventory_events_pb2

LOCATION_KEY = "location:"  # the bare id is the key of the location's stock
EPOCH = 1  # versions lie in the rows themselves, and a restore takes both back


def location_changed(location: values.Location) -> events.Event:
    """A location was made or edited. Its position is its version."""
    message = messages.location(location)
    return events.Event(
        key=LOCATION_KEY + message.id,
        epoch=EPOCH,
        seq_from=location.version,
        seq_to=location.version,
        message=inventory_events_pb2.LocationChanged(location=message),
        occurred_at=location.updated_at,
    )


def product_changed(product: values.Product) -> events.Event:
    """A product or its variants were made or edited. Its position is the product's version."""
    message = messages.product(product)
    return events.Event(
        key=message.id,
        epoch=EPOCH,
        seq_from=product.version,
        seq_to=product.version,
        message=inventory_events_pb2.ProductChanged(product=message),
        occurred_at=product.updated_at,
    )
