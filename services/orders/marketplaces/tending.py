"""Who does it: for each connection one process at a time, with its lease, does turn after turn while it works.

A turn that fails leaves the connection alone for a while, longer each time, or as long as the marketplace says. Nothing
is lost by it: every part begins where it stood. What must not happen twice is guarded by rows, not by the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import prometheus_client
import structlog

from services.kit import database, errors, ids, leases
from services.orders.domain.marketplaces import values
from services.orders.marketplaces import intake, placing, port, statuses, stock
from services.orders.placing.effects import Tenant
from services.orders.store.marketplaces import connections

log = structlog.get_logger()

CONNECTIONS_MAX: Final = 500
LOOK_SECONDS: Final = 5.0
STANDBY_SECONDS: Final = leases.TTL_SECONDS
TURN_SECONDS: Final = 1.0
"""Between a change of the stock and the turn that tells it: what changes meanwhile is told as one."""
IDLE_SECONDS: Final = 5.0
LOOK_AT_ORDERS: Final = dt.timedelta(seconds=5)
LOOK_AT_LATE: Final = dt.timedelta(minutes=1)
BACKOFF: Final = dt.timedelta(seconds=10)
BACKOFF_MAX: Final = dt.timedelta(minutes=15)
LOCKED_OUT: Final = dt.timedelta(minutes=15)
THROTTLED_MAX: Final = dt.timedelta(hours=24)
SUCCESS = prometheus_client.Gauge(
    "tillmesh_marketplace_last_success_seconds", "Unix time of the last turn that worked.", ["kind"]
)
FAILURES = prometheus_client.Counter(
    "tillmesh_marketplace_failures_total", "Turns that failed, by why.", ["kind", "failure"]
)


class Accounts(Protocol):
    """Who the marketplaces of this process are."""

    def find(self, tenant: str, name: str) -> tuple[values.Kind, port.Marketplace] | None:
        """A tenant's account (tenant: uuid text); None: it isn't configured here."""
        ...


@dataclass(slots=True)
class _Looked:
    """When something was last done. In memory: who takes over does it at once."""

    at: dict[str, dt.datetime]

    def due(self, what: str, every: dt.timedelta, now: dt.datetime) -> bool:
        last = self.at.get(what)
        if last is not None and now - last < every:
            return False
        self.at[what] = now
        return True


class Tending:
    """Tends connections in this process."""

    def __init__(
        self,
        db: database.Database,
        accounts: Accounts,
        taking: intake.Intake,
        places: placing.Placing,
        levels: stock.Stock,
        tells: statuses.Statuses,
    ) -> None:
        self._db = db
        self._accounts = accounts
        self._intake = taking
        self._placing = places
        self._stock = levels
        self._statuses = tells

    async def run(self) -> None:
        """Tends what is active, until cancelled."""
        tended: dict[connections.Active, asyncio.Task[None]] = {}
        try:
            while True:
                await self._look(tended)
                await asyncio.sleep(LOOK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
        finally:
            for task in tended.values():
                task.cancel()
            await asyncio.gather(*tended.values(), return_exceptions=True)

    async def _look(self, tended: dict[connections.Active, asyncio.Task[None]]) -> None:
        """Begins with what is new, and ends with what is paused."""
        try:
            async with self._db.worker() as session:
                active = set(await connections.active(session, CONNECTIONS_MAX))
        except Exception as error:  # noqa: BLE001 - the database is away: what is tended goes on
            log.warning("marketplace.look_failed", error=type(error).__name__)
            return
        for gone in [each for each in tended if each not in active]:
            tended.pop(gone).cancel()
        for each in active:
            if each not in tended:
                name = f"marketplace {each.id}"
                tended[each] = asyncio.create_task(self._tend(each), name=name)

    async def _tend(self, active: connections.Active) -> None:
        """While this process has the lease."""
        tenant = Tenant(str(active.tenant), ids.encode("ten", active.tenant))
        while True:
            try:
                async with leases.held(self._db, f"marketplace:{active.id}") as lease:
                    if lease is not None:
                        await self._work(tenant, active.id)
            except Exception as error:  # noqa: BLE001 - the lease was lost, or the database is away
                log.warning("marketplace.lease_lost", connection=str(active.id), error=type(error).__name__)
            await asyncio.sleep(STANDBY_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311

    async def _work(self, tenant: Tenant, connection_id: uuid.UUID) -> None:
        wake = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(tenant, connection_id, wake))
            group.create_task(self._turns(tenant, connection_id, wake))

    async def _watch(self, tenant: Tenant, connection_id: uuid.UUID, wake: asyncio.Event) -> None:
        while True:
            try:
                async with self._db.read(tenant.uuid) as session:
                    of = await connections.get(session, connection_id)
                if of is not None:
                    await self._stock.watch(tenant, of, wake.set)
            except errors.Error as trouble:
                log.info("marketplace.watch_ended", connection=str(connection_id), error=trouble.reason)
            await asyncio.sleep(TURN_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311

    async def _turns(self, tenant: Tenant, connection_id: uuid.UUID, wake: asyncio.Event) -> None:
        looked = _Looked({})
        while True:
            try:
                await self.turn(tenant, connection_id, looked)
            except Exception:  # the database went away, or a defect: the next turn begins where things stand
                log.exception("marketplace.turn_crashed", connection=str(connection_id))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await wake.wait()
            wake.clear()
            await asyncio.sleep(TURN_SECONDS)

    async def turn(self, tenant: Tenant, connection_id: uuid.UUID, looked: _Looked | None = None) -> bool:
        """Everything that is due, once; answers whether all went well. What is ours to do needs no marketplace."""
        async with self._db.read(tenant.uuid) as session:
            turn = await connections.turn(session, connection_id)
        if turn is None or turn.of.state is not values.ConnectionState.ACTIVE:
            return True
        looked = looked or _Looked({})
        steps: list[tuple[str, Callable[[], Awaitable[object]]]] = [
            ("place", lambda: self._placing.do_due(tenant, turn.of))
        ]
        if looked.due("orders", LOOK_AT_ORDERS, turn.now):
            steps.append(("look", lambda: self._statuses.look(tenant, turn.of)))
        if looked.due("late", LOOK_AT_LATE, turn.now):
            steps.append(("late", lambda: self._statuses.reject_late(tenant, turn.of)))
        went = [await self._step(turn.of, name, step) for name, step in steps]
        health = turn.of.health
        if health is not None and health.throttled_until is not None and health.throttled_until > turn.now:
            return False
        return all([*went, await self._market_turn(tenant, turn)])

    async def _step(self, of: values.Connection, name: str, step: Callable[[], Awaitable[object]]) -> bool:
        try:
            await step()
        except Exception:
            log.exception("marketplace.step_failed", connection=str(of.id), step=name)
            return False
        return True

    async def _market_turn(self, tenant: Tenant, turn: connections.Turn) -> bool:
        """What needs the marketplace. The first failure ends it: the marketplace is left alone for a while."""
        of = turn.of
        try:
            worked = await self._ask(tenant, turn, self._market(tenant, of))
        except port.Throttled as throttled:
            wait = _wait(of) if throttled.seconds is None else dt.timedelta(seconds=throttled.seconds)
            await self._fell_silent(tenant, of, "THROTTLED", min(wait, THROTTLED_MAX))
            return False
        except port.LockedOut as locked:
            await self._fell_silent(tenant, of, f"LOCKED_OUT {locked}"[:200], LOCKED_OUT)
            return False
        except (port.NoAnswer, port.Refused) as trouble:
            await self._fell_silent(tenant, of, f"{type(trouble).__name__.upper()} {trouble}"[:200], _wait(of))
            return False
        except errors.Error as ours:
            log.warning("marketplace.turn_failed", connection=str(of.id), error=ours.reason)
            return False
        if worked:
            SUCCESS.labels(of.kind.name.lower()).set_to_current_time()
            async with self._db.transaction(tenant.uuid) as session:
                await connections.worked(session, of.id)
        return True

    def _market(self, tenant: Tenant, of: values.Connection) -> port.Marketplace:
        """LockedOut when the file of accounts has it no more."""
        found = self._accounts.find(tenant.uuid, of.account)
        if found is None:
            raise port.LockedOut("NOT_CONFIGURED")
        return found[1]

    async def _ask(self, tenant: Tenant, turn: connections.Turn, market: port.Marketplace) -> bool:
        """Whether the marketplace was asked anything."""
        of, health, asked = turn.of, turn.of.health, 0
        if turn.polled_at is None or turn.now - turn.polled_at >= intake.POLL:
            asked += await self._intake.read(tenant, of.id, market)
            await self._placing.do_due(tenant, of)
        asked += await self._statuses.tell(tenant, of, market)
        if health is None or health.listed_at is None or turn.now - health.listed_at >= stock.LISTED:
            await self._stock.read_listings(tenant, of, market)
            asked += 1
        asked += await self._stock.push(tenant, of, market)
        return bool(asked)

    async def _fell_silent(self, tenant: Tenant, of: values.Connection, failure: str, wait: dt.timedelta) -> None:
        FAILURES.labels(of.kind.name.lower(), failure.split(" ", maxsplit=1)[0]).inc()
        log.warning("marketplace.silent", connection=str(of.id), failure=failure, seconds=wait.total_seconds())
        async with self._db.transaction(tenant.uuid) as session:
            await connections.fell_silent(session, of.id, failure, wait)


def _wait(of: values.Connection) -> dt.timedelta:
    failures = 0 if of.health is None else of.health.failures
    return min(BACKOFF_MAX, BACKOFF * (1 << min(failures, 10)))
