"""Promises about single calls: what they may be answered, that a key has one answer, that refusals and reads are true."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Final

from tests.prove import checks_lots, checks_orders, documents, model, world
from tests.prove.checking import Check, Evidence, call_name
from tests.prove.history import AGAIN, Attempt, Call

#: How each kind of call may be refused. A sale is never refused.
REFUSALS: Final[Mapping[str, frozenset[str]]] = {
    "reserve": frozenset({"INSUFFICIENT_STOCK"}),
    "source": frozenset({"INSUFFICIENT_STOCK"}),
    "confirm": frozenset({"RESERVATION_ENDED"}),
    "extend": frozenset({"RESERVATION_ENDED"}),
    "release": frozenset({"RESERVATION_ENDED"}),
    "sale": frozenset(),
    "adjust": frozenset({"QUANTITY_BELOW_ZERO"}),
    "move": frozenset({"QUANTITY_BELOW_ZERO"}),
    "count": frozenset({"QUANTITY_STALE"}),
    "bulk": frozenset(),
    "read": frozenset(),
    "intrude": frozenset({"NOT_FOUND"}),
    "transfer_draft": frozenset(),
    "transfer_ready": frozenset({"INSUFFICIENT_STOCK", "ILLEGAL_TRANSITION", "VERSION_MISMATCH"}),
    "transfer_ship": frozenset({"ILLEGAL_TRANSITION"}),
    "transfer_receive": frozenset({"ILLEGAL_TRANSITION", "INVALID_REQUEST"}),
    "transfer_close": frozenset({"ILLEGAL_TRANSITION"}),
    "transfer_cancel": frozenset({"ILLEGAL_TRANSITION"}),
    "lot_create": frozenset(),
    "lot_recall": frozenset(),
    "lot_date": frozenset(),
    "order": frozenset({"INSUFFICIENT_STOCK", "PAYMENT_DECLINED", "PLACEMENT_EXPIRED"}),
    "order_cancel": frozenset(),
    "gift_card": frozenset(),
    "store_credit": frozenset(),
    "count_open": frozenset({"ALREADY_EXISTS"}),
    "count_record": frozenset(),
    "count_submit": frozenset(),
    "count_approve": frozenset(),
    "count_reject": frozenset(),
    "count_cancel": frozenset(),
}
#: Calls on a document are answered with it as it stands by now.
DOCUMENTS: Final = (
    "transfer_ready",
    "transfer_ship",
    "transfer_receive",
    "transfer_close",
    "transfer_cancel",
    "count_approve",
)
#: Calls that are answered with what they made, as it stands by now (a gift card's code is told only once).
MADE: Final = ("order", "order_cancel", "gift_card", "store_credit")
BULK_REFUSALS: Final = frozenset({"QUANTITY_STALE", "QUANTITY_BELOW_ZERO"})
#: Of a reservation's answer, what depends on when it is given.
ENDINGS: Final = ("confirm", "release", "extend")


def declared(evidence: Evidence) -> Check:
    """No call answers INTERNAL, an undeclared reason, or one that its kind can't have."""
    check = Check("answers are declared, none is INTERNAL")
    for call in evidence.history.calls:
        for attempt in call.attempts:
            allowed = attempt.ok or attempt.reason in AGAIN or attempt.reason in REFUSALS[call.kind]
            check.that(allowed, f"{call_name(call)} was answered {attempt.status} {attempt.reason}", call)
            for result in _results(call, attempt):
                reason = world.reason_of(result["error"]) if result.get("error") else ""
                fine = not reason or reason in BULK_REFUSALS or reason in AGAIN
                check.that(fine, f"a line of {call_name(call)} was answered {reason}", call)
    return check


def one_answer(evidence: Evidence) -> Check:
    """The same key never gives two different answers."""
    check = Check("a key has one answer")
    for call in evidence.history.calls:
        if call.kind not in ("read", "intrude", "bulk"):
            for first, again in itertools.pairwise(call.answers):
                same = _content(call, first.body) == _content(call, again.body)
                check.that(same, f"{call_name(call)} has two answers", call)
        for before, after in itertools.pairwise(a for a in call.attempts if _results(call, a)):
            for early, late in zip(_results(call, before), _results(call, after), strict=True):
                if early.get("level"):
                    check.that(early == late, f"line {early['index']} of {call_name(call)} has two answers", call)
    return check


def _results(call: Call, attempt: Attempt) -> list[dict[str, Any]]:
    return attempt.body["results"] if call.kind == "bulk" and attempt.status == 200 else []


def _content(call: Call, body: Any) -> Any:
    """What must be the same each time: of a sale not how far its stock is (and its version, which rises with that)."""
    if call.kind == "sale":
        return {name: value for name, value in body.items() if name not in ("stock_effect", "version")}
    if call.kind in DOCUMENTS:
        return body["id"], body["number"]
    if call.kind in MADE:
        return body["id"]
    return body


