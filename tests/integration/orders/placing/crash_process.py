"""A process that places or cancels an order and is killed at a failpoint. Forked from a server that has loaded everything."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import uuid
from collections.abc import Callable
from typing import Any

from services.kit import failpoints, idempotency, ids, principal
from services.orders.customers import domain as people
from services.orders.customers.handlers import desk
from services.orders.domain import placed_order, placement, sale
from services.orders.editing import editing
from services.orders.mapping import placing_requests
from services.orders.placing import addressing, placing
from tests.integration.orders.placing.shop import DUE, HOME, PRICE, Place, Shop, command, edit
from tillmesh.orders.v1 import placement_pb2


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What is done: an order of two units by a guest, paid by two tenders of one unit each. `gft_…`: by a gift card."""

    tokens: tuple[str, str]
    cancels: bool = False
    resumes: bool = False
    drafts: bool = False
    edit: tuple[str, ...] = ()
    """Tokens, each for a unit: the order is placed, and is to have less of one thing and more of another."""
    lowers: bool = False
    """The order is placed, and is to have a unit less."""
    capture: placed_order.Capture = placed_order.Capture.PLACEMENT

    @property
    def changes(self) -> bool:
        """Whether it begins with an order that is placed already."""
        return bool(self.edit) or self.lowers

    def command(self, shop: Shop, location: uuid.UUID) -> placing.Place:
        key = idempotency.Key(shop.tenant.uuid, "web", "", "", b"")
        draft = people.Draft(profile=people.Profile(email="guest@example.com", family_name="Quast"), locale="")
        made = command(
            location,
            ("lip", 2),
            key="the key",
            guest=addressing.Guest(desk.Write(shop.tenant.id, key, "web"), draft),
            place=HOME,
            method=placed_order.Delivery("", ""),
            capture=self.capture,
        )
        gift, card = sale.TenderType.GIFT_CARD, sale.TenderType.CARD
        tenders = tuple(
            placement.TenderSpec(gift if token.startswith("gft_") else card, token, PRICE) for token in self.tokens
        )
        return dataclasses.replace(made, payment=dataclasses.replace(made.payment, tenders=tenders))

    def edited(self, order: sale.Order) -> editing.Edit:
        """A unit less of the first line, and one more unit of another than the tokens pay for: the first unit's money."""
        add = [("blush", 1 + len(self.edit))] if self.edit else []
        return edit(order, {1: 1}, "the edit", add=add, tokens=dict.fromkeys(self.edit, PRICE))


def die(place: Place, tenant: uuid.UUID, location: uuid.UUID, scenario: Scenario, at: str) -> None:
    """Ends by SIGKILL at the failpoint `at`; by itself when it was never reached."""

    def reached(name: str) -> None:
        if name == at:
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(_act(place, tenant, location, scenario, reached))


async def _act(
    place: Place, tenant: uuid.UUID, location: uuid.UUID, scenario: Scenario, reached: Callable[[str], None]
) -> Any:
    shop = Shop(place, tenant)
    await shop.db.open()
    if scenario.changes:
        order = await shop.order(scenario.command(shop, location))
        failpoints.hook = reached
        with contextlib.suppress(Exception):
            await shop.edit(scenario.edited(order))
        return
    failpoints.hook = reached
    if scenario.drafts:
        await _place_draft(shop, location, scenario)
        return
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


async def _place_draft(shop: Shop, location: uuid.UUID, scenario: Scenario) -> None:
    caller = shop.caller()
    principal.enter(caller)
    content = placement_pb2.OrderContent(location_id=ids.encode("loc", location))
    content.lines.add(code="lip", quantity=2)
    content.delivery.country_code = "AT"
    request = placement_pb2.CreateDraftOrderRequest(content=content)
    draft = await shop.desk.drafting.create(shop.tenant, placing_requests.create_draft(request, caller))
    asked = placement_pb2.PlaceDraftOrderRequest(order_id=draft.id)
    for token in scenario.tokens:
        asked.payment.tenders.add(type="TENDER_TYPE_CARD", token=token, minor_units=PRICE)
    command_ = placing_requests.place_draft(asked, caller)
    with contextlib.suppress(Exception):
        await shop.desk.placing.place_draft(caller, shop.tenant, command_)
