"""Small files that two processes share: written whole or not at all, and changed by one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = 0o600
PUBLIC = 0o644


def write_atomic(path: Path, content: bytes, mode: int) -> None:
    """Replace ``path`` by ``content``: a reader sees the old file or the new one, also after a crash."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any, mode: int) -> None:
    """Write JSON that a person can read, atomically."""
    write_atomic(path, (json.dumps(value, indent=2) + "\n").encode(), mode)


def read_json(path: Path, missing: Any) -> Any:
    """The JSON in ``path``, or ``missing`` when there is no such file. Raises ValueError when it isn't JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return missing


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes when the file does; None when there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: for read, change, write. Released by the kernel when the process dies."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, SECRET)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
