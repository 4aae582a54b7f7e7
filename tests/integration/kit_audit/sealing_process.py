"""A sealer in a process of its own, that is killed: `python sealing_process.py <settings as JSON>`.

`dies`: `before` the seal is committed, `between` commit and anchor, or `after` the anchor is on the disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from services.kit import database
from services.kit.audit import anchors, seals, store
from tests.integration.kit_audit.logs import Log


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingAnchors(anchors.Anchors):
    """Anchors that take their process along."""

    dies = ""

    def add(self, anchored: Sequence[seals.Seal]) -> None:
        if self.dies == "between":
            die()
        super().add(anchored)
        die()


async def main() -> None:
    given = json.loads(sys.argv[1])
    db = database.Database(*given["urls"])
    await db.open()
    log = Log(db, Path(given["folder"]), "", given["tenant_id"])
    dying = DyingAnchors(log.anchors.path.parent, "inventory")
    dying.dies = given["dies"]
    log.sealer._anchors = dying
    if given["dies"] == "before":
        put = store.put

        async def last(session: database.WorkerSession, seal: seals.Seal) -> None:
            await put(session, seal)
            die()

        store.put = last
    await log.sealer.seal()


if __name__ == "__main__":
    asyncio.run(main())
