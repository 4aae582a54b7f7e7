"""Searches: exact, in pages that miss nothing, of the caller's locations and tenant only, by indexes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import Any

import psycopg
import pytest
from sqlalchemy.dialects import postgresql

from services.kit import database, ids
from services.orders.domain import sale
from services.orders.store import reads, searching
from tests.integration.orders.placing import placed
from tests.integration.orders.world import World
from tests.integration.orders.world import sale as till_sale


async def find(db: database.Database, tenant: uuid.UUID, limit: int = 100, after: Any = None, **keep: Any) -> list[Any]:
    async with db.read(str(tenant)) as session:
        return await searching.find(session, str(tenant), searching.Filter(**keep), after=after, limit=limit)


def dated(orders: list[sale.Order]) -> list[sale.Order]:
    """Each a minute after the one before."""
    return [dataclasses.replace(each, occurred_at=placed.AT + dt.timedelta(minutes=n)) for n, each in enumerate(orders)]


async def test_each_filter_finds_what_it_names(db: database.Database, tenant: uuid.UUID) -> None:
    here, there, customer = ids.new_uuid(), ids.new_uuid(), ids.new_uuid()
    plain = placed.order(here, placed.group(here), number=1)
    theirs = placed.order(here, placed.group(there), number=2, customer_id=customer)
    ended = placed.order(there, placed.group(here), number=3, state=sale.OrderState.CANCELLED)
    phone = placed.order(there, placed.group(there), number=4, channel=sale.Channel.PHONE)
    assert phone.placed is not None
    phone.placed = dataclasses.replace(phone.placed, external_reference="R-1")
    orders = plain, theirs, ended, phone = dated([plain, theirs, ended, phone])
    await placed.keep(db, tenant, *orders)
    since, until = theirs.occurred_at, phone.occurred_at
    asked: list[tuple[dict[str, Any], list[sale.Order]]] = [
        ({}, [phone, ended, theirs, plain]),
        ({"number": 2}, [theirs]),
        ({"customer_ids": (customer,)}, [theirs]),
        ({"state": int(sale.OrderState.CANCELLED)}, [ended]),
        ({"location_id": here}, [theirs, plain]),
        ({"fulfillment_location_id": here}, [ended, plain]),
        ({"location_id": here, "fulfillment_location_id": there}, [theirs]),
        ({"since": since, "until": until}, [ended, theirs]),
        ({"channel": int(sale.Channel.PHONE)}, [phone]),
        ({"external_reference": "R-1"}, [phone]),
        ({"within": (here,)}, [ended, theirs, plain]),
        ({"within": (here,), "state": int(sale.OrderState.PLACED)}, [theirs, plain]),
        ({"within": ()}, []),
    ]

    for keep, expected in asked:
        assert [each.id for each in await find(db, tenant, **keep)] == [each.id for each in expected], keep
    assert await find(db, ids.new_uuid()) == []


async def test_sales_and_orders_of_a_customer_are_one_history(world: World) -> None:
    shop, customer = ids.new_uuid(), ids.new_uuid()
    order = placed.order(shop, placed.group(shop), customer_id=customer, occurred_at=placed.AT + dt.timedelta(hours=1))
    await placed.keep(world.db, world.tenant, order)
    sold = await world.record(till_sale(shop, "s-1", customer_id=customer))
    assert isinstance(sold, sale.Order)

    found = await find(world.db, world.tenant, customer_ids=(customer,))

    assert [each.id for each in found] == [order.id, sold.id]
    assert [each.placed is None for each in found] == [False, True]


@pytest.mark.parametrize("narrow", [False, True])
async def test_pages_neither_miss_nor_repeat(db: database.Database, tenant: uuid.UUID, *, narrow: bool) -> None:
    """23 orders, several of the same moment; narrow: for somebody who covers two of three locations."""
    places = [ids.new_uuid() for _ in range(3)]
    orders = [
        placed.order(
            places[n % 3],
            placed.group(places[(n + 1) % 3]),
            number=n + 1,
            occurred_at=placed.AT + dt.timedelta(hours=n // 4),
        )
        for n in range(23)
    ]
    await placed.keep(db, tenant, *orders)
    keep: dict[str, Any] = {"within": tuple(places[:2])} if narrow else {}
    seen: list[uuid.UUID] = []
    after = None
    while page := await find(db, tenant, limit=5, after=after, **keep):
        seen += [each.id for each in page]
        after = reads.Position(page[-1].occurred_at, page[-1].id)

    assert seen == [each.id for each in sorted(orders, key=lambda each: (each.occurred_at, each.id), reverse=True)]


async def test_an_order_that_is_not_placed_is_no_sale(world: World) -> None:
    shop = ids.new_uuid()
    states = [sale.OrderState.PENDING, sale.OrderState.CANCELLED, sale.OrderState.EXPIRED, sale.OrderState.PLACED]
    orders = [placed.order(shop, number=n + 1, state=state) for n, state in enumerate(states)]
    await placed.keep(world.db, world.tenant, *orders)

    async with world.db.read(str(world.tenant)) as session:
        found = await reads.sold_at(
            session, str(world.tenant), shop, reads.Filter(), newest_first=True, after=None, limit=10
        )

    assert [each.id for each in found] == [orders[-1].id]


FILL = """
INSERT INTO sales_order (tenant_id, id, location_id, seq, channel, state, tax_inclusive, clock_skewed, business_hour,
    line_count, business_date, unit_count, net_total, tax_total, discount_total, total, occurred_at, recorded_at,
    currency_code, campaign_id, terminal_id, client_sale_id, fingerprint, actor, number, customer_id, method,
    external_reference)
SELECT current_setting('app.tenant_id')::uuid, gen_random_uuid(), md5((n % 200)::text)::uuid, 0, 2,
    CASE WHEN n % 50 = 0 THEN 3 ELSE 4 END, true, false, 1, 0, '2026-01-01', 0, 1, 0, 0, 1,
    timestamptz '2026-01-01' + n * interval '1 min', now(), 'EUR', '', '', 'fill:' || n, '', '', n,
    md5((n % 5000)::text)::uuid, 1, n::text
FROM generate_series(1, 20000) n
"""


@pytest.fixture(scope="module")
def filled(urls: tuple[str, str, str]) -> uuid.UUID:
    """A tenant with many orders at many locations, and statistics that know of them."""
    tenant = uuid.UUID(int=4711)
    with psycopg.connect(urls[0]) as connection:
        connection.execute("SELECT set_config('app.tenant_id', %s, false)", [str(tenant)])
        connection.execute(FILL)
    with psycopg.connect(urls[2], autocommit=True) as connection:
        connection.execute("ANALYZE sales_order")
    return tenant


@pytest.mark.parametrize(
    ("keep", "index"),
    [
        ({}, "sales_order_newest"),
        ({"number": 7}, "sales_order_number"),
        ({"customer_ids": (uuid.UUID(int=7),)}, "sales_order_customer"),
        ({"state": 3}, "sales_order_state"),
        ({"external_reference": "x"}, "sales_order_external"),
        ({"location_id": uuid.UUID(int=8)}, "sales_order_occurred"),
    ],
)
async def test_a_search_reads_one_range_of_an_index(
    db: database.Database, filled: uuid.UUID, keep: dict[str, Any], index: str
) -> None:
    query = searching.query(str(filled), searching.Filter(**keep), after=None, limit=50)
    statement = query.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})

    plan = "\n".join(row[0] for row in await placed.rows(db, filled, f"EXPLAIN {statement}"))

    assert index in plan, plan
    assert "Sort" not in plan or index in ("sales_order_number", "sales_order_external"), plan
