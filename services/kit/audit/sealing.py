"""The sealer: takes what was committed into each tenant's chain, and anchors its heads. In one process at a time.

Writers don't wait for each other: they only add. The lease keeps processes from working twice; what must not happen
twice is guarded by rows: an entry waits once, and a seal's number is unique. A seal is committed and then anchored;
killed in between, whoever seals next anchors the head.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import structlog

from services.kit import database, events, key_file, leases
from services.kit.audit import entries, seals, store
from services.kit.audit.anchors import Anchors

EVERY_SECONDS: Final = 0.5
SEAL_MAX: Final = 500  # entries
TAKE_MAX: Final = 5_000  # entries in a transaction
LEASE_NAME: Final = "audit"

log = structlog.get_logger(__name__)


class Sealer:
    """Seals the entries of a service."""

    def __init__(self, db: database.Database, service: str, keys: key_file.KeyFile, anchors: Anchors) -> None:
        self._db = db
        self._service = service
        self._keys = keys
        self._anchors = anchors
        self._lease: leases.Lease | None = None

    async def run(self) -> None:
        """Seals until cancelled; what can't be done now is tried again."""
        await leases.run_alone(self._db, LEASE_NAME, self._turn, every_seconds=EVERY_SECONDS)

    async def _turn(self, lease: leases.Lease) -> None:
        if lease != self._lease:  # others may have sealed, or died before they anchored
            await self.catch_up()
            self._lease = lease
        while await self.seal() == TAKE_MAX:
            pass

    async def seal(self) -> int:
        """Seals what waits now, up to TAKE_MAX entries: how many."""
        key = self._keys.newest()
        async with self._db.worker() as session:
            waiting = await store.take(session, TAKE_MAX)
            if not waiting:
                return 0
            found = await store.load(session, waiting)
            heads = await store.heads(session, sorted({row.tenant_id for row in waiting}))
            made = self._made(waiting, found, heads, key, await store.now(session))
            for seal in made:
                await store.put(session, seal)
        await self._anchor(made)
        return len(waiting)

    def _made(
        self,
        waiting: Sequence[store.Pending],
        found: Mapping[uuid.UUID, entries.Row],
        heads: Mapping[uuid.UUID, tuple[int, bytes]],
        key: key_file.Key,
        now: dt.datetime,
    ) -> list[seals.Seal]:
        """A chain's next seals for each tenant."""
        made: list[seals.Seal] = []
        ends = dict(heads)
        for tenant, rows in _portions(waiting):
            seq, previous = ends.get(tenant, (0, seals.GENESIS))
            draft = seals.Seal(
                tenant_id=tenant,
                seq=seq + 1,
                sealed_at=now,
                first_at=rows[0].recorded_at,
                last_at=rows[-1].recorded_at,
                entries=[row.id for row in rows],
                hashes=[found[row.id].hash() if row.id in found else seals.MISSING for row in rows],
                digest=b"",
                key_id="",
                mac=b"",
            )
            seal = seals.made(self._service, previous, draft, key)
            ends[tenant] = (seal.seq, seal.digest)
            made.append(seal)
        return made

    async def catch_up(self) -> None:
        """Anchors what was sealed by who died before, and tells of chains that were set back. OSError, LogBroken."""
        anchored = await asyncio.to_thread(self._anchors.heads)
        async with self._db.worker() as session:
            heads = await store.heads(session)
            late = [
                seal
                for tenant, (seq, _) in heads.items()
                if seq > anchored.get(events.tenant_text(tenant), 0)
                for seal in await store.seals_after(session, tenant, seq - 1, 1)
            ]
        known = {events.tenant_text(tenant): seq for tenant, (seq, _) in heads.items()}
        for tenant, seq in anchored.items():
            if known.get(tenant, 0) < seq:
                log.error("audit.set_back", tenant=tenant, anchored=seq, found=known.get(tenant, 0))
        await self._anchor(late)

    async def _anchor(self, made: Sequence[seals.Seal]) -> None:
        """The last of each tenant: it vouches for those before."""
        last = list({seal.tenant_id: seal for seal in made}.values())
        if last:
            await asyncio.to_thread(self._anchors.add, last)
        for seal in last:
            log.info("audit.sealed", tenant=events.tenant_text(seal.tenant_id), seal=seal.seq, digest=seal.digest.hex())


def _portions(waiting: Sequence[store.Pending]) -> Iterator[tuple[uuid.UUID, list[store.Pending]]]:
    """What makes a seal each: of one tenant and, as entries are dropped by month, of one month."""
    for (tenant, *_), rows in itertools.groupby(sorted(waiting, key=_by_month), _by_month):
        whole = list(rows)
        for start in range(0, len(whole), SEAL_MAX):
            yield tenant, whole[start : start + SEAL_MAX]


def _by_month(row: store.Pending) -> tuple[uuid.UUID, int, int]:
    at = row.recorded_at.astimezone(dt.UTC)
    return row.tenant_id, at.year, at.month
