"""Promises of bulk updates: each line is judged and applied by itself, and the whole is answered once for its key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from google.rpc import error_details_pb2

from services.inventory import lane
from services.inventory.servicer import stock as servicers
from services.kit import database, errors, ids, validation
from tests import worlds
from tillmesh.inventory.v1 import inventory_service_pb2 as pb

Line = pb.BulkUpdateStockRequest.Line
APPLIED = pb.BulkUpdateStockResponse.LINE_STATUS_APPLIED
REFUSED = pb.BulkUpdateStockResponse.LINE_STATUS_REFUSED


async def bulk(world: worlds.StockWorld, *lines: Line, request_id: str = "") -> pb.BulkUpdateStockResponse:
    """Calls as the interceptors let a call through: validated, as the principal of the world."""
    request = pb.BulkUpdateStockRequest(lines=lines, request_id=request_id)
    validation.check(request)
    servicer = servicers.StockServicer(world.handlers, None, None, None, None)  # type: ignore[arg-type]  # it watches nothing
    return await servicer.BulkUpdateStock(request, None)  # type: ignore[arg-type]


def reasons(answer: pb.BulkUpdateStockResponse) -> list[str]:
    """What became of each line: `applied`, or its reason and the fields that are wrong."""
    assert [result.index for result in answer.results] == list(range(len(answer.results)))
    counted = [sum(result.status == each for result in answer.results) for each in (APPLIED, REFUSED)]
    assert counted == [answer.applied, answer.refused]
    return ["applied" if result.status == APPLIED else reason(result) for result in answer.results]


def reason(result: pb.BulkUpdateStockResponse.Result) -> str:
    assert not result.HasField("level")
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in result.error.details:
        assert detail.Unpack(info) or detail.Unpack(bad) or detail.TypeName() == "google.rpc.RetryInfo"
    return " ".join([info.reason, *(violation.field for violation in bad.field_violations)])


async def on_hand(world: worlds.StockWorld, location_id: str, *skus: str) -> list[int]:
    return [(await world.level(location_id, sku)).on_hand for sku in skus]


async def test_each_line_is_judged_by_itself_and_the_others_go_on(world: worlds.StockWorld) -> None:
    here = await world.location(["a", "b"])

    answer = await bulk(
        world,
        Line(location_id=here, sku="a", delta=3),
        Line(location_id=here, sku="not a sku", delta=0),
        Line(location_id=here, sku="a"),
        Line(location_id="shop", sku="a", delta=1, reference="x" * 129),
        Line(location_id="loc_" + "z" * 26, sku="a", delta=1),
        Line(location_id=ids.new("loc"), sku="a", delta=1),
        Line(location_id=here, sku="unknown", delta=1),
        Line(location_id=here, sku="a", delta=-4),
        Line(location_id=here, sku="b", delta=1, reference="nul\0"),
        Line(location_id=here, sku="b", delta=1, occurred_at={"seconds": 10**15}),
        Line(location_id=here, sku="b", on_hand=7, expected_on_hand=0),
    )

    assert reasons(answer) == [
        "applied",
        "INVALID_REQUEST sku delta",
        "INVALID_REQUEST change",
        "INVALID_REQUEST location_id reference",
        "NOT_FOUND",
        "NOT_FOUND",
        "SKU_NOT_FOUND",
        "QUANTITY_BELOW_ZERO",
        "INVALID_REQUEST",
        "INVALID_REQUEST occurred_at",
        "applied",
    ]
    assert await on_hand(world, here, "a", "b") == [3, 7]
    assert [(result.level.sku, result.level.on_hand) for result in answer.results if result.level.sku] == [
        ("a", 3),
        ("b", 7),
    ]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.BulkUpdateStockRequest(), "lines"),
        (pb.BulkUpdateStockRequest(lines=[Line()] * 1001), "lines"),
        (pb.BulkUpdateStockRequest(lines=[Line()], request_id="x" * 129), "request_id"),
    ],
)
def test_rules_of_the_request_itself_still_refuse_the_call(request_: Any, field: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        validation.check(request_)
    assert [violation.field for violation in refusal.value.violations] == [field]


async def test_a_bundle_has_no_stock_of_its_own_and_its_line_alone_is_refused(world: worlds.StockWorld) -> None:
    here = await world.location(["a", "b"])
    await world.variants(["SET"])
    await world.set_bundle("SET", {"a": 2, "b": 1})

    answer = await bulk(
        world,
        Line(location_id=here, sku="a", delta=5),
        Line(location_id=here, sku="SET", delta=1),
        Line(location_id=here, sku="set", on_hand=1),
        Line(location_id=here, sku="b", on_hand=4),
    )

    assert reasons(answer) == ["applied", "BUNDLE_HAS_NO_STOCK", "BUNDLE_HAS_NO_STOCK", "applied"]
    assert await on_hand(world, here, "a", "b") == [5, 4]


async def test_a_repeat_returns_the_same_results_for_all_lines(world: worlds.StockWorld) -> None:
    here = await world.location(["a"])
    lines = [
        Line(location_id=here, sku="a", delta=-1),  # there is none yet
        Line(location_id=here, sku="a", delta=0),
        Line(location_id=here, sku="unknown", delta=1),
        Line(location_id=here, sku="a", delta=2),
    ]
    first = await bulk(world, *lines, request_id="delivery")
    assert reasons(first) == ["QUANTITY_BELOW_ZERO", "INVALID_REQUEST delta", "SKU_NOT_FOUND", "applied"]
    await world.variants(["unknown"])

    assert await bulk(world, *lines, request_id="delivery") == first
    assert await on_hand(world, here, "a", "unknown") == [2, 0]


async def test_a_key_that_came_with_other_lines_is_refused_before_anything_is_done(world: worlds.StockWorld) -> None:
    here = await world.location(["a"])
    await bulk(world, Line(location_id=here, sku="a", delta=2), request_id="delivery")

    with pytest.raises(errors.IdempotencyKeyReused):
        await bulk(world, *[Line(location_id=here, sku="a", delta=1)] * 2, request_id="delivery")
    assert await on_hand(world, here, "a") == [2]


async def test_what_20_callers_with_one_key_are_told_is_the_same_and_is_what_happened(world: worlds.StockWorld) -> None:
    here = await world.location(["a"])
    lines = [Line(location_id=here, sku="a", delta=delta) for delta in (-1, 1, 0, 1)]

    first, *others = await asyncio.gather(*(bulk(world, *lines, request_id="delivery") for _ in range(20)))

    assert others == [first] * 19
    applied = [delta for delta, result in zip((-1, 1, 0, 1), first.results, strict=True) if result.status == APPLIED]
    assert await on_hand(world, here, "a") == [sum(applied)]  # whoever was first at a line decided on it
    assert await bulk(world, *lines, request_id="delivery") == first


async def test_without_a_key_a_call_is_made_as_often_as_it_is_sent(world: worlds.StockWorld) -> None:
    here = await world.location(["a"])
    line = Line(location_id=here, sku="a", delta=1)

    assert reasons(await bulk(world, line, line)) == ["applied", "applied"]
    await bulk(world, line)

    assert await on_hand(world, here, "a") == [3]


class Moody(lane.StockRunner):
    """Fails at one location while it is told to, and waits before it answers while it is told to."""

    fails_at: str = ""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.committed = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
        well = [of for of in work if of[0].location_id != self.fails_at]
        outcomes = iter(await super().run(well) if well else ())
        self.committed.set()
        await self.may_answer.wait()
        return [errors.Unavailable() if key.location_id == self.fails_at else next(outcomes) for key, _ in work]


@pytest.fixture
async def moody(db: database.Database) -> AsyncIterator[worlds.StockWorld]:
    async with worlds.StockWorld(db, runner=Moody) as made:
        yield made


async def test_a_failure_that_passes_is_tried_again_and_what_was_applied_is_not(moody: worlds.StockWorld) -> None:
    here, there = await moody.location(["a"]), await moody.location()
    lines = [Line(location_id=at, sku="a", delta=delta) for at, delta in ((here, 1), (here, -2), (there, 1))]
    runner: Any = moody.runner
    runner.fails_at = there
    first = await bulk(moody, *lines, request_id="delivery")
    assert reasons(first) == ["applied", "QUANTITY_BELOW_ZERO", "UNAVAILABLE"]
    await moody.adjust(here, "a", 1)  # now the second line could be applied
    runner.fails_at = ""

    second = await bulk(moody, *lines, request_id="delivery")

    assert reasons(second) == ["applied", "QUANTITY_BELOW_ZERO", "applied"]
    assert second.results[:2] == first.results[:2]
    assert await bulk(moody, *lines, request_id="delivery") == second
    assert await on_hand(moody, here, "a") + await on_hand(moody, there, "a") == [2, 1]


async def test_a_call_that_broke_off_is_completed_by_its_repeat(moody: worlds.StockWorld) -> None:
    here = await moody.location(["a"])
    runner: Any = moody.runner
    runner.may_answer.clear()
    line = Line(location_id=here, sku="a", delta=1)
    call = asyncio.create_task(bulk(moody, line, request_id="delivery"))
    await runner.committed.wait()
    call.cancel()
    runner.may_answer.set()
    await asyncio.wait([call])

    answer = await bulk(moody, line, request_id="delivery")

    assert call.cancelled()
    assert reasons(answer) == ["applied"]
    assert await on_hand(moody, here, "a") == [1]
