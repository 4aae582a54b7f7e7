"""How far Inventory has applied the sales of locations: whether the stock of an order has been reduced."""

from __future__ import annotations

import asyncio
import collections
import math
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import structlog

from services.kit import errors

log = structlog.get_logger()

LOCATIONS_MAX: Final = 50_000
#: Questions of one list of orders that are under way together.
AT_ONCE: Final = 16
#: After a failure reads go on without asking again for so long.
PAUSE_SECONDS: Final = 1.0


class Inventory(Protocol):
    """Who is asked."""

    async def applied_position(self, location_id: str) -> int:
        """Position of the last applied sale, for the tenant of the rpc that is being handled. errors.Error."""
        ...


class AppliedPositions:
    """Positions only rise, so what was reached once is remembered."""

    def __init__(self, inventory: Inventory, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._inventory = inventory
        self._clock = clock
        self._reached: collections.OrderedDict[tuple[str, str], int] = collections.OrderedDict()
        self._quiet_until = -math.inf

    def known(self, tenant: str, location_id: str) -> int:
        """The position as far as it is known without asking."""
        return self._reached.get((tenant, location_id), 0)

    async def reached(self, tenant: str, location_id: str, seq: int) -> int:
        """The position; asks at most once, and only when seq isn't known to be applied. Silent when nobody answers."""
        known = self.known(tenant, location_id)
        if known >= seq or self._clock() < self._quiet_until:
            return known
        try:
            position = await self._inventory.applied_position(location_id)
        except errors.Error as error:
            self._quiet_until = self._clock() + PAUSE_SECONDS
            log.warning("positions.no_answer", error=type(error).__name__)
            return known
        self._remember((tenant, location_id), position)
        return max(position, known)

    async def reached_all(self, tenant: str, wanted: Mapping[str, int]) -> dict[str, int]:
        """The positions of locations, each with the seq that is asked about; at most AT_ONCE are asked at a time."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(location_id: str, seq: int) -> int:
            async with gate:
                return await self.reached(tenant, location_id, seq)

        return dict(zip(wanted, await asyncio.gather(*map(one, wanted, wanted.values())), strict=True))

    def _remember(self, key: tuple[str, str], position: int) -> None:
        self._reached[key] = max(position, self._reached.get(key, 0))
        self._reached.move_to_end(key)
        if len(self._reached) > LOCATIONS_MAX:
            self._reached.popitem(last=False)
