"""SQL of customers. What is personal comes and goes sealed; digests are of folded values. Row-level security picks the
tenant in every statement; only inserts name it.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio

from services.kit import database
from services.orders.customers import domain

Session = sa_asyncio.AsyncConnection
TENANT = "current_setting('app.tenant_id')::uuid"
ADDRESS = "address:"  # what the field of an address begins with

# Customer, key and fields in one statement: a key that is changed meanwhile comes with the fields that it opens.
_LOAD = f"""
SELECT c.id, c.state, c.merged_into, c.guest, c.locale, c.created_at, c.updated_at, c.version,
       k.version AS key_version, k.tenant_key_version, k.wrapped, k.audit_wrapped,
       ARRAY(SELECT m.id FROM customer m WHERE m.merged_into = c.id ORDER BY m.id) AS merged_ids,
       p.fields, p.sealed
FROM customer c
LEFT JOIN customer_key k ON k.tenant_id = c.tenant_id AND k.customer_id = c.id
LEFT JOIN LATERAL (
    SELECT array_agg(p.field) AS fields, array_agg(p.sealed) AS sealed FROM customer_personal p
    WHERE p.tenant_id = c.tenant_id AND p.customer_id = c.id AND (:addresses OR p.field NOT LIKE '{ADDRESS}%')
) p ON true
WHERE c.id = ANY(CAST(:ids AS uuid[])) ORDER BY c.id
"""
LOAD = sa.text(_LOAD)
LOCK = sa.text("SELECT id FROM customer WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE")
# A rotation of the tenant's key waits until the transaction has ended.
LOCK_KEYS = sa.text(
    "SELECT 1 FROM customer_key WHERE customer_id = ANY(CAST(:ids AS uuid[])) ORDER BY customer_id FOR SHARE"
)
FAMILY = sa.text("""
SELECT id FROM customer WHERE id = ANY(CAST(:ids AS uuid[]))
UNION SELECT id FROM customer WHERE merged_into = ANY(CAST(:ids AS uuid[]))
UNION SELECT merged_into FROM customer WHERE id = ANY(CAST(:ids AS uuid[])) AND merged_into IS NOT NULL
""")
RESOLVE = sa.text("SELECT coalesce(merged_into, id) FROM customer WHERE id = :id")
MEMBERS = sa.text(
    "SELECT id FROM customer WHERE id = :id UNION SELECT id FROM customer WHERE merged_into = :id ORDER BY 1"
)
INSERT = sa.text(f"""
INSERT INTO customer (tenant_id, id, state, merged_into, guest, locale, created_at, updated_at, version)
VALUES ({TENANT}, :id, :state, :merged_into, :guest, :locale, :created_at, :updated_at, :version)
""")
UPDATE = sa.text("""
UPDATE customer SET state = :state, merged_into = :merged_into, guest = :guest, locale = :locale,
    updated_at = :updated_at, version = :version WHERE id = :id
""")
PUT_KEY = sa.text(f"""
INSERT INTO customer_key (tenant_id, customer_id, version, tenant_key_version, wrapped, audit_wrapped)
VALUES ({TENANT}, :customer, :version, :tenant_key_version, :wrapped, :audit_wrapped)
ON CONFLICT (tenant_id, customer_id) DO UPDATE SET version = excluded.version, tenant_key_version = excluded.tenant_key_version,
    wrapped = excluded.wrapped, audit_wrapped = excluded.audit_wrapped, made_at = excluded.made_at
