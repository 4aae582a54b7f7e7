"""Callers in processes of their own, that are killed: `python paying_process.py <list of settings as JSON>`.

Each authorises, captures, voids or refunds. `dies`: before or after the provider was asked, or after it prepared. Prints
how each ended. They are forked, before anything is opened: what they import is imported once.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

from services.kit import database
from services.orders.domain import payments as domain
from services.orders.payments import port
from services.orders.payments.providers import simulated, stripe, stripe_api
from tests.integration.orders.payments import stripe_simulator
from tests.integration.orders.payments.paying import PayingWorld


class Dying:
    """A provider that takes the process along."""

    def __init__(self, inner: Any, dies: str) -> None:
        self._inner = inner
        self._dies = dies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _die(self, here: str) -> None:
        if self._dies == here:
            os.kill(os.getpid(), signal.SIGKILL)

    async def prepare(self, asked: port.Asked) -> str:
        reference = await self._inner.prepare(asked)
        self._die("prepared")
        return str(reference)

    async def perform(self, asked: port.Asked) -> port.Outcome:
        self._die("before")
        outcome: port.Outcome = await self._inner.perform(asked)
        self._die("after")
        return outcome


async def call(given: dict[str, Any]) -> None:
    """Never returns."""
    db = database.Database(*given["urls"])
    await db.open()
    file = Path(given["bank"])
    if given["stripe"]:
        inner: Any = stripe.Stripe(stripe_api.Api(stripe_simulator.KEY, given["stripe"]))
        provider = domain.Provider.STRIPE
    else:
        inner, provider = simulated.SimulatedBank(file), domain.Provider.SIMULATED
    world = PayingWorld(db, uuid.UUID(given["tenant"]), file, (provider, Dying(inner, given["dies"])))
    moves, tenant = world.operations, world.tenant
    if given["what"] == "authorise":
        order = port.OrderRef(uuid.UUID(given["order"]))
        await moves.authorise(tenant, order, port.Tender(port.Method.CARD, given["token"], 1000, "EUR"), "killed")
    payment = uuid.UUID(given["payment"])
    if given["what"] == "capture":
        await moves.capture(tenant, payment, 600, "killed")
    if given["what"] == "void":
        await moves.void(tenant, payment, "killed")
    await moves.refund(tenant, payment, 600, "killed")


def main() -> None:
    children = []
    for given in json.loads(sys.argv[1]):
        child = os.fork()
        if not child:
            asyncio.run(call(given))
            os._exit(0)
        children.append(child)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))


if __name__ == "__main__":
    main()
