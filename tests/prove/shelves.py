"""Stories of stock that is kept by lots: brought in, held and sold first expired first or as scanned, recalled, and at its end.

All shops keep the clock whose midnight comes next, so that lots of that day end by themselves in every run of an hour;
others end because somebody corrects their date, or recalls them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tests.prove import world
from tests.prove.history import Call

#: So many lots of a SKU may be sold at a time; of those that can't be any more the last few are remembered.
LIVE: Final = 4
FORMER: Final = 6
#: Days from today until the end of a new lot; None: it has none.
LIVES: Final[Sequence[int | None]] = (0, 0, 5, 60, 60, None)
FATES: Final[Sequence[Sequence[str]]] = (
    ("confirm",),
    ("confirm", "release"),
    ("release",),
    ("release",),
    ("sale",),
    (),
)


class Ask(Protocol):
    """Calls until the answer is known (callers.Caller)."""

    def __call__(
        self, kind: str, key: str, facts: dict[str, Any], path: str, body: Any, at: str = "", method: str = ""
    ) -> Awaitable[Call]: ...


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot that somebody made known. id: empty while nobody has heard of it."""

    sku: str
    code: str
    id: str


class Lots:
    """What the callers of a brand know of its lots."""

    def __init__(self) -> None:
        self.live: list[Lot] = []
        self.former: list[Lot] = []

    def of(self, sku: str) -> list[Lot]:
        """Those that can be sold."""
        return [lot for lot in self.live if lot.sku == sku]

    def end(self, lot: Lot) -> None:
        """It can't be sold any more."""
        self.live = [each for each in self.live if each != lot]
        self.former = [*self.former, lot][-FORMER:]


class Shelf:
    """What a caller does with lots."""

    def __init__(self, chance: random.Random, brand: world.Brand, lots: Lots, ask: Ask, key: Callable[[], str]) -> None:
        self._random, self._brand, self._lots, self._ask, self._key = chance, brand, lots, ask, key

    async def bring(self) -> None:
        """Units of a lot come, of a new one where there are few."""
        sku = self._random.choice(world.LOT_SKUS)
        known = self._lots.of(sku)
        if len(known) < 2 or (len(known) < LIVE and self._random.random() < 0.2):
            lot = await self._make(sku)
        else:
            lot = self._random.choice(known)
        if lot is not None:
            key, delta = self._key(), self._random.choice((2, 3, 5))
            body = {"delta": str(delta), "reason": "MOVEMENT_REASON_CORRECTION", "reference": key}
            place = self._place()
            path = f"/v1/locations/{place}/inventory/{sku}/adjust"
            facts = {"sku": sku, "delta": delta, "lot": lot.code}
            await self._ask("adjust", key, facts, path, body | {"lot": {"code": lot.code}}, place)

    async def _make(self, sku: str) -> Lot | None:
        key, days = self._key(), self._random.choice(LIVES)
        code = key.upper()
        expires_on = "" if days is None else (self._brand.today + dt.timedelta(days=days)).isoformat()
        facts = {"sku": sku, "code": code, "expires_on": expires_on}
        body = {"lot": {"code": code, "expires_on": expires_on}}
        call = await self._ask("lot_create", key, facts, f"/v1/variants/{sku}/lots", body, self._place())
        if not call.answers:
            return None
        lot = Lot(sku, code, call.answers[0].body["id"])
        self._lots.live.append(lot)
        return lot

    async def hold(self) -> None:
        """Holds some, of whichever lot is due, and goes on with it for a while."""
        sku, place, key = self._random.choice(world.LOT_SKUS), self._place(), self._key()
        quantity, channel = self._random.choice((1, 1, 2, 4)), self._random.choice(("", "", world.LONG_LIVED))
        body = {"quantity": str(quantity), "channel": channel, "order_ref": key}
        body["ttl"] = self._random.choice(("1s", "3s", "900s"))
        facts = {"lines": {sku: quantity}, "channel": channel}
        path = f"/v1/locations/{place}/inventory/{sku}/reserve"
        call = await self._ask("reserve", key, facts, path, body, place)
        for action in self._random.choice(FATES) if call.answers else ():
            await asyncio.sleep(self._random.choice((0, 0.2, 1.5)))
            held = call.answers[0].body["id"]
            if action == "sale":
                await self._sale(sku, quantity, place, hold=held)
            else:
                await self._ask(action, self._key(), {"hold": held}, f"/v1/reservations/{held}/{action}", {}, place)

    async def sell(self) -> None:
        """At the till: as scanned, now and then of a lot that may not be sold; or nobody looked."""
        sku = self._random.choice(world.LOT_SKUS)
        scanned = self._lots.of(sku) + [lot for lot in self._lots.former if lot.sku == sku]
        looked = bool(scanned) and self._random.random() < 0.4
        lot = self._random.choice(scanned).code if looked else ""
        await self._sale(sku, self._random.choice((1, 1, 2)), self._place(), lot=lot)

    async def _sale(self, sku: str, quantity: int, place: str, *, lot: str = "", hold: str = "") -> None:
        key = self._key()
        line = {"code": sku, "quantity": str(quantity), "net_amount": str(100 * quantity), "lot": lot}
        body = {"client_sale_id": key, "terminal_id": "till", "reservation_id": hold, "lines": [line]}
        facts = {"lines": {sku: quantity}, "hold": hold, "lot": lot}
        await self._ask("sale", key, facts, f"/v1/locations/{place}/sales", body, place)

    async def end(self) -> None:
        """Recalls a lot, or finds out that its date is over."""
        if len(self._lots.live) <= len(world.LOT_SKUS):
            return
        lot, key = self._random.choice(self._lots.live), self._key()
        facts = {"sku": lot.sku, "code": lot.code}
        if self._random.random() < 0.5:
            call = await self._ask(
                "lot_recall", key, facts, f"/v1/lots/{lot.id}/recall", {"reason": key}, self._place()
            )
        else:
            past = (self._brand.today - dt.timedelta(days=2)).isoformat()
            body = {"expires_on": past, "update_mask": "expires_on"}
            call = await self._ask("lot_date", key, facts, f"/v1/lots/{lot.id}", body, self._place(), "PATCH")
        if call.answers:
            self._lots.end(lot)

    def _place(self) -> str:
        return self._random.choice(self._brand.locations)
