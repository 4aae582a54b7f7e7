"""A shelf of a SKU that is kept by lots, made by hand: held and sold first expired first and as scanned, recalled, at its end.

L1 ends on the day of the history, L2 lives for some weeks and is recalled, L3 has no end; some of it goes to the cellar.
"""

from __future__ import annotations

from typing import Any, Final

from tests.prove.by_hand import at, attempt, call, level, movements, refusal
from tests.prove.history import Call, History

FRIDGE, CELLAR = "loc_fridge", "loc_cellar"
SOON, WEEKS = "2027-01-15", "2027-03-01"

_LEDGER: Final = [
    (1, "reference", "bringing the first", [("L", "EXTERNAL", "SELLABLE", 3, "CORRECTION", "L1")]),
    (2, "reference", "bringing the second", [("L", "EXTERNAL", "SELLABLE", 3, "CORRECTION", "L2")]),
    (3, "reference", "bringing the third", [("L", "EXTERNAL", "SELLABLE", 2, "CORRECTION", "L3")]),
    (4, "reservation", "rsv_31", [("L", "SELLABLE", "RESERVED", 2, "HOLD", "L1")]),
    (5, "reservation", "rsv_32", [("L", "SELLABLE", "RESERVED", 1, "HOLD", "L2")]),
    (6, "sale", "ord_31", [("L", "SELLABLE", "EXTERNAL", 1, "SALE", "L1"), ("L", "SELLABLE", "EXTERNAL", 1, "SALE", "L2")]),
    (7, "sale", "ord_32", [("L", "SELLABLE", "EXTERNAL", 1, "SALE", "L3")]),
    (8, "lot", "L2", [("L", "SELLABLE", "QUALITY_CONTROL", 1, "RECALL", "L2")]),
    (9, "reservation", "rsv_32", [("L", "RESERVED", "SELLABLE", 1, "HOLD_RELEASED", "L2"), ("L", "SELLABLE", "QUALITY_CONTROL", 1, "RECALL", "L2")]),
    (10, "sale", "ord_33", [("L", "QUALITY_CONTROL", "EXTERNAL", 1, "SALE", "L2")]),
    (11, "reservation", "rsv_31", [("L", "RESERVED", "SELLABLE", 2, "HOLD_RELEASED", "L1"), ("L", "SELLABLE", "EXPIRED", 2, "EXPIRED", "L1")]),
    (12, "reservation", "rsv_33", [("L", "SELLABLE", "RESERVED", 1, "HOLD", "L3")]),
    (13, "reference", "bringing more", [("L", "EXTERNAL", "SELLABLE", 2, "CORRECTION", "L3")]),
    (14, "reservation", "rsv_34", [("L", "SELLABLE", "RESERVED", 2, "HOLD", "L3")]),
    (15, "reservation", "rsv_34", [("L", "RESERVED", "ALLOCATED", 2, "HOLD_CONFIRMED", "L3")]),
    (16, "transfer", "TR-000003/3", [("L", "ALLOCATED", "EXTERNAL", 2, "TRANSFER_OUT", "L3")]),
]  # fmt: skip
_CELLAR: Final = [
    (1, "transfer", "TR-000003/3", [("L", "EXTERNAL", "IN_TRANSIT", 2, "TRANSFER_IN", "L3")]),
    (2, "transfer", "TR-000003/4", [("L", "IN_TRANSIT", "SELLABLE", 1, "TRANSFER_RECEIVED", "L3")]),
]  # fmt: skip


def add(of: History) -> None:
    """Puts it into a history of other things."""
    of.locations["beauty"] += [FRIDGE, CELLAR]
    of.calls += _calls()
    end = of.end
    end.levels[FRIDGE] = {
        "L": level("L", location=FRIDGE, on_hand=4, reserved=1, quality_control=1, expired=2, version=12)
    }
    cellar = level("L", location=CELLAR, on_hand=1, in_transit=1, version=2)
    end.levels[CELLAR] = {"L": cellar | {"incoming": [{"quantity": "1", "eta": at(900), "reference": "TR-000003"}]}}
    end.movements |= {FRIDGE: movements(FRIDGE, _LEDGER), CELLAR: movements(CELLAR, _CELLAR)}
    end.transfers["trf_3"] = carried()
    end.reservations[FRIDGE] = [
        _hold(31, "RELEASED", 4, "L1"),
        _hold(32, "RELEASED", 5, "L2"),
        _hold(33, "ACTIVE", 12, "L3"),
        _hold(34, "CONSUMED", 14, "L3"),
    ]
    end.reservations[CELLAR], end.sales[CELLAR] = [], []
    end.sales[FRIDGE] = [_sale(31), _sale(32), _sale(33)]
    end.lots[FRIDGE] = {
        "L": [_stock("L1", on_hand=2, expired=2), _stock("L2", on_hand=1, quality_control=1), _stock("L3", on_hand=1, reserved=1)]
    }  # fmt: skip
    end.lots[CELLAR] = {"L": [_stock("L3", on_hand=1, in_transit=1)]}
    sold = {"kind": "STOCK_EXCEPTION_KIND_RECALLED_LOT_SOLD", "reference_id": "ord_33", "lot": "L2", "sku": "L"}
    end.exceptions[FRIDGE] = [sold]


_KEYS: Final = {31: "holding the first", 32: "holding for long", 33: "holding the last", 34: "TR-000003"}
_UNITS: Final = {31: 2, 32: 1, 33: 1, 34: 2}


