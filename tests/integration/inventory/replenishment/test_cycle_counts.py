"""Promises of cycle counts, on a real database."""

from __future__ import annotations

import asyncio
import datetime as dt
import random

import pytest

from services.inventory.domain import commands, cycle_counts, stock_errors, transitions
from services.kit import errors
from tests.integration.inventory.replenishment import buying
from tests.integration.inventory.replenishment.buying import APPLIED, eur
from tillmesh.inventory.v1 import replenishment_pb2 as messages
from tillmesh.inventory.v1 import replenishment_service_pb2 as pb

OPEN, COUNTED, APPROVED, REJECTED, CANCELLED = range(1, 6)


async def stocked(world: buying.BuyingWorld, **levels: int) -> str:
    location_id = await world.location(list(levels))
    for sku, on_hand in levels.items():
        await world.adjust(location_id, sku, on_hand)
    return location_id


async def now(world: buying.BuyingWorld) -> dt.datetime:
    [(at,)] = await world.rows("SELECT clock_timestamp()")
    return at


async def test_an_approved_count_moves_the_difference_in_one_step(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10, b=10, c=10)
    count = await world.opened(location_id, "a", "B", "c")
    await world.counted(count.id, a=8, b=13, c=10)
    await world.submitted(count.id)

    approved = await world.approved(count.id)

    assert (approved.state, approved.stock_effect, approved.number) == (APPROVED, APPLIED, "CC-000001")
    assert (approved.lines_varying, approved.units_over, approved.units_short) == (2, 3, 2)
    assert (await world.ledger(location_id))[3:] == [
        ("a", 2, 1, 2, 5, "count", "CC-000001"),
        ("b", 1, 2, 3, 5, "count", "CC-000001"),
    ]
    assert [(await world.level(location_id, sku)).on_hand for sku in "abc"] == [8, 13, 10]
    seqs = await world.rows("SELECT DISTINCT seq FROM ledger WHERE ref_type = 'count'")
    assert [tuple(row) for row in seqs] == [(approved.seq,)]


async def test_what_happens_between_counting_and_approval_is_kept(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10)
    count = await world.opened(location_id, "a")
    await world.counted(count.id, a=8)  # two are missing
    await world.sell(location_id, "a", 3)
    await world.submitted(count.id)
    await world.adjust(location_id, "a", 20)  # a delivery

    await world.approved(count.id)

    assert (await world.level(location_id, "a")).on_hand == 10 - 2 - 3 + 20


async def test_a_sale_that_is_recorded_late_is_no_variance(world: buying.BuyingWorld) -> None:
    """A till was offline: what it sold before the count reaches the ledger after it, even after it was handed in."""
    location_id = await stocked(world, a=10, b=10)
    count = await world.opened(location_id, "a", "b")
    before = await now(world)
    await world.counted(count.id, a=8, b=9)
    await world.sell(location_id, "a", 2, at=before)
    await world.submitted(count.id)
    assert {sku: line.variance for sku, line in (await world.lines(count.id)).items()} == {"a": 0, "b": -1}
    await world.sell(location_id, "b", 1, at=before)

    await world.approved(count.id)

    assert [(await world.level(location_id, sku)).on_hand for sku in "ab"] == [8, 9]
    assert all(reason != 5 for _, _, _, _, reason, _, _ in await world.ledger(location_id))


async def test_a_count_that_is_recorded_late_is_compared_with_what_was_there_then(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10)
    count = await world.opened(location_id, "a")
    counted_at = await now(world)
    await world.sell(location_id, "a", 4)

    [line] = await world.counted(count.id, world.staff(), at=counted_at, a=9)

    assert (line.expected, line.variance) == (10, -1)
    await world.submitted(count.id)
    await world.approved(count.id)
    assert (await world.level(location_id, "a")).on_hand == 5


