"""The OAuth clients: who they are, what they may ask for, and whether a secret is theirs.

Kept in one JSON file that `edge.clients` changes and a running edge follows. The token protocol doesn't belong here.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import os
import secrets
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import structlog
import typeid
from typeid.errors import TypeIDException

from edge import files, roles, settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL_LOCATIONS = "*"

# 2^14, 8, 1: 16 MiB and about 50 ms. Enough, because secrets are 256 random bits and never chosen by a person; the
# memory bounds what a flood of wrong secrets can take (see oauth.SECRET_CHECKS_MAX).
SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**14, 8, 1
SCRYPT_MEMORY_BYTES_MAX = 64 * 2**20
VERIFIED_SECONDS = 60.0
VERIFIED_MAX = 1024

log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True)
class ClientRecord:
    """A client of one tenant. ``locations`` are ids or ``*``; ``secret_hash`` names its own scrypt parameters."""

    client_id: str
    tenant_id: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    locations: tuple[str, ...]
    secret_hash: str
    name: str = ""
    terminal_id: str = ""
    customer_id: str = ""

    def allows_location(self, location_id: str) -> bool:
        """Whether a token of this client may cover the location."""
        return ALL_LOCATIONS in self.locations or location_id in self.locations


def is_id(text: str, prefix: str) -> bool:
    """Whether the text is a TypeID of this prefix."""
    try:
        return bool(typeid.TypeID.from_string(text).prefix == prefix)
    except TypeIDException:
        return False


def new_id(prefix: str) -> str:
    """A new TypeID (UUIDv7)."""
    return str(typeid.TypeID(prefix=prefix))


def new_secret() -> str:
    """256 random bits, without characters that need escaping in HTTP Basic or a form."""
    return secrets.token_urlsafe(32)


def _scrypt(secret: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=n, r=r, p=p, maxmem=SCRYPT_MEMORY_BYTES_MAX, dklen=32)


def hash_secret(secret: str) -> str:
    """``scrypt$n$r$p$salt$hash`` with a salt of its own; salt and hash in base64."""
    salt = os.urandom(16)
    digest = _scrypt(secret, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    encoded = [base64.b64encode(part).decode() for part in (salt, digest)]
    return "$".join(["scrypt", str(SCRYPT_N), str(SCRYPT_R), str(SCRYPT_P), *encoded])


def secret_matches(secret: str, secret_hash: str) -> bool:
    """Compare in constant time. Raises ValueError when the hash isn't one of ours."""
    kind, n, r, p, salt, digest = secret_hash.split("$")
    if kind != "scrypt":
        raise ValueError(f"unknown hash {kind}")
    actual = _scrypt(secret, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(actual, base64.b64decode(digest))


def read(path: Path) -> dict[str, ClientRecord]:
    """The clients in the file by id. Raises ConfigurationError when it can't be understood."""
    try:
        return {client_id: _record(client_id, entry) for client_id, entry in files.read_json(path, missing={}).items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise settings.ConfigurationError(f"The OAuth clients in {path} can't be read: {error!r}.") from error


def _record(client_id: str, entry: dict[str, Any]) -> ClientRecord:
    if entry["secret_hash"].count("$") != 5:
        raise ValueError(f"{client_id} has no usable secret_hash")
    return ClientRecord(
        client_id=client_id,
        tenant_id=entry["tenant_id"],
        roles=tuple(entry["roles"]),
        scopes=roles.ordered(entry["scopes"]),
        locations=tuple(entry["locations"]),
        secret_hash=entry["secret_hash"],
        name=entry.get("name", ""),
        terminal_id=entry.get("terminal_id", ""),
        customer_id=entry.get("customer_id", ""),
    )


def write(path: Path, clients: dict[str, ClientRecord]) -> None:
    """Replace the file. The caller holds the folder's lock (`files.locked`)."""
    entries = {client_id: dataclasses.asdict(record) for client_id, record in clients.items()}
    for entry in entries.values():
        del entry["client_id"]
    files.write_json(path, entries, files.SECRET)


class ClientRegistry:
    """The clients of a running edge. Safe to use from several threads."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp = files.stamp(path)
        self._clients = read(path)
        self._process_key = os.urandom(32)
        self._verified: OrderedDict[bytes, float] = OrderedDict()
        self._nobody = hash_secret(new_secret())

    def get(self, client_id: str) -> ClientRecord | None:
        """The client as the file has it now; while the file is broken, as it was before."""
        with self._lock:
            current = files.stamp(self._path)
            if current != self._stamp:
                self._reload(current)
            return self._clients.get(client_id)

    def _reload(self, current: tuple[int, int, int] | None) -> None:
        self._stamp = current
        try:
            self._clients = read(self._path)
        except settings.ConfigurationError as error:
            log.warning("clients.unreadable", error=str(error))
            return
        log.info("clients.loaded", count=len(self._clients))

    def verify(self, client_id: str, secret: str) -> ClientRecord | None:
        """The client when the secret is its own, else None: an unknown client costs as much as a wrong secret.

        A secret found right is remembered for ``VERIFIED_SECONDS`` (as a keyed digest), so that a client that asks
        often doesn't cost a scrypt each time. A new secret or a removed client takes effect at once.
        """
        client = self.get(client_id)
        secret_hash = client.secret_hash if client else self._nobody
        # NUL can't occur in the first two parts, so different triples never make the same text.
        text = "\0".join((client_id.replace("\0", ""), secret_hash, secret)).encode("utf-8", "surrogatepass")
        digest = hmac.digest(self._process_key, text, "sha256")
        if client is not None and self._is_verified(digest):
            return client
        if not secret_matches(secret, secret_hash) or client is None:
            return None
        self._remember(digest)
        return client

    def _is_verified(self, digest: bytes) -> bool:
        with self._lock:
            return self._verified.get(digest, 0.0) > self._clock()

    def _remember(self, digest: bytes) -> None:
        with self._lock:
            self._verified[digest] = self._clock() + VERIFIED_SECONDS
            self._verified.move_to_end(digest)
            while len(self._verified) > VERIFIED_MAX:
                self._verified.popitem(last=False)
