"""The supervisor's own log lines, and the files that hold what the children say."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final, Literal

import structlog

#: A log file that has grown past this is copied to ``<name>.1`` and emptied, so a part keeps twice as much at most.
FILE_BYTES_MAX: Final = 64 * 1024**2
_LAST_WORDS_BYTES: Final = 4096


def configure(style: Literal["json", "console"] | None) -> None:
    """Sets up structlog for this process: lines for people on a terminal, JSON elsewhere, unless ``style`` says."""
    if style is None:
        style = "console" if sys.stderr.isatty() else "json"
    renderer: Any = structlog.processors.JSONRenderer()
    if style == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


class LogFile:
    """Where one child's output goes. It writes there itself, so a slow or dead supervisor never holds it up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = 0

    def open(self) -> int:
        """A descriptor for a new process to write to; what is there already is of earlier ones."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._mark = os.fstat(descriptor).st_size
        return descriptor

    def last_words(self) -> str:
        """The last line that the process wrote, which by our convention says why it ended. Empty if it wrote none."""
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(min(self._mark, end), end - _LAST_WORDS_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


def trim(folder: Path, bytes_max: int = FILE_BYTES_MAX) -> None:
    """Empties log files that have grown too large; their writers append, so they go on at the new end."""
    for path in folder.glob("*.log"):
        if path.stat().st_size > bytes_max:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            os.truncate(path, 0)
