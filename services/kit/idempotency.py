"""The same write twice is one write: keys, fingerprints and stored answers, in the effect's own transaction.

Only successes are stored, and lines of a call that succeeds as a whole (`settle`, see batches.py). `run` serves use
cases; lanes read and write the same table in their own statements. It is
partitioned by day, which a unique key can't span, so a claim takes a row for each day within 5 minutes of now: two
transactions that overlap share one of them and meet there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from google.protobuf.message import Message

from services.kit import database, errors

M = TypeVar("M", bound=Message)

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
