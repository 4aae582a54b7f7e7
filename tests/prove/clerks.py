"""Stories of documents: transfers between a brand's shops, and cycle counts, drawn out over calls that others get between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from tests.prove import world
from tests.prove.history import Call

TRANSFERS_REMEMBERED: Final = 12
ARRIVES: Final = "2031-01-01T00:00:00Z"
#: What becomes of a draft. Many are left where they are: somebody else, or nobody, goes on.
FATES: Final[Sequence[Sequence[str]]] = (
    (),
    ("cancel",),
    ("ready",),
    ("ready", "cancel"),
    ("ready", "ship"),
    ("ready", "ship", "receive", "close"),
    ("ready", "ship", "receive", "receive", "receive"),
    ("ready", "ship", "receive", "receive", "close"),
    ("ready", "ship", "close"),
)
TRANSFERRED: Final = (*world.SKUS, *world.LOT_SKUS)
#: What becomes of a count; none is left open, for a SKU is in one count at a time.
VERDICTS: Final = ("approve", "approve", "approve", "reject", "cancel")


class Ask(Protocol):
    """Calls until the answer is known (callers.Caller)."""

    def __call__(
        self, kind: str, key: str, facts: dict[str, Any], path: str, body: Any, at: str
    ) -> Awaitable[Call]: ...


class Transfers:
    """Transfers of a brand that somebody may act upon: id, and units by SKU."""

    def __init__(self) -> None:
        self.known: list[tuple[str, str, dict[str, int]]] = []

    def remember(self, transfer: str, origin: str, lines: dict[str, int]) -> None:
        self.known.append((transfer, origin, lines))
        del self.known[:-TRANSFERS_REMEMBERED]


class Clerk:
    """What a caller does with documents."""

    def __init__(
        self, chance: random.Random, brand: world.Brand, others: Transfers, ask: Ask, key: Callable[[], str]
    ) -> None:
        self._random, self._brand, self._others, self._ask, self._key = chance, brand, others, ask, key

    # --- transfers ---

    async def transfer(self) -> None:
        """Drafts one, and goes on with it for a while."""
        origin, destination = self._random.sample(self._brand.locations, 2)
        lines = {
            s: self._random.choice((1, 2, 3, 4))
            for s in self._random.sample(TRANSFERRED, self._random.choice((1, 1, 2)))
        }
        key = self._key()
        rows = [{"sku": sku, "quantity": str(quantity)} for sku, quantity in lines.items()]
        ends = {"from_location_id": origin, "to_location_id": destination}
        body = {"transfer": {**ends, "lines": rows, "expected_at": ARRIVES, "reference": key}}
        call = await self._ask("transfer_draft", key, {"lines": lines, **ends}, "/v1/transfers", body, origin)
        if call.answers:
            made = call.answers[0].body["id"]
            self._others.remember(made, origin, lines)
            for step in self._random.choice(FATES):
                await asyncio.sleep(self._random.choice((0, 0, 0.2, 1)))
                await self._step(step, made, origin, lines)

    async def act_on_anothers_transfer(self) -> None:
        if self._others.known:
            transfer = self._random.choice(self._others.known)
            await self._step(self._random.choice(("ready", "ship", "receive", "receive", "close", "cancel")), *transfer)

    async def _step(self, step: str, transfer: str, origin: str, lines: dict[str, int]) -> None:
        key = self._key()
        facts: dict[str, Any] = {"transfer": transfer}
        body: dict[str, Any] = {}
        if step == "ready":
            facts["lines"] = lines
        elif step == "ship":
            fewer = {sku: max(0, n - self._random.choice((0, 0, 0, 1))) for sku, n in lines.items()}
            sent = fewer if any(fewer.values()) else lines
            facts["lines"] = sent
            body = {"note": key, "lines": [{"sku": sku, "quantity": str(n)} for sku, n in sent.items()]}
        elif step == "receive":
            came = {sku: self._came() for sku in self._random.sample(list(lines), self._random.randint(1, len(lines)))}
            facts["lines"] = came
            rows = [{"sku": sku, **{name: str(n) for name, n in of.items()}} for sku, of in came.items()]
            body = {"note": key, "lines": rows}
        else:
            body = {"reason": key}
        await self._ask(f"transfer_{step}", key, facts, f"/v1/transfers/{transfer}/{step}", body, origin)

    def _came(self) -> dict[str, int]:
        """Mostly fit, now and then more than was sent."""
        chance = self._random.random()
        if chance < 0.6:
            return {"accepted": self._random.choice((1, 1, 2, 3, 5))}
        if chance < 0.85:
            return {"accepted": 1, self._random.choice(("damaged", "quality_control")): 1}
        return {"lost": 1}

    # --- counts ---

    async def count(self) -> None:
        """Counts a few SKUs of a shop, hands it in, and decides."""
        place, key = self._random.choice(self._brand.locations), self._key()
        skus = self._random.sample(world.SKUS, self._random.choice((1, 1, 2)))
        body = {"cycle_count": {"location_id": place, "scope": {"skus": skus}, "note": key}}
        opened = await self._ask("count_open", key, {"skus": skus}, "/v1/counts", body, place)
        if not opened.answers:
            return
        count = opened.answers[0].body["id"]
        path = f"/v1/counts/{count}"
        counted = {sku: self._random.randint(3, 30) for sku in skus}
        rows = [{"sku": sku, "counted": str(n)} for sku, n in counted.items()]
        told = {"count": count}
        await self._ask(
            "count_record", self._key(), {**told, "counted": counted}, f"{path}/lines", {"counts": rows}, place
        )
        await asyncio.sleep(self._random.choice((0, 0.2, 1)))
        await self._ask("count_submit", self._key(), told, f"{path}/submit", {}, place)
        verdict = self._random.choice(VERDICTS)
        reason = {} if verdict == "approve" else {"reason": "not now"}
        await self._ask(f"count_{verdict}", self._key(), told, f"{path}/{verdict}", reason, place)
