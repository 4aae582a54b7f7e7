"""Anchors: the head of each tenant's chain, in a chained log outside of the database: what was cut off shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.kit import chained_log
from services.kit.audit import seals

SET_BACK = "set_back"


class Anchors:
    """A service's anchors, in a file that need not exist yet. Blocking: call it in a thread."""

    def __init__(self, folder: Path, service: str) -> None:
        """folder: that of all services' anchors."""
        self._log = chained_log.ChainedLog(folder / f"{service}.jsonl")

    @property
    def path(self) -> Path:
        """The file."""
        return self._log.path

    def add(self, anchored: Sequence[seals.Seal]) -> None:
        """On the disk when it returns. OSError, LogBroken."""
        self._log.append([seals.anchor(seal) for seal in anchored])

    def set_back(self, content: Mapping[str, Any]) -> None:
        """Notes that a person knows why a chain was set back. OSError, LogBroken."""
        self._log.append([{**content, SET_BACK: True}])

    def all(self) -> Iterator[Mapping[str, Any]]:
        """What was anchored, the oldest first, every line checked on the way. OSError, LogBroken."""
        for entry in self._log.entries():
            if not {"tenant", "seal", "digest", "key", "mac"} <= entry.content.keys():
                raise chained_log.LogBroken(f"{self.path} holds a line that is no anchor: {entry.position.seq}")
            yield entry.content

    def heads(self) -> dict[str, int]:
        """The last anchored seal of each tenant (TypeID). OSError, LogBroken."""
        return {anchor["tenant"]: anchor["seal"] for anchor in self.all()}
