"""The proof of the ledger: it finds what was tampered with and nothing else, and sets levels right."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest

from services.inventory import ledger
from services.inventory.domain import commands, stock_errors
from services.inventory.domain import levels as values
from services.inventory.mapping import stock as mapping
from services.inventory.store import proof
from services.mesh import postgres
from tests import worlds
from tillmesh.inventory.v1 import inventory_events_pb2 as events_pb
from tillmesh.inventory.v1 import stock_pb2

Tamper = Callable[..., None]


@pytest.fixture
def tamper(cluster: postgres.Cluster, urls: tuple[str, str]) -> Tamper:
    """Runs a statement as the superuser, past every rule. urls: there is a database."""

    def run(statement: str, *given: Any) -> None:
        with psycopg.connect(cluster.url("tillmesh_inventory"), autocommit=True) as admin:
            assert admin.execute(statement, given).rowcount == 1

    return run


async def busy_location(world: worlds.StockWorld, skus: Sequence[str] = ("Red-1", "blue")) -> str:
    """Stock in every state, holds of every end, and a policy, which takes a position and writes no line."""
    location_id = await world.location(skus)
    for sku in ("Red-1", "blue"):
        await world.adjust(location_id, sku, 50)
    held = [await world.reserve(location_id, ("red-1", 3), ("BLUE", 2)) for _ in range(3)]
    await world.end(held[0].id, values.HoldState.CONFIRMED)
    await world.end(held[1].id, values.HoldState.RELEASED)
    await world.end(held[2].id, values.HoldState.ACTIVE, ttl=3000)
    await world.reserve(location_id, ("blue", 1), ttl=1)
    for command, call in (
        (commands.Move(world.origin, "blue", 2, 5, 4, 6), mapping.reply_level),
        (commands.Move(world.origin, "blue", 2, 6, 3, 6), mapping.reply_level),
        (commands.SetPolicy(world.origin, "blue", 2, 1, None), mapping.reply_level),
    ):
        await world.handlers.write(location_id, command, world.key(), stock_pb2.StockLevel, call)
    return location_id


async def prove(world: worlds.StockWorld, location_id: str) -> list[proof.Difference]:
    proving = ledger.Ledger(world.db)
    [where] = await proving.locations(world.tenant_id, location_id)
    return await proving.verify(where)


async def test_stock_that_nobody_tampered_with_adds_up(world: worlds.StockWorld) -> None:
    assert await prove(world, await busy_location(world)) == []
    assert await prove(world, await world.location()) == []


async def test_proving_a_busy_location_raises_no_false_alarm(world: worlds.StockWorld) -> None:
    location_id = await world.location(["a", "b"])
    for sku in ("a", "b"):
        await world.adjust(location_id, sku, 10_000)
    done = asyncio.Event()

    async def trade(sku: str) -> None:
        while not done.is_set():
            held = await world.reserve(location_id, (sku, 2), ttl=1)
            await world.adjust(location_id, sku, -1)
            with contextlib.suppress(stock_errors.ReservationEnded):
                await world.end(held.id, values.HoldState.CONFIRMED)
            await world.reserve(location_id, (sku, 1), ttl=1)  # left to run out

    traders = [asyncio.create_task(trade(sku)) for sku in ("a", "b", "a", "b")]
    try:
        found = [await prove(world, location_id) for _ in range(25)]
    finally:
        done.set()
        await asyncio.gather(*traders)

    assert found == [[]] * 25
    assert await prove(world, location_id) == []


async def test_a_level_that_was_tampered_with_is_found_and_set_right(world: worlds.StockWorld, tamper: Tamper) -> None:
    location_id, other = await busy_location(world), await busy_location(world, skus=())
    before = await world.level(location_id, "blue")
    lines = await world.rows("SELECT * FROM ledger ORDER BY location_id, seq, line")
    where = mapping.location_uuid(location_id)
    tamper("UPDATE stock_level SET on_hand = on_hand + 7 WHERE location_id = %s AND sku_key = 'blue'", where)

    proving = ledger.Ledger(world.db)
    found = {place.location: await proving.verify(place) for place in await proving.locations(world.tenant_id)}
    assert found == {where: [proof.Difference("blue", "on_hand", 50, 57)], mapping.location_uuid(other): []}
    [place] = await proving.locations(location_id=location_id)
    assert await proving.rebuild(place, found[where]) == 1

    assert await prove(world, location_id) == []
    after = await world.level(location_id, "blue")
    assert (after.on_hand, after.allocated, after.damaged) == (before.on_hand, before.allocated, before.damaged)
    assert [m for m in await world.rows("SELECT * FROM ledger ORDER BY location_id, seq, line") if m in lines] == lines
    [(data,)] = await world.rows(
        "SELECT data FROM outbox WHERE key = :key ORDER BY seq_to DESC LIMIT 1", key=location_id
    )
    change = events_pb.StockChanged.FromString(data).changes[-1]
    assert [(level.sku, level.on_hand) for level in change.levels] == [("blue", 50)]
    assert not change.movements
    assert [(x.kind, x.sku, x.quantity) for x in change.exceptions] == [(values.ExceptionKind.LEVEL_REBUILT, "blue", 7)]
    assert await proving.rebuild(place, found[where]) == 0  # nothing is wrong any more


async def test_a_level_that_is_gone_comes_back_from_the_ledger(world: worlds.StockWorld, tamper: Tamper) -> None:
    location_id = await world.location(["a"])
    await world.adjust(location_id, "a", 5)
    tamper("DELETE FROM stock_level WHERE location_id = %s", mapping.location_uuid(location_id))
    found = await prove(world, location_id)
    assert found == [proof.Difference("a", "on_hand", 5, 0)]

    proving = ledger.Ledger(world.db)
    [place] = await proving.locations(location_id=location_id)
    await proving.rebuild(place, found)

    assert (await world.level(location_id, "a")).on_hand == 5
    assert await prove(world, location_id) == []


async def test_what_a_rebuild_adds_up_includes_what_was_written_since(world: worlds.StockWorld, tamper: Tamper) -> None:
    location_id = await busy_location(world)
    where = mapping.location_uuid(location_id)
    tamper("UPDATE stock_level SET allocated = 0 WHERE location_id = %s AND sku_key = 'red-1'", where)
    found = await prove(world, location_id)
    proving = ledger.Ledger(world.db)
    [place] = await proving.locations(location_id=location_id)

    selling = [world.adjust(location_id, "red-1", -1) for _ in range(20)]
    results = await asyncio.gather(proving.rebuild(place, found), *selling)

    assert results[0] == 1
    level = await world.level(location_id, "red-1")
    assert (level.on_hand, level.allocated) == (30, 3)
    assert await prove(world, location_id) == []


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE stock_level SET reserved = 0 WHERE location_id = %s AND sku_key = 'red-1'", "reserved"),
        ("UPDATE hold SET quantity = 9 WHERE location_id = %s AND state = 1 AND sku = 'Red-1'", "held until"),
        ("DELETE FROM hold_bucket WHERE location_id = %s AND sku_key = 'red-1' AND quantity = 3", "reserved, by the"),
        ("UPDATE stock_head SET seq = seq + 1 WHERE location_id = %s", "outbox, last position"),
        ("UPDATE ledger SET line = 2 WHERE location_id = %s AND seq = 1", "ledger, lines at position 1"),
        ("UPDATE outbox SET seq_from = 3 WHERE key = %s AND seq_to = 4", "outbox, next position"),
    ],
)
async def test_whatever_is_tampered_with_is_found(
    world: worlds.StockWorld, tamper: Tamper, statement: str, what: str
) -> None:
    location_id = await busy_location(world)
    tamper(
        statement,
        location_id
        if "key" in statement.split("WHERE")[1].split(maxsplit=1)[0]
        else mapping.location_uuid(location_id),
    )

    found = await prove(world, location_id)

    assert any(difference.what.startswith(what) for difference in found)
    assert {difference.sku for difference in found} <= {"red-1", ""}


async def run(urls: tuple[str, str], *arguments: str) -> tuple[int, str]:
    """The command as an operator has it: the service's two database URLs and nothing more."""
    told = {
        "TILLMESH_INVENTORY_DATABASE_URL": urls[0],
        "TILLMESH_INVENTORY_WORKER_DATABASE_URL": urls[1],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "COLUMNS": "160",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.inventory", *arguments, env=told,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_the_command_says_what_differs_and_sets_it_right(
    world: worlds.StockWorld, urls: tuple[str, str], tamper: Tamper
) -> None:
    location_id = await busy_location(world)
    where = mapping.location_uuid(location_id)
    tamper("UPDATE stock_level SET damaged = 40 WHERE location_id = %s AND sku_key = 'blue'", where)

    code, said = await run(urls, "verify", "--tenant", world.tenant_id, "--location", location_id)
    assert code == 1
    assert location_id in said
    assert [word.strip() for word in next(line for line in said.splitlines() if "blue" in line).split("│")[1:-1]] == [
        "blue", "damaged", "4", "40",
    ]  # fmt: skip
    code, said = await run(urls, "rebuild", "--location", location_id)
    assert (code, said.splitlines()[-1]) == (0, "1 locations, 1 levels rebuilt, 0 differences left")
    assert (await run(urls, "verify", "--location", location_id))[0] == 0
