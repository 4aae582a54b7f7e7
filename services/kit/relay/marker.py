"""Marks rows as published, all that wait in one statement: the next one leaves when the one before is committed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from services.kit import events
from services.kit.relay import store

ROWS_MAX: Final = 2048


class Marker:
    """Gathers marks while a statement is under way."""

    def __init__(self, outbox: store.Store) -> None:
        self._store = outbox
        self._waiting: list[tuple[Sequence[events.Row], int, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def mark(self, rows: Sequence[events.Row], fence: int) -> None:
        """Returns once the rows are marked. Raises what the database raises."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, fence, done))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="relay marks")
        await done

    async def _run(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting, []
                rows = [(row, fence) for some, fence, _ in taken for row in some]
                error: Exception | None = None
                try:
                    for start in range(0, len(rows), ROWS_MAX):
                        await self._store.mark(rows[start : start + ROWS_MAX])
                except Exception as failed:  # noqa: BLE001 - told to each who waits
                    error = failed
                for _, _, done in taken:
                    with contextlib.suppress(asyncio.InvalidStateError):  # its relay was stopped meanwhile
                        done.set_exception(error) if error is not None else done.set_result(None)
        finally:
            self._task = None
