"""Page tokens of list rpcs: opaque, and valid only for the query that gave them. They grant nothing."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from google.protobuf.message import Message

from services.kit import errors

PAGE_SIZE_DEFAULT = 50
_HASH_LENGTH = 8

Key = Sequence[str | int | None]


def page_size(requested: int, default: int = PAGE_SIZE_DEFAULT) -> int:
    """How many rows to answer; the contract bounds what may be requested."""
    return requested or default


def _query_hash(tenant: str, request: Message) -> bytes:
    query = type(request)()
    query.CopyFrom(request)
    for field in ("page_token", "page_size"):
        query.ClearField(field)  # the same query may be paged in other sizes
    named = f"{tenant}\0{request.DESCRIPTOR.full_name}\0".encode() + query.SerializeToString(deterministic=True)
    return hashlib.blake2b(named, digest_size=_HASH_LENGTH).digest()


def next_token(tenant: str, request: Message, last: Key) -> str:
    """A token that continues right after the row with the key `last`."""
    payload = _query_hash(tenant, request) + json.dumps(list(last), separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(payload).rstrip(b"=").decode()


def start(tenant: str, request: Message, kinds: Sequence[type]) -> list[str | int | None] | None:
    """Key of the last row of the page before, or None for the first page. kinds are the types of its parts.

    INVALID_PAGE_TOKEN when the token is damaged or belongs to another query.
    """
    token: str = request.page_token  # type: ignore[attr-defined]  # every list request has it
    if not token:
        return None
    try:
        payload = base64.b64decode(token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        key = json.loads(payload[_HASH_LENGTH:])
    except (binascii.Error, ValueError):
        raise errors.InvalidPageToken from None
    if payload[:_HASH_LENGTH] != _query_hash(tenant, request) or not isinstance(key, list) or len(key) != len(kinds):
        raise errors.InvalidPageToken
    if not all(
        part is None or (isinstance(part, kind) and not isinstance(part, bool))
        for part, kind in zip(key, kinds, strict=True)
    ):
        raise errors.InvalidPageToken
    return key
