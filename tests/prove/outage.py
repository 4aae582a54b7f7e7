"""The relay stands still, for seconds or for minutes, while the services go on and other processes are killed.

Two ways, one after the other: all shards of the outbox are leased to somebody who publishes nothing, as if a relay had
frozen with them; then NATS can't start either, since its configuration is away. Afterwards both come back. What is
measured: how much waited, and how long it took until it was published and applied.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from tests.e2e import stack as stacks
from tests.prove import books, nemesis
from tests.prove.history import History

CATCH_UP_SECONDS: Final = 300.0
LOOK_SECONDS: Final = 0.25
GREETING_SECONDS: Final = 2.0
HOLDER: Final = "somebody who publishes nothing"
#: Fenced, as a relay takes a shard whose lease has run out: what the others have in flight they can't mark any more.
_TAKE: Final = """
UPDATE relay_lease SET holder = %s, fence = fence + 1, expires_at = clock_timestamp() + make_interval(secs => %s)
"""
_GIVE: Final = "UPDATE relay_lease SET holder = '', expires_at = '-infinity' WHERE holder = %s"
_WAITING: Final = "SELECT count(*) AS waiting FROM outbox WHERE published_at IS NULL AND recorded_at < to_timestamp(%s)"
_HEADS: Final = "SELECT tenant_id::text, key, max(seq_to) AS seq FROM outbox GROUP BY tenant_id, key"
_CURSORS: Final = "SELECT tenant_id::text, key, seq FROM inbox_cursor"


class Outage:
    """One of them."""

    def __init__(self, stack: stacks.Stack, history: History, striking: nemesis.Nemesis) -> None:
        self._stack, self._history, self._striking = stack, history, striking
        self._nats = stack.data / "nats" / "nats.conf"

    async def run(self, begins: float, seconds: float, say: Callable[[str], None]) -> None:
        """begins: by the monotonic clock. Ends when all that waited is published and applied, or nobody believes in it."""
        await asyncio.sleep(max(0.0, begins - time.monotonic()))
        self._striking.spared.add("nats")
        told: dict[str, Any] = {"stopped_at": time.time()}
        self._history.outage = told
        say(f"the relays stand still for {seconds:g} s")
        told["taken_at"] = {}
        for service in books.SERVICES:
            await self._asked(service, _TAKE, HOLDER, seconds + CATCH_UP_SECONDS)
            told["taken_at"][service] = time.time()
        await asyncio.sleep(seconds / 2)
        told["nats_gone_at"] = time.time()
        await self._without_nats(seconds / 2)
        told["resumed_at"] = time.time()
        told["waited"] = await self._waiting(told["resumed_at"])
        for service in books.SERVICES:
            await self._asked(service, _GIVE, HOLDER)
        told |= await self._caught_up(told["resumed_at"])
        say(
            f"{told['waited']} events waited; all published after {told['published_after']:.1f} s, applied after {told['applied_after']:.1f} s"
        )

    async def _without_nats(self, seconds: float) -> None:
        """NATS is killed and can't start again."""
        away = self._nats.with_suffix(".away")
        self._nats.rename(away)
        try:
            self._striking.kill("nats")
            await asyncio.sleep(seconds)
        finally:
            away.rename(self._nats)
        until = time.monotonic() + CATCH_UP_SECONDS
        while not await self._nats_answers() and time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)

    async def _nats_answers(self) -> bool:
        host, _, port = self._stack.endpoints["nats"].removeprefix("nats://").rpartition(":")
        try:
            async with asyncio.timeout(GREETING_SECONDS):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    return await reader.readexactly(5) == b"INFO "
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False

    async def _asked(self, service: str, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Again until it is answered: PostgreSQL may be away for a moment."""

        def ask() -> list[dict[str, Any]]:
            with books.rows(self._stack, service) as session:
                answered = session.execute(statement, values)
                return answered.fetchall() if answered.description else []

        until = time.monotonic() + CATCH_UP_SECONDS
        while True:
            try:
                return await asyncio.to_thread(ask)
            except books.Away:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(LOOK_SECONDS)

    async def _waiting(self, until: float) -> dict[str, int]:
        """Events from before a time that aren't published, by service."""
        return {service: (await self._asked(service, _WAITING, until))[0]["waiting"] for service in books.SERVICES}

    async def _caught_up(self, resumed_at: float) -> dict[str, float]:
        """Seconds until what had waited was published, and until its consumers had applied it."""
        heads = {(row["tenant_id"], row["key"]): row["seq"] for row in await self._asked("orders", _HEADS)}
        until = time.monotonic() + CATCH_UP_SECONDS
        found: dict[str, float] = {}
        while len(found) < 2 and time.monotonic() < until:
            if not any((await self._waiting(resumed_at)).values()):
                found.setdefault("published_after", time.time() - resumed_at)
            cursors = await self._asked("inventory", _CURSORS)
            if all(row["seq"] >= heads.get((row["tenant_id"], row["key"]), 0) for row in cursors):
                found.setdefault("applied_after", time.time() - resumed_at)
            await asyncio.sleep(LOOK_SECONDS)
        return {"published_after": -1.0, "applied_after": -1.0} | found
