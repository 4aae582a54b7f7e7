"""A rush of five buyers for three units at two shops, made by hand: two buy, one changes its mind, two come to nothing.

R is what there are three of, RS a bundle of it and of G.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.prove.by_hand import START, at, attempt, call, level, movements, refusal
from tests.prove.history import Call, History

LEFT, RIGHT = "loc_left", "loc_right"
SET: Final = {"R": 1, "G": 1}
_PRICES: Final = {"R": 700, "RS": 1_300}

_LEFT: Final = [
    (1, "count", "opening forced: opening", [("R", "EXTERNAL", "SELLABLE", 2, "OPENING"), ("G", "EXTERNAL", "SELLABLE", 5, "OPENING")]),
    (2, "reservation", "rsv_21", [("R", "SELLABLE", "RESERVED", 2, "HOLD"), ("G", "SELLABLE", "RESERVED", 1, "HOLD")]),
    (3, "reservation", "rsv_21", [("R", "RESERVED", "ALLOCATED", 2, "HOLD_CONFIRMED"), ("G", "RESERVED", "ALLOCATED", 1, "HOLD_CONFIRMED")]),
]  # fmt: skip
_RIGHT: Final = [
    (1, "count", "opening forced: opening", [("R", "EXTERNAL", "SELLABLE", 1, "OPENING"), ("G", "EXTERNAL", "SELLABLE", 5, "OPENING")]),
    (2, "reservation", "rsv_22", [("R", "SELLABLE", "RESERVED", 1, "HOLD"), ("G", "SELLABLE", "RESERVED", 1, "HOLD")]),
    (3, "reservation", "rsv_22", [("R", "RESERVED", "ALLOCATED", 1, "HOLD_CONFIRMED"), ("G", "RESERVED", "ALLOCATED", 1, "HOLD_CONFIRMED")]),
    (4, "reservation", "rsv_22", [("R", "ALLOCATED", "SELLABLE", 1, "HOLD_RELEASED"), ("G", "ALLOCATED", "SELLABLE", 1, "HOLD_RELEASED")]),
    (5, "reservation", "rsv_24", [("R", "SELLABLE", "RESERVED", 1, "HOLD")]),
    (6, "reservation", "rsv_24", [("R", "RESERVED", "SELLABLE", 1, "HOLD_RELEASED")]),
    (7, "reservation", "rsv_23", [("R", "SELLABLE", "RESERVED", 1, "HOLD")]),
    (8, "reservation", "rsv_23", [("R", "RESERVED", "ALLOCATED", 1, "HOLD_CONFIRMED")]),
]  # fmt: skip


def add(of: History) -> None:
    """Puts it into a history of other things."""
    of.locations["beauty"] += [LEFT, RIGHT]
    of.bundles["RS"] = SET
    of.calls += _calls()
    of.rushes = [{"tenant": "beauty", "sku": "R", "bundle": "RS", "units": 3, "buyers": 5, "sold_out": True}]
    end = of.end
    end.levels[LEFT] = {
        "R": level("R", location=LEFT, on_hand=2, allocated=2, version=3),
        "G": level("G", location=LEFT, on_hand=5, allocated=1, version=3),
    }
    end.levels[RIGHT] = {
        "R": level("R", location=RIGHT, on_hand=1, allocated=1, version=8),
        "G": level("G", location=RIGHT, on_hand=5, version=4),
    }
    end.movements |= {LEFT: movements(LEFT, _LEFT), RIGHT: movements(RIGHT, _RIGHT)}
    end.reservations[LEFT] = [_hold(21, LEFT, "CONFIRMED", 2, {"R": 2, "G": 1})]
    end.reservations[RIGHT] = [
        _hold(22, RIGHT, "RELEASED", 2, {"R": 1, "G": 1}),
        _hold(24, RIGHT, "RELEASED", 5, {"R": 1}),
        _hold(23, RIGHT, "CONFIRMED", 7, {"R": 1}),
    ]
    end.sales |= {LEFT: [], RIGHT: []}
    end.bundles |= {LEFT: {"RS": 0}, RIGHT: {"RS": 0}}
    end.orders = {order["id"]: order for order in (bought(), changed_mind(), reserved_money(), declined(), too_late())}
    end.stored = {account["id"]: account for account in _accounts()}
    end.liability = {"beauty": [_owed("GIFT_CARD", 1_500, 200), _owed("STORE_CREDIT", 500, 0)], "furniture": []}
    end.bank = [
        _intent("ord_21", "sim_timeout", authorised=2_000, captured=2_000),
        _intent("ord_23", "sim_ok", authorised=500),
        _intent("ord_24", "sim_declined_stolen"),
    ]
    end.sagas = [{"order_id": name, "kind": 1, "live": False, "deadline_at": START + 120} for name in end.orders]
    end.read_at = START + 60


def _hold(number: int, location: str, state: str, seq: int, lines: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": f"rsv_{number}", "location_id": location, "state": f"RESERVATION_STATE_{state}",
        "lines": [{"sku": sku, "quantity": str(units)} for sku, units in lines.items()], "expires_at": at(900),
        "order_ref": f"ord_{number}", "created_at": at(seq), "created_seq": str(seq),
    }  # fmt: skip


def _money(minor_units: int) -> dict[str, str]:
    return {"currency_code": "EUR", "minor_units": str(minor_units)}


def _payment(name: str, provider: str, **sums: int) -> dict[str, Any]:
    told = {each: _money(sums.get(each, 0)) for each in ("authorized", "captured", "refunded", "voided")}
    return {"id": f"pay_{name}", "provider": f"PAYMENT_PROVIDER_{provider}", "unknown": False, **told}


def _order(
    number: int, key: str, state: str, lines: Mapping[str, int], payments: Sequence[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    def total(name: str) -> int:
        return sum(int(payment[name]["minor_units"]) for payment in payments)

    return {
        "id": f"ord_{number}", "external_reference": key, "state": f"ORDER_STATE_{state}", "location_id": LEFT,
        "lines": [{"sku": sku, "quantity": str(units)} for sku, units in lines.items()],
        "total": _money(sum(_PRICES[sku] * units for sku, units in lines.items())), "groups": [], "payments": list(payments),
        "payment": {
            "capture": "CAPTURE_TIME_PLACEMENT", "captured": _money(total("captured")), "refunded": _money(total("refunded")),
            "authorised": _money(total("authorized") - total("captured") - total("voided")),
        },
        **more,
    }  # fmt: skip


def _group(location: str, lines: Mapping[str, int]) -> dict[str, Any]:
    return {"location_id": location, "lines": [{"sku": sku, "quantity": str(units)} for sku, units in lines.items()]}


def bought() -> dict[str, Any]:
    """By a card, at once."""
    paid = _payment("21", "SIMULATED", authorized=2_000, captured=2_000)
    groups = [_group(LEFT, {"R": 1}), _group(LEFT, {"R": 1, "G": 1})]
    return _order(21, "buying", "PLACED", {"R": 1, "RS": 1}, [paid], groups=groups)


def changed_mind() -> dict[str, Any]:
    """Bought with a gift card, and given back."""
    paid = _payment("22", "GIFT_CARD", authorized=1_300, captured=1_300, refunded=1_300)
    groups = [_group(RIGHT, {"R": 1, "G": 1})]
    return _order(22, "buying in haste", "CANCELLED", {"RS": 1}, [paid], groups=groups, placed_at=at(3))


def reserved_money() -> dict[str, Any]:
    """With a gift card and a card, whose money is taken later."""
    paid = [_payment("23a", "GIFT_CARD", authorized=200), _payment("23b", "SIMULATED", authorized=500)]
    order = _order(23, "buying on account", "PLACED", {"R": 1}, paid, groups=[_group(RIGHT, {"R": 1})])
    order["payment"]["capture"] = "CAPTURE_TIME_FULFILLMENT"
    return order


def declined() -> dict[str, Any]:
    """With store credit, which was let go of, and a card that was declined."""
    paid = [_payment("24a", "STORE_CREDIT", authorized=200, voided=200), _payment("24b", "SIMULATED")]
    return _order(24, "buying without money", "CANCELLED", {"R": 1}, paid)


def too_late() -> dict[str, Any]:
    """Nothing was left."""
    return _order(25, "buying too late", "CANCELLED", {"R": 1}, [])


def _accounts() -> list[dict[str, Any]]:
    haste = [("ISSUE", 1_300, ""), ("HOLD", 1_300, "pay_22"), ("REDEEM", 1_300, "pay_22"), ("REFUND", 1_300, "pay_22")]
    return [
        _account(1, 1_300, 0, haste),
        _account(2, 0, 200, [("ISSUE", 200, ""), ("HOLD", 200, "pay_23a")]),
        _account(3, 500, 0, [("ISSUE", 500, ""), ("HOLD", 200, "pay_24a"), ("RELEASE", 200, "pay_24a")]),
    ]


_BOOKS: Final = {
    "ISSUE": ("FUNDING", "AVAILABLE"), "HOLD": ("AVAILABLE", "HELD"), "RELEASE": ("HELD", "AVAILABLE"),
    "REDEEM": ("HELD", "REDEEMED"), "REFUND": ("REDEEMED", "AVAILABLE"),
}  # fmt: skip


def _account(number: int, available: int, held: int, entries: Sequence[tuple[str, int, str]]) -> dict[str, Any]:
    rows = [
        {
            "kind": f"STORED_VALUE_ENTRY_KIND_{kind}", "amount": _money(amount), "payment_id": payment,
            "from_book": f"STORED_VALUE_BOOK_{_BOOKS[kind][0]}", "to_book": f"STORED_VALUE_BOOK_{_BOOKS[kind][1]}",
        }
        for kind, amount, payment in entries
    ]  # fmt: skip
    return {"id": f"gft_{number}", "available": _money(available), "held": _money(held), "entries": rows}


def _owed(kind: str, balance: int, held: int) -> dict[str, Any]:
    sums = {"issued": balance, "balance": balance, "held": held, "redeemed": 0, "written_off": 0}
    told = {name: _money(amount) for name, amount in sums.items()}
    return {"kind": f"STORED_VALUE_KIND_{kind}", "differing": "0", **told}


def _intent(order: str, method: str, **sums: int) -> dict[str, Any]:
    told = {name: sums.get(name, 0) for name in ("authorised", "captured", "refunded", "cancelled")}
    return {"reference": f"sim_{order}", "order_id": order, "method": method, **told}


def _calls() -> list[Call]:
    def facts(order: dict[str, Any], **more: Any) -> dict[str, Any]:
        lines = {line["sku"]: int(line["quantity"]) for line in order["lines"]}
        total = int(order["total"]["minor_units"])
        return {
            "lines": lines,
            "total": total,
            "split": "LINES",
            "tenders": [],
            "later": False,
            "doubtful": False,
            **more,
        }

    short = [{"line_numbers": [1], "shortage": {"sku": "R", "available": "0"}}]
    lost = attempt(2.5, None, "NO_ANSWER", 0)
    calls = [
        call("gift_card", "a present", {"amount": 1_300}, attempt(0.5, {"id": "gft_1"})),
        call("gift_card", "a small present", {"amount": 200}, attempt(0.5, {"id": "gft_2"})),
        call("store_credit", "a favour", {"amount": 500}, attempt(0.5, {"id": "gft_3"})),
        call("order", "buying", facts(bought()), lost, attempt(3, bought())),
        call("order", "buying in haste", facts(changed_mind()), attempt(3, {"id": "ord_22"})),
        call("order_cancel", "changing one's mind", {"order": "ord_22"}, attempt(4, changed_mind())),
        call("order", "buying without money", facts(declined(), doubtful=True), refusal(6, "PAYMENT_DECLINED")),
        call("order", "buying on account", facts(reserved_money(), later=True), attempt(8, reserved_money())),
        call("order", "buying too late", facts(too_late()), refusal(9, "INSUFFICIENT_STOCK", lines=short)),
    ]
    for each in calls:
        each.location = LEFT
    return calls
