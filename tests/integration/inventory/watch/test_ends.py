"""How stock streams end: slow readers, drains, lifetimes, restores. In process, on a real database."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.inventory.watch import StockWatch
from services.kit import errors
from services.kit.watching import metrics
from tests.integration.inventory.watch import tills
from tests.integration.inventory.watch.tills import Shop, Till


async def committed(watch: StockWatch, shop: Shop, location_id: str) -> None:
    """Waits until the watch has read all that is committed."""
    async with asyncio.timeout(tills.PATIENCE_SECONDS):
        while watch.hub._feeds[shop.tenant_id, location_id].seq < await shop.head(location_id):
            await asyncio.sleep(0.01)


async def test_a_slow_reader_gets_the_newest_level_of_each_sku_instead_of_each_change(shop: Shop) -> None:
    location_id = await shop.location(["a", "b"])
    watch = shop.watch(log_entries=10)
    till = await Till(shop, watch, location_id).connect()
    await till.snapshot()
    conflated = metrics.CONFLATED.labels("stock")._value.get()

    await asyncio.gather(*(shop.adjust(location_id, sku, 1) for _ in range(20) for sku in "ab"))
    await committed(watch, shop, location_id)
    frame = await till.next()

    assert (frame.changes.seq_from, frame.changes.seq_to) == (1, 40)
    assert {c.level.sku: c.level.on_hand for c in frame.changes.changes} == {"a": 20, "b": 20}
    assert [c.seq for c in frame.changes.changes] == sorted(c.seq for c in frame.changes.changes)
    assert metrics.CONFLATED.labels("stock")._value.get() == conflated + 1


async def test_a_reader_too_slow_for_that_ends_with_a_token_that_loses_nothing(shop: Shop) -> None:
    skus = [f"sku-{n}" for n in range(30)]
    location_id = await shop.location(skus)
    watch = shop.watch(log_entries=5, latest_names=20)
    till = await Till(shop, watch, location_id).connect()
    await till.snapshot()

    await asyncio.gather(*(shop.adjust(location_id, sku, 1) for sku in skus))
    await committed(watch, shop, location_id)
    error = await till.rest()
    again = await Till(shop, watch, location_id).connect(token=till.token)
    await again.reach(30)

    assert isinstance(error, errors.SlowReader)
    assert tills.reason(till.frames[-1]) == "SLOW_READER"
    assert [c.seq for frame in again.frames for c in frame.changes.changes] == list(range(1, 31))


async def test_a_reader_that_takes_nothing_is_cut_off_and_holds_up_nobody(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    watch = shop.watch(blocked_seconds=0.6)
    cut = asyncio.Event()
    stuck = await Till(shop, watch, location_id).connect(cut=cut.set)
    brisk = await Till(shop, watch, location_id).connect()
    await stuck.snapshot()  # and reads no further
    await brisk.snapshot()

    async def sell() -> None:
        while not cut.is_set():
            await shop.adjust(location_id, "a", 1)
            await brisk.reach(await shop.head(location_id))

    async with asyncio.timeout(5):
        await sell()

    assert watch.hub.open == 1
    assert isinstance(await stuck.rest(), errors.SlowReader)


async def test_a_drain_is_said_then_streams_end_well_and_resume_elsewhere(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    watch = shop.watch()
    crowd = [await Till(shop, watch, location_id).connect() for _ in range(5)]
    for till in crowd:
        await till.snapshot()

    watch.hub.drain(3.0)
    told = [await till.next() for till in crowd]
    with pytest.raises(errors.Draining):
        await Till(shop, watch, location_id).connect()
    await shop.adjust(location_id, "a", 1)
    for till in crowd:
        await till.reach(1)
    ended, *ends = await asyncio.gather(watch.hub.stop(5.0), *(till.rest() for till in crowd))

    assert [frame.draining.within.ToTimedelta().total_seconds() for frame in told] == [3.0] * 5
    assert (ended, ends) == (None, [None] * 5)
    assert {tills.reason(till.frames[-1]) for till in crowd} == {"DRAINING"}
    elsewhere = await Till(shop, shop.watch(), location_id).connect(token=crowd[0].token)
    await shop.adjust(location_id, "a", 1)
    assert (await elsewhere.next()).changes.seq_to == 2


async def test_a_stop_does_not_wait_for_readers_that_take_nothing(shop: Shop) -> None:
    watch = shop.watch()
    cut = asyncio.Event()
    till = await Till(shop, watch, await shop.location()).connect(cut=cut.set)
    await till.snapshot()

    began = time.monotonic()
    await watch.hub.stop(0.3)

    assert time.monotonic() - began < 2
    assert cut.is_set()


async def test_a_stream_ends_with_its_lifetime(shop: Shop) -> None:
    till = await Till(shop, shop.watch(lifetime_seconds=0.5), await shop.location()).connect()

    error = await till.rest()

    assert error is None
    assert tills.reason(till.frames[-1]) == "STREAM_LIFETIME"


async def test_a_stream_ends_no_later_than_its_readers_token(shop: Shop) -> None:
    expires_at = time.time() + 1.8
    till = await Till(shop, shop.watch(), await shop.location()).connect(expires_at=expires_at)

    error = await till.rest()

    assert time.time() < expires_at
    assert error is None
    assert tills.reason(till.frames[-1]) == "STREAM_LIFETIME"


async def test_after_a_restore_streams_end_and_begin_anew(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    await shop.adjust(location_id, "a", 1)
    watch = shop.watch()
    till = await Till(shop, watch, location_id).connect()
    await till.snapshot()
    old = till.token

    shop.change_epoch()
    error = await till.rest()
    anew = await Till(shop, watch, location_id).connect(token=till.token)

    assert isinstance(error, errors.ResyncRequired)
    assert tills.reason(till.frames[-1]) == "RESYNC_REQUIRED"
    assert len((await anew.snapshot()).snapshot_chunk.levels) == 1
    with pytest.raises(errors.ResyncRequired):
        await Till(shop, watch, location_id).connect(token=old)
    resumed = await Till(shop, watch, location_id).connect(token=anew.token)
    await shop.adjust(location_id, "a", 1)
    assert (await resumed.next()).changes.seq_to == 2


async def test_a_token_of_the_new_epoch_is_good_in_a_process_that_has_not_noticed_the_restore(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    unaware = shop.watch(poll_seconds=60)
    till = await Till(shop, unaware, location_id).connect()
    await till.snapshot()
    shop.change_epoch()
    aware = await Till(shop, shop.watch(), location_id).connect()
    await aware.snapshot()

    moved = await Till(shop, unaware, location_id).connect(token=aware.token)
    await shop.adjust(location_id, "a", 1)

    assert (await moved.next()).changes.seq_to == 1


async def test_a_browser_is_told_in_band_and_its_next_try_begins_anew(shop: Shop) -> None:
    location_id = await shop.location()
    watch = shop.watch()
    browser = await Till(shop, watch, location_id).connect(token="what a page made up", refuse_in_band=True)

    error = await browser.rest()
    again = await Till(shop, watch, location_id).connect(token=browser.token, refuse_in_band=True)

    assert error is None
    assert [tills.reason(frame) for frame in browser.frames] == ["RESYNC_REQUIRED"]
    assert (await again.next()).snapshot_chunk.last
