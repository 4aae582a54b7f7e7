"""Files of keys, outside of every database: the newest key is used for what is new, the others for what was before.

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

KEY_BYTES = 32


class NoKey(Exception):
    """The file isn't there, can't be read, or lacks a key; the message is for the operator and names no secret."""


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key of 256 bits."""

    id: str
    created_at: dt.datetime
    key: bytes

    def as_json(self) -> dict[str, str]:
        """An entry of the file."""
        text = base64.b64encode(self.key).decode()
        return {"id": self.id, "created_at": self.created_at.isoformat(), "key": text}


def new(purpose: str, now: dt.datetime) -> Key:
    """A random key. purpose: begins its id."""
    return Key(f"{purpose}-{secrets.token_hex(6)}", now, os.urandom(KEY_BYTES))


class KeyFile:
    """The keys of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}

    def newest(self) -> Key:
        """The key for what is new. NoKey."""
        return list(self._all().values())[-1]

    def get(self, key_id: str) -> Key:
        """One of the keys. NoKey."""
        found = self._all().get(key_id)
        if found is None:
            raise NoKey(f"{self.path} lacks the key {key_id}, and what is under it can't be used without")
        return found

    def ids(self) -> list[str]:
        """The oldest first. NoKey."""
        return list(self._all())

    def add(self, key: Key) -> None:
        """Puts a key last, in one step: readers see the file before or after. NoKey."""
        self._write([*self._all().values(), key])

    def remove(self, key_id: str) -> None:
        """Takes a key out that nothing is under any more. Whoever calls has made sure of that."""
        self._write([key for key in self._all().values() if key.id != key_id])

    def _all(self) -> dict[str, Key]:
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen != self._read:
                self._keys, self._read = parse(self.path.read_text()), seen
        except OSError as error:
            raise NoKey(f"{self.path} can't be read ({error.strerror}): it holds keys") from None
        except ValueError:
            raise NoKey(f"{self.path} is no file of keys") from None
        return self._keys

    def _write(self, keys: list[Key]) -> None:
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(render(keys))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)


def render(keys: list[Key]) -> str:
    """The file's text."""
    return json.dumps({"keys": [key.as_json() for key in keys]}, indent=2) + "\n"


def parse(text: str) -> dict[str, Key]:
    """The keys of a file's text, by id. ValueError."""
    try:
        keys = [
            Key(
                str(entry["id"]),
                dt.datetime.fromisoformat(entry["created_at"]),
                base64.b64decode(entry["key"], validate=True),
            )
            for entry in json.loads(text)["keys"]
        ]
    except (KeyError, TypeError, binascii.Error):
        raise ValueError("not a file of keys") from None
    if not keys or any(len(key.key) != KEY_BYTES for key in keys):
        raise ValueError("not a file of keys")
    return {key.id: key for key in keys}
