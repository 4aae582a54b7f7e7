"""Searches: exact, in pages that miss nothing, of the caller's locations and tenant only, by indexes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import random
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from services.kit import database, ids
from services.orders.domain import sale
from services.orders.store import looking, reads, searching
from tests.integration.orders.placing import placed
from tests.integration.orders.world import World
from tests.integration.orders.world import sale as till_sale


async def find(db: database.Database, tenant: uuid.UUID, limit: int = 100, after: Any = None, **keep: Any) -> list[Any]:
    async with db.read(str(tenant)) as session:
        found = await searching.find(session, str(tenant), searching.Filter(**keep), after=after, limit=limit)
    return list(found.orders)


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
    refused = [
        placed.order(here, number=5 + n, state=state, customer_id=customer, occurred_at=placed.AT)
        for n, state in enumerate((sale.OrderState.CANCELLED, sale.OrderState.EXPIRED))
    ]
    for each in refused:
        assert each.placed is not None
        each.placed.placed_at = None
    await placed.keep(db, tenant, *refused)
    every = await find(db, tenant, unplaced=True)
    assert {each.id for each in refused} == {each.id for each in every} - {each.id for each in orders}
    assert len(await find(db, tenant, unplaced=True, customer_ids=(customer,))) == 3

    for keep, expected in asked:
        assert [each.id for each in await find(db, tenant, **keep)] == [each.id for each in expected], keep
    assert await find(db, ids.new_uuid()) == []


async def test_a_balance_that_is_late_is_found_until_it_is_paid(db: database.Database, tenant: uuid.UUID) -> None:
    here, due = ids.new_uuid(), placed.AT + dt.timedelta(days=9)
    orders = [placed.order(here, number=n) for n in range(1, 5)]
    for order in orders[:3]:
        assert order.placed is not None
        order.placed.balance_due_at = due
    orders[1].state = sale.OrderState.CANCELLED
    await placed.keep(db, tenant, orders[0], orders[1], orders[3])
    await placed.keep(db, tenant, orders[2], paid=True)

    found = await find(db, tenant, balance_due_before=due + dt.timedelta(seconds=1))

    assert [each.id for each in found] == [orders[0].id]
    assert await find(db, tenant, balance_due_before=due) == []
    assert await find(db, tenant, balance_due_before=due + dt.timedelta(1), location_id=ids.new_uuid()) == []


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
        after = looking.Position(page[-1].occurred_at, page[-1].id)

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

    assert [each.id for each in found.orders] == [orders[-1].id]


@dataclasses.dataclass
class Walk:
    """Orders of which everything is drawn, and a plain search over them."""

    chance: random.Random
    places: list[uuid.UUID] = dataclasses.field(default_factory=lambda: [ids.new_uuid() for _ in range(3)])
    people: list[uuid.UUID] = dataclasses.field(default_factory=lambda: [ids.new_uuid() for _ in range(3)])

    def orders(self, count: int) -> list[sale.Order]:
        return [
            placed.order(
                self.chance.choice(self.places),
                *[placed.group(self.chance.choice(self.places)) for _ in range(self.chance.randint(0, 3))],
                number=number,
                state=self.chance.choice(list(sale.OrderState)),
                channel=self.chance.choice([sale.Channel.WEB, sale.Channel.WEB, sale.Channel.PHONE]),
                customer_id=self.chance.choice([None, *self.people]),
                occurred_at=placed.AT + dt.timedelta(minutes=self.chance.randrange(count // 2)),
            )
            for number in range(1, count + 1)
        ]

    def filter(self) -> searching.Filter:
        """Three parts of four are left out, or most filters would find nothing."""
        since = placed.AT + dt.timedelta(minutes=self.chance.randrange(20))
        drawn = {
            "customer_ids": tuple(self.chance.sample(self.people, self.chance.randint(1, 2))),
            "state": int(self.chance.choice(list(sale.OrderState))),
            "location_id": self.chance.choice(self.places),
            "fulfillment_location_id": self.chance.choice(self.places),
            "since": since,
            "until": since + dt.timedelta(minutes=self.chance.randrange(1, 30)),
            "channel": int(self.chance.choice([sale.Channel.POS, sale.Channel.WEB, sale.Channel.PHONE])),
            "within": tuple(self.chance.sample(self.places, self.chance.randrange(3))),
        }
        return searching.Filter(**{name: value for name, value in drawn.items() if self.chance.random() < 0.25})  # type: ignore[arg-type]


def expected(orders: list[sale.Order], keep: searching.Filter) -> list[uuid.UUID]:
    """Whoever names a location has been asked whether it is one of theirs."""
    found = []
    for each in sorted(orders, key=lambda one: (one.occurred_at, one.id), reverse=True):
        served = {group.location_id for group in each.placed.groups}  # type: ignore[union-attr]
        named = keep.location_id or keep.fulfillment_location_id
        asked = [
            not keep.customer_ids or each.customer_id in keep.customer_ids,
            keep.state in (0, each.state),
            keep.location_id in (None, each.location_id),
            keep.fulfillment_location_id is None or keep.fulfillment_location_id in served,
            keep.since is None or each.occurred_at >= keep.since,
            keep.until is None or each.occurred_at < keep.until,
            keep.channel in (0, each.channel),
            named or keep.within is None or not {each.location_id, *served}.isdisjoint(keep.within),
        ]
        found += [each.id] if all(asked) else []
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_pages_that_look_at_few_find_what_a_plain_search_finds(
    db: database.Database, tenant: uuid.UUID, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """30 filters over 60 orders, with bounds so low that most pages meet them; tokens of two locations and of more."""
    walk = Walk(random.Random(seed))
    orders = walk.orders(60)
    await placed.keep(db, tenant, *orders)
    monkeypatch.setattr(looking, "ENTRIES_MAX", walk.chance.randint(4, 12))
    monkeypatch.setattr(looking, "ROWS_MAX", walk.chance.randint(2, 6))
    monkeypatch.setattr(searching, "LOCATIONS_MAX", walk.chance.randint(0, 2))

    for _ in range(30):
        keep, limit = walk.filter(), walk.chance.randint(1, 9)
        seen: list[uuid.UUID] = []
        after, pages = None, 0
        async with db.read(str(tenant)) as session:
            while pages == 0 or after is not None:
                found = await searching.find(session, str(tenant), keep, after=after, limit=limit)
                seen += [each.id for each in found.orders]
                assert len(found.orders) <= limit
                after, pages = found.next, pages + 1
                assert pages <= 100
        assert seen == expected(orders, keep), keep


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
        connection.execute("VACUUM ANALYZE sales_order")
    return tenant


PLACE = uuid.UUID(int=8)


@pytest.mark.parametrize(
    ("keep", "indexes"),
    [
        ({}, {"sales_order_newest"}),
        ({"number": 7}, {"sales_order_number"}),
        ({"customer_ids": (uuid.UUID(int=7),)}, {"sales_order_customer"}),
        ({"customer_ids": (uuid.UUID(int=7), uuid.UUID(int=8)), "state": 5}, {"sales_order_customer"}),
        ({"state": 3}, {"sales_order_state"}),
        ({"state": 4}, {"sales_order_newest"}),
        ({"channel": 3}, {"sales_order_channel"}),
        ({"external_reference": "x"}, {"sales_order_external"}),
        ({"location_id": PLACE}, {"sales_order_occurred"}),
        ({"location_id": PLACE, "state": 3}, {"sales_order_occurred", "sales_order_state"}),
        ({"fulfillment_location_id": PLACE, "channel": 3}, {"order_group_location", "sales_order_channel"}),
        ({"within": (PLACE, uuid.UUID(int=9))}, {"order_group_location", "sales_order_occurred"}),
    ],
)
async def test_a_search_reads_ranges_of_indexes_in_their_order(
    db: database.Database, filled: uuid.UUID, keep: dict[str, Any], indexes: set[str]
) -> None:
    """On an own index for each way; sorting is for what comes of several ranges, a page of each."""
    ways, given = searching.plan(str(filled), searching.Filter(**keep))
    used: set[str] = set()
    for way in ways:
        query, values = looking.statement(way, given, after=None, limit=50)
        scans = [node for node in await explained(db, filled, query, values) if "Scan" in node["Node Type"]]
        read = [node for node in scans if node["Node Type"] not in ("Subquery Scan", "Function Scan")]
        assert all(node["Node Type"] in ("Index Scan", "Index Only Scan") for node in read), read
        used |= {node["Index Name"] for node in read}

    assert used - {"sales_order_pkey", "order_group_order"} == indexes


def test_more_is_looked_at_where_indexes_hold_what_is_asked() -> None:
    def most(**keep: Any) -> list[int]:
        ways, _ = searching.plan(str(uuid.UUID(int=1)), searching.Filter(**keep))
        return [way.most for way in ways]

    held, read = looking.ENTRIES_MAX, looking.ROWS_MAX
    assert most(location_id=PLACE, channel=3) == [held, held]
    assert most(location_id=PLACE, state=6, unplaced=True) == [held, held]
    assert most(location_id=PLACE, state=6) == [read, read]  # whether it was ever placed stands in the row
    assert most(fulfillment_location_id=PLACE, state=3) == [read, read]
    assert most(customer_ids=(PLACE,), channel=3) == [read]


async def test_what_an_index_holds_is_asked_without_reading_rows(db: database.Database, filled: uuid.UUID) -> None:
    keep = searching.Filter(location_id=uuid.UUID(hex=hashlib.md5(b"7", usedforsecurity=False).hexdigest()), channel=3)
    ways, given = searching.plan(str(filled), keep)
    query, values = looking.statement(ways[0], given, after=None, limit=50)

    (looked,) = [
        node for node in await explained(db, filled, query, values) if node.get("Index Name") == "sales_order_occurred"
    ]

    assert (looked["Node Type"], looked["Actual Rows"]) == ("Index Only Scan", 100)


async def test_a_page_of_few_hits_looks_at_no_more_than_it_may(
    db: database.Database, filled: uuid.UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 20,000 orders is EXPIRED, as none of a channel that all others are of."""
    monkeypatch.setattr(looking, "ENTRIES_MAX", 700)
    ways, given = searching.plan(str(filled), searching.Filter(state=4, channel=1))
    query, values = looking.statement(ways[0], given, after=None, limit=50)

    assert max(node["Actual Rows"] for node in await explained(db, filled, query, values)) == 700


async def explained(
    db: database.Database, tenant: uuid.UUID, query: sa.TextClause, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The nodes of the plan that was executed."""
    async with db.read(str(tenant)) as session:
        told = await session.execute(sa.text(f"EXPLAIN (ANALYZE, FORMAT JSON) {query.text}"), values)
        return list(_nodes(told.scalar_one()[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
