"""Recalls a lot in a process of its own, and is killed: `python recall_process.py <settings as JSON>`.

`dies_after`: that many locations have been told of it (0: none, the mark is all there is), or -1: it was answered, which is said.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from typing import Any

from services.inventory.handlers import settling_lots
from services.kit import database
from tests import worlds
from tests.integration.inventory.stock import shelf
from tillmesh.inventory.v1 import lots_pb2


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    given = json.loads(sys.argv[1])
    settling_lots.HEADS_AT_ONCE = 1  # type: ignore[misc]  # a location at a time, so that there is something in between
    told, settle_some = 0, settling_lots.settle_some

    async def counting(*args: Any) -> uuid.UUID | None:
        nonlocal told
        if told == given["dies_after"]:
            die()
        told += 1
        return await settle_some(*args)

    settling_lots.settle_some = counting
    db = database.Database(*given["urls"])
    await db.open()
    async with worlds.StockWorld(db, tenant_id=given["tenant_id"]) as world:
        await shelf.Shelf(world).recall(lots_pb2.Lot(id=given["lot"]), request_id="once")
        print("answered", flush=True)
        die()


if __name__ == "__main__":
    asyncio.run(main())
