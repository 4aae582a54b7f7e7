"""Sums of sales equal what one gets by adding up the sales themselves."""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
import itertools
import random
import uuid
from collections.abc import Callable, Iterable

import pytest

from services.kit import ids
from services.orders.domain import sale as domain
from services.orders.domain import summary
from services.orders.domain.summary import Dimension as D
from services.orders.store import summary as sums
from tests.integration.orders.world import VIENNA, World, line, sale

FROM, UNTIL = dt.date(2026, 3, 27), dt.date(2026, 3, 31)  # the 29th has no hour from two to three
Sums = dict[tuple[object, ...], tuple[int, ...]]


async def sell(world: World, shop: uuid.UUID, seed: int, count: int = 120) -> list[domain.Order]:
    """Random sales over some days, a few of them before and after the days that are summed."""
    pick = random.Random(seed)
    start = dt.datetime(2026, 3, 26, tzinfo=dt.UTC)

    def one(n: int) -> domain.Sale:
        lines = [
            line(
                pick.choice(["LIP-1", "A", "B", "c,'\"x"]),
                pick.randint(1, 10**9),
                pick.randint(0, 10**11),
                taxes=(domain.Tax("VAT", "0.2", pick.randint(0, 999)),),
                discounts=(domain.Discount("d", pick.randint(0, 99), ""),),
            )
            for _ in range(pick.randint(1, 4))
        ]
        lines.append(line("", 0, -pick.randint(0, 50), kind=domain.LineKind.ADJUSTMENT))
        total = sum(x.net_amount for x in lines)
        tenders: tuple[domain.Tender, ...] = ()
        if pick.random() < 0.7:
            part = pick.randint(0, 100)
            tenders = (
                domain.Tender(domain.TenderType.CARD, part, "", ""),
                domain.Tender(pick.choice(list(domain.TenderType)), total - part, "", ""),
            )
        return sale(
            shop,
            f"{seed}-{n}",
            *lines,
            tenders=tenders,
            occurred_at=start + dt.timedelta(minutes=pick.randint(0, 7 * 24 * 60)),
            campaign_id=pick.choice(["", "spring", "Ünïon"]),
        )

    answers = await asyncio.gather(*[world.record(one(n)) for n in range(count)])
    orders = [answer for answer in answers if isinstance(answer, domain.Order)]
    assert len(orders) == count
    return orders


KEYS: dict[D, Callable[[domain.Order, domain.OrderLine | domain.Tender | None], object]] = {
    D.BUSINESS_DATE: lambda order, _: order.business_date.isoformat(),
    D.HOUR: lambda order, _: order.business_hour,
    D.CAMPAIGN: lambda order, _: order.campaign_id,
    D.SKU: lambda _, part: part.sku if isinstance(part, domain.OrderLine) else "",
    D.CATEGORY: lambda _, part: part.category if isinstance(part, domain.OrderLine) else "",
    D.TENDER: lambda _, part: int(part.type) if isinstance(part, domain.Tender) else 0,
}


def by_hand(orders: Iterable[domain.Order], dimensions: tuple[D, ...]) -> Sums:
    """(sales, lines, units, net, tax, discount) a combination."""
    found: dict[tuple[object, ...], list[tuple[uuid.UUID, tuple[int, ...]]]] = collections.defaultdict(list)
    for order in orders:
        if not FROM <= order.business_date <= UNTIL:
            continue
        if D.TENDER in dimensions:
            for tender in order.tenders:
                key = tuple(KEYS[d](order, tender) for d in dimensions)
                found[key].append((order.id, (0, 0, tender.amount, 0, 0)))
        else:
            for x in order.lines:
                key = tuple(KEYS[d](order, x) for d in dimensions)
                found[key].append((order.id, (1, x.quantity, x.net_amount, x.tax_amount, x.discount_amount)))
    return {
        key: (
            len({order_id for order_id, _ in parts}),
            *(sum(column) for column in zip(*(p for _, p in parts), strict=True)),
        )
        for key, parts in found.items()
    }


async def ask(world: World, shop: uuid.UUID, dimensions: tuple[D, ...], size: int = 500) -> list[summary.Row]:
    question = summary.ask(FROM, UNTIL, dimensions)
    tenant = str(world.tenant)
    rows: list[summary.Row] = []
    after: sums.Key | None = None
    while True:
        async with world.db.read(tenant) as session:
            page = await sums.sums(session, tenant, shop, question, after=after, limit=size)
        rows += page
        if len(page) < size:
            return rows
        after = [*page[-1].key, page[-1].currency_code]


def as_sums(rows: list[summary.Row]) -> Sums:
    assert all(row.currency_code == "EUR" for row in rows)
    return {
        row.key: (row.sales, row.lines, row.units, row.net_amount, row.tax_amount, row.discount_amount) for row in rows
    }


async def test_every_summary_equals_the_sums_of_its_sales(world: World) -> None:
    shop = ids.new_uuid()
    orders = await sell(world, shop, seed=1)
    await sell(world, ids.new_uuid(), seed=2, count=20)  # another location's are not in it

    combinations = [c for n in range(4) for c in itertools.permutations(D, n) if n < 3 or c[0] < c[1] < c[2]]
    asked = 0
    for dimensions in combinations:
        if D.TENDER in dimensions and {D.SKU, D.CATEGORY} & set(dimensions):
            continue
        rows = await ask(world, shop, dimensions)
        assert as_sums(rows) == by_hand(orders, dimensions), dimensions
        assert [row.key for row in rows] == sorted(row.key for row in rows)
        asked += 1
    assert asked > 30


@pytest.mark.parametrize("dimensions", [(D.BUSINESS_DATE, D.HOUR, D.SKU), (D.TENDER, D.HOUR), (D.CAMPAIGN, D.HOUR)])
async def test_a_summary_in_small_pages_is_the_same(world: World, dimensions: tuple[D, ...]) -> None:
    shop = ids.new_uuid()
    await sell(world, shop, seed=3, count=40)

    whole = await ask(world, shop, dimensions)
    assert await ask(world, shop, dimensions, size=3) == whole
    assert len(whole) > 6


async def test_sums_go_beyond_64_bits_of_one_amount_without_rounding(world: World) -> None:
    shop = ids.new_uuid()
    for n in range(3):
        await world.record(sale(shop, f"s-{n}", line("A", 10**9, 10**15 - n), occurred_at=dt.datetime(2026, 3, 28, 12, tzinfo=dt.UTC)))  # fmt: skip
    (row,) = await ask(world, shop, ())
    assert (row.sales, row.units, row.net_amount) == (3, 3 * 10**9, 3 * 10**15 - 3)


async def test_currencies_are_never_added_up(world: World) -> None:
    """A location that changed its currency has a row for each."""
    shop = ids.new_uuid()
    at = dt.datetime(2026, 3, 28, 12, tzinfo=dt.UTC)
    await world.record(sale(shop, "s-1", occurred_at=at))
    await world.record(sale(shop, "s-2", occurred_at=at), store=domain.Store(VIENNA.timezone, 0, "CHF", sells=True))

    for dimensions in ((), (D.SKU,), (D.TENDER,)):
        assert [(row.currency_code, row.net_amount) for row in await ask(world, shop, dimensions)] == [
            ("CHF", 1000),
            ("EUR", 1000),
        ]


async def test_a_location_without_sales_has_no_rows(world: World) -> None:
    assert await ask(world, ids.new_uuid(), ()) == []
