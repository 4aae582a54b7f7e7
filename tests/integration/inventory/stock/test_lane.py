"""Promises of the stock lane, on a real database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import psycopg
import pytest
import sqlalchemy as sa

from services.inventory import lane, sweeper
from services.inventory.domain import commands, stock_errors
from services.inventory.domain import levels as values
from services.inventory.mapping import stock as mapping
from services.kit import database, deadline, errors, ids, lanes, principal
from tests import worlds
from tillmesh.inventory.v1 import stock_pb2

CONFIRM, RELEASE, EXTEND = values.HoldState.CONFIRMED, values.HoldState.RELEASED, values.HoldState.ACTIVE


async def outcomes(*calls: object) -> list[object]:
    return await asyncio.gather(*calls, return_exceptions=True)  # type: ignore[call-overload]


async def balanced(world: worlds.StockWorld, location_id: str) -> None:
    """Ledger = level, holds = reserved = buckets, positions gap free, one outbox row covers each position."""
    at = {"location": str(mapping.location_uuid(location_id)), "key": location_id}
    for row in await world.rows("SELECT * FROM stock_level WHERE location_id = :location", **at):
        moved = await world.rows(
            """SELECT coalesce(sum(CASE WHEN to_state <> 1 THEN quantity ELSE 0 END)
                      - sum(CASE WHEN from_state <> 1 THEN quantity ELSE 0 END), 0),
                      coalesce(sum(CASE to_state WHEN 3 THEN quantity ELSE 0 END)
                      - sum(CASE from_state WHEN 3 THEN quantity ELSE 0 END), 0)
               FROM ledger WHERE location_id = :location AND sku = :sku""",
            location=at["location"], sku=row.sku,
        )  # fmt: skip
        assert (row.on_hand, row.reserved) == tuple(moved[0])
        held = await world.rows(
            "SELECT coalesce(sum(quantity), 0) FROM hold_bucket WHERE location_id = :location AND sku_key = lower(:sku)",
            location=at["location"], sku=row.sku,
        )  # fmt: skip
        assert row.reserved == held[0][0]
    [(head,)] = await world.rows("SELECT seq FROM stock_head WHERE location_id = :location", location=at["location"])
    events = await world.rows("SELECT seq_from, seq_to FROM outbox WHERE key = :key ORDER BY seq_to", key=location_id)
    assert [row.seq_from for row in events] == [1, *(row.seq_to + 1 for row in events)][: len(events)]
    assert (events[-1].seq_to if events else 0) == head


async def test_64_racers_on_one_sku_never_oversell(world: worlds.StockWorld) -> None:
    location_id = await world.location(["lipstick"])
    await world.adjust(location_id, "lipstick", 20)

    results = await outcomes(*(world.reserve(location_id, ("lipstick", 1)) for _ in range(64)))

    won = [r for r in results if isinstance(r, stock_pb2.Reservation)]
    lost = [r for r in results if isinstance(r, stock_errors.InsufficientStock)]
    assert (len(won), len(lost)) == (20, 44)
    assert (await world.level(location_id, "lipstick")).available == 0
    await balanced(world, location_id)


async def test_two_processes_on_one_lane_never_oversell(urls: tuple[str, str], world: worlds.StockWorld) -> None:
    location_id = await world.location(["a", "b"])
    await world.adjust(location_id, "a", 30)
    await world.adjust(location_id, "b", 30)
    other = database.Database(*urls)
    await other.open()
    async with worlds.StockWorld(other, tenant_id=world.tenant_id) as second:
        calls = [
            process.reserve(location_id, *lines)
            for _ in range(20)
            for process, lines in ((world, (("a", 1), ("b", 1))), (second, (("b", 1), ("a", 1))))
        ]
        results = await outcomes(*calls)
    await other.close()

    assert sum(isinstance(r, stock_pb2.Reservation) for r in results) == 30
    await balanced(world, location_id)


async def test_all_lines_are_held_or_none(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a", "b"])
    await world.adjust(location_id, "a", 5)
    await world.adjust(location_id, "b", 1)

    with pytest.raises(stock_errors.InsufficientStock) as refused:
        await world.reserve(location_id, ("a", 5), ("B", 1), ("b", 1))

    assert [(line.sku, line.requested, line.available) for line in refused.value.lines] == [("B", 2, 1)]
    assert (await world.level(location_id, "a")).available == 5
    await balanced(world, location_id)


async def test_a_reservation_is_returned_again_for_the_same_key(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 9)

    in_one_batch = await asyncio.gather(*(world.reserve(location_id, ("a", 1), request_id="basket") for _ in range(20)))
    later = await world.reserve(location_id, ("a", 1), request_id="basket")

    assert {r.id for r in (*in_one_batch, later)} == {later.id}
    assert (await world.level(location_id, "a")).reserved == 1
    with pytest.raises(errors.IdempotencyKeyReused):
        await world.reserve(location_id, ("a", 2), request_id="basket", fingerprint=b"other")


async def test_one_key_in_two_locations_at_once_has_one_effect(world: worlds.StockWorld) -> None:
    here, there = await world.location(["a"]), await world.location()
    for location_id in (here, there):
        await world.adjust(location_id, "a", 9)

    results = await outcomes(
        world.reserve(here, ("a", 1), request_id="k", fingerprint=b"here"),
        world.reserve(there, ("a", 1), request_id="k", fingerprint=b"there"),
    )

    assert sorted(type(r).__name__ for r in results) == ["IdempotencyKeyReused", "Reservation"]


async def test_a_refusal_is_evaluated_again(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    with pytest.raises(stock_errors.InsufficientStock):
        await world.reserve(location_id, ("a", 1), request_id="k")

    await world.adjust(location_id, "a", 1)

    assert (await world.reserve(location_id, ("a", 1), request_id="k")).id


async def test_a_hold_ends_by_the_clock_and_its_units_return(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 3)
    held = await world.reserve(location_id, ("a", 3), ttl=1)
    ends = held.expires_at.ToDatetime().timestamp()

    while (level := await world.level(location_id, "a")).available != 3:
        assert time.time() < ends + 5

    assert level.reserved == 0  # nobody has touched a row yet
    with pytest.raises(stock_errors.ReservationEnded):
        await world.end(held.id, CONFIRM)
    assert (await world.reserve(location_id, ("a", 3))).id  # the batch gives the units back before it decides
    await balanced(world, location_id)
    reasons = await world.rows("SELECT reason FROM ledger ORDER BY seq")
    assert [row.reason for row in reasons] == [1, 14, 16, 14]


async def test_holds_of_idle_skus_are_swept(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a", "b"])
    for sku in ("a", "b"):
        await world.adjust(location_id, sku, 3)
        await world.reserve(location_id, (sku, 2), ttl=1)
    sweep = sweeper.ExpirySweeper(world.db, world.lanes)

    deadline_at = time.monotonic() + 10
    while await world.rows(
        "SELECT 1 FROM hold_bucket WHERE location_id = :l", l=str(mapping.location_uuid(location_id))
    ):
        assert time.monotonic() < deadline_at
        await sweep.sweep()

    assert await world.rows("SELECT 1 FROM stock_level WHERE reserved > 0") == []
    await balanced(world, location_id)


async def test_confirm_release_and_extend_follow_the_state(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 10)
    first, second = await world.reserve(location_id, ("a", 2)), await world.reserve(location_id, ("a", 3))

    longer = await world.end(first.id, EXTEND, 3600)
    confirmed = await world.end(first.id, CONFIRM)
    released = await world.end(second.id, RELEASE)
    again = await world.end(second.id, RELEASE)

    assert longer.expires_at.seconds > first.expires_at.seconds
    assert confirmed.state == stock_pb2.RESERVATION_STATE_CONFIRMED
    assert released.state == again.state == stock_pb2.RESERVATION_STATE_RELEASED
    level = await world.level(location_id, "a")
    assert (level.on_hand, level.reserved, level.allocated, level.available) == (10, 0, 2, 8)
    for action in (CONFIRM, EXTEND):
        with pytest.raises(stock_errors.ReservationEnded):
            await world.end(second.id, action)
    await world.end(first.id, RELEASE)  # a confirmed one may be given back
    assert (await world.level(location_id, "a")).available == 10
    await balanced(world, location_id)


async def test_locations_that_wait_together_share_a_batch_and_keep_their_own_order(db: database.Database) -> None:
    batches: list[int] = []

    class Counting(lane.StockRunner):
        async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
            batches.append(len({key.location for key, _ in work}))
            return await super().run(work)

    async with worlds.StockWorld(db, runner=Counting, in_flight=1) as world:
        await world.variants(["a"])
        locations = [await world.location() for _ in range(5)]
        unknown = ids.new("loc")
        await outcomes(*(world.adjust(at, "a", 3) for at in locations))
        batches.clear()
        calls = [world.reserve(at, ("a", 1)) for _ in range(4) for at in [*locations, unknown]]
        results = await outcomes(*calls)

        assert max(batches) > 1
        held = [r for r in results if isinstance(r, stock_pb2.Reservation)]
        assert sorted(r.location_id for r in held) == sorted(locations * 3)
        assert sum(isinstance(r, stock_errors.InsufficientStock) for r in results) == 5
        assert sum(isinstance(r, errors.NotFound) for r in results) == 4
        for location_id in locations:
            assert sorted(r.created_seq for r in held if r.location_id == location_id) == [2, 3, 4]
            await balanced(world, location_id)


async def test_one_bad_request_never_fails_its_neighbours(db: database.Database) -> None:
    """A command that breaks a constraint of the database: the batch is bisected until it stands alone."""

    class Poisoned(lane.StockRunner):
        async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
            if any(getattr(s.command, "sku", "") == "poison" for _, s in work):
                async with self._db.lane_connection() as connection:
                    await connection.execute("SELECT 1 / 0")
            return await super().run(work)

    async with worlds.StockWorld(db, runner=Poisoned, in_flight=1) as world:
        location_id = await world.location(["a", "poison"])
        calls = [world.adjust(location_id, "poison" if n == 7 else "a", 1) for n in range(20)]
        results = await outcomes(*calls)

    assert [n for n, r in enumerate(results) if isinstance(r, Exception)] == [7]
    assert isinstance(results[7], psycopg.errors.DivisionByZero)
    await balanced(world, location_id)


@pytest.mark.parametrize("committed", [True, False])
async def test_a_lost_reply_at_commit_is_resolved(db: database.Database, committed: bool) -> None:
    """The connection breaks after COMMIT was sent: what is remembered tells whether it happened."""
    broken: list[bool] = []

    class Broken(lane.StockRunner):
        async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
            if broken or not any(isinstance(s.command, commands.Reserve) for _, s in work):
                return await super().run(work)
            broken.append(True)
            if committed:
                await super().run(work)
            raise lanes.CommitLost

    async with worlds.StockWorld(db, runner=Broken, in_flight=1) as world:
        location_id = await world.location(["a"])
        await world.adjust(location_id, "a", 5)
        results = await outcomes(*(world.reserve(location_id, ("a", 1)) for _ in range(8)))

        assert broken
        assert sum(isinstance(r, stock_pb2.Reservation) for r in results) == 5
        assert sum(isinstance(r, stock_errors.InsufficientStock) for r in results) == 3
        assert (await world.level(location_id, "a")).reserved == 5
        await balanced(world, location_id)


async def test_a_reply_lost_again_while_it_is_resolved_is_resolved(db: database.Database) -> None:
    """PostgreSQL goes away twice: after the batch, and after what it refused was decided anew."""
    broken: list[bool] = []

    class Broken(lane.StockRunner):
        async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
            answers = await super().run(work)
            if len(broken) < 2 and any(isinstance(s.command, commands.Reserve) for _, s in work):
                broken.append(True)
                raise lanes.CommitLost
            return answers

    async with worlds.StockWorld(db, runner=Broken, in_flight=1) as world:
        location_id = await world.location(["a"])
        await world.adjust(location_id, "a", 5)
        results = await outcomes(*(world.reserve(location_id, ("a", 1)) for _ in range(8)))

        assert len(broken) == 2
        assert sum(isinstance(r, stock_pb2.Reservation) for r in results) == 5
        assert sum(isinstance(r, stock_errors.InsufficientStock) for r in results) == 3
        await balanced(world, location_id)


async def test_a_connection_that_dies_inside_a_batch_costs_nothing(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 1000)

    async def kill() -> None:
        for _ in range(3):
            await asyncio.sleep(0.02)
            async with world.db.lane_connection() as connection:
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
                )

    *results, _ = await outcomes(*(world.reserve(location_id, ("a", 1)) for _ in range(100)), kill())

    unexpected = [r for r in results if not isinstance(r, stock_pb2.Reservation | errors.Unavailable)]
    assert unexpected == []
    reserved = (await world.level(location_id, "a")).reserved
    assert reserved == sum(isinstance(r, stock_pb2.Reservation) for r in results)
    await balanced(world, location_id)


async def test_past_its_deadline_a_queued_request_is_dropped(db: database.Database) -> None:
    gate = asyncio.Event()

    class Slow(lane.StockRunner):
        async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
            if isinstance(work[0][1].command, commands.Reserve):
                await gate.wait()
            return await super().run(work)

    async with worlds.StockWorld(db, runner=Slow, in_flight=1) as world:
        location_id = await world.location(["a"])
        await world.adjust(location_id, "a", 5)

        async def hurried() -> object:
            deadline.enter(0.02)
            return await world.reserve(location_id, ("a", 1))

        first = asyncio.create_task(world.reserve(location_id, ("a", 1)))
        await asyncio.sleep(0)
        second = asyncio.create_task(hurried())
        await asyncio.sleep(0.05)
        gate.set()

        assert (await first).id
        with pytest.raises(errors.DeadlineExceeded):
            await second
        assert (await world.level(location_id, "a")).reserved == 1


async def test_a_caller_that_goes_away_changes_nothing_for_others(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 50)
    calls = [asyncio.create_task(world.reserve(location_id, ("a", 1))) for _ in range(20)]
    await asyncio.sleep(0.001)
    for call in calls[::2]:
        call.cancel()

    results = await outcomes(*calls)

    assert all(isinstance(r, stock_pb2.Reservation | asyncio.CancelledError) for r in results)
    assert (await world.level(location_id, "a")).reserved >= 10
    await balanced(world, location_id)


async def test_a_full_lane_refuses_more(db: database.Database) -> None:
    async with worlds.StockWorld(db, queue_max=5, in_flight=1) as world:
        location_id = await world.location(["a"])
        results = await outcomes(*(world.adjust(location_id, "a", 1) for _ in range(20)))

    assert any(isinstance(r, errors.Overloaded) for r in results)
    assert sum(isinstance(r, stock_pb2.StockLevel) for r in results) >= 5


async def test_counts_are_compared_and_set(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a", "b"])
    await world.adjust(location_id, "a", 5)

    with pytest.raises(stock_errors.QuantityStale) as stale:
        await world.count(location_id, commands.Count("a", 9, 4), commands.Count("b", 2, 0))
    done = await world.count(location_id, commands.Count("A", 9, 5), commands.Count("b", 2, 0))

    assert [(line.sku, line.expected_on_hand, line.on_hand) for line in stale.value.lines] == [("a", 4, 5)]
    assert [(level.sku, level.on_hand) for level in done.levels] == [("a", 9), ("b", 2)]
    await balanced(world, location_id)


async def test_stock_that_holds_promise_may_be_found_gone(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 5)
    await world.reserve(location_id, ("a", 4))

    level = await world.adjust(location_id, "a", -3)
    with pytest.raises(stock_errors.QuantityBelowZero):
        await world.adjust(location_id, "a", -3)

    assert (level.on_hand, level.available) == (2, -2)
    raised = await world.rows("SELECT kind, sku, quantity FROM stock_exception")
    assert [tuple(row) for row in raised] == [(1, "a", 2)]


async def test_another_tenant_sees_nothing(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 5)
    held = await world.reserve(location_id, ("a", 1))
    async with worlds.StockWorld(world.db) as stranger:
        await stranger.variants(["a"])
        principal.enter(stranger.caller)

        for call in (
            stranger.level(location_id, "a"),
            stranger.adjust(location_id, "a", 1),
            stranger.end(held.id, RELEASE),
        ):
            with pytest.raises(errors.NotFound):
                await call
        assert (
            await stranger.rows("SELECT 1 FROM stock_level UNION ALL SELECT 1 FROM hold UNION ALL SELECT 1 FROM outbox")
            == []
        )


async def test_without_a_tenant_there_are_no_rows(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 5)

    async with world.db.lane_connection() as connection:
        rows = await (await connection.execute("SELECT 1 FROM stock_level")).fetchall()

    assert rows == []


async def test_an_unknown_sku_is_said_so_and_a_known_one_reads_as_zeros(world: worlds.StockWorld) -> None:
    location_id = await world.location(["Known"])

    assert (await world.level(location_id, "KNOWN")).sku == "Known"
    with pytest.raises(stock_errors.SkuNotFound):
        await world.level(location_id, "unknown")
    with pytest.raises(errors.NotFound):
        await world.level(ids.new("loc"), "known")
    with pytest.raises(stock_errors.SkuNotFound):
        await world.adjust(location_id, "unknown", 1)
    with pytest.raises(stock_errors.InsufficientStock):
        await world.reserve(location_id, ("known", 1))


async def test_positions_and_quantities_have_no_small_limits(world: worlds.StockWorld) -> None:
    """Numbers of 16 and 32 bits in one batch: every int is sent as a bigint."""
    location_id = await world.location(["a", "b"])
    for seq in (2**15 - 5, 2**31 - 5):
        async with world.db.transaction(world.tenant) as session:
            await session.execute(sa.text("UPDATE stock_head SET seq = :seq"), {"seq": seq})
        await asyncio.gather(*(world.adjust(location_id, sku, delta) for sku in "ab" for delta in (1, 70_000) * 5))

    assert (await world.adjust(location_id, "a", 10**12)).on_hand == 10**12 + 2 * 5 * 70_001
