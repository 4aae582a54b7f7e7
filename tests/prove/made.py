"""A small history made by hand, in which every kind of call happens and every promise is kept. Tests break it."""

from __future__ import annotations

from typing import Any, Final

from tests.prove import made_events, made_lots, made_orders, model
from tests.prove.by_hand import HERE, START, at, attempt, call, level, movements, refusal
from tests.prove.history import Attempt, Call, End, History, Stream

THERE = "loc_there"
AWAY, NEAR = "loc_away", "loc_near"
#: What the bundle S consists of.
BUNDLE: Final = {"A": 2, "B": 1}

#: seq, what it refers to, and its lines. At second `seq` of the history.
_LEDGER: Final = [
    (1, "count", "opening forced: opening", [("A", "EXTERNAL", "SELLABLE", 10, "OPENING"), ("B", "EXTERNAL", "SELLABLE", 10, "OPENING")]),
    (2, "reservation", "rsv_1", [("A", "SELLABLE", "RESERVED", 2, "HOLD"), ("B", "SELLABLE", "RESERVED", 1, "HOLD")]),
    (3, "reference", "adjusting", [("A", "EXTERNAL", "SELLABLE", 5, "CORRECTION")]),
    (4, "count", "counting", [("A", "SELLABLE", "EXTERNAL", 1, "CYCLE_COUNT")]),
    (5, "reference", "moving", [("B", "SELLABLE", "DAMAGED", 1, "QUALITY_CONTROL")]),
    (6, "reservation", "rsv_2", [("A", "SELLABLE", "RESERVED", 1, "HOLD")]),
    (7, "reservation", "rsv_1", [("A", "RESERVED", "ALLOCATED", 2, "HOLD_CONFIRMED"), ("B", "RESERVED", "ALLOCATED", 1, "HOLD_CONFIRMED")]),
    (8, "expiry", "", [("A", "RESERVED", "SELLABLE", 1, "HOLD_EXPIRED")]),
    (9, "sale", "ord_1", [("A", "ALLOCATED", "EXTERNAL", 1, "SALE"), ("B", "ALLOCATED", "EXTERNAL", 1, "SALE"), ("A", "ALLOCATED", "SELLABLE", 1, "HOLD_RELEASED")]),
    (10, "bulk", "many#0", [("B", "SELLABLE", "EXTERNAL", 1, "RECEIVED")]),
    (11, "reservation", "rsv_3", [("A", "SELLABLE", "RESERVED", 1, "HOLD")]),
    (12, "reservation", "rsv_4", [("B", "SELLABLE", "RESERVED", 2, "HOLD")]),
    (13, "reservation", "rsv_4", [("B", "RESERVED", "SELLABLE", 2, "HOLD_RELEASED")]),
    (14, "reservation", "rsv_5", [("A", "SELLABLE", "RESERVED", 2, "HOLD"), ("B", "SELLABLE", "RESERVED", 1, "HOLD")]),
    (15, "reservation", "rsv_6", [("A", "SELLABLE", "RESERVED", 1, "HOLD")]),
    (16, "sale", "ord_3", [("A", "SELLABLE", "EXTERNAL", 2, "SALE"), ("B", "SELLABLE", "EXTERNAL", 1, "SALE")]),
]  # fmt: skip


#: Two more shops of the first brand: a transfer from one to the other, one that was cancelled, and a count.
_AWAY: Final = [
    (1, "count", "opening forced: opening", [("A", "EXTERNAL", "SELLABLE", 10, "OPENING")]),
    (2, "reservation", "rsv_8", [("A", "SELLABLE", "RESERVED", 5, "HOLD")]),
    (3, "reservation", "rsv_8", [("A", "RESERVED", "ALLOCATED", 5, "HOLD_CONFIRMED")]),
    (4, "transfer", "TR-000001/3", [("A", "ALLOCATED", "EXTERNAL", 4, "TRANSFER_OUT"), ("A", "ALLOCATED", "SELLABLE", 1, "HOLD_RELEASED")]),
    (5, "reservation", "rsv_9", [("A", "SELLABLE", "RESERVED", 2, "HOLD")]),
    (6, "reservation", "rsv_9", [("A", "RESERVED", "ALLOCATED", 2, "HOLD_CONFIRMED")]),
    (7, "reservation", "rsv_9", [("A", "ALLOCATED", "SELLABLE", 2, "HOLD_RELEASED")]),
    (8, "count", "CNT-000001", [("A", "SELLABLE", "EXTERNAL", 1, "CYCLE_COUNT")]),
]  # fmt: skip
_NEAR: Final = [
    (1, "transfer", "TR-000001/3", [("A", "EXTERNAL", "IN_TRANSIT", 4, "TRANSFER_IN")]),
    (2, "transfer", "TR-000001/4", [("A", "IN_TRANSIT", "SELLABLE", 1, "TRANSFER_RECEIVED"), ("A", "IN_TRANSIT", "DAMAGED", 1, "TRANSFER_RECEIVED"),
                                    ("A", "IN_TRANSIT", "EXTERNAL", 1, "LOST_IN_TRANSIT")]),
]  # fmt: skip


