"""Keeps child processes running: starts them, restarts what dies, stops all in order.

What the children are belongs to ``children``; in which order they come up belongs to ``stack``.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from services.mesh import faults, logs
from services.mesh import metrics as metrics_module
from services.mesh.child import Child, spawn

_BACKOFF_SECONDS_FIRST: Final = 0.2
_BACKOFF_SECONDS_MAX: Final = 10.0
#: Who lived this long is taken for healthy: its next restart is quick again.
_HEALTHY_SECONDS: Final = 30.0
_PROBE_SECONDS: Final = 0.05

log = structlog.get_logger()


@dataclass
class _Kept:
    """A child and what is known of it."""

    child: Child
    log: logs.LogFile
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> asyncio.subprocess.Process | None:
        return self.process if self.process is not None and self.process.returncode is None else None


class Supervisor:
    """Runs children until told to stop. ``fault`` gets the reason why they can't go on, if one comes up.

    ``changed`` is called whenever a process number has changed.
    """

    def __init__(self, metrics: metrics_module.Metrics, changed: Callable[[], None] = lambda: None) -> None:
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._metrics = metrics
        self._changed = changed
        self._kept: dict[str, _Kept] = {}

    @property
    def pids(self) -> dict[str, int]:
        """Process numbers of the children that run now."""
        return {name: kept.running.pid for name, kept in self._kept.items() if kept.running is not None}

    def start(self, child: Child) -> None:
        """Begins to keep ``child``; ``ready`` tells when it serves."""
        kept = self._kept[child.name] = _Kept(child, logs.LogFile(child.log))
        self._metrics.up.labels(child.name).set(0)
        self._metrics.restarts.labels(child.name)
        kept.task = asyncio.create_task(self._keep(kept), name=f"keep {child.name}")

    async def ready(self, *names: str) -> None:
        """Returns once each of these has been ready. The caller bounds the wait."""
        await asyncio.gather(*(self._kept[name].ready.wait() for name in names))

    def unready(self) -> list[str]:
        """Names of the children that don't serve now."""
        return [name for name, kept in self._kept.items() if not kept.ready.is_set()]

    async def stop(self, *names: str) -> None:
        """Stops these children at the same time, unknown ones not; returns when all have ended."""
        await asyncio.gather(*(self._stop(self._kept[name]) for name in names if name in self._kept))

    def kill(self) -> None:
        """Ends every child at once, with whatever it was doing."""
        for kept in self._kept.values():
            kept.stopping.set()
            _kill(kept)

    async def _keep(self, kept: _Kept) -> None:
        delays, name = _Delays(), kept.child.name
        while not kept.stopping.is_set():
            begun = time.monotonic()
            try:
                code = await self._run_once(kept)
            except (OSError, faults.Fault) as error:
                self._give_up(
                    error if isinstance(error, faults.Fault) else faults.Refusal(f"{name} can't be started: {error}.")
                )
                return
            if kept.stopping.is_set():
                return
            if code == faults.EXIT_REFUSED:
                self._give_up(
                    faults.Refusal(kept.log.last_words() or f"{name} refuses its settings; see {kept.child.log}.")
                )
                return
            delay = delays.after(lived_seconds=time.monotonic() - begun)
            log.error(
                "child.exited",
                child=name,
                **_ending(code),
                restart_in_seconds=round(delay, 2),
                said=kept.log.last_words(),
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(kept.stopping.wait(), delay)
                return
            self._metrics.restarts.labels(name).inc()
            log.warning("child.restarted", child=name)

    async def _run_once(self, kept: _Kept) -> int:
        """Runs the child until it ends and returns its exit code."""
        if kept.child.before_start is not None:
            await asyncio.to_thread(kept.child.before_start)
        kept.process = process = await spawn(kept.child, kept.log)
        if kept.stopping.is_set():  # told to stop while it was being started
            process.send_signal(kept.child.stop_signal)
        self._changed()
        probing = asyncio.create_task(self._probe(kept), name=f"probe {kept.child.name}")
        try:
            return await process.wait()
        finally:
            probing.cancel()
            kept.ready.clear()
            self._metrics.up.labels(kept.child.name).set(0)
            self._changed()

    async def _probe(self, kept: _Kept) -> None:
        begun = time.monotonic()
        while not await kept.child.ready():  # noqa: ASYNC110 — asks another process
            await asyncio.sleep(_PROBE_SECONDS)
        kept.ready.set()
        self._metrics.up.labels(kept.child.name).set(1)
        log.info("child.ready", child=kept.child.name, seconds=round(time.monotonic() - begun, 2))

    async def _stop(self, kept: _Kept) -> None:
        kept.stopping.set()
        if kept.running is not None:
            with suppress(ProcessLookupError):
                kept.running.send_signal(kept.child.stop_signal)
        if kept.task is None:
            return
        done, _ = await asyncio.wait([kept.task], timeout=kept.child.stop_seconds)
        if not done:
            log.warning("child.killed", child=kept.child.name, after_seconds=kept.child.stop_seconds)
            _kill(kept)
            await asyncio.wait([kept.task])

    def _give_up(self, fault: faults.Fault) -> None:
        if not self.fault.done():
            self.fault.set_exception(fault)


class _Delays:
    """Pauses between restarts: doubling, capped, and spread out so that children don't come back in step."""

    def __init__(self) -> None:
        self._next = _BACKOFF_SECONDS_FIRST

    def after(self, *, lived_seconds: float) -> float:
        base = _BACKOFF_SECONDS_FIRST if lived_seconds >= _HEALTHY_SECONDS else self._next
        self._next = min(2 * base, _BACKOFF_SECONDS_MAX)
        return base * random.uniform(0.75, 1.25)  # noqa: S311 — jitter, not a secret


def _kill(kept: _Kept) -> None:
    if kept.running is not None:
        with suppress(ProcessLookupError):
            os.killpg(kept.running.pid, signal.SIGKILL)


def _ending(code: int) -> dict[str, int | str]:
    return {"exit_code": code} if code >= 0 else {"signal": signal.Signals(-code).name}
