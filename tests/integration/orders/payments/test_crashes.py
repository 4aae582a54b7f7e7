"""Money is moved once, whoever is killed: SIGKILL around every call to a provider, and whoever comes by finishes it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.kit import database, ids
from services.orders.domain import payments as domain
from services.orders.payments import port
from services.orders.payments.providers import stripe, stripe_api
from tests.integration.orders.payments import stripe_simulator
from tests.integration.orders.payments.paying import DUE, PayingWorld, amounts

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).parent / "paying_process.py"
EXPECTED = {
    "authorise": (1000, 0, 0, 0),
    "capture": (1000, 600, 0, 0),
    "void": (1000, 0, 0, 1000),
    "refund": (1000, 600, 600, 0),
}
AT_STRIPE = {**EXPECTED, "capture": (1000, 600, 0, 400), "refund": (1000, 600, 600, 400)}


@dataclass
class Case:
    """A process that dies: what it does, when, and whose money it is."""

    what: str
    dies: str
    url: str
    world: PayingWorld
    order: uuid.UUID
    paid: port.Movement | None = None

    @property
    def token(self) -> str:
        return "pm_card_visa" if self.url else "sim_ok"

    async def begin(self) -> None:
        """What has to be there before."""
        if self.what != "authorise":
            self.paid = await self.world.authorise(self.token, order=self.order)
        if self.what == "refund" and self.paid is not None:
            await self.world.capture(self.paid, 600)

    def told(self, urls: tuple[str, str, str]) -> dict[str, Any]:
        """What its process is told."""
        payment = self.paid.payment_id if self.paid else uuid.UUID(int=0)
        return {
            "urls": urls[:2], "tenant": self.world.tenant, "bank": str(self.world.bank_file), "stripe": self.url,
            "what": self.what, "dies": self.dies, "token": self.token, "order": str(self.order), "payment": str(payment),
        }  # fmt: skip

    async def again(self) -> port.Movement:
        """The caller comes back with its key."""
        if self.paid is None:
            return await self.world.authorise(self.token, order=self.order, key="killed")
        calls = {
            "capture": lambda paid: self.world.capture(paid, 600, "killed"),
            "void": lambda paid: self.world.void(paid, "killed"),
            "refund": lambda paid: self.world.refund(paid, 600, "killed"),
        }
        return await calls[self.what](self.paid)

    async def finish(self, second: PayingWorld) -> port.Movement:
        """Two processes find what is left over, while the caller comes back."""
        await self.world.execute(DUE)
        calls = [self.again(), self.again(), self.world.resumer.resume(), second.resumer.resume()]
        await asyncio.gather(*calls)
        await self.world.resume()
        return await self.again()


async def all_die(told: list[dict[str, Any]]) -> list[int]:
    """How the processes ended."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'generated'}"}
    argv = [sys.executable, str(SCRIPT), json.dumps(told)]
    process = await asyncio.create_subprocess_exec(*argv, env=env, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(process.communicate(), 100)
    ended: list[int] = json.loads(said)
    return ended


async def test_money_is_moved_once_whoever_is_killed(
    urls: tuple[str, str, str],
    db: database.Database,
    tmp_path: Path,
    stripe_server: stripe_simulator.StripeServer,
) -> None:
    provider = (domain.Provider.STRIPE, stripe.Stripe(stripe_api.Api(stripe_simulator.KEY, stripe_server.url)))
    bank = tmp_path / "bank.sqlite3"
    cases = [
        *(Case(what, dies, "", PayingWorld(db, ids.new_uuid(), bank), ids.new_uuid())
          for what in EXPECTED for dies in ("before", "after")),
        *(Case(what, dies, stripe_server.url, PayingWorld(db, ids.new_uuid(), bank, provider), ids.new_uuid())
          for what, dies in (("authorise", "prepared"), ("authorise", "after"), ("capture", "after"), ("refund", "after"))),
    ]  # fmt: skip
    for case in cases:
        await case.begin()

    ended = await all_die([case.told(urls) for case in cases])

    assert ended == [-signal.SIGKILL] * len(cases)
    for case in cases:
        name = f"{case.what} {case.dies} {case.url}"
        open_ = await case.world.rows("SELECT progress FROM payment_operation WHERE key = 'killed'")
        assert open_ == [(int(domain.Progress.PENDING),)], name
        second = PayingWorld(db, uuid.UUID(case.world.tenant), bank, provider if case.url else None)
        known = await case.finish(second)
        expected = (AT_STRIPE if case.url else EXPECTED)[case.what]
        assert (amounts(known), known.unknown) == (expected, False), name
        assert await case.world.rows("SELECT count(*)::int FROM payment") == [(1,)], name
        if not case.url:
            assert case.world.books(known)[:3] == expected[:3], name
        await second.close()
        await case.world.close()
    # Of Stripe's: each payment has one intent that stands as we say, and nothing was taken or given back twice.
    assert sorted(map(stripe_server.account.moved, stripe_server.account.intents)) == [
        (0, 600, 0), (0, 600, 600), (1000, 0, 0), (1000, 0, 0),
    ]  # fmt: skip
    await provider[1].close()