@pytest.mark.parametrize("seed", range(12))
async def test_an_approval_agrees_with_the_shelf_whatever_is_recorded_late(
    world: buying.BuyingWorld, seed: int
) -> None:
    """Tills and handhelds that are offline now and then: each says later when it happened. Thefts lie before the count."""
    chance = random.Random(seed)
    location_id = await stocked(world, a=60, b=60)
    shelf = {sku: 60 - chance.randrange(10) for sku in "ab"}
    count = await world.opened(location_id, "a", "b")
    unsent: list[tuple[str, str, int, dt.datetime]] = []

    async def send(what: str, sku: str, units: int, at: dt.datetime | None) -> None:
        if what == "sale":
            await world.sell(location_id, sku, units, at=at)
        else:
            await world.counted(count.id, at=at, **{sku: units})

    for _ in range(40):
        sku, at = chance.choice("ab"), await now(world)
        match chance.choice(["sale", "sale", "delivery", "count", "send"]):
            case "sale":
                shelf[sku] -= 1
                happened = ("sale", sku, 1, at)
            case "count":
                happened = ("count", sku, shelf[sku], at)
            case "delivery":
                await world.adjust(location_id, sku, 3)
                shelf[sku] += 3
                continue
            case _:
                chance.shuffle(unsent)
                while unsent and chance.randrange(3):
                    await send(*unsent.pop())
                continue
        if chance.randrange(2):
            unsent.append(happened)
        else:
            await send(*happened[:3], None if chance.randrange(2) else at)
    for sku in "ab":
        await world.counted(count.id, **{sku: shelf[sku]})
    counts = [each for each in unsent if each[0] == "count"]
    for each in counts:  # recorded last, they count, although they are the older ones
        await send(*each)
    await world.submitted(count.id)
    for each in unsent:
        if each[0] == "sale":
            await send(*each)

    await world.approved(count.id)

    assert {sku: (await world.level(location_id, sku)).on_hand for sku in "ab"} == shelf


async def test_who_counts_never_sees_what_is_expected(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10)
    ann, meg = world.staff("ann", "associate"), world.staff("meg", "store_manager")
    count = await world.opened(location_id, "a")
    [answered] = await world.counted(count.id, ann, a=4)
    shown = [answered, (await world.lines(count.id, ann))["a"]]
    submitted = await world.submitted(count.id)
    await world.call(pb.RequestRecountRequest(count_id=count.id, skus=["A"]), meg)
    again = (await world.lines(count.id, ann))["a"]

    for line in (*shown, again):
        told = {name for name in ("expected", "variance", "variance_cost", "variance_value") if line.HasField(name)}
        assert told == set()
    assert [line.counted for line in shown] == [4, 4]
    assert (again.recount, again.HasField("counted"), again.counted_by) == (True, False, "")
    assert (submitted.lines_counted, submitted.lines_varying, submitted.units_short) == (1, 0, 0)
    with pytest.raises(errors.RoleRequired):
        await world.call(pb.ListCycleCountLinesRequest(count_id=count.id, keep="KEEP_VARYING"), ann)
    seen = (await world.lines(count.id, meg))["a"]
    assert (seen.counted, seen.expected, seen.variance) == (4, 10, -6)


async def test_a_variance_is_told_at_cost_and_at_price(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10, b=10)
    supplier = await world.supplier()
    await world.listed(supplier.id, messages.SupplierSku(sku="a", cost=eur(250)))
    price = "INSERT INTO price VALUES (:t, gen_random_uuid(), :s, NULL, 'EUR', :m, '-infinity', 'infinity')"
    await world.execute(price, t=world.tenant, s="a", m=999)
    await world.execute(price, t=world.tenant, s="b", m=500)
    count = await world.opened(location_id, "a", "b")
    await world.counted(count.id, a=8, b=11)
    await world.submitted(count.id)

    lines = await world.lines(count.id)
    total = await world.call(pb.GetCycleCountRequest(count_id=count.id))

    assert (lines["a"].variance_cost, lines["a"].variance_value) == (eur(-500), eur(-1998))
    assert (lines["b"].HasField("variance_cost"), lines["b"].variance_value) == (False, eur(500))
    assert (total.variance_cost, total.variance_value) == (eur(-500), eur(-1498))


