"""Seals as values: what a digest is over, and what authenticates it. Pure."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import hmac
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.kit import events, key_file
from services.kit.audit import entries

GENESIS: Final = bytes(32)
MISSING: Final = bytes(32)
"""Stands for the hash of an entry that was gone before it was sealed."""


@dataclass(frozen=True, slots=True)
class Seal:
    """A link of a tenant's chain: entries in the order that they were found in, with the hash of each.

    first_at, last_at: bounds of when they were recorded, in one month. digest: over all of it and the digest before;
    mac: HMAC-SHA-256 of the digest under the key with this id.
    """

    tenant_id: uuid.UUID
    seq: int
    sealed_at: dt.datetime
    first_at: dt.datetime
    last_at: dt.datetime
    entries: Sequence[uuid.UUID]
    hashes: Sequence[bytes]
    digest: bytes
    key_id: str
    mac: bytes


def digest(service: str, previous: bytes, of: Seal) -> bytes:
    """What the seal's digest has to be."""
    head = entries.canonical(
        ["audit seal", service, *map(entries.plain, (of.tenant_id, of.seq, of.sealed_at, of.first_at, of.last_at))]
    )
    named = hashlib.sha256(head.encode()).digest()
    listed = b"".join(each.bytes for each in of.entries)
    return hashlib.sha256(named + previous + listed + b"".join(of.hashes)).digest()


def made(service: str, previous: bytes, draft: Seal, key: key_file.Key) -> Seal:
    """The draft, chained and authenticated. previous: the digest of the seal before."""
    over = digest(service, previous, draft)
    return dataclasses.replace(draft, digest=over, key_id=key.id, mac=mac(key, over))


def mac(key: key_file.Key, over: bytes) -> bytes:
    """What authenticates a digest."""
    return hmac.digest(key.key, over, "sha256")


def is_authentic(keys: Mapping[str, key_file.Key], key_id: str, over: bytes, claimed: bytes) -> bool:
    """Whether one of the keys made it."""
    key = keys.get(key_id)
    return key is not None and hmac.compare_digest(mac(key, over), claimed)


def anchor(of: Seal) -> dict[str, Any]:
    """What is said of a seal outside of the database."""
    return {
        "tenant": events.tenant_text(of.tenant_id),
        "seal": of.seq,
        "digest": of.digest.hex(),
        "key": of.key_id,
        "mac": of.mac.hex(),
    }


def set_back(service: str, tenant: str, seq: int, head: str) -> bytes:
    """What is authenticated when a person says that a restore set a chain back to a seal. head: its digest in hex."""
    return hashlib.sha256(entries.canonical(["audit set back", service, tenant, seq, head]).encode()).digest()
