"""Entries as values: what is said of a change, and the bytes of an entry that its hash is over. Pure, but for `by`."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import hashlib
import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.kit import idempotency, ids, telemetry
from services.kit import principal as principals

PREFIX: Final = "aud"
CHANGES_BYTES_MAX: Final = 64_000  # before and after of one resource; more is a list, which has its own rows
SEALED: Final = "sealed"  # {"sealed": "<base64>"} stands for a value that only a key of its own opens


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who, how and in answer to what. actor: a subject, or a service's name; service: which calls on their behalf."""

    actor: str
    method: str
    service: str = ""
    request_id: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A field's value before and after, as JSON has it; None: there was, or is, none."""

    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A change of one resource, or a look at it. action: a past participle, e.g. `updated`; resource: its kind."""

    action: str
    resource: str
    resource_id: str
    changes: Mapping[str, Change] = dataclasses.field(default_factory=dict)
    id: uuid.UUID = dataclasses.field(default_factory=ids.new_uuid)

    def text(self) -> str:
        """The changes as they are kept. ValueError when they are too many."""
        kept = canonical({name: {"before": of.before, "after": of.after} for name, of in self.changes.items()})
        if len(kept.encode()) > CHANGES_BYTES_MAX:
            raise ValueError(f"changes of {len(kept)} characters don't fit in an entry of the audit log")
        return kept


ITSELF: Final = Source(actor="svc", method="")
"""The service, by itself. Who asked for what it goes on with stands in the entry of that."""


def caller(method: str = "", request_id: str = "") -> Source:
    """Who calls the rpc that is being handled. method: where telemetry knows of none. LookupError elsewhere."""
    return of(principals.current(), method, request_id)


def of(who: principals.Principal, method: str, request_id: str) -> Source:
    """The same for a caller who is known."""
    return Source(
        actor=who.actor or who.subject,
        service=who.service,
        method=telemetry.current_method() or method,
        request_id=request_id,
        traceparent=telemetry.traceparent(),
    )


def by(key: idempotency.Key) -> Source:
    """The caller of the rpc that is being handled, whose write has this key; elsewhere whoever has the key."""
    request_id = "" if key.key.startswith(idempotency.ONCE) else key.key
    try:
        return caller(key.method, request_id)
    except LookupError:
        return Source(actor=key.principal, method=key.method, request_id=request_id)


def changes(before: Any, after: Any, *, but: Collection[str] = ()) -> dict[str, Change]:
    """The fields that differ. before, after: mappings or dataclasses; None: there is none. but: fields left out."""
    old, new = _fields(before), _fields(after)
    names = [name for name in {**old, **new} if name not in but]
    return {name: Change(old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def created(after: Any, *, but: Collection[str] = ()) -> dict[str, Change]:
    """All that is known of something new."""
    return changes(None, after, but=but)


def _fields(of: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = {} if of is None else plain(of)
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it: ids and times as text, enums by name, dataclasses as objects. TypeError for a float."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, enum.Enum):  # before int: IntEnum is both
        return value.name
    if isinstance(value, int):
        return value
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat()
    if isinstance(value, uuid.UUID | dt.date | dt.time | decimal.Decimal):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(each) for each in value)
    raise TypeError(f"a {type(value).__name__} has no canonical form")


def canonical(value: Any) -> str:
    """JSON with sorted names and nothing between (RFC 8785 without floats): equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


Values = Mapping[str, Mapping[str, Any]]
"""Changes of an entry as they are kept: {field: {"before": …, "after": …}}."""


def sealed(text: str) -> dict[str, str]:
    """Stands for a value that only a key of its own opens. text: base64."""
    return {SEALED: text}


def is_sealed(value: Any) -> bool:
    """Whether a value is such a one."""
    return isinstance(value, dict) and value.keys() == {SEALED}


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as it is kept. changes: canonical text."""

    tenant_id: uuid.UUID
    id: uuid.UUID
    recorded_at: dt.datetime
    actor: str
    service: str
    method: str
    action: str
    resource: str
    resource_id: str
    request_id: str
    traceparent: str
    changes: str

    def hash(self) -> bytes:
        """SHA-256 over all of it."""
        values = dataclasses.astuple(self)
        return hashlib.sha256(canonical([plain(value) for value in values]).encode()).digest()


COLUMNS: Final = ", ".join(field.name for field in dataclasses.fields(Row))
