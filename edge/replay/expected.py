"""What must come out, computed straight from the data: it shares no code with the translation that it checks."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from edge.replay import data


@dataclass(slots=True)
class Sums:
    """Sums over sales. Amounts in cents; net is what customers paid, discount what was taken off before."""

    sales: int = 0
    lines: int = 0
    units: int = 0
    net: int = 0
    discount: int = 0
    _basket: int = 0

    def add(self, row: data.Row) -> None:
        """Counts a line in. The lines of a basket come one after the other."""
        self.sales += row.basket_id != self._basket
        self._basket = row.basket_id
        self.lines += 2 if row.quantity and row.coupon else 1  # the coupon of an item is a line of its own
        self.units += row.quantity
        self.net += row.value - row.coupon
        self.discount += row.card_discount + row.coupon_match

    def figures(self) -> tuple[int, ...]:
        """Sales, lines, units, net, discount."""
        return self.sales, self.lines, self.units, self.net, self.discount


Key = tuple[str | int, ...]


@dataclass(slots=True)
class Store:
    """What must come out at one store.

    days, hours and skus: sums by (day), (day, hour) and (day, product). sold: units by (day, product) of products that
    the catalogue knows; unknown: units by (basket, product) of those it doesn't. Days are ISO dates in New York.
    """

    days: defaultdict[Key, Sums] = field(default_factory=lambda: defaultdict(Sums))
    hours: defaultdict[Key, Sums] = field(default_factory=lambda: defaultdict(Sums))
    skus: defaultdict[Key, Sums] = field(default_factory=lambda: defaultdict(Sums))
    baskets: defaultdict[int, Sums] = field(default_factory=lambda: defaultdict(Sums))
    sold: Counter[tuple[str, int]] = field(default_factory=Counter)
    unknown: Counter[tuple[int, int]] = field(default_factory=Counter)


def of(chosen: data.Slice) -> dict[int, Store]:
    """What must come out, by store."""
    stores: dict[int, Store] = {store: Store() for store in chosen.stores}
    for row in chosen.rows:
        store = stores[row.store_id]
        clock = data.local(row.at)
        day = clock.date().isoformat()
        store.days[day,].add(row)
        store.hours[day, clock.hour].add(row)
        store.skus[day, row.product_id].add(row)
        store.baskets[row.basket_id].add(row)
        if not row.quantity:
            continue
        if row.product_id in chosen.products:
            store.sold[day, row.product_id] += row.quantity
        else:
            store.unknown[row.basket_id, row.product_id] += row.quantity
    return stores
