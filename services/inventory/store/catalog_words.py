"""SQL of the words that slips of typing are corrected to (domain/catalog_spelling.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from services.inventory.domain import catalog_spelling as spelling
from services.inventory.store import catalog as common
from services.kit import database

#: The nearest are among fewer; a query that has more candidates than this is answered with some.
CANDIDATES_MAX = 1000
UNKNOWN = sa.text("""
SELECT w.word FROM unnest(CAST(:words AS text[])) w (word)
WHERE NOT EXISTS (SELECT FROM known_word k WHERE k.word = w.word)
""")
# In order of the words, after everything else in the transaction: two writes that bring the same new words wait for each
# other but never in a circle.
INSERT = sa.text("""
INSERT INTO known_word (tenant_id, word, digests)
SELECT current_setting('app.tenant_id')::uuid, r.* FROM json_to_recordset(CAST(:rows AS json)) AS r (word text, digests bigint[])
ORDER BY r.word ON CONFLICT DO NOTHING
""")
NEAR = sa.text("SELECT word FROM known_words(CAST(:asked AS bigint[]), :rows) AS found (word)")


async def learn(session: database.WriteSession, tenant: str, words: Iterable[str]) -> None:
    """Makes words known that aren't yet. The last statement of a write that brings words, but for its events.

    Few words of an import are new, so few are digested.
    """
    worth = sorted({word for word in words if spelling.slips_forgiven(word)})
    new = (await session.execute(UNKNOWN, {"words": worth})).scalars().all() if worth else []
    if new:
        records = [{"word": word, "digests": spelling.digests(tenant, word)} for word in new]
        await session.execute(INSERT, {"rows": common.rows(records)})


async def near(session: common.Session, asked: Sequence[int]) -> list[str]:
    """Known words that have one of the digests."""
    return list((await session.execute(NEAR, {"asked": list(asked), "rows": CANDIDATES_MAX})).scalars())