""")
PUT_AUDIT_KEY = sa.text("UPDATE customer_key SET audit_wrapped = :audit_wrapped WHERE customer_id = :customer")
PUT_FIELDS = sa.text(f"""
INSERT INTO customer_personal (tenant_id, customer_id, field, sealed)
SELECT {TENANT}, :customer, f.field, f.sealed
FROM unnest(CAST(:fields AS text[]), CAST(:sealed AS bytea[])) f (field, sealed)
ON CONFLICT (tenant_id, customer_id, field) DO UPDATE SET sealed = excluded.sealed
""")
DROP_FIELDS = sa.text(
    "DELETE FROM customer_personal WHERE customer_id = :customer AND field = ANY(CAST(:fields AS text[]))"
)
DROP_DIGESTS = sa.text("""
DELETE FROM customer_digest
WHERE customer_id = :customer AND owner_id = :customer AND field = ANY(CAST(:fields AS text[]))
""")
PUT_DIGESTS = sa.text(f"""
WITH put AS (
    INSERT INTO customer_digest (tenant_id, kind, key_version, digest, customer_id, owner_id, field)
    SELECT {TENANT}, d.kind, d.key_version, d.digest, :customer, d.owner_id, d.field
    FROM unnest(CAST(:kinds AS smallint[]), CAST(:versions AS int[]), CAST(:digests AS bytea[]), CAST(:owners AS uuid[]),
        CAST(:fields AS text[])) d (kind, key_version, digest, owner_id, field)
    ON CONFLICT DO NOTHING
)
SELECT array_agg(version ORDER BY version) FROM tenant_key WHERE purpose = 2
""")
OWNERS_OF_EMAIL = sa.text(
    "SELECT DISTINCT customer_id FROM customer_digest WHERE kind = 1 AND digest = ANY(CAST(:digests AS bytea[]))"
)
_RENEWED = """EXISTS (
    SELECT FROM customer_digest n WHERE n.tenant_id = d.tenant_id AND n.customer_id = d.customer_id
        AND n.owner_id = d.owner_id AND n.field = d.field AND n.kind = d.kind AND n.key_version = :newest)"""
OLD_DIGESTS = sa.text(f"""
SELECT DISTINCT kind, customer_id, owner_id, field FROM customer_digest d
WHERE customer_id = ANY(CAST(:ids AS uuid[])) AND key_version < :newest AND NOT {_RENEWED}
""")
# Customers who come while it lasts are made with both keys: they are passed over, else it would run after them.
WITH_OLD_DIGESTS = sa.text(f"""
SELECT DISTINCT customer_id FROM customer_digest d
WHERE key_version < :newest AND (CAST(:after AS uuid) IS NULL OR customer_id > :after) AND NOT {_RENEWED}
ORDER BY customer_id LIMIT :limit
""")
NOT_RENEWED = sa.text(
    f"SELECT customer_id FROM customer_digest d WHERE key_version < :newest AND NOT {_RENEWED} LIMIT 1"
)
CLEAR_DIGESTS = sa.text("""
DELETE FROM customer_digest WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM customer_digest WHERE key_version < :newest LIMIT :limit))
""")
# After a merge: what found the source finds the target; addresses have moved, so their digests are the target's own.
MOVE_DIGESTS = sa.text(f"""
UPDATE customer_digest SET customer_id = :target,
    owner_id = CASE WHEN field LIKE '{ADDRESS}%' THEN :target ELSE owner_id END
WHERE customer_id = :source
""")
POINT = sa.text("""
UPDATE customer SET merged_into = :target, version = version + 1, updated_at = :now
WHERE merged_into = :source RETURNING id, version
""")
ERASE = [
    sa.text("DELETE FROM customer_digest WHERE customer_id = ANY(CAST(:ids AS uuid[]))"),
    sa.text("DELETE FROM customer_digest WHERE owner_id = ANY(CAST(:ids AS uuid[]))"),
    sa.text("DELETE FROM customer_key WHERE customer_id = ANY(CAST(:ids AS uuid[]))"),  # and with it all fields
]
LIST = sa.text("""
SELECT id FROM customer WHERE state = :state AND (CAST(:guest AS boolean) IS NULL OR guest = :guest)
    AND (CAST(:after AS uuid) IS NULL OR id > :after)
ORDER BY id LIMIT :limit
""")


class Digest(NamedTuple):
    """What finds a customer: kind (as customer_digest numbers them), keyed digest, and whose field it is of.

    version: of the key that it was made with.
    """

    kind: int
    version: int
    digest: bytes
    owner: uuid.UUID
    field: str


class OldDigest(NamedTuple):
    """A field that finds a customer by older keys alone."""

    kind: int
    customer: uuid.UUID
    owner: uuid.UUID
    field: str


class KeysChanged(Exception):
    """The tenant's keys of digests aren't those that were read any more: what was written must not stay."""


async def now(session: Session) -> dt.datetime:
    """The database's clock. Read it after the locks."""
    at: dt.datetime = (await session.execute(sa.select(sa.func.clock_timestamp()))).scalar_one()
    return at


