"""Promises about stock: the ledger holds each accepted call once and nothing else, and all numbers follow from it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Final

from tests.prove import documents, model
from tests.prove.checking import OPENING, Check, Evidence, call_name, is_order
from tests.prove.history import Call


def once(evidence: Evidence) -> Check:
    """Each accepted call stands in the ledger exactly once with its quantities, a refused one not at all."""
    check = Check("each accepted change is in the ledger once")
    for call in evidence.history.of("adjust", "move", "count", "reserve", "source"):
        steps = evidence.effects(call)
        if call.outcome == "UNKNOWN":
            check.that(len(steps) <= 1, f"{call_name(call)} has {len(steps)} effects", call, *steps)
        else:
            wanted = 1 if call.outcome == "OK" else 0
            check.that(len(steps) == wanted, f"{call_name(call)} has {len(steps)} effects", call, *steps)
        for step in steps:
            fine = model.summed(step.own) == model.summed(_lines(evidence, call, step))
            fine &= {line.lot for line in step.own} == {call.facts["lot"]} if call.facts.get("lot") else True
            check.that(fine, f"{call_name(call)} had another effect", call, step)
    for call in evidence.history.of("bulk"):
        _bulk_once(check, evidence, call)
    return check


def _lines(evidence: Evidence, call: Call, step: model.Step) -> list[model.Line]:
    """What a call should have written."""
    facts = call.facts
    if call.kind in ("reserve", "source"):
        apart = evidence.bundles.apart(facts["lines"])
        return [model.Line(sku, "SELLABLE", "RESERVED", units, "HOLD") for sku, units in apart.items()]
    if call.kind == "move":
        return [model.Line(facts["sku"], facts["from"], facts["to"], facts["quantity"], "QUALITY_CONTROL")]
    if call.kind == "adjust":
        return [_change(facts["sku"], facts["delta"], "CORRECTION")]
    ledger = evidence.ledgers[call.location]
    return [
        _change(sku, counted - ledger.at(sku, step.seq - 1).on_hand, "CYCLE_COUNT")
        for sku, (_, counted) in facts["counts"].items()
    ]


def _change(sku: str, delta: int, reason: str) -> model.Line:
    states = ("EXTERNAL", "SELLABLE") if delta > 0 else ("SELLABLE", "EXTERNAL")
    return model.Line(sku, *states, abs(delta), reason)


def _bulk_once(check: Check, evidence: Evidence, call: Call) -> None:
    results = call.answers[-1].body["results"] if call.answers else []
    for number, line in enumerate(call.facts["lines"]):
        steps = evidence.steps(line["location_id"], "bulk", line["reference"])
        applied = bool(results) and not results[number].get("error")
        wanted = {0, 1} if not results else {1} if applied else {0}
        check.that(len(steps) in wanted, f"line {number} of {call_name(call)} has {len(steps)} effects", call, *steps)
        for step in steps:
            expected = line.get("expected_on_hand")
            before = evidence.ledgers[line["location_id"]].at(line["sku"], step.seq - 1).on_hand
            fine = expected is None or int(expected) == before
            check.that(fine, f"line {number} of {call_name(call)} was set upon {before}", call, step)
            delta = int(line["delta"]) if "delta" in line else int(line["on_hand"]) - before
            reason = "RECEIVED" if "delta" in line else "CYCLE_COUNT"
            fine = step.lines == [_change(line["sku"], delta, reason)]
            check.that(fine, f"line {number} of {call_name(call)} had another effect", call, step)


def nothing_else(evidence: Evidence) -> Check:
    """Every position has a cause that somebody asked for, and none is missing."""
    check = Check("the ledger has no gap and nothing unasked")
    asked = {(call.location, call.key) for call in evidence.history.of("adjust", "move", "count")}
    asked |= {
        (line["location_id"], line["reference"]) for call in evidence.history.of("bulk") for line in call.facts["lines"]
    }
    asked |= {(location, row["id"]) for location, rows in evidence.history.end.sales.items() for row in rows}
    asked |= {(location, row["id"]) for location, rows in evidence.history.end.reservations.items() for row in rows}
    asked |= documents.causes(evidence.history.end)
    for location, ledger in evidence.ledgers.items():
        seqs = [step.seq for step in ledger.steps]
        missing = sorted(set(range(1, ledger.head + 1)) - set(seqs))
        check.that(not missing, f"{location} has no position {missing[:5]}")
        for step in ledger.steps:
            known = step.cause in (("expiry", ""), OPENING) or step.cause[0] == "lot"  # checks_lots.py says of which
            check.that(known or (location, step.cause[1]) in asked, f"nobody asked {location} for this", step)
    return check


def never_oversold(evidence: Evidence) -> Check:
    """When a hold was made, its units were free."""
    check = Check("accepted holds never exceed stock")
    for location, ledger in evidence.ledgers.items():
        for step in ledger.steps:
            for sku, units in step.units("HOLD").items():
                free = ledger.at(sku, step.seq - 1).available
                check.that(free >= units, f"{location} promised {units} of {free} {sku}", step, *_maker(evidence, step))
    return check


def _maker(evidence: Evidence, step: model.Step) -> Iterable[Call]:
    row = evidence.holds.get(step.cause[1])
    return evidence.makers.get(row["order_ref"], ()) if row else ()


def compared_and_set(evidence: Evidence) -> Check:
    """A count succeeded only where its expectation held."""
    check = Check("counts were set where the expectation held")
    for call in evidence.history.of("count"):
        for step in evidence.effects(call):
            for sku, (expected, counted) in call.facts["counts"].items():
                ledger = evidence.ledgers[call.location]
                before, after = ledger.at(sku, step.seq - 1).on_hand, ledger.at(sku, step.seq).on_hand
                fine = before == expected and after == counted
                check.that(fine, f"{call_name(call)} made {before} to {after}", call, step)
    return check


def balanced(evidence: Evidence) -> Check:
    """Ledger = levels, active holds = reserved, confirmed holds = allocated."""
    check = Check("ledger = levels, holds = reserved and allocated")
    for location, ledger in evidence.ledgers.items():
        levels = evidence.history.end.levels.get(location, {})
        held, confirmed = (_held(evidence, location, state) for state in ("ACTIVE", "CONFIRMED"))
        for sku in sorted({*ledger.skus, *levels}):
            told = model.state_of(levels.get(sku, {}))
            replayed = ledger.at(sku, ledger.head)
            check.that(told == replayed, f"{sku} at {location} is {told}, its ledger says {replayed}")
            promised = (held.get(sku, 0), confirmed.get(sku, 0))
            fine = promised == (told.reserved, told.allocated)
            check.that(fine, f"{sku} at {location} is {told}, but holds and allocations are {promised}")
        for bundle, available in evidence.history.end.bundles.get(location, {}).items():
            free = {sku: ledger.at(sku, ledger.head).available for sku in evidence.bundles.parts(bundle)}
            fine = available == evidence.bundles.within(bundle, free)
            check.that(fine, f"{available} of {bundle} at {location}, its components have {free}")
    return check


def held_units(row: dict[str, Any]) -> dict[str, int]:
    """Units of a reservation by SKU; of one that is kept by lots it may have several lines."""
    units: dict[str, int] = {}
    for line in row["lines"]:
        units[line["sku"]] = units.get(line["sku"], 0) + int(line["quantity"])
    return units


def _held(evidence: Evidence, location: str, state: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in evidence.history.end.reservations.get(location, []):
        if row["state"] == f"RESERVATION_STATE_{state}":
            for line in row["lines"]:
                found[line["sku"]] = found.get(line["sku"], 0) + int(line["quantity"])
    return found


def readable(evidence: Evidence) -> Check:
    """Every accepted id is there and says what was answered."""
    check = Check("what was accepted can be read")
    for call in evidence.history.of("reserve", "source", "sale"):
        row = evidence.sale_of(call) if call.kind == "sale" else evidence.hold_of(call)
        kept = _sale_facts if call.kind == "sale" else _hold_facts
        for attempt in call.answers[:1]:
            fine = row is not None and kept(row) == kept(attempt.body)
            check.that(fine, f"{call_name(call)} is listed as {row and kept(row)}", call)
            again = evidence.history.end.read.get(attempt.body["id"])
            if again is not None:
                fine = isinstance(again, dict) and kept(again) == kept(attempt.body)
                check.that(fine, f"{call_name(call)} reads as {again}", call)
        if call.outcome not in ("OK", "UNKNOWN"):
            check.that(row is None, f"{call_name(call)} was refused and exists", call)
    for name, rows in (
        ("order_ref", evidence.history.end.reservations),
        ("client_sale_id", evidence.history.end.sales),
    ):
        for location, found in rows.items():
            # A transfer that a crash kept from becoming ready has left its hold behind; an order may make its hold anew.
            keys = [row[name] for row in found if not documents.is_transfer(row[name]) and not is_order(row[name])]
            check.that(len(keys) == len(set(keys)), f"{location} has two with one {name}")
    check.that(evidence.history.end.dead_letters == 0, f"{evidence.history.end.dead_letters} dead letters")
    return check


def _hold_facts(body: dict[str, Any]) -> Any:
    lines = sorted((line["sku"], line["quantity"]) for line in body["lines"])
    return body["id"], body["location_id"], lines, body["order_ref"], body["created_at"], body["created_seq"]


def _sale_facts(body: dict[str, Any]) -> Any:
    return {name: value for name, value in body.items() if name not in ("stock_effect", "version")}


def ended_once(evidence: Evidence) -> Check:
    """A hold ends once, in the way that was answered; it gives its units back when its time is over, and not before."""
    check = Check("holds end once and on time")
    for call in evidence.history.of("confirm", "release", "extend"):
        row = evidence.holds.get(call.facts["hold"])
        for attempt in call.answers:
            check.that(row is not None, f"{call_name(call)} found what is not there", call)
            if row is None or call.kind == "extend":
                late = row is not None and attempt.body["expires_at"] > row["expires_at"]
                check.that(not late, f"{call_name(call)} was given more than the hold has: {row}", call)
                continue
            reason, limit = ("HOLD_CONFIRMED", 1) if call.kind == "confirm" else ("HOLD_RELEASED", 1)
            steps = [s for s in evidence.steps(call.location, "reservation", row["id"]) if s.units(reason)]
            check.that(len(steps) == limit, f"{call_name(call)} has {len(steps)} effects", call, *steps)
    for location, rows in evidence.history.end.reservations.items():
        for row in rows:
            _ends(check, evidence, location, row)
        _expired(check, evidence, location, rows)
    return check


#: What the ledger says of a hold, in order, by its last state. What a sale has used up is told by the sale's lines.
_LIVES: Final[dict[str, tuple[list[str], ...]]] = {
    "ACTIVE": (["HOLD"],),
    "EXPIRED": (["HOLD"],),
    "CONFIRMED": (["HOLD", "HOLD_CONFIRMED"],),
    "RELEASED": (["HOLD", "HOLD_RELEASED"], ["HOLD", "HOLD_CONFIRMED", "HOLD_RELEASED"]),
    "CONSUMED": (["HOLD"], ["HOLD", "HOLD_CONFIRMED"]),
}


def _ends(check: Check, evidence: Evidence, location: str, row: dict[str, Any]) -> None:
    steps = evidence.steps(location, "reservation", row["id"])
    units = held_units(row)
    told = [next(iter({line.reason for line in step.own})) for step in steps]
    state = row["state"].removeprefix("RESERVATION_STATE_")
    whole = all(step.units(reason) == units for step, reason in zip(steps, told, strict=True))
    check.that(whole and told in _LIVES[state], f"{row['id']} is {state} with {told}", *steps)
    if told[1:2] and state != "EXPIRED":
        on_time = told[1] == "HOLD_RELEASED" or steps[1].at <= model.seconds(row["expires_at"])
        check.that(on_time, f"{row['id']} was confirmed after {row['expires_at']}", *steps)


def _expired(check: Check, evidence: Evidence, location: str, rows: list[dict[str, Any]]) -> None:
    """Units given back for time that ran out, against holds whose time did: never before, and in the end all."""
    due: dict[str, list[tuple[float, int]]] = {}
    for row in rows:
        if row["state"].endswith("_EXPIRED"):
            for line in row["lines"]:
                due.setdefault(line["sku"], []).append((model.seconds(row["expires_at"]), int(line["quantity"])))
    given: dict[str, int] = dict.fromkeys(due, 0)
    for step in evidence.ledgers[location].steps:
        for sku, units in step.units("HOLD_EXPIRED").items():
            given[sku] = given.get(sku, 0) + units
            run_out = sum(quantity for at, quantity in due.get(sku, []) if at <= step.at)
            check.that(
                given[sku] == run_out, f"{location} gave back {given[sku]} {sku} when {run_out} had run out", step
            )
    for sku, units in given.items():
        wanted = sum(quantity for _, quantity in due.get(sku, []))
        check.that(units == wanted, f"{location} gave back {units} {sku} in the end, {wanted} had run out")


def sold_once(evidence: Evidence) -> Check:
    """Every sale reduces stock exactly once, from its own hold first, and is APPLIED."""
    check = Check("every sale takes its stock once")
    sent = documents.shipped_holds(evidence.history.end)
    for location, rows in evidence.history.end.sales.items():
        used: set[str] = set()
        by_seq = functools.partial(_first_seq, evidence, location)
        for row in sorted(rows, key=by_seq):
            call = evidence.sales_by_key.get((location, row["client_sale_id"]))
            check.that(call is not None, f"nobody rang up {row['id']}")
            applied = row["stock_effect"] == "STOCK_EFFECT_APPLIED"
            steps = evidence.steps(location, "sale", row["id"])
            told = [call] if call else []
            check.that(
                applied and len(steps) == 1, f"{row['id']}: {row['stock_effect']}, {len(steps)} effects", *told, *steps
            )
            if call is not None and len(steps) == 1:
                fine = model.summed(_taken(call, steps[0])) == model.summed(_sold(evidence, call, steps[0], used))
                check.that(fine, f"{row['id']} had another effect", call, steps[0])
        for row in evidence.history.end.reservations.get(location, []):
            consumed = row["state"].endswith("_CONSUMED")
            check.that(
                consumed == (row["id"] in used or row["id"] in sent),
                f"{row['id']} is {row['state']}, its units say otherwise",
            )
    return check


def _first_seq(evidence: Evidence, location: str, row: dict[str, Any]) -> int:
    return min((step.seq for step in evidence.steps(location, "sale", row["id"])), default=0)


def _taken(call: Call, step: model.Step) -> list[model.Line]:
    """What a sale took. Of a lot that was scanned also units that were put aside: they were in a basket."""
    if not call.facts.get("lot"):
        return step.own
    aside = set(model.RETIRED.values())
    return [line._replace(source="SELLABLE") if line.source in aside else line for line in step.own]


def _sold(evidence: Evidence, call: Call, step: model.Step, used: set[str]) -> list[model.Line]:
    """What a sale should have taken; notes the hold that it used up."""
    row = evidence.holds.get(call.facts["hold"])
    held: dict[str, int] = {}
    source = "RESERVED"
    if row is not None and row["state"].endswith("_CONSUMED") and row["id"] not in used:
        used.add(row["id"])
        held = held_units(row)
        before = [s for s in evidence.steps(call.location, "reservation", row["id"]) if s.seq < step.seq]
        source = "ALLOCATED" if any(s.units("HOLD_CONFIRMED") for s in before) else "RESERVED"
    lines = []
    for sku, quantity in evidence.bundles.apart(call.facts["lines"]).items():
        from_hold = min(held.get(sku, 0), quantity)
        lines += [model.Line(sku, source, "EXTERNAL", from_hold, "SALE")] if from_hold else []
        lines += [model.Line(sku, "SELLABLE", "EXTERNAL", quantity - from_hold, "SALE")] if quantity > from_hold else []
        held[sku] = held.get(sku, 0) - from_hold
    return lines + [model.Line(sku, source, "SELLABLE", left, "HOLD_RELEASED") for sku, left in held.items() if left]


ALL: Final = (
    once,
    nothing_else,
    never_oversold,
    compared_and_set,
    balanced,
    readable,
    ended_once,
    sold_once,
)