def truthful(evidence: Evidence) -> Check:
    """A refusal was true at some moment between the sending and the answer."""
    check = Check("refusals were true")
    judges = {
        "INSUFFICIENT_STOCK": _was_short,
        "QUANTITY_STALE": _was_stale,
        "QUANTITY_BELOW_ZERO": _was_below,
        "RESERVATION_ENDED": _had_ended,
        "ILLEGAL_TRANSITION": _was_illegal,
        "INVALID_REQUEST": _was_more_than_is_lost,
        "PAYMENT_DECLINED": checks_orders.was_declined,
    }
    for call in evidence.history.calls:
        for attempt in call.refusals:
            if attempt.reason in judges:
                true = judges[attempt.reason](evidence, call, attempt)
                check.that(true, f"{call_name(call)} was refused and that was not true", call)
    return check


def _was_short(evidence: Evidence, call: Call, attempt: Attempt) -> bool:
    if call.kind == "order":
        return checks_orders.was_short(evidence, call, attempt)
    told = {line["sku"]: int(line.get("available", 0)) for line in world.detail_lines(attempt.body)}
    if "channel" in call.facts:
        return checks_lots.was_short(evidence, call, attempt, told)
    asked = evidence.bundles.apart(call.facts["lines"])
    if call.kind == "source":  # each place by itself: they are not looked at under one lock
        return bool(told) and all(
            any(
                any(moment[sku].available < units for sku, units in asked.items())
                for moment in evidence.moments(place, attempt, asked)
            )
            for place in evidence.history.locations[call.tenant]
        )
    return bool(told) and any(
        told == _short(evidence, call.facts["lines"], asked, moment)
        for moment in evidence.moments(call.location, attempt, asked)
    )


def _short(
    evidence: Evidence, lines: Mapping[str, int], asked: Mapping[str, int], moment: Mapping[str, model.State]
) -> dict[str, int]:
    """The lines that are short at a moment, and how many of each could be had; beside the others if there are bundles."""
    free = {sku: state.available for sku, state in moment.items()}
    composed = any(sku in set(evidence.bundles) for sku in lines)
    found = {}
    for sku, quantity in lines.items():
        parts = evidence.bundles.parts(sku)
        if any(free[part] < asked[part] for part in parts):
            others = {part: asked[part] - each * quantity if composed else 0 for part, each in parts.items()}
            found[sku] = evidence.bundles.within(sku, {part: free[part] - others[part] for part in parts})
    return found


def _was_stale(evidence: Evidence, call: Call, attempt: Attempt) -> bool:
    told = {line["sku"]: int(line.get("on_hand", 0)) for line in world.detail_lines(attempt.body)}
    expected = {sku: of[0] for sku, of in call.facts["counts"].items()}
    return (
        bool(told)
        and any(
            all(state.on_hand == told.get(sku, expected[sku]) for sku, state in moment.items())
            for moment in evidence.moments(call.location, attempt, expected)
        )
        and all(on_hand != expected[sku] for sku, on_hand in told.items())
    )


def _was_below(evidence: Evidence, call: Call, attempt: Attempt) -> bool:
    told = int(world.metadata(attempt.body)["quantity"])
    sku = call.facts["sku"]
    state_name = call.facts.get("from", "SELLABLE")
    wanted = call.facts["quantity"] if call.kind == "move" else -call.facts["delta"]
    return told < wanted and any(
        _in_state(moment[sku], state_name) == told for moment in evidence.moments(call.location, attempt, [sku])
    )


def _in_state(state: model.State, name: str) -> int:
    return state.sellable if name == "SELLABLE" else int(getattr(state, name.lower()))


def _had_ended(evidence: Evidence, call: Call, attempt: Attempt) -> bool:
    """The state that was told is one that the hold had reached by then."""
    told = world.metadata(attempt.body)["state"]
    hold = evidence.holds.get(call.facts["hold"])
    if hold is None:
        return False
    _, last = evidence.window(call.location, attempt)
    if told == "EXPIRED":
        return hold["state"].endswith("_EXPIRED") and model.seconds(hold["expires_at"]) <= attempt.ended
    if told == "CONSUMED":
        return hold["state"].endswith("_CONSUMED")
    reason = {"CONFIRMED": "HOLD_CONFIRMED", "RELEASED": "HOLD_RELEASED"}[told]
    steps = evidence.steps(call.location, "reservation", hold["id"])
    return any(step.units(reason) and step.seq <= last for step in steps)


