"""A rush: many buyers at once for the last few units of something, over all shops of a brand, by PlaceOrder with payment.

Most want two lines that share a SKU: it, and a bundle of it. They pay with cards whose bank does as the token says
(docs/payments.md), with gift cards and store credit that they share or that hold too little, or with two of these. Some change
their mind. In the end a few patient ones buy what is left, one by one: then every unit is sold.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any, Final

from tests.prove import asking, world
from tests.prove.history import Call, History

#: Longer than a placement may take before it is undone (120 s): then who asks knows.
PATIENCE_SECONDS: Final = 150.0
SOLD_OUT_SECONDS: Final = 180.0
#: How many of a rush come one after the other, once the others have been.
PATIENT: Final = 4
CHANGES_MIND: Final = 0.5
#: How often somebody who was refused comes again: some others may have changed their mind.
COMES_AGAIN: Final = (0, 0, 0, 3)
#: Within so many seconds all come.
COME_SECONDS: Final = 2.0
#: How the bank treats a card, by weight. All but those that decline come to money in the end.
CARDS: Final = {
    "sim_ok": 12, "sim_timeout": 2, "sim_lost": 2, "sim_late": 2, "sim_unknown_then_ok": 2, "sim_twice": 2,
    "sim_capture_timeout": 2, "sim_capture_lost": 2, "sim_void_timeout": 2, "sim_refund_lost": 2,
    "sim_declined_insufficient_funds": 2, "sim_capture_declined_stolen": 2,
}  # fmt: skip
#: What buyers want of (the SKU, the bundle of it).
BASKETS: Final[Sequence[tuple[int, int]]] = ((1, 1), (1, 1), (1, 1), (1, 1), (1, 2), (2, 1), (1, 0), (0, 1))
Tender = tuple[str, str, int]
"""Means, token, amount."""


class Rush:
    """One of them, with a SKU of its own."""

    def __init__(self, number: int, seed: int, brand: world.Brand, history: History, buyers: int) -> None:
        self._number, self._brand, self._history, self._buyers = number, brand, history, buyers
        self._random = random.Random(f"{seed}/rush/{number}")
        self._sku, self._set = world.RUSH.format(number), world.RUSH_SET.format(number)
        self._asker = asking.Asker(f"r{number}", self._random, brand, history, PATIENCE_SECONDS)
        self._shared_card = ""
        self._credit: list[str] = []
        """Of each customer, the account; empty: not known."""

    async def run(self) -> None:
        """Until all is sold, or nobody can tell."""
        told: dict[str, Any] = {"tenant": self._brand.name, "sku": self._sku, "bundle": self._set}
        told |= {"units": world.RUSH_UNITS, "buyers": self._buyers, "sold_out": False}
        self._history.rushes.append(told)
        # Enough for two or three: the others who try it come too late.
        self._shared_card = await self._gift_card(5_000)
        self._credit = [await self._store_credit(customer, 2_500) for customer in self._brand.customers]
        await asyncio.gather(*(self._buyer() for _ in range(self._buyers - PATIENT)))
        told["sold_out"] = await self._sell_the_rest()

    async def _buyer(self) -> None:
        await asyncio.sleep(self._random.uniform(0, COME_SECONDS))
        basket = self._random.choice(BASKETS)
        lines = {sku: quantity for sku, quantity in zip((self._sku, self._set), basket, strict=True) if quantity}
        total = basket[0] * world.RUSH_PRICE + basket[1] * world.RUSH_SET_PRICE
        customer = self._random.randrange(len(self._credit))
        for _ in range(1 + self._random.choice(COMES_AGAIN)):
            tenders, doubtful = await self._tenders(total, customer)
            order = await self._order(lines, tenders, doubtful=doubtful, customer=customer)
            if order.answers:
                if self._random.random() < CHANGES_MIND:
                    await asyncio.sleep(self._random.choice((0, 0.5, 2)))
                    await self._cancel(order.answers[0].body["id"])
                return
            await asyncio.sleep(self._random.uniform(0.5, 4))

    async def _sell_the_rest(self) -> bool:
        """Whether it came to the last unit, and nobody has one in hand who may put it back."""
        until = time.monotonic() + SOLD_OUT_SECONDS
        patient = [asyncio.create_task(self._patient(until)) for _ in range(PATIENT)]
        return all(await asyncio.gather(*patient))

    async def _patient(self, until: float) -> bool:
        card: Sequence[Tender] = [("CARD", "sim_ok", world.RUSH_PRICE)]
        while time.monotonic() < until:
            order = await self._order({self._sku: 1}, card)
            if order.outcome == "INSUFFICIENT_STOCK" and await self._nothing_left():
                return True
            await asyncio.sleep(self._random.uniform(0.5, 1.5))
        return False

    async def _nothing_left(self) -> bool:
        for location in self._brand.locations:
            path = f"/v1/locations/{location}/inventory/{self._sku}"
            read = await self._asker.call("read", self._asker.key(), {"sku": self._sku}, path, None, location)
            if not read.answers:
                return False
            level = read.answers[0].body
            if int(level.get("available", 0)) > 0 or int(level.get("reserved", 0)) > 0:
                return False
        return True

    # --- calls ---

    async def _order(
        self, lines: dict[str, int], tenders: Sequence[Tender], *, doubtful: bool = False, customer: int = -1
    ) -> Call:
        """doubtful: it may be declined."""
        key, location = self._asker.key(), self._random.choice(self._brand.locations)
        split = self._random.choice(("NONE", "LINES"))
        later = self._random.random() < 0.15
        content: dict[str, Any] = {
            "location_id": location,
            "lines": [{"code": sku, "quantity": str(quantity)} for sku, quantity in lines.items()],
            "delivery": {"country_code": "AT"},
            "sourcing": {"split": f"SOURCING_SPLIT_{split}", "location_ids": self._brand.locations},
            "external_reference": key,
        }
        if customer >= 0:
            content["customer_id"] = self._brand.customers[customer]
        rows = [
            {"type": f"TENDER_TYPE_{means}", "token": token, "minor_units": str(amount)}
            for means, token, amount in tenders
        ]
        payment = {"tenders": rows, "capture": f"CAPTURE_TIME_{'FULFILLMENT' if later else 'PLACEMENT'}"}
        facts = {"lines": lines, "split": split, "tenders": [list(tender) for tender in tenders], "later": later}
        facts |= {"doubtful": doubtful, "total": sum(amount for _, _, amount in tenders)}
        return await self._asker.call(
            "order", key, facts, "/v1/orders", {"content": content, "payment": payment}, location
        )

    async def _cancel(self, order: str) -> None:
        body = {"reason": "CANCEL_REASON_CUSTOMER"}
        path = f"/v1/orders/{order}/cancel"
        await self._asker.call(
            "order_cancel", self._asker.key(), {"order": order}, path, body, self._brand.locations[0]
        )

    async def _tenders(self, total: int, customer: int) -> tuple[list[Tender], bool]:
        """How somebody pays, and whether that may be declined."""
        chance = self._random.random()
        card = self._random.choices(list(CARDS), list(CARDS.values()))[0]
        if chance < 0.14 and (own := await self._gift_card(total)):
            return [("GIFT_CARD", own, total)], False
        if chance < 0.18 and (small := await self._gift_card(total - 1)):
            return [("GIFT_CARD", small, total)], True
        if chance < 0.28 and self._shared_card:
            return [("GIFT_CARD", self._shared_card, total)], True
        if chance < 0.38 and self._credit[customer]:
            return [("STORE_CREDIT", self._credit[customer], total)], True
        if chance < 0.52 and (part := await self._gift_card(200)):
            return [("GIFT_CARD", part, 200), ("CARD", card, total - 200)], "declined" in card
        return [("CARD", card, total)], "declined" in card

    async def _gift_card(self, amount: int) -> str:
        key = self._asker.key()
        body = {"amount": world.money(amount), "reason": key}
        call = await self._asker.call(
            "gift_card", key, {"amount": amount}, "/v1/gift-cards", body, self._brand.locations[0]
        )
        return str(call.answers[0].body["id"]) if call.answers else ""

    async def _store_credit(self, customer: str, amount: int) -> str:
        key = self._asker.key()
        body = {"amount": world.money(amount), "reason": key}
        path = f"/v1/customers/{customer}/store-credit"
        call = await self._asker.call("store_credit", key, {"amount": amount}, path, body, self._brand.locations[0])
        return str(call.answers[0].body["id"]) if call.answers else ""


async def rushes(
    count: int, seed: int, brands: Sequence[world.Brand], history: History, buyers: int, until: float
) -> None:
    """One after the other, as long as there is time; one that has begun is brought to its end."""
    for number in range(1, count + 1):
        if time.monotonic() > until:
            return
        await Rush(number, seed, brands[(number - 1) % len(brands)], history, buyers).run()
