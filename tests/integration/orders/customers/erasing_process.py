"""One eraser in a process of its own, that is killed: `python erasing_process.py <settings as JSON>`.

`dies`: `before` the erasure is in the log, `between` log and commit, or `after` the commit, before anybody hears of it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from services.kit import chained_log, database
from services.orders.customers import erasure_log
from services.orders.customers.handlers import erasing
from tests.integration.orders.customers.world import World


class DyingLog(erasure_log.ErasureLog):
    """A log that takes its process along."""

    dies = ""

    def append(
        self, tenant: str, customers: Sequence[str], at: dt.datetime
    ) -> tuple[chained_log.Position, chained_log.Position]:
        if self.dies == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        positions = super().append(tenant, customers, at)
        if self.dies == "between":
            os.kill(os.getpid(), signal.SIGKILL)
        return positions


async def main() -> None:
    given = json.loads(sys.argv[1])
    DyingLog.dies = given["dies"]
    db = database.Database(*given["urls"])
    await db.open()
    people = World(db, Path(given["keys"]), Path(given["log"]), given["tenant_id"])
    people.parts.erasing = erasing.Erasing(people.parts.desk, DyingLog(Path(given["log"])), "orders")
    people.servicer = type(people.servicer)(people.parts)
    await people.call("EraseCustomer", customer_id=given["customer_id"])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main())
