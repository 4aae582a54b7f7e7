"""Every way that we could think of in which promises about orders are broken. test_checker.py sees each found."""

from __future__ import annotations

from typing import Any, Final

from tests.prove import broken, made_orders
from tests.prove.broken import Break, named, order
from tests.prove.by_hand import START, attempt
from tests.prove.history import History
from tests.prove.made_orders import LEFT, RIGHT

PLACED: Final = "orders are placed whole or hold nothing"
PAID: Final = "an order's money is taken once, or not at all"
STORED: Final = "gift cards and store credit add up"
STAYS: Final = "what buyers were told stays true"
SOLD_OUT: Final = "in a rush every unit is sold once, to the last"
FINISHED: Final = "placements and cancellations come to an end"
TRUE: Final = "refusals were true"
DECLARED: Final = "answers are declared, none is INTERNAL"
ONE_ANSWER: Final = "a key has one answer"


def _another_hold(state: str, number: int) -> Break:
    def changed(of: History) -> None:
        rows = [row for rows in of.end.reservations.values() for row in rows if row["id"] == f"rsv_{number}"]
        rows[0]["state"] = f"RESERVATION_STATE_{state}"

    return changed


def _payment(number: int, **sums: int) -> Break:
    """Other sums of an order's last payment, which the order tells too."""

    def changed(of: History) -> None:
        payment = of.end.orders[f"ord_{number}"]["payments"][-1]
        payment |= {name: {"currency_code": "EUR", "minor_units": str(amount)} for name, amount in sums.items()}

    return changed


def _bank(of_order: str, **books: Any) -> Break:
    def changed(of: History) -> None:
        next(row for row in of.end.bank if row["order_id"] == of_order).update(books)

    return changed


def _entry(account: int, number: int, **changes: Any) -> Break:
    return lambda of: of.end.stored[f"gft_{account}"]["entries"][number].update(changes)


def _a_second_order(of: History) -> None:
    of.end.orders["ord_30"] = made_orders.bought() | {"id": "ord_30"}


def _paid_and_gone(of: History) -> None:
    """The order is lost; its hold, its money and its buyer's answer are there."""
    del of.end.orders["ord_21"]


def _sold_to_one_more(of: History) -> None:
    """Cancelled by its buyer, and still counted."""
    of.end.orders["ord_22"]["state"] = "ORDER_STATE_PLACED"


def _one_unit_over(of: History) -> None:
    """A hold that nobody can see any more keeps the last one."""
    del of.end.orders["ord_23"]


def _too_early(of: History) -> None:
    """Refused when both shops had some."""
    named(of, "buying too late").attempts[0].begun = START + 1.1
    named(of, "buying too late").attempts[0].ended = START + 1.9


def _liability(**changes: Any) -> Break:
    return lambda of: of.end.liability["beauty"][0].update(changes)


_FIVE: Final = {"currency_code": "EUR", "minor_units": "5"}

