"""Lists and single orders: whole, in order, of one tenant only, and steady while sales come in."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from services.kit import database, ids
from services.orders import tables
from services.orders.domain import sale as domain
from services.orders.store import looking, reads
from tests.integration.orders.world import NOON, World, line, sale

DAY = dt.date(2026, 3, 4)


@pytest.fixture
def shop() -> uuid.UUID:
    return ids.new_uuid()


async def page(
    world: World,
    shop: uuid.UUID,
    keep: reads.Filter | None = None,
    *,
    newest_first: bool = True,
    after: looking.Position | None = None,
    limit: int = 100,
) -> list[domain.Order]:
    tenant = str(world.tenant)
    async with world.db.read(tenant) as session:
        found = await reads.sold_at(
            session, tenant, shop, keep or reads.Filter(), newest_first=newest_first, after=after, limit=limit
        )
    return list(found.orders)


def names(orders: list[domain.Order]) -> list[str]:
    return [order.client_sale_id for order in orders]


@pytest.mark.parametrize("newest_first", [True, False])
async def test_pages_neither_miss_nor_repeat_while_sales_come_in(
    world: World, shop: uuid.UUID, *, newest_first: bool
) -> None:
    """30 sales, ten at a time of the same moment; more arrive between the pages, on both sides."""
    moments = [NOON + dt.timedelta(minutes=n // 10) for n in range(30)]
    await asyncio.gather(*[world.record(sale(shop, f"s-{n}", occurred_at=at)) for n, at in enumerate(moments)])
    seen: list[domain.Order] = []
    after = None
    while found := await page(world, shop, newest_first=newest_first, after=after, limit=7):
        seen += found
        after = looking.Position(found[-1].occurred_at, found[-1].id)
        for n, margin in enumerate((-dt.timedelta(hours=1), dt.timedelta(hours=1))):
            if len(seen) < 28:
                await world.record(sale(shop, f"new-{len(seen)}-{n}", occurred_at=NOON + margin))

    old = [order for order in seen if order.client_sale_id.startswith("s-")]
    assert sorted(names(old)) == sorted(f"s-{n}" for n in range(30))
    assert len({order.id for order in seen}) == len(seen)
    keys = [(order.occurred_at, order.id) for order in seen]
    assert keys == sorted(keys, reverse=newest_first)


async def test_filters_keep_what_they_say(world: World, shop: uuid.UUID) -> None:
    customer = ids.new_uuid()
    day = dt.timedelta(days=1)
    await world.record(sale(shop, "plain"))
    await world.record(sale(shop, "late", occurred_at=NOON.replace(hour=23, minute=30)))  # half past midnight in Vienna
    await world.record(sale(shop, "before", occurred_at=NOON - day))
    await world.record(sale(shop, "till", terminal_id="till-2"))
    await world.record(sale(shop, "customer", customer_id=customer))
    await world.record(sale(shop, "campaign", campaign_id="spring"))

    async def kept(**keep: object) -> set[str]:
        return set(names(await page(world, shop, reads.Filter(**keep))))  # type: ignore[arg-type]

    assert await kept(since=DAY, until=DAY) == {"plain", "till", "customer", "campaign"}
    assert await kept(since=DAY + day) == {"late"}
    assert await kept(until=DAY - day) == {"before"}
    assert await kept(terminal_id="till-2") == {"till"}
    assert await kept(client_sale_id="plain") == {"plain"}
    assert await kept(customer_id=customer) == {"customer"}
    assert await kept(client_sale_id="plain", terminal_id="till-1", since=DAY) == {"plain"}
    assert await kept(client_sale_id="plain", terminal_id="till-2") == set()
    assert await kept(customer_id=customer, campaign_id="spring") == set()
    assert await kept(campaign_id="spring", terminal_id="till-1") == {"campaign"}
    assert await kept(since=dt.date.min, until=dt.date.max) == await kept()


@pytest.mark.parametrize("newest_first", [True, False])
async def test_sales_that_are_few_come_in_pages_that_look_at_few(
    world: World, shop: uuid.UUID, monkeypatch: pytest.MonkeyPatch, *, newest_first: bool
) -> None:
    """Two of 30 are of the campaign, and a page looks at seven: some have none of them, and all together have both."""
    monkeypatch.setattr(looking, "ROWS_MAX", 7)
    moments = [NOON + dt.timedelta(minutes=n) for n in range(30)]
    sales = [
        sale(shop, f"s-{n}", occurred_at=at, campaign_id="rare" if n in (4, 20) else "") for n, at in enumerate(moments)
    ]
    await asyncio.gather(*map(world.record, sales))
    tenant, keep = str(world.tenant), reads.Filter(campaign_id="rare")
    pages: list[looking.Found] = []
    async with world.db.read(tenant) as session:
        while not pages or pages[-1].next is not None:
            after = pages[-1].next if pages else None
            pages.append(
                await reads.sold_at(session, tenant, shop, keep, newest_first=newest_first, after=after, limit=2)
            )

    assert names([order for found in pages for order in found.orders]) == (
        ["s-20", "s-4"] if newest_first else ["s-4", "s-20"]
    )
    assert len(pages) == 5
    assert sum(not found.orders for found in pages) == 3


async def test_orders_come_with_their_own_lines_and_tenders(world: World, shop: uuid.UUID) -> None:
    recorded = [
        await world.record(sale(shop, f"s-{n}", *[line(net_amount=n * 10 + k) for k in range(n)])) for n in (1, 3, 2)
    ]

    found = {order.client_sale_id: order for order in await page(world, shop)}
    for order in recorded:
        assert isinstance(order, domain.Order)
        expected = dataclasses.replace(order, lines=list(order.lines), tenders=list(order.tenders))
        assert found[order.client_sale_id] == expected


async def test_tables_are_what_migrations_make(db: database.Database) -> None:
    columns = sa.text("""
    SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute
    WHERE attrelid = to_regclass(:t) AND attnum > 0 AND NOT attisdropped
    """)
    async with db.read(str(ids.new_uuid())) as session:
        for table in tables.metadata.sorted_tables:
            made = {row.attname: row.type for row in await session.execute(columns, {"t": table.name})}
            ours = {column.name: column.type.compile(dialect=postgresql.dialect()).lower() for column in table.columns}
            assert ours == made, table.name


async def test_a_tenant_sees_nothing_of_another(world: World, db: database.Database, shop: uuid.UUID) -> None:
    order = await world.record(sale(shop, "s-1"))
    assert isinstance(order, domain.Order)
    stranger = World(db, ids.new_uuid())

    assert await page(stranger, shop) == []
    async with db.read(str(stranger.tenant)) as session:
        assert await reads.get(session, str(stranger.tenant), order.id) is None
        # Not even when it asks for the other tenant by name: row-level security knows better.
        assert await reads.get(session, str(world.tenant), order.id) is None
    for table in ("sales_order", "order_line", "order_tender", "order_head", "outbox"):
        assert (await stranger.rows(f"SELECT count(*) FROM {table}"))[0][0] == 0
        assert (await world.rows(f"SELECT count(*) FROM {table}"))[0][0] == 1
