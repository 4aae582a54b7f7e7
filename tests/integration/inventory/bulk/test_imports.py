"""Promises of imports and exports, on a real database."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import datetime as dt
import io
import os
import signal
import sys
from pathlib import Path

import pytest

from services.inventory import bulk_files
from services.inventory.domain import bulk
from services.kit import errors, ids, principal
from tests.integration.inventory.bulk.jobs import BulkWorld, stock_csv
from tests.integration.inventory.stock import shelf

PRODUCTS = (
    b"product_code,product_name,sku,variant_name,options,barcodes,category,prices\n"
    b"LIP,Lipstick,LIP-RED,red,Shade=red,4006381333931,Face/Lips,EUR:1299|USD:1399\n"
    b"LIP,Lipstick,LIP-PINK,pink,Shade=pink,,Face/Lips,EUR:1199\n"
    b",Brush,BRUSH,,,own-code,,\n"
)


async def test_rows_are_applied_and_the_bad_ones_are_named_with_their_lines(world: BulkWorld) -> None:
    location_id = await world.location(["a", "b"])
    data = stock_csv(location_id, ("a", 5), ("nope", 1), ("b", 2), ("a", -9)) + b"Graz,a,1\nx,a\n"

    job = await world.imported(data)

    assert (job.state, job.position, job.applied, job.refused) == (bulk.State.PARTIALLY_SUCCEEDED, 6, 2, 4)
    assert await world.told(job) == [
        (2, 3, "SKU_NOT_FOUND"),
        (4, 5, "QUANTITY_BELOW_ZERO"),
        (5, 6, "NOT_FOUND"),
        (6, 7, "INVALID_REQUEST"),
    ]
    assert (await world.level(location_id, "a")).on_hand == 5


async def test_a_row_of_a_bundle_is_refused(world: BulkWorld) -> None:
    location_id = await world.location(["a"])
    await world.variants(["SET"])
    await world.set_bundle("SET", {"a": 2})

    job = await world.imported(stock_csv(location_id, ("SET", 1), ("a", 3)))

    assert (job.state, job.applied, job.refused) == (bulk.State.PARTIALLY_SUCCEEDED, 1, 1)
    assert await world.told(job) == [(1, 2, "BUNDLE_HAS_NO_STOCK")]


async def test_rows_of_one_sku_are_applied_in_the_order_of_the_file(world: BulkWorld) -> None:
    location_id = await world.location(["a"])
    counts = [("a", number) for number in range(1200)]
    job = await world.imported(stock_csv(location_id, *counts, column="on_hand"), parts=3)
    assert (job.state, job.applied) == (bulk.State.SUCCEEDED, 1200)
    assert (await world.level(location_id, "a")).on_hand == 1199


async def test_a_worker_killed_in_the_middle_applies_no_row_twice(
    world: BulkWorld, urls: tuple[str, str], tmp_path: Path
) -> None:
    """kill -9 after a chunk's rows were applied and before they were counted: the worst moment."""
    location_id = await world.location(["a", "b"])
    job_id = await world.begin(stock_csv(location_id, *([("a", 1), ("b", 2)] * 600)))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.inventory.bulk.worker_process", *urls, str(tmp_path / "files"),
        world.tenant_id, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert await child.stdout.readline() == b"uncounted\n"
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    assert (await world.level(location_id, "a")).on_hand == 250
    assert (await world.jobs.get(bulk.IMPORT, job_id)).position == 0

    running = asyncio.create_task(world.worker.run(ttl_seconds=2))  # waits for the dead one's lease to run out
    while not (job := await world.jobs.get(bulk.IMPORT, job_id)).state.ended:
        await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert (job.state, job.applied) == (bulk.State.SUCCEEDED, 1200)
    assert (await world.level(location_id, "a")).on_hand == 600
    assert (await world.level(location_id, "b")).on_hand == 1200


async def test_two_workers_at_once_count_and_apply_once(world: BulkWorld) -> None:
    """A lease that was lost unnoticed: what keeps rows apart is their keys and the position."""
    location_id = await world.location(["a"])
    job_id = await world.begin(stock_csv(location_id, *([("a", 1)] * 700)))
    second = BulkWorld(world.db, Path(world.files.folder), tenant_id=world.tenant_id)
    async with second:
        await asyncio.gather(world.worker.turn(), second.worker.turn())
    await world.work()
    job = await world.jobs.get(bulk.IMPORT, job_id)
    assert (job.state, job.position, job.applied) == (bulk.State.SUCCEEDED, 700, 700)
    assert (await world.level(location_id, "a")).on_hand == 700