def history() -> History:
    """A new one each time: tests change it."""
    end = End(
        levels={
            HERE: {
                "A": level("A", on_hand=11, reserved=4, version=12),
                "B": level("B", on_hand=7, reserved=1, damaged=1, version=10),
            },
            THERE: {},
            AWAY: {"A": level("A", on_hand=5, version=8) | {"location_id": AWAY}},
            NEAR: {
                "A": level("A", on_hand=2, damaged=1, in_transit=1, version=2)
                | {
                    "location_id": NEAR,
                    "incoming": [{"quantity": "1", "eta": at(900), "reference": "TR-000001"}],
                }
            },
        },
        movements={
            HERE: movements(HERE, _LEDGER),
            THERE: [],
            AWAY: movements(AWAY, _AWAY),
            NEAR: movements(NEAR, _NEAR),
        },
        reservations={HERE: [hold(n) for n in _CALLED], THERE: [], AWAY: [hold(n) for n in _SENT], NEAR: []},
        sales={HERE: [order(), order_of_sets()], THERE: [], AWAY: [], NEAR: []},
        transfers={"trf_1": sent(), "trf_2": cancelled()},
        counts={"cnt_1": count()},
        bundles={HERE: {"S": 3}, THERE: {"S": 0}},
    )
    end.read = {"rsv_1": hold(1), "ord_1": order()}
    places = {"beauty": [HERE, AWAY, NEAR], "furniture": [THERE]}
    made = History(1, 14, 2, places, {"S": BUNDLE}, calls=_calls(), end=end)
    made_orders.add(made)
    made_lots.add(made)
    made_events.add(made)
    made.streams.append(_stream(made))
    return made


#: state, lines, position, end of the hold in seconds, key.
_HOLDS: Final[dict[int, tuple[str, dict[str, int], int, float, str]]] = {
    1: ("CONSUMED", {"A": 2, "B": 1}, 2, 900, "holding"),
    2: ("EXPIRED", {"A": 1}, 6, 7.5, "holding shortly"),
    3: ("ACTIVE", {"A": 1}, 11, 900, "holding on"),
    4: ("RELEASED", {"B": 2}, 12, 900, "holding in vain"),
    5: ("ACTIVE", BUNDLE, 14, 900, "holding a set"),
    6: ("ACTIVE", {"A": 1}, 15, 900, "sourcing"),
    8: ("CONSUMED", {"A": 5}, 2, 900, "TR-000001"),
    9: ("RELEASED", {"A": 2}, 5, 900, "TR-000002"),
}
_SENT: Final = (8, 9)
_CALLED: Final = tuple(number for number in _HOLDS if number not in _SENT)


def hold(number: int, state: str = "") -> dict[str, Any]:
    """A reservation as the API tells it; in its last state, or in another one."""
    last, lines, seq, ends, key = _HOLDS[number]
    return {
        "id": f"rsv_{number}",
        "location_id": HERE if number in _CALLED else AWAY,
        "state": f"RESERVATION_STATE_{state or last}",
        "lines": [{"sku": sku, "quantity": str(quantity)} for sku, quantity in lines.items()],
        "expires_at": at(ends),
        "order_ref": key,
        "created_at": at(seq),
        "created_seq": str(seq),
    }


def order(effect: str = "APPLIED") -> dict[str, Any]:
    """The sale as the API tells it."""
    return {
        "id": "ord_1", "location_id": HERE, "client_sale_id": "selling", "version": "1",
        "lines": [{"sku": "A", "quantity": "1"}, {"sku": "B", "quantity": "1"}], "stock_effect": f"STOCK_EFFECT_{effect}",
    }  # fmt: skip


def order_of_sets() -> dict[str, Any]:
    """The sale of a bundle as the API tells it."""
    lines = [{"sku": "S", "quantity": "1"}]
    return order() | {"id": "ord_3", "client_sale_id": "selling a set", "lines": lines}


_UNITS: Final = ("shipped", "accepted", "damaged", "quality_control", "lost", "surplus")


def _event(number: int, kind: str, second: float, note: str = "", **units: int) -> dict[str, Any]:
    lines = [{"sku": "A", **{name: str(units.get(name, 0)) for name in _UNITS}}] if units else []
    name = f"TRANSFER_EVENT_KIND_{kind}"
    return {"number": number, "kind": name, "note": note, "lines": lines, "recorded_at": at(second)}


