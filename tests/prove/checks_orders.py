"""Promises about orders that are placed and paid: whole or nothing, no unit and no cent without an order, to the last unit."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.prove import model, world
from tests.prove.checking import Check, Evidence, call_name
from tests.prove.history import Attempt, Call

PLACED: Final = "ORDER_STATE_PLACED"
ENDED: Final = ("ORDER_STATE_CANCELLED", "ORDER_STATE_EXPIRED")
#: What a hold may be in the end, of an order that came to nothing.
GIVEN_BACK: Final = ("RESERVATION_STATE_RELEASED", "RESERVATION_STATE_EXPIRED")
BANK: Final = "PAYMENT_PROVIDER_SIMULATED"
STORED: Final = ("PAYMENT_PROVIDER_GIFT_CARD", "PAYMENT_PROVIDER_STORE_CREDIT")
#: Where each kind of entry takes value from, and to.
BOOKS: Final = {
    "ISSUE": ("FUNDING", "AVAILABLE"),
    "HOLD": ("AVAILABLE", "HELD"),
    "RELEASE": ("HELD", "AVAILABLE"),
    "REDEEM": ("HELD", "REDEEMED"),
    "REFUND": ("REDEEMED", "AVAILABLE"),
}


def placed(evidence: Evidence) -> Check:
    """A placed order has its units allocated, one that came to nothing holds none; nothing stands in between."""
    check = Check("orders are placed whole or hold nothing")
    orders = evidence.history.end.orders
    for order in orders.values():
        holds = evidence.holds_of_orders.get(order["id"], [])
        if order["state"] != PLACED:
            fine = order["state"] in ENDED and all(hold["state"] in GIVEN_BACK for hold in holds)
            check.that(fine, f"{_name(order)} has {_told(holds)}")
            continue
        allocated, grouped = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for hold in holds:
            if hold["state"] == "RESERVATION_STATE_CONFIRMED":
                allocated.update({(hold["location_id"], line["sku"]): int(line["quantity"]) for line in hold["lines"]})
        for group in order["groups"]:
            for line in group["lines"]:
                grouped[group["location_id"], line["sku"]] += int(line["quantity"])
        wanted = evidence.bundles.apart({line["sku"]: int(line["quantity"]) for line in order["lines"]})
        units = Counter[str]()
        for (_, sku), quantity in grouped.items():
            units[sku] += quantity
        fine = units == wanted and grouped == allocated and all(hold["state"] in _OF_PLACED for hold in holds)
        check.that(fine, f"{_name(order)} wants {wanted}, its groups have {grouped}, it has {_told(holds)}")
    for order_id, holds in evidence.holds_of_orders.items():
        check.that(order_id in orders, f"{_told(holds)} is of {order_id}, which is not there")
    return check


#: A hold that ran out while its order was placed was made anew.
_OF_PLACED: Final = ("RESERVATION_STATE_CONFIRMED", *GIVEN_BACK)


def _name(order: Mapping[str, Any]) -> str:
    return f"{order['id']} ({order['external_reference']}) is {order['state']} and"


def _told(holds: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(f"{hold['id']} {hold['state']} {hold['lines']}" for hold in holds) or "no hold"


def paid(evidence: Evidence) -> Check:
    """What an order costs is set aside or taken, exactly; of one that came to nothing, nothing; and the bank says the same."""
    check = Check("an order's money is taken once, or not at all")
    end = evidence.history.end
    for order in end.orders.values():
        payments = order["payments"]
        check.that(not any(each["unknown"] for each in payments), f"{_name(order)} has {payments}")
        aside = sum(_minor(p["authorized"]) - _minor(p["captured"]) - _minor(p["voided"]) for p in payments)
        taken = sum(_minor(p["captured"]) - _minor(p["refunded"]) for p in payments)
        wanted = _minor(order["total"]) if order["state"] == PLACED else 0
        later = order["payment"]["capture"] == "CAPTURE_TIME_FULFILLMENT"
        fine = (aside, taken) == ((wanted, 0) if later else (0, wanted))
        check.that(fine, f"{_name(order)} costs {wanted}: {aside} are set aside and {taken} taken, {payments}")
        summary = {name: _minor(order["payment"][name]) for name in ("authorised", "captured", "refunded")}
        said = summary["authorised"], summary["captured"] - summary["refunded"]
        check.that(said == (aside, taken), f"{_name(order)} says {summary}, its payments {payments}")
    ours: Counter[tuple[str, str]] = Counter()
    for order in end.orders.values():
        for payment in order["payments"]:
            if payment["provider"] == BANK:
                ours.update(_sums(order["id"], _minor(payment["authorized"]) - _minor(payment["voided"]), payment))
    theirs: Counter[tuple[str, str]] = Counter()
    for intent in end.bank:
        check.that(intent["order_id"] in end.orders, f"the bank knows {intent} of no order")
        kept = intent["captured"] if intent["cancelled"] else intent["authorised"]
        theirs.update(_sums(intent["order_id"], kept, intent))
    for what in ours.keys() | theirs.keys():
        check.that(ours[what] == theirs[what], f"{what} is {ours[what]} by our books, {theirs[what]} by the bank's")
    return check


def _sums(order: str, kept: int, row: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """kept: what was set aside and not released."""
    of = {name: _minor(row[name]) for name in ("captured", "refunded")}
    return {(order, name): amount for name, amount in (of | {"kept": kept}).items()}


def _minor(amount: Any) -> int:
    return int(amount["minor_units"]) if isinstance(amount, dict) else int(amount)


def stored(evidence: Evidence) -> Check:
    """Gift cards and store credit are what their entries add up to, and what orders took of them."""
    check = Check("gift cards and store credit add up")
    end = evidence.history.end
    payments = {each["id"]: each for order in end.orders.values() for each in order["payments"]}
    moved: Counter[tuple[str, str]] = Counter()
    for account in end.stored.values():
        books = Counter[str]()
        for entry in account["entries"]:
            kind = entry["kind"].removeprefix("STORED_VALUE_ENTRY_KIND_")
            ends = tuple(entry[name].removeprefix("STORED_VALUE_BOOK_") for name in ("from_book", "to_book"))
            check.that(ends == BOOKS.get(kind), f"{account['id']} has {entry}")
            amount = _minor(entry["amount"])
            books[ends[0]] -= amount
            books[ends[1]] += amount
            fine = (kind == "ISSUE") == (not entry["payment_id"])
            check.that(fine, f"{account['id']} has {entry}, of no payment or of one")
            moved[entry["payment_id"], kind] += amount
        told = {name: _minor(account[name]) for name in ("available", "held")}
        fine = told == {"available": books["AVAILABLE"], "held": books["HELD"]} and min(told.values()) >= 0
        check.that(fine, f"{account['id']} has {told}, its entries come to {books}")
    issued = sum(call.facts["amount"] for call in evidence.history.of("gift_card", "store_credit") if call.answers)
    unknown = sum(call.facts["amount"] for call in evidence.history.of("gift_card", "store_credit") if not call.answers)
    came = moved["", "ISSUE"]
    check.that(issued <= came <= issued + unknown, f"{came} are issued, {issued} were asked for and answered")
    for payment_id in {name for name, _ in moved if name} | {
        p["id"] for p in payments.values() if p["provider"] in STORED
    }:
        payment = payments.get(payment_id)
        told = {name: _minor(payment[name]) for name in _MOVES} if payment else {}
        by_entries = {name: moved[payment_id, kind] for name, kind in _MOVES.items()}
        check.that(told == by_entries, f"{payment_id} is {payment}, entries say {by_entries}")
    _owed(check, evidence)
    return check


#: Which entries a payment's sums are.
_MOVES: Final = {"authorized": "HOLD", "captured": "REDEEM", "voided": "RELEASE", "refunded": "REFUND"}


def _owed(check: Check, evidence: Evidence) -> None:
    """The liability is the sum of all accounts, of both tenants."""
    end = evidence.history.end
    rows = [row for rows in end.liability.values() for row in rows]
    for row in rows:
        owed = sum(_minor(row[name]) for name in ("balance", "redeemed", "written_off"))
        fine = _minor(row["issued"]) == owed and int(row["differing"]) == 0
        check.that(fine, f"the liability doesn't add up: {row}")
    told = {name: sum(_minor(row[name]) for row in rows) for name in ("balance", "held")}
    adds_up = {
        "balance": sum(_minor(account["available"]) + _minor(account["held"]) for account in end.stored.values()),
        "held": sum(_minor(account["held"]) for account in end.stored.values()),
    }
    check.that(told == adds_up, f"{told} are owed, the accounts come to {adds_up}")


def stays_true(evidence: Evidence) -> Check:
    """What a buyer was answered is true afterwards: one order for an accepted key, none for a refused one."""
    check = Check("what buyers were told stays true")
    orders = evidence.history.end.orders
    cancelled = {call.facts["order"]: call for call in evidence.history.of("order_cancel")}
    for call in evidence.history.of("order"):
        of_key = evidence.orders_by_key.get(call.key, [])
        lives = [order for order in of_key if order["state"] == PLACED or order.get("placed_at")]
        wanted = {"OK": (1,), "UNKNOWN": (0, 1)}.get(call.outcome, (0,))
        check.that(len(lives) in wanted, f"{call_name(call)} has {len(lives)} orders: {lives}", call)
        for order in lives:
            units = {line["sku"]: int(line["quantity"]) for line in order["lines"]}
            fine = units == call.facts["lines"] and _minor(order["total"]) == call.facts["total"]
            check.that(fine, f"{call_name(call)} became {order}", call)
            stopped = cancelled.get(order["id"])
            fine = order["state"] == PLACED if stopped is None else True
            check.that(fine, f"{call_name(call)} is {order['state']} and nobody cancelled it", call)
        for attempt in call.answers:
            fine = [order["id"] for order in lives] == [attempt.body["id"]]
            check.that(fine, f"{call_name(call)} was answered {attempt.body['id']} and is {lives}", call)
    for order_id, call in cancelled.items():
        order = orders.get(order_id)
        fine = order is not None and (call.outcome != "OK" or order["state"] == "ORDER_STATE_CANCELLED")
        check.that(fine, f"{call_name(call)} was cancelled and is {order and order['state']}", call)
    asked = {call.key for call in evidence.history.of("order")}
    for order in orders.values():
        check.that(order["external_reference"] in asked, f"{_name(order)} nobody asked for it")
    return check


def sold_out(evidence: Evidence) -> Check:
    """Of what many came for never more is sold than there was, never is less than nothing there, and in the end all is sold."""
    check = Check("in a rush every unit is sold once, to the last")
    end = evidence.history.end
    for rush in evidence.history.rushes:
        sku, units = rush["sku"], rush["units"]
        places = evidence.history.locations[rush["tenant"]]
        ordered = sum(
            evidence.bundles.apart({line["sku"]: int(line["quantity"]) for line in order["lines"]}).get(sku, 0)
            for order in end.orders.values()
            if order["state"] == PLACED and order["location_id"] in places
        )
        states = [model.state_of(end.levels[place].get(sku, {})) for place in places]
        allocated, left = sum(state.allocated for state in states), sum(state.available for state in states)
        said = f"{sku}: {ordered} of {units} ordered, {allocated} allocated, {left} left"
        check.that(ordered == allocated == units - left and ordered <= units, said)
        check.that(ordered == units if rush["sold_out"] else True, f"{said}, though it was sold out")
        for place in places:
            ledger = evidence.ledgers[place]
            for seq in ledger.positions([sku], 0, ledger.head):
                fine = ledger.at(sku, seq).available >= 0
                check.that(fine, f"{place} had {ledger.at(sku, seq)} {sku} at {seq}")
    return check


def finished(evidence: Evidence) -> Check:
    """No saga is left over that nobody will ever end."""
    check = Check("placements and cancellations come to an end")
    for saga in evidence.history.end.sagas:
        fine = not saga["live"] or saga["deadline_at"] > evidence.history.end.read_at
        check.that(fine, f"the saga of {saga['order_id']} runs, and its time was over at {saga['deadline_at']:.0f}")
    return check


# --- refusals (checks_answers.py) ---


def was_declined(_evidence: Evidence, call: Call, _attempt: Attempt) -> bool:
    """A means that may be declined was among those it was paid with."""
    return bool(call.facts["doubtful"])


def was_short(evidence: Evidence, call: Call, attempt: Attempt) -> bool:
    """With the least that each place had meanwhile, the lines can't be given to places as was allowed."""
    places = evidence.history.locations[call.tenant]
    asked = evidence.bundles.apart(call.facts["lines"])
    least = {
        place: {sku: min(moment[sku].available for moment in evidence.moments(place, attempt, [sku])) for sku in asked}
        for place in places
    }
    told = [row for line in _shortages(attempt) for row in [line.get("shortage", {})]]
    lines = [{sku: units} for sku, units in call.facts["lines"].items()]
    ways = (
        itertools.product(places, repeat=len(lines))
        if call.facts["split"] == "LINES"
        else ((p,) * len(lines) for p in places)
    )
    return bool(told) and not any(_possible(evidence, lines, way, least) for way in ways)


def _shortages(attempt: Attempt) -> list[dict[str, Any]]:
    return world.detail_lines(attempt.body)


def _possible(
    evidence: Evidence, lines: list[dict[str, int]], way: tuple[str, ...], free: Mapping[str, Mapping[str, int]]
) -> bool:
    units: Counter[tuple[str, str]] = Counter()
    for line, place in zip(lines, way, strict=True):
        units.update({(place, sku): quantity for sku, quantity in evidence.bundles.apart(line).items()})
    return all(free[place][sku] >= quantity for (place, sku), quantity in units.items())


ALL: Final = (placed, paid, stored, stays_true, sold_out, finished)
