"""A relay in a process of its own, to be killed: `python relay_process.py <settings as JSON>`.

Says on stdout, one word a line: `shares` once it holds shards, `publishing` and `published` around its first publish. With
"hang" set to one of the last two, it stops there and publishes nothing more.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from services.kit import broker, database, relay, streams
from tests.integration.kit_messaging import messaging_worlds as worlds
from tillmesh.common.v1 import event_pb2


async def main() -> None:
    given = json.loads(sys.argv[1])

    async def say(word: str) -> None:
        print(word, flush=True)
        if word == given["hang"]:
            await asyncio.Event().wait()

    async def before(_envelope: event_pb2.EventEnvelope) -> None:
        await say("publishing")

    async def after(_envelope: event_pb2.EventEnvelope) -> None:
        await say("published")

    db = database.Database(given["app"], given["worker"])
    await db.open()
    password = Path(given["password_file"])
    connection = broker.Broker(
        given["nats"], name="orders", user="orders", password_file=password, inbox_prefix="_INBOX.orders"
    )
    connection.start()
    inner = streams.JetStreamPublisher(connection, "orders", bytes_max=64 * 1024**2)
    publisher = worlds.Publishing(inner, before=before, after=after)
    running = relay.Relay(db, publisher, "orders", options=relay.Options(lease_seconds=2, renew_seconds=0.3))
    task = asyncio.create_task(running.run())
    while not running.shards:
        await asyncio.sleep(0.01)
    await say("shares")
    await task


if __name__ == "__main__":
    asyncio.run(main())
