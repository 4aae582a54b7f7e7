"""The same write twice is one write: keys, fingerprints and stored answers, in the effect's own transaction.

Only successes are stored, and lines of a call that succeeds as a whole (`settle`, see batches.py). `run` serves use
cases; `look_up` and `remember` are queries for the trips of lanes. The table is partitioned by day, which a unique key
can't span, so a claim takes a row for each day within 5 minutes of now: two transactions that overlap share one of them
and meet there.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from services.kit import binary, database, errors, pipeline

M = TypeVar("M", bound=Message)

ONCE = "once:"
"""Begins a key that was made for a caller who gave none."""
DAYS = (
    "SELECT DISTINCT date_trunc('day', clock_timestamp() + o, 'UTC') FROM (VALUES (interval '-5 min'), ('5 min')) v (o)"
)
CLAIM = sa.text(f"""
INSERT INTO idempotency (tenant_id, principal, method, key, day, fingerprint)
SELECT :tenant, :principal, :method, :key, d.day, :fingerprint FROM ({DAYS}) d (day)
ON CONFLICT DO NOTHING
""")
FIND = sa.text("""
SELECT fingerprint, response FROM idempotency
WHERE tenant_id = :tenant AND principal = :principal AND method = :method AND key = :key
  AND day >= date_trunc('day', clock_timestamp(), 'UTC') - interval '3 days' AND response IS NOT NULL LIMIT 1
""")
COMPLETE = sa.text("""
UPDATE idempotency SET response = :response
WHERE tenant_id = :tenant AND principal = :principal AND method = :method AND key = :key
  AND day >= date_trunc('day', clock_timestamp(), 'UTC') - interval '1 day' AND response IS NULL
""")
# LATERAL with a LIMIT is a look-up by key for each, whatever statistics a generic plan was made without.
LOOK_UP = pipeline.Statement("""
SELECT k.n, i.fingerprint, i.response
FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY k (principal, method, key, n)
CROSS JOIN LATERAL (
    SELECT a.fingerprint, a.response FROM idempotency a
    WHERE a.tenant_id = $1 AND a.principal = k.principal AND a.method = k.method AND a.key = k.key
      AND a.day >= date_trunc('day', now(), 'UTC') - interval '3 days'
      AND a.day <= date_trunc('day', now(), 'UTC') + interval '1 day' AND a.response IS NOT NULL LIMIT 1
) i
""")
REMEMBER = pipeline.Named("""
INSERT INTO idempotency (tenant_id, principal, method, key, fingerprint, response, day)
SELECT %(tenant)s::uuid, u.*, d.day
FROM unnest(%(principals)s::text[], %(methods)s::text[], %(keys)s::text[], %(fingerprints)s::bytea[],
            %(responses)s::bytea[]) u, unnest(%(days)s::timestamptz[]) d (day)
""")

SETTLE = sa.text(f"""
INSERT INTO idempotency (tenant_id, principal, method, key, day, fingerprint, response)
SELECT :tenant, :principal, :method, u.key, d.day, u.fingerprint, u.response
FROM unnest(CAST(:keys AS text[]), CAST(:fingerprints AS bytea[]), CAST(:responses AS bytea[]))
    u (key, fingerprint, response), ({DAYS}) d (day)
ON CONFLICT DO NOTHING
""")
SETTLED = sa.text("""
SELECT key, fingerprint, response FROM idempotency
WHERE tenant_id = :tenant AND principal = :principal AND method = :method AND key = ANY(:keys)
  AND day >= date_trunc('day', clock_timestamp(), 'UTC') - interval '3 days' AND response IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class Key:
    """Scope of a write: (tenant, principal, method, key), and what was asked. tenant is uuid text."""

    tenant: str
    principal: str
    method: str
    key: str
    fingerprint: bytes

    def check(self, fingerprint: bytes) -> None:
        """Refuses a key that came with another request."""
        if fingerprint != self.fingerprint:
            raise errors.IdempotencyKeyReused


@dataclass(frozen=True, slots=True)
class Answer:
    """A success to be remembered."""

    key: Key
    response: bytes


def look_up(tenant: uuid.UUID, keys: Sequence[Key]) -> pipeline.Query:
    """What is remembered of keys: (position among them from 1, fingerprint, response)."""
    columns = ([k.principal for k in keys], [k.method for k in keys], [k.key for k in keys])
    return LOOK_UP, (tenant.bytes, *map(binary.texts, columns))


def remember(tenant: uuid.UUID, answers: Sequence[Answer], now: dt.datetime) -> pipeline.Query:
    """Remembers answers; a UniqueViolation when one of the keys was answered meanwhile. now: the database's."""
    return REMEMBER.bind(
        {
            "tenant": tenant,
            "principals": [a.key.principal for a in answers],
            "methods": [a.key.method for a in answers],
            "keys": [a.key.key for a in answers],
            "fingerprints": [a.key.fingerprint for a in answers],
            "responses": [a.response for a in answers],
            "days": _days(now),
        }
    )


def _days(now: dt.datetime) -> list[dt.datetime]:
    """The same days as DAYS."""
    moments = ((now + dt.timedelta(minutes=minutes)).astimezone(dt.UTC) for minutes in (-5, 5))
    return sorted({moment.replace(hour=0, minute=0, second=0, microsecond=0) for moment in moments})


class _Replayed(Exception):
    """Carries an earlier answer out of a transaction, which is rolled back."""


def fingerprint(request: Message) -> bytes:
    """16 bytes that differ when requests differ."""
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16).digest()


async def run(
    db: database.Database, key: Key, answer: type[M], effect: Callable[[database.WriteSession], Awaitable[M]]
) -> M:
    """Runs effect in one transaction, or returns what the same key was answered before.

    An empty key runs the effect without a memory. IDEMPOTENCY_KEY_REUSED when the key came with another request.
    """
    try:
        async with db.transaction(key.tenant) as session:
            if key.key:
                await _claim(session, key)
            response = await effect(session)
            if key.key:
                await session.execute(COMPLETE, {**_scope(key), "response": response.SerializeToString()})
            return response
    except _Replayed as replayed:
        return answer.FromString(replayed.args[0])


async def settle(db: database.Database, answers: Sequence[tuple[Key, M]]) -> list[M]:
    """Remembers the answers of several keys of one method, and returns what is remembered of each, in order.

    That is another answer for a key that was answered meanwhile, by another caller with the same request.
    """
    scope: dict[str, Any] = {**_scope(answers[0][0]), "keys": [key.key for key, _ in answers]}
    rows = {
        "fingerprints": [key.fingerprint for key, _ in answers],
        "responses": [answer.SerializeToString() for _, answer in answers],
    }
    async with db.transaction(scope["tenant"]) as session:
        await session.execute(SETTLE, {**scope, **rows})  # waits for the transactions of others
        found = {row.key: row for row in await session.execute(SETTLED, scope)}
    for key, _ in answers:
        key.check(found[key.key].fingerprint)
    return [type(answer).FromString(found[key.key].response) for key, answer in answers]


async def _claim(session: database.WriteSession, key: Key) -> None:
    await session.execute(CLAIM, {**_scope(key), "fingerprint": key.fingerprint})  # waits for another's claim
    earlier = (await session.execute(FIND, _scope(key))).one_or_none()
    if earlier is not None:
        key.check(earlier.fingerprint)
        raise _Replayed(earlier.response)


def _scope(key: Key) -> dict[str, str]:
    return {"tenant": key.tenant, "principal": key.principal, "method": key.method, "key": key.key}
