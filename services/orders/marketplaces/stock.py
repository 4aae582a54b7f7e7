"""Stock out: the stream of the stock says which SKUs changed; each is then read, and told as it is, the latest only.

domain/marketplaces/listings.py says how a quantity that is under way, lost or late ends as the last one.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import prometheus_client
import structlog

from services.kit import channels, database, errors, failpoints
from services.orders.domain.marketplaces import listings, values
from services.orders.marketplaces import port
from services.orders.placing.effects import Tenant
from services.orders.store.marketplaces import connections
from services.orders.store.marketplaces import listings as store

log = structlog.get_logger()

LISTED: Final = dt.timedelta(hours=6)
"""What the marketplace has is read again so often: listings that came and went, quantities that were changed there."""
PAGES_MAX: Final = 1000
BATCHES_A_TURN: Final = 20
QUANTITIES = prometheus_client.Counter(
    "tillmesh_marketplace_quantities_total",
    "Quantities told to marketplaces, by what became of them.",
    ["kind", "outcome"],
)


@dataclass(frozen=True, slots=True)
class Change:
    """A frame of the stream. skus: that changed; token: goes on after it; anew: something may have been missed."""

    skus: Sequence[str]
    token: str
    anew: bool = False


class Levels(Protocol):
    """Inventory, for the tenant that is acted for (kit.channels.acting_for). errors.Error."""

    def watch(self, location_ids: Sequence[uuid.UUID], token: str) -> AsyncIterator[Change]:
        """Changes of the stock at locations, after a token; empty: from now on. Ends by itself."""
        ...

    async def available(self, location_ids: Sequence[uuid.UUID], skus: Sequence[str]) -> Mapping[str, int]:
        """Units that may be promised now, over the locations, by folded SKU; unknown ones are left out.

        Includes every change that was acknowledged before.
        """
        ...


class Stock:
    """Tells marketplaces what there is, for one process."""

    def __init__(self, db: database.Database, levels: Levels) -> None:
        self._db = db
        self._levels = levels

    # --- what has changed ---

    async def watch(self, tenant: Tenant, of: values.Connection, heard: Callable[[], None] = lambda: None) -> None:
        """Follows the stock of the connection's locations until the stream ends. heard: called when it changed.

        errors.Error.
        """
        try:
            with channels.acting_for(tenant.id):
                async for change in self._levels.watch(of.stock_locations, of.watch_token):
                    await self.note(tenant, of.id, change)
                    if change.skus or change.anew:
                        heard()
        except errors.ResyncRequired:  # the next stream begins anew
            async with self._db.transaction(tenant.uuid) as session:
                await connections.watched(session, of.id, "")

    async def note(self, tenant: Tenant, connection_id: uuid.UUID, change: Change) -> None:
        """Notes what a frame says, and how far the stream is, in one transaction."""
        if change.anew:
            await self.all_changed(tenant, connection_id)
        async with self._db.transaction(tenant.uuid) as session:
            if change.skus:
                await store.changed(session, connection_id, change.skus, listings.changed)
            await connections.watched(session, connection_id, change.token)

    async def all_changed(self, tenant: Tenant, connection_id: uuid.UUID) -> None:
        """Nobody knows what changed: everything is looked at."""
        after = ""
        while True:
            async with self._db.transaction(tenant.uuid) as session:
                after = await store.all_changed(session, connection_id, listings.changed, after)
            if not after:
                return

    # --- what is listed there ---

    async def read_listings(self, tenant: Tenant, of: values.Connection, market: port.Marketplace) -> None:
        """Reads what the marketplace has of each SKU. What port raises; then it is read from the start again."""
        found: list[str] = []
        page = ""
        for _ in range(PAGES_MAX):
            stocked = await market.listings(page)
            found += stocked.quantities
            quantities = {sku.lower(): units for sku, units in stocked.quantities.items()}

            def read(
                listing: listings.Listing, now: dt.datetime, told: Mapping[str, int] = quantities
            ) -> listings.Listing:
                return listings.read(listing, told[listing.sku.lower()], now)

            async with self._db.transaction(tenant.uuid) as session:
                await store.changed(session, of.id, stocked.quantities, read)
                await store.add(session, of.id, stocked.quantities)
            page = stocked.next
            if not page:
                break
        async with self._db.transaction(tenant.uuid) as session:
            if not page:
                await store.drop_missing(session, of.id, found)
            await connections.listed(session, of.id)

    # --- telling it ---

    async def push(self, tenant: Tenant, of: values.Connection, market: port.Marketplace) -> int:
        """Tells what is due, some batches of it; answers how many. Throttled; LockedOut; errors.Error (Inventory)."""
        done = 0
        for _ in range(BATCHES_A_TURN):
            async with self._db.transaction(tenant.uuid) as session:
                claimed = await store.claim_due(session, of.id, market.quantities_max, listings.claim)
            await _Batch(self._db, self._levels, tenant, of, market).run(claimed)
            done += len(claimed)
            if len(claimed) < market.quantities_max:
                break
        return done


class _Batch:
    """Rows that this process has claimed. Each is settled at the end, or its claim runs out."""

    def __init__(
        self,
        db: database.Database,
        levels: Levels,
        tenant: Tenant,
        of: values.Connection,
        market: port.Marketplace,
    ) -> None:
        self._db = db
        self._levels = levels
        self._tenant = tenant
        self._of = of
        self._market = market
        self._ends: dict[str, store.Change] = {}

    async def run(self, claimed: Sequence[tuple[listings.Listing, listings.Listing]]) -> None:
        """claimed: (before its claim, after it)."""
        try:
            for before, row in claimed:
                if listings.wants_check(before):
                    await self._check(row)
            await self._tell({row.sku: row for before, row in claimed if not listings.wants_check(before)})
        finally:
            await self._write()

    async def _tell(self, rows: Mapping[str, listings.Listing]) -> None:
        if not rows:
            return
        try:
            with channels.acting_for(self._tenant.id):
                found = await self._levels.available(self._of.stock_locations, list(rows))
        except errors.Error as trouble:
            for row in rows.values():
                self._end(row, _failed(row, trouble.reason))
            raise
        send: dict[str, int] = {}
        for sku, row in rows.items():
            if sku.lower() in found:
                units = listings.quantity(found[sku.lower()], self._of.buffer, self._market.quantity_max)
                send |= self._needed(row, units)
            else:
                self._end(row, _failed(row, "SKU_UNKNOWN", LISTED))
        if send:
            await self._send(rows, send)

    def _needed(self, row: listings.Listing, units: int) -> dict[str, int]:
        """What is sent of it: not what is known to be there already; what may not be sent today waits for tomorrow."""
        now = dt.datetime.now(dt.UTC)
        if listings.needless(row, units):
            self._end(row, _settled(row, units, revised=False))
            return {}
        if not listings.may_send(row, units, now.date(), self._market.revisions_max):
            tomorrow = dt.datetime.combine(now.date() + dt.timedelta(days=1), dt.time(), dt.UTC)
            self._end(row, _failed(row, "REVISIONS", tomorrow - now))
            return {}
        return {row.sku: units}

    async def _send(self, rows: Mapping[str, listings.Listing], send: Mapping[str, int]) -> None:
        told: Mapping[str, port.Told] = {}
        try:
            told = await failpoints.effect("marketplace_quantities", self._market.set_quantities(send))
        except port.NoAnswer as silence:
            told = {sku: port.Told(port.Heard.UNKNOWN, f"NO_ANSWER {silence}") for sku in send}
        except port.Refused as refused:
            told = {sku: port.Told(port.Heard.REFUSED, refused.code) for sku in send}
        except (port.Throttled, port.LockedOut) as waits:
            for sku in send:
                self._end(rows[sku], _failed(rows[sku], type(waits).__name__.upper()))
            raise
        for sku, units in send.items():
            heard = told.get(sku, port.Told(port.Heard.UNKNOWN, "NOT_ANSWERED"))
            QUANTITIES.labels(self._of.kind.name.lower(), heard.heard.value).inc()
            self._end(rows[sku], _after(rows[sku], units, heard))

    async def _check(self, row: listings.Listing) -> None:
        """What was sent before can't arrive any more: is the last quantity the one that is there?"""
        try:
            found = await self._market.quantity(row.sku)
        except port.TROUBLES as trouble:
            self._end(row, _failed(row, type(trouble).__name__.upper()))
            if isinstance(trouble, port.Throttled | port.LockedOut):
                raise
        else:
            self._end(row, lambda now, at: listings.checked(now, row, found, at))

    def _end(self, row: listings.Listing, end: store.Change) -> None:
        self._ends[row.sku.lower()] = end

    async def _write(self) -> None:
        async with self._db.transaction(self._tenant.uuid) as session:
            await store.changed(session, self._of.id, self._ends, lambda now, at: self._ends[now.sku.lower()](now, at))


def _settled(row: listings.Listing, units: int, *, revised: bool = True) -> store.Change:
    return lambda now, at: listings.settled(now, row, units, at, revised=revised)


def _failed(row: listings.Listing, failure: str, wait: dt.timedelta | None = None) -> store.Change:
    return lambda now, at: listings.failed(now, row, failure[:200], at, wait)


def _after(row: listings.Listing, units: int, told: port.Told) -> store.Change:
    match told.heard:
        case port.Heard.TAKEN:
            return _settled(row, units)
        case port.Heard.REFUSED:
            return _failed(row, told.code)
    return lambda now, at: listings.unknown(now, row, told.code[:200], at)
