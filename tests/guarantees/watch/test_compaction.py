"""What a token promises when what it stands on is gone: the outbox keeps 7 days, a restore changes the epoch."""

from __future__ import annotations

import pytest

from services.kit import errors
from services.kit.watching import metrics
from tests.integration.inventory.watch.tills import Shop, Till


async def test_a_token_older_than_what_is_kept_is_refused_and_a_younger_one_goes_on(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    watch = shop.watch()
    till = await Till(shop, watch, location_id).connect()
    await till.snapshot()
    for _ in range(6):
        await shop.adjust(location_id, "a", 1)
        await till.next()
    tokens = [frame.resume_token for frame in till.frames]  # tokens[n] is right after position n

    shop.compact(location_id, 3)
    restarted = shop.watch()
    refused = metrics.RESYNC.labels("stock", "retention")._value.get()

    for seq in (0, 2):
        with pytest.raises(errors.ResyncRequired):
            await Till(shop, restarted, location_id).connect(token=tokens[seq])
    for seq in (3, 5):
        again = await Till(shop, restarted, location_id).connect(token=tokens[seq])
        await again.reach(6)
        assert [c.seq for f in again.frames for c in f.changes.changes] == list(range(seq + 1, 7))
    assert metrics.RESYNC.labels("stock", "retention")._value.get() == refused + 2


async def test_a_token_at_the_head_is_good_even_if_nothing_is_kept(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    await shop.adjust(location_id, "a", 1)
    till = await Till(shop, shop.watch(), location_id).connect()
    await till.snapshot()

    shop.compact(location_id, 1)
    again = await Till(shop, shop.watch(), location_id).connect(token=till.token)
    await shop.adjust(location_id, "a", 1)

    assert (await again.next()).changes.seq_to == 2


async def test_streams_whose_next_changes_are_lost_are_told_rather_than_left_waiting(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    watch = shop.watch(hears=False, poll_seconds=0.5)
    till = await Till(shop, watch, location_id).connect()
    await till.snapshot()

    await shop.adjust(location_id, "a", 1)
    shop.compact(location_id, 1)
    error = await till.rest()

    assert isinstance(error, errors.ResyncRequired)


async def test_after_a_restore_no_old_token_gives_anything_but_resync(shop: Shop) -> None:
    location_id = await shop.location(["a"])
    watch = shop.watch()
    till = await Till(shop, watch, location_id).connect()
    await till.snapshot()
    for _ in range(3):
        await shop.adjust(location_id, "a", 1)
        await till.next()

    # A restore to position 1: what came after is lost, and other sales take its positions.
    shop.administer("DELETE FROM outbox WHERE key = %s AND seq_to > 1", location_id)
    shop.administer("UPDATE stock_head SET seq = 1, epoch = epoch + 1 WHERE tenant_id = %s", shop.tenant)
    for _ in range(4):
        await shop.adjust(location_id, "a", 1)

    for process in (watch, shop.watch()):
        for frame in till.frames:
            with pytest.raises(errors.ResyncRequired):
                await Till(shop, process, location_id).connect(token=frame.resume_token)