async def test_who_counted_may_not_approve_but_an_admin_may(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10)
    meg = world.staff("meg", "store_manager")
    count = await world.opened(location_id, "a")
    await world.counted(count.id, meg, a=9)
    await world.submitted(count.id)

    with pytest.raises(cycle_counts.SecondPersonRequired):
        await world.approved(count.id, meg)
    assert (await world.level(location_id, "a")).on_hand == 10

    await world.approved(count.id, world.staff("meg", "admin"))
    assert (await world.level(location_id, "a")).on_hand == 9


async def test_every_pass_is_kept_and_the_last_one_counts(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10)
    count = await world.opened(location_id, "a")
    await world.counted(count.id, a=5)
    await world.sell(location_id, "a", 1)
    await world.submitted(count.id)
    await world.call(pb.RequestRecountRequest(count_id=count.id, skus=["a"]))
    with pytest.raises(errors.InvalidRequest):
        await world.submitted(count.id)
    await world.counted(count.id, world.staff("bob", "associate"), a=9)
    await world.submitted(count.id)
    await world.approved(count.id)

    passes = (await world.call(pb.ListCycleCountPassesRequest(count_id=count.id, sku="A"))).passes

    kept = [(x.number, x.counted, x.counted_by, x.on_hand, x.terminal_id) for x in passes]
    assert kept == [(1, 5, "ann", 10, "trm-1"), (2, 9, "bob", 9, "trm-1")]
    assert (await world.level(location_id, "a")).on_hand == 9


async def test_lines_that_were_not_counted_can_be_left_out(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10, b=10)
    count = await world.opened(location_id, "a", "b")
    await world.counted(count.id, a=9)
    with pytest.raises(errors.InvalidRequest):
        await world.submitted(count.id)
    to_count = await world.call(pb.ListCycleCountLinesRequest(count_id=count.id, keep="KEEP_TO_COUNT"))
    assert [line.sku for line in to_count.lines] == ["b"]

    await world.submitted(count.id, leave_uncounted=True)
    await world.approved(count.id)

    assert [(await world.level(location_id, sku)).on_hand for sku in "ab"] == [9, 10]


async def test_a_sku_is_in_one_running_count_of_a_location(world: buying.BuyingWorld) -> None:
    location_id, other = await stocked(world, a=10, b=10), await world.location()
    results = await asyncio.gather(*(world.opened(location_id, "a") for _ in range(20)), return_exceptions=True)

    [count] = [result for result in results if isinstance(result, messages.CycleCount)]
    assert sum(isinstance(result, errors.AlreadyExists) for result in results) == 19
    await world.opened(location_id, "b")
    await world.opened(other, "a")
    await world.call(pb.CancelCycleCountRequest(count_id=count.id, reason="x"))
    assert (await world.opened(location_id, "a")).state == OPEN


async def test_a_later_observation_that_reached_the_stock_first_wins(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10, b=10)
    count = await world.opened(location_id, "a", "b")
    await world.counted(count.id, a=8, b=8)
    await world.submitted(count.id)
    await world.count(location_id, commands.Count("a", 8, None))  # somebody sets what they found, two minutes later

    await world.approved(count.id)

    lines = await world.lines(count.id)
    assert {sku: line.superseded for sku, line in lines.items()} == {"a": True, "b": False}
    assert [(await world.level(location_id, sku)).on_hand for sku in "ab"] == [8, 8]


