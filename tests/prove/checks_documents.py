"""Promises about documents: transfers lose and make no unit, and counts correct the stock once, by what was there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from tests.prove import documents, model
from tests.prove.checking import Check, Evidence, call_name
from tests.prove.history import Call

APPLIED: Final = "DOCUMENT_EFFECT_APPLIED"


def transferred(evidence: Evidence) -> Check:
    """Each step that a transfer tells of is legal, and stands in the ledgers of its ends once, with its units."""
    check = Check("transfers lose and make no unit")
    for transfer in evidence.history.end.transfers.values():
        last = None
        for last in documents.lives(transfer):
            name = documents.reference(transfer, last)
            check.that(last.legal and last.fine, f"{name} is {last.kind}, which can't be: {transfer}")
            for location, moves in (("from_location_id", last.here), ("to_location_id", last.there)):
                steps = evidence.steps(transfer[location], "transfer", name)
                told = model.summed(line for step in steps for line in step.own)
                fine = told == model.summed(moves) and len(steps) == bool(moves)
                check.that(fine, f"{name} at {transfer[location]} should have moved {moves}", *steps)
        if last is not None:
            _stands(check, transfer, last)
        _promised(check, evidence, transfer)
        _of_lots(check, evidence, transfer)
    _on_the_road(check, evidence)
    return check


def _stands(check: Check, transfer: dict[str, Any], last: documents.Life) -> None:
    """The transfer says what its events add up to."""
    fine = transfer["state"] == f"TRANSFER_STATE_{last.state}" and transfer["stock_effect"] == APPLIED
    check.that(fine, f"{transfer['number']} is {transfer['state']} {transfer['stock_effect']}, not {last.state}")
    for line in transfer["lines"]:
        told: Counter[str] = Counter()
        for event in transfer["events"]:
            for row in event["lines"]:
                if row["sku"] == line["sku"]:
                    told.update(documents.units(row))
        told["received"] = sum(told[name] for name in documents.STATES)
        told["outstanding"] = last.on_the_road[line["sku"]]
        names = ("shipped", "received", "damaged", "quality_control", "lost", "surplus", "outstanding")
        fine = all(int(line[name]) == told[name] for name in names)
        check.that(fine, f"{transfer['number']} tells {line}, its events {dict(told)}")


def _promised(check: Check, evidence: Evidence, transfer: dict[str, Any]) -> None:
    """What became ready was allocated once, and given back once where it was cancelled."""
    kinds = [life.kind for life in documents.lives(transfer)]
    if "READY" not in kinds:
        return
    units = {line["sku"]: int(line["quantity"]) for line in transfer["lines"]}
    steps = evidence.steps(transfer["from_location_id"], "reservation", transfer["reservation_id"])
    for reason, wanted in (("HOLD_CONFIRMED", True), ("HOLD_RELEASED", "CANCELLED" in kinds)):
        found = [step for step in steps if step.units(reason)]
        fine = len(found) == wanted and all(step.units(reason) == units for step in found)
        check.that(fine, f"{transfer['number']} should have {wanted:d} of {reason} {units}", *steps)


def _of_lots(check: Check, evidence: Evidence, transfer: dict[str, Any]) -> None:
    """What left as of a lot is on the road as of it, and comes off as of it; the transfer says so."""
    left, road, off, lost = (Counter[tuple[str, str]]() for _ in range(4))
    for life in documents.lives(transfer):
        name = documents.reference(transfer, life)
        for step in evidence.steps(transfer["from_location_id"], "transfer", name):
            left.update(_by_lot(line for line in step.lines if line.reason == "TRANSFER_OUT"))
        for step in evidence.steps(transfer["to_location_id"], "transfer", name):
            road.update(_by_lot(line for line in step.lines if line.target == "IN_TRANSIT"))
            off.update(_by_lot(line for line in step.lines if line.source == "IN_TRANSIT"))
            lost.update(_by_lot(line for line in step.lines if line.reason == "LOST_IN_TRANSIT"))
    fine = left == road and all(off[what] <= road[what] for what in off)
    check.that(fine, f"{transfer['number']}: {left} left, {road} set out, {off} came off the road")
    told = {(line["sku"], row["lot"]): row for line in transfer["lines"] for row in line.get("lots", ())}
    for what in told.keys() | {what for what in left if what[1]}:
        wanted = {"shipped": left[what], "outstanding": road[what] - off[what], "lost": lost[what], "mistaken": 0}
        says = {name: int(told.get(what, {}).get(name, 0)) for name in wanted}
        check.that(says == wanted, f"{transfer['number']} says {told.get(what)} of {what}, its ends {wanted}")


def _by_lot(lines: Iterable[model.Line]) -> Counter[tuple[str, str]]:
    units: Counter[tuple[str, str]] = Counter()
    for line in lines:
        units[line.sku, line.lot] += line.quantity
    return units


def _on_the_road(check: Check, evidence: Evidence) -> None:
    """In transit and incoming at a location is what its transfers have on the road; what left is what set out."""
    road: Counter[tuple[str, str]] = Counter()
    for transfer in evidence.history.end.transfers.values():
        for line in transfer["lines"]:
            road[transfer["to_location_id"], line["sku"]] += int(line["outstanding"])
    for location, levels in evidence.history.end.levels.items():
        for sku, level in levels.items():
            told = int(level["in_transit"]), sum(int(i["quantity"]) for i in level.get("incoming", ()))
            wanted = road[location, sku]
            check.that(told == (wanted, wanted), f"{location} has {told} {sku} in transit and incoming, not {wanted}")
    for brand, locations in evidence.history.locations.items():
        left, set_out = Counter[str](), Counter[str]()
        for location in locations:
            for step in evidence.ledgers[location].steps:
                left.update(step.units("TRANSFER_OUT"))
                for line in step.lines:
                    set_out[line.sku] += line.quantity if line.target == "IN_TRANSIT" else 0
        set_out = +set_out
        check.that(left == set_out, f"{brand}: {left} left, {set_out} set out")


def stepped(evidence: Evidence) -> Check:
    """Each accepted step of a transfer happened to it once, a refused one never."""
    check = Check("steps of transfers happen once")
    transfers = evidence.history.end.transfers
    for call in evidence.history.of(*documents.STEPS):
        transfer = transfers.get(call.facts["transfer"])
        check.that(transfer is not None, f"{call_name(call)} is about what is not there", call)
        if transfer is None:
            continue
        if call.kind == "transfer_ready":  # no words of the caller's are kept with it
            ready = any(life.kind == "READY" for life in documents.lives(transfer))
            check.that(ready or call.outcome != "OK", f"{call_name(call)} did not happen", call)
            continue
        found = [event for event in transfer["events"] if event["note"] == call.key]
        wanted = {"OK": (1,), "UNKNOWN": (0, 1)}.get(call.outcome, (0,))
        check.that(len(found) in wanted, f"{call_name(call)} happened {len(found)} times", call)
        for event in found:
            check.that(_says(call, event), f"{call_name(call)} became {event}", call)
    by_key = Counter(transfer["reference"] for transfer in transfers.values())
    for call in evidence.history.of("transfer_draft"):
        wanted = {"OK": (1,), "UNKNOWN": (0, 1)}.get(call.outcome, (0,))
        check.that(by_key[call.key] in wanted, f"{call_name(call)} made {by_key[call.key]} transfers", call)
        for attempt in call.answers:
            kept = transfers.get(attempt.body["id"])
            lines = {line["sku"]: int(line["quantity"]) for line in kept["lines"]} if kept else {}
            check.that(lines == call.facts["lines"], f"{call_name(call)} is kept as {kept}", call)
    return check


def _says(call: Call, event: dict[str, Any]) -> bool:
    """Whether an event has the units that were asked for."""
    if call.kind not in ("transfer_ship", "transfer_receive"):
        return True
    told = {line["sku"]: line for line in event["lines"]}
    if call.kind == "transfer_ship":
        return {sku: int(line["shipped"]) for sku, line in told.items()} == {
            sku: units for sku, units in call.facts["lines"].items() if units
        }
    names = (*documents.STATES, "lost")
    return {sku: {n: int(line[n]) for n in names} for sku, line in told.items()} == {
        sku: {n: of.get(n, 0) for n in names} for sku, of in call.facts["lines"].items()
    }


def counted(evidence: Evidence) -> Check:
    """An approved count corrects the stock once, by what was counted against what was there then; no other does."""
    check = Check("cycle counts correct the stock once")
    calls = {call.facts.get("count"): call for call in evidence.history.of("count_approve")}
    recorded = {call.facts["count"]: call for call in evidence.history.of("count_record")}
    for count in evidence.history.end.counts.values():
        approved = count["state"] == "CYCLE_COUNT_STATE_APPROVED"
        steps = evidence.steps(count["location_id"], "count", count["number"])
        differ = {
            line["sku"]: int(line["variance"]) for line in count["counted"] if approved and not line["superseded"]
        }
        wanted = sorted(_correction(sku, units) for sku, units in differ.items() if units)
        fine = sorted(line for step in steps for line in step.lines) == wanted and len(steps) == bool(wanted)
        call = calls.get(count["id"])
        told = [call] if call else []
        check.that(fine, f"{count['number']} is {count['state']} and should have moved {wanted}", *told, *steps)
        check.that(count["stock_effect"] == APPLIED, f"{count['number']} is {count['stock_effect']}", *told)
        if call is not None and call.outcome == "OK":
            check.that(approved, f"{count['number']} was approved and is {count['state']}", call)
        if approved and call is not None:
            for line in count["counted"]:
                fine = _expected(evidence, count, line, call, steps)
                check.that(fine, f"{count['number']} expected {line}, which was never there", call, *steps)
        if (record := recorded.get(count["id"])) and record.outcome == "OK":
            lines = {line["sku"]: int(line["counted"]) for line in count["counted"]}
            check.that(lines == record.facts["counted"], f"{count['number']} has {lines}", record)
    for call in evidence.history.of("count_open"):
        for attempt in call.answers:
            there = attempt.body["id"] in evidence.history.end.counts
            check.that(there, f"{call_name(call)} was opened and is not there", call)
    return check


def _correction(sku: str, variance: int) -> model.Line:
    states = ("EXTERNAL", "SELLABLE") if variance > 0 else ("SELLABLE", "EXTERNAL")
    return model.Line(sku, *states, abs(variance), "CYCLE_COUNT")


def _expected(
    evidence: Evidence, count: dict[str, Any], line: dict[str, Any], call: Call, steps: list[model.Step]
) -> bool:
    """What was expected is what had happened by counted_at, as far as the ledger told at some moment of the approval."""
    location, sku = count["location_id"], line["sku"]
    ledger = evidence.ledgers[location]
    until = model.seconds(line["counted_at"])
    first = evidence.acknowledged[location].before(call.attempts[0].begun)
    last = steps[0].seq - 1 if steps else max(ledger.last_until(attempt.ended) for attempt in call.attempts)
    on_hand, possible = 0, set[int]()
    for step in ledger.steps:
        if step.seq > first:
            possible.add(on_hand)
        if step.seq > last:
            break
        for moved, happened_at in zip(step.lines, step.happened, strict=True):
            if moved.sku == sku and happened_at <= until:
                on_hand += moved.quantity * (_enters(moved.target) - _enters(moved.source))
    possible.add(on_hand)
    told = int(line["expected"])
    return told in possible and int(line["variance"]) == int(line["counted"]) - told


def _enters(state: str) -> int:
    """Whether units in a state are on hand."""
    return int(state not in ("EXTERNAL", "IN_TRANSIT"))


ALL: Final = (transferred, stepped, counted)
