"""What a sale gets to know of its items: fresh enough, in few calls, and also when Inventory doesn't answer."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Sequence

import pytest

from services.kit import database, deadline, errors, ids
from services.orders import catalogue
from services.orders.domain import sale as domain
from services.orders.positions import AppliedPositions
from tests.integration.orders.world import LIPSTICK, VIENNA


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Answers:
    """Inventory as a list of what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.error: Exception | None = None
        self.store = VIENNA
        self.items: dict[str, domain.Item] = {"LIP-1": LIPSTICK}
        self.go = asyncio.Event()
        self.go.set()
        self.remaining: list[float | None] = []

    async def resolve(self, _location_id: str, codes: Sequence[str]) -> catalogue.Resolution:
        self.asked.append(list(codes))
        self.remaining.append(deadline.remaining())
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return catalogue.Resolution(self.store, {code: self.items.get(code) for code in codes})


class Shop:
    """A location, asked about through a catalogue."""

    def __init__(self, db: database.Database, tenant: uuid.UUID, location: uuid.UUID | None = None) -> None:
        self.answers, self.clock = Answers(), Clock()
        self.catalogue = catalogue.Catalogue(self.answers, db, clock=self.clock)
        self.tenant, self.location = str(tenant), location or ids.new_uuid()

    async def resolve(self, *codes: str) -> catalogue.Resolution:
        location_id = ids.encode("loc", self.location)
        return await self.catalogue.resolve(self.tenant, self.location, location_id, codes)


@pytest.fixture
def shop(db: database.Database, tenant: uuid.UUID) -> Shop:
    return Shop(db, tenant)


async def test_an_answer_serves_for_ten_seconds(shop: Shop) -> None:
    for seconds in (0, 6.9):
        shop.clock.now = 1000 + seconds
        known = await shop.resolve("LIP-1", "", "LIP-1")
        assert (known.store, known.items) == (VIENNA, {"LIP-1": LIPSTICK})
    assert shop.answers.asked == [["LIP-1"]]

    shop.clock.now = 1010
    await shop.resolve("LIP-1")
    assert shop.answers.asked == [["LIP-1"], ["LIP-1"]]


async def test_what_is_sold_is_renewed_in_one_call_before_it_is_too_old_and_nobody_waits(shop: Shop) -> None:
    shop.answers.items |= {f"S{n}": LIPSTICK for n in range(3)}
    for n in range(3):
        await shop.resolve(f"S{n}")
    del shop.answers.asked[:]
    changed = dataclasses.replace(LIPSTICK, name="New name")
    shop.answers.items |= {f"S{n}": changed for n in range(3)}

    shop.clock.now += 7
    shop.answers.go.clear()
    assert (await shop.resolve("S0")).items == {"S0": LIPSTICK}
    shop.answers.go.set()
    await shop.catalogue.close()
    assert shop.answers.asked == [["S0", "S1", "S2"]]

    shop.clock.now += 6.9
    assert (await shop.resolve("S0", "S1")).items == {"S0": changed, "S1": changed}
    assert len(shop.answers.asked) == 1


async def test_what_is_not_sold_any_more_is_renewed_for_five_minutes(shop: Shop) -> None:
    shop.answers.items["ONCE"] = LIPSTICK
    await shop.resolve("ONCE", "LIP-1")
    for seconds in (299, 7, 7):
        shop.clock.now += seconds
        await shop.resolve("LIP-1")
        await shop.catalogue.close()
    assert [sorted(asked) for asked in shop.answers.asked] == [
        ["LIP-1", "ONCE"],
        ["LIP-1", "ONCE"],
        ["LIP-1"],
        ["LIP-1"],
    ]


async def test_after_a_pause_a_shop_has_its_items_again_with_its_first_sales(shop: Shop) -> None:
    codes = [f"S{n}" for n in range(250)]
    shop.answers.items |= dict.fromkeys(codes, LIPSTICK)
    await shop.resolve(*codes)
    shop.clock.now += 60
    for code in codes:
        assert (await shop.resolve(code)).items == {code: LIPSTICK}
        await shop.catalogue.close()
    assert len(shop.answers.asked) == 4  # 100 items a call


