"""Real servers for the tests of the mesh, and the supervisor as a program whose events a test can wait for."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.mesh import layout, throwaway

WAIT_SECONDS = 60.0
PROGRAM = Path(__file__).with_name("fake_stack.py")


class Program:
    """A running supervisor. Its events are read as they come, so a test waits for one instead of sleeping."""

    def __init__(self, data: Path, *, python: str = sys.executable, user: int | None = None, **settings: str) -> None:
        self.place = layout.of(data)
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.said: list[str] = []
        roots = [str(layout.ROOT), str(layout.ROOT / "generated")]
        if python != sys.executable:  # the same packages for another interpreter of the same version
            roots += [path for path in sys.path if path.endswith("site-packages")]
        free = dict.fromkeys(["HTTP_PORT", "HTTPS_PORT", "NATS_PORT", "METRICS_BASE_PORT"], "0")
        told = {f"TILLMESH_{name}": value for name, value in {**free, "DATA": str(data), "LOG_FORMAT": "json"}.items()}
        self.process = subprocess.Popen(
            [python, "-P", str(PROGRAM)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(roots)} | told | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip())
        self.process.stdout.close()
        self._lines.put(None)

    def event(self, name: str, **fields: Any) -> dict[str, Any]:
        """Waits for an event with these fields."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (line := self._lines.get(timeout=deadline - time.monotonic())) is not None:
            self.said.append(line)
            found = json.loads(line) if line.startswith("{") else {}
            if found.get("event") == name and fields.items() <= found.items():
                return found
        raise AssertionError("\n".join(["the program ended first:", *self.said]))

    def is_up(self) -> Program:
        self.event("stack.ready")
        return self

    @property
    def endpoints(self) -> dict[str, Any]:
        return json.loads(self.place.endpoints.read_text())

    def metrics(self) -> str:
        url = f"http://127.0.0.1:{self.endpoints['metrics']['supervisor']}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()

    def end(self, how: signal.Signals | None = signal.SIGTERM) -> int:
        """Ends the program, or with None waits for it to end by itself; returns its exit code."""
        if how is not None:
            self.process.send_signal(how)
        code = self.process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        while (line := self._lines.get_nowait() if not self._lines.empty() else None) is not None:
            self.said.append(line)
        return code


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty folder with a short path that PostgreSQL's user can reach."""
    with throwaway.folder() as path:
        yield path


@pytest.fixture(scope="session")
def stopped_data() -> Iterator[Path]:
    """The data folder of a stack that ran once: copying it takes a tenth of a first start."""
    with throwaway.folder() as path:
        program = Program(path / "data").is_up()
        program.event("demo.loading")
        assert program.end() == 0
        yield path / "data"


@pytest.fixture
def data(home: Path, stopped_data: Path) -> Path:
    """A copy of a data folder that was used before."""
    subprocess.run(["cp", "-a", str(stopped_data), str(home / "data")], check=True)
    return home / "data"


@pytest.fixture
def run() -> Iterator[Callable[..., Program]]:
    """Starts supervisors; those that still run are stopped after the test."""
    programs: list[Program] = []

    def start(data: Path, **settings: Any) -> Program:
        programs.append(Program(data, **settings))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.poll() is None:
            program.end()
