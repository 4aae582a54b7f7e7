"""What is ordered: OrderContent to the domain's Content, and drafts' contents to JSON and back. Pure functions."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format

from services.kit import clock, ids
from services.orders.domain import placed_order, placement, sale
from services.orders.mapping import requests
from tillmesh.orders.v1 import orders_pb2, placement_pb2


def to_json(told: placement_pb2.OrderContent) -> dict[str, Any]:
    """What is kept of a draft's content."""
    kept: dict[str, Any] = json_format.MessageToDict(told, preserving_proto_field_name=True)
    return kept


def of_json(kept: Mapping[str, Any]) -> placement.Content:
    """The content again."""
    told = json_format.ParseDict(dict(kept), placement_pb2.OrderContent())
    return content(told, told.customer_id)


def content(told: placement_pb2.OrderContent, customer_id: str) -> placement.Content:
    """What is ordered by a customer (TypeID; empty: nobody that is known)."""
    lines, charges = added(told.lines, told.charges)
    return placement.Content(
        location_id=ids.given("loc", "location", told.location_id),
        channel=sale.Channel(told.channel or orders_pb2.CHANNEL_WEB),
        lines=lines,
        method=_method(told),
        charges=charges,
        discounts=_discounts(told.discounts),
        customer_id=requests.optional_id("cus", customer_id, "content.customer_id"),
        campaign_id=told.campaign_id,
        price_list=told.price_list,
        sourcing=sourcing(told.sourcing),
        external_reference=told.external_reference,
        marketplace=told.marketplace,
        note=told.note,
    )


def added(
    lines: Iterable[placement_pb2.OrderContent.Line], charges: Iterable[placement_pb2.OrderContent.Charge]
) -> tuple[tuple[placement.ContentLine, ...], tuple[placement.Charge, ...]]:
    """Units and amounts that are asked for."""
    beside = (
        placement.Charge(sale.LineKind(each.kind), each.name, each.minor_units, each.tax_category) for each in charges
    )
    return tuple(_line(line) for line in lines), tuple(beside)


def _line(line: placement_pb2.OrderContent.Line) -> placement.ContentLine:
    return placement.ContentLine(
        code=line.code,
        quantity=line.quantity,
        expected_unit_price=line.expected_unit_price if line.HasField("expected_unit_price") else None,
        unit_price=line.unit_price if line.HasField("unit_price") else None,
        discounts=_discounts(line.discounts),
        group=line.group,
    )


def _discounts(told: Iterable[orders_pb2.DiscountAmount]) -> tuple[sale.Discount, ...]:
    return tuple(sale.Discount(each.name, each.minor_units, each.campaign_id) for each in told)


def _method(told: placement_pb2.OrderContent) -> placed_order.Method:
    if told.HasField("pickup"):
        at = told.pickup.pickup_at.ToDatetime(clock.UTC) if told.pickup.HasField("pickup_at") else None
        location: uuid.UUID = ids.given("loc", "location", told.pickup.location_id)
        return placed_order.Pickup(location, at)
    return placed_order.Delivery(told.delivery.address_id, told.delivery.country_code, told.delivery.method)


def sourcing(told: placement_pb2.OrderContent.Sourcing) -> placement.Sourcing:
    """Where it goes is kept to two decimals: the neighbourhood, and not the house."""
    destination = None
    if told.HasField("destination"):
        destination = (round(told.destination.latitude, 2), round(told.destination.longitude, 2))
    return placement.Sourcing(told.rule, told.split, destination, tuple(told.location_ids), told.parcels_max)
