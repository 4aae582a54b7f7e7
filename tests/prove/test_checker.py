"""The checker finds each kind of violation in a history made by hand, and nothing in the one that keeps its promises."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.prove import broken_events, broken_lots, broken_orders, checks, ending, history, made, model
from tests.prove.broken import Break, again, movement, named, told, without
from tests.prove.by_hand import HERE, START, at, attempt, call, level, refusal
from tests.prove.history import End, History
from tests.prove.made import AWAY, NEAR, THERE

DECLARED = "answers are declared, none is INTERNAL"
ONE_ANSWER = "a key has one answer"
TRUE = "refusals were true"
STRONG = "reads are strong"
OWN = "answered levels are those of the ledger"
REAL_TIME = "the ledger keeps real time"
TENANTS = "tenants never see each other"
ONCE = "each accepted change is in the ledger once"
NOTHING_ELSE = "the ledger has no gap and nothing unasked"
OVERSOLD = "accepted holds never exceed stock"
COUNTED = "counts were set where the expectation held"
BALANCED = "ledger = levels, holds = reserved and allocated"
READABLE = "what was accepted can be read"
ENDED = "holds end once and on time"
SOLD = "every sale takes its stock once"
TRANSFERRED = "transfers lose and make no unit"
STEPPED = "steps of transfers happen once"
RECOUNTED = "cycle counts correct the stock once"
STREAMS = "streams are ordered, unique, reliable and atomic"
QUIET = "all goes quiet in the end"


def test_a_history_that_keeps_its_promises_is_found_to_keep_them() -> None:
    judged = checks.judge(made.history())

    assert [(check.name, check.violations) for check in judged if check.violations] == []
    assert [check.name for check in judged if not check.looked_at] == []  # each had something to look at


def test_a_history_that_was_kept_is_judged_as_it_was(tmp_path: Path) -> None:
    kept = made.history()
    kept.write(tmp_path / "history.json")

    assert history.read(tmp_path / "history.json") == kept


def rows(of: History, seq: int) -> list[dict[str, Any]]:
    return [row for row in of.end.movements[HERE] if row["seq"] == str(seq)]


def _answered(key: str, reason: str) -> Break:
    def broken(of: History) -> None:
        named(of, key).attempts.insert(0, refusal(1, reason))

    return broken


def _another_answer(of: History) -> None:
    named(of, "holding").attempts.append(attempt(3, made.hold(4, "ACTIVE")))


def _another_answer_of_a_line(of: History) -> None:
    again = copy.deepcopy(named(of, "many").attempts[0])
    again.body["results"][0]["level"]["on_hand"] = "7"
    named(of, "many").attempts.append(again)


def _an_old_read(of: History) -> None:
    named(of, "reading").attempts[0].body = level("A", on_hand=10, version=1)


def _a_read_of_the_future(of: History) -> None:
    named(of, "reading").attempts = [attempt(3, level("A", on_hand=13, reserved=1, version=9))]


def _a_wrong_level(of: History) -> None:
    for answer in named(of, "adjusting").answers:
        answer.body["on_hand"] = "16"


def _later_than_its_successor(of: History) -> None:
    """What was acknowledged at once began after what stands behind it."""
    named(of, "adjusting").attempts = [attempt(6, named(of, "adjusting").attempts[-1].body)]


def _a_spy_who_sees(of: History) -> None:
    named(of, "spying").attempts = [attempt(5, {"sku": "A"})]


def _a_row_of_another(of: History) -> None:
    of.end.movements[HERE][0]["location_id"] = THERE


def _a_hold_of_an_intruder(of: History) -> None:
    of.end.reservations[HERE][2]["order_ref"] = "intruder"


def _a_lost_change(of: History) -> None:
    of.end.movements[HERE] = [row for row in of.end.movements[HERE] if row["seq"] != "3"]


def _a_change_twice(of: History) -> None:
    of.end.movements[HERE].append(rows(of, 3)[0] | {"seq": "17", "recorded_at": at(17)})


def _a_refused_change(of: History) -> None:
    of.end.movements[HERE].append(rows(of, 3)[0] | {"seq": "17", "recorded_at": at(17), "reference_id": "too little"})


def _half_a_hold(of: History) -> None:
    of.end.movements[HERE].remove(rows(of, 2)[1])


def _another_quantity(of: History) -> None:
    rows(of, 3)[0]["quantity"] = "4"


def _a_line_of_a_bulk_twice(of: History) -> None:
    of.end.movements[HERE].append(rows(of, 10)[0] | {"seq": "17", "recorded_at": at(17)})


def _a_refused_line_of_a_bulk(of: History) -> None:
    of.end.movements[HERE].append(rows(of, 10)[0] | {"seq": "17", "recorded_at": at(17), "reference_id": "many#1"})


def _unasked(of: History) -> None:
    of.end.movements[HERE].append(rows(of, 3)[0] | {"seq": "17", "recorded_at": at(17), "reference_id": "nobody"})


def _a_gap(of: History) -> None:
    for row in rows(of, 13):
        row["seq"] = "17"


def _too_much_promised(of: History) -> None:
    rows(of, 12)[0]["quantity"] = "9"


def _set_upon_another_number(of: History) -> None:
    named(of, "counting").facts["counts"]["A"] = [16, 14]


def _a_wrong_final_level(of: History) -> None:
    of.end.levels[HERE]["A"]["on_hand"] = "12"


def _reserved_for_nobody(of: History) -> None:
    of.end.reservations[HERE][2]["state"] = "RESERVATION_STATE_RELEASED"


def _a_lost_hold(of: History) -> None:
    del of.end.reservations[HERE][2]


def _another_hold_than_answered(of: History) -> None:
    of.end.reservations[HERE][2]["lines"] = [{"sku": "A", "quantity": "2"}]


def _an_id_that_cannot_be_read(of: History) -> None:
    of.end.read["ord_1"] = "GET /v1/orders/ord_1: 404 NOT_FOUND"


def _two_of_one_key(of: History) -> None:
    of.end.sales[HERE].append(made.order() | {"id": "ord_2"})


def _a_dead_letter(of: History) -> None:
    of.end.dead_letters = 1


def _confirmed_twice(of: History) -> None:
    of.end.movements[HERE] += [row | {"seq": "17", "recorded_at": at(17)} for row in rows(of, 7)]


def _given_back_early(of: History) -> None:
    of.end.reservations[HERE][1]["expires_at"] = at(60)


def _never_given_back(of: History) -> None:
    of.end.movements[HERE].remove(rows(of, 8)[0])


def _less_time_than_promised(of: History) -> None:
    named(of, "extending").attempts[0].body["expires_at"] = at(5_000)


def _released_without_effect(of: History) -> None:
    of.end.movements[HERE] = [row for row in of.end.movements[HERE] if row["seq"] != "13"]


def _sold_twice(of: History) -> None:
    of.end.movements[HERE] += [row | {"seq": "17", "recorded_at": at(17)} for row in rows(of, 9)]


def _sold_without_effect(of: History) -> None:
    of.end.movements[HERE] = [row for row in of.end.movements[HERE] if row["seq"] != "9"]


def _never_applied(of: History) -> None:
    of.end.sales[HERE][0]["stock_effect"] = "STOCK_EFFECT_PENDING"


def _sold_beside_its_hold(of: History) -> None:
    rows(of, 9)[0]["from_state"] = "STOCK_STATE_SELLABLE"


def _a_sale_of_nobody(of: History) -> None:
    of.calls.remove(named(of, "selling"))


def _transfer(change: Callable[[dict[str, Any]], None], name: str = "trf_1") -> Break:
    return lambda of: change(of.end.transfers[name])


def _count(change: Callable[[dict[str, Any]], None]) -> Break:
    return lambda of: change(of.end.counts["cnt_1"])


def _stream(change: Callable[[list[dict[str, Any]]], None]) -> Break:
    def broken(of: History) -> None:
        change(of.streams[0].events)

    return broken


def _swapped(events: list[dict[str, Any]]) -> None:
    events[3], events[4] = events[4], events[3]


def _cut_in_two(events: list[dict[str, Any]]) -> None:
    """The two SKUs of a command in a frame each."""
    whole = events[1]
    events[1:2] = [whole | {"changes": whole["changes"][:1]}, whole | {"changes": whole["changes"][1:]}]


def _another_level(events: list[dict[str, Any]]) -> None:
    events[2]["changes"][0][2][0] += 1


def _another_version(events: list[dict[str, Any]]) -> None:
    events[-1]["changes"][0][2][-1] += 1


def _half_a_set(of: History) -> None:
    rows(of, 14)[0]["quantity"] = "1"


def _part_of_a_set_sold(of: History) -> None:
    of.end.movements[HERE].remove(rows(of, 16)[1])


def _a_set_that_was_not_there(of: History) -> None:
    named(of, "reading a set").attempts[0].body["available"] = "9"


def _sourced_twice(of: History) -> None:
    of.end.movements[HERE] += [row | {"seq": "17", "recorded_at": at(17)} for row in rows(of, 15)]


def _sourced_nowhere(of: History) -> None:
    """Refused although there were enough all the time."""
    named(of, "nowhere").facts["lines"] = {"S": 2}


def _a_wrong_number_of_sets(of: History) -> None:
    of.end.bundles[HERE]["S"] = 4


def _without_its_set(events: list[dict[str, Any]]) -> None:
    events[2]["changes"] = [change for change in events[2]["changes"] if change[1] != "S"]


def _another_set(events: list[dict[str, Any]]) -> None:
    next(change for change in events[2]["changes"] if change[1] == "S")[2][0] += 1


BROKEN: dict[str, tuple[str, Break]] = {
    "a call was INTERNAL": (DECLARED, _answered("adjusting", "INTERNAL")),
    "a call was refused without a reason": (DECLARED, _answered("holding", "UNDECLARED")),
    "a sale was refused": (DECLARED, _answered("selling", "INSUFFICIENT_STOCK")),
    "a valid token was refused": (DECLARED, _answered("reading", "EDGE_UNAUTHENTICATED")),
    "a key has two reservations": (ONE_ANSWER, _another_answer),
    "a line of a bulk update has two answers": (ONE_ANSWER, _another_answer_of_a_line),
    "short of what was there": (TRUE, told("too much", "available", "98")),
    "stale against what never was": (TRUE, told("too late", "on_hand", "77")),
    "below what was there": (TRUE, told("too little", "quantity", "51")),
    "ended in a way it did not": (TRUE, told("in vain", "state", "RELEASED")),
    "a read of what is past": (STRONG, _an_old_read),
    "a read of what is to come": (STRONG, _a_read_of_the_future),
    "an answer with another level": (OWN, _a_wrong_level),
    "an order that is not that of time": (REAL_TIME, _later_than_its_successor),
    "a tenant reads another's": (TENANTS, _a_spy_who_sees),
    "a list holds another's row": (TENANTS, _a_row_of_another),
    "a tenant holds another's stock": (TENANTS, _a_hold_of_an_intruder),
    "an acknowledged change is lost": (ONCE, _a_lost_change),
    "a change is applied twice": (ONCE, _a_change_twice),
    "a refused change is applied": (ONCE, _a_refused_change),
    "half of a hold is made": (ONCE, _half_a_hold),
    "another quantity is written": (ONCE, _another_quantity),
    "a line of a bulk update is applied twice": (ONCE, _a_line_of_a_bulk_twice),
    "a refused line of a bulk update is applied": (ONCE, _a_refused_line_of_a_bulk),
    "a change that nobody asked for": (NOTHING_ELSE, _unasked),
    "a position is missing": (NOTHING_ELSE, _a_gap),
    "more is promised than there is": (OVERSOLD, _too_much_promised),
    "a count is set upon another number": (COUNTED, _set_upon_another_number),
    "a level is not its ledger": (BALANCED, _a_wrong_final_level),
    "units are reserved for nobody": (BALANCED, _reserved_for_nobody),
    "an accepted hold is gone": (READABLE, _a_lost_hold),
    "an accepted hold has changed": (READABLE, _another_hold_than_answered),
    "an accepted sale can't be read": (READABLE, _an_id_that_cannot_be_read),
    "two sales with one key": (READABLE, _two_of_one_key),
    "a dead letter": (READABLE, _a_dead_letter),
    "a hold is confirmed twice": (ENDED, _confirmed_twice),
    "a hold ends before its time": (ENDED, _given_back_early),
    "a hold never gives back": (ENDED, _never_given_back),
    "a hold has less time than was promised": (ENDED, _less_time_than_promised),
    "a release has no effect": (ENDED, _released_without_effect),
    "a sale is applied twice": (SOLD, _sold_twice),
    "a sale is never applied": (SOLD, _sold_without_effect),
    "a sale stays pending": (SOLD, _never_applied),
    "a sale leaves its hold": (SOLD, _sold_beside_its_hold),
    "a sale that nobody rang up": (SOLD, _a_sale_of_nobody),
    "an arrival is applied twice": (TRANSFERRED, again(NEAR, 2)),
    "an arrival is lost": (TRANSFERRED, without(NEAR, 2)),
    "units leave and don't set out": (TRANSFERRED, without(NEAR, 1)),
    "units set out that never left": (TRANSFERRED, without(AWAY, 4)),
    "more sets out than left": (TRANSFERRED, movement(NEAR, 1, quantity="5")),
    "units arrive in another state": (TRANSFERRED, movement(NEAR, 2, to_state="STOCK_STATE_EXPIRED")),
    "what is ready isn't allocated": (TRANSFERRED, without(AWAY, 3)),
    "what is cancelled isn't given back": (TRANSFERRED, without(AWAY, 7)),
    "a transfer tells other units than came": (TRANSFERRED, _transfer(lambda t: t["lines"][0].update(received="3"))),
    "a transfer forgets what is on the road": (TRANSFERRED, _transfer(lambda t: t["lines"][0].update(outstanding="0"))),
    "a transfer is in another state": (TRANSFERRED, _transfer(lambda t: t.update(state="TRANSFER_STATE_RECEIVED"))),
    "a transfer stays pending": (TRANSFERRED, _transfer(lambda t: t.update(stock_effect="DOCUMENT_EFFECT_PENDING"))),
    "a transfer is shipped and never was ready": (TRANSFERRED, _transfer(lambda t: t["events"].pop(1))),
    "a cancelled transfer is shipped": (TRANSFERRED, _transfer(lambda t: t["events"].append(made.sent()["events"][2]), "trf_2")),
    "more arrives than was sent and is no surplus": (TRANSFERRED, _transfer(lambda t: t["events"][3]["lines"][0].update(accepted="9"))),
    "a level has lost what is in transit": (TRANSFERRED, lambda of: of.end.levels[NEAR]["A"].update(in_transit="0")),
    "a level expects what isn't on the road": (TRANSFERRED, lambda of: of.end.levels[NEAR]["A"]["incoming"].append({"quantity": "1"})),
    "a receipt is lost": (STEPPED, _transfer(lambda t: t["events"].pop())),
    "a receipt is kept twice": (STEPPED, _transfer(lambda t: t["events"].append(t["events"][3]))),
    "a refused step is kept": (STEPPED, _transfer(lambda t: t["events"][2].update(note="too late to cancel"))),
    "a receipt has other units": (STEPPED, _transfer(lambda t: t["events"][3]["lines"][0].update(accepted="2"))),
    "a transfer was ready and isn't": (STEPPED, _transfer(lambda t: t["events"].pop(1))),
    "an accepted transfer is gone": (STEPPED, lambda of: of.end.transfers.pop("trf_2")),
    "a transfer has other lines": (STEPPED, _transfer(lambda t: t["lines"][0].update(quantity="6"))),
    "two transfers of one key": (STEPPED, lambda of: of.end.transfers["trf_2"].update(reference="sending")),
    "an illegal step that was legal": (TRUE, told("too late to cancel", "from", "READY")),
    "an illegal step in a state that never was": (TRUE, told("too late to cancel", "from", "RECEIVED")),
    "too much is lost though it was there": (TRUE, lambda of: named(of, "losing").facts.update(lines={"A": {"lost": 0}})),
    "a count is applied twice": (RECOUNTED, again(AWAY, 8)),
    "a count is never applied": (RECOUNTED, without(AWAY, 8)),
    "a count corrects by another number": (RECOUNTED, movement(AWAY, 8, quantity="2")),
    "a count stays pending": (RECOUNTED, _count(lambda c: c.update(stock_effect="DOCUMENT_EFFECT_PENDING"))),
    "a rejected count is applied": (RECOUNTED, _count(lambda c: c.update(state="CYCLE_COUNT_STATE_REJECTED"))),
    "a superseded line is applied": (RECOUNTED, _count(lambda c: c["counted"][0].update(superseded=True))),
    "a count expects what was never there": (RECOUNTED, _count(lambda c: c["counted"][0].update(expected="5", variance="0"))),
    "a count has another number than was noted": (RECOUNTED, _count(lambda c: c["counted"][0].update(counted="4"))),
    "an opened count is gone": (RECOUNTED, lambda of: of.end.counts.clear()),
    "a stream lacks a change": (STREAMS, _stream(lambda events: events.pop(5))),
    "a stream has a change twice": (STREAMS, _stream(lambda events: events.insert(5, events[5]))),
    "a stream is out of order": (STREAMS, _stream(_swapped)),
    "a stream cuts a command in two": (STREAMS, _stream(_cut_in_two)),
    "a stream tells half of a command": (STREAMS, _stream(lambda events: events[1]["changes"].pop())),
    "a stream tells another level": (STREAMS, _stream(_another_level)),
    "a stream skips a version": (STREAMS, _stream(_another_version)),
    "a stream falls behind for good": (STREAMS, _stream(lambda events: events.pop())),
    "a stream begins anew though it has a token": (STREAMS, _stream(lambda events: events.append(events[0]))),
    "a stream tells of another place": (STREAMS, _stream(lambda events: events.append({"kind": "foreign", "location": THERE}))),
    "a stream asks to begin anew": (STREAMS, _stream(lambda events: events.append({"kind": "ended", "reason": "RESYNC_REQUIRED"}))),
    "progress ahead of what was sent": (STREAMS, _stream(lambda events: events.append({"kind": "progress", "seq": 99}))),
    "half of a bundle is held": (ONCE, _half_a_set),
    "what was sourced is held twice": (ONCE, _sourced_twice),
    "part of a bundle is sold": (SOLD, _part_of_a_set_sold),
    "a bundle is read that could not be had": (STRONG, _a_set_that_was_not_there),
    "short of bundles that were there": (TRUE, told("too many", "available", "2")),
    "sourced from nowhere though there was enough": (TRUE, _sourced_nowhere),
    "a bundle is not what its components are": (BALANCED, _a_wrong_number_of_sets),
    "a stream tells a component without its bundle": (STREAMS, _stream(_without_its_set)),
    "a stream tells another bundle": (STREAMS, _stream(_another_set)),
    **broken_events.BROKEN,
    **broken_lots.BROKEN,
    **broken_orders.BROKEN,
    "it never goes quiet": (QUIET, lambda of: setattr(of.end, "quiet", "a till is at 3 of 9")),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_found(name: str) -> None:
    promise, broken = BROKEN[name]
    of = made.history()
    broken(of)

    found = [check.name for check in checks.judge(of) if check.violations]

    assert promise in found


def test_every_promise_is_broken_by_a_test() -> None:
    assert {check.name for check in checks.judge(made.history())} == {promise for promise, _ in BROKEN.values()}


def test_a_call_of_unknown_outcome_may_have_happened_or_not() -> None:
    of = made.history()
    named(of, "adjusting").attempts = [history.Attempt(START + 2, START + 4, 0, "NO_ANSWER")]
    of.calls.append(call("adjust", "never heard of", {"sku": "A", "delta": 1}, attempt(5, None, "UNAVAILABLE", 503)))

    assert [check.violations for check in checks.judge(of) if check.violations] == []


def test_an_end_is_read_again_when_a_hold_ran_out_meanwhile() -> None:
    """Found in an hour's run, whose end took minutes to read: streams told of a change that the ledger didn't have yet."""
    ends = "2026-11-26T00:26:00Z"
    rows = [
        {"id": "rsv_1", "state": "RESERVATION_STATE_ACTIVE", "expires_at": ends},
        {"id": "rsv_2", "state": "RESERVATION_STATE_CONFIRMED", "expires_at": ends},
    ]
    end = End(reservations={"loc_1": rows})

    assert ending.ran_out(end, model.seconds(ends) + 1) == ["rsv_1"]
    assert ending.ran_out(end, model.seconds(ends)) == []
