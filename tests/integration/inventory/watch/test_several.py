"""Promises of one stream of several locations, beyond the guarantees of each (tests/guarantees/watch)."""

from __future__ import annotations

import asyncio

import pytest

from services.kit import errors, ids
from tests.integration.inventory.watch import tills
from tests.integration.inventory.watch.tills import Clerk, Shop

LOCATIONS_MAX = 50


async def locations(shop: Shop, count: int) -> list[str]:
    return [await shop.location(() if n else ["a", "b"]) for n in range(count)]


async def test_a_frame_tells_its_location_and_its_token_resumes_all(shop: Shop) -> None:
    places = await locations(shop, 3)
    watch = shop.watch()
    clerk = await Clerk(shop, watch, places).connect()
    await clerk.reach(dict.fromkeys(places, 0))
    await shop.adjust(places[1], "a", 1)
    await clerk.reach({places[1]: 1})
    token = clerk.token
    await clerk.leave()
    await shop.adjust(places[0], "a", 2)
    await shop.adjust(places[2], "b", 3)

    again = await Clerk(shop, shop.watch(), list(reversed(places))).connect(token=token)
    await again.reach({places[0]: 1, places[2]: 1})

    came = [(at, c.level.sku, c.level.available) for at, frame in again.frames for c in frame.changes.changes]
    assert sorted(came) == sorted([(places[0], "a", 2), (places[2], "b", 3)])
    assert not any(frame.HasField("snapshot_chunk") for _, frame in again.frames)


async def test_a_token_of_fifty_locations_stays_within_its_bound(shop: Shop) -> None:
    places = await locations(shop, LOCATIONS_MAX)
    clerk = await Clerk(shop, shop.watch(), places).connect()
    await clerk.reach(dict.fromkeys(places, 0))

    assert max(len(frame.resume_token) for _, frame in clerk.frames) <= 1200
    assert {at for at, _ in clerk.frames} == set(places)


async def test_a_token_is_good_for_the_same_locations_and_skus_only(shop: Shop) -> None:
    places = await locations(shop, 3)
    watch = shop.watch()
    clerk = await Clerk(shop, watch, places[:2]).connect()
    await clerk.reach(dict.fromkeys(places[:2], 0))

    for others, skus in (([places[0], places[2]], ()), (places[:2], ("a",))):
        with pytest.raises(errors.ResyncRequired):
            await Clerk(shop, watch, others).connect(token=clerk.token, skus=skus)
    with pytest.raises(errors.InvalidRequest):
        await Clerk(shop, watch, places).connect(token=clerk.token)
    assert watch.hub.open == 2


async def test_only_the_location_that_must_begin_again_begins_again(shop: Shop) -> None:
    places = await locations(shop, 2)
    watch = shop.watch()
    clerk = await Clerk(shop, watch, places).connect()
    await clerk.reach(dict.fromkeys(places, 0))

    shop.administer(
        "UPDATE stock_head SET epoch = epoch + 1 WHERE location_id = %s", tills.lane.mapping.location_uuid(places[0])
    )
    error = await clerk.rest()
    at, last = clerk.frames[-1]
    again = await Clerk(shop, watch, places).connect(token=last.resume_token)
    await shop.adjust(places[0], "a", 1)
    await shop.adjust(places[1], "a", 1)
    await again.reach(dict.fromkeys(places, 1))

    assert isinstance(error, errors.ResyncRequired)
    assert (at, tills.reason(last)) == (places[0], "RESYNC_REQUIRED")
    assert {where for where, frame in again.frames if frame.HasField("snapshot_chunk")} == {places[0]}


async def test_that_the_process_goes_away_is_told_once(shop: Shop) -> None:
    places = await locations(shop, 3)
    watch = shop.watch()
    clerk = await Clerk(shop, watch, places).connect()
    await clerk.reach(dict.fromkeys(places, 0))

    watch.hub.drain(0.5)
    await clerk.next()
    ended = asyncio.create_task(watch.hub.stop(1.0))
    error = await clerk.rest()
    await ended

    assert [frame.WhichOneof("frame") for _, frame in clerk.frames[-2:]] == ["draining", "ended"]
    assert (error, watch.hub.open) == (None, 0)


async def test_a_busy_location_does_not_keep_back_the_others(shop: Shop) -> None:
    places = await locations(shop, 2)
    watch = shop.watch(frame_entries=1)
    clerk = await Clerk(shop, watch, places).connect()
    await clerk.reach(dict.fromkeys(places, 0))
    for _ in range(20):
        await shop.adjust(places[0], "a", 1)
    await shop.adjust(places[1], "a", 1)
    await asyncio.sleep(0.1)  # both are in the logs before the reader goes on

    await clerk.reach({places[1]: 1})

    assert clerk.positions[places[0]] < 20
    await clerk.reach({places[0]: 20})


async def test_progress_comes_for_every_location(shop: Shop) -> None:
    places = await locations(shop, 3)
    clerk = await Clerk(shop, shop.watch(progress_seconds=0.8), places).connect()
    told: set[str] = set()
    while told != set(places):
        at, frame = await clerk.next()
        told |= {at} if frame.HasField("progress") else set()


async def test_a_location_that_is_not_there_leaves_nothing_open(shop: Shop) -> None:
    places = await locations(shop, 2)
    watch = shop.watch()
    with pytest.raises(errors.NotFound):
        await Clerk(shop, watch, [*places, ids.new("loc")]).connect()
    assert watch.hub.open == 0
