"""A process that places or cancels an order and is killed at a failpoint. Forked from a server that has loaded everything."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import uuid
from typing import Any

from services.kit import failpoints, idempotency
from services.orders.customers import domain as people
from services.orders.customers.handlers import desk
from services.orders.domain import placed_order, sale
from services.orders.placing import placing
from tests.integration.orders.placing.shop import DUE, PRICE, Place, Shop, command


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What is done: an order of two units by a guest, paid by two tenders of one unit each."""

    tokens: tuple[str, str]
    cancels: bool = False
    resumes: bool = False

    def command(self, shop: Shop, location: uuid.UUID) -> placing.Place:
        key = idempotency.Key(shop.tenant.uuid, "web", "", "", b"")
        draft = people.Draft(profile=people.Profile(email="guest@example.com"), locale="")
        made = command(
            location,
            ("lip", 2),
            key="the key",
            guest=placing.Guest(desk.Write(shop.tenant.id, key, "web"), draft),
            capture=placed_order.Capture.PLACEMENT,
        )
        tenders = tuple(
            dataclasses.replace(made.payment.tenders[0], token=token, amount=PRICE) for token in self.tokens
        )
        return dataclasses.replace(made, payment=dataclasses.replace(made.payment, tenders=tenders))


def die(place: Place, tenant: uuid.UUID, location: uuid.UUID, scenario: Scenario, at: str) -> None:
    """Ends by SIGKILL at the failpoint `at`; by itself when it was never reached."""

    def reached(name: str) -> None:
        if name == at:
            os.kill(os.getpid(), signal.SIGKILL)

    failpoints.hook = reached
    asyncio.run(_act(place, tenant, location, scenario))


async def _act(place: Place, tenant: uuid.UUID, location: uuid.UUID, scenario: Scenario) -> Any:
    shop = Shop(place, tenant)
    try:
        order = await shop.order(scenario.command(shop, location))
    except Exception:
        order = None
    if scenario.cancels and isinstance(order, sale.Order):
        await shop.cancel(order, key="the other key")
    if scenario.resumes:
        await shop.execute(DUE)
        await shop.desk.runner.resume()
    await shop.close()
