"""What a check is, and what all of them look at: the history beside its replayed ledgers.

A check counts what it looked at, so that one sees that it had something to look at; a violation tells its story.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.prove import lots, model
from tests.prove.history import Attempt, Call, History

STORY_ATTEMPTS: Final = 6
#: What the ledger says of stock that was there from the beginning.
OPENING: Final = ("count", "opening forced: opening")


@dataclass(slots=True)
class Check:
    """A promise. looked_at: how many things it was held against."""

    name: str
    looked_at: int = 0
    violations: list[str] = field(default_factory=list)

    def that(self, holds: bool, what: str, *items: Call | model.Step | str) -> None:
        """Holds the promise against one thing; items tell the story when it is broken."""
        self.looked_at += 1
        if not holds:
            self.violations.append("\n".join([what, *("  " + story(item) for item in items)]))


def story(item: Call | model.Step | str) -> str:
    """A thing in a line or a few."""
    if isinstance(item, str):
        return item
    if isinstance(item, model.Step):
        lines = ", ".join(f"{m.quantity} {m.sku} {m.source}>{m.target} {m.reason}" for m in item.lines)
        return f"ledger {item.seq} at {item.at:.3f} for {item.cause[0]} {item.cause[1]}: {lines}"
    told = [f"{call_name(item)} {item.facts}"]
    told += [f"    {_attempt(attempt)}" for attempt in item.attempts[:STORY_ATTEMPTS]]
    if len(item.attempts) > STORY_ATTEMPTS:
        told += ["    …", f"    {_attempt(item.attempts[-1])}"]
    return "\n  ".join(told)


def call_name(call: Call) -> str:
    """Which call it was."""
    return f"{call.kind} {call.key} of {call.tenant} at {call.location}"


def _attempt(attempt: Attempt) -> str:
    text = attempt.reason or "OK"
    body = str(attempt.body)
    return f"{attempt.begun:.3f} - {attempt.ended:.3f}: {attempt.status} {text} {body[:400]}"


def is_order(order_ref: str) -> bool:
    """Whether a hold is one of an order."""
    return order_ref.startswith("ord_")


class Evidence:
    """A history with what follows from it, worked out once."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.bundles = model.Bundles(history.bundles)
        self.lots = {tenant: lots.known(history, tenant) for tenant in history.locations}
        self.ledgers = {location: model.Ledger(rows) for location, rows in history.end.movements.items()}
        self.holds = {row["id"]: row for rows in history.end.reservations.values() for row in rows}
        self._holds_by_key = {
            (location, row["order_ref"]): row for location, rows in history.end.reservations.items() for row in rows
        }
        self._sales_by_key = {
            (location, row["client_sale_id"]): row for location, rows in history.end.sales.items() for row in rows
        }

    def hold_of(self, call: Call) -> dict[str, Any] | None:
        """The reservation that a call made, answered or not."""
        places = self.history.locations[call.tenant] if call.kind == "source" else [call.location]
        found = [row for place in places if (row := self._holds_by_key.get((place, call.key))) is not None]
        return found[0] if found else None

    def place_of(self, call: Call) -> str:
        """Where a call took effect: of a reservation whose place was chosen, there."""
        hold = self.hold_of(call) if call.kind == "source" else None
        return hold["location_id"] if hold else call.location

    def sale_of(self, call: Call) -> dict[str, Any] | None:
        """The order that a call made, answered or not."""
        return self._sales_by_key.get((call.location, call.key))

    def steps(self, location: str, kind: str, name: str) -> list[model.Step]:
        """What the ledger of a location says of a cause."""
        ledger = self.ledgers.get(location)
        return ledger.by_cause.get((kind, name), []) if ledger else []

    def effects(self, call: Call) -> list[model.Step]:
        """The ledger's positions that a call of one location caused."""
        if call.kind in ("adjust", "move"):
            return self.steps(call.location, "reference", call.key)
        if call.kind == "count":
            return self.steps(call.location, "count", call.key)
        if call.kind == "sale":
            order = self.sale_of(call)
            return self.steps(call.location, "sale", order["id"]) if order else []
        if call.kind in ("reserve", "source"):
            hold = self.hold_of(call)
            found = self.steps(hold["location_id"], "reservation", hold["id"]) if hold else []
            return [step for step in found if step.units("HOLD")]
        return []

    @functools.cached_property
    def makers(self) -> dict[str, list[Call]]:
        """The calls that asked for holds, by their key, which the hold has as its order_ref."""
        found: dict[str, list[Call]] = {}
        for call in self.history.of("reserve", "source"):
            found.setdefault(call.key, []).append(call)
        return found

    @functools.cached_property
    def holds_of_orders(self) -> dict[str, list[dict[str, Any]]]:
        """The reservations of orders that were placed, at each location that they are at, by the order's id."""
        found: dict[str, list[dict[str, Any]]] = {}
        for rows in self.history.end.reservations.values():
            for row in rows:
                if is_order(row["order_ref"]):
                    found.setdefault(row["order_ref"], []).append(row)
        return found

    @functools.cached_property
    def orders_by_key(self) -> dict[str, list[dict[str, Any]]]:
        """Orders by the key that they were asked for with: also those that came to nothing."""
        found: dict[str, list[dict[str, Any]]] = {}
        for order in self.history.end.orders.values():
            found.setdefault(order["external_reference"], []).append(order)
        return found

    @functools.cached_property
    def sales_by_key(self) -> dict[tuple[str, str], Call]:
        """The calls that rang up sales, by location and key."""
        return {(call.location, call.key): call for call in self.history.of("sale")}

    @functools.cached_property
    def acknowledged(self) -> dict[str, model.Acknowledged]:
        """By location: which position callers knew to be there at a time."""
        pairs: dict[str, list[tuple[float, int]]] = {location: [] for location in self.ledgers}
        for call in self.history.of("adjust", "move", "count", "reserve", "source"):
            for step in self.effects(call)[:1]:
                pairs[self.place_of(call)] += [(attempt.ended, step.seq) for attempt in call.answers]
        for call in self.history.of("order", "order_cancel"):
            for attempt in call.answers:
                for place, seq in self._of_order(attempt.body["id"], call.kind):
                    pairs[place].append((attempt.ended, seq))
        for location, ledger in self.ledgers.items():  # before anybody called
            pairs[location] += [(0.0, step.seq) for step in ledger.by_cause.get(OPENING, [])]
        return {location: model.Acknowledged(found) for location, found in pairs.items()}

    def _of_order(self, order_id: str, kind: str) -> Iterator[tuple[str, int]]:
        """The positions at which an order's units were allocated, or given back when it was cancelled."""
        reason = "HOLD_CONFIRMED" if kind == "order" else "HOLD_RELEASED"
        for hold in self.holds_of_orders.get(order_id, []):
            for step in self.steps(hold["location_id"], "reservation", hold["id"]):
                if step.units(reason) and hold["state"] != "RESERVATION_STATE_EXPIRED":
                    yield hold["location_id"], step.seq

    def window(self, location: str, attempt: Attempt) -> tuple[int, int]:
        """The positions that an attempt may have seen: all that was acknowledged before it, nothing decided after it."""
        ledger = self.ledgers[location]
        first = self.acknowledged[location].before(attempt.begun)
        return first, max(first, ledger.last_until(attempt.ended))

    def moments(self, location: str, attempt: Attempt, skus: Iterable[str]) -> Iterator[dict[str, model.State]]:
        """The stock of these SKUs at each moment that an attempt may have seen."""
        ledger = self.ledgers[location]
        names = list(skus)
        for seq in ledger.positions(names, *self.window(location, attempt)):
            yield {sku: ledger.at(sku, seq) for sku in names}