async def test_what_was_scanned_with_its_lot_is_not_renewed(shop: Shop) -> None:
    """Such a code is on few units, or on one: it serves for ten seconds and is left to grow old."""
    shop.answers.items["(01)1(10)A"] = dataclasses.replace(LIPSTICK, scanned=domain.Scanned("A"))
    await shop.resolve("(01)1(10)A", "LIP-1")
    shop.clock.now += 9
    assert (await shop.resolve("(01)1(10)A", "LIP-1")).items["(01)1(10)A"] is not None
    await shop.catalogue.close()
    assert shop.answers.asked == [["(01)1(10)A", "LIP-1"], ["LIP-1"]]


async def test_a_renewal_is_small(shop: Shop) -> None:
    codes = [f"S{n}" for n in range(150)]
    shop.answers.items |= dict.fromkeys(codes, LIPSTICK)
    await shop.resolve(*codes)
    for _ in range(3):
        shop.clock.now += 3.5
        await shop.resolve("S0")
        await shop.catalogue.close()
    assert [len(asked) for asked in shop.answers.asked] == [150, 100, 50]


async def test_a_renewal_that_fails_costs_no_sale_anything(shop: Shop) -> None:
    await shop.resolve("LIP-1")
    shop.answers.error = errors.Unavailable()
    shop.clock.now += 7
    for _ in range(3):
        assert (await shop.resolve("LIP-1")).items == {"LIP-1": LIPSTICK}
        await shop.catalogue.close()
    assert len(shop.answers.asked) == 2

    shop.answers.error = None
    shop.clock.now += 3
    assert (await shop.resolve("LIP-1")).items == {"LIP-1": LIPSTICK}
    assert shop.answers.asked[2:] == [["LIP-1"]]


async def test_an_unknown_code_is_asked_for_again_after_a_second(shop: Shop) -> None:
    assert (await shop.resolve("NEW")).items == {"NEW": None}
    shop.answers.items["NEW"] = LIPSTICK
    assert (await shop.resolve("NEW")).items == {"NEW": None}
    shop.clock.now += 1
    assert (await shop.resolve("NEW")).items == {"NEW": LIPSTICK}


async def test_a_sale_without_codes_asks_for_the_location_only(shop: Shop) -> None:
    assert (await shop.resolve()).store == VIENNA
    assert shop.answers.asked == [[]]


async def test_sales_that_miss_at_once_share_calls(shop: Shop) -> None:
    """The first goes alone; what gathers behind it goes together, 500 codes a call."""
    shop.answers.go.clear()
    waiting = [asyncio.create_task(shop.resolve(f"A{n}", f"B{n}", "LIP-1")) for n in range(300)]
    await asyncio.sleep(0)
    shop.answers.go.set()
    await asyncio.gather(*waiting)

    sizes = [len(codes) for codes in shop.answers.asked]
    assert sizes == [3, 500, 99]
    assert len({code for codes in shop.answers.asked for code in codes}) == 601


