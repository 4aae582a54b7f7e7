"""What the kernel knows about processes: who is alive, who is the same one as before, and dying with one's parent."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

#: Runs as the child itself: becomes its user, asks the kernel to end it with its parent, and turns into its program.
#: A change of user takes the request back, so it comes first.
_LAUNCH: Final = """
import ctypes, os, sys
how, parent, uid, gid = map(int, sys.argv[1:5])
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, how, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
os.execvp(sys.argv[5], sys.argv[5:])
"""
_PROC: Final = Path("/proc")
_POLL_SECONDS: Final = 0.05


def launched(argv: Sequence[str], how: signal.Signals, account: tuple[int, int] | None = None) -> list[str]:
    """A launcher before argv: the kernel sends `how` to the program when its parent dies, even by SIGKILL.

    account: (uid, gid) to run as. The kernel means the thread that forked, so it must be one that lives as long as the
    parent. Not by a preexec_fn: Python code between fork and exec has crashed where gRPC's threads run. Not on Linux, a
    killed supervisor leaves its children to ``end_leftovers`` of the next start. FileNotFoundError.
    """
    if shutil.which(argv[0]) is None:  # the launcher itself would start, and fail
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    uid, gid = account or (-1, -1)
    told = [str(number) for number in (int(how), os.getpid(), uid, gid)]
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, *told, *argv]


def is_alive(pid: int | None) -> bool:
    """Whether a process with this number exists and isn't a zombie."""
    return pid is not None and _state(pid) not in {"", "Z", "X"}


def first_number(path: Path) -> int | None:
    """The number in the first line of a lock file, or None."""
    try:
        return int(path.read_text().partition("\n")[0])
    except (OSError, ValueError):
        return None


def with_folder(folder: Path, program: str = "postgres") -> list[int]:
    """Processes of ``program`` whose working folder is ``folder``: a PostgreSQL server works in its data."""
    found = []
    for entry in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == folder and (entry / "exe").readlink().name.startswith(program):
                found.append(int(entry.name))
    return found


def identities(pids: Mapping[str, int]) -> str:
    """Text from which ``end_leftovers`` recognises these processes, though numbers are used again."""
    return json.dumps({name: [pid, _started(pid)] for name, pid in pids.items()})


def end_leftovers(record: Path, wait_seconds: float) -> list[str]:
    """Ends what is still running of a stack whose supervisor was killed, by the text of ``identities`` in ``record``.

    They were told to stop when the supervisor died; who hasn't after ``wait_seconds`` is killed. Returns all names.
    """
    try:
        known: dict[str, list[int]] = json.loads(record.read_text())
    except (OSError, ValueError):
        return []
    alive = {name: pid for name, (pid, started) in known.items() if is_alive(pid) and _started(pid) == started}
    left, deadline = dict(alive), time.monotonic() + wait_seconds
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = {name: pid for name, pid in left.items() if is_alive(pid)}
    for pid in left.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return sorted(alive)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the state on; the name before them may hold spaces and parentheses."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _state(pid: int) -> str:
    fields = _stat(pid)
    return fields[0] if fields else ""


def _started(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0