async def test_a_rejected_count_changes_nothing(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10)
    count = await world.opened(location_id, "a")
    with pytest.raises(transitions.IllegalTransition):
        await world.approved(count.id)
    await world.counted(count.id, a=1)
    await world.submitted(count.id)
    with pytest.raises(transitions.IllegalTransition):
        await world.counted(count.id, a=2)

    rejected = await world.call(pb.RejectCycleCountRequest(count_id=count.id, reason="upside down"))

    assert (rejected.state, rejected.decision_reason, rejected.stock_effect) == (REJECTED, "upside down", APPLIED)
    assert (await world.level(location_id, "a")).on_hand == 10
    for request in (
        pb.ApproveCycleCountRequest(count_id=count.id),
        pb.CancelCycleCountRequest(count_id=count.id, reason="x"),
        pb.RequestRecountRequest(count_id=count.id, skus=["a"]),
    ):
        with pytest.raises(transitions.IllegalTransition):
            await world.call(request)


async def test_a_scope_is_a_category_or_the_beginning_of_skus_that_the_location_had(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, **{"lip-1": 1, "lip-2": 1, "nail-1": 1})
    await world.variants(["lip-3"])
    await world.execute("UPDATE variant SET category_key = 'Face/Lips/' WHERE sku_key = 'lip-2'")

    begins = await world.opened(location_id, sku_prefix="LIP-1")
    below = await world.opened(location_id, category="Face")

    assert [list(await world.lines(count.id)) for count in (begins, below)] == [["lip-1"], ["lip-2"]]
    for scope in ({"category": "Hair"}, {"category": "/"}, {"sku_prefix": "lip-3"}):
        with pytest.raises(errors.InvalidRequest):
            await world.opened(location_id, **scope)
    with pytest.raises(stock_errors.SkuNotFound):
        await world.opened(location_id, "nothing")
    assert (await world.opened(location_id, "lip-3")).lines == 1  # named, it may be one that was never there


async def test_units_of_a_sku_that_was_never_there_are_found(world: buying.BuyingWorld) -> None:
    location_id = await world.location(["a"])
    count = await world.opened(location_id, "a")
    await world.counted(count.id, a=3)
    await world.submitted(count.id)

    await world.approved(count.id)

    assert (await world.level(location_id, "a")).on_hand == 3


async def test_a_variance_below_what_is_promised_raises_an_exception(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10)
    await world.reserve(location_id, ("a", 9))
    count = await world.opened(location_id, "a")
    await world.counted(count.id, a=7)
    await world.submitted(count.id)

    await world.approved(count.id)

    level = await world.level(location_id, "a")
    assert (level.on_hand, level.available) == (7, -2)
    raised = await world.rows("SELECT sku, quantity, ref_type, ref_id FROM stock_exception")
    assert [tuple(row) for row in raised] == [("a", 2, "count", "CC-000001")]


async def test_20_handhelds_at_once_lose_no_pass(world: buying.BuyingWorld) -> None:
    location_id = await stocked(world, a=10, b=10)
    count = await world.opened(location_id, "a", "b")

    await asyncio.gather(*(world.counted(count.id, **{"ab"[n % 2]: n}) for n in range(20)))

    for sku in "ab":
        passes = (await world.call(pb.ListCycleCountPassesRequest(count_id=count.id, sku=sku))).passes
        assert [each.number for each in passes] == list(range(1, 11))
        assert (await world.lines(count.id))[sku].counted == passes[-1].counted


async def test_counts_of_other_locations_are_refused_or_not_listed(world: buying.BuyingWorld) -> None:
    here, there = await stocked(world, a=1), await world.location()
    mine, theirs = await world.opened(here, "a"), await world.opened(there, "a")
    ann = world.staff("ann", "associate", [here])

    for request in (
        pb.GetCycleCountRequest(count_id=theirs.id),
        pb.ListCycleCountLinesRequest(count_id=theirs.id),
        pb.SubmitCycleCountRequest(count_id=theirs.id),
    ):
        with pytest.raises(errors.LocationScope):
            await world.call(request, ann)
    with pytest.raises(errors.LocationScope):
        await world.counted(theirs.id, ann, a=1)
    assert [c.id for c in (await world.call(pb.ListCycleCountsRequest(), ann)).cycle_counts] == [mine.id]
