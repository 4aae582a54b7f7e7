"""Promises of a stock stream, in process, on a real database."""

from __future__ import annotations

import asyncio
import time

import pytest
from psycopg.types.json import Jsonb

from services.inventory.mapping import stock as mapping
from services.kit import deadline, errors, ids
from tests.integration.inventory.watch import tills
from tests.integration.inventory.watch.tills import Shop, Till

FILL = """
INSERT INTO stock_level (tenant_id, location_id, sku_key, sku, on_hand, version, updated_at)
SELECT %s, %s, lpad(n::text, 5, '0'), lpad(n::text, 5, '0'), n, 1, now() FROM generate_series(1, %s) n
"""


async def test_a_stream_begins_with_all_levels_and_goes_on_with_each_change(shop: Shop) -> None:
    location_id = await shop.location(["Lipstick", "mascara"])
    await shop.adjust(location_id, "lipstick", 5)
    await shop.adjust(location_id, "mascara", 7)
    till = await Till(shop, shop.watch(), location_id).connect()

    first = await till.snapshot()
    await shop.adjust(location_id, "LIPSTICK", -2)
    second = await till.next()

    assert [(level.sku, level.on_hand) for level in first.snapshot_chunk.levels] == [("Lipstick", 5), ("mascara", 7)]
    assert first.snapshot_chunk.seq == 2
    assert (second.changes.seq_from, second.changes.seq_to) == (3, 3)
    assert [(c.seq, c.level.sku, c.level.on_hand) for c in second.changes.changes] == [(3, "Lipstick", 3)]


async def test_an_empty_location_has_an_empty_snapshot(shop: Shop) -> None:
    till = await Till(shop, shop.watch(), await shop.location()).connect()

    first = await till.next()

    assert (list(first.snapshot_chunk.levels), first.snapshot_chunk.last) == ([], True)


async def test_a_snapshot_comes_in_chunks_of_500_by_sku(shop: Shop) -> None:
    location_id = await shop.location()
    shop.administer(FILL, shop.tenant, mapping.location_uuid(location_id), 1234)
    till = await Till(shop, shop.watch(), location_id).connect()

    await till.snapshot()

    chunks = [frame.snapshot_chunk for frame in till.frames]
    assert [(len(chunk.levels), chunk.last) for chunk in chunks] == [(500, False), (500, False), (234, True)]
    assert [level.on_hand for chunk in chunks for level in chunk.levels] == list(range(1, 1235))


async def test_chunks_of_large_levels_are_smaller(shop: Shop) -> None:
    location_id = await shop.location()
    shop.administer(FILL, shop.tenant, mapping.location_uuid(location_id), 100)
    coming = [{"quantity": 1, "eta": "2030-01-01T00:00:00+00:00", "reference": "x" * 128}] * 50
    shop.administer("UPDATE stock_level SET incoming = %s WHERE tenant_id = %s", Jsonb(coming), shop.tenant)
    till = await Till(shop, shop.watch(), location_id).connect()

    await till.snapshot()

    assert len(till.frames) > 1
    assert all(frame.ByteSize() < 201_000 for frame in till.frames)
    assert len(till.levels) == 100


async def test_the_token_of_an_unfinished_snapshot_begins_it_again(shop: Shop) -> None:
    location_id = await shop.location()
    shop.administer(FILL, shop.tenant, mapping.location_uuid(location_id), 600)
    watch = shop.watch()
    till = await Till(shop, watch, location_id).connect()
    await till.next()

    again = await Till(shop, watch, location_id).connect(token=till.token)
    await again.snapshot()

    assert len(again.levels) == 600


async def test_a_snapshot_adds_back_what_has_run_out_by_the_databases_clock(shop: Shop) -> None:
    location_id = await shop.location(["lipstick"])
    await shop.adjust(location_id, "lipstick", 5)
    await shop.reserve(location_id, ("lipstick", 3))
    await shop.reserve(location_id, ("lipstick", 1))
    shop.administer(
        "UPDATE hold_bucket SET expires_at = now() - interval '1 s' WHERE tenant_id = %s AND quantity = "
        "(SELECT max(quantity) FROM hold_bucket WHERE tenant_id = %s)",
        shop.tenant, shop.tenant,
    )  # fmt: skip
    held = sum(row.quantity for row in await shop.rows("SELECT quantity FROM hold_bucket WHERE expires_at > now()"))
    till = await Till(shop, shop.watch(), location_id).connect()

    await till.snapshot()

    level = till.levels["lipstick"]
    assert (level.on_hand, level.reserved, level.available) == (5, held, 5 - held)


