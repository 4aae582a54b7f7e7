"""What the kernel knows about processes: who is alive, who is the same one as before, and dying with one's parent."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
#: Loaded before any fork: a child between fork and exec must not import.
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None
_PROC: Final = Path("/proc")
_POLL_SECONDS: Final = 0.05


def die_with_parent(how: signal.Signals) -> Callable[[], None] | None:
    """A ``preexec_fn`` that has the kernel send ``how`` to the child when its parent dies, even by SIGKILL.

    The kernel means the thread that forked, so it must be one that lives as long as the parent. None where the
    kernel can't do it: a killed supervisor then leaves its children to ``end_leftovers`` of the next start.
    """
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(how), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(0)

    return prepare


_LAUNCH: Final = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, int(sys.argv[1]), 0, 0, 0); "
    "os.getppid() == int(sys.argv[2]) or os._exit(0); os.execvp(sys.argv[3], sys.argv[3:])"
)


def launched(argv: Sequence[str], how: signal.Signals) -> list[str]:
    """Argv behind a launcher that does what `die_with_parent` does, after exec instead of before it.

    Python code between fork and exec can crash where other threads run (seen once, under gRPC's). A program that runs
    as another user can't use it: that user may not reach this Python.
    """
    if shutil.which(argv[0]) is None:  # the launcher itself would start, and fail
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    if _LIBC is None:
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(int(how)), str(os.getpid()), *argv]


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
