"""SQL of keys, all of them wrapped, and of their rotations. Row-level security picks the tenant; only inserts name it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database

Session = sa_asyncio.AsyncConnection
TENANT = "current_setting('app.tenant_id')::uuid"

TENANT_KEYS = sa.text("SELECT purpose, version, root, wrapped FROM tenant_key ORDER BY purpose, version")
# Keys of digests aren't kept: whoever rotates them waits for those who may have read the old one (rotation.py).
KEEP_TENANT_KEYS = sa.text("""
WITH kept AS MATERIALIZED (
    SELECT purpose, version, root, wrapped FROM tenant_key WHERE purpose = 1 FOR KEY SHARE
)
SELECT * FROM kept UNION ALL SELECT purpose, version, root, wrapped FROM tenant_key WHERE purpose <> 1
ORDER BY purpose, version
""")
PUT_TENANT_KEY = sa.text(f"""
INSERT INTO tenant_key (tenant_id, purpose, version, root, wrapped)
VALUES ({TENANT}, :purpose, :version, :root, :wrapped) ON CONFLICT DO NOTHING
""")
REWRAP_TENANT_KEY = sa.text("""
UPDATE tenant_key SET root = :root, wrapped = :wrapped
WHERE purpose = :purpose AND version = :version AND wrapped = :before
""")
DROP_TENANT_KEYS = sa.text("""
DELETE FROM tenant_key t WHERE purpose = 1 AND version < :newest AND NOT EXISTS (
    SELECT FROM customer_key k WHERE k.tenant_id = t.tenant_id AND k.tenant_key_version = t.version)
""")
OLD_WRAPPED = sa.text("""
SELECT customer_id, version, tenant_key_version, wrapped FROM customer_key
WHERE tenant_key_version < :newest ORDER BY customer_id LIMIT :limit FOR UPDATE
""")
REWRAP = sa.text("""
UPDATE customer_key k SET tenant_key_version = :newest, wrapped = r.wrapped
FROM unnest(CAST(:ids AS uuid[]), CAST(:wrapped AS bytea[])) r (id, wrapped) WHERE k.customer_id = r.id
""")
NEXT_KEYS = sa.text("""
SELECT customer_id FROM customer_key
WHERE made_at < :before AND (CAST(:after AS uuid) IS NULL OR customer_id > :after) ORDER BY customer_id LIMIT :limit
""")
ROOTS = sa.text("SELECT root, count(DISTINCT tenant_id) AS tenants FROM tenant_key GROUP BY root ORDER BY root")
TENANTS = sa.text("SELECT DISTINCT tenant_id FROM tenant_key ORDER BY tenant_id")
ROTATION = sa.text("SELECT began_at, reached FROM key_rotation")
BEGIN_ROTATION = sa.text(f"""
INSERT INTO key_rotation (tenant_id, began_at) VALUES ({TENANT}, clock_timestamp()) ON CONFLICT DO NOTHING
""")
REACH = sa.text("UPDATE key_rotation SET reached = :reached")
END_ROTATION = sa.text("DELETE FROM key_rotation")


class KeyInUse(Exception):
    """Something was put under a key while it was deleted; the transaction can't go on."""


class KeyRow(NamedTuple):
    """A tenant's key as it is kept. purpose: 1 wraps, 2 makes digests, 3 fingerprints."""

    purpose: int
    version: int
    root: str
    wrapped: bytes


class WrappedRow(NamedTuple):
    """A customer's key as it is kept."""

    customer: uuid.UUID
    version: int
    tenant_key_version: int
    wrapped: bytes


async def tenant_keys(session: Session, *, kept: bool = False) -> list[KeyRow]:
    """The tenant's keys, by purpose and version. kept: nobody deletes one that wraps before the transaction ends."""
    return [KeyRow(*map(_plain, row)) for row in await session.execute(KEEP_TENANT_KEYS if kept else TENANT_KEYS)]


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


async def put_tenant_key(session: database.WriteSession, key: KeyRow) -> None:
    """Keeps a new key; one with the same purpose and version stays."""
    await session.execute(PUT_TENANT_KEY, key._asdict())


async def rewrap_tenant_key(session: database.WriteSession, before: KeyRow, after: KeyRow) -> None:
    """The same key under another root key, if nobody else was faster."""
    await session.execute(REWRAP_TENANT_KEY, {**after._asdict(), "before": before.wrapped})


async def drop_tenant_keys(session: database.WriteSession, newest: int) -> int:
    """Deletes the wrapping keys below newest that nothing is wrapped with: how many. KeyInUse."""
    try:
        return (await session.execute(DROP_TENANT_KEYS, {"newest": newest})).rowcount
    except sa.exc.IntegrityError as error:
        raise KeyInUse from error


