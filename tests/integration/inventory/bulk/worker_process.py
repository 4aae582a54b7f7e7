"""A worker in a process of its own, to be killed: `python worker_process.py APP_URL WORKER_URL FOLDER TENANT_ID`.

Says `applied` on stdout for each row it applied. It never counts a chunk: it hangs where it would.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from services.inventory.store import bulk as store
from services.kit import database
from tests.integration.inventory.bulk.jobs import BulkWorld


async def main() -> None:
    app, worker, folder, tenant_id = sys.argv[1:]
    db = database.Database(app, worker)
    await db.open()
    async with BulkWorld(db, Path(folder), tenant_id=tenant_id) as world:

        async def hang(*_given: Any) -> None:
            print("uncounted", flush=True)
            await asyncio.Event().wait()

        store.advance = hang  # type: ignore[assignment]  # the moment between the rows and their count, made long
        await world.worker.run(ttl_seconds=2)


if __name__ == "__main__":
    asyncio.run(main())
