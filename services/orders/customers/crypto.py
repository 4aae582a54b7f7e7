"""AES-256-GCM and HMAC-SHA-256 for personal data: what is sealed with which key, and bound to what. No database.

Keys form a chain: a root key (a file) wraps the keys of tenants, a tenant's key wraps those of its customers, a
customer's key seals the fields. All of it is AES-256-GCM under a random nonce of 96 bits. What a ciphertext is of
(tenant, customer, field, version of the key) is authenticated with it: one that was moved elsewhere doesn't open.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import uuid
from dataclasses import dataclass

import cryptography.exceptions
from cryptography.hazmat.primitives.ciphers import aead

KEY_BYTES = 32
NONCE_BYTES = 12


class Unreadable(Exception):
    """A ciphertext was altered, moved, or belongs to another key. Says nothing of what it holds."""


def new_key() -> bytes:
    """256 random bits."""
    return os.urandom(KEY_BYTES)


def bound(*parts: str | int | uuid.UUID) -> bytes:
    """What a ciphertext is bound to, each part with its length: no two lists of parts give the same bytes."""
    texts = [str(part).encode() for part in parts]
    return b"".join(len(text).to_bytes(4, "big") + text for text in texts)


def seal(key: bytes, plain: bytes, to: bytes) -> bytes:
    """Nonce and ciphertext."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + aead.AESGCM(key).encrypt(nonce, plain, to)


def unseal(key: bytes, sealed: bytes, to: bytes) -> bytes:
    """What was sealed. Unreadable."""
    try:
        return aead.AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], to)
    except (cryptography.exceptions.InvalidTag, ValueError):
        raise Unreadable("personal data can't be opened") from None


def digest(key: bytes, kind: str, value: str) -> bytes:
    """A blind index of a value: equal for equal values of a kind under a key, and says nothing without the key."""
    return hmac.digest(key, bound(kind, value), hashlib.sha256)


@dataclass(frozen=True, slots=True)
class Vault:
    """A customer's own key, and what it seals: texts, by field."""

    tenant: str
    customer: uuid.UUID
    version: int
    key: bytes

    def seal(self, field: str, text: str) -> bytes:
        """A text as it is kept."""
        return seal(self.key, text.encode(), self._of(field))

    def unseal(self, field: str, sealed: bytes) -> str:
        """The text. Unreadable."""
        return unseal(self.key, sealed, self._of(field)).decode()

    def _of(self, field: str) -> bytes:
        return bound("personal", self.tenant, self.customer, field, self.version)

    # --- what the audit log says of the customer ---

    def wrap(self, audit: AuditVault) -> bytes:
        """The audit log's key under this one."""
        return seal(self.key, audit.key, bound("audit key", self.tenant, self.customer))

    def unwrap(self, wrapped: bytes) -> AuditVault:
        """The audit log's key. Unreadable."""
        key = unseal(self.key, wrapped, bound("audit key", self.tenant, self.customer))
        return AuditVault(self.tenant, self.customer, key)

    def __repr__(self) -> str:
        return f"Vault({self.customer}, version {self.version})"


@dataclass(frozen=True, slots=True)
class AuditVault:
    """The key that the audit log's values of a customer are sealed with: the same for good, as entries are.

    It is wrapped with the customer's own key: that key's rotation wraps it anew, its deletion is the end of both.
    """

    tenant: str
    customer: uuid.UUID
    key: bytes

    def seal(self, of: str, text: str) -> bytes:
        """A text as it is kept. of: which value of which entry."""
        return seal(self.key, text.encode(), self._of(of))

    def unseal(self, of: str, sealed: bytes) -> str:
        """The text. Unreadable."""
        return unseal(self.key, sealed, self._of(of)).decode()

    def _of(self, of: str) -> bytes:
        return bound("audited", self.tenant, self.customer, of)

    def __repr__(self) -> str:
        return f"AuditVault({self.customer})"
