"""What requests about documents have in common: who asks, ids, moments, masks, pages. Pure functions."""

from __future__ import annotations

import datetime as dt
import functools
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message

from services.inventory.domain import commands
from services.inventory.handlers import catalog as handlers
from services.inventory.mapping import catalog_requests as common
from services.kit import clock, errors, idempotency, ids, paging, principal, validation
from tillmesh.inventory.v1 import replenishment_pb2

T = TypeVar("T")
M = TypeVar("M", bound=Message)
_decode = functools.lru_cache(maxsize=65536)(ids.decode)


def write(service: str, method: str, request: Any, answer: type[M], render: Callable[[T], M]) -> handlers.Write[T, M]:
    """A write of the current caller; service is the full name, method the rpc's."""
    caller = principal.current()
    fingerprint = idempotency.fingerprint(request)
    key = idempotency.Key(common.tenant(caller), caller.subject, f"{service}/{method}", request.request_id, fingerprint)
    return handlers.Write(caller.tenant_id, key, answer, render)


def actor() -> str:
    """Who is named in documents and ledgers."""
    caller = principal.current()
    return caller.actor or caller.subject


def origin() -> commands.Origin:
    """Who asks, and at which terminal."""
    return commands.Origin(actor(), principal.current().terminal_id)


def resource_id(prefix: str, resource: str, typeid: str) -> uuid.UUID:
    """NOT_FOUND when it can't be one."""
    try:
        return _decode(prefix, typeid)
    except ValueError:
        raise errors.NotFound(resource) from None


def moment(message: Any, field: str) -> dt.datetime | None:
    """None when it isn't said."""
    return getattr(message, field).ToDatetime(tzinfo=dt.UTC) if message.HasField(field) else None


def masked(request: Any, field: str, draft: Any) -> Mapping[str, Any]:
    """New values of the fields that the request's update_mask names, checked by the contract's rules."""
    paths = list(request.update_mask.paths)
    if not paths or any("." in path for path in paths):
        raise validation.invalid("update_mask", "names one or more whole fields")
    validation.check_masked(getattr(request, field), paths, field)
    return {path: getattr(draft, path) for path in paths}


def covered() -> Collection[uuid.UUID] | None:
    """The locations of the caller's token; None: all."""
    caller = principal.current()
    return None if caller.all_locations else [common.location_id(each) for each in caller.locations]


def after(request: Any, kind: type[T]) -> T | None:
    """The key of the last row of the page before."""
    start = paging.start(principal.current().tenant_id, request, [kind])
    return None if start is None else start[0]  # type: ignore[return-value]  # paging has looked at its type


def after_id(request: Any) -> uuid.UUID | None:
    """The same where the key is an id."""
    text = after(request, str)
    try:
        return None if text is None else uuid.UUID(text)
    except ValueError:
        raise errors.InvalidPageToken from None


# --- messages ---


def timestamp(at: dt.datetime | None) -> timestamp_pb2.Timestamp | None:
    """None stays unset."""
    return None if at is None else clock.timestamp(at)


def effect(settled: bool) -> replenishment_pb2.DocumentEffect.ValueType:
    """Whether steps of a document are in the stock."""
    return replenishment_pb2.DOCUMENT_EFFECT_APPLIED if settled else replenishment_pb2.DOCUMENT_EFFECT_PENDING
