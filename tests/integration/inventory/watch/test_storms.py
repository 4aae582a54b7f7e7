"""Many streams that connect at once: what they share. In process, on a real database."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from services.inventory.watch import source
from services.kit.watching import metrics
from tests.integration.inventory.watch.tills import Shop, Till

CROWD = 200


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts reads of the database by kind, and passes them on."""
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        real = getattr(source.StockSource, name)

        async def read(*args: Any) -> Any:
            counted[name] += 1
            return await real(*args)

        monkeypatch.setattr(source.StockSource, name, read)

    for name in ("head", "tail", "snapshot"):
        count(name)
    return counted


async def snapshots(shop: Shop, tills: list[Till]) -> None:
    async def begin(till: Till) -> None:
        await till.connect()
        await till.snapshot()

    await asyncio.gather(*map(begin, tills))


async def test_200_streams_that_connect_at_once_cost_one_snapshot(shop: Shop, reads: Counter[str]) -> None:
    location_id = await shop.location(["a"])
    await shop.adjust(location_id, "a", 1)
    watch = shop.watch(snapshot_seconds=5.0)
    tills = [Till(shop, watch, location_id) for _ in range(CROWD)]
    active = metrics.ACTIVE.labels("stock")._value.get()

    await snapshots(shop, tills)

    assert (reads["head"], reads["snapshot"]) == (1, 1)
    assert all(till.levels["a"].on_hand == 1 for till in tills)
    assert metrics.ACTIVE.labels("stock")._value.get() == active + CROWD


async def test_200_streams_that_come_back_to_a_new_process_read_the_tail_together(
    shop: Shop, reads: Counter[str]
) -> None:
    location_id = await shop.location(["a"])
    before = await Till(shop, shop.watch(), location_id).connect()
    await before.snapshot()
    for _ in range(10):
        await shop.adjust(location_id, "a", 1)
    reads.clear()
    restarted = shop.watch()
    tills = [Till(shop, restarted, location_id) for _ in range(CROWD)]

    async def resume(till: Till) -> None:
        await till.connect(token=before.token)
        await till.reach(10)

    await asyncio.gather(*map(resume, tills))

    assert (reads["head"], reads["snapshot"]) == (1, 0)
    assert reads["tail"] <= 5
    assert all([c.seq for f in till.frames for c in f.changes.changes] == list(range(1, 11)) for till in tills)


async def test_streams_with_the_same_filter_share_their_frames(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    location_id = await shop.location(["a"])
    watch = shop.watch()
    tills = [Till(shop, watch, location_id) for _ in range(50)]
    await snapshots(shop, tills)
    encoded: list[int] = []
    real = watch.hub.encoder.changes

    def encode(token: str, seq_from: int, seq_to: int, payloads: Any) -> bytes:
        encoded.append(seq_from)
        return real(token, seq_from, seq_to, payloads)

    monkeypatch.setattr(watch.hub.encoder, "changes", encode)
    await shop.adjust(location_id, "a", 1)
    await asyncio.gather(*(till.reach(1) for till in tills))

    assert encoded == [1]


async def test_a_storm_of_snapshots_takes_at_most_two_connections(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [await shop.location(["a"])] + [await shop.location() for _ in range(11)]
    watch = shop.watch()
    running, most = 0, 0
    real = source.StockSource.snapshot

    async def read(*args: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await real(*args)
        finally:
            running -= 1

    monkeypatch.setattr(source.StockSource, "snapshot", read)
    await snapshots(shop, [Till(shop, watch, place) for place in places])

    assert most == 2
