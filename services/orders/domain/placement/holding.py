"""What an order holds, and where: the units that its lines need, and the groups that its reservations become."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.orders.domain import machines, sale
from services.orders.domain.placed_order import Group, GroupLine
from services.orders.domain.placement.content import Content


@dataclass(frozen=True, slots=True)
class HoldLine:
    """Units to be held for a line of the order."""

    number: int
    sku: str
    quantity: int
    group: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Units that a reservation holds at a location."""

    location_id: uuid.UUID
    sku: str
    quantity: int


def hold_lines(content: Content, lines: Sequence[sale.OrderLine]) -> tuple[HoldLine, ...]:
    """What the items of an order need."""
    groups = [line.group for line in content.lines]
    return tuple(
        HoldLine(line.number, line.sku, line.quantity, group)
        for line, group in zip(lines, groups, strict=False)
        if line.kind is sale.LineKind.ITEM
    )


def groups_of(
    held: Sequence[Held],
    wanted: Sequence[HoldLine],
    *,
    reservation_id: uuid.UUID,
    state: machines.FulfillmentState,
    at: dt.datetime,
    new_id: Sequence[uuid.UUID],
) -> tuple[Group, ...]:
    """What each location contributes. Units that no line names (parts of a bundle) have the line number 0."""
    wanting: dict[str, list[HoldLine]] = {}
    for line in wanted:
        wanting.setdefault(line.sku.lower(), []).append(line)
    by_location: dict[uuid.UUID, list[GroupLine]] = {}
    for of in held:
        lines = by_location.setdefault(of.location_id, [])
        for number, units in _shared_out(of.quantity, wanting.get(of.sku.lower(), [])):
            lines.append(GroupLine(number, of.sku, units, reservation_id))
    return tuple(
        Group(group_id, location, state, tuple(lines), (), at)
        for group_id, (location, lines) in zip(new_id, by_location.items(), strict=False)
    )


def _shared_out(units: int, wanting: list[HoldLine]) -> Iterator[tuple[int, int]]:
    """(line number, units): fills the lines in their order, and takes what they got off them."""
    while units and wanting:
        line = wanting.pop(0)
        taken = min(units, line.quantity)
        units -= taken
        if taken < line.quantity:
            wanting.insert(0, dataclasses.replace(line, quantity=line.quantity - taken))
        yield line.number, taken
    if units:
        yield 0, units


def units_of(lines: Sequence[sale.OrderLine]) -> tuple[HoldLine, ...]:
    """The plain units of each item: those that a bundle consists of."""
    return tuple(
        HoldLine(line.number, sku, units * line.quantity)
        for line in lines
        if line.kind is sale.LineKind.ITEM
        for sku, units in line.components or ((line.sku, 1),)
    )


def numbers_of(wanted: Sequence[HoldLine], sku: str) -> tuple[int, ...]:
    """The lines that ask for a SKU."""
    return tuple(line.number for line in wanted if line.sku.lower() == sku.lower())
