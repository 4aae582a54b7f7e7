"""Where things lie: the data folder, the socket folders, and the names in them. Making them belongs to ``folder``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: The repository, which is a source root together with its folder ``generated``.
ROOT: Final = Path(__file__).resolve().parents[2]

#: Anyone may make names here, so ``files.private_folder`` checks who owns what is found.
_SHARED: Final = Path("/tmp")  # noqa: S108
#: ``sun_path`` holds 108 bytes with its closing zero; the longest name is a sixteenth process of the longest service.
_SOCKET_PATH_MAX: Final = 107
_LONGEST_SOCKET_NAME: Final = "tm-00000000/marketing-16.4.sock"
#: Sockets of a service's process. grpc.aio takes one call at a time from each: with one, calls queue before they are
#: seen, and batches stay small (measured: reads gained a quarter).
LISTENERS: Final = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of one stack. ``digest`` tells stacks apart that share a machine."""

    data: Path
    run: Path
    #: The folder of PostgreSQL's socket, apart because under root another user owns it.
    postgres_run: Path
    digest: str

    @property
    def secrets(self) -> Path:
        return self.data / "secrets"

    @property
    def passfile(self) -> Path:
        return self.secrets / "pgpass"

    @property
    def root_keys(self) -> Path:
        return self.secrets / "orders-root-keys.json"

    @property
    def erasures(self) -> Path:
        """Outside every database, and not among what is restored with one."""
        return self.data / "erasures" / "orders.jsonl"

    @property
    def audit_keys(self) -> Path:
        return self.secrets / "audit-keys.json"

    @property
    def audit_anchors(self) -> Path:
        """Outside every database, and not among what is restored with one."""
        return self.data / "audit"

    @property
    def jwks(self) -> Path:
        return self.data / "jwks"

    @property
    def state(self) -> Path:
        """What describes the running stack, or can be made again."""
        return self.data / "run"

    @property
    def endpoints(self) -> Path:
        return self.state / "endpoints.json"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def envoy(self) -> Path:
        return self.data / "envoy"

    @property
    def envoy_admin(self) -> Path:
        return self.run / "envoy-admin.sock"

    @property
    def credentials(self) -> Path:
        return self.data / "credentials.json"

    def socket(self, process: str) -> Path:
        """The unix socket of a process such as ``inventory-2``."""
        return self.run / f"{process}.sock"

    def sockets(self, process: str) -> list[Path]:
        """All sockets of a service's process, the first one being `socket`."""
        return [self.socket(process), *(self.run / f"{process}.{n}.sock" for n in range(2, LISTENERS + 1))]

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"


def of(data: Path, environ: Mapping[str, str] = os.environ) -> Layout:
    """Lays out a stack whose data lies under ``data``; the same folder gives the same sockets every time."""
    data = data.expanduser().resolve()
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:8]
    home = _socket_home(environ)
    shared = _SHARED if os.geteuid() == 0 else home  # root's XDG_RUNTIME_DIR is closed to PostgreSQL's user
    return Layout(data=data, run=home / f"tm-{digest}", postgres_run=shared / f"tm-{digest}-pg", digest=digest)


def _socket_home(environ: Mapping[str, str]) -> Path:
    """``XDG_RUNTIME_DIR`` if sockets fit there, else /tmp: a socket's path is short, and a data folder's may not be."""
    home = Path(environ.get("XDG_RUNTIME_DIR") or _SHARED)
    fits = len(os.fsencode(home / _LONGEST_SOCKET_NAME)) <= _SOCKET_PATH_MAX
    usable = home.is_absolute() and home.is_dir() and os.access(home, os.W_OK | os.X_OK)
    return home if fits and usable else _SHARED