async def load(session: Session, ids: Collection[uuid.UUID], *, addresses: bool) -> Sequence[sa.Row[Any]]:
    """Customers by id, with their keys and sealed fields. addresses: those too."""
    return (await session.execute(LOAD, {"ids": list(ids), "addresses": addresses})).all()


async def resolve(session: Session, customer_id: uuid.UUID) -> uuid.UUID | None:
    """The customer itself, or the one that took its place; None: there is none."""
    found: uuid.UUID | None = (await session.execute(RESOLVE, {"id": customer_id})).scalar_one_or_none()
    return found


async def stands_for(session: Session, customer_id: uuid.UUID) -> uuid.UUID:
    """Whose a fact is that names a customer: the one that took its place; itself for one that nobody made."""
    return await resolve(session, customer_id) or customer_id


async def members(session: Session, customer_id: uuid.UUID) -> list[uuid.UUID]:
    """A customer and all that were merged into it."""
    return list((await session.execute(MEMBERS, {"id": customer_id})).scalars())


async def family(session: Session, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the ids that there are, and all that were merged into one of them or that one of them was merged into."""
    return set((await session.execute(FAMILY, {"ids": list(ids)})).scalars())


async def lock(session: database.WriteSession, ids: Collection[uuid.UUID]) -> None:
    """Nobody else changes these customers, or what their keys are wrapped with, until the end. In the order of ids."""
    await session.execute(LOCK, {"ids": list(ids)})
    await session.execute(LOCK_KEYS, {"ids": list(ids)})


async def insert(session: database.WriteSession, customer: domain.Customer) -> None:
    """A new customer, without personal data."""
    await session.execute(INSERT, _columns(customer))


async def update(session: database.WriteSession, customer: domain.Customer) -> None:
    """The next version of a customer that is locked, without personal data."""
    await session.execute(UPDATE, _columns(customer))


def _columns(customer: domain.Customer) -> dict[str, Any]:
    names = ("id", "state", "merged_into", "guest", "locale", "created_at", "updated_at", "version")
    return {**{name: getattr(customer, name) for name in names}, "state": int(customer.state)}


class Key(NamedTuple):
    """A customer's key as it is kept. audit_wrapped: the audit log's, under this one."""

    customer: uuid.UUID
    version: int
    tenant_key_version: int
    wrapped: bytes
    audit_wrapped: bytes | None


async def put_key(session: database.WriteSession, key: Key) -> None:
    """Keeps a customer's key, in place of the one before."""
    await session.execute(PUT_KEY, key._asdict())


async def put_audit_key(session: database.WriteSession, customer: uuid.UUID, audit_wrapped: bytes) -> None:
    """Keeps the audit log's key of a customer that is locked and had none."""
    await session.execute(PUT_AUDIT_KEY, {"customer": customer, "audit_wrapped": audit_wrapped})


async def put_fields(session: database.WriteSession, customer: uuid.UUID, sealed: Mapping[str, bytes]) -> None:
    """Keeps sealed fields, in place of those before."""
    if sealed:
        given = {"customer": customer, "fields": list(sealed), "sealed": list(sealed.values())}
        await session.execute(PUT_FIELDS, given)


async def drop_fields(session: database.WriteSession, customer: uuid.UUID, fields: Collection[str]) -> None:
    """Forgets fields."""
    if fields:
        await session.execute(DROP_FIELDS, {"customer": customer, "fields": list(fields)})


async def put_digests(
    session: database.WriteSession,
    customer: uuid.UUID,
    fields: Collection[str],
    digests: Sequence[Digest],
    versions: Sequence[int],
) -> bool:
    """Keeps what finds the customer by these fields, in place of what did. False: the e-mail is another customer's.

    versions: of all keys of digests that were read. KeysChanged.
    """
    await session.execute(DROP_DIGESTS, {"customer": customer, "fields": list(fields)})
    await add_digests(session, customer, digests, versions)  # waits for a transaction that takes the same e-mail
    emails = [each.digest for each in digests if each.kind == 1]
    return not emails or await owners_of_email(session, emails) == [customer]


async def add_digests(
    session: database.WriteSession, customer: uuid.UUID, digests: Sequence[Digest], versions: Sequence[int]
) -> None:
    """Keeps what finds the customer, besides what does. versions: as for put_digests. KeysChanged."""
    if not digests:
        return
    kinds, made_with, values, owners, names = zip(*digests, strict=True)
    given = {
        "customer": customer, "kinds": list(kinds), "versions": list(made_with), "digests": list(values),
        "owners": list(owners), "fields": list(names),
    }  # fmt: skip
    if (await session.execute(PUT_DIGESTS, given)).scalar_one() != list(versions):
        raise KeysChanged


async def owners_of_email(session: Session, digests: Collection[bytes]) -> list[uuid.UUID]:
    """Whom an e-mail finds: one at most. digests: of the e-mail, by each key."""
    return list((await session.execute(OWNERS_OF_EMAIL, {"digests": list(digests)})).scalars())


async def old_digests(session: Session, ids: Collection[uuid.UUID], newest: int) -> list[OldDigest]:
    """What finds these customers by older keys, and not by the newest."""
    rows = await session.execute(OLD_DIGESTS, {"ids": list(ids), "newest": newest})
    return [OldDigest(*row) for row in rows]


async def with_old_digests(session: Session, newest: int, after: uuid.UUID | None, limit: int) -> list[uuid.UUID]:
    """Customers that older keys find by something that the newest doesn't, in order of their ids."""
    given = {"newest": newest, "after": after, "limit": limit}
    return list((await session.execute(WITH_OLD_DIGESTS, given)).scalars())


async def not_renewed(session: Session, newest: int) -> uuid.UUID | None:
    """A customer that an older key finds and the newest doesn't."""
    found: uuid.UUID | None = (await session.execute(NOT_RENEWED, {"newest": newest})).scalar_one_or_none()
    return found


async def clear_digests(session: database.WriteSession, newest: int, limit: int) -> int:
    """Deletes digests that were made with older keys: how many."""
    return (await session.execute(CLEAR_DIGESTS, {"newest": newest, "limit": limit})).rowcount


async def move(session: database.WriteSession, source: uuid.UUID, target: uuid.UUID) -> None:
    """What found one customer finds another."""
    await session.execute(MOVE_DIGESTS, {"source": source, "target": target})


async def point(
    session: database.WriteSession, source: uuid.UUID, target: uuid.UUID, at: dt.datetime
) -> list[tuple[uuid.UUID, int]]:
    """Those that were merged into source are merged into target now: ids and versions."""
    rows = await session.execute(POINT, {"source": source, "target": target, "now": at})
    return [(row.id, row.version) for row in rows]


async def erase(session: database.WriteSession, ids: Collection[uuid.UUID]) -> None:
    """Deletes keys, fields and digests of customers."""
    for statement in ERASE:
        await session.execute(statement, {"ids": list(ids)})


async def page(
    session: Session, state: domain.State, guest: bool | None, after: uuid.UUID | None, limit: int
) -> list[uuid.UUID]:
    """Ids of customers, in order."""
    given = {"state": int(state), "guest": guest, "after": after, "limit": limit}
    return list((await session.execute(LIST, given)).scalars())


async def search(
    session: Session, digests: Sequence[tuple[int, Collection[bytes]]], after: uuid.UUID | None, limit: int
) -> list[uuid.UUID]:
    """Ids of customers that all values find, in order. digests: kind of each, and its digests by all keys.

    The most telling comes first.
    """
    first = sa.text(
        """
        SELECT DISTINCT d.customer_id FROM customer_digest d
        WHERE d.kind = :kind0 AND d.digest = ANY(CAST(:digest0 AS bytea[])) AND (CAST(:after AS uuid) IS NULL OR d.customer_id > :after)
    """
        + "".join(
            f" AND EXISTS (SELECT FROM customer_digest e WHERE e.tenant_id = d.tenant_id AND e.kind = :kind{n}"
            f" AND e.digest = ANY(CAST(:digest{n} AS bytea[])) AND e.customer_id = d.customer_id)"
            for n in range(1, len(digests))
        )
        + " ORDER BY d.customer_id LIMIT :limit"
    )
    given: dict[str, Any] = {"after": after, "limit": limit}
    for n, (kind, values) in enumerate(digests):
        given |= {f"kind{n}": kind, f"digest{n}": list(values)}
    return list((await session.execute(first, given)).scalars())
