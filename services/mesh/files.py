"""Writing small files so that a reader, or a crash, never sees half of one."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from services.mesh import faults


def write_atomic(path: Path, content: str | bytes, *, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Replaces ``path`` in one step, with exactly ``mode`` whatever the umask says, owned by ``owner`` (uid, gid).

    The new file is made under a name nobody can have prepared, so a link planted in the folder is never followed.
    """
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def private_folder(path: Path, *, owner: tuple[int, int] | None = None, mode: int = 0o700) -> Path:
    """Makes ``path`` a folder of ours with ``mode``; refuses one that someone else put there first.

    The check matters under /tmp, where anyone may have made the name.
    """
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        found = path.lstat()
        trusted = {os.geteuid()} | ({owner[0]} if owner else set())
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in trusted:
            raise faults.Refusal(f"{path} belongs to someone else: remove it, or set XDG_RUNTIME_DIR.") from None
    if owner is not None:
        os.chown(path, *owner)
    path.chmod(mode)
    return path
