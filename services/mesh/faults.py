"""How a start ends when it can't succeed: one clear sentence and an exit code, never a traceback."""

from __future__ import annotations

from typing import Final

#: EX_CONFIG of sysexits.h. A process that ends with it is not restarted: the same settings would fail again.
EXIT_REFUSED: Final = 78
EXIT_FAILED: Final = 1


class Fault(Exception):
    """Ends the stack; its text is a sentence for the operator."""

    exit_code = EXIT_FAILED


class Refusal(Fault):
    """Settings or data that a person must change before a start can succeed."""

    exit_code = EXIT_REFUSED


class StartFailed(Fault):
    """A part didn't come up although nothing in the settings forbids it; a second try may succeed."""
