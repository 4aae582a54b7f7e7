"""The proof: what the mesh answers about each store, compared with what the data says, to the cent and the unit."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge.replay import answers, data, expected, translate
from edge.replay.mesh import Mesh, each
from edge.replay.stocking import CALLS, Locations, Step

_POLL_SECONDS_FIRST: Final = 0.1
_POLL_SECONDS_MAX: Final = 2.0

FOLLOWED: Final = "Stock has followed each sale"
SALES: Final = "Each sale, once"
DAYS: Final = "Sales summary by day"
HOURS: Final = "Sales summary by day and hour"
SKUS: Final = "Sales summary by day and SKU"
TENDERS: Final = "Payments by day"
LEDGER: Final = "Ledger: units sold by day and SKU"
OPENING: Final = "Ledger: opening stock by week and SKU"
LEVELS: Final = "Stock on hand by SKU"
UNKNOWN: Final = "Items nobody knows: marked on their sales"
EXCEPTIONS: Final = "Items nobody knows: exceptions, and no others"
CHECKS: Final = (SALES, DAYS, HOURS, SKUS, TENDERS, FOLLOWED, LEDGER, OPENING, LEVELS, UNKNOWN, EXCEPTIONS)


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that the mesh says otherwise than the data; None: one of the two says nothing."""

    check: str
    store: int
    key: Any
    expected: Any
    found: Any


@dataclass(slots=True)
class Report:
    """How many figures each check compared, and those that differ.

    nameless: lines of known items that were recorded while the catalogue didn't answer. The contract allows it, and
    stock and sums are right all the same; but their names and categories are lost. dead_letters: where stock did not
    follow, events of the stores that Inventory could not apply, in words.
    """

    compared: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    nameless: int = 0
    dead_letters: list[str] = field(default_factory=list)

    def compare(self, check: str, store: int, wanted: Mapping[Any, Any], found: Mapping[Any, Any]) -> None:
        """Compares figures by key. A figure that one side lacks is a difference too."""
        self.compared[check] += len(wanted)
        for key in sorted(wanted.keys() | found.keys()):
            if wanted.get(key) != found.get(key):
                self.differences.append(Difference(check, store, key, wanted.get(key), found.get(key)))


async def prove(mesh: Mesh, chosen: data.Slice, locations: Locations, *, wait_seconds: float, step: Step) -> Report:
    """Compares all stores of the slice. wait_seconds: how long stock may take to follow the sales, all in all."""
    report = Report()
    stores = expected.of(chosen)
    deadline = time.monotonic() + wait_seconds

    async def look(store: int) -> None:
        place = answers.Place(mesh, chosen, store, locations[store])
        await _Proof(report, place, stores[store], deadline).run()
        step(1)

    await each(chosen.stores, CALLS, look)
    if any(difference.check == FOLLOWED for difference in report.differences):
        report.dead_letters = await answers.dead_letters(mesh, locations)
    return report


@dataclass(frozen=True, slots=True)
class _Proof:
    """The proof of one store."""

    report: Report
    place: answers.Place
    wanted: expected.Store
    deadline: float

    async def run(self) -> None:
        sales = await self._followed()
        self._compare(SALES, {(b, 1): s.figures() for b, s in self.wanted.baskets.items()}, sales.figures)
        await self._summaries()
        await self._stock()
        await self._unknown(sales)

    async def _unknown(self, sales: answers.Sales) -> None:
        units = {(basket, translate.code(p)): units for (basket, p), units in self.wanted.unknown.items()}
        self._compare(UNKNOWN, dict.fromkeys(units, True), dict.fromkeys(sales.unresolved & units.keys(), True))
        self.report.nameless += len(sales.unresolved - units.keys())
        wanted = {("unknown", *key): count for key, count in units.items()}
        self._compare(EXCEPTIONS, wanted, await self.place.exceptions(sales.baskets))

    def _compare(self, check: str, wanted: Mapping[Any, Any], found: Mapping[Any, Any]) -> None:
        self.report.compare(check, self.place.store, wanted, found)

    async def _followed(self) -> answers.Sales:
        """The store's sales, as soon as the stock has followed all of them."""
        pause = _POLL_SECONDS_FIRST
        while True:
            sales = await self.place.sales()
            if not sales.pending or time.monotonic() > self.deadline:
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, _POLL_SECONDS_MAX)
        applied = dict.fromkeys(self.wanted.baskets, "applied")
        self._compare(FOLLOWED, applied, applied | dict.fromkeys(sales.pending, "pending"))
        return sales

    async def _summaries(self) -> None:
        by_day, by_hour, by_sku = answers.BY_DAY, answers.BY_HOUR, answers.BY_SKU
        self._compare(DAYS, _figures(self.wanted.days), await self.place.summary(by_day))
        self._compare(HOURS, _figures(self.wanted.hours), await self.place.summary(by_hour))
        skus = {(day, translate.code(int(p))): sums.figures() for (day, p), sums in self.wanted.skus.items()}
        self._compare(SKUS, skus, await self.place.summary(by_sku))
        paid = {key: sums.net for key, sums in self.wanted.days.items()}
        self._compare(TENDERS, paid, await self.place.payments())

    async def _stock(self) -> None:
        ledger = await self.place.ledger()
        sold = {(day, translate.code(p)): units for (day, p), units in self.wanted.sold.items()}
        opening = self.place.opening()
        self._compare(LEDGER, sold, ledger.sold)
        self._compare(OPENING, opening, ledger.opened)
        on_hand = Counter(ledger.other)  # what other runs and other people did to the store's stock
        for (_, sku), units in opening.items():
            on_hand[sku] += units
        for (_, sku), units in sold.items():
            on_hand[sku] -= units
        self._compare(LEVELS, on_hand, await self.place.levels())


def _figures(sums: Mapping[expected.Key, expected.Sums]) -> dict[expected.Key, tuple[int, ...]]:
    return {key: total.figures() for key, total in sums.items()}


def story(difference: Difference) -> str:
    """A difference as a sentence."""
    say: Callable[[Any], str] = _money if difference.check == TENDERS else _say
    key = difference.key if isinstance(difference.key, tuple) else (difference.key,)
    where = ", ".join(str(part) for part in key)
    wanted, found = say(difference.expected), say(difference.found)
    return f"{difference.check}: store {difference.store}, {where}: the data says {wanted}, Tillmesh {found}."


def _say(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, tuple):
        sales, lines, units, net, discount = value
        return f"{sales} sales, {lines} lines, {units} units, {_money(net)}, discounts {_money(discount)}"
    return str(value)


def _money(value: int | None) -> str:
    return "nothing" if value is None else f"{value / 100:,.2f} {translate.CURRENCY}"
