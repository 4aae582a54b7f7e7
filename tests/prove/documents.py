"""The reference of documents: the life of a transfer, replayed from what happened to it, and its units. None of the product's code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tests.prove.history import End

#: In which states each kind of call takes a transfer on.
STEPS: Final[Mapping[str, frozenset[str]]] = {
    "transfer_ready": frozenset({"DRAFT"}),
    "transfer_ship": frozenset({"READY"}),
    "transfer_receive": frozenset({"IN_TRANSIT", "PARTIALLY_RECEIVED"}),
    "transfer_close": frozenset({"IN_TRANSIT", "PARTIALLY_RECEIVED"}),
    "transfer_cancel": frozenset({"DRAFT", "READY"}),
}
_KINDS: Final = {
    "CREATED": "", "READY": "transfer_ready", "SHIPPED": "transfer_ship", "RECEIVED": "transfer_receive",
    "CLOSED": "transfer_close", "CANCELLED": "transfer_cancel",
}  # fmt: skip
_BECOMES: Final = {"CREATED": "DRAFT", "READY": "READY", "SHIPPED": "IN_TRANSIT", "CANCELLED": "CANCELLED"}
STATES: Final = ("accepted", "damaged", "quality_control")


class Move(NamedTuple):
    """Units that an event should have moved."""

    sku: str
    source: str
    target: str
    quantity: int
    reason: str


@dataclass(slots=True)
class Life:
    """A transfer after an event. here, there: what it should have moved at origin and destination."""

    kind: str
    number: str
    note: str
    recorded_at: str
    state: str
    legal: bool
    on_the_road: Counter[str]
    here: list[Move] = field(default_factory=list)
    there: list[Move] = field(default_factory=list)
    fine: bool = True
    """No more left the road than was on it, and surplus is what came beyond that."""


def lives(transfer: Mapping[str, Any]) -> Iterator[Life]:
    """What a transfer went through, as its events say it, by the reference's own rules."""
    state, road = "", Counter[str]()
    ready = {line["sku"]: int(line["quantity"]) for line in transfer["lines"]}
    for event in transfer["events"]:
        kind = event["kind"].removeprefix("TRANSFER_EVENT_KIND_")
        legal = state in STEPS[_KINDS[kind]] if _KINDS.get(kind) else (state == "") == (kind == "CREATED")
        road = Counter(road)
        life = Life(kind, event["number"], event["note"], event["recorded_at"], state, legal, road)
        for line in event["lines"]:
            _count(life, line["sku"], units(line), ready)
        if kind == "SHIPPED":
            stayed = {sku: quantity - road[sku] for sku, quantity in ready.items()}
            life.here += [Move(s, "ALLOCATED", "SELLABLE", n, "HOLD_RELEASED") for s, n in stayed.items() if n]
        arrived = "PARTIALLY_RECEIVED" if +road else "RECEIVED"
        state = life.state = _BECOMES.get(kind, state if kind == "UPDATED" else arrived)
        yield life


def units(line: Mapping[str, Any]) -> dict[str, int]:
    """What a line of an event counts."""
    return {name: int(count) for name, count in line.items() if name not in ("sku", "lot")}


def _count(life: Life, sku: str, counted: Mapping[str, int], ready: Mapping[str, int]) -> None:
    road = life.on_the_road
    if sent := counted["shipped"]:
        road[sku] += sent
        life.fine &= sent <= ready.get(sku, 0)
        life.here.append(Move(sku, "ALLOCATED", "EXTERNAL", sent, "TRANSFER_OUT"))
        life.there.append(Move(sku, "EXTERNAL", "IN_TRANSIT", sent, "TRANSFER_IN"))
    came = sum(counted[name] for name in STATES)
    life.fine &= counted["surplus"] == max(came - road[sku], 0)
    for name in STATES:
        target = "SELLABLE" if name == "accepted" else name.upper()
        off_the_road = min(counted[name], road[sku])
        road[sku] -= off_the_road
        more = counted[name] - off_the_road
        life.there += [Move(sku, "IN_TRANSIT", target, off_the_road, "TRANSFER_RECEIVED")] if off_the_road else []
        life.there += [Move(sku, "EXTERNAL", target, more, "TRANSFER_IN")] if more else []
    if lost := counted["lost"]:
        road[sku] -= lost
        life.fine &= road[sku] >= 0
        life.there.append(Move(sku, "IN_TRANSIT", "EXTERNAL", lost, "LOST_IN_TRANSIT"))


def reference(document: Mapping[str, Any], life: Life) -> str:
    """What the movements of an event refer to."""
    return f"{document['number']}/{life.number}"


def is_transfer(order_ref: str) -> bool:
    """Whether a hold is one of a transfer."""
    return order_ref.startswith("TR-")


def causes(end: End) -> set[tuple[str, str]]:
    """What documents explain in ledgers: location, reference."""
    found = {(count["location_id"], count["number"]) for count in end.counts.values()}
    for transfer in end.transfers.values():
        for life in lives(transfer):
            found |= {(transfer[name], reference(transfer, life)) for name in ("from_location_id", "to_location_id")}
    return found


def shipped_holds(end: End) -> set[str]:
    """Reservations that transfers have used up."""
    return {
        transfer["reservation_id"]
        for transfer in end.transfers.values()
        if any(life.kind == "SHIPPED" for life in lives(transfer))
    }
