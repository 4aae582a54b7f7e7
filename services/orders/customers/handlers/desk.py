"""What the use cases of customers share: reads in one snapshot, writes in one transaction with their events.

A write remembers under its key only whom it was about, and the answer is read again: idempotency rows would else keep
personal data in the clear. For the same reason their fingerprints are keyed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from google.protobuf import wrappers_pb2

from services.kit import audit, database, errors, events, idempotency, outbox
from services.orders.customers import audited, crypto, keyring, records

Ping = Callable[[str, str], None]
"""Called after a commit with (tenant TypeID, key of an event)."""
TRIES = 5


class Taken(Exception):
    """Somebody else has the e-mail: what was written is rolled back, and looked at anew."""


@dataclass(frozen=True, slots=True)
class Write:
    """A caller's write: whose, the key it is remembered by, and who is named."""

    tenant_id: str
    key: idempotency.Key
    actor: str

    @property
    def tenant(self) -> str:
        """The tenant as the database layer takes it."""
        return self.key.tenant


@dataclass(frozen=True, slots=True)
class Happened:
    """What a write did. about: whom or what the answer is about; told: to other services; noted: in the audit log."""

    about: uuid.UUID
    told: Sequence[events.Event] = ()
    noted: Sequence[audit.Entry] = ()


Effect = Callable[[records.WriteRecords, database.WriteSession], Awaitable[Happened]]
"""What a write does."""


@dataclass(frozen=True, slots=True)
class Look:
    """A caller's read of personal data. source None: they read their own, or are a service, and it isn't noted."""

    tenant: str
    source: audit.Source | None


class Desk:
    """Transactions on customers, for one process."""

    def __init__(self, db: database.Database, ring: keyring.Keyring, ping: Ping) -> None:
        self.db = db
        self.ring = ring
        self._ping = ping
        self._digest_keys: dict[str, bytes] = {}

    @contextlib.asynccontextmanager
    async def reading(self, tenant: str) -> AsyncIterator[tuple[records.Records, database.ReadSession]]:
        """Reads of one tenant (uuid text) that all see the same moment: keys and what they open change together."""
        async with self.db.read(tenant, snapshot=True) as session:
            yield records.Records(session, await self.ring.find(session, tenant)), session

    async def write(self, write: Write, effect: Effect) -> uuid.UUID:
        """Runs effect, or finds what its key was about before. After some tries: AlreadyExists (email), Conflict."""
        told: list[events.Event] = []

        async def remembered(session: database.WriteSession) -> wrappers_pb2.StringValue:
            kept = records.WriteRecords(session, self.ring, write.tenant)
            await kept.take_keys()
            happened = await effect(kept, session)
            await audit.append(session, audit.by(write.key), happened.noted)
            await outbox.append(session, happened.told)
            told[:] = happened.told
            return wrappers_pb2.StringValue(value=str(happened.about))

        key = await self._keyed(write.key)
        refusal: errors.Error = errors.Conflict()
        for _ in range(TRIES):
            try:
                answer = await idempotency.run(self.db, key, wrappers_pb2.StringValue, remembered)
            except Taken:
                refusal = errors.AlreadyExists("email")
            except records.Moved:
                refusal = errors.Conflict()
            else:
                for event in told:
                    self._ping(write.tenant_id, event.key)
                return uuid.UUID(answer.value)
        raise refusal

    async def note_look(self, look: Look, seen: Sequence[uuid.UUID], searched: Sequence[str] = ()) -> None:
        """Notes, before they are shown, whom somebody looked at. searched: what by; noted for nobody too."""
        if look.source is None or not (seen or searched):
            return
        by = {"searched_by": audit.Change(None, list(searched))} if searched else {}
        entries = [audited.noted("read", customer, by) for customer in seen]
        nobody = audit.Entry(action="read", resource=audited.RESOURCE, resource_id="", changes=by)
        async with self.db.transaction(look.tenant) as session:
            await audit.append(session, look.source, entries or [nobody])

    async def _keyed(self, key: idempotency.Key) -> idempotency.Key:
        """The key with a fingerprint that can't be guessed from what somebody might have asked."""
        if not key.key:
            return key
        secret = self._digest_keys.get(key.tenant)
        if secret is None:
            async with self.db.transaction(key.tenant) as session:
                secret = (await self.ring.need(session, key.tenant)).fingerprints
            self._digest_keys[key.tenant] = secret  # committed, and never rotated
        keyed = crypto.digest(secret, "fingerprint", key.fingerprint.hex())[:16]
        return dataclasses.replace(key, fingerprint=keyed)