async def test_products_are_made_then_edited_and_the_same_file_changes_nothing(world: BulkWorld) -> None:
    first = await world.imported(PRODUCTS, bulk.Kind.PRODUCTS)
    assert (first.state, first.applied) == (bulk.State.SUCCEEDED, 3), await world.jobs.refusals(first.id, 0, 9)
    before = await _catalogue(world)

    again = await world.imported(PRODUCTS, bulk.Kind.PRODUCTS)
    assert (again.state, await _catalogue(world)) == (bulk.State.SUCCEEDED, before)

    edited = PRODUCTS.replace(b"pink,Shade=pink", b"rose,Shade=pink").replace(b"EUR:1199", b"EUR:999")
    assert (await world.imported(edited, bulk.Kind.PRODUCTS)).state is bulk.State.SUCCEEDED
    after = await _catalogue(world)
    assert ("LIP-PINK", "rose") in {(row[1], row[2]) for row in after["variants"]}
    assert len(after["prices"]) == len(before["prices"]) + 1


@pytest.mark.parametrize("form", list(bulk.Format))
@pytest.mark.parametrize("kind", list(bulk.Kind))
async def test_an_export_imported_again_changes_nothing(world: BulkWorld, kind: bulk.Kind, form: bulk.Format) -> None:
    location_id = await world.location()
    assert (await world.imported(PRODUCTS, bulk.Kind.PRODUCTS)).state is bulk.State.SUCCEEDED
    await world.adjust(location_id, "LIP-RED", 7)
    await world.reserve(location_id, ("LIP-RED", 2))
    before, file = await _catalogue(world), await world.exported(kind, form)

    job = await world.imported(file, kind, form=form)

    assert (job.state, job.refused) == (bulk.State.SUCCEEDED, 0), await world.jobs.refusals(job.id, 0, 9)
    assert job.position == (1 if kind is bulk.Kind.STOCK else 3)
    assert await _catalogue(world) == before
    assert (await world.exported(kind)) == (await world.exported(kind))


async def shelves(world: BulkWorld) -> tuple[shelf.Shelf, str]:
    """A location with units of two lots and of none, and a SKU that is not kept by lots."""
    milk = shelf.Shelf(world)
    here = await milk.open()
    await world.variants(["plain"])
    await world.adjust(here, "plain", 5)
    await milk.bring(here, 3, "L1", expires_on=shelf.day(5), best_before_on=shelf.day(4))
    await milk.bring(here, 4, "L2")
    await milk.bring(here, 2)
    await milk.hold(here, 4)
    return milk, here


def table(file: bytes, *names: str) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in names) for row in csv.DictReader(io.StringIO(file.decode()))]


@pytest.mark.parametrize("form", list(bulk.Format))
async def test_lots_go_out_and_in_again_and_rows_of_a_sku_add_up(world: BulkWorld, form: bulk.Format) -> None:
    milk, here = await shelves(world)
    before = await world.exported(bulk.Kind.STOCK)
    names = ("sku", "lot", "expires_on", "best_before_on", "on_hand", "reserved", "available")
    assert table(before, *names) == [
        ("Milk", "", "", "", "2", "0", "5"),
        ("Milk", "L1", shelf.day(5), shelf.day(4), "3", "3", ""),
        ("Milk", "L2", "", "", "4", "1", ""),
        ("plain", "", "", "", "5", "0", "5"),
    ]

    job = await world.imported(await world.exported(bulk.Kind.STOCK, form), form=form)

    assert (job.state, job.applied) == (bulk.State.SUCCEEDED, 4), await world.jobs.refusals(job.id, 0, 9)
    left = [name for name in bulk.EXPORTED[bulk.Kind.STOCK] if name not in ("version", "updated_at")]
    after = await world.exported(bulk.Kind.STOCK)
    assert table(after, *left) == table(before, *left)  # a count is an observation, so versions rise
    assert await milk.proof() == []
    again = await world.imported(after)
    assert (again.state, await milk.on_hand(here)) == (bulk.State.SUCCEEDED, await milk.on_hand(here))