def _transfer(number: int, state: str, quantity: int, events: list[dict[str, Any]], **units: int) -> dict[str, Any]:
    names = ("shipped", "received", "damaged", "quality_control", "lost", "surplus", "outstanding")
    line = {"sku": "A", "quantity": str(quantity), **{name: str(units.get(name, 0)) for name in names}}
    return {
        "id": f"trf_{number}", "number": f"TR-{number:06d}", "from_location_id": AWAY, "to_location_id": NEAR,
        "state": f"TRANSFER_STATE_{state}", "lines": [line], "reservation_id": f"rsv_{number + 7}", "events": events,
        "reference": "sending" if number == 1 else "sending none", "stock_effect": "DOCUMENT_EFFECT_APPLIED",
    }  # fmt: skip


def sent() -> dict[str, Any]:
    """The transfer that was shipped and received in part, as the API tells it."""
    events = [
        _event(1, "CREATED", 1.5),
        _event(2, "READY", 3),
        _event(3, "SHIPPED", 4, "shipping", shipped=4),
        _event(4, "RECEIVED", 5, "unloading", accepted=1, damaged=1, lost=1),
    ]
    return _transfer(1, "PARTIALLY_RECEIVED", 5, events, shipped=4, received=2, damaged=1, lost=1, outstanding=1)


def cancelled() -> dict[str, Any]:
    """The one that was given up."""
    events = [_event(1, "CREATED", 4.5), _event(2, "READY", 6), _event(3, "CANCELLED", 7, "changing its mind")]
    return _transfer(2, "CANCELLED", 2, events)


def count() -> dict[str, Any]:
    """The cycle count, as the API tells it."""
    line = {"sku": "A", "counted": "5", "expected": "6", "variance": "-1", "superseded": False, "counted_at": at(7.5)}
    return {
        "id": "cnt_1", "number": "CNT-000001", "location_id": AWAY, "state": "CYCLE_COUNT_STATE_APPROVED",
        "stock_effect": "DOCUMENT_EFFECT_APPLIED", "counted": [line],
    }  # fmt: skip


def _document_calls() -> list[Call]:
    told = {"transfer": "trf_1"}
    ends = {"from_location_id": AWAY, "to_location_id": NEAR}
    come = {"A": {"accepted": 1, "damaged": 1, "lost": 1}}
    made, given_up, opened = sent(), cancelled(), count()
    calls = [
        call("transfer_draft", "sending", {"lines": {"A": 5}, **ends}, attempt(1.5, made, status=201)),
        call("transfer_ready", "preparing", {**told, "lines": {"A": 5}}, attempt(3, made)),
        call("transfer_ship", "shipping", {**told, "lines": {"A": 4}}, attempt(4, made)),
        call("transfer_receive", "unloading", {**told, "lines": come}, attempt(5, made), attempt(5.5, made)),
        call("transfer_receive", "losing", {**told, "lines": {"A": {"lost": 9}}}, refusal(6, "INVALID_REQUEST")),
        call("transfer_cancel", "too late to cancel", told, refusal(5, "ILLEGAL_TRANSITION", {"from": "IN_TRANSIT"})),
        call("transfer_draft", "sending none", {"lines": {"A": 2}, **ends}, attempt(4.5, given_up, status=201)),
        call("transfer_ready", "preparing none", {"transfer": "trf_2", "lines": {"A": 2}}, attempt(6, given_up)),
        call("transfer_cancel", "changing its mind", {"transfer": "trf_2"}, attempt(7, given_up)),
        call("count_open", "opening a count", {"skus": ["A"]}, attempt(7.2, opened, status=201)),
        call("count_record", "noting", {"count": "cnt_1", "counted": {"A": 5}}, attempt(7.5, {})),
        call("count_submit", "handing in", {"count": "cnt_1"}, attempt(7.6, opened)),
        call("count_approve", "approving", {"count": "cnt_1"}, attempt(8, opened)),
    ]
    for each in calls:
        each.location = AWAY
    return calls


