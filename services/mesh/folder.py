"""The data folder: who may use it, whether this version can, and its folders. What lies in those is their makers'."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from services.mesh import faults, files, layout

#: Raised when an older version could no longer use the folder; a start with a lower number refuses.
FORMAT: Final = 1

#: Folders of the data folder with their modes. jwks holds public keys only.
_FOLDERS: Final = {
    "secrets": 0o700,
    "run": 0o700,
    "logs": 0o700,
    "jwks": 0o755,
    "edge": 0o700,
    "envoy": 0o700,
    "nats": 0o700,
    "erasures": 0o700,
    "audit": 0o700,
}
_OURS: Final = frozenset({*_FOLDERS, "format", "lock", "postgres", "postgres-location", "credentials.json", "media"})


@contextmanager
def claimed(place: layout.Layout) -> Iterator[None]:
    """Holds the data folder for this process and makes it ready.

    Raises ``Refusal`` when it is no folder, foreign, read-only, in use, or written by a newer version. The lock is
    the kernel's: it ends with the process, so a killed supervisor leaves none behind.
    """
    try:
        descriptor = _claim(place.data)
    except OSError as error:
        raise faults.Refusal(
            f"The data folder {place.data} can't be used ({error.strerror}): "
            "make it writable or set TILLMESH_DATA to another."
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _claim(data: Path) -> int:
    _check_is_ours(data)
    descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, data)
        _check_format(data)
        _prepare(data)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_is_ours(data: Path) -> None:
    if data.exists() and not data.is_dir():
        raise faults.Refusal(f"TILLMESH_DATA is {data}, which is not a folder.")
    data.mkdir(parents=True, exist_ok=True)
    if (data / "format").exists():
        return
    foreign = {path.name for path in data.iterdir() if not path.name.startswith(".")} - _OURS
    if foreign:
        raise faults.Refusal(
            f"The data folder {data} holds files that are not Tillmesh's ({min(foreign)}): "
            "set TILLMESH_DATA to an empty one."
        )


def _lock(descriptor: int, data: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode().strip() or "unknown"
        raise faults.Refusal(
            f"Tillmesh already runs on the data folder {data} (process {holder}): "
            "stop it or set TILLMESH_DATA to another."
        ) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())


def _check_format(data: Path) -> None:
    path = data / "format"
    if not path.exists():
        return
    text = path.read_text().strip()
    if not text.isdigit():
        raise faults.Refusal(
            f"{path} should hold a number and holds {text[:20]!r}: restore the data folder from a backup."
        )
    if int(text) > FORMAT:
        raise faults.Refusal(
            f"The data folder {data} was written by a newer Tillmesh (format {text}, this one knows {FORMAT}): "
            "run that version or set TILLMESH_DATA to another folder."
        )


def _prepare(data: Path) -> None:
    with tempfile.TemporaryFile(
        dir=data
    ):  # a lock file left from better days can be opened in a folder that is read-only now
        pass
    # Under root, PostgreSQL runs as another user and must get through, without being able to list.
    data.chmod(0o711 if os.geteuid() == 0 else 0o700)
    for name, mode in _FOLDERS.items():
        (data / name).mkdir(exist_ok=True)
        (data / name).chmod(mode)
    if not (data / "format").exists():
        files.write_atomic(data / "format", f"{FORMAT}\n", mode=0o644)
