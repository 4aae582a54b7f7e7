"""Root keys: a secret file outside the database, in which the newest key wraps and all can unwrap.

`{"keys": [{"id": "…", "created_at": "…", "key": "base64 of 32 bytes"}]}`, the newest last. The embedded stack makes it
at its first start; a deployment mounts a secret. Read again when the file changes, so a rotation needs no restart.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from services.orders.customers import crypto


class NoRootKey(Exception):
    """The file isn't there, can't be read, or lacks a key; the message is for the operator and names no secret."""


@dataclass(frozen=True, slots=True, repr=False)
class RootKey:
    """A key that wraps keys of tenants."""

    id: str
    created_at: dt.datetime
    key: bytes

    def as_json(self) -> dict[str, str]:
        """An entry of the file."""
        text = base64.b64encode(self.key).decode()
        return {"id": self.id, "created_at": self.created_at.isoformat(), "key": text}


def new(now: dt.datetime) -> RootKey:
    """A random key."""
    return RootKey(f"root-{secrets.token_hex(6)}", now, crypto.new_key())


class RootKeys:
    """The keys of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[int, int, int] | None = None
        self._keys: dict[str, RootKey] = {}

    def newest(self) -> RootKey:
        """The key that wraps. NoRootKey."""
        return list(self._all().values())[-1]

    def get(self, key_id: str) -> RootKey:
        """A key to unwrap with. NoRootKey."""
        found = self._all().get(key_id)
        if found is None:
            raise NoRootKey(f"{self.path} lacks the key {key_id}, without which personal data can't be read")
        return found

    def ids(self) -> list[str]:
        """The oldest first. NoRootKey."""
        return list(self._all())

    def add(self, key: RootKey) -> None:
        """Puts a key last, in one step: readers see the file before or after. NoRootKey."""
        self._write([*self._all().values(), key])

    def remove(self, key_id: str) -> None:
        """Takes a key out that nothing is wrapped with any more. Whoever calls has made sure of that."""
        self._write([key for key in self._all().values() if key.id != key_id])

    def _all(self) -> dict[str, RootKey]:
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._read:
                self._keys, self._read = parse(self.path.read_text()), seen
        except OSError as error:
            raise NoRootKey(
                f"{self.path} can't be read ({error.strerror}): it holds the keys of personal data"
            ) from None
        except ValueError:
            raise NoRootKey(f"{self.path} is no file of keys") from None
        return self._keys

    def _write(self, keys: list[RootKey]) -> None:
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(render(keys))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)


def render(keys: list[RootKey]) -> str:
    """The file's text."""
    return json.dumps({"keys": [key.as_json() for key in keys]}, indent=2) + "\n"


def parse(text: str) -> dict[str, RootKey]:
    """The keys of a file's text, by id. ValueError."""
    try:
        keys = [
            RootKey(
                str(entry["id"]),
                dt.datetime.fromisoformat(entry["created_at"]),
                base64.b64decode(entry["key"], validate=True),
            )
            for entry in json.loads(text)["keys"]
        ]
    except (KeyError, TypeError, binascii.Error):
        raise ValueError("not a file of keys") from None
    if not keys or any(len(key.key) != crypto.KEY_BYTES for key in keys):
        raise ValueError("not a file of keys")
    return {key.id: key for key in keys}