def _calls() -> list[Call]:
    asked = {5: {"S": 1}}
    holding = [
        call(
            "source" if key == "sourcing" else "reserve",
            key,
            {"lines": asked.get(number, lines)},
            attempt(seq, hold(number, "ACTIVE"), status=201),
        )
        for number, (_, lines, seq, _, key) in _HOLDS.items()
        if number in _CALLED
    ]
    short_of_sets = [{"sku": "S", "available": "3"}, {"sku": "A", "available": "0"}]
    adjusted = level("A", on_hand=15, reserved=2, version=3)
    counted = level("A", on_hand=14, reserved=2, version=4)
    moved = level("B", on_hand=10, reserved=1, damaged=1, version=3)
    lost = Attempt(START + 2.6, START + 2.7, 0, "NO_ANSWER")
    return [
        *holding,
        *_document_calls(),
        call("adjust", "adjusting", {"sku": "A", "delta": 5}, lost, attempt(3, adjusted), attempt(3.5, adjusted)),
        call("count", "counting", {"counts": {"A": [15, 14]}}, attempt(4, {"levels": [counted]})),
        call("move", "moving", {"sku": "B", "from": "SELLABLE", "to": "DAMAGED", "quantity": 1}, attempt(5, moved)),
        call("confirm", "confirming", {"hold": "rsv_1"}, attempt(7, hold(1, "CONFIRMED"))),
        call("extend", "extending", {"hold": "rsv_3"}, attempt(11.5, hold(3))),
        call("release", "releasing", {"hold": "rsv_4"}, attempt(13, hold(4))),
        call("sale", "selling", {"lines": {"A": 1, "B": 1}, "hold": "rsv_1"}, attempt(8.5, order("PENDING"), status=201)),
        call(
            "bulk",
            "many",
            {"lines": [
                {"location_id": HERE, "sku": "B", "reference": "many#0", "delta": "-1"},
                {"location_id": HERE, "sku": "B", "reference": "many#1", "expected_on_hand": "3", "on_hand": "4"},
            ]},
            attempt(10, {"results": [{"index": 0, "level": level("B", on_hand=8, damaged=1, version=6)},
                                     {"index": 1, "error": {"details": [{"reason": "QUANTITY_STALE"}]}}]}),
        ),
        call("read", "reading", {"sku": "A"}, attempt(11, level("A", on_hand=13, reserved=1, version=9))),
        call("reserve", "too much", {"lines": {"A": 99, "B": 1}}, refusal(5, "INSUFFICIENT_STOCK", lines=[{"sku": "A", "available": "12"}])),
        call("sale", "selling a set", {"lines": {"S": 1}, "hold": ""}, attempt(16, order_of_sets(), status=201)),
        call("read", "reading a set", {"sku": "S"}, attempt(16.5, {"sku": "S", "available": "4"})),
        call("reserve", "too many", {"lines": {"S": 4, "A": 1}}, refusal(16.5, "INSUFFICIENT_STOCK", lines=short_of_sets)),
        call("source", "nowhere", {"lines": {"S": 4}}, refusal(16.5, "INSUFFICIENT_STOCK", lines=[{"sku": "S", "available": "3"}])),
        call("count", "too late", {"counts": {"A": [10, 9]}}, refusal(5, "QUANTITY_STALE", lines=[{"sku": "A", "on_hand": "14"}])),
        call("adjust", "too little", {"sku": "B", "delta": -50}, refusal(10, "QUANTITY_BELOW_ZERO", {"quantity": "7"})),
        call("confirm", "in vain", {"hold": "rsv_2"}, refusal(9, "RESERVATION_ENDED", {"state": "EXPIRED"})),
        Call("intrude", "furniture", HERE, "spying", {"path": "/v1"}, [refusal(5, "NOT_FOUND")]),
    ]  # fmt: skip


def _stream(made: History) -> Stream:
    """A till that came at position 1 and lost its connection once."""
    ledger = model.Ledger(made.end.movements[HERE])
    versions = {"A": 1, "B": 1}
    bundles = model.Bundles(made.bundles)

    def the_bundle(seq: int) -> list[int]:
        available = bundles.within("S", {sku: ledger.at(sku, seq).available for sku in "AB"})
        return [available, (1 << 40) + sum(versions.values())]

    opening = {"A": [*ledger.at("A", 1), 1], "B": [*ledger.at("B", 1), 1], "S": the_bundle(1)}
    events: list[dict[str, Any]] = [{"kind": "snapshot", "seq": 1, "last": True, "levels": opening}]
    for step in ledger.steps[1:]:
        changes = []
        for sku in dict.fromkeys(line.sku for line in step.lines):
            versions[sku] += 1
            changes.append([step.seq, sku, [*ledger.at(sku, step.seq), versions[sku]]])
        changes.append([step.seq, "S", the_bundle(step.seq)])
        events.append({"kind": "changes", "from": step.seq, "to": step.seq, "changes": changes})
        if step.seq == 6:
            events += [{"kind": "progress", "seq": 6}, {"kind": "broken", "why": "UNAVAILABLE"}]
    return Stream("grpc beauty 1", "grpc", "beauty", HERE, events)
