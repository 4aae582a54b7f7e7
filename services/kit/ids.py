"""Ids: TypeID text at the surface (`ord_` + base32 of a UUIDv7), uuid in SQL."""

from __future__ import annotations

import uuid

import typeid
import uuid_utils
from typeid.codecs import base32
from typeid.core import errors as typeid_errors

from services.kit import errors


def new_uuid() -> uuid.UUID:
    """A UUIDv7: ids made later sort later, which keeps indexes append-only."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def encode(prefix: str, value: uuid.UUID) -> str:
    """TypeID text of a UUID."""
    return f"{prefix}_{base32.encode(value.bytes)}"


def decode(prefix: str, text: str) -> uuid.UUID:
    """UUID of a TypeID text. ValueError when it isn't one with this prefix."""
    try:
        parsed = typeid.TypeID.from_string(text)
    except typeid_errors.TypeIDException as error:
        raise ValueError(f"not an id of the kind {prefix}_") from error
    if parsed.prefix != prefix:
        raise ValueError(f"not an id of the kind {prefix}_")
    return uuid.UUID(int=parsed.uuid.int)


def given(prefix: str, resource: str, text: str) -> uuid.UUID:
    """UUID of a TypeID text that a caller gave. NotFound for one that can't be an id: it answers as if it never was."""
    try:
        return decode(prefix, text)
    except ValueError:
        raise errors.NotFound(resource) from None


def new(prefix: str) -> str:
    """A new TypeID text."""
    return encode(prefix, new_uuid())
