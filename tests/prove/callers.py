"""Tills, clerks and an intruder: each does one thing after the other, and asks again until it knows what became of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from tests.prove import asking, clerks, shelves, world
from tests.prove.history import Call, History

SHORT_TTLS: Final = ("1s", "2s", "3s")
LONG_TTL: Final = "900s"
HOLDS_REMEMBERED: Final = 50
#: What becomes of a hold. Some are forgotten, and run out or stay.
FATES: Final[Sequence[Sequence[str]]] = (
    ("confirm",),
    ("confirm", "release"),
    ("confirm", "sale"),
    ("release",),
    ("extend",),
    ("extend", "confirm"),
    ("sale",),
    ("sale",),
    (),
    (),
)
SOLD: Final = (*world.SKUS, *world.BUNDLES)
UNSELLABLE: Final = ("DAMAGED", "QUALITY_CONTROL", "EXPIRED")


class Desk:
    """What callers of a location have in common: holds that somebody may act upon."""

    def __init__(self) -> None:
        self.holds: list[tuple[str, dict[str, int]]] = []

    def remember(self, hold: str, lines: dict[str, int]) -> None:
        self.holds.append((hold, lines))
        del self.holds[:-HOLDS_REMEMBERED]


class Caller:
    """One of many. What it does comes from its own random numbers and from what it is answered."""

    def __init__(
        self,
        number: int,
        seed: int,
        brand: world.Brand,
        other: world.Brand,
        desks: dict[str, Desk],
        transfers: dict[str, clerks.Transfers],
        lots: dict[str, shelves.Lots],
        history: History,
    ) -> None:
        self._random = random.Random(f"{seed}/{number}")
        self._asker = asking.Asker(f"c{number}", self._random, brand, history)
        self._brand, self._other, self._desks = brand, other, desks
        self._location = ""
        self._clerk = clerks.Clerk(self._random, brand, transfers[brand.name], self._call, self._asker.key)
        self._shelf = shelves.Shelf(self._random, brand, lots[brand.name], self._call, self._asker.key)

    async def run(self, until: float) -> None:
        """Works until a time of the monotonic clock; what is under way then is finished."""
        stories: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._hold, 34),
            (self._source, 8),
            (self._sell, 16),
            (self._adjust, 12),
            (self._count, 10),
            (self._move, 7),
            (self._bulk, 5),
            (self._read, 10),
            (self._act_on_anothers_hold, 4),
            (self._intrude, 2),
            (self._clerk.transfer, 7),
            (self._clerk.act_on_anothers_transfer, 4),
            (self._clerk.count, 3),
            (self._shelf.bring, 14),
            (self._shelf.hold, 10),
            (self._shelf.sell, 8),
            (self._shelf.end, 2),
        ]
        while time.monotonic() < until:
            self._location = self._random.choice(self._brand.locations)
            story = self._random.choices([s for s, _ in stories], [weight for _, weight in stories])[0]
            await story()

    # --- stories ---

    async def _hold(self) -> None:
        lines = self._lines(self._random.choice((1, 1, 1, 2, 3)))
        hold = await self._reserve(lines)
        if hold is None:
            return
        self._desks[self._location].remember(hold, lines)
        for action in self._random.choice(FATES):
            await asyncio.sleep(self._random.choice((0, 0, 0.2, 1.5)))
            await (self._sale(lines, hold) if action == "sale" else self._act(hold, action))

    async def _source(self) -> None:
        """Takes all from whichever shop has it."""
        lines, key = self._lines(self._random.choice((1, 2, 2))), self._asker.key()
        body = {
            "ttl": self._random.choice(SHORT_TTLS),
            "order_ref": key,
            "split": "SOURCING_SPLIT_NONE",
            "location_ids": self._brand.locations,
            "lines": [{"sku": s, "quantity": str(q)} for s, q in lines.items()],
        }
        await self._call("source", key, {"lines": lines}, "/v1/reservations/source", body)

    async def _reserve(self, lines: dict[str, int]) -> str | None:
        ttl = self._random.choice((*SHORT_TTLS, LONG_TTL, LONG_TTL))
        key = self._asker.key()
        body: dict[str, Any] = {"ttl": ttl, "order_ref": key}
        if len(lines) == 1 and self._random.random() < 0.7:
            ((sku, quantity),) = lines.items()
            path = f"/v1/locations/{self._location}/inventory/{sku}/reserve"
            body |= {"quantity": str(quantity)}
        else:
            path = "/v1/reservations"
            body |= {"location_id": self._location, "lines": [{"sku": s, "quantity": str(q)} for s, q in lines.items()]}
        call = await self._call("reserve", key, {"lines": lines}, path, body)
        return call.answers[0].body["id"] if call.answers else None

    async def _act_on_anothers_hold(self) -> None:
        desk = self._desks[self._location]
        if desk.holds:
            hold, lines = self._random.choice(desk.holds)
            action = self._random.choice(("confirm", "release", "extend", "sale"))
            await (self._sale(lines, hold) if action == "sale" else self._act(hold, action))

    async def _act(self, hold: str, action: str) -> None:
        body = {"ttl": self._random.choice(("2s", "5s", LONG_TTL))} if action == "extend" else {}
        await self._call(action, self._asker.key(), {"hold": hold}, f"/v1/reservations/{hold}/{action}", body)

    async def _sell(self) -> None:
        await self._sale(self._lines(self._random.choice((1, 1, 2, 3))), "")

    async def _sale(self, lines: dict[str, int], hold: str) -> None:
        sold = {sku: max(1, quantity + self._random.choice((0, 0, 0, -1, 1))) for sku, quantity in lines.items()}
        if len(sold) > 1 and self._random.random() < 0.2:
            sold.popitem()
        key = self._asker.key()
        body = {
            "client_sale_id": key,
            "terminal_id": "till",
            "reservation_id": hold,
            "lines": [{"code": s, "quantity": str(q), "net_amount": str(100 * q)} for s, q in sold.items()],
        }
        await self._call("sale", key, {"lines": sold, "hold": hold}, f"/v1/locations/{self._location}/sales", body)

    async def _adjust(self) -> None:
        sku, key = self._random.choice(world.SKUS), self._asker.key()
        delta = self._random.choice((-3, -1, -1, 1, 2, 5, 8, 10))
        body = {"delta": str(delta), "reason": "MOVEMENT_REASON_CORRECTION", "reference": key}
        path = f"/v1/locations/{self._location}/inventory/{sku}/adjust"
        await self._call("adjust", key, {"sku": sku, "delta": delta}, path, body)

    async def _count(self) -> None:
        """Counts what a moment ago was so many; others have often been quicker."""
        counts: dict[str, tuple[int, int]] = {}
        for sku in self._random.sample(world.SKUS, self._random.choice((1, 1, 2))):
            level = await self._read_level(sku)
            if level is None:
                return
            on_hand = int(level["on_hand"])
            counts[sku] = on_hand, max(0, on_hand + self._random.choice((-2, -1, 1, 3)))
        if any(expected == counted for expected, counted in counts.values()):
            return  # nothing would change, and no line of the ledger would tell of it
        key = self._asker.key()
        body = {
            "reference": key,
            "counts": [
                {"sku": sku, "expected_on_hand": str(expected), "on_hand": str(counted)}
                for sku, (expected, counted) in counts.items()
            ],
        }
        await self._call("count", key, {"counts": counts}, f"/v1/locations/{self._location}/inventory", body)

    async def _move(self) -> None:
        sku, key = self._random.choice(world.SKUS), self._asker.key()
        states = ["SELLABLE", self._random.choice(UNSELLABLE)]
        self._random.shuffle(states)
        quantity = self._random.choice((1, 1, 2))
        body = {
            "from_state": f"STOCK_STATE_{states[0]}",
            "to_state": f"STOCK_STATE_{states[1]}",
            "quantity": str(quantity),
            "reason": "MOVEMENT_REASON_QUALITY_CONTROL",
            "reference": key,
        }
        path = f"/v1/locations/{self._location}/inventory/{sku}/move"
        await self._call(
            "move", key, {"sku": sku, "from": states[0], "to": states[1], "quantity": quantity}, path, body
        )

    async def _bulk(self) -> None:
        key = self._asker.key()
        lines: list[dict[str, Any]] = []
        for number in range(self._random.randint(2, 6)):
            line = {
                "location_id": self._random.choice(self._brand.locations),
                "sku": self._random.choice(world.SKUS),
                "reference": f"{key}#{number}",
            }
            if self._random.random() < 0.7:
                line |= {"delta": str(self._random.choice((-2, -1, 1, 3)))}
            else:
                expected = self._random.randint(5, 30)
                line |= {"expected_on_hand": str(expected), "on_hand": str(expected + 1)}
            lines.append(line)
        await self._call("bulk", key, {"lines": lines}, "/v1/inventory/bulk-update", {"lines": lines})

    async def _read(self) -> None:
        await self._read_level(self._random.choice(SOLD))

    async def _read_level(self, sku: str) -> dict[str, Any] | None:
        path = f"/v1/locations/{self._location}/inventory/{sku}"
        call = await self._call("read", self._asker.key(), {"sku": sku}, path, None)
        return call.answers[0].body if call.answers else None

    async def _intrude(self) -> None:
        """Asks for what is the other brand's."""
        location = self._random.choice(self._other.locations)
        sku = self._random.choice(world.SKUS)
        holds = self._desks[location].holds
        asked: list[tuple[str, Any]] = [
            (f"/v1/locations/{location}/inventory/{sku}", None),
            (f"/v1/locations/{location}/movements", None),
            (f"/v1/locations/{location}/inventory/{sku}/reserve", {"quantity": "1", "order_ref": "intruder"}),
            (
                f"/v1/locations/{location}/inventory/{sku}/adjust",
                {"delta": "-1", "reason": "MOVEMENT_REASON_SHRINKAGE"},
            ),
        ]
        if holds:
            asked += [(f"/v1/reservations/{holds[-1][0]}", None), (f"/v1/reservations/{holds[-1][0]}/release", {})]
        path, body = self._random.choice(asked)
        self._location = location
        await self._call("intrude", self._asker.key(), {"path": path}, path, body)

    # --- calling ---

    def _lines(self, count: int) -> dict[str, int]:
        return {sku: self._random.choice((1, 1, 2, 3, 5)) for sku in self._random.sample(SOLD, count)}

    async def _call(
        self, kind: str, key: str, facts: dict[str, Any], path: str, body: Any, at: str = "", method: str = ""
    ) -> Call:
        """at: the location that it is about, unless it is where the caller works."""
        return await self._asker.call(kind, key, facts, path, body, at or self._location, method)