BROKEN: Final[dict[str, tuple[str, Break]]] = {
    "an order is neither placed nor over": (PLACED, order(21, lambda o: o.update(state="ORDER_STATE_PENDING"))),
    "a placed order's units are only reserved": (PLACED, _another_hold("ACTIVE", 21)),
    "a placed order has no units": (PLACED, _another_hold("RELEASED", 21)),
    "half of an order is allocated": (PLACED, order(21, lambda o: o["groups"].pop())),
    "a group has another SKU than its hold": (PLACED, order(21, lambda o: o["groups"][0]["lines"][0].update(sku="G"))),
    "a cancelled order keeps its units": (PLACED, _another_hold("CONFIRMED", 22)),
    "an order that came to nothing holds units": (PLACED, _another_hold("ACTIVE", 24)),
    "units are held for an order that is not there": (PLACED, _paid_and_gone),
    "an order is paid twice": (PAID, _payment(21, captured=4_000, authorized=4_000)),
    "a placed order is not paid": (PAID, _payment(21, captured=0)),
    "less is set aside than the order costs": (PAID, _payment(23, authorized=400)),
    "money is taken that was to be taken later": (PAID, _payment(23, captured=500)),
    "a cancelled order's money is kept": (PAID, _payment(22, refunded=0)),
    "a declined order's money stays set aside": (PAID, _payment(24, authorized=500)),
    "a payment stays unknown": (PAID, order(21, lambda o: o["payments"][0].update(unknown=True))),
    "an order tells other sums than its payments": (PAID, order(21, lambda o: o["payment"].update(captured=_FIVE))),
    "the bank has taken more": (PAID, _bank("ord_21", captured=4_000)),
    "the bank has given back": (PAID, _bank("ord_21", refunded=2_000)),
    "the bank keeps money aside": (PAID, _bank("ord_24", authorised=500)),
    "the bank has let go of what we set aside": (PAID, _bank("ord_23", cancelled=1)),
    "the bank knows a payment of no order": (PAID, _bank("ord_24", order_id="ord_99")),
    "money is taken and the order is gone": (PAID, _paid_and_gone),
    "a card has more than its entries": (STORED, lambda of: of.end.stored["gft_1"].update(available=_FIVE)),
    "a card holds what it has let go of": (STORED, lambda of: of.end.stored["gft_3"].update(held=_FIVE)),
    "an entry goes into another book": (STORED, _entry(1, 2, to_book="STORED_VALUE_BOOK_AVAILABLE")),
    "a card is used twice for one order": (STORED, lambda of: of.end.stored["gft_2"]["entries"].append(of.end.stored["gft_2"]["entries"][1])),
    "a refund never reaches the card": (STORED, lambda of: of.end.stored["gft_1"]["entries"].pop()),
    "an entry is of a payment that is not there": (STORED, _entry(2, 1, payment_id="pay_99")),
    "value is held without a payment": (STORED, _entry(2, 1, payment_id="")),
    "a card is issued twice": (STORED, lambda of: of.end.stored.update(gft_9=of.end.stored["gft_2"] | {"entries": of.end.stored["gft_2"]["entries"][:1]})),
    "more is owed than there is on cards": (STORED, _liability(balance=_FIVE, issued=_FIVE)),
    "the liability doesn't add up": (STORED, _liability(redeemed=_FIVE)),
    "an account differs from its entries": (STORED, _liability(differing="1")),
    "a key has two orders": (STAYS, _a_second_order),
    "an accepted order is gone": (STAYS, _paid_and_gone),
    "an accepted order is cancelled by nobody": (STAYS, order(23, lambda o: o.update(state="ORDER_STATE_CANCELLED", placed_at="2027-01-15T08:00:09Z"))),
    "an accepted order came to nothing": (STAYS, order(23, lambda o: o.update(state="ORDER_STATE_EXPIRED"))),
    "a refused order is placed": (STAYS, order(25, lambda o: o.update(state="ORDER_STATE_PLACED"))),
    "a declined order is placed": (STAYS, order(24, lambda o: o.update(state="ORDER_STATE_PLACED"))),
    "an order has other lines than were asked for": (STAYS, order(21, lambda o: o["lines"][0].update(quantity="2"))),
    "an order costs something else": (STAYS, order(21, lambda o: o.update(total=_FIVE))),
    "a cancelled order goes on": (STAYS, _sold_to_one_more),
    "an order that nobody asked for": (STAYS, order(25, lambda o: o.update(external_reference="nobody"))),
    "a buyer is told another order": (STAYS, lambda of: named(of, "buying").attempts.append(attempt(4, {"id": "ord_24"}))),
    "one more is sold than there was": (SOLD_OUT, _sold_to_one_more),
    "a unit is sold to nobody": (SOLD_OUT, _one_unit_over),
    "a unit is left when all is sold": (SOLD_OUT, lambda of: of.rushes[0].update(units=4)),
    "less than nothing is there": (SOLD_OUT, broken.movement(RIGHT, 7, quantity="2")),
    "a level has lost a unit": (SOLD_OUT, lambda of: of.end.levels[LEFT]["R"].update(allocated="1")),
    "a placement is never ended": (FINISHED, lambda of: of.end.sagas[0].update(live=True, deadline_at=START + 1)),
    "short of what both shops had": (TRUE, _too_early),
    "declined though it could pay": (TRUE, lambda of: named(of, "buying without money").facts.update(doubtful=False)),
    "an order is refused for no declared reason": (DECLARED, lambda of: named(of, "buying").attempts.insert(0, attempt(2, {}, "INTERNAL"))),
    "a key has two orders by its answers": (ONE_ANSWER, lambda of: named(of, "buying").attempts.append(attempt(4, {"id": "ord_24"}))),
}  # fmt: skip
