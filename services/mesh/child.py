"""A program to run, as data, and starting it once. Running it again belongs to ``supervisor``."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.mesh import faults, logs, processes

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True)
class Child:
    """A program to keep running. ``ready`` says whether it serves; ``before_start`` clears its way each time.

    ``account`` is the (uid, gid) to run as. It is told to stop by ``stop_signal``, and killed after ``stop_seconds``.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    ready: Probe
    cwd: Path = Path("/")
    before_start: Callable[[], None] | None = None
    account: tuple[int, int] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """A program that runs once and ends, such as a migration."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path = Path("/")


async def spawn(child: Child | Step, log: logs.LogFile) -> asyncio.subprocess.Process:
    """Starts the program in a session of its own, writing to ``log``, bound to die with this process."""
    account = child.account if isinstance(child, Child) else None
    death = child.stop_signal if isinstance(child, Child) else signal.SIGTERM
    output = log.open()
    try:
        return await asyncio.create_subprocess_exec(
            *processes.launched(child.argv, death, account),
            env=dict(child.env),
            cwd=child.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops all in order
        )
    finally:
        os.close(output)


async def run(step: Step) -> None:
    """Runs a step to its end. Raises ``Refusal`` with its last line for exit code 78, ``StartFailed`` for any other.

    Cancelled, it takes the program along.
    """
    log = logs.LogFile(step.log)
    process = await spawn(step, log)
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if code == faults.EXIT_REFUSED:
        raise faults.Refusal(log.last_words() or f"{step.name} refuses its settings; see {step.log}.")
    if code != 0:
        raise faults.StartFailed(f"{step.name} failed with exit code {code} ({log.last_words()}); see {step.log}.")