async def old_wrapped(session: database.WriteSession, newest: int, limit: int) -> list[WrappedRow]:
    """Keys of customers that are wrapped with an older key of the tenant, locked."""
    rows = await session.execute(OLD_WRAPPED, {"newest": newest, "limit": limit})
    return [WrappedRow(*map(_plain, row)) for row in rows]


async def rewrap(session: database.WriteSession, newest: int, wrapped: Mapping[uuid.UUID, bytes]) -> None:
    """The same keys of customers under the tenant's newest key."""
    given = {"newest": newest, "ids": list(wrapped), "wrapped": list(wrapped.values())}
    await session.execute(REWRAP, given)


async def keys_made_before(
    session: Session, before: dt.datetime, after: uuid.UUID | None, limit: int
) -> list[uuid.UUID]:
    """Customers whose key is older, in order of their ids."""
    given = {"before": before, "after": after, "limit": limit}
    return list((await session.execute(NEXT_KEYS, given)).scalars())


async def roots(session: database.WorkerSession) -> dict[str, int]:
    """How many tenants have keys under each root key."""
    return {row.root: row.tenants for row in await session.execute(ROOTS)}


async def tenants(session: database.WorkerSession) -> list[uuid.UUID]:
    """Tenants that have keys."""
    return list((await session.execute(TENANTS)).scalars())


async def rotation(session: Session) -> tuple[dt.datetime, uuid.UUID | None] | None:
    """The rotation of the tenant's customers that is under way: since when, and the last customer that is done."""
    row = (await session.execute(ROTATION)).one_or_none()
    return None if row is None else (row.began_at, row.reached)


async def begin_rotation(session: database.WriteSession) -> bool:
    """Begins one, unless one is under way: whether it has."""
    return (await session.execute(BEGIN_ROTATION)).rowcount > 0


async def reach(session: database.WriteSession, customer: uuid.UUID) -> None:
    """Notes how far it is."""
    await session.execute(REACH, {"reached": customer})


async def end_rotation(session: database.WriteSession) -> None:
    """Nothing is under way any more."""
    await session.execute(END_ROTATION)


# --- rotations of keys of digests ---

DIGEST_ROTATION = sa.text("SELECT to_version, reached, dropped FROM digest_rotation")
BEGIN_DIGEST_ROTATION = sa.text(f"""
INSERT INTO digest_rotation (tenant_id, to_version) VALUES ({TENANT}, :to_version) ON CONFLICT DO NOTHING
""")
REACH_DIGESTS = sa.text("UPDATE digest_rotation SET reached = :reached WHERE to_version = :to_version")
DROP_NOTED = sa.text("UPDATE digest_rotation SET dropped = true WHERE to_version = :to_version AND NOT dropped")
DROP_DIGEST_KEYS = sa.text("DELETE FROM tenant_key WHERE purpose = 2 AND version < :to_version")
END_DIGEST_ROTATION = sa.text("DELETE FROM digest_rotation WHERE to_version = :to_version")
LATEST = sa.text("SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text)")
ENDED = sa.text("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= CAST(:latest AS xid8)")


class DigestRotation(NamedTuple):
    """One that is under way: to which version, the last customer that is done, and whether the old key is gone."""

    to_version: int
    reached: uuid.UUID | None
    dropped: bool


async def digest_rotation(session: Session) -> DigestRotation | None:
    """The tenant's rotation of digests that is under way."""
    row = (await session.execute(DIGEST_ROTATION)).one_or_none()
    return None if row is None else DigestRotation(*row)


async def begin_digest_rotation(session: database.WriteSession, to_version: int) -> bool:
    """Begins one, unless one is under way: whether it has."""
    return (await session.execute(BEGIN_DIGEST_ROTATION, {"to_version": to_version})).rowcount > 0


async def reach_digests(session: database.WriteSession, to_version: int, customer: uuid.UUID | None) -> None:
    """Notes how far it is; None: at its beginning."""
    await session.execute(REACH_DIGESTS, {"to_version": to_version, "reached": customer})


async def drop_digest_keys(session: database.WriteSession, to_version: int) -> bool:
    """Deletes the older keys of digests. False: another command has, or this rotation is over."""
    if (await session.execute(DROP_NOTED, {"to_version": to_version})).rowcount == 0:
        return False
    await session.execute(DROP_DIGEST_KEYS, {"to_version": to_version})
    return True


async def end_digest_rotation(session: database.WriteSession, to_version: int) -> bool:
    """Nothing is under way any more. False: another command has ended it."""
    return (await session.execute(END_DIGEST_ROTATION, {"to_version": to_version})).rowcount > 0


async def latest(session: Session) -> str:
    """Stands for all transactions that are under way."""
    found: str = (await session.execute(LATEST)).scalar_one()
    return found


async def have_ended(session: Session, latest: str) -> bool:
    """Whether all that `latest` stood for have ended."""
    found: bool = (await session.execute(ENDED, {"latest": latest})).scalar_one()
    return found