async def test_counts_of_lots_are_compared_and_set_one_by_one(world: BulkWorld) -> None:
    milk, here = await shelves(world)
    counts = [
        (here, "Milk", "L1", "", "5", "3"),
        (here, "Milk", "L2", "", "9", "3"),  # four are recorded
        (here, "Milk", "", "", "1", "2"),
        (here, "Milk", "NEW", shelf.day(9), "6", "0"),
        (here, "Milk", "L1", shelf.day(6), "5", "5"),  # known with another date
        (here, "plain", "L", "", "1", "0"),
        (here, "plain", "", shelf.day(6), "1", "0"),
    ]
    lines = ["location,sku,lot,expires_on,on_hand,expected_on_hand", *(",".join(row) for row in counts)]

    job = await world.imported("\n".join(lines).encode())

    assert await world.told(job) == [
        (2, 3, "QUANTITY_STALE"),
        (5, 6, "LOT_MISMATCH"),
        (6, 7, "LOTS_NOT_KEPT"),
        (7, 8, "INVALID_REQUEST"),
    ]
    on_hand = {lot: units["on_hand"] for lot, units in (await milk.on_hand(here)).items()}
    assert on_hand == {"": 1, "L1": 5, "L2": 4, "NEW": 6}
    assert (await world.level(here, "Milk")).on_hand == 16
    assert await milk.proof() == []


async def test_the_newest_count_of_a_sku_wins_and_its_lots_are_counted_at_one_time(world: BulkWorld) -> None:
    milk, here = await shelves(world)
    header = "location,sku,lot,on_hand,occurred_at"
    noon, later = ((dt.datetime.now(dt.UTC) + dt.timedelta(hours=hour)).isoformat() for hour in (1, 2))
    counts = [("L1", 1, later), ("L2", 2, later), ("", 3, later), ("L1", 9, noon)]
    rows = [f"{here},Milk,{lot},{units},{at}" for lot, units, at in counts]

    job = await world.imported("\n".join([header, *rows]).encode())

    assert await world.told(job) == [(4, 5, "OBSERVATION_OUTDATED")]
    on_hand = {lot: units["on_hand"] for lot, units in (await milk.on_hand(here)).items()}
    assert on_hand == {"": 3, "L1": 1, "L2": 2}


async def test_a_file_without_lots_counts_the_whole_sku(world: BulkWorld) -> None:
    milk, here = await shelves(world)

    job = await world.imported(stock_csv(here, ("Milk", 8), column="on_hand"))

    assert job.state is bulk.State.SUCCEEDED
    on_hand = {lot: units["on_hand"] for lot, units in (await milk.on_hand(here)).items()}
    assert sum(on_hand.values()) == (await world.level(here, "Milk")).on_hand == 8


async def test_an_outdated_export_is_refused_row_by_row(world: BulkWorld) -> None:
    location_id = await world.location(["a", "b"])
    await world.adjust(location_id, "a", 3)
    await world.adjust(location_id, "b", 3)
    file = await world.exported(bulk.Kind.STOCK)
    await world.adjust(location_id, "b", 1)

    job = await world.imported(file)

    assert await world.told(job) == [(2, 3, "QUANTITY_STALE")]
    assert (await world.level(location_id, "b")).on_hand == 4


async def test_an_export_holds_what_the_token_covers(world: BulkWorld) -> None:
    here, there = await world.location(["a"]), await world.location()
    await world.adjust(here, "a", 1)
    await world.adjust(there, "a", 2)
    principal.enter(dataclasses.replace(world.caller, locations=frozenset({there})))

    rows = list(csv.DictReader(io.StringIO((await world.exported(bulk.Kind.STOCK)).decode())))

    assert [(row["location"], row["on_hand"]) for row in rows] == [(there, "2")]


async def test_a_row_of_another_location_is_refused_and_other_peoples_jobs_are_not_shown(world: BulkWorld) -> None:
    here, there = await world.location(["a"]), await world.location()
    limited = dataclasses.replace(world.caller, subject="shop-1", locations=frozenset({here}))
    principal.enter(limited)
    job = await world.imported(stock_csv(there, ("a", 1)))
    assert await world.told(job) == [(1, 2, "LOCATION_SCOPE")]
    principal.enter(dataclasses.replace(limited, subject="shop-2"))
    with pytest.raises(errors.LocationScope):
        await world.jobs.get(bulk.IMPORT, job.id)
    assert await world.jobs.page(bulk.IMPORT, None, 10) == []


async def test_an_import_that_is_stopped_applies_nothing_more(world: BulkWorld) -> None:
    location_id = await world.location(["a"])
    job_id = await world.begin(stock_csv(location_id, ("a", 1)))
    assert (await world.jobs.cancel(bulk.IMPORT, job_id)).state is bulk.State.CANCELLED
    assert (await world.jobs.cancel(bulk.IMPORT, job_id)).state is bulk.State.CANCELLED
    await world.work()
    assert (await world.level(location_id, "a")).on_hand == 0


