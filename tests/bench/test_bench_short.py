"""The bench measures what it says and refuses counts that don't add up. Never a time: those are for ./scripts/bench."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich.console

from tests.bench import __main__ as bench
from tests.bench import floors, generator, measuring, order_search, profiling, report, reserve, rows, shop, tills, watch
from tillmesh.inventory.v1 import inventory_service_pb2 as pb
from tillmesh.inventory.v1 import stock_pb2

pytestmark = pytest.mark.timeout(300)

SHORT = 1.0
HOT = dataclasses.replace(rows.ROWS["reserve-hot"], floors=("rpc",), targets=(measuring.Target(0.6, "rpc"),))


@pytest.fixture(scope="module")
def at() -> Iterator[shop.Shop]:
    try:
        with shop.opened() as opened:
            yield opened
    except generator.Unavailable as missing:
        pytest.skip(str(missing))


def test_a_short_row_is_measured_beside_its_floor_and_every_answer_is_in_the_database(
    at: shop.Shop, tmp_path: Path
) -> None:
    console = rich.console.Console(quiet=True)

    results, plan, _ = bench.measure(console, at, [HOT], rounds=1, seconds=SHORT, short=True)
    report.write(tmp_path / "rows.jsonl", results, plan)

    (line,) = [json.loads(text) for text in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {"name", "value", "unit", "floors", "ratios", "runs", "details"} == set(line)
    assert (line["name"], line["unit"], line["details"]["short"]) == ("reserve-hot", "reservations/s", True)
    (run,) = line["runs"]
    assert run["value"] == pytest.approx(line["value"], abs=0.01)
    assert line["ratios"]["rpc"] == pytest.approx(run["value"] / run["floors"]["rpc"], abs=0.001)
    # `measure` has compared what was answered with holds, ledger, keys, buckets and events, row by row.
    assert run["answered"] > 0
    assert run["oversold"] == 0
    assert run["race"]["reserved"] == run["race"]["units"]
    assert set(line["details"]["reached"]) == {"≥ 0.6 x rpc"}


def test_each_script_of_the_sql_floor_leaves_the_rows_that_it_counts(at: shop.Shop) -> None:
    query = """SELECT (SELECT count(*) FROM hold WHERE tenant_id = %(tenant)s), (SELECT count(*) FROM ledger
        WHERE tenant_id = %(tenant)s AND reason = 14), (SELECT count(*) FROM outbox WHERE tenant_id = %(tenant)s
        AND data <> ''), (SELECT sum(quantity) FROM hold_bucket WHERE tenant_id = %(tenant)s)"""
    sql = floors.Sql(at, "sql", ("reserve", "reserve_pipelined"))
    sql.prepare()
    before = at.row("inventory", query, tenant=at.other.uuid)[:3]

    for script in ("reserve", "reserve_pipelined"):
        sql.run(floors.Way(script, 4), SHORT)  # Mismatch if pgbench and the database disagree

    holds, lines, events, units = at.row("inventory", query, tenant=at.other.uuid)
    assert holds > before[0]
    assert holds - before[0] == lines - before[1] == events - before[2]
    assert holds == units


def test_an_answer_that_was_not_expected_ends_the_bench_and_is_told(at: shop.Shop) -> None:
    location = at.locations("EMPTY", 1)[0]
    message = pb.ReserveStockRequest(location_id=location, sku="SKU-NOWHERE", quantity=1)
    requests = at.generator.requests([generator.Request(body=generator.grpc_body(message.SerializeToString()))])
    load = generator.Load(at.socket("inventory"), at.grpc(reserve.RPC), requests, reserve.OK, 0.2, warm_up_seconds=0)

    answers = at.generator.load(load)

    assert set(answers.outcomes) == {"grpc 5"}
    with pytest.raises(generator.Mismatch, match="grpc 5"):
        answers.require(reserve.OK)


def test_a_count_that_is_missing_in_the_database_ends_the_bench() -> None:
    none = reserve.Counts(*[0] * 9)
    all_but_one_hold = reserve.Counts(5, 4, 5, 5, 5, 5, 5, 0, 0)

    with pytest.raises(generator.Mismatch, match="holds"):
        reserve.check(none, all_but_one_hold, 5)


def test_a_promise_of_more_than_there_is_ends_the_bench() -> None:
    none = reserve.Counts(*[0] * 9)

    with pytest.raises(generator.Mismatch, match="oversold"):
        reserve.check(none, reserve.Counts(5, 5, 5, 5, 5, 5, 5, 1, 0), 5)


def test_a_stream_that_skips_a_position_ends_the_bench() -> None:
    till = watch.Till()
    till.take(0.0, pb.WatchStockResponse(snapshot_chunk=pb.WatchStockResponse.SnapshotChunk(seq=7, last=True)))

    with pytest.raises(generator.Mismatch, match="at 7"):
        till.take(0.0, pb.WatchStockResponse(changes=pb.WatchStockResponse.Changes(seq_from=9, seq_to=9)))


def test_a_ratio_is_the_median_of_each_rounds_own() -> None:
    runs = {
        "product": [measuring.Measured(value) for value in (100, 10, 90)],
        "rpc": [measuring.Measured(value) for value in (200, 10, 100)],
    }
    row = measuring.Row("a row", "product", ("rpc",), (measuring.Target(0.9, "rpc"),))

    result = measuring.result(row, "answers/s", runs)

    assert (result.value, result.ratios, result.reached) == (90, {"rpc": 0.9}, {"≥ 0.9 x rpc": True})


def test_a_sample_belongs_to_the_part_whose_frame_is_innermost_but_the_relay_takes_what_it_calls() -> None:
    called = [
        "main (x/__main__.py:1)",
        "handle (x/services/kit/interceptors/shapes.py:9)",
        "ReserveStock (x/services/inventory/servicer/stock.py:1)",
    ]
    assert profiling.part(called) == "translation"
    assert profiling.part([*called, "submit (x/services/kit/lanes.py:1)"]) == "queue of the lane"
    assert (
        profiling.part(["main (x/services/kit/relay/relay.py:1)", "ask (x/services/kit/pipeline.py:1)"])
        == "relay and NATS"
    )
    assert profiling.part(["what (somewhere.py:1)"]) == profiling.OTHER


def test_a_profile_tells_parts_and_statements_an_answer(at: shop.Shop) -> None:
    try:
        profiling.sampler()
    except generator.Unavailable as missing:
        pytest.skip(str(missing))
    subject = rows.PRODUCT["reserve-spread"](at)
    subject.prepare()

    told = profiling.told(profiling.profile(at, subject, 2.0))

    assert told["answers"] > 0
    assert sum(told["python"]["inventory"].values()) == pytest.approx(1, abs=0.01)
    assert {"decide", "interceptors"} <= set(told["python"]["inventory"])
    assert any("stock_head" in one["text"] and one["us_an_answer"] > 0 for one in told["sql"])


def test_each_way_to_find_orders_finds_what_the_database_has(at: shop.Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at, "short", True)
    search = order_search.OrderSearch(at, floors.EmptyRpc(at))
    try:
        search.prepare()
        told = search.measure(0.5).details
        (kind,) = [kind for kind in search.kinds if kind.name == "location"]
        lacking = dataclasses.replace(kind, asked=[(message, found[1:]) for message, found in kind.asked])
        with pytest.raises(generator.Mismatch, match="location"):
            search.check(lacking)
    finally:
        search.close()

    assert (told["orders"], told["short"]) == (20_000, True)
    assert {name for name in told if name.endswith("_answered")} == {f"{kind.name}_answered" for kind in search.kinds}
    for kind in search.kinds:
        assert told[f"{kind.name}_answered"] > 0
        assert told[f"{kind.name}_floor_p95_ms"] > 0
        assert kind.name == "scarce" or any(found for _, found in kind.asked), kind.name


def test_no_subject_always_follows_the_same_one() -> None:
    order: list[str] = []

    class Noted:
        unit = "a/s"

        def __init__(self, name: str) -> None:
            self.name = name

        def prepare(self) -> None: ...

        def measure(self, seconds: float) -> measuring.Measured:
            order.append(self.name)
            return measuring.Measured(1.0)

        def close(self) -> None: ...

    measuring.repeat([Noted("a"), Noted("b"), Noted("c")], 3, 1.0, lambda *_: None)

    assert order == [*"abc", *"bca", *"cab"]


def test_a_till_that_missed_a_change_over_a_restart_ends_the_bench() -> None:
    view = tills.View("loc")
    level = stock_pb2.StockLevel(sku="a", on_hand=3)
    chunk = pb.WatchStockResponse.SnapshotChunk(levels=[level], seq=7, last=True)
    view.take(0.0, pb.WatchStockResponse(resume_token="t7", snapshot_chunk=chunk))

    assert (view.on_hand, view.token, view.position) == ({"a": 3}, "t7", 7)
    with pytest.raises(generator.Mismatch, match="at 7"):
        view.take(0.0, pb.WatchStockResponse(changes=pb.WatchStockResponse.Changes(seq_from=9, seq_to=9)))
