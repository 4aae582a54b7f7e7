"""Resume tokens: opaque, 40 characters of base64url, valid for one tenant, key and filter. They grant nothing.

Layout, version 1: version, kind, epoch, seq, scope (a hash of tenant, key and filter), check (a hash of all that).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import Final, NamedTuple

from services.kit import errors
from services.kit.watching.ports import Names, Position

VERSION: Final = 1
_AT, _RESTART = 0, 1
_LAYOUT: Final = struct.Struct(">BBQQ8s")
_CHECK_BYTES: Final = 4
_SEQ_MAX: Final = 2**63 - 1


class Token(NamedTuple):
    """What a token says. restart: a snapshot was not complete, and begins again."""

    position: Position
    restart: bool


def scope(tenant: str, key: str, names: Names) -> bytes:
    """8 bytes that differ when tenant, key or filter differ. names: folded."""
    text = "\0".join((tenant, key, *(["*"] if names is None else sorted(names))))
    return hashlib.blake2b(text.encode(), digest_size=8, person=b"watch-scope").digest()


def at(position: Position, of: bytes) -> str:
    """A token that goes on after the position."""
    return _encode(_AT, position, of)


def restart(of: bytes) -> str:
    """A token that begins with a snapshot."""
    return _encode(_RESTART, Position(0, 0), of)


def _encode(kind: int, position: Position, of: bytes) -> str:
    body = _LAYOUT.pack(VERSION, kind, position.epoch, position.seq, of)
    return base64.urlsafe_b64encode(body + _check(body)).decode()


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES, person=b"watch-check").digest()


def decode(text: str, of: bytes) -> Token:
    """What the token says. InvalidRequest when it is none; ResyncRequired when it is damaged or of another stream."""
    try:
        raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != _LAYOUT.size + _CHECK_BYTES:
        violation = errors.FieldViolation("resume_token", "is not a token of this service")
        raise errors.InvalidRequest("resume_token is not a token", violations=[violation])
    body, check = raw[: _LAYOUT.size], raw[_LAYOUT.size :]
    version, kind, epoch, seq, found = _LAYOUT.unpack(body)
    whole = check == _check(body) and version == VERSION and kind in (_AT, _RESTART) and max(epoch, seq) <= _SEQ_MAX
    if not whole or found != of:
        raise errors.ResyncRequired
    return Token(Position(epoch, seq), kind == _RESTART)