async def test_a_file_that_breaks_off_keeps_what_came_before(world: BulkWorld) -> None:
    location_id = await world.location(["a"])
    job = await world.imported(stock_csv(location_id, ("a", 1)) + b'x,"unfinished')
    assert (job.state, job.applied, job.position) == (bulk.State.FAILED, 1, 1)
    assert "line 3" in job.message
    with pytest.raises(bulk.JobEnded):
        await world.jobs.cancel(bulk.IMPORT, job.id)


async def test_an_upload_can_be_repeated_and_a_missing_part_is_told(world: BulkWorld) -> None:
    location_id = await world.location(["a"])
    key, data = world.key("once"), stock_csv(location_id, ("a", 1))
    made = await world.jobs.create(bulk.IMPORT, bulk.Kind.STOCK, bulk.Format.CSV, key)
    assert made == await world.jobs.create(bulk.IMPORT, bulk.Kind.STOCK, bulk.Format.CSV, key)
    job_id = ids.decode("imp", made.id)
    with pytest.raises(bulk.ImportIncomplete):
        await world.jobs.upload(job_id, 2, data[10:], last=True)
    await world.jobs.upload(job_id, 1, data[:10], last=False)
    await world.jobs.upload(job_id, 2, data[10:], last=True)
    assert (await world.jobs.upload(job_id, 2, data[10:], last=True)).state is bulk.State.QUEUED
    with pytest.raises(bulk.JobEnded):
        await world.jobs.upload(job_id, 1, data, last=False)
    await world.work()
    assert (await world.level(location_id, "a")).on_hand == 1


async def test_a_job_its_refusals_and_its_files_are_forgotten_after_a_week(world: BulkWorld) -> None:
    location_id = await world.location(["a"])
    old = await world.imported(stock_csv(location_id, ("nope", 1)))
    young = await world.imported(stock_csv(location_id, ("a", 1)))
    await world.backdate(old.id, "ended_at", days=8)

    await world.worker.forget_aged()

    assert [job.id for job in await world.jobs.page(bulk.IMPORT, None, 10)] == [young.id]
    assert await world.rows("SELECT * FROM bulk_job_error") == []
    assert await world.files.size(bulk_files.part_name(old, 1)) is None
    assert await world.files.size(bulk_files.part_name(young, 1)) is not None


async def test_a_job_that_lay_still_for_longer_than_its_rows_are_remembered_fails(world: BulkWorld) -> None:
    location_id = await world.location(["a"])
    job_id = await world.begin(stock_csv(location_id, ("a", 1)))
    await world.backdate(job_id, "updated_at", days=3, state=bulk.State.RUNNING)
    await world.work()
    job = await world.jobs.get(bulk.IMPORT, job_id)
    assert (job.state, job.position) == (bulk.State.FAILED, 0)
    assert (await world.level(location_id, "a")).on_hand == 0


async def test_products_are_for_admins_of_the_catalogue(world: BulkWorld) -> None:
    principal.enter(dataclasses.replace(world.caller, roles=frozenset({"store_manager"})))
    with pytest.raises(errors.RoleRequired):
        await world.jobs.create(bulk.EXPORT, bulk.Kind.PRODUCTS, bulk.Format.CSV, world.key())
    principal.enter(dataclasses.replace(world.caller, scopes=frozenset()))
    with pytest.raises(errors.ScopeRequired):
        await world.jobs.create(bulk.EXPORT, bulk.Kind.PRODUCTS, bulk.Format.CSV, world.key())


async def _catalogue(world: BulkWorld) -> dict[str, list[tuple[object, ...]]]:
    """Everything that an import could change."""
    queries = {
        "products": "SELECT id, code, name, category, version FROM product ORDER BY id",
        "variants": "SELECT product_id, sku, name, options, stock_unit, package, version FROM variant ORDER BY sku_key",
        "barcodes": "SELECT barcode, sku_key FROM barcode ORDER BY barcode",
        "prices": "SELECT sku_key, currency_code, minor_units, CAST(valid_from AS text) FROM price ORDER BY 1, 2, 4",
        "levels": "SELECT location_id, sku, on_hand, reserved FROM stock_level ORDER BY 1, 2",
    }
    return {name: [tuple(row) for row in await world.rows(query)] for name, query in queries.items()}
