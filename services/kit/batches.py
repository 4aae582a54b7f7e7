"""Calls of many lines: each is judged, applied and remembered by itself, under a key that follows from the call's.

What the contract says of the lines is judged before, by `validation.each`. What becomes of a line is remembered once it
is settled, refusals too: what a caller was told of a line holds for every repeat of the call. A failure that passes is
not settled, and a repeat tries that line again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from google.protobuf import empty_pb2
from google.protobuf.message import Message

from services.kit import database, errors, idempotency, status

LINES_AT_ONCE: Final = 256  # of one call: two batches of a lane, so that others get in between


class Line(Protocol):
    """A line that keeps the rules."""

    @property
    def fingerprint(self) -> bytes:
        """Differs when lines differ (idempotency.fingerprint)."""


L = TypeVar("L", bound=Line)
M = TypeVar("M", bound=Message)


async def run(
    db: database.Database,
    key: idempotency.Key,
    lines: Sequence[L | errors.Error],
    apply: Callable[[L, idempotency.Key], Awaitable[M]],
    refused: Callable[[errors.Error], M],
) -> list[M]:
    """What becomes of each line, in order. IDEMPOTENCY_KEY_REUSED, before any of them, for a key of another request.

    apply: does a line and remembers its answer under the key it is given, in one transaction. refused: the answer of a
    line that is wrong, or that apply refuses; of the same type.
    """
    if key.key:
        await idempotency.run(db, key, empty_pb2.Empty, _claimed)
    keys = _line_keys(key, lines)
    limit = asyncio.Semaphore(LINES_AT_ONCE)

    async def outcome(line: L | errors.Error, line_key: idempotency.Key) -> M | errors.Error:
        if isinstance(line, errors.Error):
            return line
        async with limit:
            try:
                return await apply(line, line_key)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is this line's
                return status.from_exception(error, method=key.method)

    outcomes = await asyncio.gather(*map(outcome, lines, keys))
    answers = [refused(each) if isinstance(each, errors.Error) else each for each in outcomes]
    settled = [n for n, each in enumerate(outcomes) if isinstance(each, errors.Error) and not each.passes]
    if key.key and settled:
        final = await idempotency.settle(db, [(keys[n], answers[n]) for n in settled])
        for n, answer in zip(settled, final, strict=True):
            answers[n] = answer
    return answers


async def _claimed(_session: database.WriteSession) -> empty_pb2.Empty:
    return empty_pb2.Empty()


def _line_keys(key: idempotency.Key, lines: Sequence[Line | errors.Error]) -> list[idempotency.Key]:
    """A key for each line. Without a key of the call they are made, since a lane looks up what COMMIT didn't answer."""
    prefix, method = key.key or f"{idempotency.ONCE}{uuid.uuid4().hex}", f"{key.method}/line"
    fingerprints = [b"" if isinstance(line, errors.Error) else line.fingerprint for line in lines]
    return [
        dataclasses.replace(key, method=method, key=f"{prefix}:{n}", fingerprint=fingerprint)
        for n, fingerprint in enumerate(fingerprints)
    ]
