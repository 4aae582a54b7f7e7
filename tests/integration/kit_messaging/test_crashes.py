"""kill -9 and restarts at the worst moments."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.integration.kit_messaging import messaging_worlds as worlds

SCRIPT = Path(__file__).parent / "relay_process.py"


@contextlib.asynccontextmanager
async def relay_process(
    world: worlds.World, urls: Mapping[str, tuple[str, str]], hang: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    app, worker = urls[worlds.OWNER]
    given = {
        "app": app,
        "worker": worker,
        "nats": world.server.url,
        "password_file": str(world.owner_broker.password_file),
        "hang": hang,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        json.dumps(given),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def hear(process: asyncio.subprocess.Process, word: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while (line := await process.stdout.readline()) != f"{word}\n".encode():
            assert line, f"the relay ended before it said {word}"


async def test_nothing_is_lost_when_the_relay_is_killed_between_commit_and_publish(
    world: worlds.World, urls: Mapping[str, tuple[str, str]]
) -> None:
    async with relay_process(world, urls, hang="publishing") as process:
        await hear(process, "shares")
        await world.emit("loc_0", 3)
        await hear(process, "publishing")
    assert await world.in_stream_count() == 0
    world.spawn(world.relay().run())
    world.spawn(world.inbox().run())
    await world.until_applied()


async def test_nothing_is_doubled_when_the_relay_is_killed_between_publish_and_mark(
    world: worlds.World, urls: Mapping[str, tuple[str, str]]
) -> None:
    async with relay_process(world, urls, hang="published") as process:
        await hear(process, "shares")
        await world.emit("loc_0", 3)
        await hear(process, "published")
    assert await world.unpublished() == 3
    assert await world.in_stream_count() == 1
    world.spawn(world.relay().run())
    world.spawn(world.inbox().run())
    await world.until_published()
    assert [one.seq_from for one in await world.in_stream()] == [1, 2, 3]
    await world.until_applied()


async def test_a_dead_relays_shards_are_taken_over_within_seconds(world: worlds.World) -> None:
    living, dead = world.relay(), world.relay()
    world.spawn(living.run())
    dying = world.spawn(dead.run())

    async def shared() -> bool:
        return len(living.shards) == len(dead.shards) == 32

    await world.until(shared)
    dead._shares.release_all = _nothing  # type: ignore[method-assign]  # what kill -9 leaves out
    dying.cancel()
    killed = time.monotonic()

    async def taken_over() -> bool:
        return len(living.shards) == 64

    await world.until(taken_over)
    assert time.monotonic() - killed < 3 * worlds.QUICK.lease_seconds


async def _nothing() -> None:
    pass


async def test_a_restart_of_nats_loses_nothing(world: worlds.World) -> None:
    world.spawn(world.relay().run())
    world.spawn(world.inbox().run())
    await world.emit("loc_0", 3)
    await world.until_applied()
    await asyncio.to_thread(world.server.stop)
    await world.emit("loc_0", 3)
    await world.emit("loc_1", 3)
    world.server.start()  # in this thread: the server ends with the thread that starts it
    await world.emit("loc_0")
    await world.until_applied()


async def test_when_nats_comes_back_without_its_data_streams_and_consumers_are_made_again(
    world: worlds.World,
) -> None:
    world.spawn(world.relay().run())
    consumer = world.inbox()
    world.spawn(consumer.run())
    await world.emit("loc_0", 2)
    await world.until_applied()
    await asyncio.to_thread(world.server.stop)
    shutil.rmtree(world.server.data_dir / "jetstream")
    await world.emit("loc_0", 2)
    world.server.start()  # in this thread: the server ends with the thread that starts it
    await world.emit("loc_1", 2)
    await world.until_applied()


async def test_a_service_starts_and_its_consumers_wait_while_nats_is_away(world: worlds.World) -> None:
    await asyncio.to_thread(world.server.stop)
    late = worlds.broker.Broker(world.server.url, name="late")
    late.start()
    assert not late.connected
    await world.emit("loc_0", 2)
    world.spawn(world.relay().run())
    world.spawn(world.inbox().run())
    world.server.start()  # in this thread: the server ends with the thread that starts it
    await world.until_applied()
    await late.stop()


async def test_a_connection_that_the_client_gave_up_for_good_is_replaced(world: worlds.World) -> None:
    """After some errors of the server nats-py closes and never reconnects."""
    world.spawn(world.relay().run())
    world.spawn(world.inbox().run())
    await world.emit("loc_0", 2)
    await world.until_applied()
    for connection in (world.owner_broker, world.consumer_broker):
        await connection.client.close()
    await world.emit("loc_0", 2)
    await world.until_applied()
