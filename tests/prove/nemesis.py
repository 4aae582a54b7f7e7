"""What goes wrong: processes are killed by -9 in turn and together, or frozen for a second. Drawn from the seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Final

from tests.e2e import stack as stacks
from tests.prove.history import History

VICTIMS: Final = ("inventory", "inventory-2", "orders", "nats", "envoy", "edge", "postgres")
FROZEN_SECONDS: Final = 1.0
#: Seconds between two blows. A process that is killed again within 30 s waits longer for its restart, up to 10 s.
PAUSES: Final = (2.0, 9.0)


class Nemesis:
    """Strikes until it is told to stop."""

    def __init__(self, stack: stacks.Stack, seed: int, history: History) -> None:
        self._stack = stack
        self._random = random.Random(f"{seed}/nemesis")
        self._history = history
        self._order: list[str] = []
        self.spared: set[str] = set()
        """Who is left alone for now."""

    async def run(self, until: float) -> None:
        """Until a time of the monotonic clock."""
        while True:
            pause = self._random.uniform(*PAUSES)
            if time.monotonic() + pause > until:
                return
            await asyncio.sleep(pause)
            await self._strike()

    def kill(self, victim: str) -> None:
        """Now."""
        self._send(victim, signal.SIGKILL)

    async def _strike(self) -> None:
        count = self._random.choices((1, 2, 3), (70, 22, 8))[0]
        victims = [each for each in dict.fromkeys(self._next() for _ in range(count)) if each not in self.spared]
        if self._random.random() < 0.2:
            await asyncio.gather(*(self._freeze(victim) for victim in victims))
            return
        for victim in victims:
            self._send(victim, signal.SIGKILL)

    def _next(self) -> str:
        """Everybody's turn comes, in an order without order."""
        if not self._order:
            self._order = list(VICTIMS)
            self._random.shuffle(self._order)
        return self._order.pop()

    async def _freeze(self, victim: str) -> None:
        pid = self._send(victim, signal.SIGSTOP)
        try:
            await asyncio.sleep(FROZEN_SECONDS)
        finally:
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _send(self, victim: str, how: signal.Signals) -> int | None:
        """None when it doesn't run just now."""
        pid = self._stack.endpoints["pids"].get(victim)
        if pid is None or not self._is_ours(pid):
            return None
        os.kill(pid, how)
        self._history.kills.append({"at": time.time(), "how": how.name, "process": victim})
        return int(pid)

    def _is_ours(self, pid: int) -> bool:
        """Whether the number still is a child of our supervisor: it may have been given to somebody else."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return int(fields[1]) == self._stack.pid
