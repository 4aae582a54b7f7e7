"""What the catalogue's use cases share: a write is one transaction, remembered by its key, with its events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from services.kit import audit, database, events, idempotency, outbox

T = TypeVar("T")
M = TypeVar("M", bound=Message)
Ping = Callable[[str, str], None]
"""Called after a commit with (tenant TypeID, key of an event)."""
Effect = Callable[[database.WriteSession], Awaitable[tuple[T, Sequence[events.Event]]]]
"""What a write does: its result, and what it has to tell the others."""


UNNOTED = frozenset({"id", "version", "created_at", "updated_at"})  # they follow, or stand in the entry itself


@dataclass(frozen=True, slots=True)
class Write(Generic[T, M]):
    """A caller's write: whose, the key it is remembered by, and how its result is answered."""

    tenant_id: str
    key: idempotency.Key
    answer: type[M]
    render: Callable[[T], M]


async def note(
    session: database.WriteSession,
    key: idempotency.Key,
    action: str,
    resource: tuple[str, str],
    before: Any,
    after: Any,
    *,
    but: Collection[str] = (),
) -> None:
    """Notes a change in the audit log, in its transaction. resource: kind and id; before None: there was none."""
    kind, resource_id = resource
    changes = audit.changes(before, after, but={*UNNOTED, *but})
    entry = audit.Entry(action=action, resource=kind, resource_id=resource_id, changes=changes)
    await audit.append(session, audit.by(key), [entry])


class Writer:
    """Runs writes."""

    def __init__(self, db: database.Database, ping: Ping) -> None:
        self._db = db
        self._ping = ping

    async def run(self, write: Write[T, M], effect: Effect[T]) -> M:
        """Effect and events in one transaction; or what the same key was answered before."""
        told: list[events.Event] = []

        async def remembered(session: database.WriteSession) -> M:
            result, happened = await effect(session)
            await outbox.append(session, happened)
            told.extend(happened)
            return write.render(result)

        message = await idempotency.run(self._db, write.key, write.answer, remembered)
        for event in told:
            self._ping(write.tenant_id, event.key)
        return message
