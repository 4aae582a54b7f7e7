"""Every way that we could think of in which promises about lots are broken. test_checker.py sees each found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.prove import broken
from tests.prove.broken import Break, named
from tests.prove.by_hand import START
from tests.prove.history import History
from tests.prove.made_lots import CELLAR, FRIDGE

ADD_UP: Final = "lots add up to the level, and are those of the ledger"
FIRST_OUT: Final = "lots leave first expired first"
ASIDE: Final = "lots that may not be sold are put aside, and told"
ONCE: Final = "each accepted change is in the ledger once"
TRANSFERRED: Final = "transfers lose and make no unit"
SOLD: Final = "every sale takes its stock once"
ENDED: Final = "holds end once and on time"
TRUE: Final = "refusals were true"


def _movement(seq: int, **changes: str) -> Break:
    return broken.movement(FRIDGE, seq, **changes)


def _second(seq: int, change: Callable[[dict[str, Any]], None]) -> Break:
    """Another second line of a position."""

    def changed(of: History) -> None:
        change([row for row in of.end.movements[FRIDGE] if row["seq"] == str(seq)][1])

    return changed


def _without_second(seq: int) -> Break:
    """What came back is not put aside."""

    def changed(of: History) -> None:
        of.end.movements[FRIDGE].remove([row for row in of.end.movements[FRIDGE] if row["seq"] == str(seq)][1])

    return changed


def _stock(number: int, **counters: str) -> Break:
    return lambda of: of.end.lots[FRIDGE]["L"][number].update(counters)


def _known_before(key: str, second: float) -> Break:
    """A lot's end had been acknowledged so early."""

    def changed(of: History) -> None:
        named(of, key).attempts[0].begun = named(of, key).attempts[0].ended = START + second

    return changed


def _exceptions(change: Callable[[list[dict[str, Any]]], None]) -> Break:
    return lambda of: change(of.end.exceptions[FRIDGE])


def _ended_yesterday(key: str) -> Break:
    """The date of a lot was over before the day began."""
    return lambda of: named(of, key).facts.update(expires_on="2027-01-14")


BROKEN: Final[dict[str, tuple[str, Break]]] = {
    "lots come to less than the level": (ADD_UP, _stock(0, on_hand="1")),
    "a lot is not what the ledger says": (ADD_UP, lambda of: (_stock(0, on_hand="1")(of), _stock(2, on_hand="2")(of))[0]),
    "a lot is lost": (ADD_UP, lambda of: of.end.lots[FRIDGE]["L"].pop(0)),
    "units are of a lot that nobody made": (ADD_UP, _movement(1, lot="L9")),
    "a lot gets another name": (ADD_UP, lambda of: named(of, "making L1").attempts[0].body.update(code="L9")),
    "units of another lot arrive": (ONCE, _movement(3, lot="L1")),
    "a hold takes a lot before the one that ends first": (FIRST_OUT, _movement(4, lot="L2")),
    "a hold takes units of no lot before those of one": (FIRST_OUT, _movement(4, lot="")),
    "a hold for long takes what ends soon": (FIRST_OUT, _movement(5, lot="L1")),
    "a sale takes a lot before the one that ends first": (FIRST_OUT, _second(6, lambda row: row.update(lot="L3"))),
    "a sale takes another lot than was scanned": (FIRST_OUT, _movement(7, lot="L2")),
    "a hold takes a lot that was recalled": (FIRST_OUT, _known_before("recalling", 3.5)),
    "a sale takes a lot that was recalled": (FIRST_OUT, _known_before("recalling", 5.5)),
    "a sale takes a lot whose date was corrected": (FIRST_OUT, _known_before("reading the label again", 5.5)),
    "a hold takes a lot whose time is over": (FIRST_OUT, _ended_yesterday("making L1")),
    "a lot is put aside that may be sold": (ASIDE, _known_before("recalling", 8.8)),
    "a lot is put aside before its end": (ASIDE, _movement(8, lot="L3", reason="MOVEMENT_REASON_EXPIRED")),
    "a part of a recalled lot stays on sale": (ASIDE, broken.without(FRIDGE, 8)),
    "more is put aside than is free": (ASIDE, _movement(8, quantity="2")),
    "a recalled lot is put where expired ones are": (ASIDE, _movement(8, to_state="STOCK_STATE_EXPIRED")),
    "what comes back of a recalled lot is on sale": (ASIDE, _without_second(9)),
    "what comes back of an expired lot is on sale": (ASIDE, _without_second(11)),
    "nobody is told of a recalled lot that was sold": (ASIDE, _exceptions(lambda rows: rows.clear())),
    "a person is told of a lot that may be sold": (ASIDE, _exceptions(lambda rows: rows.append(rows[0] | {"reference_id": "ord_32", "lot": "L3"}))),
    "a person is told of a sale that was none": (ASIDE, _exceptions(lambda rows: rows.append(rows[0] | {"reference_id": "ord_99"}))),
    "a sale takes more of a lot than was sold": (SOLD, _movement(7, quantity="2")),
    "a hold gives back another number of units": (ENDED, _movement(11, quantity="1")),
    "another lot sets out than left": (TRANSFERRED, broken.movement(CELLAR, 1, lot="L1")),
    "another lot comes off the road than set out": (TRANSFERRED, broken.movement(CELLAR, 2, lot="L1")),
    "a transfer forgets which lot it carries": (TRANSFERRED, lambda of: of.end.transfers["trf_3"]["lines"][0]["lots"].clear()),
    "a transfer says that another lot came": (TRANSFERRED, lambda of: of.end.transfers["trf_3"]["lines"][0]["lots"][0].update(mistaken="1")),
    "a lot on the road is lost": (TRANSFERRED, lambda of: of.end.transfers["trf_3"]["lines"][0]["lots"][0].update(outstanding="0")),
    "short of what lives long enough": (TRUE, broken.told("holding too much for long", "available", "3")),
}  # fmt: skip
