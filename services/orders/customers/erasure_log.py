"""The erasure log: which customers were erased, outside the database, so that a restored backup forgets them again.

One JSON line an erasure, ids only, each with the hash of the one before: an altered or missing line shows. A line is
written and on the disk (fsync) before the erasure commits, under a lock that all processes of the machine share. What
is in the log will be erased, also when the process died before the commit: replaying is erasing.py's.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

GENESIS = "0" * 64
LINE_BYTES_MAX = 16_384  # a customer and the 100 that were merged into it take 4 kB
TAIL_BYTES = 2 * LINE_BYTES_MAX


class LogBroken(Exception):
    """The log was altered, or isn't the one that the database knows; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Position:
    """The end of the log at some time: how many entries, and the hash of the last."""

    seq: int
    hash: str


START = Position(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Entry:
    """An erasure. tenant: TypeID; customers: TypeIDs, the erased one and all that were merged into it."""

    position: Position
    previous: str
    at: str
    tenant: str
    customers: tuple[str, ...]


class ErasureLog:
    """A log in a file, which need not exist yet. Blocking: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, tenant: str, customers: Sequence[str], at: dt.datetime) -> tuple[Position, Position]:
        """Adds an entry; the positions before and after it. Returns when it is on the disk. OSError, LogBroken."""
        with self._locked() as file:
            before = _mended_end(file)
            content = {
                "seq": before.seq + 1,
                "at": at.isoformat(),
                "tenant": tenant,
                "customers": list(customers),
                "previous": before.hash,
            }
            after = Position(before.seq + 1, _hash(content))
            file.write(json.dumps({**content, "hash": after.hash}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return before, after

    def end(self) -> Position:
        """Where the log ends. LogBroken when its last line was altered."""
        if not self.path.exists():
            return START
        with self._locked() as file:
            return _mended_end(file)

    def entries(self, after: Position = START) -> Iterator[Entry]:
        """The entries after a position, in order, every line checked on the way. LogBroken, OSError.

        Also when the log ends before the position, or has another entry there: it is not the log that was written.
        """
        here = START
        with contextlib.ExitStack() as stack:
            if self.path.exists():
                for line in stack.enter_context(self.path.open("rb")):
                    if not line.endswith(b"\n"):
                        break  # being written, or cut off before it was acknowledged
                    entry = _entry(line)
                    if entry.position.seq != here.seq + 1 or entry.previous != here.hash:
                        raise LogBroken(f"{self.path} was altered at or before its entry {entry.position.seq}")
                    here = entry.position
                    if here.seq == after.seq and here != after:
                        raise LogBroken(f"{self.path} is not the log that this database knows (entry {here.seq})")
                    if here.seq > after.seq:
                        yield entry
        if here.seq < after.seq:
            raise LogBroken(f"{self.path} has {here.seq} entries, and this database knows {after.seq}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)  # the kernel's: it ends with the process
            if os.fstat(file.fileno()).st_size == 0:
                _sync_folder(self.path.parent)  # else a crash may lose the file together with its first line
            yield file


def _mended_end(file: IO[bytes]) -> Position:
    """The position of the last whole line; what was cut off behind it was never acknowledged and is removed."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - TAIL_BYTES)
    file.seek(start)
    tail = file.read()
    whole = tail.rfind(b"\n") + 1
    if start and not whole:
        raise LogBroken("the erasure log ends in a line that is too long")
    if whole < len(tail):
        file.truncate(start + whole)
    file.seek(start + whole)
    lines = tail[:whole].splitlines()
    return _entry(lines[-1]).position if lines else START


def _entry(line: bytes) -> Entry:
    try:
        content: dict[str, Any] = json.loads(line)
        claimed = content.pop("hash")
        entry = Entry(
            position=Position(content["seq"], claimed),
            previous=content["previous"],
            at=content["at"],
            tenant=content["tenant"],
            customers=tuple(content["customers"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LogBroken("the erasure log holds a line that is no entry") from None
    if _hash(content) != claimed:
        raise LogBroken(f"the erasure log was altered at its entry {entry.position.seq}")
    return entry


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
