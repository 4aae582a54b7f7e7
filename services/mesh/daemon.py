"""A server program in the foreground of a process of its own, started and stopped by whoever needs it for a while.

For tests and single steps; the stack leaves the same programs to its ``supervisor``.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from services.mesh import faults

_POLL_SECONDS: Final = 0.02


class Daemon:
    """What such programs share. ``with`` makes its files, starts it and stops it."""

    #: Signals that ask it to stop, and that make it.
    GENTLE: signal.Signals = signal.SIGTERM
    FIRM: signal.Signals = signal.SIGKILL
    START_SECONDS_MAX: float = 20.0
    STOP_SECONDS_MAX: float = 20.0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def initialise(self) -> None:
        """Makes or renews its files."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    def start(self) -> None:
        """Starts it and returns when it serves."""
        raise NotImplementedError

    def _launch(self, name: str, command: Sequence[str], **options: Any) -> None:
        """name: for the ``StartFailed`` of a program that ends or takes too long."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
        deadline = time.monotonic() + self.START_SECONDS_MAX
        while not self.is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise faults.StartFailed(f"{name} didn't start (exit code {self._process.poll()}).")
            time.sleep(_POLL_SECONDS)

    def stop(self, how: signal.Signals | None = None) -> None:
        """Stops what ``start`` started and waits for its end. how: otherwise than gently."""
        if self._process is None:
            return
        self._process.send_signal(how or self.GENTLE)
        try:
            self._process.wait(self.STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.send_signal(self.FIRM)
            self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        self.initialise()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
