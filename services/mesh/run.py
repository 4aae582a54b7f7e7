"""Running a stack in the foreground: from the settings to the exit code, with the signals in between."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any, Final

import structlog

from services.mesh import banner, children, endpoints, faults, folder, layout, logs
from services.mesh import settings as settings_module
from services.mesh import stack as stack_module

#: Processes of a killed supervisor get this long to end by themselves.
_LEFTOVER_SECONDS: Final = 15.0
_EXIT_KILLED: Final = 130

log = structlog.get_logger()


def main(tables: stack_module.Tables = children.real) -> int:
    """Runs the stack until it is told to stop; returns the exit code. A fault is one sentence on standard error."""
    begun = time.monotonic()
    try:
        settings = settings_module.load()
        logs.configure(settings.log_format)
        place = layout.of(settings.data)
        with folder.claimed(place):
            left = endpoints.end_leftovers(place, _LEFTOVER_SECONDS)
            if left:
                log.warning("leftovers.ended", children=left)
            asyncio.run(_serve(place, settings, tables, begun))
    except faults.Fault as fault:
        print(f"tillmesh: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


async def _serve(
    place: layout.Layout, settings: settings_module.Settings, tables: stack_module.Tables, begun: float
) -> None:
    stack = stack_module.Stack(place, settings, tables)
    stopping = asyncio.Event()
    _on_signals(stack, stopping)
    work = asyncio.create_task(_up(stack, begun), name="up")
    told = asyncio.create_task(stopping.wait(), name="told to stop")
    try:
        pending: set[asyncio.Future[Any]] = {work, told, stack.supervisor.fault}
        while not told.done():
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for one in done - {told}:
                one.result()  # raises the fault that ends the stack
            pending -= done
    finally:
        told.cancel()
        work.cancel()
        await asyncio.wait([work])
        log.info("stack.stopping")
        await stack.down()
    log.info("stack.stopped")


async def _up(stack: stack_module.Stack, begun: float) -> None:
    await stack.up()
    log.info("stack.ready", seconds=round(time.monotonic() - begun, 1))
    await stack.load_demo()
    banner.show(stack.place, stack.endpoints)


def _on_signals(stack: stack_module.Stack, stopping: asyncio.Event) -> None:
    """The first signal stops in order, the second kills."""

    def stop() -> None:
        if stopping.is_set():
            stack.kill()
            os._exit(_EXIT_KILLED)  # the children are dead, and what waits for them needn't
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