def _was_illegal(evidence: Evidence, call: Call, attempt: Attempt) -> bool:
    """The state that was told is one that the transfer had reached by then, and it allows no such step."""
    transfer = evidence.history.end.transfers.get(call.facts.get("transfer", ""))
    if transfer is None:
        return False
    told = world.metadata(attempt.body)["from"]
    reached = [life.state for life in documents.lives(transfer) if model.seconds(life.recorded_at) <= attempt.ended]
    return told in reached and told not in documents.STEPS[call.kind]


def _was_more_than_is_lost(evidence: Evidence, call: Call, attempt: Attempt) -> bool:
    """More was told to be lost than the transfer had on the road by then."""
    transfer = evidence.history.end.transfers.get(call.facts.get("transfer", ""))
    if transfer is None:
        return False
    lives = [life for life in documents.lives(transfer) if model.seconds(life.recorded_at) <= attempt.ended]
    return any(
        life.on_the_road[sku] < line.get("lost", 0) for life in lives for sku, line in call.facts["lines"].items()
    )


def strong_reads(evidence: Evidence) -> Check:
    """A read tells a moment that is not older than what was acknowledged before it."""
    check = Check("reads are strong")
    for call in evidence.history.of("read"):
        sku = call.facts["sku"]
        for attempt in call.answers:
            if sku in set(evidence.bundles):
                available = int(attempt.body["available"])
                seen = any(
                    _may_be_had(evidence, sku, available, moment)
                    for moment in evidence.moments(call.location, attempt, evidence.bundles.parts(sku))
                )
                check.that(seen, f"{call_name(call)} told {available}, which could never be had meanwhile", call)
                continue
            told = model.state_of(attempt.body)
            seen = any(_is_told(moment[sku], told) for moment in evidence.moments(call.location, attempt, [sku]))
            check.that(seen, f"{call_name(call)} told {told}, which it never was meanwhile", call)
    return check


def _may_be_had(evidence: Evidence, sku: str, told: int, moment: Mapping[str, model.State]) -> bool:
    """So many of a bundle, with anything from none to all of what is held having run out."""
    least = evidence.bundles.within(sku, {part: state.available for part, state in moment.items()})
    most = evidence.bundles.within(sku, {part: state.available + state.reserved for part, state in moment.items()})
    return least <= told <= most


def _is_told(state: model.State, told: model.State) -> bool:
    """Holds that have run out are free at once, though the ledger's line follows within a second."""
    return state._replace(reserved=told.reserved) == told and told.reserved <= state.reserved


def own_answers(evidence: Evidence) -> Check:
    """A write that answers with a level answers with the one it left."""
    check = Check("answered levels are those of the ledger")
    for call in evidence.history.of("adjust", "move", "count"):
        steps = evidence.effects(call)
        for attempt in call.answers[:1]:
            levels = attempt.body["levels"] if call.kind == "count" else [attempt.body]
            for level in levels if len(steps) == 1 else []:
                left = evidence.ledgers[call.location].at(level["sku"], steps[0].seq)
                fine = left == model.state_of(level) and left.available == int(level["available"])
                check.that(fine, f"{call_name(call)} left {left}", call, steps[0])
    return check


def in_real_time(evidence: Evidence) -> Check:
    """What was acknowledged before a call began stands before it in the ledger."""
    check = Check("the ledger keeps real time")
    for call in evidence.history.of("adjust", "move", "count", "reserve", "source"):
        for step in evidence.effects(call)[:1]:
            before = evidence.acknowledged[evidence.place_of(call)].before(call.attempts[0].begun)
            check.that(step.seq > before, f"{call_name(call)} stands at {step.seq}, before {before}", call, step)
    return check


def strangers(evidence: Evidence) -> Check:
    """Nobody sees another tenant's anything: calls are NOT_FOUND, and lists hold the tenant's own."""
    check = Check("tenants never see each other")
    for call in evidence.history.of("intrude"):
        for attempt in call.attempts:
            hidden = attempt.reason == "NOT_FOUND" or attempt.reason in AGAIN
            check.that(hidden, f"{call.tenant} asked for {call.facts['path']} and got {attempt.status}", call)
    for name, rows in _rows(evidence):
        for location, row in rows:
            check.that(row["location_id"] == location, f"{name} of {location} has a row of {row['location_id']}")
    for rows in evidence.history.end.reservations.values():
        for row in rows:
            check.that(row["order_ref"] != "intruder", f"an intruder holds {row['id']}")
    return check


def _rows(evidence: Evidence) -> list[tuple[str, list[tuple[str, Any]]]]:
    end = evidence.history.end
    lists = (("movements", end.movements), ("reservations", end.reservations), ("sales", end.sales))
    return [(name, [(at, row) for at, rows in found.items() for row in rows]) for name, found in lists]


ALL: Final = (declared, one_answer, truthful, strong_reads, own_answers, in_real_time, strangers)