def _hold(number: int, state: str, seq: int, lot: str) -> dict[str, Any]:
    return {
        "id": f"rsv_{number}", "location_id": FRIDGE, "state": f"RESERVATION_STATE_{state}",
        "lines": [{"sku": "L", "quantity": str(_UNITS[number]), "lot": lot}], "expires_at": at(900),
        "order_ref": _KEYS[number], "created_at": at(seq), "created_seq": str(seq),
    }  # fmt: skip


def _sale(number: int, effect: str = "APPLIED") -> dict[str, Any]:
    return {
        "id": f"ord_{number}", "location_id": FRIDGE, "client_sale_id": f"selling {number}", "version": "1",
        "lines": [{"sku": "L", "quantity": str(_UNITS[number])}], "stock_effect": f"STOCK_EFFECT_{effect}",
    }  # fmt: skip


def carried() -> dict[str, Any]:
    """The transfer to the cellar, of which one has come."""
    names = ("shipped", "accepted", "damaged", "quality_control", "lost", "surplus")

    def event(number: int, kind: str, note: str = "", **units: int) -> dict[str, Any]:
        line = {"sku": "L", "lot": "", **{name: str(units.get(name, 0)) for name in names}}
        told = {"number": number, "kind": f"TRANSFER_EVENT_KIND_{kind}", "note": note, "lines": [line] if units else []}
        return told | {"recorded_at": at(12.5 + number)}

    of_lot = {
        "lot": "L3",
        "shipped": "2",
        "received": "1",
        "lost": "0",
        "mistaken": "0",
        "surplus": "0",
        "outstanding": "1",
    }
    line = {"sku": "L", "quantity": "2", "shipped": "2", "received": "1", "outstanding": "1", "lots": [of_lot]}
    events = [
        event(1, "CREATED"), event(2, "READY"), event(3, "SHIPPED", "carrying", shipped=2),
        event(4, "RECEIVED", "setting down", accepted=1),
    ]  # fmt: skip
    return {
        "id": "trf_3", "number": "TR-000003", "from_location_id": FRIDGE, "to_location_id": CELLAR,
        "state": "TRANSFER_STATE_PARTIALLY_RECEIVED", "stock_effect": "DOCUMENT_EFFECT_APPLIED", "events": events,
        "lines": [line | dict.fromkeys(("damaged", "quality_control", "lost", "surplus"), "0")],
        "reservation_id": "rsv_34", "reference": "carrying down",
    }  # fmt: skip


def _stock(lot: str, **counters: int) -> dict[str, Any]:
    return {"lot": lot, **{name: str(units) for name, units in counters.items()}}


def _calls() -> list[Call]:
    def lot(code: str, expires_on: str) -> Call:
        facts = {"sku": "L", "code": code, "expires_on": expires_on}
        return call("lot_create", f"making {code}", facts, attempt(0.5, {"id": f"lot_{code}", "code": code}))

    def bring(name: str, second: int, code: str, units: int, **counters: int) -> Call:
        left = level("L", location=FRIDGE, version=second, **counters)
        return call("adjust", name, {"sku": "L", "delta": units, "lot": code}, attempt(second, left))

    def hold(number: int, channel: str, seq: int, code: str) -> Call:
        facts = {"lines": {"L": _UNITS[number]}, "channel": channel}
        return call("reserve", _KEYS[number], facts, attempt(seq, _hold(number, "ACTIVE", seq, code), status=201))

    def sale(number: int, second: float, named: str) -> Call:
        facts = {"lines": {"L": _UNITS[number]}, "hold": "", "lot": named}
        return call("sale", f"selling {number}", facts, attempt(second, _sale(number, "PENDING"), status=201))

    calls = [
        lot("L1", SOON), lot("L2", WEEKS), lot("L3", ""),
        bring("bringing the first", 1, "L1", 3, on_hand=3), bring("bringing the second", 2, "L2", 3, on_hand=6), bring("bringing the third", 3, "L3", 2, on_hand=8),
        hold(31, "", 4, "L1"), hold(32, "web", 5, "L2"),
        sale(31, 6, ""), sale(32, 7, "L3"),
        call("lot_recall", "recalling", {"sku": "L", "code": "L2"}, attempt(7.6, {"id": "lot_L2"})),
        call("release", "letting go of what is recalled", {"hold": "rsv_32"}, attempt(9, _hold(32, "RELEASED", 5, "L2"))),
        sale(33, 9.8, "L2"),
        call("lot_date", "reading the label again", {"sku": "L", "code": "L1"}, attempt(10.5, {"id": "lot_L1"})),
        call("release", "letting go of what is over", {"hold": "rsv_31"}, attempt(11, _hold(31, "RELEASED", 4, "L1"))),
        call("reserve", "holding too much for long", {"lines": {"L": 6}, "channel": "web"}, refusal(5, "INSUFFICIENT_STOCK", lines=[{"sku": "L", "available": "4"}])),
        hold(33, "web", 12, "L3"),
        bring("bringing more", 13, "L3", 2, on_hand=6, reserved=1, quality_control=1, expired=2),
        call("transfer_draft", "carrying down", {"lines": {"L": 2}}, attempt(13.5, carried(), status=201)),
        call("transfer_ready", "getting ready", {"transfer": "trf_3", "lines": {"L": 2}}, attempt(15, carried())),
        call("transfer_ship", "carrying", {"transfer": "trf_3", "lines": {"L": 2}}, attempt(16, carried())),
        call("transfer_receive", "setting down", {"transfer": "trf_3", "lines": {"L": {"accepted": 1}}}, attempt(16.5, carried())),
    ]  # fmt: skip
    for each in calls:
        each.location = FRIDGE
    return calls
