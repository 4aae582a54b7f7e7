"""One PostgreSQL cluster on a unix socket: made, configured, started and stopped, for the stack and for tests alike.

Roles and databases belong to ``databases``; who watches the process belongs to ``supervisor``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
import urllib.parse
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import psycopg.pq

from services.mesh import binaries, daemon, faults, files, placement, postgres_settings, processes, secret_files

SUPERUSER: Final = "tillmesh_admin"
PORT: Final = 5432  # only a part of the socket's name
#: PostgreSQL's names for how to stop: fast ends sessions and writes a checkpoint, immediate leaves recovery to the
#: next start.
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT
_LEFTOVER_SECONDS_MAX: Final = 20.0
_POLL_SECONDS: Final = 0.02


class Cluster(daemon.Daemon):
    """A cluster in ``data_dir`` whose socket lies in ``socket_dir``; ``passfile`` has the superuser's password.

    ``fast`` gives up durability for speed: for tests only. ``digest`` names the place for a copy of the server's
    binaries when its user can't reach them. Raises ``Refusal`` for what a person must change.
    """

    GENTLE, FIRM = FAST, IMMEDIATE
    START_SECONDS_MAX = STOP_SECONDS_MAX = 60.0

    def __init__(
        self, data_dir: Path, socket_dir: Path, passfile: Path, *, digest: str = "shared", fast: bool = False
    ) -> None:
        self.data_dir = data_dir
        self.socket_dir = socket_dir
        self.passfile = passfile
        self.account = placement.account(data_dir)
        self._fast = fast
        self._bin = placement.reachable_binaries(binaries.postgres(), self.account, digest)

    @property
    def owner(self) -> tuple[int, int] | None:
        """User and group id that the files must have; None for a plain user's cluster."""
        return self.account.owner if self.account else None

    def initialise(self) -> None:
        """Makes the cluster if there is none, then writes its configuration. Safe to repeat.

        A cluster is made beside its place and renamed, so an interrupted initdb is never taken for a cluster.
        """
        files.private_folder(self.socket_dir, owner=self.owner)
        if not self.data_dir.exists():
            self._initdb()
        self._check_version()
        statements = (self._bin.parent / "lib" / "pg_stat_statements.so").exists()
        text = postgres_settings.render(self.socket_dir, PORT, statements=statements, fast=self._fast)
        files.write_atomic(self.data_dir / "postgresql.conf", text, owner=self.owner)

    def _initdb(self) -> None:
        password = secret_files.ensure_passfile(self.passfile, [SUPERUSER])[SUPERUSER]
        draft = self.data_dir.with_name(f"{self.data_dir.name}.partial")
        shutil.rmtree(draft, ignore_errors=True)
        files.private_folder(draft, owner=self.owner)
        password_file = self.socket_dir / f"initial-{secrets.token_hex(6)}"
        files.write_atomic(password_file, password, owner=self.owner)
        # fmt: off
        command = [
            str(self._bin / "initdb"), "--pgdata", str(draft), "--username", SUPERUSER, "--pwfile", str(password_file),
            "--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--encoding=UTF8", "--data-checksums",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
            *(["--no-sync"] if self._fast else []),
        ]
        # fmt: on
        try:
            done = subprocess.run(
                command,
                env=self.environment(),
                user=self.account.uid if self.account else None,
                group=self.account.gid if self.account else None,
                extra_groups=[] if self.account else None,
                cwd="/",  # the caller's folder may be closed to that user
                start_new_session=True,  # Ctrl-C is for the supervisor, which lets this end
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["initdb said nothing"]
            raise faults.Refusal(f"PostgreSQL could not make its cluster in {draft}: {lines[-1]}")
        draft.rename(self.data_dir)

    def _check_version(self) -> None:
        path = self.data_dir / "PG_VERSION"
        if not path.exists():
            raise faults.Refusal(
                f"{self.data_dir} is not a PostgreSQL cluster: restore it, or move it away to begin anew."
            )
        kept = path.read_text().strip()
        said = subprocess.run([str(self._bin / "postgres"), "--version"], capture_output=True, text=True, check=True)
        ours = said.stdout.split()[2].partition(".")[0]
        if kept != ours:
            raise faults.Refusal(
                f"The cluster in {self.data_dir} is of PostgreSQL {kept} and the server is {ours}: "
                f"convert it with pg_upgrade, or set TILLMESH_POSTGRES_BIN to a PostgreSQL {kept}."
            )

    def command(self) -> list[str]:
        """The server's command line; it runs in the foreground and logs to standard error."""
        return [str(self._bin / "postgres"), "-D", str(self.data_dir)]

    def environment(self) -> dict[str, str]:
        """All that the server sees of the environment: a caller's PG… or LANG would change what it does."""
        return {"LC_ALL": "C", "PATH": os.defpath}

    def prepare(self) -> None:
        """Clears the way for a start after a crash: waits for processes that are left, then removes a stale lock.

        A lock names a process number, and after a reboot that number may be another program's; PostgreSQL would then
        refuse for ever. Only the process that holds the data folder may call this.
        """
        deadline = time.monotonic() + _LEFTOVER_SECONDS_MAX
        lock = self.data_dir / "postmaster.pid"
        while left := processes.with_folder(self.data_dir):
            leader = processes.first_number(lock)
            victim, how = (leader, FAST) if leader in left else (left[0], signal.SIGTERM)
            if time.monotonic() > deadline:
                raise faults.StartFailed(
                    f"An earlier PostgreSQL (process {victim}) still runs on {self.data_dir}: stop it."
                )
            with suppress(ProcessLookupError):
                os.kill(victim, how)
            time.sleep(_POLL_SECONDS * 5)
        if processes.is_alive(processes.first_number(lock)):
            lock.unlink()
        for path in self.socket_dir.glob(f".s.PGSQL.{PORT}*"):
            path.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Whether the server takes connections; needs no password."""
        conninfo = f"host='{self.socket_dir}' port={PORT} connect_timeout=2"
        return psycopg.pq.PGconn.ping(conninfo.encode()) == psycopg.pq.Ping.OK

    def start(self, log: IO[bytes] | None = None) -> None:
        """Starts the server and returns when it takes connections. For tests: the supervisor starts the stack's."""
        self.prepare()
        account = (self.account.uid, self.account.gid) if self.account else None
        self._launch(
            f"PostgreSQL on {self.data_dir}",
            processes.launched(self.command(), self.GENTLE, account),
            env=self.environment(),
            stdout=log or subprocess.DEVNULL,
            cwd="/",
        )

    def url(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """A libpq URL over the socket; the password comes from the passfile."""
        query = {"host": str(self.socket_dir), "port": str(PORT), "passfile": str(self.passfile)}
        return f"postgresql://{user}@/{database}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"
