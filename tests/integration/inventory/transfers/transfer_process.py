"""One caller in a process of its own, that is killed: `python transfer_process.py <settings as JSON>`.

Takes a step of a transfer. `dies`: `before` a batch with work of this `method` begins, or `after` it is committed. Nothing
is said: the process is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence

from services.inventory import lane
from services.inventory.handlers import transfers
from services.kit import database
from tests.integration.inventory.transfers import moving


class Dying(lane.StockRunner):
    """Lanes that take their process along."""

    dies = ""
    method = ""

    async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
        """A batch; with the work in it that is waited for, the last."""
        last = any(submission.key.method == self.method for _, submission in work)
        if last and self.dies == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        outcomes = await super().run(work)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes


async def main() -> None:
    given = json.loads(sys.argv[1])
    transfers.SAME_HOLD_SECONDS = given["same_hold_seconds"] or transfers.SAME_HOLD_SECONDS  # type: ignore[misc]  # a test's
    Dying.dies, Dying.method = given["dies"], given["method"]
    db = database.Database(*given["urls"])
    await db.open()
    async with moving.MovingWorld(db, tenant_id=given["tenant_id"], runner=Dying) as world:
        await getattr(world, given["step"])(given["transfer"], **given["fields"], request_id="once")


if __name__ == "__main__":
    asyncio.run(main())
