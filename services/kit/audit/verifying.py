"""Verifies the audit log of a service against its seals, its keys and its anchors: what was tampered with, and where.

Beside live processes, at any time. What it can't see: an entry that was removed, with what waits for it, before it was
sealed; and a tail that was cut off in the database and in the file of anchors, which the logs still tell
(`audit.sealed`). Whoever has a key can forge.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.kit import chained_log, database, events, ids, key_file, schema
from services.kit.audit import anchors as anchoring
from services.kit.audit import entries, seals, store

GRACE: Final = dt.timedelta(seconds=60)
"""What is younger may not be sealed yet, or sealed and not anchored."""
KEEP: Final = dt.timedelta(days=schema.AUDIT_YEARS * 365)
SEALS_AT_ONCE: Final = 50
FINDINGS_MAX: Final = 100  # of a kind and tenant


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that isn't as it was written. tenant: TypeID, or empty; where: an entry, a seal, a file."""

    tenant: str
    where: str
    what: str


@dataclass(slots=True)
class Verified:
    """How much was looked at."""

    tenants: int = 0
    seals: int = 0
    entries: int = 0
    notes: list[Finding] = field(default_factory=list)
    """What a person has vouched for."""


class Verifier:
    """Looks for tampering in one service."""

    def __init__(self, db: database.Database, service: str, keys: key_file.KeyFile, anchors: anchoring.Anchors) -> None:
        self._db = db
        self._service = service
        self._key_file = keys
        self._anchors = anchors
        self._keys: dict[str, key_file.Key] = {}
        self._expected: dict[str, dict[int, str]] = {}
        self.verified = Verified()

    async def run(self, only: str = "") -> AsyncIterator[Finding]:
        """All findings. only: a tenant (TypeID). NoKey, OSError."""
        self._keys = {key_id: self._key_file.get(key_id) for key_id in self._key_file.ids()}
        # First the anchors: what is anchored meanwhile would else be missed in the database that was read before.
        for finding in await asyncio.to_thread(lambda: list(self._read_anchors())):
            if not only or finding.tenant in ("", only):
                yield finding
        async with self._db.worker() as session:
            found = [events.tenant_text(tenant) for tenant in await store.tenants(session)]
        for tenant in sorted({*found, *self._expected}):
            if only in ("", tenant):
                self.verified.tenants += 1
                async for finding in self._tenant(tenant):
                    yield finding

    # --- anchors ---

    def _read_anchors(self) -> Iterator[Finding]:
        """Fills what is expected of each chain: digests (hex) by seal."""
        try:
            for anchor in self._anchors.all():
                yield from self._read(anchor)
        except chained_log.LogBroken as broken:
            yield Finding("", str(self._anchors.path), str(broken))

    def _read(self, anchor: Mapping[str, Any]) -> Iterator[Finding]:
        tenant, seq, head = anchor["tenant"], anchor["seal"], anchor["digest"]
        known, set_back = self._expected.setdefault(tenant, {}), anchor.get(anchoring.SET_BACK, False)
        over = seals.set_back(self._service, tenant, seq, head) if set_back else bytes.fromhex(head)
        if not seals.is_authentic(self._keys, anchor["key"], over, bytes.fromhex(anchor["mac"])):
            yield Finding(tenant, f"anchor of seal {seq}", "was not made with one of the keys")
            return
        lost = [each for each in known if each > seq or (each == seq and known[each] != head)]
        if lost and set_back:
            what = f"was set back from seal {max(lost)}, as a person has vouched for: a restore"
            self.verified.notes.append(Finding(tenant, f"seal {seq}", what))
        elif lost:
            yield Finding(tenant, f"seal {seq}", f"the chain was set back from seal {max(lost)}: by a restore, or cut")
        for each in lost:
            del known[each]
        if seq:
            known[seq] = head

    # --- a tenant ---

    async def _tenant(self, tenant: str) -> AsyncIterator[Finding]:
        tenant_id, expected = ids.decode(events.TENANT_PREFIX, tenant), self._expected.get(tenant, {})
        last, previous, at = 0, seals.GENESIS, dt.datetime.max.replace(tzinfo=dt.UTC)
        while True:
            async with self._db.worker() as session:
                found = await store.seals_after(session, tenant_id, last, SEALS_AT_ONCE)
                now = await store.now(session)
                for seal in found:
                    for where, what in self._chain(seal, last, previous, expected):
                        yield Finding(tenant, where, what)
                    for where, what in self._contents(seal, await store.of_seal(session, seal), now):
                        yield Finding(tenant, where, what)
                    last, previous, at = seal.seq, seal.digest, seal.sealed_at
            if len(found) < SEALS_AT_ONCE:
                break
        head = max(expected, default=0)
        if head > last:
            yield Finding(tenant, f"seal {last + 1}", f"the chain ends before it, and was anchored until seal {head}")
        elif last > head and at < now - GRACE:
            yield Finding(tenant, f"seal {last}", "is not anchored outside of the database")
        async for finding in self._left_over(tenant, tenant_id):
            yield finding

    def _chain(
        self, seal: seals.Seal, last: int, previous: bytes, expected: Mapping[int, str]
    ) -> Iterator[tuple[str, str]]:
        self.verified.seals += 1
        where = f"seal {seal.seq}"
        if seal.seq != last + 1:
            yield f"seal {last + 1}", f"is gone: {where} comes next"
        elif seals.digest(self._service, previous, seal) != seal.digest:
            yield where, "was altered, or the seal before it"
        if not seals.is_authentic(self._keys, seal.key_id, seal.digest, seal.mac):
            yield where, "was not made with one of the keys"
        if expected.get(seal.seq, seal.digest.hex()) != seal.digest.hex():
            yield where, "is another than was anchored"

    def _contents(
        self, seal: seals.Seal, found: Mapping[uuid.UUID, entries.Row], now: dt.datetime
    ) -> Iterator[tuple[str, str]]:
        if not found and seal.last_at < now - KEEP:
            return  # dropped, as old as they are
        for entry_id, hash_ in zip(seal.entries, seal.hashes, strict=True):
            self.verified.entries += 1
            row, where = found.get(entry_id), f"entry {ids.encode(entries.PREFIX, entry_id)} of seal {seal.seq}"
            if hash_ == seals.MISSING:
                yield where, "was removed before it was sealed"
            elif row is None:
                yield where, "is gone"
            elif row.hash() != hash_:
                yield where, "was altered"

    async def _left_over(self, tenant: str, tenant_id: uuid.UUID) -> AsyncIterator[Finding]:
        async with self._db.worker() as session:
            unsealed = await store.unsealed(session, tenant_id, GRACE, FINDINGS_MAX)
            twice = await store.twice(session, tenant_id, FINDINGS_MAX)
        for row in unsealed:
            what = "still waits to be sealed: is the service running?" if row.pending else "is in no seal: inserted"
            yield Finding(tenant, f"entry {ids.encode(entries.PREFIX, row.id)}", what)
        for row in twice:
            yield Finding(tenant, f"entry {ids.encode(entries.PREFIX, row.id)}", f"stands more than once in {row.of}")

    # --- what a person vouches for ---

    async def accept(self, tenant: str) -> int:
        """Notes with the anchors that a chain ends where it does because of a restore: at which seal. NoKey."""
        tenant_id, key = ids.decode(events.TENANT_PREFIX, tenant), self._key_file.newest()
        async with self._db.worker() as session:
            seq, head = (await store.heads(session, [tenant_id])).get(tenant_id, (0, seals.GENESIS))
        mac = seals.mac(key, seals.set_back(self._service, tenant, seq, head.hex()))
        content = {"tenant": tenant, "seal": seq, "digest": head.hex(), "key": key.id, "mac": mac.hex()}
        await asyncio.to_thread(self._anchors.set_back, content)
        return seq