async def test_a_caller_that_goes_away_takes_nobody_along(shop: Shop) -> None:
    shop.answers.go.clear()
    leaving, staying = (asyncio.create_task(shop.resolve("LIP-1")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    shop.answers.go.set()
    assert (await staying).items == {"LIP-1": LIPSTICK}


async def test_a_shared_call_has_its_own_time(shop: Shop) -> None:
    deadline.enter(0.05)
    await shop.resolve("LIP-1")
    (remaining,) = shop.answers.remaining
    assert remaining is not None
    assert remaining > 0.5


async def test_a_location_that_is_not_there_is_not_found(shop: Shop) -> None:
    shop.answers.error = errors.NotFound("location")
    with pytest.raises(errors.NotFound):
        await shop.resolve("LIP-1")


@pytest.mark.parametrize("error", [errors.Unavailable(), errors.DeadlineExceeded(), ValueError("no such timezone")])
async def test_without_an_answer_what_was_known_is_used_for_a_day(shop: Shop, error: Exception) -> None:
    await shop.resolve("LIP-1")
    shop.answers.error = error
    shop.clock.now += 23 * 3600
    known = await shop.resolve("LIP-1", "NEW")
    assert known == catalogue.Resolution(VIENNA, {"LIP-1": LIPSTICK, "NEW": None})

    shop.clock.now += 3601
    assert await shop.resolve("LIP-1") == catalogue.Resolution(VIENNA, {"LIP-1": None})


async def test_after_a_failure_sales_do_not_ask_for_a_second(shop: Shop) -> None:
    await shop.resolve()
    shop.answers.error = errors.Unavailable()
    for _ in range(5):
        await shop.resolve("LIP-1")
    assert len(shop.answers.asked) == 2

    shop.clock.now += 1
    shop.answers.error = None
    assert (await shop.resolve("LIP-1")).items == {"LIP-1": LIPSTICK}


async def test_a_restart_without_inventory_still_knows_the_location(
    db: database.Database, tenant: uuid.UUID, shop: Shop
) -> None:
    await shop.resolve("LIP-1")
    await shop.catalogue.close()
    restarted = Shop(db, tenant, shop.location)
    restarted.answers.error = errors.Unavailable()

    assert await restarted.resolve("LIP-1") == catalogue.Resolution(VIENNA, {"LIP-1": None})


async def test_a_change_of_the_location_is_remembered(db: database.Database, tenant: uuid.UUID, shop: Shop) -> None:
    await shop.resolve()
    shop.answers.store = domain.Store("America/New_York", 240, "USD", sells=False)
    shop.clock.now += 10
    assert (await shop.resolve()).store == shop.answers.store
    await shop.catalogue.close()

    restarted = Shop(db, tenant, shop.location)
    restarted.answers.error = errors.Unavailable()
    assert (await restarted.resolve()).store == shop.answers.store


async def test_only_a_location_that_was_never_seen_cannot_sell(
    db: database.Database, tenant: uuid.UUID, shop: Shop
) -> None:
    shop.answers.error = errors.Unavailable()
    with pytest.raises(errors.Unavailable):
        await shop.resolve("LIP-1")

    await Shop(db, tenant, shop.location).resolve()  # another tenant's knowledge is nobody's business
    stranger = Shop(db, ids.new_uuid(), shop.location)
    stranger.answers.error = errors.Unavailable()
    with pytest.raises(errors.Unavailable):
        await stranger.resolve()


class Position:
    """Inventory's position, and how often it was asked for."""

    def __init__(self) -> None:
        self.seq = 0
        self.calls = 0
        self.error: errors.Error | None = None

    async def applied_position(self, _location_id: str) -> int:
        self.calls += 1
        if self.error:
            raise self.error
        return self.seq


async def test_a_position_that_was_reached_once_is_not_asked_for_again() -> None:
    inventory = Position()
    applied = AppliedPositions(inventory)
    assert await applied.reached("t", "loc", 3) == 0
    inventory.seq = 5
    assert await applied.reached("t", "loc", 3) == 5
    inventory.seq = 4  # a replica that is behind
    assert [await applied.reached("t", "loc", seq) for seq in (3, 5, 6)] == [5, 5, 5]
    assert inventory.calls == 3
    assert applied.known("t", "loc") == 5
    assert applied.known("other", "loc") == 0


async def test_without_an_answer_the_position_is_what_was_known() -> None:
    inventory, clock = Position(), Clock()
    applied = AppliedPositions(inventory, clock=clock)
    inventory.error = errors.Unavailable()
    assert [await applied.reached("t", "loc", 1) for _ in range(3)] == [0, 0, 0]
    assert inventory.calls == 1
    clock.now += 1
    inventory.error, inventory.seq = None, 1
    assert await applied.reached("t", "loc", 1) == 1


async def test_a_list_asks_once_for_each_location_that_is_not_known_to_have_got_so_far() -> None:
    inventory = Position()
    inventory.seq = 5
    applied = AppliedPositions(inventory)
    assert await applied.reached("t", "known", 4) == 5

    assert await applied.reached_all("t", {"known": 5, "behind": 9, "done": 5}) == {"known": 5, "behind": 5, "done": 5}

    assert inventory.calls == 3
