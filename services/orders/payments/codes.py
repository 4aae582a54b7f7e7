"""Codes of gift cards: 16 characters of Crockford's base32, 80 random bits. Only digests of them are kept."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH: Final = 16
GROUP: Final = 4
# What people type for what they read, and what they put between groups.
_READ_AS: Final = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


def new() -> str:
    """A new code, without hyphens."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def printed(code: str) -> str:
    """A code as people read it."""
    return "-".join(code[at : at + GROUP] for at in range(0, LENGTH, GROUP))


def typed(text: str) -> str | None:
    """The code that somebody typed; None for what can't be one."""
    code = text.upper().translate(_READ_AS)
    return code if len(code) == LENGTH and all(each in ALPHABET for each in code) else None


def digest(tenant: str, code: str) -> bytes:
    """What is kept of a code, 32 bytes. A fast hash is enough: nobody tries 2^80 codes."""
    return hashlib.blake2b(code.encode(), key=uuid.UUID(tenant).bytes, digest_size=32).digest()
