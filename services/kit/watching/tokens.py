"""Resume tokens: opaque, 40 characters of base64url, valid for one tenant, key and filter. They grant nothing.

Layout, version 1: version, kind, epoch, seq, scope (a hash of tenant, key and filter), check (a hash of all that).
Layout, version 2, of several keys: version, scope, then kind, epoch and seq of each key in order of their texts, check.
23 bytes of base64url a key and 18 for the whole: about 1,150 characters for 50 keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from services.kit import errors
from services.kit.watching.ports import Names, Position

VERSION: Final = 1
_AT, _RESTART = 0, 1
_LAYOUT: Final = struct.Struct(">BBQQ8s")
_CHECK_BYTES: Final = 4
SEVERAL: Final = 2
_HEAD: Final = struct.Struct(">B8s")
_PART: Final = struct.Struct(">BQQ")
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


def several_scope(tenant: str, keys: Sequence[str], names: Names) -> bytes:
    """8 bytes that differ when tenant, keys (sorted) or filter differ, and from those of one key."""
    return scope(tenant, "\0".join(("several", *keys)), names)


def several(reached: Iterable[Position | None], of: bytes) -> str:
    """A token that goes on after a position of each key, in their order; None: begin with a snapshot."""
    parts = [_PART.pack(_RESTART, 0, 0) if at is None else _PART.pack(_AT, *at) for at in reached]
    return _seal(_HEAD.pack(SEVERAL, of) + b"".join(parts))


def _encode(kind: int, position: Position, of: bytes) -> str:
    return _seal(_LAYOUT.pack(VERSION, kind, position.epoch, position.seq, of))


def _seal(body: bytes) -> str:
    return base64.urlsafe_b64encode(body + _check(body)).decode()


def _check(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECK_BYTES, person=b"watch-check").digest()


def decode(text: str, of: bytes) -> Token:
    """What the token says. InvalidRequest when it is none; ResyncRequired when it is damaged or of another stream."""
    body = _open(text, _LAYOUT.size)
    version, kind, epoch, seq, found = _LAYOUT.unpack(body)
    if version != VERSION or found != of:
        raise errors.ResyncRequired
    return _token(kind, epoch, seq)


def decode_several(text: str, of: bytes, count: int) -> list[Token]:
    """What the token says of each of its keys. InvalidRequest and ResyncRequired as above."""
    body = _open(text, _HEAD.size + count * _PART.size)
    version, found = _HEAD.unpack_from(body)
    if version != SEVERAL or found != of:
        raise errors.ResyncRequired
    return [_token(*part) for part in _PART.iter_unpack(body[_HEAD.size :])]


def _open(text: str, size: int) -> bytes:
    try:
        raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raw = b""
    body, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    if len(body) != size:
        violation = errors.FieldViolation("resume_token", "is not a token of this service")
        raise errors.InvalidRequest("resume_token is not a token", violations=[violation])
    if check != _check(body):
        raise errors.ResyncRequired
    return body


def _token(kind: int, epoch: int, seq: int) -> Token:
    if kind not in (_AT, _RESTART) or max(epoch, seq) > _SEQ_MAX:
        raise errors.ResyncRequired
    return Token(Position(epoch, seq), kind == _RESTART)