async def test_a_stream_resumes_right_after_any_frame(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    watch = shop.watch()
    till = await Till(shop, watch, location_id).connect()
    await till.snapshot()
    for _ in range(5):
        await shop.adjust(location_id, "a", 1)
        await till.next()

    seen = []
    for frame in till.frames:
        again = await Till(shop, watch, location_id).connect(token=frame.resume_token)
        if tills.position(frame) < 5:
            await again.reach(5)
        seen.append([change.seq for read in again.frames for change in read.changes.changes])

    assert seen == [list(range(start, 6)) for start in range(1, 7)]


async def test_a_filter_lets_only_its_skus_through_whatever_their_case(shop: Shop) -> None:
    location_id = await shop.location(["Lipstick", "mascara", "soap"])
    await shop.adjust(location_id, "mascara", 1)
    await shop.adjust(location_id, "soap", 1)
    watch = shop.watch(progress_seconds=0.8)
    till = await Till(shop, watch, location_id).connect(skus=("LIPSTICK", "Soap"))

    await till.snapshot()
    for sku in ("mascara", "lipstick", "mascara"):
        await shop.adjust(location_id, sku, 3)
    await till.reach(5)
    again = await Till(shop, watch, location_id).connect(skus=("soap", "lipstick"), token=till.frames[0].resume_token)
    await again.reach(5)

    assert {sku: level.on_hand for sku, level in till.levels.items()} == {"Lipstick": 3, "soap": 1}
    assert [c.level.sku for frame in again.frames for c in frame.changes.changes] == ["Lipstick"]


async def test_progress_tells_that_nothing_was_missed_while_nothing_happens(shop: Shop) -> None:
    till = await Till(shop, shop.watch(progress_seconds=0.8), await shop.location()).connect()
    await till.snapshot()

    began = time.monotonic()
    seqs = [(await till.until(lambda frame: frame.HasField("progress"))).progress.seq for _ in range(2)]

    assert seqs == [0, 0]
    assert time.monotonic() - began < 1.8


async def test_a_token_of_another_location_filter_or_tenant_or_a_damaged_one_is_refused(shop: Shop) -> None:
    location_id, other = await shop.location(["a"]), await shop.location()
    watch = shop.watch()
    till = await Till(shop, watch, location_id).connect()
    await till.snapshot()
    token = till.token
    damaged = token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:]

    for wanted, options in (
        (other, {"token": token}),
        (location_id, {"token": token, "skus": ("a",)}),
        (location_id, {"token": damaged}),
    ):
        with pytest.raises(errors.ResyncRequired):
            await Till(shop, watch, wanted).connect(**options)
    for nonsense in ("x", "ä" * 40, "A" * 41, "=" * 40):
        with pytest.raises(errors.InvalidRequest):
            await Till(shop, watch, location_id).connect(token=nonsense)


async def test_a_location_of_another_tenant_is_not_found_like_one_that_never_was(shop: Shop) -> None:
    location_id = await shop.location()
    watch = shop.watch()
    stranger = ids.new("ten")

    for tenant_id, wanted in ((stranger, location_id), (shop.tenant_id, ids.new("loc"))):
        with pytest.raises(errors.NotFound) as caught:
            await watch.hub.subscribe(tenant_id, wanted)
        assert caught.value.metadata == {"resource": "location"}


async def test_a_token_from_the_future_is_refused(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    await shop.adjust(location_id, "a", 1)
    till = await Till(shop, shop.watch(), location_id).connect()
    await till.snapshot()
    shop.administer("UPDATE stock_head SET seq = 0 WHERE tenant_id = %s", shop.tenant)  # a restore without a new epoch

    with pytest.raises(errors.ResyncRequired):
        await Till(shop, shop.watch(), location_id).connect(token=till.token)


async def test_a_token_of_a_process_that_was_ahead_is_good_in_one_that_is_behind(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    ahead, behind = shop.watch(), shop.watch(hears=False, poll_seconds=0.5)
    first, other = [await Till(shop, watch, location_id).connect() for watch in (ahead, behind)]
    await first.snapshot()
    await other.snapshot()
    await shop.adjust(location_id, "a", 1)
    await first.reach(1)

    moved = await Till(shop, behind, location_id).connect(token=first.token)
    await shop.adjust(location_id, "a", 1)

    assert [change.seq for change in (await moved.next()).changes.changes] == [2]


async def test_without_being_told_a_process_finds_changes_by_its_poll(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    till = await Till(shop, shop.watch(hears=False), location_id).connect()
    await till.snapshot()

    await shop.adjust(location_id, "a", 1)

    assert (await till.next()).changes.seq_to == 1


async def test_a_stream_goes_on_when_the_database_comes_back(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    till = await Till(shop, shop.watch(), location_id).connect()
    await till.snapshot()

    shop.administer("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'inventory_app'")
    await asyncio.sleep(0)
    await shop.adjust(location_id, "a", 1)

    assert (await till.reach(1)).changes.seq_to == 1


async def test_a_stream_that_can_not_be_confirmed_says_so_rather_than_looking_alive(shop: Shop) -> None:
    watch = shop.watch(progress_seconds=0.6, stale_seconds=1.0)
    till = await Till(shop, watch, await shop.location()).connect()
    await till.snapshot()

    await shop.db._lanes.close()
    error = await till.rest()

    assert isinstance(error, errors.Unavailable)
    assert tills.reason(till.frames[-1]) == "UNAVAILABLE"


async def test_a_callers_deadline_does_not_bound_what_is_read_for_all(shop: Shop) -> None:
    deadline.enter(0.001)
    location_id = ids.new("loc")
    with pytest.raises(errors.NotFound):  # rather than DeadlineExceeded: others may wait for the same answer
        await shop.watch().hub.subscribe(shop.tenant_id, location_id)


async def test_a_feed_goes_away_after_its_last_stream(shop: Shop) -> None:
    watch = shop.watch(linger_seconds=0.1, poll_seconds=0.05)
    till = await Till(shop, watch, await shop.location()).connect()
    await till.snapshot()
    await till.leave()

    assert watch.hub.open == 0
    async with asyncio.timeout(5):
        while watch.hub._feeds:
            await asyncio.sleep(0.02)
