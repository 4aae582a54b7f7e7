"""Which units of an order go back on sale, which more are held, and the groups that come of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.orders.domain import machines, placement, sale
from services.orders.domain.editing.values import HELD_LINES_MAX, Edited, Given
from services.orders.domain.machines import FulfillmentState
from services.orders.domain.placed_order import Group, GroupLine, NotEditable


def give_back(groups: Sequence[Group], line: sale.OrderLine, units: int) -> list[Given]:
    """Which units those are: of the newest groups first, whole bundles before parts of them. NotEditable.

    Only of groups on which no work has begun. What a line should have and no group has needn't go back.
    """
    parts = [(sku.lower(), count) for sku, count in line.components or ((line.sku, 1),)]
    wanted = {sku: count * units for sku, count in parts}
    picked: dict[tuple[uuid.UUID, int], int] = {}
    free = [group for group in reversed(groups) if group.state in placement.UNTOUCHED]
    for whole in (True, False):
        for group in free:
            held = [(number, of) for number, of in enumerate(group.lines) if of.number == line.number]
            left = {sku: _left(group, held, sku, picked) for sku, _ in parts}
            sets = min([*(left[sku] // count for sku, count in parts), *(wanted[sku] // count for sku, count in parts)])
            for sku, count in parts:
                take = count * sets if whole else min(left[sku], wanted[sku])
                wanted[sku] -= take
                _pick(group, held, sku, take, picked)
    busy = [group for group in groups if group.state not in placement.UNTOUCHED]
    for group in busy:
        if any(of.number == line.number and wanted.get(of.sku.lower()) for of in group.lines):
            raise NotEditable(group.state.name)
    by_id = {group.id: group for group in groups}
    return [
        Given(group_id, of.reservation_id, by_id[group_id].location_id, of.number, of.sku, quantity)
        for (group_id, number), quantity in picked.items()
        for of in (by_id[group_id].lines[number],)
    ]


Numbered = Sequence[tuple[int, GroupLine]]


def _left(group: Group, held: Numbered, sku: str, picked: Mapping[tuple[uuid.UUID, int], int]) -> int:
    return sum(of.quantity - picked.get((group.id, number), 0) for number, of in held if of.sku.lower() == sku)


def _pick(group: Group, held: Numbered, sku: str, units: int, picked: dict[tuple[uuid.UUID, int], int]) -> None:
    """Of the newest reservation first."""
    for number, of in sorted(held, key=lambda each: each[1].reservation_id, reverse=True):
        if of.sku.lower() == sku and units:
            key = group.id, number
            taken = min(units, of.quantity - picked.get(key, 0))
            if taken:
                picked[key] = picked.get(key, 0) + taken
                units -= taken


def to_hold(
    more: Mapping[int, int], lines: Sequence[sale.OrderLine], groups_of_new: Mapping[int, str]
) -> tuple[tuple[placement.HoldLine, ...], tuple[placement.HoldLine, ...]]:
    """What is asked of Inventory for so many more units of lines, and the plain units that this comes to.

    A bundle that was ordered before is held by what it consisted of then, from one place; where that would be too many
    lines, by its SKU.
    """
    raised = [line for line in lines if line.number in more]
    plain = tuple(
        placement.HoldLine(line.number, sku, count * more[line.number])
        for line in raised
        for sku, count in line.components or ((line.sku, 1),)
    )
    by_sku = tuple(
        placement.HoldLine(line.number, line.sku, more[line.number], groups_of_new.get(line.number, ""))
        for line in raised
    )
    together = tuple(
        hold
        for of_sku, line in zip(by_sku, raised, strict=True)
        for hold in (_parts(line, plain) if line.components and line.number not in groups_of_new else (of_sku,))
    )
    return (together if len(together) <= HELD_LINES_MAX else by_sku), plain


def _parts(line: sale.OrderLine, plain: Sequence[placement.HoldLine]) -> tuple[placement.HoldLine, ...]:
    group = f"line {line.number}"
    return tuple(dataclasses.replace(of, group=group) for of in plain if of.number == line.number)


@dataclass(frozen=True, slots=True)
class Regrouped:
    """The order's groups, those of them that changed with lines of no units still there, and which states moved."""

    groups: tuple[Group, ...]
    changed: tuple[Group, ...]
    moved: tuple[tuple[machines.Move[FulfillmentState], uuid.UUID], ...]


def regroup(
    groups: Sequence[Group],
    edited: Edited,
    held: Sequence[placement.Held],
    *,
    reservation_id: uuid.UUID | None,
    at: dt.datetime,
    new_id: Sequence[uuid.UUID],
) -> Regrouped:
    """Units go from their groups, and new ones come to a group at their location on which no work has begun.

    A group of which nothing is left is cancelled.
    """
    after = {group.id: group for group in groups}
    for group in _less(groups, edited.given, at):
        after[group.id] = group
    moved: list[tuple[machines.Move[FulfillmentState], uuid.UUID]] = []
    if reservation_id is not None:
        made = placement.groups_of(
            held, edited.wanted, reservation_id=reservation_id, state=FulfillmentState.OPEN, at=at, new_id=new_id
        )
        for group in made:
            home = _home(after.values(), group.location_id)
            if home is None:
                moved.append((machines.FULFILLMENT.begin(group.state), group.id))
            lines = group.lines if home is None else (*home.lines, *group.lines)
            after[(home or group).id] = dataclasses.replace(home or group, lines=lines, updated_at=at)
    for group in list(after.values()):
        if group.state is not FulfillmentState.CANCELLED and not any(of.quantity for of in group.lines):
            move = machines.FULFILLMENT.move(group.state, FulfillmentState.CANCELLED, machines.By.SYSTEM)
            moved.append((move, group.id))
            after[group.id] = dataclasses.replace(group, state=FulfillmentState.CANCELLED, updated_at=at)
    before = {group.id: group for group in groups}
    changed = tuple(group for group in after.values() if group != before.get(group.id))
    shown = tuple(
        dataclasses.replace(group, lines=tuple(of for of in group.lines if of.quantity)) for group in after.values()
    )
    return Regrouped(shown, changed, tuple(moved))


def _less(groups: Sequence[Group], given: Sequence[Given], at: dt.datetime) -> Iterator[Group]:
    for group in groups:
        gone = {(of.reservation_id, of.number, of.sku): of.quantity for of in given if of.group_id == group.id}
        if gone:
            lines = tuple(
                dataclasses.replace(of, quantity=of.quantity - gone.get((of.reservation_id, of.number, of.sku), 0))
                for of in group.lines
            )
            yield dataclasses.replace(group, lines=lines, updated_at=at)


def _home(groups: Iterable[Group], location: uuid.UUID) -> Group | None:
    """Where more units of a location may be added."""
    may = [group for group in groups if group.location_id == location and group.state in placement.UNTOUCHED]
    return next((group for group in may if group.state is not FulfillmentState.CANCELLED), None)
