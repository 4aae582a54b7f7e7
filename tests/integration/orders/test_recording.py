"""What a till may rely on when it records a sale: once, whole, in order, whatever happens around it."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Sequence

import psycopg
import pytest
import sqlalchemy as sa

from services.kit import database, errors, events, idempotency, ids, lanes, pipeline, status
from services.orders import lane
from services.orders.domain import business_day
from services.orders.domain import sale as domain
from services.orders.mapping import messages
from services.orders.store import lane as store
from services.orders.store import reads
from tests.integration.orders.world import LIPSTICK, NOON, VIENNA, World, command, line, sale
from tillmesh.orders.v1 import orders_events_pb2 as events_pb

ORDERS = "SELECT id, seq FROM sales_order WHERE location_id = :location ORDER BY seq"
OUTBOX = "SELECT key, seq_from, seq_to, epoch, type, shard, data FROM outbox WHERE key = :key ORDER BY seq_to"


@pytest.fixture
def shop() -> uuid.UUID:
    return ids.new_uuid()


@pytest.fixture
async def second(urls: tuple[str, str, str], tenant: uuid.UUID) -> AsyncIterator[World]:
    """Another process of the service."""
    opened = database.Database(urls[0], urls[1])
    await opened.open()
    made = World(opened, tenant)
    made.start()
    yield made
    await made.stop()
    await opened.close()


async def recorded(world: World, shop: uuid.UUID) -> list[tuple[uuid.UUID, int]]:
    return [(row.id, row.seq) for row in await world.rows(ORDERS, location=shop)]


async def test_the_same_sale_sent_20_times_at_once_is_one_order(world: World, second: World, shop: uuid.UUID) -> None:
    answers = await asyncio.gather(*[(world, second)[n % 2].record(sale(shop, "s-1")) for n in range(20)])

    found = await recorded(world, shop)
    assert [seq for _, seq in found] == [1]
    assert {answer.id if isinstance(answer, domain.Order) else answer.order_id for answer in answers} == {found[0][0]}


async def test_the_same_sale_sent_again_with_another_request_id_is_the_first_order(
    world: World, shop: uuid.UUID
) -> None:
    first = await world.record(sale(shop, "s-1"), request_id="a")
    again = await world.record(sale(shop, "s-1"), request_id="b")

    assert isinstance(first, domain.Order)
    assert again == lane.Earlier(first.id)


async def test_another_sale_under_the_id_is_refused_and_names_the_order(world: World, shop: uuid.UUID) -> None:
    first = await world.record(sale(shop, "s-1"))

    with pytest.raises(domain.SaleIdReused) as refusal:
        await world.record(sale(shop, "s-1", line(net_amount=999)))

    assert isinstance(first, domain.Order)
    assert refusal.value.metadata == {"order_id": ids.encode("ord", first.id)}


async def test_a_batch_over_several_locations_numbers_each_of_them(world: World, shop: uuid.UUID) -> None:
    shops = [shop, ids.new_uuid(), ids.new_uuid()]

    outcomes = await world.batch(*(command(sale(at, f"s-{n}-{at}")) for n in range(4) for at in shops))

    positions = [(order.location_id, order.seq) for order in outcomes]  # type: ignore[union-attr]
    assert positions == [(at, n) for n in (1, 2, 3, 4) for at in shops]
    assert sorted(key.location for key, seq in world.committed if seq == 4) == sorted(shops)
    events_of = await world.rows("SELECT key, seq_from, seq_to FROM outbox")
    assert sorted(events_of) == sorted((ids.encode("loc", at), 1, 4) for at in shops)


async def test_the_same_sale_at_two_locations_of_one_batch_is_one_order(world: World, shop: uuid.UUID) -> None:
    first, second = await world.batch(command(sale(shop, "s-1")), command(sale(ids.new_uuid(), "s-1")))

    assert isinstance(first, domain.Order)
    assert isinstance(second, errors.Error)
    assert len(await world.rows("SELECT FROM sales_order")) == 1


async def test_two_sales_under_one_id_in_one_batch_are_one_order_and_one_refusal(world: World, shop: uuid.UUID) -> None:
    outcomes = await world.batch(command(sale(shop, "s-1")), command(sale(shop, "s-1", line(net_amount=999))))

    assert isinstance(outcomes[0], domain.Order)
    assert isinstance(outcomes[1], domain.SaleIdReused)


async def test_the_id_belongs_to_the_till_and_not_to_the_location(world: World, shop: uuid.UUID) -> None:
    """Two lanes race for it: the loser sees what the winner wrote."""
    others = [shop, *[ids.new_uuid() for _ in range(7)]]
    outcomes = await asyncio.gather(*[world.record(sale(place, "s-1")) for place in others], return_exceptions=True)

    assert sum(isinstance(outcome, domain.Order) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, domain.SaleIdReused) for outcome in outcomes) == 7


async def test_tills_and_tenants_may_use_the_same_id(world: World, db: database.Database, shop: uuid.UUID) -> None:
    stranger = World(db, ids.new_uuid(), runner=world.runner)
    stranger.start()
    outcomes = [
        await world.record(sale(shop, "s-1")),
        await world.record(sale(shop, "s-1", terminal_id="till-2")),
        await stranger.record(sale(shop, "s-1")),
    ]
    await stranger.stop()

    assert [outcome.seq for outcome in outcomes if isinstance(outcome, domain.Order)] == [1, 2, 1]


async def test_a_request_key_that_came_with_another_sale_is_refused(world: World, shop: uuid.UUID) -> None:
    await world.record(sale(shop, "s-1"), request_id="k-1")

    with pytest.raises(errors.IdempotencyKeyReused):
        await world.record(sale(shop, "s-2"), request_id="k-1")
    with pytest.raises(errors.IdempotencyKeyReused):
        await world.record(sale(ids.new_uuid(), "s-3"), request_id="k-1")
    outcomes = await world.batch(*(command(sale(shop, f"s-{n}"), request_id="k-2") for n in (4, 5)))
    assert [type(outcome) for outcome in outcomes] == [domain.Order, errors.IdempotencyKeyReused]
    assert [seq for _, seq in await recorded(world, shop)] == [1, 2]


async def test_a_refused_sale_leaves_its_neighbours_and_no_gap(world: World, shop: uuid.UUID) -> None:
    tenders = (domain.Tender(domain.TenderType.CARD, 1, "EUR", ""),)
    bad = sale(shop, "bad", tenders=tenders)
    outcomes = await world.batch(command(sale(shop, "s-1")), command(bad), command(sale(shop, "s-2")))

    assert [getattr(outcome, "seq", None) for outcome in outcomes] == [1, None, 2]
    assert isinstance(outcomes[1], domain.SaleUnbalanced)
    assert outcomes[1].metadata == {"due": "1000", "tendered": "1"}


@pytest.mark.parametrize("bad", [line("NEW", name="a\0b"), line(taxes=(domain.Tax("a\0b", "1", 0),))])
async def test_a_text_that_the_database_refuses_fails_its_own_sale_only(
    world: World, shop: uuid.UUID, bad: domain.SaleLine
) -> None:
    good = [world.record(sale(shop, f"s-{n}")) for n in range(9)]
    outcomes = await asyncio.gather(world.record(sale(shop, "bad", bad)), *good, return_exceptions=True)

    assert isinstance(outcomes[0], psycopg.DataError)
    assert isinstance(status.from_exception(outcomes[0], method="RecordSale"), errors.InvalidRequest)
    assert sorted(outcome.seq for outcome in outcomes[1:] if isinstance(outcome, domain.Order)) == list(range(1, 10))


async def test_positions_are_gap_free_with_64_racers_at_three_locations_in_two_processes(
    world: World, second: World
) -> None:
    shops = [ids.new_uuid() for _ in range(3)]

    async def race(racer: int) -> None:
        for n in range(5):
            process = (world, second)[(racer + n) % 2]
            await process.record(sale(shops[racer % 3], f"{racer}-{n}", terminal_id=f"till-{racer}"))

    await asyncio.gather(*[race(racer) for racer in range(64)])

    total = 0
    for shop in shops:
        seqs = [seq for _, seq in await recorded(world, shop)]
        assert seqs == list(range(1, len(seqs) + 1))
        ranges = [(row.seq_from, row.seq_to) for row in await world.rows(OUTBOX, key=ids.encode("loc", shop))]
        assert [first for first, _ in ranges] == [1, *[last + 1 for _, last in ranges[:-1]]]
        assert ranges[-1][1] == len(seqs)
        total += len(seqs)
    assert total == 64 * 5


async def test_one_event_says_all_that_a_batch_recorded(world: World, shop: uuid.UUID) -> None:
    sold = sale(
        shop,
        "s-1",
        line("LIP-1", 2, 2000),
        line("NEW-9", 3, 700, name="Unknown thing"),
        line("", 0, -200, kind=domain.LineKind.ADJUSTMENT, name="Coupon"),
        customer_id=ids.new_uuid(),
        reservation_id=ids.new_uuid(),
        campaign_id="spring",
    )
    await world.batch(command(sold), command(sale(shop, "s-2")))

    (row,) = await world.rows(OUTBOX, key=ids.encode("loc", shop))
    event = events_pb.SalesRecorded.FromString(row.data)
    assert (row.seq_from, row.seq_to, row.epoch) == (1, 2, 1)
    assert row.type == "tillmesh.orders.v1.SalesRecorded"
    assert [s.seq for s in event.sales] == [1, 2]
    first = event.sales[0]
    assert [(x.sku, x.quantity, x.category, x.net_amount) for x in first.lines] == [
        ("LIP-1", 2, "Face/Lipstick", 2000),
        ("NEW-9", 3, "", 700),
    ]
    assert first.customer_id == ids.encode("cus", sold.customer_id or uuid.UUID(int=0))
    assert first.reservation_id.startswith("rsv_")
    assert (first.campaign_id, first.currency_code, first.total) == ("spring", "EUR", 2500)
    assert (first.business_date, first.terminal_id, first.actor) == ("2026-03-04", "till-1", "usr_till")
    assert world.committed[-1] == (world.key(shop), 2)


async def test_a_bundle_is_sold_as_what_it_consisted_of(world: World, shop: uuid.UUID) -> None:
    gift = domain.Item("GIFT", uuid.UUID(int=8), "Gift set", "Sets", "", components=(("LIP-1", 2), ("box", 1)))
    sold = sale(shop, "s-1", line("gift", 3, 9000), line("LIP-1"), line("gift", 0, -5, kind=domain.LineKind.ADJUSTMENT))
    (order,) = await world.batch(dataclasses.replace(command(sold), items={"gift": gift, "LIP-1": LIPSTICK}))

    assert isinstance(order, domain.Order)
    assert [each.components for each in order.lines] == [gift.components, (), ()]
    async with world.db.read(str(world.tenant)) as session:
        found = await reads.get(session, str(world.tenant), order.id)
    assert found is not None
    assert found.lines == order.lines
    message = messages.order_to_proto(domain.Shown(found, stock_applied=False))
    assert [(each.sku, each.quantity) for each in message.lines[0].components] == [("LIP-1", 2), ("box", 1)]
    (row,) = await world.rows(OUTBOX, key=ids.encode("loc", shop))
    told = events_pb.SalesRecorded.FromString(row.data).sales[0].lines
    assert [(each.sku, each.quantity, each.category) for each in told] == [
        ("GIFT", 3, "Sets"), ("LIP-1", 1, "Face/Lipstick"),
    ]  # fmt: skip
    assert [(each.sku, each.quantity) for each in told[0].components] == [("LIP-1", 6), ("box", 3)]


async def test_everything_that_was_rung_up_can_be_read_again(world: World, shop: uuid.UUID) -> None:
    odd = "quotes \" and \\ and {braces}, NULL, ünï, ; '--"
    sold = sale(
        shop,
        f"id {odd}",
        line(
            f"code {odd}",
            3,
            1001,
            unit_price=334,
            name=odd,
            taxes=(domain.Tax(odd, "0.19", 160), domain.Tax("city", "0.01", 9)),
            discounts=(domain.Discount(odd, 100, "spring"),),
        ),
        line("LIP-1", 1, 0),
        line("NULL", 0, -1, kind=domain.LineKind.ADJUSTMENT, name=""),
        tenders=(
            domain.Tender(domain.TenderType.CARD, 2000, "EUR", odd),
            domain.Tender(domain.TenderType.CASH, -831, "EUR", ""),
        ),
        terminal_id=odd,
        tax_inclusive=False,
        campaign_id=odd,
        customer_id=ids.new_uuid(),
    )
    order = await world.record(sold)

    assert isinstance(order, domain.Order)
    async with world.db.read(str(world.tenant)) as session:
        found = await reads.get(session, str(world.tenant), order.id)
    assert found == dataclasses.replace(order, lines=list(order.lines), tenders=list(order.tenders))
    assert (order.net_total, order.tax_total, order.total, order.discount_total) == (1000, 169, 1169, 100)


class Breaking(lane.SalesRunner):
    """Its connection breaks at the first write, before or after PostgreSQL has the commit."""

    def __init__(self, db: database.Database, *, after_commit: bool) -> None:
        super().__init__(db, lambda _key, _seq: None)
        self._after_commit = after_commit
        self.broken = False
        self.resolved = 0

    async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
        if not self.broken:
            self.broken = True
            if self._after_commit:
                await super().run(work)
            raise lanes.CommitLost
        return await super().run(work)

    async def resolve(self, work: Sequence[lane.Work]) -> list[lane.Outcome] | None:
        self.resolved += 1
        return await super().resolve(work)


@pytest.mark.parametrize("after_commit", [True, False])
async def test_a_lost_reply_to_commit_is_resolved(
    db: database.Database, tenant: uuid.UUID, shop: uuid.UUID, *, after_commit: bool
) -> None:
    runner = Breaking(db, after_commit=after_commit)
    world = World(db, tenant, runner=runner)
    unbalanced = sale(shop, "bad", tenders=(domain.Tender(domain.TenderType.CARD, 1, "EUR", ""),))
    waiting = [asyncio.create_task(world.record(one)) for one in (sale(shop, "s-1"), unbalanced, sale(shop, "s-2"))]
    await asyncio.sleep(0)  # all three wait before the lane starts: one batch
    world.start()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await world.stop()

    found = await recorded(world, shop)
    assert runner.resolved == 1
    assert [seq for _, seq in found] == [1, 2]
    assert isinstance(outcomes[1], domain.SaleUnbalanced)
    answered = [getattr(outcomes[n], "order_id", None) or getattr(outcomes[n], "id", None) for n in (0, 2)]
    assert answered == [order_id for order_id, _ in found]


async def test_a_caller_that_goes_away_does_not_undo_its_neighbours(world: World, shop: uuid.UUID) -> None:
    leaving = asyncio.create_task(world.record(sale(shop, "s-1")))
    staying = asyncio.create_task(world.record(sale(shop, "s-2")))
    await asyncio.sleep(0)
    leaving.cancel()

    answer = await staying
    assert isinstance(answer, domain.Order)
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_sale_without_a_time_happened_when_it_was_recorded(world: World, shop: uuid.UUID) -> None:
    order = await world.record(sale(shop, "s-1", occurred_at=None))

    assert isinstance(order, domain.Order)
    assert order.occurred_at == order.recorded_at
    assert order.business_date == order.recorded_at.astimezone(business_day.zone("Europe/Vienna")).date()
    assert not order.clock_skewed


async def test_a_closed_location_does_not_sell(world: World, shop: uuid.UUID) -> None:
    with pytest.raises(domain.LocationNotCapable):
        await world.record(sale(shop, "s-1"), store=dataclasses.replace(VIENNA, sells=False))


async def test_the_relay_finds_an_envelope_that_it_can_send(world: World, shop: uuid.UUID) -> None:
    await world.record(sale(shop, "s-1"))

    async with world.db.worker() as session:
        rows = await session.execute(
            sa.text(f"SELECT {events.COLUMNS} FROM outbox WHERE key = :key AND published_at IS NULL"),
            {"key": ids.encode("loc", shop)},
        )
        (row,) = [events.row(found) for found in rows]
    envelope = events.envelope(row)
    assert events.unpack(envelope, events_pb.SalesRecorded).location_id == ids.encode("loc", shop)
    assert envelope.occurred_at.ToDatetime(NOON.tzinfo) == NOON


@pytest.mark.parametrize(
    ("statement", "texts"), [(store.RECORDED, ["'{a}'", "'{b}'"]), (idempotency.LOOK_UP, ["'{a}'", "'{b}'", "'{c}'"])]
)
async def test_look_ups_of_a_batch_use_the_unique_index_even_when_tables_are_empty(
    urls: tuple[str, str, str], statement: pipeline.Statement, texts: list[str]
) -> None:
    """A generic plan that was made on an empty table stays: any other plan would read all orders of the tenant."""
    tenant = ids.new_uuid()
    values = [f"'{tenant}'", *texts]
    async with await psycopg.AsyncConnection.connect(
        urls[0], options="-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
    ) as connection:
        await connection.execute("SELECT set_config('app.tenant_id', %s, true)", (str(tenant),))
        await connection.execute(f"PREPARE look_up AS {statement.sql.decode()}")
        rows = await (await connection.execute(f"EXPLAIN EXECUTE look_up({', '.join(values)})")).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "Hash" not in plan
    assert "sales_order_occurred" not in plan
    assert "sales_order_client_sale" in plan or "idempotency_" in plan
