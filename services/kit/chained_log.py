"""A file of JSON lines that is only added to, each line with the hash of the one before: what was altered shows.

For what has to outlive a database, or to be held against it. A line is on the disk (fsync) when `append` returns, under
a lock that all processes of the machine share. What was cut off at the end shows only to who knows where the end was.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

GENESIS: Final = "0" * 64
LINE_BYTES_MAX: Final = 16_384
TAIL_BYTES: Final = 2 * LINE_BYTES_MAX
_OURS: Final = ("seq", "previous", "hash")


class LogBroken(Exception):
    """The log was altered, or isn't the one that is expected; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class Position:
    """The end of the log at some time: how many entries, and the hash of the last."""

    seq: int
    hash: str


START: Final = Position(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line. previous: the hash of the one before; content: without what makes it a link of the chain."""

    position: Position
    previous: str
    content: Mapping[str, Any]


class ChainedLog:
    """A log in a file, which need not exist yet. Blocking: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, contents: Sequence[Mapping[str, Any]]) -> tuple[Position, Position]:
        """Adds entries; the positions before and after them. Returns when they are on the disk. OSError, LogBroken."""
        with self._locked() as file:
            before = after = _mended_end(file)
            lines = []
            for content in contents:
                line = {"seq": after.seq + 1, **content, "previous": after.hash}
                after = Position(after.seq + 1, _hash(line))
                lines.append(json.dumps({**line, "hash": after.hash}).encode() + b"\n")
            if any(len(line) > LINE_BYTES_MAX for line in lines):
                raise ValueError("an entry is too long")
            file.write(b"".join(lines))
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
        raise LogBroken("the log ends in a line that is too long")
    if whole < len(tail):
        file.truncate(start + whole)
    file.seek(start + whole)
    lines = tail[:whole].splitlines()
    return _entry(lines[-1]).position if lines else START


def _entry(line: bytes) -> Entry:
    try:
        content: dict[str, Any] = json.loads(line)
        claimed = content.pop("hash")
        position, previous = Position(content["seq"], claimed), content["previous"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LogBroken("the log holds a line that is no entry") from None
    if _hash(content) != claimed:
        raise LogBroken(f"the log was altered at its entry {position.seq}")
    return Entry(position, previous, {name: value for name, value in content.items() if name not in _OURS})


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
