"""The erasure log: which customers were erased, outside the database, so that a restored backup forgets them again.

One line an erasure in a chained log (services/kit/chained_log.py), ids only, written before the erasure commits. What
is in the log will be erased, also when the process died before the commit: replaying is erasing.py's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.kit import chained_log


@dataclass(frozen=True, slots=True)
class Entry:
    """An erasure. tenant: TypeID; customers: TypeIDs, the erased one and all that were merged into it."""

    position: chained_log.Position
    previous: str
    at: str
    tenant: str
    customers: tuple[str, ...]


class ErasureLog:
    """A log in a file, which need not exist yet. Blocking: call it in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = chained_log.ChainedLog(path)

    def append(
        self, tenant: str, customers: Sequence[str], at: dt.datetime
    ) -> tuple[chained_log.Position, chained_log.Position]:
        """Adds an entry; the positions before and after it. Returns when it is on the disk. OSError, LogBroken."""
        # A customer and the 100 that were merged into it take 4 kB of a line's 16.
        return self._log.append([{"at": at.isoformat(), "tenant": tenant, "customers": list(customers)}])

    def end(self) -> chained_log.Position:
        """Where the log ends. LogBroken when its last line was altered."""
        return self._log.end()

    def entries(self, after: chained_log.Position = chained_log.START) -> Iterator[Entry]:
        """The entries after a position, in order, every line checked on the way. LogBroken, OSError."""
        for each in self._log.entries(after):
            try:
                at, tenant, customers = (each.content[name] for name in ("at", "tenant", "customers"))
            except KeyError:
                raise chained_log.LogBroken("the log holds a line that is no erasure") from None
            yield Entry(each.position, each.previous, at, tenant, tuple(customers))
