"""One caller in a process of its own, that is killed: `python document_process.py <settings as JSON>`.

Receives on a purchase order, or approves a count. `dies`: `before` the step into the stock begins, or `after` it is
committed and before that is noted in the document. Nothing is said: the process is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence

from services.inventory import lane
from services.inventory.domain import commands
from services.kit import database
from tests.integration.inventory.replenishment import buying


class Dying(lane.StockRunner):
    """Lanes that take their process along."""

    dies = ""

    async def run(self, work: Sequence[lane.Work]) -> list[lane.Outcome]:
        """A batch; with a step of a document in it, the last."""
        last = any(isinstance(s.command, commands.ReceiveStock | commands.ApplyVariances) for _, s in work)
        if last and self.dies == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        outcomes = await super().run(work)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes


async def main() -> None:
    given = json.loads(sys.argv[1])
    Dying.dies = given["dies"]
    db = database.Database(*given["urls"])
    await db.open()
    async with buying.BuyingWorld(db, tenant_id=given["tenant_id"], runner=Dying) as world:
        if given["order"]:
            await world.receive(given["order"], given["lines"], request_id="truck")
        else:
            await world.approved(given["count"])


if __name__ == "__main__":
    asyncio.run(main())
