"""Whether a service's migrations have to be run. Running them is the service's own command."""

from __future__ import annotations

import hashlib
from pathlib import Path

from services.mesh import files, layout


class Migrations:
    """Remembers, per service, the migrations that were run last and the state that they left the database in.

    A start may skip them while both are unchanged. ``state`` is ``databases.state``.
    """

    def __init__(self, place: layout.Layout, service: str, source: Path = layout.ROOT / "services") -> None:
        self._marker = place.state / f"migrated-{service}"
        self._folder = source / service / "migrations"

    def are_done(self, state: str) -> bool:
        """Whether running them again would change nothing."""
        return self._marker.exists() and self._marker.read_text() == self._text(state)

    def done(self, state: str) -> None:
        """Notes that they were run, and what they left."""
        files.write_atomic(self._marker, self._text(state))

    def _text(self, state: str) -> str:
        digest = hashlib.sha256()
        for path in sorted(self._folder.rglob("*.py")):
            digest.update(f"{path.relative_to(self._folder)}\0".encode() + path.read_bytes() + b"\0")
        return f"{digest.hexdigest()}\n{state}\n"
